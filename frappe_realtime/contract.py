"""What the web process, the sidecar and the browser must agree on. Imports nothing.

Names that are Frappe's own are marked as such: they are the same in v15, v16 and v17, and must not be changed. A Redis
key or channel that starts with `frappe_realtime:` is this project's.
"""

# -- Redis channels

EVENTS_CHANNEL = "events"
"""Every event of the bench (Frappe's name): `{"event", "message", "room", "namespace"}` as JSON.

The app adds `offset`, the id of the event in the order of the site, and where they apply `unrecorded` and `lost`
(publishing/redis_writer.py), `BINARY_FIELD` and `LATEST_FIELD`.
"""

LATEST_FIELD = "latest"
"""The field of an event of which only the newest one is kept: `{"key", "seconds"}`. It replaces the kept event with the same
key, and is kept for so many seconds."""

BINARY_FIELD = "binary"
"""The field of an event whose message contains binary values: a list of `[path, base64]`. The path has the keys and the indexes
that lead to the value, where the message has null."""

MAX_ATTACHMENTS = 10
"""Binary values of one event, the limit of socket.io-parser."""

PLACEHOLDER = "_placeholder"
"""The key by which Socket.IO marks the places of binary values; a message with binary values cannot contain it."""

ACCESS_CHANNEL = "frappe_realtime:access"
"""Changes of access, from the app to the sidecars: `{"site", "kind", …}` as JSON; the kinds are `ACCESS_KINDS`.

Redis adds `after`, the id of the site's newest event, which orders the change among the events, and `offset`, the id of the
message in the stream `access_key`.
"""

SIDECARS_CHANNEL = "frappe_realtime:sidecars"
"""Messages between the sidecars of a bench (realtime/cluster/messages.py)."""

QUESTIONS_CHANNEL = "frappe_realtime:questions"
"""Questions of Frappe's processes to the sidecars: `{"site", "id", "kind", …}` as JSON; the kinds are `QUESTION_KINDS`.

Each sidecar appends its answer to the list `answer_key(id)`, `{"ready", "answer"}` as JSON, which Redis keeps for `ANSWER_SECONDS`.
`ready` is false while the sidecar has started not long ago, and may not know all clients yet.
"""

OPEN_IN_EDITOR_CHANNEL = "open_in_editor"
"""Requests of a developer's browser to open a file, read by `bench watch` (Frappe's name)."""

# -- Redis keys

SECRET_KEY = "socketio_auth_secret"
"""The secret that proves to the web process that the sidecar asks (Frappe's name; v16 since 2026-02, v17)."""

OUTAGES_KEY = "frappe_realtime:outages"
"""The stream of outage reports, written by processes that could not publish (publishing/outages.py).

Each entry has one field `r`, a JSON object: `host`, `pid`, `since` and `until` (seconds since 1970), `held` (the largest
number of events that waited at one time), `dropped` and `reason`.
"""


def events_key(site: str) -> str:
	"""Return the key of the stream with the event history of `site`; its entries have the fields `e`, `p` and `a`.

	`e` is the event, `p` the id of the event before it, and `a` the id of the entry before it in this stream.
	"""
	return f"frappe_realtime:{site}:events"


def latest_key(site: str) -> str:
	"""Return the key of the stream with the events of `site` of which only the newest one of each key is kept.

	Its entries have the fields `k`, the key, and `e` and `p` as in `events_key`. The hash with `_ids` at the end of its name
	has the id of the entry of each key.
	"""
	return f"frappe_realtime:{site}:latest"


def last_key(stream: str) -> str:
	"""Return the key that holds the id of the newest entry of `stream`, and outlives the stream.

	For the stream of `events_key` it is the newest event of the site, in whichever of the two streams.
	"""
	return stream.removesuffix("events") + "last"


def order_key(site: str) -> str:
	"""Return the key with four ids, separated by spaces, which outlives the streams of `site`.

	They are the newest event of the site, the newest one in `events_key`, the newest one in `latest_key`, and the newest one that
	was removed from `latest_key` because of its bounds. If the first one is not the value of `last_key`, a publisher of a
	version before these keys has published since.
	"""
	return f"frappe_realtime:{site}:order"


def tasks_key(site: str) -> str:
	"""Return the key of the stream with the owners of the background tasks of `site`."""
	return f"frappe_realtime:{site}:tasks"


