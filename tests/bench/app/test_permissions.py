"""The endpoints on a real bench, the overrides of other apps, and the messages that the sidecar gets when access ends."""

from __future__ import annotations

from typing import Any

import pytest

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
from frappe_realtime.contract.redis_keys import SECRET_KEY
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
	assert answer["message"] == [False] * (min(4 * out["virtual"], 199) + 1)
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


def test_the_sidecar_is_told_of_a_migration_that_has_failed(bench, channel):
	"""The patches before the one that fails have been committed."""
	failed = bench.python_on(
		bench.site,
		"""
		from frappe.migrate import SiteMigration
		class Migration(SiteMigration):
			def kill_idle_connections(self): pass  # they are those of the bench's processes
			def run_schema_updates(self):
				frappe.publish_realtime("step")
				raise ZeroDivisionError
		try: Migration(skip_search_index=True).run(sys.argv[1])
		except ZeroDivisionError: answer(True)
		""",
	)
	assert failed
	published = [message.get("kind") or message["event"] for message in channel.read()]
	# Frappe publishes the second event behind all others of a migration.
	assert "site" in published[published.index("step") : published.index("version-update")]
