"""Presence (realtime/presence). The names are also in public/js/presence.js and presences.js.

A place has the name of its room, `SITE_PLACE`, or `ROOM_PLACE` and the name of a room (contract/rooms.py). A member is
`{id, user, full_name, joined_at, version, state}`: `joined_at` is in seconds since 1970, `version` grows with each change of the state. An
acknowledgement that is an error is `{"error": {"code", "message"}}`; the codes are `PRESENCE_REFUSALS`.
"""

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
