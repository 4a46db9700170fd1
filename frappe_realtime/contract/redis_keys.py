"""Keys of Redis."""

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
