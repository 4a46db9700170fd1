"""A handler's own requests to the site, as the user of its socket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from frappe_realtime.contract import SECRET_HEADER
from frappe_realtime.handlers.response import Response

from ..access.authentication import Session
from ..json_codec import dumps
from ..web.frappe_client import FrappeClient


class FrappeRequests:
	"""Sends requests through `web`, with the socket's credential and the secret that Frappe shares with us."""

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
		"""One request; raises ValueError for a path that names no place on the site, `WebUnavailable` without an answer."""
		if not path.startswith("/"):
			raise ValueError(
				f"the path of a request to the site must begin with '/', and this does not: {path!r}"
			)
		content, kind = _content(body)
		answer = await self._web.request(
			session.site,
			path,
			{
				**({"Content-Type": kind} if kind else {}),
				**(headers or {}),
				SECRET_HEADER: await self._secret(False),
				**session.credential.headers,
			},
			method,
			{key: _as_text(value) for key, value in (args or {}).items() if value is not None} or None,
			content,
		)
		return Response(answer.status, answer.body, answer.headers)


def _content(body: Any) -> tuple[bytes | None, str]:
	if body is None:
		return None, ""
	if isinstance(body, bytes):
		return body, ""
	if isinstance(body, str):
		return body.encode(), ""
	return dumps(body).encode(), "application/json"


def _as_text(value: Any) -> str:
	"""A value of the query, as Frappe's own clients write it."""
	if isinstance(value, str):
		return value
	if isinstance(value, bool):
		return str(int(value))
	return dumps(value)
