"""What the doctor reads in the files of a bench, what it says about them, and what `--fix` writes."""

from __future__ import annotations

import asyncio
import json
import logging
import shlex
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from realtime.config import COMMAND_LINE, Config, load
from realtime.operations import doctor, fixes
from realtime.operations.bench_checks import BenchChecks
from realtime.operations.bench_files import BenchFiles, NginxServer, without_password
from realtime.operations.findings import FAILED, NOTE, OK, CheckFailed, Finding, KeyChange
from realtime.operations.sidecar_checks import ANOTHER_SERVER, SidecarChecks

NGINX = """
upstream bench-frappe { server 127.0.0.1:8007 fail_timeout=0; }
upstream bench-socketio-server {
	server 127.0.0.1:9007 fail_timeout=0;
}
server {
	listen 80;
	server_name one.test erp.example.com;
	location /socket.io { proxy_set_header X-Frappe-Site-Name one.test; }
}
server {
	listen 443 ssl;
	server_name two.test;
	location /socket.io { proxy_set_header X-Frappe-Site-Name $host; }
}
server { listen 81; server_name assets.test; }
"""


@pytest.fixture
def bench(tmp_path: Path) -> Path:
	for site in ("one.test", "two.test"):
		write(tmp_path / "sites" / site / "site_config.json", {})
	write(tmp_path / "sites" / "common_site_config.json", {"redis_queue": "redis://127.0.0.1:11001"})
	return tmp_path


def write(path: Path, content: Any) -> None:
	path.parent.mkdir(parents=True, exist_ok=True)
	path.write_text(content if isinstance(content, str) else json.dumps(content))


def files(bench: Path, **environment: str) -> BenchFiles:
	return BenchFiles(load(bench, environment))


def test_the_place_of_a_key(bench: Path) -> None:
	assert files(bench).place("redis_queue") == f"redis_queue in {bench}/sites/common_site_config.json"
	shell = files(bench, FRAPPE_REDIS_QUEUE="redis://a")
	assert shell.place("redis_queue") == "FRAPPE_REDIS_QUEUE (redis_queue) in the environment of this shell"
	assert shell.set_key("redis_queue", "redis://b") == "unset FRAPPE_REDIS_QUEUE"
	assert shell.change("redis_queue", "redis://b") is None
	write(bench / "Procfile", "socketio: FRAPPE_REDIS_QUEUE=x env/bin/frappe-realtime serve\n")
	assert shell.place("redis_queue", {"redis_queue": "FRAPPE_REDIS_QUEUE"}, "the sidecar").endswith(
		"in the environment of the sidecar, set in Procfile"
	)
	unit = bench / "config" / "systemd" / "erp-node-socketio.service"
	write(unit, "[Service]\nEnvironment=FRAPPE_REDIS_QUEUE=x\n")
	assert shell.place("redis_queue", {"redis_queue": "FRAPPE_REDIS_QUEUE"}, "the sidecar").endswith(
		"set in Procfile and config/systemd/erp-node-socketio.service"
	)


def test_what_a_restart_would_set_again(bench: Path) -> None:
	assert files(bench).left_in_files("redis_queue", "FRAPPE_REDIS_QUEUE") == ""
	write(
		bench / "Procfile",
		"web: bench serve --port 8000\nsocketio: FRAPPE_REDIS_QUEUE=x env/bin/frappe-realtime serve --bench .\n",
	)
	assert files(bench).left_in_files("redis_queue", "FRAPPE_REDIS_QUEUE") == (
		"a restart sets it again: remove FRAPPE_REDIS_QUEUE from Procfile, then bench start"
	)
	assert files(bench).left_in_files("socketio_port", COMMAND_LINE) == "", "the port of another process"
	write(bench / "config" / "supervisor.conf", "command=/b/env/bin/frappe-realtime serve --port 9001\n")
	assert files(bench).left_in_files("socketio_port", COMMAND_LINE) == (
		"a restart sets it again: remove --port from config/supervisor.conf, "
		"then sudo supervisorctl reread && sudo supervisorctl update"
	)
	assert files(bench).left_in_files("redis_queue", "") == ""