def access_key(site: str) -> str:
	"""Return the key of the stream with the last access messages of `site`, except those about background tasks."""
	return f"frappe_realtime:{site}:access"


def session_key(site: str, pid: str) -> str:
	"""Return the key of the recoverable session `pid` of `site`."""
	return f"frappe_realtime:{site}:session:{pid}"


def online_key(site: str) -> str:
	"""Return the key of the set of the users of `site` whose hook `ONLINE_HOOK` was called last, and not `OFFLINE_HOOK`."""
	return f"frappe_realtime:{site}:online"


def unconfirmed_key(site: str) -> str:
	"""Return the key of the set of the users of `site` whose hooks may have been called last, without `online_key` saying so yet."""
	return f"frappe_realtime:{site}:online_unconfirmed"


def shared_key(site: str, doctype: str, name: str) -> str:
	"""Return the key of the stream with the changes of a shared document of `site` (realtime/shared_editing/states.py)."""
	return f"frappe_realtime:{site}:shared:{doctype}/{name}"


def shared_lock_key(site: str, doctype: str, name: str) -> str:
	"""Return the key that a sidecar holds while it loads or stores such a document."""
	return f"frappe_realtime:{site}:shared_lock:{doctype}/{name}"


SHARED_STATES_KEY = "frappe_realtime:shared_states"
"""The sorted set of the keys of these streams, by when they expire, in milliseconds since 1970."""

SHARED_DUE_KEY = "frappe_realtime:shared_due"
"""The sorted set of the documents that the app is to store, each `[site, doctype, name, field]` as JSON, by when, as above."""

ONLINE_SITES_KEY = "frappe_realtime:online_sites"
"""The set of the sites whose apps have one of these hooks."""

ONLINE_REPORTER_KEY = "frappe_realtime:online_reporter"
"""Holds the id of the sidecar that reports who comes and goes; it expires when that sidecar is gone."""


def answer_key(id: str) -> str:
	"""Return the key of the list with the answers to the question `id` on `QUESTIONS_CHANNEL`."""
	return f"frappe_realtime:answer:{id}"


ANSWER_SECONDS = 10
"""Seconds for which an answer is kept."""


def writer_key(writer: str) -> str:
	"""Return the key with the number of the last message that the process `writer` has published."""
	return f"frappe_realtime:writer:{writer}"


TRANSIENT_REDIS_ERRORS = (
	"READONLY",
	"LOADING",
	"MASTERDOWN",
	"CLUSTERDOWN",
	"TRYAGAIN",
	"BUSY",
	"MAX NUMBER OF CLIENTS",
)
"""Parts of error replies of a Redis that is failing over, loading or busy, or has too many connections: they count as an outage, not as
a refusal."""


# -- Rooms, relative to the namespace of a site (Frappe's names since v15)

SITE_ROOM = "all"
"""All System Users; joined at connect."""

WEBSITE_ROOM = "website"
"""All sockets, Guests included; joined at connect."""

USER_ROOM = "user:"
DOCTYPE_ROOM = "doctype:"
DOC_ROOM = "doc:"
OPEN_DOC_ROOM = "open_doc:"
TASK_ROOM = "task_progress:"
"""Prefixes of the other rooms."""

PRESENCE_ROOM = "presence:"
"""Prefix of the rooms of the members of a place (this project's): followed by the name of the place."""

ROOM_PLACE = "room:"
"""Prefix of the name of the place of a room that a handler has made."""

SITE_PLACE = "site"
"""The name of the place of all System Users. A document or a DocType has the name of its room, `doc_room` or `doctype_room`."""

SHARED_ROOM = "shared:"
SHARED_WRITE_ROOM = "shared_write:"
"""Prefixes of the rooms of the sockets that edit a document together (this project's): those that may read it, and those that
may also write it. Followed by `doc_room`."""

SHARED_FIELD_ROOM = "shared_field:"
"""Prefix of the room of one field of such a document: followed by the field, a colon and `doc_room`. It is left with the room
`SHARED_ROOM` of the document."""

TOPIC_ROOM = "topic:"
"""Prefix of the rooms of apps about a document or a DocType (this project's): followed by the topic, a colon and `doc_room` or
`doctype_room`."""

