"""The bench as code on its sites sees it: commands, code and what is published."""

from __future__ import annotations

import json
import os
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.bench import installation

PATIENCE = 60.0

PREAMBLE = """
import json, os, sys, time
import frappe
frappe.init(sys.argv[1])
frappe.connect()
from frappe_realtime.overrides import install_overrides
install_overrides()
def answer(value): print("ANSWER " + json.dumps(value))
"""


@dataclass
class Bench:
	"""The bench and its two sites."""

	root: Path
	site: str
	other: str
	redis: redis.Redis

	@property
	def python(self) -> str:
		return str(self.root / "env" / "bin" / "python")

	def run(self, *command: str, stdin: str | None = None, **environment: str) -> str:
		"""Run a command in `sites`, where bench runs them; its output. It must succeed."""
		done = subprocess.run(
			command,
			cwd=self.root / "sites",
			input=stdin,
			env={**os.environ, **environment},
			capture_output=True,
			text=True,
			check=False,
			timeout=PATIENCE * 3,
		)
		assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
		return done.stdout

	def command(self, *arguments: str, site: str | None = None, stdin: str | None = None, **env: str) -> str:
		"""`bench --site … <arguments>`."""
		options = ["--site", site] if site else []
		return self.run(
			self.python, "-m", "frappe.utils.bench_helper", "frappe", *options, *arguments, stdin=stdin, **env
		)

	def python_on(self, site: str, code: str) -> Any:
		"""Run code on a site as a background process would; what it gives to `answer()`."""
		output = self.run(self.python, "-c", PREAMBLE + textwrap.dedent(code), site)
		answers = [line[7:] for line in output.splitlines() if line.startswith("ANSWER ")]
		return json.loads(answers[-1]) if answers else None


@pytest.fixture(scope="session")
def bench(bench: installation.Bench) -> Iterator[Bench]:
	"""The bench whose processes run, as code on its sites sees it."""
	client = redis.Redis.from_url(bench.config["redis_queue"], decode_responses=True)
	yield Bench(bench.root, bench.site, bench.other_site, client)
	client.close()


class Channel:
	"""What is published meanwhile."""

	def __init__(self, client: redis.Redis) -> None:
		self.subscriber = client.pubsub()
		self.subscriber.subscribe("events", "frappe_realtime:access", "test:end")
		for _ in range(3):
			assert self.subscriber.get_message(timeout=PATIENCE)["type"] == "subscribe"
		self.client = client

	def read(self) -> list[dict[str, Any]]:
		"""All that was published until now; access messages have a `kind`, events an `event`."""
		self.client.publish("test:end", "")
		messages: list[dict[str, Any]] = []
		while True:
			message = self.subscriber.get_message(timeout=PATIENCE)
			assert message is not None
			if message["channel"] == "test:end":
				return messages
			content = json.loads(message["data"])
			if content.get("kind", "task") != "task":
				# Where Redis has recorded it.
				assert content.pop("offset")
				assert content.pop("after")
			messages.append(content)

	def wait_for(self, event: str, namespace: str) -> dict[str, Any]:
		"""The next such event; a process of the bench may publish it, at its own time."""
		while True:
			message = self.subscriber.get_message(timeout=PATIENCE)
			assert message is not None, f"{event} was not published on {namespace}; was the bench restarted?"
			if message["channel"] == "events":
				content = json.loads(message["data"])
				if (content["event"], content["namespace"]) == (event, namespace):
					return content

	def events(self, *names: str) -> list[dict[str, Any]]:
		return [message for message in self.read() if message.get("event") in names]


@pytest.fixture
def channel(bench: Bench) -> Iterator[Channel]:
	channel = Channel(bench.redis)
	yield channel
	channel.subscriber.close()