def test_a_password_is_not_in_a_command(bench: Path) -> None:
	assert without_password("redis://:geheim@a:1") == "redis://USER:PASSWORD@a:1"
	assert without_password("redis://a:1") == "redis://a:1"
	assert without_password("text@place") == "text@place"
	assert "geheim" not in files(bench).set_key("redis_queue", "redis://u:geheim@a:1")


def test_the_other_ports_of_redis(bench: Path) -> None:
	write(bench / "config" / "redis_queue.conf", "port 11005\nrequirepass x\n")
	assert files(bench).redis_urls() == ["redis://127.0.0.1:11005"]
	assert files(bench).redis_has_password
	shell = files(bench, FRAPPE_REDIS_QUEUE="redis://u:p@localhost:1")
	assert shell.redis_urls() == [
		"redis://127.0.0.1:11001",
		"redis://u:p@127.0.0.1:11005",
	]
	assert files(bench, FRAPPE_REDIS_QUEUE="redis://elsewhere:1").redis_urls() == []


def test_numbers_that_bench_has_written_as_text(bench: Path) -> None:
	write(bench / "sites" / "common_site_config.json", {"webserver_port": "8001"})
	assert files(bench, FRAPPE_WEBSERVER_PORT="1").web_ports() == [8001, 8000]


def test_the_redis_of_another_bench_is_not_that_of_this_one(bench: Path) -> None:
	assert files(bench).redis_urls() == ["redis://127.0.0.1:11000"], "no file says the port"
	write(bench / "config" / "redis_queue.conf", "port 11001\n")
	assert files(bench).redis_urls() == []


def test_the_other_ports_of_the_web_process(bench: Path) -> None:
	assert files(bench, FRAPPE_WEBSERVER_PORT="1").web_ports() == [8000]
	write(bench / "Procfile", "redis: x --port 1\nweb: bench serve --port 8005\n")
	write(bench / "config" / "supervisor.conf", "command=/b/env/bin/gunicorn -b 127.0.0.1:8006 -w 4\n")
	write(bench / "config" / "nginx.conf", NGINX)
	assert files(bench, FRAPPE_WEBSERVER_PORT="1").web_ports() == [8005, 8006, 8007]


def test_the_servers_of_nginx(bench: Path) -> None:
	assert files(bench).nginx_socketio_port() is None
	write(bench / "config" / "nginx.conf", NGINX)
	assert files(bench).nginx_socketio_port() == 9007
	assert files(bench).nginx_servers() == [
		NginxServer(("one.test", "erp.example.com"), 80, "one.test"),
		NginxServer(("two.test",), 443, ""),
	]


def test_ports_of_ipv6_addresses(bench: Path) -> None:
	write(bench / "config" / "nginx.conf", NGINX.replace("127.0.0.1:", "[::1]:"))
	write(bench / "config" / "supervisor.conf", "command=/b/env/bin/gunicorn -b [::1]:8006 -w 4\n")
	assert files(bench).nginx_socketio_port() == 9007
	assert files(bench, FRAPPE_WEBSERVER_PORT="1").web_ports() == [8006, 8007]


def test_how_a_bench_is_restarted(bench: Path) -> None:
	assert files(bench).restart == "bench restart"
	write(bench / "Procfile", "socketio: node apps/frappe/socketio.js\n")
	assert files(bench).restart == "bench start"
	assert files(bench).starts_node
	assert files(bench).has_no_proxy
	write(bench / "config" / "nginx.conf", NGINX)
	assert not files(bench).has_no_proxy
	assert "ulimit" in files(bench).descriptor_limit[1]
	write(bench / "config" / "systemd" / "erp-node-socketio.service", "[Service]\n")
	assert files(bench).restart == "sudo systemctl restart 'erp-*.service'"
	assert files(bench).descriptor_limit[0] == "LimitNOFILE of the unit erp-node-socketio.service"
	assert "ulimit" not in files(bench).descriptor_limit[1], "systemd does not read it"
	assert files(bench).set_up == (
		"bench realtime setup && sudo systemctl daemon-reload && sudo systemctl restart 'erp-*.service'"
	)
	write(bench / "config" / "supervisor.conf", "[program:x]\n")
	assert files(bench).restart == "bench restart"
	assert files(bench).set_up == (
		"bench realtime setup && sudo supervisorctl reread && sudo supervisorctl update"
	)
	assert "minfds" in files(bench).descriptor_limit[0]