_PERMISSION_PLACES = (PRESENCE_ROOM + DOC_ROOM, PRESENCE_ROOM + DOCTYPE_ROOM)
_SHARED_DOCUMENTS = (SHARED_ROOM + DOC_ROOM, SHARED_WRITE_ROOM + DOC_ROOM)

PERMISSION_ROOMS = (
	DOC_ROOM,
	OPEN_DOC_ROOM,
	DOCTYPE_ROOM,
	TOPIC_ROOM,
	*_PERMISSION_PLACES,
	*_SHARED_DOCUMENTS,
)
"""Prefixes of the rooms that are joined with a permission on a document or a DocType (`room_permission`)."""


def user_room(user: str) -> str:
	"""Return the room of all sockets of `user`; for Guests `user:Guest`."""
	return f"{USER_ROOM}{user}"


def doctype_room(doctype: str) -> str:
	"""Return the room of the subscribers of a DocType (list view, form)."""
	return f"{DOCTYPE_ROOM}{doctype}"


def doc_room(doctype: str, docname: str) -> str:
	"""Return the room of the subscribers of one document."""
	return f"{DOC_ROOM}{doctype}/{docname}"


def open_doc_room(doctype: str, docname: str) -> str:
	"""Return the room of the sockets that have the form of one document open; it drives `doc_viewers`."""
	return f"{OPEN_DOC_ROOM}{doctype}/{docname}"


def task_room(task_id: str) -> str:
	"""Return the room of the subscribers of one background task."""
	return f"{TASK_ROOM}{task_id}"


def presence_room(place: str) -> str:
	"""Return the room of the sockets that are members of a place."""
	return f"{PRESENCE_ROOM}{place}"


def shared_room(doctype: str, docname: str) -> str:
	"""Return the room of the sockets that follow a document that is edited together."""
	return f"{SHARED_ROOM}{doc_room(doctype, docname)}"


def shared_write_room(doctype: str, docname: str) -> str:
	"""Return the room of those of them that may change it."""
	return f"{SHARED_WRITE_ROOM}{doc_room(doctype, docname)}"


def shared_field_room(doctype: str, docname: str, field: str) -> str:
	"""Return the room of those of them that follow one field."""
	return f"{SHARED_FIELD_ROOM}{field}:{doc_room(doctype, docname)}"


def topic_room(topic: str, doctype: str, docname: str | int | None = None) -> str:
	"""Return a room of an app about a document, or about a DocType as a whole.

	A handler lets a socket join it as any other room. The socket leaves it when its user has no read permission any more, or the
	document is deleted or renamed.

	Args:
		topic: Tells the rooms about one document apart; no colon is allowed in it.
		doctype: The DocType.
		docname: The document; None, or an empty string, for the DocType.

	Raises:
		ValueError: The topic is no string, is empty or contains a colon, or there is no DocType.
	"""
	if not isinstance(topic, str) or not topic or ":" in topic:
		raise ValueError(f"{topic!r} is not a topic: it must be a string without a colon, such as 'chat'")
	if not doctype:
		raise ValueError(f"the topic {topic!r} has no room without a DocType")
	about = doctype_room(doctype) if docname in (None, "") else doc_room(doctype, str(docname))
	return f"{TOPIC_ROOM}{topic}:{about}"


def document_rooms(doctype: str, docname: str) -> tuple[str, ...]:
	"""Return all rooms that are joined with a permission on one document, but those of topics."""
	room = doc_room(doctype, docname)
	return (
		room,
		open_doc_room(doctype, docname),
		presence_room(room),
		shared_room(doctype, docname),
		shared_write_room(doctype, docname),
	)


def room_subject(room: str) -> tuple[str, str] | None:
	"""Return what a room is about: DocType and document name, which is empty for the DocType as a whole.

	Returns:
		None for a room that is joined without a permission.
	"""
	if room.startswith((*_PERMISSION_PLACES, *_SHARED_DOCUMENTS)):
		room = room.partition(":")[2]
	elif room.startswith(TOPIC_ROOM):
		room = room.removeprefix(TOPIC_ROOM).partition(":")[2]
	if room.startswith((DOC_ROOM, OPEN_DOC_ROOM)):
		doctype, _, name = room.partition(":")[2].partition("/")
		return (doctype, name) if doctype and name else None
	if room.startswith(DOCTYPE_ROOM):
		doctype = room.removeprefix(DOCTYPE_ROOM)
		return (doctype, "") if doctype else None
	return None


