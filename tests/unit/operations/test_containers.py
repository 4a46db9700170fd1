"""How the doctor restarts the processes of a bench where they are containers."""

from __future__ import annotations

from pathlib import Path

import pytest

from realtime.config import load
from realtime.operations.bench_files import BenchFiles
from realtime.operations.containers import COMPOSE, KUBERNETES, Containers, find_containers
from tests.unit.docs.blocks import ROOT


@pytest.fixture
def bench(tmp_path: Path) -> Path:
	write(tmp_path / "sites" / "common_site_config.json", "{}")
	return tmp_path


def write(path: Path, content: str) -> None:
	path.parent.mkdir(parents=True, exist_ok=True)
	path.write_text(content)


@pytest.mark.parametrize(
	("environment", "file", "containers"),
	[
		({}, ".dockerenv", COMPOSE),
		({}, "run/.containerenv", COMPOSE),
		({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "etc/hosts", KUBERNETES),
		({}, "etc/hosts", None),
	],
)
def test_whether_this_process_is_in_a_container(
	tmp_path: Path, environment: dict[str, str], file: str, containers: Containers | None
) -> None:
	write(tmp_path / file, "")
	assert find_containers(environment, tmp_path) is containers


@pytest.mark.parametrize("containers", [COMPOSE, KUBERNETES])
def test_the_commands_are_those_for_containers(bench: Path, containers: Containers) -> None:
	it = BenchFiles(load(bench, {}), containers)
	assert (it.restart, it.restart_sidecar) == (containers.restart, containers.restart_sidecar)
	assert it.start == containers.start
	assert it.set_key("redis_queue", "redis://b") == (
		f"bench set-config -g redis_queue redis://b  # then, outside of the container: {containers.restart}"
	)
	assert it.set_key("webserver_port", 8000).endswith(f": {containers.restart_sidecar}")
	assert it.descriptor_limit[1].startswith(f"{containers.apply}  # ")
	assert containers.definition in it.descriptor_limit[0]


@pytest.mark.parametrize("containers", [COMPOSE, KUBERNETES])
def test_a_container_has_its_command_and_its_environment_from_its_definition(
	bench: Path, containers: Containers
) -> None:
	it = BenchFiles(load(bench, {"FRAPPE_REDIS_QUEUE": "redis://a"}), containers)
	for command in (
		it.set_up,
		it.restart_sidecar_without("FRAPPE_REDIS_QUEUE"),
		it.set_key("redis_queue", "redis://b"),
	):
		assert command.startswith(f"{containers.apply}  # with")
		assert command.endswith(containers.definition)


@pytest.mark.parametrize(
	("file", "command"),
	[
		("Procfile", "bench start"),
		("config/supervisor.conf", "bench restart"),
		("config/systemd/erp-node-socketio.service", "sudo systemctl restart 'erp-*.service'"),
		("config/gunicorn.conf.py", "bench restart"),
	],
)
def test_a_process_manager_in_a_container_restarts_the_processes(
	bench: Path, file: str, command: str
) -> None:
	write(bench / file, "text")
	it = BenchFiles(load(bench, {}), COMPOSE)
	assert it.restart == it.restart_sidecar == command
	assert it.then("a", it.restart) == f"a && {command}"
	assert it.restart_sidecar_without("B") == f"unset B && {command}"


def test_the_names_are_those_of_the_files_in_deploy() -> None:
	compose = (ROOT / "deploy" / "docker" / "compose.realtime.yaml").read_text()
	service = COMPOSE.restart_sidecar.split()[-1]
	assert f"\nservices:\n  {service}:\n" in compose
	assert service in COMPOSE.definition
	manifest = KUBERNETES.apply.split()[-1]
	deployment = KUBERNETES.restart_sidecar.partition("deployment/")[2]
	text = (ROOT / "deploy" / "kubernetes" / manifest).read_text()
	assert f"kind: Deployment\nmetadata:\n  name: {deployment}\n" in text
	assert deployment in KUBERNETES.definition