def test_a_unit_that_starts_node(bench: Path) -> None:
	assert not files(bench).starts_node
	unit = "[Service]\nExecStart=/usr/bin/node /b/apps/frappe/socketio.js\n"
	write(bench / "config" / "systemd" / "erp-node-socketio.service", unit)
	assert files(bench).starts_node


# -- checks of these files


def checks(bench: Path, **environment: str) -> BenchChecks:
	config = load(bench, environment)
	return BenchChecks(config, BenchFiles(config))


def test_a_right_bench(bench: Path) -> None:
	ones = checks(bench)
	assert ones.configuration().state == ones.has_sites().state == OK
	assert ones.sites_folder() == ones.environment() == ones.nginx() == []


def test_nginx_and_the_desk_have_other_ports(bench: Path) -> None:
	write(bench / "config" / "nginx.conf", NGINX.replace("erp.example.com", ""))
	write(bench / "sites" / "two.test" / "site_config.json", {"socketio_port": 9100})
	found = {finding.code: finding for finding in checks(bench).nginx()}
	assert found.keys() == {"nginx.port", "desk.port"}
	assert "9007" in found["nginx.port"].what
	assert found["desk.port"].command == "bench --site two.test set-config socketio_port 9000"
	assert found["desk.port"].state == NOTE, "pages behind nginx do not use the port"
	write(bench / "config" / "nginx.conf", "")
	(without_nginx,) = checks(bench).nginx()
	assert (without_nginx.code, without_nginx.state) == ("desk.port", FAILED)


def test_a_host_that_no_site_has(bench: Path) -> None:
	write(
		bench / "config" / "nginx.conf", NGINX.replace("two.test", "shop.example.com").replace("9007", "9000")
	)
	(found,) = checks(bench).nginx()
	assert found.code == "host.unserved"
	assert found.command == "bench --site one.test set-config host_name https://shop.example.com"
	write(bench / "sites" / "one.test" / "site_config.json", {"host_name": "https://shop.example.com"})
	assert checks(bench).nginx() == []


def test_a_variable_that_overrides_the_file(bench: Path) -> None:
	(found,) = checks(bench, FRAPPE_REDIS_QUEUE="redis://a", FRAPPE_SOCKETIO_PORT="1").environment()
	assert found.command == "unset FRAPPE_REDIS_QUEUE", "socketio_port is not in the file"
	assert checks(bench, FRAPPE_REDIS_QUEUE="redis://127.0.0.1:11001").environment() == []


def test_a_variable_with_the_value_of_the_file_in_other_words(bench: Path) -> None:
	keys = {
		"realtime_transports": ["polling", "websocket"],
		"socketio_workers": "auto",
		"webserver_port": "8001",
	}
	write(bench / "sites" / "common_site_config.json", keys)
	same = {
		"FRAPPE_REALTIME_TRANSPORTS": "polling, websocket",
		"FRAPPE_SOCKETIO_WORKERS": "auto",
		"FRAPPE_WEBSERVER_PORT": "8001",
	}
	assert checks(bench, **same).environment() == []
	(found,) = checks(bench, **same | {"FRAPPE_REALTIME_TRANSPORTS": "websocket"}).environment()
	assert found.command == "unset FRAPPE_REALTIME_TRANSPORTS"


def test_a_backend_in_the_web_process_ends_with_a_restart_of_this_bench(bench: Path) -> None:
	write(bench / "sites" / "common_site_config.json", {"socketio_backend": "python-embedded"})
	write(bench / "config" / "systemd" / "erp-node-socketio.service", "[Service]\n")
	(found,) = checks(bench).backend()
	assert (
		found.command == "bench set-config -g socketio_backend node && sudo systemctl restart 'erp-*.service'"
	)


