"""Who is in a place and who is online, for any process of Frappe."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import frappe

from .contract.presence import ASK_ONLINE, ASK_PRESENCE, ASK_USERS
from .handlers.presence import Member, PresentMembers, place_of
from .publishing.connection import queue_connector
from .publishing.questions import ask_sidecars

TIMEOUT = 2.0
"""Seconds for which a question waits for an answer."""


def presence(
	doctype: str | None = None,
	name: str | int | None = None,
	*,
	room: str | None = None,
	timeout: float = TIMEOUT,
) -> PresentMembers:
	"""Return who is in a place of this site, on all sidecars. The caller decides who may know it.

	Args:
		doctype: A DocType. Without it and `room`, the place is the site.
		name: A document; None for the DocType as a whole.
		room: A room that a handler has made, instead of a DocType.
		timeout: Seconds to wait for the answer.

	Raises:
		frappe_realtime.errors.SidecarUnavailable: There is no answer.
		frappe_realtime.errors.PresenceRefused: There is no such kind of place.
	"""
	answer = _ask({"kind": ASK_PRESENCE, "place": place_of(doctype, name, room)}, timeout)
	return PresentMembers([Member.of(one) for one in answer["members"]], answer["count"])


def users_of_places(places: list[str], *, timeout: float = TIMEOUT) -> dict[str, dict[str, Any]]:
	"""Return who is in each of many places of this site, without the places where nobody is. The caller decides who may know it.

	Args:
		places: Names of places, `MAX_ASKED_PLACES` at most.
		timeout: Seconds to wait for the answer.

	Returns:
		`users` and `count` by place, as `ASK_USERS` in the contract describes them.

	Raises:
		frappe_realtime.errors.SidecarUnavailable: There is no answer.
		frappe_realtime.errors.PresenceRefused: One of them is no place.
	"""
	return dict(_ask({"kind": ASK_USERS, "places": places}, timeout))


def is_online(user: str, *, timeout: float = TIMEOUT) -> bool:
	"""Return whether a user has a page or another client connected to this site.

	A user whose connection is lost counts as online for `realtime_presence_grace_seconds`.

	Args:
		user: The user.
		timeout: Seconds to wait for the answer.

	Raises:
		frappe_realtime.errors.SidecarUnavailable: There is no answer.
	"""
	return bool(_ask({"kind": ASK_ONLINE, "users": [user]}, timeout))


def online_users(among: str | Iterable[str] | None = None, *, timeout: float = TIMEOUT) -> list[str]:
	"""Return the users who are online on this site, as `is_online` says it.

	Args:
		among: Only this user, or these users, in this order; None for all.
		timeout: Seconds to wait for the answer.

	Raises:
		frappe_realtime.errors.SidecarUnavailable: There is no answer.
	"""
	users = [among] if isinstance(among, str) else among
	return list(_ask({"kind": ASK_ONLINE, "users": None if users is None else list(users)}, timeout))


def _ask(question: dict[str, Any], timeout: float) -> Any:
	"""Return the answer to a question about the site of this request."""
	return ask_sidecars(queue_connector(frappe.conf), frappe.local.site, question, timeout)
