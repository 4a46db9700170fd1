"""Channels of Redis, and the fields of what is published on them."""

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
