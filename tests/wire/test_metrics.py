"""`/metrics` and `/health`: what they have, and that docs/operations.md lists exactly that."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from frappe_realtime import __version__
from tests.wire.apps import install, write_handlers
from tests.wire.bench import Bench
from tests.wire.clients import Refused
from tests.wire.conditions import PATIENCE, until
from tests.wire.conftest import Connect, MakeBench
from tests.wire.javascript import MakeJavaScriptBench, make_javascript_bench
from tests.wire.publisher import Publisher
from tests.wire.sidecar import ROOT, Sidecar

__all__ = ["make_javascript_bench"]

PREFIX = "frappe_realtime_"

HANDLERS = """
from frappe.realtime import realtime

@realtime.on("echo_back")
async def echo_back(socket, value):
	return value
"""


class Described(NamedTuple):
	"""The type of a metric and the names of its labels."""

	type: str
	labels: frozenset[str]


def section(title: str) -> str:
	"""A section of docs/operations.md."""
	text = (ROOT / "docs" / "operations.md").read_text()
	return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def documented() -> dict[str, Described]:
	"""The rows of the table in docs/operations.md, by the name of the metric."""
	found: dict[str, Described] = {}
	for names, kind in re.findall(r"^\| (`.*?`) \| (\w+) \|", section("Metrics"), re.MULTILINE):
		for name, labels in re.findall(r"`(\w+)(?:\{(.*?)\})?`", names):
			full = name if name.startswith("process_") else PREFIX + name
			assert full not in found, f"{name} is listed twice"
			found[full] = Described(kind, frozenset(re.findall(r"\w+", labels)))
	return found


def scraped(bench: Bench) -> dict[str, Described]:
	"""The metrics of a sidecar as Prometheus reads them; a metric with labels must have a sample."""
	status, body = bench.sidecar.get("/metrics")
	assert status == 200
	found: dict[str, Described] = {}
	for family in text_string_to_metric_families(body):
		name = f"{family.name}_total" if family.type == "counter" else family.name
		assert family.documentation
		labels = frozenset(label for sample in family.samples for label in sample.labels) - {"le"}
		found[name] = Described(family.type, labels)
	return found


def test_documentation_lists_all_metrics(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(start=False)
	write_handlers(bench, "echo", HANDLERS)
	install(bench, "echo")
	bench.start()
	# A sample of each metric with a label.
	client = connect(bench, bench.user())
	client.call("echo_back", 1)
	with pytest.raises(Refused):
		connect(bench, headers={"Origin": "https://elsewhere.invalid"})
	bench.sidecar.get("/socket.io/")
	bench.valkey.client.publish("frappe_realtime:sidecars", "not a message")
	bench.valkey.client.publish("frappe_realtime:access", "not a message")
	assert scraped(bench) == documented()


def test_documentation_lists_the_keys_of_health(bench: Bench) -> None:
	keys = re.findall(r"^\| `(\w+)` \|", section("Health"), re.MULTILINE)
	assert keys == list(bench.sidecar.health()[1])


def samples(bench: Bench) -> dict[str, float]:
	"""The samples of a sidecar without the prefix, each by its name and labels as in the text format."""
	found: dict[str, float] = {}
	for family in text_string_to_metric_families(bench.sidecar.get("/metrics")[1]):
		for sample in family.samples:
			labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
			name = sample.name.removeprefix(PREFIX)
			found[f"{name}{{{labels}}}" if labels else name] = sample.value
	return found


def test_latencies(make_bench: MakeBench, connect: Connect) -> None:
	"""Each latency is measured once for what it is about, in seconds."""
	bench = make_bench(start=False)
	write_handlers(bench, "echo", HANDLERS)
	install(bench, "echo")
	bench.start()
	client = connect(bench, bench.user())
	publisher = Publisher(bench.valkey.url)
	before = samples(bench)
	publisher.publish("news", 1)
	client.next("news")
	assert client.call("echo_back", 1) == 1
	connect(bench, bench.user()).fence()
	with pytest.raises(Refused):
		connect(bench, headers={"Origin": "https://elsewhere.invalid"})
	after = samples(bench)
	for name, labels, count in (
		("publish_to_write_seconds", "", 1),
		("handler_seconds", '{app="echo",language="python"}', 1),
		("connect_seconds", '{result="accepted"}', 1),
		("connect_seconds", '{result="refused"}', 1),
		("web_request_seconds", '{endpoint="get_user_info"}', 1),
	):
		assert after[f"{name}_count{labels}"] - before.get(f"{name}_count{labels}", 0) == count, name
		assert 0 <= after[f"{name}_sum{labels}"] - before.get(f"{name}_sum{labels}", 0) < PATIENCE, name


JAVASCRIPT_HANDLERS = """
socket.on("quick", (answer) => answer(1));
socket.on("slow", async (answer) => { await new Promise((resolve) => setTimeout(resolve, 2600)); answer(2); });
socket.on("failing", (answer) => { answer(3); throw new Error("on purpose"); });
socket.on("rejecting", async (answer) => { answer(4); throw new Error("on purpose"); });
socket.on("lazy", (answer) => ({ then(done) { answer(5); done(); } }));
socket.on("endless", (answer) => { answer(6); return new Promise(() => {}); });
"""


def test_latency_of_javascript_handlers(make_javascript_bench: MakeJavaScriptBench, connect: Connect) -> None:
	"""A listener is measured when it returns, throws, or its promise settles."""
	bench = make_javascript_bench(chat=JAVASCRIPT_HANDLERS)
	bench.sidecar.expects_traceback = True
	client = connect(bench, bench.user())
	events = ("quick", "slow", "failing", "rejecting", "lazy", "endless")
	assert [client.call(event) for event in events] == [1, 2, 3, 4, 5, 6]
	labels = '{app="chat",language="javascript"}'
	until(lambda: samples(bench).get(f"handler_seconds_count{labels}") == 5, "five calls")
	found = samples(bench)
	assert 2.5 < found[f"handler_seconds_sum{labels}"] < PATIENCE
	assert found['handler_seconds_bucket{app="chat",language="javascript",le="2.5"}'] == 4


def test_refusals_are_counted_by_reason(make_bench: MakeBench, connect: Connect) -> None:
	bench = make_bench(common={"realtime_sockets_per_user": 1})
	user = bench.user()
	connect(bench, user)
	with pytest.raises(Refused):
		connect(bench, user)
	with pytest.raises(Refused):
		connect(bench, authorization="token wrong:token")
	with pytest.raises(Refused):
		connect(bench, namespace="/nowhere.test")
	assert bench.sidecar.get("/socket.io/?EIO=4&transport=polling&sid=unknown")[0] == 400
	found = samples(bench)
	assert found['requests_refused_total{reason="Session ID unknown"}'] == 1
	for reason in ("Too many connections (realtime_sockets_per_user)", "Unauthorized", "Invalid namespace"):
		assert found[f'connects_refused_total{{reason="{reason}"}}'] == 1


def test_build_info(bench: Bench) -> None:
	python = ".".join(map(str, sys.version_info[:3]))
	assert samples(bench)[f'build_info{{python="{python}",version="{__version__}"}}'] == 1


def test_metrics_of_the_process(bench: Bench) -> None:
	families = {
		family.name: family for family in text_string_to_metric_families(bench.sidecar.get("/metrics")[1])
	}
	assert bench.sidecar.process
	[resident] = families["process_resident_memory_bytes"].samples
	assert resident.value == pytest.approx(bench.sidecar.memory(), rel=0.2)
	[open_files] = families["process_open_fds"].samples
	assert open_files.value == pytest.approx(
		len(list(Path(f"/proc/{bench.sidecar.process.pid}/fd").iterdir())), abs=5
	)


def test_serve_imports_only_what_it_needs(make_bench: MakeBench, tmp_path: Path) -> None:
	"""python-socketio is for the tools, redis-py for Sentinels, and prometheus_client is imported with the first request for metrics."""
	bench = make_bench(start=False)
	bench.valkey.start()
	bench.start_web()
	bench.sidecar = Sidecar(
		bench.folder, tmp_path / "log", command=(sys.executable, "-X", "importtime", "-m", "realtime")
	)
	bench.sidecar.start()
	bench.wait_until_subscribed()
	bench.sidecar.health()

	def imported() -> set[str]:
		lines = bench.sidecar.log.splitlines()
		return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines if "import time:" in line}

	assert "aiohttp" in imported()
	assert not imported() & {"socketio", "engineio", "prometheus_client", "redis"}
	bench.sidecar.get("/metrics")
	assert "prometheus_client" in imported()
	assert not imported() & {"socketio", "engineio"}
