"""Monitoring (realtime/monitor), for users with the role `SYSTEM_MANAGER`.

Each acknowledgement is an object; an error is `{"error": {"code": "not_permitted" | "bad_request" | "unavailable", "message"}}`.
"""

MONITOR = "frappe_realtime:monitor"
"""From the client: start or end to watch a site, `{"watch": bool}`. Acknowledged with `{"interval", "history"}`."""

MONITOR_SNAPSHOT = "frappe_realtime:monitor_snapshot"
"""To each client that watches, every `interval` seconds: the state of the site on all sidecars."""

MONITOR_QUERY = "frappe_realtime:monitor_query"
"""From the client: `{"kind": "room" | "user" | "disconnect" | "ping", …}`, acknowledged with the answer."""

TEST_EVENT = "frappe_realtime:test"
"""The event that `frappe_realtime.monitor.send_test_event` publishes to its caller: `{"id"}`."""
