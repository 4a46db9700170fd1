"""Shared editing (realtime/shared_editing). The names are also in client/yjs.

A document is edited under its DocType, its name and a field, which may be empty. These three come first in each event of a client; each event
to a client is an object that has them as `doctype`, `name` and `field`. `update` and `state_vector` are binary, as Yjs encodes them. An
acknowledgement that is an error is `{"error": {"code", "message"}}`; the codes are `SHARED_REFUSALS`.
"""

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