def room_permission(room: str) -> tuple[str, str, str] | None:
	"""Return the permission with which a room is joined: DocType, document name (see `room_subject`) and Frappe's name of it.

	Returns:
		None for a room that is joined without a permission.
	"""
	subject = room_subject(room)
	return subject and (*subject, "write" if room.startswith(SHARED_WRITE_ROOM) else "read")


# -- Users

GUEST = "Guest"
"""The user of every client without a session, and the value of its cookie `sid`."""

ADMINISTRATOR = "Administrator"

SYSTEM_USER = "System User"
WEBSITE_USER = "Website User"
"""Values of `user_type`."""

SYSTEM_MANAGER = "System Manager"
"""The role that may monitor a site (Frappe's name)."""

# -- HTTP, between the sidecar, the web process and the browser

SECRET_HEADER = "X-Frappe-Socket-Secret"
"""Carries the value of `SECRET_KEY` (Frappe's name)."""

SITE_HEADER = "X-Frappe-Site-Name"
"""Names the site folder (Frappe's name; set by nginx)."""

PAGE_HEADER = "X-Frappe-Realtime-Page"
"""Names the page that makes a request, so that the progress of its work is shown there; also in public/js/page.js."""

METHOD_PREFIX = "/api/method/frappe.realtime."
"""The path of the endpoints in permissions/endpoints.py; Frappe exempts it from a user's IP restriction."""

ALLOWED_ADDRESSES = "allowed_addresses"
"""Key in the answer of `get_user_info`: beginnings of the addresses from which the user may use the site. It is missing if
the user has no IP restriction (`restrict_ip`)."""

ONLINE_HOOK, OFFLINE_HOOK = "realtime_user_online", "realtime_user_offline"
"""Hooks that an app names in its hooks.py: functions that are called in a background job with a user who has come or gone."""

ONLINE_HOOKS = "online_hooks"
"""Key in the answer of `get_user_info`: true if an app of the site has one of these hooks; missing otherwise."""

USERS_CHANGED = "users_changed"
"""The endpoint, after `METHOD_PREFIX`, that is told who has come and gone: `{"online": [user, …], "offline": [user, …]}`."""

SHARED_HOOK = "realtime_shared_editing"
"""A hook that an app names in its hooks.py: by DocType, the functions `load` and `store` for shared documents."""

SHARED_LOAD, SHARED_STORE = "shared_load", "shared_store"
"""The endpoints, after `METHOD_PREFIX`, that call them: `{"doctype", "name", "field"}`, and `state` in base64 to store."""

MAX_USERS = 500
"""Users who have come, and who have gone, in one request to it."""

MAX_QUESTIONS = 200
"""Questions, or users, in one request to these endpoints."""

# -- Kinds of messages on ACCESS_CHANNEL (permissions/access_events.py)

SESSION_ENDED = "session"
USER_CHANGED = "user"
DOCTYPE_RULES_CHANGED = "doctype"
DOC_CHANGED = "changed"
DOC_DELETED = "doc"
DOC_RENAMED = "renamed"
TASK_STARTED = "task"
SITE_CHANGED = "site"
ACCESS_KINDS = frozenset(
	{
		SESSION_ENDED,
		USER_CHANGED,
		DOCTYPE_RULES_CHANGED,
		DOC_CHANGED,
		DOC_DELETED,
		DOC_RENAMED,
		TASK_STARTED,
		SITE_CHANGED,
	}
)

# -- Events that the sidecar emits

LIST_UPDATE = "list_update"
"""A document of a DocType has changed (Frappe's name): `{doctype, name, user}` to `doctype_room`."""

DOC_VIEWERS = "doc_viewers"
"""Who has a document open (Frappe's name): `{doctype, docname, users}` to `open_doc_room`."""

LIMIT_REACHED = "limit_reached"
"""The client has met a limit: `{limit, most, message}`; `limit` is the key of the configuration."""

OFFSET_EVENT = "frappe_realtime:offset"
"""Carries nothing but the offset that ends each event to a client that can recover."""

REWIND_EVENT = "frappe_realtime:rewind"
"""From the client: asks for the events of a name in the rooms that every socket of the user joins, `{"event", "rewind"}`.
Acknowledged as a subscription with `rewind` (realtime/handlers/rewinds.py); also in public/js/subscriptions.js."""

