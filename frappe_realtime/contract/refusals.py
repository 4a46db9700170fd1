"""Codes of refusals: each is a heading of docs/troubleshooting.md, and public/js/remedies.js has a remedy for it."""

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
