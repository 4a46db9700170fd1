"""Benches whose Redis or web process is broken on purpose: the doctor ends with the cause, and its remedy mends the bench.

Each test breaks one thing, checks the last line of the doctor, does what that line says, and runs the doctor again.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from frappe_realtime.publishing.outages import Outage, append_report
from realtime.demo.web_process import FakeWebProcess
from tests.wire.background import Background
from tests.wire.bench import APP_SITE, Bench
from tests.wire.conditions import accepts, free_port, until
from tests.wire.conftest import MakeBench
from tests.wire.doctor import (
	ON_APP_SITE,
	common,
	cure,
	diagnose,
	holds,
	is_well,
	remedies,
	replace_sidecar,
	run_doctor,
	set_site_key,
	with_addresses,
)
from tests.wire.relay import ClockRelay


@pytest.fixture
def bench(make_bench: MakeBench) -> Bench:
	"""A bench in which both sites have an address that is reached."""
	return with_addresses(make_bench(version=17))


@pytest.fixture
def unstarted(make_bench: MakeBench) -> Bench:
	"""The same, for tests that break something before it is started."""
	return with_addresses(make_bench(version=17, start=False))


def test_the_web_process_answers_too(bench: Bench) -> None:
	bench.write_config(socketio_backend="python-embedded")
	note = diagnose(bench, *ON_APP_SITE, code=0, row="`socketio_backend` is `python-embedded`")
	assert note.where == f"socketio_backend in {common(bench)}"
	cure(bench, note.command)
	is_well(bench, *ON_APP_SITE)


# -- Redis


def test_a_wrong_port_of_redis(bench: Bench) -> None:
	(bench.folder / "config").mkdir(exist_ok=True)
	(bench.folder / "config" / "redis_queue.conf").write_text(f"bind 127.0.0.1\nport {bench.valkey.port}\n")
	wrong = f"redis://127.0.0.1:{free_port()}"
	bench.write_config(redis_queue=wrong)
	cause = diagnose(bench, *ON_APP_SITE, row="`redis_queue` has a wrong port")
	assert f"Redis at {wrong} (redis_queue) does not answer" in cause.what
	assert f"a Redis answers at {bench.valkey.url}" in cause.what
	assert cause.where == f"redis_queue in {common(bench)}"
	assert cause.command == f"bench set-config -g redis_queue {bench.valkey.url} && bench restart"
	cure(bench, cause.command)
	is_well(bench, *ON_APP_SITE)


def test_redis_is_down(bench: Bench) -> None:
	bench.valkey.stop()
	cause = diagnose(bench, *ON_APP_SITE, row="Redis is down")
	assert "does not answer" in cause.what
	assert cause.where == f"redis_queue in {common(bench)}"
	cure(bench, cause.command, {"sudo supervisorctl start all": bench.valkey.start})
	bench.wait_until_subscribed()
	is_well(bench, *ON_APP_SITE)


def test_the_password_of_redis_is_missing(make_bench: MakeBench) -> None:
	bench = with_addresses(make_bench(version=16))
	bench.valkey.client.config_set("requirepass", "geheim")
	cause = diagnose(bench, *ON_APP_SITE, row="the password of Redis is missing")
	assert "requires a password" in cause.what
	assert cause.where == f"redis_queue in {common(bench)}"
	host = f"127.0.0.1:{bench.valkey.port}"
	assert cause.command == f"bench set-config -g redis_queue redis://USER:PASSWORD@{host} && bench restart"
	cure(bench, cause.command.replace("USER:PASSWORD", ":geheim"))
	is_well(bench, *ON_APP_SITE)


def test_a_wrong_password_of_redis(make_bench: MakeBench) -> None:
	bench = with_addresses(make_bench(version=16))
	bench.valkey.client.execute_command("ACL", "SETUSER", "queue", "on", ">pw", "~*", "&*", "+@all")
	host = f"127.0.0.1:{bench.valkey.port}"
	bench.write_config(redis_queue=f"redis://queue:wrong@{host}")
	cause = diagnose(bench, *ON_APP_SITE, row="the password of Redis is wrong")
	assert "does not accept the user and password" in cause.what
	assert "wrong@" not in "".join(cause)
	cure(bench, cause.command.replace("USER:PASSWORD", "queue:pw"))
	is_well(bench, *ON_APP_SITE)


@pytest.mark.parametrize(
	("row", "rules", "missing", "command"),
	[
		("run scripts", ["~*", "&*", "+@all", "-@scripting"], "EVAL, EVALSHA", "+eval +evalsha"),
		(
			"use streams",
			["~*", "&*", "+@all", "-@stream"],
			"XADD, XDEL, XLEN, XRANGE, XREVRANGE, XTRIM",
			"+xadd +xdel +xlen +xrange +xrevrange +xtrim",
		),
		("use transactions", ["~*", "&*", "+@all", "-multi"], "MULTI, EXEC", "+multi +exec"),
		(
			"use the channel",
			["~*", "&frappe_realtime:*", "+@all"],
			"the channels events and",
			"'&events' '&frappe_realtime:*'",
		),
		(
			"use the keys",
			["~rq:*", "&*", "+@all"],
			"the keys frappe_realtime:* and",
			"'~frappe_realtime:*' '~socketio_auth_secret'",
		),
	],
	ids=["scripts", "streams", "transactions", "channel", "keys"],
)
def test_a_user_of_redis_without_rights(
	make_bench: MakeBench, row: str, rules: list[str], missing: str, command: str
) -> None:
	bench = with_addresses(make_bench(version=16))
	bench.valkey.client.execute_command("ACL", "SETUSER", "queue", "on", ">pw", *rules)
	bench.write_config(redis_queue=f"redis://queue:pw@127.0.0.1:{bench.valkey.port}")
	bench.sidecar.restart()
	cause = diagnose(bench, *ON_APP_SITE, row=f"the user of Redis may not {row}")
	assert f"the user 'queue' of redis_queue lacks rights in Redis: {missing}" in cause.what
	assert cause.where.startswith(f"the ACL of the user 'queue' at {bench.valkey.url}")
	assert cause.command.startswith(f"redis-cli -u {bench.valkey.url} ACL SETUSER queue {command}")
	cure(bench, cause.command)
	is_well(bench, *ON_APP_SITE)


def test_the_sidecar_is_on_another_redis_by_its_environment(make_bench: MakeBench) -> None:
	other = make_bench()
	bench = with_addresses(make_bench(version=17, env={"FRAPPE_REDIS_QUEUE": other.valkey.url}, start=False))
	bench.valkey.start()
	bench.start_web()
	bench.sidecar.start()
	other.valkey.wait_for_subscriber(count=2)
	cause = diagnose(bench, *ON_APP_SITE, row="`FRAPPE_REDIS_QUEUE` gives the sidecar another Redis")
	assert (
		f"the sidecar uses the Redis at {other.valkey.url}, and this bench {bench.valkey.url}" in cause.what
	)
	assert cause.where == "FRAPPE_REDIS_QUEUE (redis_queue) in the environment of the sidecar"
	assert cause.command == "unset FRAPPE_REDIS_QUEUE && bench restart"
	cure(bench, cause.command, {"unset": lambda: None, "bench restart": lambda: replace_sidecar(bench)})
	is_well(bench, *ON_APP_SITE)


def test_the_sidecar_was_started_before_redis_queue_was_changed(bench: Bench, make_bench: MakeBench) -> None:
	other = make_bench()
	old, new = bench.valkey, other.valkey
	bench.write_config(redis_queue=new.url)
	other.sidecar.stop()
	cause = diagnose(bench, *ON_APP_SITE, row="`redis_queue` was changed after the start of the sidecar")
	assert f"the sidecar uses the Redis at {old.url}, and this bench {new.url}" in cause.what
	assert cause.where == f"redis_queue in {common(bench)}, which was changed after the start of the sidecar"
	assert cause.command == "bench restart"
	bench.sidecar.restart()
	new.wait_for_subscriber()


def test_another_redis_by_a_variable_of_the_shell(bench: Bench, make_bench: MakeBench) -> None:
	other = make_bench()
	env = {"FRAPPE_REDIS_QUEUE": other.valkey.url}
	code, said = run_doctor(bench, *ON_APP_SITE, env=env)
	assert code == 1, said
	(cause,) = remedies(said)
	holds("`FRAPPE_REDIS_QUEUE` is set in a shell", cause)
	assert "FRAPPE_REDIS_QUEUE (redis_queue) in the environment of this shell" in cause.where
	assert cause.command == "unset FRAPPE_REDIS_QUEUE"
	is_well(bench, *ON_APP_SITE)


def test_events_were_dropped_in_an_outage_of_redis(bench: Bench) -> None:
	now = time.time()
	outage = Outage(since=now - 200, held=10_000, dropped=7, reason="Connection refused")
	append_report(bench.valkey.client, outage)
	note = diagnose(bench, *ON_APP_SITE, row="events were dropped in an outage of Redis", code=0)
	assert "events dropped: 7" in note.what
	assert "Connection refused" in note.what
	assert note.where == f"realtime_pending_seconds in {common(bench)}"
	assert re.fullmatch(
		r"bench set-config -g realtime_pending_seconds (4\d\d) && bench restart", note.command
	)
	cure(bench, note.command)
	assert not remedies(is_well(bench, *ON_APP_SITE))


@pytest.mark.parametrize("offset", [-3600, 90])
def test_the_clock_of_redis_is_wrong(make_bench: MakeBench, background: Background, offset: int) -> None:
	bench = with_addresses(make_bench(version=17, start=False))
	relay = ClockRelay(background, bench.valkey.port, offset)
	try:
		bench.write_config(redis_queue=relay.url)
		bench.start()
		cause = diagnose(bench, *ON_APP_SITE, row="the clock of Redis is wrong")
		relation = "ahead of" if offset > 0 else "behind"
		found = re.search(rf"\(redis_queue\) is (\d+) s {relation} this machine's", cause.what)
		# The doctor takes the middle of its question and the answer. It also connects meanwhile, which takes a second if it is slow.
		assert found is not None, cause.what
		assert abs(int(found[1]) - abs(offset)) <= 1
		assert cause.where == "the system clocks of the two machines"
		assert cause.command == "sudo timedatectl set-ntp true"
		relay.offset = 0
		is_well(bench, *ON_APP_SITE)
		bench.sidecar.stop()
	finally:
		relay.close()


# -- the web process


def test_the_web_process_is_down(bench: Bench) -> None:
	bench.stop_web()
	cause = diagnose(bench, *ON_APP_SITE, row="the web process is down")
	assert f"the web process does not answer at http://127.0.0.1:{bench.web_port}" in cause.what
	assert cause.where == f"webserver_port in {common(bench)}"
	cure(bench, cause.command, {"sudo supervisorctl start all": bench.start_web})
	is_well(bench, *ON_APP_SITE)


def test_the_web_process_hangs(bench: Bench) -> None:
	bench.web.fail(hang=True)
	cause = diagnose(bench, *ON_APP_SITE, row="the web process hangs")
	assert "the web process does not answer at" in cause.what
	assert "no answer within 5 s" in cause.what
	assert cause.command == "bench restart"
	bench.web.heal()
	cure(bench, cause.command)
	is_well(bench, *ON_APP_SITE)


def test_a_wrong_webserver_port(unstarted: Bench) -> None:
	bench = unstarted
	(bench.folder / "Procfile").write_text(f"web: bench serve --port {bench.web_port}\n")
	wrong = free_port()
	bench.write_config(webserver_port=wrong)
	bench.start()
	cause = diagnose(bench, *ON_APP_SITE, row="`webserver_port` is wrong")
	assert f"the web process does not answer at http://127.0.0.1:{wrong}" in cause.what
	assert f"it answers at http://127.0.0.1:{bench.web_port}" in cause.what
	assert cause.where == f"webserver_port in {common(bench)}"
	assert cause.command == f"bench set-config -g webserver_port {bench.web_port} && bench start"
	cure(bench, cause.command)
	is_well(bench, *ON_APP_SITE)


@pytest.mark.parametrize("is_known", [True, False], ids=["port known", "port unknown"])
def test_another_http_server_on_the_webserver_port(unstarted: Bench, is_known: bool, tmp_path: Path) -> None:
	bench = unstarted
	if is_known:
		(bench.folder / "Procfile").write_text(f"web: bench serve --port {bench.web_port}\n")
	port = free_port()
	server = subprocess.Popen(
		[sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
		cwd=tmp_path,
		stderr=subprocess.DEVNULL,
	)
	try:
		until(lambda: accepts(port), "the other server listens")
		bench.write_config(webserver_port=port)
		bench.start()
		cause = diagnose(bench, *ON_APP_SITE, row="another HTTP server is on `webserver_port`")
		assert f"the server at http://127.0.0.1:{port} is not the web process of this bench" in cause.what
		assert "SimpleHTTP" in cause.what
		assert cause.where == f"webserver_port in {common(bench)}"
		assert cause.command.startswith("bench set-config -g webserver_port ")
		cure(bench, cause.command.replace("PORT", str(bench.web_port)))
		is_well(bench, *ON_APP_SITE)
	finally:
		server.terminate()
		server.wait()


def test_the_sidecar_calls_another_web_process_by_its_environment(make_bench: MakeBench) -> None:
	wrong = free_port()
	bench = with_addresses(make_bench(version=17, env={"FRAPPE_WEBSERVER_PORT": str(wrong)}))
	cause = diagnose(bench, *ON_APP_SITE, row="`FRAPPE_WEBSERVER_PORT` gives the sidecar another web process")
	assert f"the sidecar uses the web process at http://127.0.0.1:{wrong}, and this bench" in cause.what
	assert cause.where == "FRAPPE_WEBSERVER_PORT (webserver_port) in the environment of the sidecar"
	assert cause.command == "unset FRAPPE_WEBSERVER_PORT && bench restart"
	cure(bench, cause.command, {"unset": lambda: None, "bench restart": lambda: replace_sidecar(bench)})
	is_well(bench, *ON_APP_SITE)


def test_a_wrong_webserver_port_by_a_variable_of_the_shell(bench: Bench) -> None:
	cause = diagnose(
		bench,
		*ON_APP_SITE,
		row="`FRAPPE_WEBSERVER_PORT` is set in a shell",
		env={"FRAPPE_WEBSERVER_PORT": str(free_port())},
	)
	assert f"it answers at http://127.0.0.1:{bench.web_port}" in cause.what
	assert cause.where == "FRAPPE_WEBSERVER_PORT (webserver_port) in the environment of this shell"
	assert cause.command == "unset FRAPPE_WEBSERVER_PORT"
	is_well(bench, *ON_APP_SITE)


@pytest.mark.parametrize("in_common", [False, True], ids=["site", "all sites"])
def test_maintenance_mode(bench: Bench, in_common: bool) -> None:
	bench.web.fail(status=503, body=b'{"exc_type": "SessionStopped"}')
	if in_common:
		bench.write_config(maintenance_mode=1)
	else:
		set_site_key(bench, APP_SITE, "maintenance_mode", 1)
	cause = diagnose(bench, *ON_APP_SITE, row="" if in_common else "maintenance mode")
	assert f"{APP_SITE}: the site is in maintenance mode" in cause.what
	file = common(bench) if in_common else str(bench.folder / "sites" / APP_SITE / "site_config.json")
	assert cause.where == f"maintenance_mode in {file}"
	command = (
		"bench set-config -g maintenance_mode 0"
		if in_common
		else f"bench --site {APP_SITE} set-maintenance-mode off"
	)
	assert cause.command == command
	cure(bench, cause.command, {command: bench.web.heal})
	until(lambda: run_doctor(bench, *ON_APP_SITE)[0] == 0, "the sidecar sees the end of maintenance")
	is_well(bench, *ON_APP_SITE)


def test_the_web_process_has_another_secret(bench: Bench, make_bench: MakeBench) -> None:
	other = make_bench()
	right = bench.web

	def use(web: FakeWebProcess) -> None:
		bench.stop_web()
		bench.web = web
		bench.start_web()

	wrong = FakeWebProcess(17, other.valkey.url)
	wrong.sites = right.sites
	use(wrong)
	set_site_key(bench, APP_SITE, "redis_queue", other.valkey.url)
	cause = diagnose(bench, *ON_APP_SITE, row="the web process has another secret")
	assert "the web process does not accept the shared secret" in cause.what
	assert other.valkey.url in cause.what
	assert cause.where == f"redis_queue in {bench.folder / 'sites' / APP_SITE / 'site_config.json'}"
	assert (
		cause.command == f"bench --site {APP_SITE} set-config redis_queue {bench.valkey.url} && bench restart"
	)
	cure(bench, cause.command, {"bench restart": lambda: use(right)})
	is_well(bench, *ON_APP_SITE)
	bench.background.run(wrong.close())


def test_the_clock_of_the_web_process_is_wrong(bench: Bench) -> None:
	bench.web.clock_offset = 120.0
	cause = diagnose(bench, *ON_APP_SITE, row="the clock of the web process is wrong")
	assert re.search(
		r"the clock of the web process at \S+ is (119|120|121) s ahead of this machine's", cause.what
	)
	assert cause.command == "sudo timedatectl set-ntp true"
	_, said = run_doctor(bench, *ON_APP_SITE)
	assert f"{APP_SITE}: an event arrives at a browser" in said, (
		"a wrong clock keeps no client from being tried"
	)
	assert "the web process does not answer" not in said
	bench.web.clock_offset = 0.0
	is_well(bench, *ON_APP_SITE)


def test_no_worker_runs(bench: Bench) -> None:
	bench.web.has_worker = False
	note = diagnose(bench, *ON_APP_SITE, row="no background worker runs", code=0)
	assert "no background worker published an event within 5 s" in note.what
	assert note.where == "the background workers of the bench"
	bench.web.has_worker = True
	is_well(bench, *ON_APP_SITE)
