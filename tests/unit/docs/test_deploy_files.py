"""The files in `deploy/` for containers, and the dashboard: commands and keys exist, and the tools that read the files accept them.

Traffic through the proxies of `deploy/proxy` is tested in tests/wire/test_deploy_proxies.py.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from realtime.__main__ import _parser
from realtime.config import KEYS
from tests.unit.docs.blocks import ROOT

yaml = pytest.importorskip("yaml")

DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "docker" / "compose.realtime.yaml"
KUBERNETES = DEPLOY / "kubernetes"
MANIFESTS = KUBERNETES / "realtime.yaml"
BENCH = "/home/frappe/frappe-bench"
"""The folder of the bench in the images of frappe_docker."""

CHART = {
	"apiVersion": "apps/v1",
	"kind": "Deployment",
	"metadata": {"name": "frappe-bench-erpnext-socketio"},
	"spec": {
		"selector": {"matchLabels": {"a": "b"}},
		"template": {
			"metadata": {"labels": {"a": "b"}},
			"spec": {
				"containers": [
					{
						"name": "socketio",
						"image": "erpnext",
						"args": ["node", f"{BENCH}/apps/frappe/socketio.js"],
					}
				]
			},
		},
	},
}
"""What the chart frappe/erpnext writes, in short."""

OTHER = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "frappe-bench-erpnext-socketio"}}

CONFIGURATION = """
services:
  websocket:
    image: erpnext
    command: [node, /home/frappe/frappe-bench/apps/frappe/socketio.js]
    volumes: [sites:/home/frappe/frappe-bench/sites]
volumes:
  sites:
"""
"""What the compose file of frappe_docker has for the realtime server, in short."""


def documents(text: str) -> list[dict[str, Any]]:
	return [one for one in yaml.safe_load_all(text) if one]


def manifests(kind: str) -> list[dict[str, Any]]:
	return [one for one in documents(MANIFESTS.read_text()) if one["kind"] == kind]


def patched_args() -> list[str]:
	kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
	((operation,),) = (yaml.safe_load(patch["patch"]) for patch in kustomization["patches"])
	return [str(one) for one in operation["value"]]


def container() -> dict[str, Any]:
	(deployment,) = manifests("Deployment")
	(one,) = deployment["spec"]["template"]["spec"]["containers"]
	assert isinstance(one, dict)
	return one


@pytest.mark.parametrize(
	"command",
	[
		yaml.safe_load(COMPOSE.read_text())["services"]["websocket"]["command"],
		patched_args(),
		container()["command"],
	],
	ids=["compose", "kustomization", "manifests"],
)
def test_the_command_is_one_of_the_command_line(command: list[str]) -> None:
	assert command[0] == f"{BENCH}/env/bin/frappe-realtime"
	arguments = [word.replace("${REALTIME_WORKERS:-1}", "1") for word in command[1:]]
	parsed = _parser().parse_args(arguments)
	assert arguments[0] == "serve"
	assert parsed.bench == BENCH


def test_the_variables_are_those_of_keys() -> None:
	values = yaml.safe_load((KUBERNETES / "values.yaml").read_text())["socketio"]
	compose = yaml.safe_load(COMPOSE.read_text())["services"]["websocket"]["environment"]
	names = {one["name"] for one in (*container()["env"], *values["envVars"])} | set(compose)
	assert names
	assert names <= {one.metadata["key"].env for one in KEYS.values()}


def test_a_selector_of_the_manifests_finds_the_pods() -> None:
	(deployment,) = manifests("Deployment")
	labels = deployment["spec"]["template"]["metadata"]["labels"]
	assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
	for kind in ("Service", "PodDisruptionBudget"):
		(one,) = manifests(kind)
		selector = one["spec"]["selector"]
		assert selector.get("matchLabels", selector).items() <= labels.items()
	(scaler,) = manifests("HorizontalPodAutoscaler")
	assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
	assert container()["resources"]["requests"]["cpu"], "the autoscaler compares with it"


def test_the_manifests_are_valid() -> None:
	if importlib.util.find_spec("kubernetes_validate") is None:
		pytest.skip("kubernetes-validate is not installed (pip install kubernetes-validate)")
	kubernetes_validate = importlib.import_module("kubernetes_validate")
	for manifest in documents(MANIFESTS.read_text()):
		kubernetes_validate.validate(manifest, "1.37", strict=True)


def test_the_post_renderer_replaces_the_command_and_nothing_else() -> None:
	if shutil.which("kubectl") is None:
		pytest.skip("kubectl is not installed (Debian: apt-get install kubernetes-client)")
	text = "---\n".join(yaml.safe_dump(one) for one in (OTHER, CHART))
	done = subprocess.run(
		[str(KUBERNETES / "post-render.sh")],
		input=text,
		capture_output=True,
		text=True,
		timeout=60,
		check=False,
	)
	assert done.returncode == 0, done.stderr
	by_kind = {one["kind"]: one for one in documents(done.stdout)}
	expected = json.loads(json.dumps(CHART))
	expected["spec"]["template"]["spec"]["containers"][0]["args"] = patched_args()
	assert by_kind == {"Service": OTHER, "Deployment": expected}


def test_compose_replaces_node(tmp_path: Path) -> None:
	compose = shutil.which("docker-compose")
	if compose is None:
		pytest.skip("docker-compose is not installed (Debian: apt-get install docker-compose)")
	base = tmp_path / "compose.yaml"
	base.write_text(CONFIGURATION)
	done = subprocess.run(
		[compose, "-f", str(base), "-f", str(COMPOSE), "config", "--format", "json"],
		env={"PATH": "/usr/bin:/bin", "REALTIME_WORKERS": "3"},
		capture_output=True,
		text=True,
		timeout=60,
		check=False,
	)
	assert done.returncode == 0, done.stderr
	service = json.loads(done.stdout)["services"]["websocket"]
	assert service["command"] == [
		f"{BENCH}/env/bin/frappe-realtime",
		"serve",
		"--bench",
		BENCH,
		"--workers",
		"3",
	]
	assert service["image"] == "erpnext"
	assert service["environment"]["FRAPPE_WEBSERVER_HOST"] == "backend"


@pytest.mark.parametrize("metric", ["process_cpu_seconds_total", "process_max_fds"])
def test_the_dashboard_knows_how_many_workers_share_what_it_shows(metric: str) -> None:
	"""The CPU time of a host is the sum of its workers, and its limit of open files is that of one of them."""
	panels = json.loads((DEPLOY / "grafana.json").read_text())["panels"]
	expressions = [target["expr"] for panel in panels for target in panel.get("targets", ())]
	using = [expression for expression in expressions if metric in expression]
	assert using
	for expression in using:
		assert expression.endswith(" on (job, instance) frappe_realtime_workers"), expression
