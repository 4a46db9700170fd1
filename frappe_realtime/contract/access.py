"""Kinds of messages on the channel `ACCESS_CHANNEL`, which frappe_realtime/permissions/access_events.py sends."""

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