def test_no_site(tmp_path: Path) -> None:
	(tmp_path / "sites").mkdir()
	with pytest.raises(CheckFailed) as raised:
		checks(tmp_path).has_sites()
	assert raised.value.finding.command == "bench new-site NAME"


# -- the health of the sidecar


HEALTH: dict[str, Any] = {
	"redis": {"ok": True, "url": "redis://127.0.0.1:11001"},
	"web": {"ok": True, "url": "http://127.0.0.1:8000"},
	"overrides": {},
}


def sidecar(bench: Path, **environment: str) -> SidecarChecks:
	config: Config = load(bench, environment)
	return SidecarChecks(config, BenchFiles(config), None)  # type: ignore[arg-type]


def test_the_same_address_in_other_words_is_no_difference(bench: Path) -> None:
	for url in ("redis://127.0.0.1:11001", "redis://localhost:11001/0", "redis://localhost:11001"):
		assert sidecar(bench).redis_difference({**HEALTH, "redis": {"ok": True, "url": url}}) is None
	assert sidecar(bench).redis_difference({**HEALTH, "redis": {"ok": True}}) is None, "an older sidecar"
	assert sidecar(bench).unreached_web(HEALTH) is None


@pytest.mark.parametrize(
	("overrides", "environment", "where", "command"),
	[
		(
			{"redis_queue": "FRAPPE_REDIS_QUEUE"},
			{},
			"FRAPPE_REDIS_QUEUE",
			"unset FRAPPE_REDIS_QUEUE && bench restart",
		),
		({}, {"FRAPPE_REDIS_QUEUE": "redis://a:1"}, "of this shell", "unset FRAPPE_REDIS_QUEUE"),
		({}, {}, "which was changed after the start of the sidecar", "bench restart"),
	],
)
def test_who_has_the_other_address(
	bench: Path, overrides: dict[str, str], environment: dict[str, str], where: str, command: str
) -> None:
	health = {**HEALTH, "redis": {"ok": True, "url": "redis://b:2"}, "overrides": overrides}
	found = sidecar(bench, **environment).redis_difference(health)
	assert found is not None
	assert (found.code, found.state, found.command) == ("subscription.redis", FAILED, command)
	assert where in found.where


@pytest.mark.parametrize(
	("keys", "key", "command"),
	[
		({}, "socketio_port", "sudo ss -ltnp 'sport = :9000'"),
		({"socketio_uds": "/run/a b.sock"}, "socketio_uds", "sudo ss -lxp src '/run/a b.sock'"),
	],
)
def test_the_key_of_a_port_or_socket_with_another_server(
	bench: Path, keys: dict[str, str], key: str, command: str
) -> None:
	write(bench / "sites" / "common_site_config.json", keys)
	it: Any = sidecar(bench)

	async def nothing() -> None:
		return None

	it._find_elsewhere = it._is_engine = nothing
	found = asyncio.run(it._missing(ANOTHER_SERVER))
	assert (found.code, found.command) == ("sidecar.foreign", command)
	assert found.where == f"{key} in {bench}/sites/common_site_config.json"
	down = asyncio.run(it._missing("refused"))
	assert (down.code, down.where) == ("sidecar.down", found.where)


@pytest.mark.parametrize(("is_engine", "code"), [(True, "sidecar.node"), (False, "sidecar.remote")])
def test_a_server_here_while_a_sidecar_runs_on_another_host(bench: Path, is_engine: bool, code: str) -> None:
	"""Of several hosts, one may still run Node."""
	it: Any = sidecar(bench)

	async def find_elsewhere() -> tuple[str, dict[str, Any]]:
		return "other:9000", {}

	async def answers_as_engine() -> bool:
		return is_engine

	it._find_elsewhere, it._is_engine = find_elsewhere, answers_as_engine
	found = asyncio.run(it._missing(ANOTHER_SERVER))
	assert found.code == code
	assert "nothing answers" not in found.what
	write(bench / "Procfile", "socketio: node apps/frappe/socketio.js\n")
	found = asyncio.run(it._missing(ANOTHER_SERVER))
	assert "bench realtime setup && bench start" in f"{found.command} {found.advice}"