DOCTOR_EVENT = "frappe_realtime:doctor"
"""Published by `frappe-realtime doctor` to its own clients; the message is null."""

HANDLERS_ERROR = "realtime_handlers_error"
"""A handlers file does not load: `{app, file, error, traceback}`, to developers; also in public/js/desk.js."""

# -- Presence (realtime/presence); also in public/js/presence.js and presences.js. A place is named as above. A member is
# `{id, user, full_name, joined_at, version, state}`: `joined_at` is in seconds since 1970, `version` grows with each change of the state. An
# acknowledgement that is an error is `{"error": {"code", "message"}}`; the codes are `PRESENCE_REFUSALS`.

PRESENCE_JOIN = "frappe_realtime:presence_join"
"""From the client: join a place, `(place, state or null, seconds or null)`. Acknowledged with `{me, members, count}`."""

PRESENCE_SET = "frappe_realtime:presence_set"
"""From the client: change the own state, `(place, changes, seconds or null)`. Acknowledged with `{"version"}`."""

PRESENCE_LEAVE = "frappe_realtime:presence_leave"
"""From the client: leave a place, `(place)`. Acknowledged with `{}`."""

PRESENCE = "frappe_realtime:presence"
"""To the members of a place, at most every `realtime_presence_interval` seconds: what has changed, `{place, count, joins?,
updates?, leaves?}`. `joins` are members, `updates` are `{id, version, state}` with the keys of the state that have changed (null:
removed), `leaves` are ids."""

PRESENCE_SYNC = "frappe_realtime:presence_sync"
"""To a member that has recovered its session, or that a handler has let join: `{place, me, members, count}`, which replaces what it
knew."""

PRESENCE_END = "frappe_realtime:presence_end"
"""To a socket that was made to leave a place: `{place, code}`; the code is one of `PRESENCE_REFUSALS`."""

ONLINE_PLACE = "online"
"""The place of the users of a site with a socket, which no client can join; the id of a member is the user."""

ASK_PRESENCE = "presence"
"""Who is in `place`? Answered with `{members, count}`."""

ASK_ONLINE = "online"
"""Which of `users` have a socket (without `users`: which users)? Answered with a list of users."""

ASK_USERS = "users"
"""Which users are in each of `places`, `MAX_ASKED_PLACES` at most? Answered with `{place: {users, count}}`, without places where nobody
is. `users` are the first `MAX_PLACE_USERS`, `{user, full_name}`, of those who are listed; `count` is the number of those."""

QUESTION_KINDS = frozenset({ASK_PRESENCE, ASK_ONLINE, ASK_USERS})

MAX_ASKED_PLACES = 100
"""Places about which one question asks."""

MAX_PLACE_USERS = 5
"""Users of one place in the answer to `ASK_USERS`."""

PRESENCE_NOT_PERMITTED = "not_permitted"
PRESENCE_NOT_MEMBER = "not_member"
PRESENCE_BAD_REQUEST = "bad_request"
PRESENCE_LIMIT = "limit"
PRESENCE_UNAVAILABLE = "unavailable"
PRESENCE_REFUSALS = frozenset(
	{
		PRESENCE_NOT_PERMITTED,
		PRESENCE_NOT_MEMBER,
		PRESENCE_BAD_REQUEST,
		PRESENCE_LIMIT,
		PRESENCE_UNAVAILABLE,
	}
)

# -- Shared editing (realtime/shared_editing); also in client/yjs. A document is edited under its DocType, its name and a field, which
# may be empty. These three come first in each event of a client; each event to a client is an object that has them as `doctype`,
# `name` and `field`. `update` and `state_vector` are binary, as Yjs encodes them. An acknowledgement that is an error is
# `{"error": {"code", "message"}}`; the codes are `SHARED_REFUSALS`.

SHARED_JOIN = "frappe_realtime:shared_join"
"""From the client: follow a document, `(…, state_vector)`. Acknowledged with `{write, peers, members}`: whether the user may change
it, how many clients were asked (`SHARED_SYNC`) for what is missing, and how many other clients follow it. If the sidecar keeps the
state, nobody is asked, and there are `update`, what is missing, and `state_vector`, that of the state. If it keeps states, but could not
read this one, there is `kept`, which is false."""

