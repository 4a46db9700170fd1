"""What the app's endpoints answer: one table, for the app and for the fake web process that tests and the demo use.

Each case is a request to a site with the app, and the HTTP status and `message` of the answer. The site (`USERS`, `MAY`, …) is
the same for all cases.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

APPS = ["frappe", "frappe_realtime"]
ANN, BOB, GONE, WEB, GUEST = (
	"ann@example.com",
	"bob@example.com",
	"gone@example.com",
	"web@example.com",
	"Guest",
)
TIED = "tied@example.com"
ADMINISTRATOR = "Administrator"

USERS = {
	ANN: "System User",
	BOB: "System User",
	GONE: "System User",
	TIED: "System User",
	WEB: "Website User",
	GUEST: "Website User",
	ADMINISTRATOR: "System User",
}
"""User types."""

DISABLED = {GONE}

ALLOWED = {TIED: ("10.0.", "192.0.2.7")}
"""Beginnings of the addresses from which a user may use the site."""

DOCTYPES = {"ToDo", "Settings", "Virtual"}
SINGLES = {"Settings"}
DOCUMENTS = {("ToDo", "a"), ("ToDo", "b"), ("ToDo", "7"), ("Virtual", "well")}

MISSING = {("ToDo", "none"), ("None", ""), ("None", "a"), ("Settings", "other")}
"""What the cases name and does not exist; an empty name is a DocType."""

FAILING = {("Virtual", "broken"), ("Virtual", "hook")}
"""Documents at which the code of an app raises when they are loaded or checked."""

MAY = {
	(ANN, "ToDo", "", "read"),
	(ANN, "ToDo", "a", "read"),
	(ANN, "ToDo", "a", "write"),
	(ANN, "ToDo", "7", "read"),
	(ANN, "Settings", "", "read"),
	(ANN, "Virtual", "well", "read"),
	(BOB, "ToDo", "b", "read"),
	(GONE, "ToDo", "a", "read"),
	(WEB, "ToDo", "a", "read"),
	(TIED, "ToDo", "a", "read"),
}
"""Permissions, by user, DocType, document name and permission type. Administrator has all."""

MANAGERS = {ANN, TIED}
"""Users with the role System Manager; Administrator has all roles."""

SECRET = "the shared secret"


@dataclass(frozen=True)
class Case:
	"""A request and its answer.

	Attributes:
		method: The name after `frappe.realtime.`.
		args: The arguments.
		user: The user of the session.
		address: The client's address, as a proxy names it.
		secret: The value of the header `X-Frappe-Socket-Secret`.
		requires_secret: Whether the version of Frappe requires the shared secret for `get_user_info`.
		status: The HTTP status of the answer.
		answer: Its `message`; None for an error.
	"""

	name: str
	method: str
	args: dict[str, Any] = field(default_factory=dict)
	user: str = ANN
	secret: str = SECRET
	address: str = "198.51.100.1"
	requires_secret: bool = False
	status: int = 200
	answer: Any = None


def questions(name: str, *asked: Any, answer: Any = None, user: str = ANN, status: int = 200) -> Case:
	"""Return a case of `has_permissions`."""
	return Case(name, "has_permissions", {"questions": list(asked)}, user, status=status, answer=answer)


def readers(name: str, *users: Any, document: Any = ("ToDo", "a"), **more: Any) -> Case:
	"""Return a case of `readers`."""
	return Case(name, "readers", {"doctype": document[0], "name": document[1], "users": list(users)}, **more)


def info(user: str, user_type: str = "System User") -> dict[str, Any]:
	"""Return what `get_user_info` answers for a user."""
	return {"user": user, "user_type": user_type, "full_name": user, "installed_apps": APPS}


CASES = [
	Case("info of a System User", "get_user_info", answer=info(ANN)),
	Case("info of a Website User", "get_user_info", user=WEB, answer=info(WEB, "Website User")),
	Case("info of a Guest", "get_user_info", user=GUEST, answer=info(GUEST, "Website User")),
	Case("info of a disabled user", "get_user_info", user=GONE, status=401),
	Case("info with the secret", "get_user_info", requires_secret=True, answer=info(ANN)),
	Case("info without the secret", "get_user_info", secret="", requires_secret=True, answer={}),
	Case("info with a wrong secret", "get_user_info", secret="guess", requires_secret=True, answer={}),
	Case("info where no secret is required", "get_user_info", secret="", answer=info(ANN)),
	Case(
		"info of a user with an IP restriction, for the sidecar",
		"get_user_info",
		user=TIED,
		answer={**info(TIED), "allowed_addresses": [*ALLOWED[TIED]]},
	),
	Case("info of such a user without the secret", "get_user_info", user=TIED, secret="", answer={}),
	Case(
		"info of such a user without the secret, from an allowed address",
		"get_user_info",
		user=TIED,
		secret="",
		address="10.0.3.4",
		answer={},
	),
	*(
		case
		for method, args in (
			("has_permission", {"doctype": "ToDo", "name": "a"}),
			("has_permissions", {"questions": [["ToDo", "a"]]}),
		)
		for answer in [True if method == "has_permission" else [True]]
		for case in (
			Case(f"{method} of such a user, for the sidecar", method, args, TIED, answer=answer),
			Case(f"{method} from an address", method, args, TIED, "", "192.0.2.7", answer=answer),
			Case(f"{method} from a network", method, args, TIED, "", "10.0.200.1", answer=answer),
			Case(f"{method} from elsewhere", method, args, TIED, "", status=401),
			Case(f"{method} from elsewhere, wrong secret", method, args, TIED, "guess", status=401),
		)
	),
	Case("who has come and gone", "users_changed", {"online": [ANN], "offline": '["bob"]'}),
	Case(
		"the same without the secret", "users_changed", {"online": [], "offline": []}, secret="", status=403
	),
	Case("who has come, but not who has gone", "users_changed", {"online": [ANN]}, status=417),
	Case("what is no user", "users_changed", {"online": [1], "offline": []}, status=417),
	Case("too many users", "users_changed", {"online": ["a"] * 501, "offline": []}, status=417),
	Case("a permission", "has_permission", {"doctype": "ToDo", "name": "a"}, answer=True),
	Case("a permission on a DocType", "has_permission", {"doctype": "ToDo"}, answer=True),
	Case(
		"a permission type", "has_permission", {"doctype": "ToDo", "name": "a", "ptype": "write"}, answer=True
	),
	Case("no permission", "has_permission", {"doctype": "ToDo", "name": "b"}, status=403),
	Case("no document", "has_permission", {"doctype": "ToDo", "name": "none"}, status=403),
	Case("no DocType", "has_permission", {"doctype": "None", "name": "a"}, status=403),
	Case("no DocType given", "has_permission", {}, status=417),
	Case("a check that raises", "has_permission", {"doctype": "Virtual", "name": "broken"}, status=403),
	questions(
		"many questions",
		["ToDo"],
		["ToDo", ""],
		["ToDo", "a"],
		["ToDo", "a", "write"],
		["ToDo", "a", "delete"],
		["ToDo", "b"],
		["ToDo", 7],
		["ToDo", "none"],
		["None", "a"],
		["None"],
		["Settings"],
		["Settings", "other"],
		answer=[True, True, True, True, False, False, True, False, False, False, True, False],
	),
	questions(
		"the questions of Administrator",
		["ToDo", "a", "delete"],
		["ToDo"],
		["Settings"],
		["Settings", "Settings"],
		["Settings", "other"],
		["ToDo", "none"],
		["None"],
		user=ADMINISTRATOR,
		answer=[True, True, True, True, False, False, False],
	),
	questions("the questions of a Guest", ["ToDo", "a"], ["ToDo"], user=GUEST, answer=[False, False]),
	questions(
		"a check that raises says no to its own question",
		["Virtual", "well"],
		["Virtual", "broken"],
		["Virtual", "hook"],
		["ToDo", "a"],
		answer=[True, False, False, True],
	),
	Case("questions as JSON", "has_permissions", {"questions": '[["ToDo", "a"]]'}, answer=[True]),
	questions("no question", answer=[]),
	questions("as many questions as are allowed", *[["ToDo", "a"]] * 200, answer=[True] * 200),
	questions("too many questions", *[["ToDo", "a"]] * 201, status=417),
	*(
		questions(f"the malformed question {question!r}", question, status=417)
		for question in (1, None, "ToDo", [], [1], [""], ["ToDo", None], ["ToDo", {}], ["ToDo", True])
	),
	*(
		questions(f"the malformed question {question!r}", question, status=417)
		for question in (["ToDo", "a", ""], ["ToDo", "a", 1], ["ToDo", "a", "read", "x"])
	),
	*(
		Case(f"{given!r} in place of questions", "has_permissions", {"questions": given}, status=417)
		for given in (None, 1, {}, "ToDo")
	),
	readers("readers in their order", WEB, BOB, ANN, answer=[WEB, ANN]),
	readers("no disabled or unknown reader", GONE, "nobody", ANN, GUEST, answer=[ANN]),
	readers("Administrator reads", ADMINISTRATOR, answer=[ADMINISTRATOR]),
	readers("readers of no document", ANN, ADMINISTRATOR, document=("ToDo", "none"), answer=[]),
	readers("readers of no DocType", ANN, document=("None", "a"), answer=[]),
	readers("readers of a DocType", ANN, BOB, document=("ToDo", ""), answer=[ANN]),
	readers("readers of a document that fails to load", ANN, document=("Virtual", "broken"), answer=[]),
	readers("readers of a document whose check raises", ANN, document=("Virtual", "hook"), answer=[]),
	readers("readers without the secret", ANN, secret="", status=403),
	readers("readers with a wrong secret", ANN, secret="guess", status=403),
	readers("readers with a longer secret", ANN, secret=SECRET + "x", status=403),
	Case("an event to the doctor", "publish_probe", {"room": "abc"}, user=GUEST, answer=True),
	Case(
		"an event from a worker to the doctor", "publish_probe", {"room": "abc", "worker": "1"}, answer=True
	),
	*(
		Case(
			f"no event to the doctor with the secret {secret!r}",
			"publish_probe",
			{"room": "abc"},
			secret=secret,
			status=403,
		)
		for secret in ("", "guess", SECRET + "x")
	),
	*(
		Case(f"no event to the room {room!r}", "publish_probe", {"room": room}, status=417)
		for room in ("", None, 1, ["abc"])
	),
	readers("no reader", answer=[]),
	readers("too many readers", *[ANN] * 201, status=417),
	readers("a reader who is no text", 1, status=417),
	readers("readers of no name", ANN, document=("ToDo", None), status=417),
	Case("a System Manager may monitor", "can_monitor", answer=True),
	Case("Administrator may monitor", "can_monitor", user=ADMINISTRATOR, answer=True),
	*(Case(f"{user} may not monitor", "can_monitor", user=user, answer=False) for user in (BOB, WEB, GUEST)),
	Case("a System Manager with an IP restriction, for the sidecar", "can_monitor", user=TIED, answer=True),
	Case("such a System Manager from elsewhere", "can_monitor", user=TIED, secret="", status=401),
	Case("no list of readers", "readers", {"doctype": "ToDo", "name": "a", "users": 1}, status=417),
]
