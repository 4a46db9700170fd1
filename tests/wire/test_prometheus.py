"""`deploy/`: a real Prometheus scrapes the sidecar under load, evaluates the alerts and answers each query of the dashboard."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.wire.apps import install, write_handlers
from tests.wire.bench import Bench
from tests.wire.clients import Refused
from tests.wire.conditions import free_port, until
from tests.wire.conftest import Connect, MakeBench
from tests.wire.publisher import Publisher
from tests.wire.sidecar import ROOT
from tests.wire.test_metrics import HANDLERS, section

DEPLOY = ROOT / "deploy"
ALERTS = DEPLOY / "alerts.yml"
JOB = "frappe-realtime"

pytestmark = pytest.mark.skipif(
	not (shutil.which("promtool") and shutil.which("prometheus")),
	reason="Prometheus is not installed (Debian: apt-get install prometheus)",
)


def promtool(*arguments: str, text: str | None = None) -> str:
	"""Run promtool and return its output; the test fails if promtool finds anything."""
	run = subprocess.run(["promtool", *arguments], input=text, capture_output=True, text=True, timeout=60)
	assert run.returncode == 0, run.stdout + run.stderr
	return run.stdout


class Prometheus:
	"""A Prometheus that scrapes one sidecar twice a second.

	Args:
		folder: Holds its configuration and its data.
		target: The port of the sidecar.
	"""

	def __init__(self, folder: Path, target: int) -> None:
		self._port = free_port()
		config = {
			"global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
			"rule_files": [str(ALERTS)],
			"scrape_configs": [
				{"job_name": JOB, "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]},
			],
		}
		file = folder / "prometheus.yml"
		file.write_text(json.dumps(config))
		self._log = (folder / "prometheus.log").open("wb")
		self._process = subprocess.Popen(
			[
				"prometheus",
				f"--config.file={file}",
				f"--storage.tsdb.path={folder / 'data'}",
				f"--web.listen-address=127.0.0.1:{self._port}",
			],
			stdout=self._log,
			stderr=self._log,
		)

	def stop(self) -> None:
		self._process.terminate()
		self._process.wait(30)
		self._log.close()

	def get(self, path: str, **parameters: str) -> Any:
		"""Return the data of an answer of the HTTP API; None while Prometheus starts."""
		url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
		try:
			with urllib.request.urlopen(url, timeout=30) as answer:
				return json.load(answer)["data"]
		except (ConnectionError, urllib.error.HTTPError, urllib.error.URLError):
			return None

	def query(self, expression: str) -> list[Any]:
		"""Return the result of a query; empty if there is no data."""
		data = self.get("query", query=expression)
		return data["result"] if data else []


@pytest.fixture
def busy_bench(make_bench: MakeBench) -> Bench:
	"""Return a bench with handlers of an app."""
	bench = make_bench(start=False)
	write_handlers(bench, "echo", HANDLERS)
	install(bench, "echo")
	bench.start()
	return bench


@pytest.fixture
def prometheus(busy_bench: Bench, tmp_path: Path) -> Iterator[Prometheus]:
	"""Return a Prometheus that scrapes the sidecar of `busy_bench`."""
	process = Prometheus(tmp_path, busy_bench.sidecar.port)
	yield process
	process.stop()


class Load:
	"""Everything that the dashboard shows, a little of it with each call."""

	def __init__(self, bench: Bench, connect: Connect) -> None:
		self._bench = bench
		self._connect = connect
		self._publisher = Publisher(bench.valkey.url)
		self._client = connect(bench, bench.user())
		bench.join(self._client, "doctype:ToDo", "doctype_subscribe", "ToDo")

	def run(self) -> None:
		for number in range(20):
			self._publisher.publish("news", number)
			self._publisher.publish("list_update", {"doctype": "ToDo", "name": str(number)}, "doctype:ToDo")
		self._client.call("echo_back", 1)
		with pytest.raises(Refused):
			self._connect(self._bench, headers={"Origin": "https://elsewhere.invalid"})
		self._bench.sidecar.get("/socket.io/")
		for channel in ("events", "frappe_realtime:sidecars", "frappe_realtime:access"):
			self._bench.valkey.client.publish(channel, "not a message")


def dashboard_queries() -> Iterator[tuple[str, str]]:
	"""Return the panel and the expression of each query of the dashboard, without the variables of Grafana."""
	values = {"$__rate_interval": "10s", "$job": JOB, "$instance": ".*"}
	dashboard = json.loads((DEPLOY / "grafana.json").read_text())
	for panel in dashboard["panels"]:
		for target in panel.get("targets", ()):
			expression = target["expr"]
			for variable, value in values.items():
				expression = expression.replace(variable, value)
			assert "$" not in expression
			yield panel["title"], expression


def test_promtool_accepts_the_metrics(busy_bench: Bench, connect: Connect) -> None:
	Load(busy_bench, connect).run()
	promtool("check", "metrics", text=busy_bench.sidecar.get("/metrics")[1])


def test_promtool_accepts_the_alerts() -> None:
	promtool("check", "rules", str(ALERTS))


@pytest.mark.parametrize(
	("sidecars", "workers"), [(0, 1), (1, 1), (0, 2)], ids=["alone", "another", "workers"]
)
def test_messages_that_nobody_waits_for_are_no_alert(tmp_path: Path, sidecars: int, workers: int) -> None:
	labels = {"job": JOB, "instance": "host:9000"}
	selector = ", ".join(f'{name}="{value}"' for name, value in labels.items())
	values = {"sidecar_lost_total": "0+1x20", "sidecars": f"{sidecars}+0x20", "workers": f"{workers}+0x20"}
	fires = {
		"exp_labels": {**labels, "severity": "warning"},
		"exp_annotations": {
			"summary": "The sidecar host:9000 cannot reach other sidecars, or its workers each other",
			"description": "Events of handlers do not reach the clients of other sidecars and workers. Check Redis.",
		},
	}
	tests = {
		"rule_files": [str(ALERTS)],
		"tests": [
			{
				"interval": "1m",
				"input_series": [
					{"series": f"frappe_realtime_{name}{{{selector}}}", "values": text}
					for name, text in values.items()
				],
				"alert_rule_test": [
					{
						"eval_time": "15m",
						"alertname": "RealtimeSidecarMessagesLost",
						"exp_alerts": [fires] if sidecars or workers > 1 else [],
					}
				],
			}
		],
	}
	file = tmp_path / "tests.yml"
	file.write_text(json.dumps(tests))
	promtool("test", "rules", str(file))


def test_prometheus_answers_all_queries(busy_bench: Bench, connect: Connect, prometheus: Prometheus) -> None:
	load = Load(busy_bench, connect)
	waiting = dict.fromkeys(dashboard_queries())
	assert len(waiting) > 30

	def answered() -> bool:
		load.run()
		for panel, expression in list(waiting):
			if prometheus.query(expression):
				del waiting[panel, expression]
		return not waiting

	try:
		until(answered, patience=60)
	except AssertionError:
		pytest.fail(f"no answer to {list(waiting)}")
	[group] = prometheus.get("rules")["groups"]
	rules = group["rules"]
	assert {rule["health"] for rule in rules} == {"ok"}, rules
	# The last scrape may have taken longer than its half second.
	until(
		lambda: [one["value"][1] for one in prometheus.query(f'up{{job="{JOB}"}}')] == ["1"],
		"a scrape that succeeds",
	)


def test_alerts_and_dashboard_use_metrics_that_exist(busy_bench: Bench, connect: Connect) -> None:
	Load(busy_bench, connect).run()
	text = ALERTS.read_text() + (DEPLOY / "grafana.json").read_text()
	known = busy_bench.sidecar.get("/metrics")[1]
	for name in set(re.findall(r"\b(?:frappe_realtime|process)_[a-z_]+\b", text)):
		assert name == "frappe_realtime" or re.search(rf"^{name}[ {{]", known, re.MULTILINE), name


def test_the_alerts_are_documented() -> None:
	alerts = re.findall(r"alert: (\w+)", ALERTS.read_text())
	assert re.findall(r"^\| `(Realtime\w+)` \|", section("Prometheus and Grafana"), re.MULTILINE) == alerts