SHARED_SYNC = "frappe_realtime:shared_sync"
"""From the client: ask for what is missing, `(…, state_vector)`. Acknowledged as `SHARED_JOIN`. To a client that may change the
document: `{…, from, state_vector}`, which it answers with `SHARED_ANSWER`."""

SHARED_ANSWER = "frappe_realtime:shared_answer"
"""From the client: what another one lacks, `(…, to, update, state_vector)`, where `to` is what `from` was. Acknowledged with `{}`.
To the other client: `{…, update, state_vector}`. The state vector is that of the client that answers."""

SHARED_UPDATE = "frappe_realtime:shared_update"
"""From the client: a change, `(…, update)`. Acknowledged with `{}`. To all others that follow it: `{…, update}`."""

SHARED_LEAVE = "frappe_realtime:shared_leave"
"""From the client: follow it no longer, `(…)`. Acknowledged with `{}`."""

SHARED_READ_ONLY = "frappe_realtime:shared_read_only"
"""To a client whose user may not change the document any more: `{…}`."""

SHARED_MAY_WRITE = "frappe_realtime:shared_may_write"
"""To a client whose user may change the document now: `{…}`."""

SHARED_END = "frappe_realtime:shared_end"
"""To a client that was made to leave: `{…, code}`; the code is one of `SHARED_REFUSALS`."""

SHARED_NOT_PERMITTED = "not_permitted"
SHARED_NOT_MEMBER = "not_member"
SHARED_NO_WRITE = "read_only"
SHARED_BAD_REQUEST = "bad_request"
SHARED_TOO_LARGE = "too_large"
SHARED_LIMIT = "limit"
SHARED_UNAVAILABLE = "unavailable"
SHARED_REFUSALS = frozenset(
	{
		SHARED_NOT_PERMITTED,
		SHARED_NOT_MEMBER,
		SHARED_NO_WRITE,
		SHARED_BAD_REQUEST,
		SHARED_TOO_LARGE,
		SHARED_LIMIT,
		SHARED_UNAVAILABLE,
	}
)

# -- Calls: events that are answered also if no handler acknowledges them (realtime/handlers/reply.py)

CALL = "frappe_realtime:call"
"""From the client: an event and its arguments as the arguments of this one.

Acknowledged with null and the arguments of the handler's acknowledgement, or with one argument
`{"code", "message", "traceback"?}`, in which the code is one of `CALL_ERRORS`. Also in public/js/calls.js.
"""

CALLS = "calls"
"""In the answer to CONNECT: true if the server understands `CALL`."""

CALL_NO_HANDLER = "no_handler"
"""No app of the site handles the event."""

CALL_NO_ANSWER = "no_answer"
"""The handlers have ended, and none has returned a value."""

CALL_BAD_ARGUMENTS = "bad_arguments"
"""The event has too few arguments."""

CALL_NOT_ALLOWED = "not_allowed"
"""The user is a Guest and the handler is not for Guests, or a middleware stopped the event."""

CALL_DROPPED = "dropped"
"""The event was dropped, because too many events of the socket wait."""

CALL_FAILED = "failed"
"""A handler has raised an exception."""

CALL_ERRORS = frozenset(
	{CALL_NO_HANDLER, CALL_NO_ANSWER, CALL_BAD_ARGUMENTS, CALL_NOT_ALLOWED, CALL_DROPPED, CALL_FAILED}
)

# -- Monitoring (realtime/monitor), for users with the role SYSTEM_MANAGER; each acknowledgement is an object, an error
# is `{"error": {"code": "not_permitted" | "bad_request" | "unavailable", "message"}}`

MONITOR = "frappe_realtime:monitor"
"""From the client: start or end to watch a site, `{"watch": bool}`. Acknowledged with `{"interval", "history"}`."""

MONITOR_SNAPSHOT = "frappe_realtime:monitor_snapshot"
"""To each client that watches, every `interval` seconds: the state of the site on all sidecars."""

MONITOR_QUERY = "frappe_realtime:monitor_query"
"""From the client: `{"kind": "room" | "user" | "disconnect" | "ping", …}`, acknowledged with the answer."""

TEST_EVENT = "frappe_realtime:test"
"""The event that `frappe_realtime.monitor.send_test_event` publishes to its caller: `{"id"}`."""


def is_own_event(event: str) -> bool:
	"""Return True if the name is one of this project's own events, whose handlers answer each of them."""
	return event.startswith("frappe_realtime:")


