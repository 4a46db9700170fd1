"""A real bench, as its owner has it: its sites, its processes, its commands, and people who visit it."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import redis

from tests.bench.processes import Listener, Process
from tests.wire.clients import Args, Client
from tests.wire.conditions import PATIENCE, accepts, until
from tests.wire.nodejs import NodeClient

INSIDE = Path(__file__).parent / "inside.py"
APP = "frappe_realtime"
COMMAND_PATIENCE = 180
"""Seconds for a `bench` command, which imports all of Frappe first."""

AnyClient = Client | NodeClient


class NotSuitable(Exception):
	"""The bench cannot be tested; the text says what it lacks."""


@dataclass(frozen=True)
class Person:
	"""A user whom the tests have made on one site."""

	site: str
	name: str
	token: str
	"""API key and secret"""
	password: str
	bearer: str = ""


class Bench:
	"""The bench at a path.

	Args:
		root: its root.
		logs: a folder for the logs of what is started here.

	Raises:
		NotSuitable: it is no bench, or it has no site with the app, or none without.
	"""

	def __init__(self, root: Path, logs: Path) -> None:
		self.root, self._logs = root, logs
		self.sites = root / "sites"
		if not (self.sites / "common_site_config.json").is_file():
			raise NotSuitable(f"{root} is not a bench: it has no sites/common_site_config.json")
		self.config: dict[str, Any] = json.loads((self.sites / "common_site_config.json").read_text())
		self.python = root / "env" / "bin" / "python"
		self.web_port = int(self.config.get("webserver_port") or 8000)
		self.port = int(self.config.get("socketio_port") or 9000)
		self.events = redis.Redis.from_url(self.config["redis_queue"])
		self._numbers = itertools.count(1)
		gunicorn: list[str | Path] = [
			root / "env/bin/gunicorn",
			"-b",
			f"127.0.0.1:{self.web_port}",
			"-w",
			"2",
			"--threads",
			"4",
			"--access-logfile",
			"-",
		]
		self.redis = [self._redis(name) for name in ("redis_cache", "redis_queue") if self._redis_port(name)]
		# The development server, which hands out /assets too: as `bench start`, and as fast as in production.
		self.web = Listener(
			self.web_port,
			[*gunicorn, "-t", "120", "frappe.app:application_with_statics()"],
			self.sites,
			self._log("web"),
			{"DEV_SERVER": "1"},
		)
		self.production_web = Listener(
			self.web_port, [*gunicorn, "frappe.app:application", "--preload"], self.sites, self._log("web")
		)
		self.sidecar = Listener(
			self.port,
			[root / "env/bin/frappe-realtime", "serve", "--bench", root],
			root,
			self._log("sidecar"),
		)
		self.worker = Process(
			[self.python, "-m", "frappe.utils.bench_helper", "frappe", "worker", "--queue", "short,default"],
			self.sites,
			self._log("worker"),
		)
		self.site = self.other_site = ""
		self.version = 0
		self.people: dict[str, dict[str, Person]] = {}

	def _log(self, name: str) -> Path:
		return self._logs / f"{name}.log"

	def _redis_port(self, key: str) -> int | None:
		return urllib.parse.urlsplit(str(self.config.get(key, ""))).port

	def _redis(self, name: str) -> Listener:
		return Listener(
			self._redis_port(name) or 0,
			["redis-server", f"config/{name}.conf"],
			self.root,
			self._log(name),
		)

	def start(self) -> None:
		"""Start what is not running, make the people, and start the sidecar.

		Raises:
			NotSuitable: see the class; or something other than the sidecar listens on its port.
		"""
		if accepts(self.port) and not self.is_sidecar():
			raise NotSuitable(f"port {self.port} is taken, by the Node server perhaps: stop it")
		for server in self.redis:
			server.start_unless_running()
		self._discover()
		self.web.start_unless_running()
		self.start_worker()
		self.start_sidecar()
		for site in (self.site, self.other_site):
			password = secrets.token_urlsafe(12) + "-1aA"
			made = self.inside("make_people", site=site, password=password)
			self.people[site] = {
				person: Person(site=site, password=password, **known) for person, known in made.items()
			}

	def _discover(self) -> None:
		for file in sorted(self.sites.glob("*/site_config.json")):
			site = file.parent.name
			try:
				about = self.inside("about", site=site)
			except AssertionError:
				continue
			self.version = int(about["version"].partition(".")[0])
			if APP in about["apps"]:
				self.site = self.site or site
			else:
				self.other_site = self.other_site or site
		if not self.site:
			raise NotSuitable(f"no site of {self.root} has the app: bench --site SITE install-app {APP}")
		if not self.other_site:
			raise NotSuitable(f"all sites of {self.root} have the app; the tests need one without it too")

	def start_worker(self) -> None:
		"""Start a worker where there is none."""
		if not self._workers():
			self.worker.start()
			self.worker.wait_for(self._workers, "a worker")

	def _workers(self) -> list[int]:
		"""The processes of the workers of this machine that Redis knows; one that was killed stays there for a while."""
		keys: Any = self.events.smembers("rq:workers")
		known = [self.events.hget(key.decode(), "pid") for key in keys]
		return [int(pid) for pid in known if pid and Path(f"/proc/{int(pid)}").exists()]

	def start_sidecar(self) -> None:
		"""Start the sidecar, and wait until what is published reaches it."""
		self.sidecar.start_unless_running()
		self.wait_until_healthy()

	def wait_until_healthy(self) -> None:
		"""Wait until Redis and the web process answer the sidecar."""
		until(lambda: self.health()[0] == 200, f"the sidecar is well: {self.sidecar.log[-2000:]}")

	def stop_processes(self) -> None:
		"""Stop what was started here."""
		for process in (self.sidecar, self.worker, self.web, *reversed(self.redis)):
			process.stop()

	def start_processes(self) -> None:
		"""Start again what `stop_processes` has stopped."""
		for server in self.redis:
			server.start_unless_running()
		self.web.start_unless_running()
		self.worker.start()
		self.start_sidecar()

	def close(self) -> None:
		"""Leave the bench as it was found."""
		try:
			for site in self.people:
				self.inside("remove_people", site=site)
		finally:
			self.events.close()
			self.stop_processes()

	def foreign_processes(self) -> list[str]:
		"""Return what runs, or does not, without the tests having started it; what is not in it may be stopped."""
		processes = (*self.redis, self.web, self.worker, self.sidecar)
		return [process.log_path.stem for process in processes if not process.alive]

	def health(self) -> tuple[int, dict[str, Any]]:
		"""Ask the realtime server's `/health`; return the status, 0 without an answer, and the object in it."""
		try:
			with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=PATIENCE) as answer:
				return answer.status, json.loads(answer.read())
		except urllib.error.HTTPError as error:
			body = error.read()
			return error.code, json.loads(body) if body.startswith(b"{") else {}
		except (OSError, ValueError):
			return 0, {}

	def metrics(self) -> str:
		"""Return the metrics of the realtime server."""
		with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=PATIENCE) as answer:
			return str(answer.read().decode())

	def is_sidecar(self) -> bool:
		"""Whether it is our server that listens on the realtime port."""
		return "redis" in self.health()[1]

	def inside(self, command: str, *, site: str = "", **arguments: Any) -> Any:
		"""Run a function of inside.py on a site; return its answer."""
		line = [str(self.python), str(INSIDE), site or self.site, command, json.dumps(arguments)]
		return json.loads(self.run(line, self.sites).splitlines()[-1])

	@contextmanager
	def console(self) -> Iterator[Callable[..., Any]]:
		"""Yield a function like `inside`, for the site with the app, that runs all commands in one process."""
		line = [str(self.python), str(INSIDE), self.site, "serve"]
		with subprocess.Popen(
			line,
			cwd=self.sites,
			env=_environment(),
			stdin=subprocess.PIPE,
			stdout=subprocess.PIPE,
			text=True,
			bufsize=1,
		) as process:

			def run(command: str, **arguments: Any) -> Any:
				assert process.stdin
				assert process.stdout
				process.stdin.write(json.dumps([command, arguments]) + "\n")
				while not (answer := process.stdout.readline()).strip():
					assert answer, f"{line} has ended at {command}"
				return json.loads(answer)

			yield run

	def bench(self, *arguments: str, given: str = "") -> str:
		"""Run `bench …` in the bench; return its output, fail when it fails."""
		command = shutil.which("bench")
		assert command, "there is no bench command on PATH"
		return self.run([command, *arguments], self.root, given)

	def run(self, command: list[str], folder: Path, given: str = "") -> str:
		"""Run a command in a folder of the bench to its end; return its output, fail when it fails."""
		done = subprocess.run(
			command,
			cwd=folder,
			env=_environment(),
			input=given,
			capture_output=True,
			text=True,
			timeout=COMMAND_PATIENCE,
			check=False,
		)
		assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
		return done.stdout

	@contextmanager
	def kept(self, *paths: str) -> Iterator[None]:
		"""Put files and folders of the bench back, when the block ends, as they are now."""
		before = {path: _content(self.root / path) for path in paths}
		try:
			yield
		finally:
			for path, content in before.items():
				_restore(self.root / path, content)

	@contextmanager
	def configured(self, **keys: Any) -> Iterator[None]:
		"""Add keys to common_site_config.json for processes that start in the block."""
		path = "sites/common_site_config.json"
		with self.kept(path):
			config = json.loads((self.root / path).read_text())
			(self.root / path).write_text(json.dumps({**config, **keys}))
			yield

	def person(self, role: str = "manager", site: str = "") -> Person:
		"""Return `manager`, `reader`, `colleague` (System Users) or `visitor` (a Website User) of a site."""
		return self.people[site or self.site][role]

	def request(
		self,
		person: Person,
		path: str,
		data: dict[str, Any] | None = None,
		method: str = "",
	) -> Any:
		"""Call the site's REST API as a person, by the API key; return the object in the answer."""
		headers = {
			"Host": person.site,
			"Authorization": f"token {person.token}",
			"Accept": "application/json",
		}
		body = None
		if data is not None:
			headers["Content-Type"] = "application/json"
			body = json.dumps(data).encode()
		url = f"http://127.0.0.1:{self.web_port}{path}"
		request = urllib.request.Request(url, body, headers, method=method or ("POST" if body else "GET"))
		try:
			with urllib.request.urlopen(request, timeout=COMMAND_PATIENCE) as answer:
				return json.loads(answer.read())
		except urllib.error.HTTPError as error:
			raise AssertionError(f"{path}: HTTP {error.code} {error.read()[:2000]!r}") from error

	def insert(self, person: Person, doctype: str, **fields: Any) -> str:
		"""Insert a document by REST; return its name."""
		answer = self.request(person, f"/api/resource/{urllib.parse.quote(doctype)}", fields)
		return str(answer["data"]["name"])

	def log_in(self, person: Person) -> str:
		"""Log a person in as the login page does; return the session's id."""
		body = json.dumps({"usr": person.name, "pwd": person.password}).encode()
		headers = {"Host": person.site, "Content-Type": "application/json"}
		url = f"http://127.0.0.1:{self.web_port}/api/method/login"
		with urllib.request.urlopen(
			urllib.request.Request(url, body, headers), timeout=COMMAND_PATIENCE
		) as answer:
			for line in answer.headers.get_all("Set-Cookie") or ():
				if "sid" in (cookie := SimpleCookie(line)):
					return cookie["sid"].value
		raise AssertionError(f"{person.name} got no session")

	def headers(self, person: Person | str, credential: str = "", **more: str | None) -> dict[str, str]:
		"""Return the headers of a browser on a site.

		Args:
			person: with a new session; or the name of a site, whose Guest it is.
			credential: an Authorization header in place of the session's cookie.
			more: further headers, with _ for -; one given as None is left out.
		"""
		site = person if isinstance(person, str) else person.site
		headers: dict[str, str | None] = {
			"Host": f"{site}:{self.port}",
			"Origin": f"http://{site}:{self.web_port}",
		}
		if credential:
			headers["Authorization"] = credential
		else:
			headers["Cookie"] = f"sid={'Guest' if isinstance(person, str) else self.log_in(person)}"
		headers.update({key.replace("_", "-"): value for key, value in more.items()})
		return {key: value for key, value in headers.items() if value is not None}

	def publish(self, event: str, message: Any, room: str | None, site: str) -> None:
		"""Publish as every stock Frappe does."""
		payload = {"event": event, "message": message, "room": room, "namespace": site}
		self.events.publish("events", json.dumps(payload))

	def event(self) -> str:
		"""Return an event's name that no other test uses."""
		return f"bench_test_{next(self._numbers)}"

	def join(self, client: AnyClient, room: str, site: str, event: str, *args: Any) -> None:
		"""Let a client ask for a room, and wait until it is in it."""
		probe = self.event()

		def arrived() -> list[Args]:
			self.publish(probe, {}, room, site)
			return client.all(probe)

		client.emit(event, *args)
		until(arrived, f"{event}{args} puts the client into {room}")

	def settle(self, client: AnyClient, site: str) -> None:
		"""Wait until all that was published before has reached a client of a site, or never will."""
		event = self.event()
		self.publish(event, {}, "website", site)
		until(lambda: client.all(event), f"{event} at the client")


def _environment() -> dict[str, str]:
	return {key: value for key, value in os.environ.items() if key != "FRAPPE_BENCH_ROOT"}


def _content(path: Path) -> dict[str, bytes] | bytes | None:
	if path.is_dir():
		return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}
	return path.read_bytes() if path.is_file() else None


def _restore(path: Path, content: dict[str, bytes] | bytes | None) -> None:
	if isinstance(content, dict):
		for file in [*path.rglob("*")]:
			if file.is_file() and str(file.relative_to(path)) not in content:
				file.unlink()
		for name, data in content.items():
			_restore(path / name, data)
	elif content is None:
		if path.is_dir():
			shutil.rmtree(path)
		path.unlink(missing_ok=True)
	elif not path.is_file() or path.read_bytes() != content:
		path.write_bytes(content)
