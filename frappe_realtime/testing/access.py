"""Answers the sidecar's permission questions and task subscriptions in memory, and makes the limits of its clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..bench.launch import sidecar_module
from ..contract.rooms import task_room
from ..contract.users import SYSTEM_USER

if TYPE_CHECKING:
	from realtime.access.authentication import Session


class SitePermissions:
	"""Answers permission questions at once (`Permissions` of the sidecar).

	Attributes:
		rules: Whether a user has a permission: by user, DocType, document (empty for all of the DocType) and permission type. Without
			a rule, System Users have all permissions, and other users none.
	"""

	def __init__(self) -> None:
		self.rules: dict[tuple[str, str, str, str], bool] = {}

	def is_cached(self, session: Session, doctype: str, name: str = "", ptype: str = "read") -> bool:
		"""Return True: no question counts in the rate of a client."""
		return True

	def has_permission(self, session: Session, doctype: str, name: str = "", ptype: str = "read") -> bool:
		"""Return whether the user of a session has a permission."""
		permitted = self.rules.get((session.user, doctype, name, ptype))
		if permitted is None and name:
			permitted = self.rules.get((session.user, doctype, "", ptype))
		return session.user_type == SYSTEM_USER if permitted is None else permitted


class SiteTasks:
	"""Lets System Users follow all tasks, as the sidecar does on a site without the app (`TaskAccess`)."""

	def subscribe(self, socket: Any, task_id: str) -> None:
		"""Let a socket join the room of a task if its user may follow it."""
		if socket.session.user_type == SYSTEM_USER:
			socket.join(task_room(task_id))

	def unsubscribe(self, socket: Any, task_id: str) -> None:
		"""Let a socket leave the room of a task."""
		socket.leave(task_room(task_id))

	def on_disconnect(self, socket: Any) -> None:
		"""Do nothing: no subscription waits."""

	async def may_follow(self, session: Session, task_id: str) -> bool:
		"""Return whether the user of a session may be in the room of a task."""
		return session.user_type == SYSTEM_USER


def client_limits(config: Any, namespaces: Any) -> Any:
	"""Return the limits of clients of a sidecar that is the only one, with no proxy in front."""
	return sidecar_module("access.limits").ClientLimits(
		config,
		sidecar_module("access.proxies").TrustedProxies(()),
		sidecar_module("access.failed_logins").KnownCredentials(0),
		namespaces,
		sidecar_module("usage").Usage(),
	)