RESERVED_EVENTS = frozenset(
	{"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)
"""Events that no side may emit, as in socket.io-parser 4; also in realtime/javascript/node/namespace.js."""

# -- Codes of refusals: each is a heading of docs/troubleshooting.md, and public/js/diagnosis.js has a remedy for it

SITE_NOT_SERVED = "site_not_served"
"""The request is for another site than its namespace, or the bench has no site of this name."""

SITE_UNKNOWN = "site_unknown"
"""The web process answers HTTP 404 for the site."""

ORIGIN_NOT_ALLOWED = "origin_not_allowed"
"""The page is from another host; the data has it as `origin`."""

ORIGIN_HIDDEN = "origin_hidden"
"""The page is from another origin, and the proxy replaces the header Origin."""

NO_CREDENTIAL = "no_credential"
"""The client sends neither a cookie `sid` nor a token."""

INVALID_TOKEN = "invalid_token"
"""The token contains characters that an HTTP header cannot contain."""

LOGIN_REJECTED = "login_rejected"
"""The web process answers HTTP 401 or 403; the data has it as `status`."""

WEB_ANSWER_UNEXPECTED = "web_answer_unexpected"
"""The web process does not answer as Frappe does; the data has the HTTP status as `status`."""

SECRET_REJECTED = "secret_rejected"
"""The web process does not accept the shared secret of the sidecar."""

ADDRESS_NOT_ALLOWED = "address_not_allowed"
"""The user may not connect from this address (`restrict_ip` of the User)."""

TOO_MANY_CONNECTIONS = "too_many_connections"
"""A limit of connections is reached; the data has its key as `limit` and its value as `most`."""

TOO_MANY_NAMESPACES = "too_many_namespaces"
"""The connection has joined too many namespaces; the data has the limit as `most`."""

CONNECT_REFUSALS = frozenset(
	{
		SITE_NOT_SERVED,
		SITE_UNKNOWN,
		ORIGIN_NOT_ALLOWED,
		ORIGIN_HIDDEN,
		NO_CREDENTIAL,
		INVALID_TOKEN,
		LOGIN_REJECTED,
		WEB_ANSWER_UNEXPECTED,
		SECRET_REJECTED,
		ADDRESS_NOT_ALLOWED,
		TOO_MANY_CONNECTIONS,
		TOO_MANY_NAMESPACES,
	}
)
"""`data.code` of every CONNECT_ERROR; the data is `{code, reason, …}`."""

HTTP_REFUSALS = {
	0: "unknown_transport",
	1: "unknown_sid",
	2: "bad_handshake_method",
	3: "bad_request",
	4: "forbidden",
	5: "unsupported_protocol_version",
}
"""Names of the numeric codes of Engine.IO, which HTTP responses contain (`Server.errors` of the npm package engine.io 6)."""

# -- Keys of common_site_config.json that the app reads (with frappe.conf), and their defaults

APP_DEFAULTS = {
	"realtime_history_count": 10_000,
	"realtime_history_seconds": 600,
	"realtime_latest_count": 1000,
	"realtime_latest_seconds": 3600,
	"realtime_pending_count": 10_000,
	"realtime_pending_seconds": 60,
	"realtime_websocket_only": 0,
	"realtime_desk_collaboration": 0,
}

REDIS_QUEUE_KEYS = (
	"redis_queue",
	"redis_queue_sentinel_enabled",
	"redis_queue_sentinels",
	"redis_queue_sentinel_username",
	"redis_queue_sentinel_password",
	"redis_queue_master_username",
	"redis_queue_master_password",
	"redis_queue_master_service",
)
"""Keys that both the app and the sidecar read to find redis_queue (Frappe's names)."""

MAX_WORKERS = 1024
"""Most worker processes of one sidecar (`socketio_workers`)."""

AUTO_WORKERS = "auto"
"""The value of `socketio_workers` for one worker for each core."""

BACKEND_KEY = "socketio_backend"
"""The key of `common_site_config.json` that chooses among the servers of Frappe. `frappe-realtime serve` ignores it."""

EMBEDDED_BACKEND = "python-embedded"
"""The value of `BACKEND_KEY` with which Frappe's web process (`frappe.asgi`, `frappe.runner`) answers `/socket.io/` itself."""
