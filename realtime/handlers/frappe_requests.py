"""Answers `socket.frappe_request`: requests of handlers to the site, as the user of the socket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from frappe_realtime.contract.http import SECRET_HEADER
from frappe_realtime.handlers.response import Response

from ..access.authentication import Session
from ..json_codec import dumps
from ..web.frappe_client import FrappeClient


class FrappeRequests:
	"""Sends requests with the credential of a session and with the shared secret.

	Args:
		web: The HTTP client.
		secret: Returns the secret that Frappe and the sidecar share; with True, a new one is read from Redis.
	"""

	def __init__(self, web: FrappeClient, secret: Callable[[bool], Awaitable[str]]) -> None:
		self._web = web
		self._secret = secret

	async def send(
		self,
		session: Session,
		path: str,
		args: Mapping[str, Any] | None = None,
		method: str = "GET",
		body: Any = None,
		headers: Mapping[str, str] | None = None,
	) -> Response:
		"""Send a request to the session's site and return the response, whatever its status is.

		Args:
			session: Whose site and credential to use.
			path: The path on the site; it begins with a slash.
			args: The query. An item that is None is left out, other values are sent as JSON, strings as they are.
			method: The HTTP method.
			body: Bytes and strings are sent as they are, other values as JSON; None sends no body.
			headers: More headers.

		Raises:
			ValueError: `path` does not begin with a slash.
			TypeError: JSON cannot hold a value of the query, or the body.
			WebUnavailable: The web process does not answer.
		"""
		query, content, content_type = encode_request(path, args, body)
		answer = await self._web.request(
			session.site,
			path,
			{
				**({"Content-Type": content_type} if content_type else {}),
				**(headers or {}),
				SECRET_HEADER: await self._secret(False),
				**session.credential.headers,
			},
			method,
			query,
			content,
		)
		return Response(answer.status, answer.body, answer.headers)


def encode_request(
	path: str, args: Mapping[str, Any] | None, body: Any
) -> tuple[dict[str, str] | None, bytes | None, str]:
	"""Return the query, the body and its Content-Type of a request; the arguments are those of `FrappeRequests.send`.

	Raises:
		ValueError: `path` does not begin with a slash.
		TypeError: JSON cannot hold a value of the query, or the body.
	"""
	if not path.startswith("/"):
		raise ValueError(f"the path of a request to the site must begin with '/', but it is {path!r}")
	query = {key: _query_value(value) for key, value in (args or {}).items() if value is not None}
	return (query or None, *_encode_body(body))


def _encode_body(body: Any) -> tuple[bytes | None, str]:
	"""Return the body and its Content-Type."""
	if body is None:
		return None, ""
	if isinstance(body, bytes):
		return body, ""
	if isinstance(body, str):
		return body.encode(), ""
	return dumps(body).encode(), "application/json"


def _query_value(value: Any) -> str:
	"""Encode a value of the query in the same way as Frappe's JavaScript client."""
	if isinstance(value, str):
		return value
	if isinstance(value, bool):
		return str(int(value))
	return dumps(value)