# -- fixes


def test_a_fix_keeps_the_file_and_can_be_undone(bench: Path) -> None:
	file = bench / "sites" / "common_site_config.json"
	file.chmod(0o640)
	before = file.read_bytes()
	undo = fixes.apply([KeyChange(file, "webserver_port", None, 8005)])
	assert json.loads(file.read_text()) == {"redis_queue": "redis://127.0.0.1:11001", "webserver_port": 8005}
	assert file.stat().st_mode & 0o777 == 0o640
	backup = fixes.backup_of(file)
	assert undo == {file: f"mv {backup} {file}"}
	assert backup.read_bytes() == before


def test_two_keys_of_a_file_have_one_backup_and_one_command_to_undo_them(tmp_path: Path) -> None:
	file = tmp_path / "my bench" / "common_site_config.json"
	write(file, {"webserver_port": 1, "redis_queue": "redis://a"})
	before = file.read_text()
	changes = [
		KeyChange(file, "redis_queue", "redis://a", "redis://b"),
		KeyChange(file, "webserver_port", 1, 2),
	]
	undo = fixes.apply(changes)
	assert json.loads(file.read_text()) == {"webserver_port": 2, "redis_queue": "redis://b"}
	assert fixes.backup_of(file).read_text() == before
	assert shlex.split(undo[file]) == ["mv", str(fixes.backup_of(file)), str(file)]


def end_with(cause: Finding, bench: Path, monkeypatch: pytest.MonkeyPatch, **options: bool) -> object:
	"""Run the doctor on a bench with this cause; return its exit code."""

	async def examine(config: Config, site: str | None, report: doctor.Report) -> list[Finding]:
		report(cause)
		return [cause]

	monkeypatch.setattr(doctor, "examine", examine)
	logger = logging.getLogger("realtime")
	level = logger.level
	try:
		with pytest.raises(SystemExit) as ended:
			doctor.doctor(load(bench, {}), None, **options)
	finally:
		logger.setLevel(level)
	return ended.value.code


def test_a_fix_that_cannot_be_written_leaves_the_cause(
	bench: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
	file = bench / "nowhere" / "common_site_config.json"
	change = KeyChange(file, "webserver_port", None, 8005)
	cause = Finding("web.port", FAILED, "it answers elsewhere", "a key", "a command", fix=change)
	assert end_with(cause, bench, monkeypatch, fix=True) == 1
	printed = capsys.readouterr()
	assert "--fix has changed nothing" in printed.err
	assert str(file) in printed.err
	assert printed.out.endswith("Cause: it answers elsewhere. Where: a key. Run: a command\n")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_terminal_without_the_characters_of_a_finding(
	bench: Path, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
	written = BytesIO()
	monkeypatch.setattr(sys, "stdout", TextIOWrapper(written, encoding="ascii"))
	cause = Finding("handlers.import", FAILED, "ungültig", "a file", "a command")
	assert end_with(cause, bench, monkeypatch, as_json=as_json) == 1
	if as_json:
		assert json.loads(written.getvalue())["causes"][0]["what"] == "ungültig"
	else:
		assert b"ung\\xfcltig. Where: a file. Run: a command" in written.getvalue()


def test_a_fix_refuses_a_file_that_is_no_object(tmp_path: Path) -> None:
	file = tmp_path / "common_site_config.json"
	file.write_text("[]")
	with pytest.raises(ValueError, match="does not hold a JSON object"):
		fixes.apply([KeyChange(file, "a", None, 1)])
	assert file.read_text() == "[]"


def test_a_fix_that_cannot_be_made_changes_no_other_file(tmp_path: Path) -> None:
	common, site = tmp_path / "common_site_config.json", tmp_path / "site_config.json"
	common.write_text("{}")
	with pytest.raises(FileNotFoundError):
		fixes.apply([KeyChange(common, "a", None, 1), KeyChange(site, "a", None, 1)])
	assert common.read_text() == "{}"
