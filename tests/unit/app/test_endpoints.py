"""The endpoints for the sidecar, and the same endpoints of the fake web process: both answer by one table."""

from __future__ import annotations

import asyncio
import importlib
from types import SimpleNamespace
from typing import Any

import pytest

from frappe_realtime.contract.events import DOCTOR_EVENT
from frappe_realtime.contract.http import SECRET_HEADER
from frappe_realtime.contract.redis_keys import SECRET_KEY
from realtime.demo.endpoints import Call, Endpoints, FrappeError
from realtime.demo.model import Site
from tests.unit.app import endpoint_cases as table
from tests.unit.app.endpoint_cases import CASES, Case

NAMES = [case.name for case in CASES]


class Failure(Exception):
	"""Raised by the code of an app."""


class Redis:
	"""redis_queue, with the shared secret."""

	def __init__(self, values: dict[str, bytes]) -> None:
		self.values = values
		self.closed = False

	def set(self, key: str, value: str, nx: bool) -> None:
		assert nx
		self.values.setdefault(key, value.encode())

	def get(self, key: str) -> bytes | None:
		return self.values.get(key)

	def close(self) -> None:
		self.closed = True


@pytest.fixture
def endpoints(frappe: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
	"""The module, on the site of the table."""
	errors = {
		"DoesNotExistError": 404,
		"PermissionError": 403,
		"AuthenticationError": 401,
		"ValidationError": 417,
		"QueryDeadlockError": 500,
		"QueryTimeoutError": 500,
	}
	for name, status in errors.items():
		setattr(frappe, name, type(name, (Exception,), {"http_status_code": status}))
	frappe.headers = {}
	frappe.hooks = {}
	frappe.attributes = {}
	frappe.database_fails = False
	frappe.installed = {"one": table.APPS}
	frappe.local.message_log = []
	frappe.flags = frappe_dict()
	frappe.local.session = frappe.session = SimpleNamespace(user=table.ANN, sid="sid", data={})
	frappe.whitelist = lambda **options: lambda function: function
	frappe.get_request_header = lambda name: frappe.headers.get(name)
	frappe.get_hooks = lambda name, default: frappe.hooks.get(name, default)
	frappe.get_attr = lambda path: frappe.attributes[path]
	frappe.is_whitelisted = lambda method: None
	frappe.generate_hash = lambda length: "h" * length
	frappe.settings = frappe_dict()
	frappe.users = {
		user: frappe_dict(
			user_type=user_type,
			restrict_ip=", ".join(table.ALLOWED.get(user, ())) or None,
			enabled=int(user not in table.DISABLED),
		)
		for user, user_type in table.USERS.items()
	}
	frappe.get_cached_value = lambda doctype, name, field: frappe.users[name].get(field)
	frappe.get_cached_doc = lambda doctype: frappe.settings
	frappe.set_user = lambda user: set_user(frappe, user)
	frappe.get_roles = lambda: (
		["All", "System Manager"]
		if frappe.session.user in table.MANAGERS | {table.ADMINISTRATOR}
		else ["All"]
	)
	frappe.call = lambda function, **arguments: call(function, arguments)

	def get_meta(doctype: str) -> Any:
		if doctype not in table.DOCTYPES:
			frappe.local.message_log.append(f"DocType {doctype} not found")
			raise frappe.DoesNotExistError
		return frappe_dict(name=doctype, issingle=doctype in table.SINGLES, is_virtual=doctype == "Virtual")

	def get_doc(doctype: str, name: str) -> Any:
		if (doctype, name) == ("Virtual", "broken"):
			raise Failure("the code of an app")
		if (doctype, name) not in table.DOCUMENTS | table.FAILING:
			raise frappe.DoesNotExistError
		return SimpleNamespace(doctype=doctype, name=name)

	def has_permission(doctype: str, ptype: str = "read", doc: Any = None, user: str | None = None) -> bool:
		user = user or frappe.session.user
		if user == table.ADMINISTRATOR:
			return True
		if isinstance(doc, str) and not get_meta(doctype).issingle:
			doc = get_doc(doctype, doc)
		name = getattr(doc, "name", doc) or ""
		if (doctype, name) in table.FAILING:
			raise Failure("the code of an app")
		if (user, doctype, name, ptype) not in table.MAY:
			frappe.local.message_log.append(f"{user} has no access to {name}")
			return False
		return True

	def throw(message: str, error: type[Exception]) -> None:
		raise error(message)

	def rollback() -> None:
		if frappe.database_fails:
			raise ConnectionError("the database has gone away")

	frappe.get_meta, frappe.get_doc, frappe.has_permission, frappe.throw = (
		get_meta,
		get_doc,
		has_permission,
		throw,
	)
	frappe.local.db.rollback = rollback
	frappe.local.db.exists = lambda doctype, filters: (doctype, filters["name"]) in table.DOCUMENTS
	frappe.get_all = lambda doctype, filters, pluck: [
		user for user in table.USERS if user in filters["name"][1] and user not in table.DISABLED
	]
	frappe.realtime.get_user_info = lambda: {
		"user": frappe.session.user,
		"user_type": table.USERS[frappe.session.user],
	}
	importlib.import_module("frappe.utils").get_fullname = lambda user: user
	module = importlib.import_module("frappe_realtime.permissions.endpoints")
	frappe.redis = Redis({SECRET_KEY: table.SECRET.encode()})
	secret = importlib.import_module("frappe_realtime.permissions.secret")
	monkeypatch.setattr(secret, "queue_connector", lambda conf: lambda timeout: frappe.redis)
	frappe.published = []
	monkeypatch.setattr(
		module, "publish_realtime", lambda event, room: frappe.published.append((event, room))
	)
	frappe.enqueued = []
	frappe.enqueue = lambda method, queue, **arguments: frappe.enqueued.append((method, queue, arguments))
	return module


def frappe_dict(**values: Any) -> Any:
	"""Return a dict whose keys are attributes, as `frappe._dict`."""
	return type("_dict", (dict,), {"__getattr__": dict.get, "__setattr__": dict.__setitem__})(values)


def set_user(frappe: Any, user: str) -> None:
	frappe.session.user, frappe.session.sid, frappe.session.data = user, user, {}
	frappe.local.form_dict = {}


def call(function: Any, arguments: dict[str, Any]) -> Any:
	"""Call a function with those of the arguments that it takes, as `frappe.call`."""
	names = function.__code__.co_varnames[: function.__code__.co_argcount]
	return function(**{name: value for name, value in arguments.items() if name in names})


def answer_of_app(frappe: Any, endpoints: Any, case: Case) -> tuple[int, Any]:
	"""Return the status and the message with which the app answers."""
	frappe.session.user = case.user
	frappe.local.request_ip = case.address
	if case.secret:
		frappe.headers[SECRET_HEADER] = case.secret
	if case.requires_secret:
		frappe.realtime.get_socketio_secret = lambda: table.SECRET
	try:
		return 200, getattr(endpoints, case.method)(**case.args)
	except tuple(
		vars(frappe)[name] for name in ("PermissionError", "ValidationError", "AuthenticationError")
	) as error:
		return error.http_status_code, None


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_app_answers(frappe: Any, endpoints: Any, case: Case) -> None:
	assert answer_of_app(frappe, endpoints, case) == (case.status, case.answer)
	assert frappe.local.message_log == []


class Secret:
	"""The shared secret of the fake web process."""

	available = True

	async def get(self) -> str:
		return table.SECRET


@pytest.mark.parametrize("version", [15, 16, 17])
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_fake_web_process_answers_as_the_app(case: Case, version: int) -> None:
	site = Site("one", table.APPS)
	for user, user_type in table.USERS.items():
		site.add_user(user, user_type=user_type)
	for user in table.DISABLED:
		site.disable(user)
	for user, addresses in table.ALLOWED.items():
		site.users[user].restrict_ip = addresses
	for user in table.MANAGERS:
		site.users[user].roles.add("System Manager")
	site.missing, site.failing = table.MISSING, table.FAILING
	named = table.DOCUMENTS | {(doctype, "") for doctype in table.DOCTYPES}
	site.rules = {
		rule: rule in table.MAY
		for user in table.USERS
		for document in named
		for ptype in ("read", "write", "delete")
		for rule in [(user, *document, ptype)]
	}
	endpoints = Endpoints(version, case.requires_secret, Secret())  # type: ignore[arg-type]
	headers = {"X-Forwarded-For": case.address, **({SECRET_HEADER: case.secret} if case.secret else {})}
	request = Call(site, site.users[case.user], case.args, headers, by_session=True)

	async def answer() -> tuple[int, Any]:
		try:
			return 200, await endpoints.call(f"frappe.realtime.{case.method}", request)
		except FrappeError as error:
			return error.status, None

	assert asyncio.run(answer()) == (case.status, case.answer)


# -- what the fake web process does not have


def test_the_doctor_s_event_is_published_by_this_process_or_by_a_worker(frappe: Any, endpoints: Any) -> None:
	frappe.headers[SECRET_HEADER] = table.SECRET
	endpoints.publish_probe("one")
	assert (frappe.published, frappe.enqueued) == ([(DOCTOR_EVENT, "one")], [])
	endpoints.publish_probe("two", "1")
	assert frappe.published == [(DOCTOR_EVENT, "one")]
	job = "frappe_realtime.permissions.endpoints.publish_to_doctor"
	assert frappe.enqueued == [(job, "short", {"room": "two"})]


def test_without_the_secret_no_event_of_the_doctor_is_published(frappe: Any, endpoints: Any) -> None:
	for secret in ("", "guess"):
		frappe.headers[SECRET_HEADER] = secret
		for worker in (0, 1):
			with pytest.raises(frappe.PermissionError):
				endpoints.publish_probe("one", worker)
	assert (frappe.published, frappe.enqueued) == ([], [])


def test_a_failing_check_is_logged_at_most_once_a_minute(frappe: Any, endpoints: Any) -> None:
	for _ in range(5):
		assert endpoints.has_permissions([["Virtual", "broken"], ["Virtual", "hook"]]) == [False, False]
	((line,),) = frappe.logged
	assert "one: checking a permission on Virtual 'broken' failed" in line
	assert "Failure: the code of an app" in line
	assert "test_endpoints.py" in line


def test_without_a_database_there_is_no_answer(frappe: Any, endpoints: Any) -> None:
	frappe.database_fails = True
	frappe.headers[SECRET_HEADER] = table.SECRET
	with pytest.raises(ConnectionError):
		endpoints.has_permissions([["Virtual", "hook"]])
	with pytest.raises(ConnectionError):
		endpoints.readers("Virtual", "broken", [table.ANN])
	assert frappe.logged == []


@pytest.mark.parametrize("name", ["QueryDeadlockError", "QueryTimeoutError"])
def test_a_query_that_the_database_aborts_gives_no_answer(frappe: Any, endpoints: Any, name: str) -> None:
	error = getattr(frappe, name)

	def aborted(*args: Any, **kwargs: Any) -> bool:
		raise error

	frappe.has_permission = aborted
	with pytest.raises(error):
		endpoints.has_permissions([["ToDo", "a"]])


@pytest.mark.parametrize("endpoint", ["get_user_info", "has_permissions", "has_permission", "can_monitor"])
def test_a_request_of_the_sidecar_does_not_extend_the_session(
	frappe: Any, endpoints: Any, endpoint: str
) -> None:
	arguments = {"has_permissions": ([],), "has_permission": ("ToDo",)}.get(endpoint, ())
	getattr(endpoints, endpoint)(*arguments)
	assert frappe.flags.read_only is True


def test_reasons_of_a_refusal_are_removed_and_others_stay(frappe: Any, endpoints: Any) -> None:
	frappe.local.message_log.append("before")
	frappe.flags.has_permission_check_logs = ["a reason"]
	frappe.flags.error_message = "a reason"
	assert endpoints.has_permissions([["ToDo", "b"]]) == [False]
	assert frappe.local.message_log == ["before"]
	assert dict(frappe.flags) == {"read_only": True}


def test_the_first_request_creates_the_secret(frappe: Any, endpoints: Any) -> None:
	frappe.redis.values.clear()
	with pytest.raises(frappe.PermissionError):
		endpoints.readers("ToDo", "a", [])
	assert frappe.redis.values == {SECRET_KEY: b"h" * 32}
	assert frappe.redis.closed
	frappe.headers[SECRET_HEADER] = "h" * 32
	assert endpoints.readers("ToDo", "a", [table.ANN]) == [table.ANN]


@pytest.mark.parametrize(
	("settings", "user", "restricted"),
	[
		({}, {}, True),
		({"bypass_restrict_ip_check_if_2fa_enabled": 1}, {}, False),
		({"enable_two_factor_auth": 1}, {}, True),
		({"enable_two_factor_auth": 1}, {"bypass_restrict_ip_check_if_2fa_enabled": 1}, False),
		({}, {"bypass_restrict_ip_check_if_2fa_enabled": 1}, True),
		({}, {"restrict_ip": ""}, False),
		({}, {"restrict_ip": "10.0., "}, False),
		({}, {"restrict_ip": "10.0.,,10.1."}, False),
	],
)
def test_the_ip_restriction_follows_the_rules_of_frappe(
	frappe: Any, endpoints: Any, settings: dict[str, Any], user: dict[str, Any], restricted: bool
) -> None:
	frappe.settings.update(settings)
	frappe.users[table.TIED].update(user)
	frappe.session.user, frappe.headers[SECRET_HEADER] = table.TIED, table.SECRET
	assert ("allowed_addresses" in endpoints.get_user_info()) == restricted


def test_a_request_without_an_address_is_not_from_an_allowed_one(frappe: Any, endpoints: Any) -> None:
	frappe.session.user, frappe.local.request_ip = table.TIED, None
	with pytest.raises(frappe.AuthenticationError):
		endpoints.has_permissions([])


def test_a_document_is_loaded_once_for_all_its_readers(frappe: Any, endpoints: Any) -> None:
	loaded = []
	load = frappe.get_doc
	frappe.get_doc = lambda *document: (loaded.append(document), load(*document))[1]
	frappe.headers[SECRET_HEADER] = table.SECRET
	assert endpoints.readers("ToDo", "a", [table.ANN, table.BOB, table.WEB]) == [table.ANN, table.WEB]
	assert loaded == [("ToDo", "a")]


@pytest.mark.parametrize("name", ["a", "hidden", "none"])
def test_repeated_questions_are_decided_once(frappe: Any, endpoints: Any, name: str) -> None:
	"""Their time would show whether a document exists that the user may not read."""
	frappe.session.user = table.GUEST if name == "hidden" else table.ANN
	document = "a" if name == "hidden" else name
	checks: list[Any] = []
	loads: list[Any] = []
	check, load = frappe.has_permission, frappe.get_doc
	frappe.has_permission = lambda *args, **options: (checks.append(args), check(*args, **options))[1]
	frappe.get_doc = lambda *args: (loads.append(args), load(*args))[1]
	equal = [["ToDo", document]] * 200
	assert endpoints.has_permissions(equal) == [name == "a"] * 200
	assert len(checks) == 1
	assert len(loads) <= 1
	checks.clear()
	loads.clear()
	several = [["ToDo", document, ptype] for ptype in ("read", "write", "delete")] * 60
	assert endpoints.has_permissions(several) == [name == "a", name == "a", False] * 60
	assert len(checks) <= 3
	assert len(loads) == 1


# -- overrides of other apps


def override(frappe: Any, **functions: Any) -> None:
	"""Install functions of another app in place of Frappe's endpoints."""
	for name, function in functions.items():
		ours = f"frappe_realtime.permissions.endpoints.{name}"
		hooks = frappe.hooks.setdefault("override_whitelisted_methods", {})
		hooks[f"frappe.realtime.{name}"] = ["first.app", f"other.{name}", ours]
		frappe.attributes[f"other.{name}"] = function


def test_the_last_override_answers(frappe: Any, endpoints: Any) -> None:
	override(
		frappe,
		get_user_info=lambda: {"user": table.WEB, "tenant": 7},
		has_permission=lambda doctype, name: name == "allowed",
	)
	frappe.local.db.exists = lambda doctype, filters: True
	assert endpoints.get_user_info() == {**table.info(table.WEB, "Website User"), "tenant": 7}
	assert endpoints.has_permissions([["ToDo", "allowed"], ["ToDo", "a"], ["ToDo"]]) == [True, False, False]


def test_an_override_that_answers_nothing_is_no_user(frappe: Any, endpoints: Any) -> None:
	override(frappe, get_user_info=lambda: None)
	assert endpoints.get_user_info() == {}


def test_an_override_is_not_asked_about_what_does_not_exist(frappe: Any, endpoints: Any) -> None:
	override(frappe, has_permission=lambda doctype, name: True)
	asked = [["ToDo", "a"], ["ToDo", "none"], ["Virtual", "well"], ["Virtual", "broken"], ["None"]]
	assert endpoints.has_permissions(asked) == [True, False, True, False, False]


def test_an_override_for_reading_does_not_grant_writing(frappe: Any, endpoints: Any) -> None:
	override(frappe, has_permission=lambda doctype, name: True)
	assert endpoints.has_permissions([["ToDo", "a", "write"], ["ToDo", "b", "write"]]) == [True, False]
	override(frappe, has_permission=lambda doctype, name, ptype: ptype == "write")
	assert endpoints.has_permissions([["ToDo", "b", "write"], ["ToDo", "a"]]) == [True, False]
	override(frappe, has_permission=lambda doctype, name: False)
	assert endpoints.has_permissions([["ToDo", "a", "write"]]) == [False]


def test_v15_has_two_endpoints_to_override(frappe: Any, endpoints: Any) -> None:
	frappe.realtime.can_subscribe_doc = frappe.realtime.can_subscribe_doctype = None
	override(
		frappe,
		can_subscribe_doc=lambda doctype, docname: docname == "b",
		can_subscribe_doctype=lambda doctype: doctype == "Settings",
	)
	asked = [["ToDo", "a"], ["ToDo", "b"], ["ToDo"], ["Settings"]]
	assert endpoints.has_permissions(asked) == [False, True, False, True]


def test_an_override_acts_as_each_reader_and_the_session_is_restored(frappe: Any, endpoints: Any) -> None:
	seen = []

	def has_permission(doctype: str, name: str) -> bool:
		seen.append(frappe.session.user)
		if frappe.session.user == table.WEB:
			raise Failure("the code of an app")
		return True

	override(frappe, has_permission=has_permission)
	frappe.headers[SECRET_HEADER] = table.SECRET
	frappe.session.user, frappe.local.form_dict = table.BOB, {"a": 1}
	frappe.session.data = {"user_type": "System User"}
	assert endpoints.readers("ToDo", "a", [table.WEB, table.ANN]) == [table.ANN]
	assert seen == [table.WEB, table.ANN]
	session = frappe.session
	assert (session.user, session.sid, session.data) == (table.BOB, "sid", {"user_type": "System User"})
	assert frappe.local.form_dict == {"a": 1}
