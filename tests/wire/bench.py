"""A whole bench: a folder, a Valkey, a stand-in for the web process, and the sidecar."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from realtime.demo.model import GUEST, SYSTEM_USER, Site, User
from realtime.demo.web_process import FakeWebProcess
from tests.wire.background import Background
from tests.wire.clients import WEBSOCKET, Client
from tests.wire.conditions import free_port, until
from tests.wire.nodejs import NodeClient
from tests.wire.sidecar import Sidecar
from tests.wire.valkey import Valkey

APP_SITE = "app.test"
"""The site with the app frappe_realtime."""
STOCK_SITE = "stock.test"
"""The site without it."""
SITES = (APP_SITE, STOCK_SITE)

AnyClient = Client | NodeClient


class Bench:
	"""A bench of one Frappe version with two sites; one of them has the app frappe_realtime.

	Args:
		background: The loop for the stand-in and the Python clients.
		folder: An empty folder.
		version: 15, 16 or 17.
		secret: Whether the web process requires the shared secret; default: only on v17.
		persist: Whether Valkey keeps its data when it restarts.
		common: More keys of common_site_config.json.
		env: More environment variables of the sidecar.
		host: The address of Valkey and of the web process.
	"""

	def __init__(
		self,
		background: Background,
		folder: Path,
		version: int = 16,
		secret: bool | None = None,
		persist: bool = False,
		common: dict[str, Any] | None = None,
		env: dict[str, str] | None = None,
		host: str = "127.0.0.1",
	) -> None:
		self.background = background
		self.folder = folder / "bench"
		self.version = version
		self.valkey = Valkey(folder / "valkey", persist, host)
		self.web = FakeWebProcess(version, self.valkey.url, secret)
		self.web_host = host
		self.web_port = free_port()
		self.sidecar = Sidecar(self.folder, folder / "sidecar.log", env=env)
		self.config: dict[str, Any] = {
			"redis_queue": self.valkey.url,
			"redis_cache": self.valkey.url,
			"webserver_port": self.web_port,
			"socketio_port": self.sidecar.port,
			"default_site": APP_SITE,
			**(common or {}),
		}
		self._numbers = itertools.count(1)
		(self.folder / "apps").mkdir(parents=True)
		(self.folder / "sites").mkdir()
		self.write("sites/apps.json", {})
		self.write_config()
		self.add_site(APP_SITE, ["frappe", "frappe_realtime"])
		self.add_site(STOCK_SITE, ["frappe"])

	def write(self, path: str, content: Any) -> None:
		"""Write a JSON file of the bench."""
		file = self.folder / path
		file.parent.mkdir(parents=True, exist_ok=True)
		file.write_text(json.dumps(content))

	def write_config(self, **keys: Any) -> None:
		"""Write common_site_config.json with these keys added or replaced; a key that is None is removed."""
		self.config = {key: value for key, value in {**self.config, **keys}.items() if value is not None}
		self.write("sites/common_site_config.json", self.config)

	def add_site(self, name: str, installed_apps: list[str]) -> Site:
		"""Add a site to the bench folder and to the stand-in of the web process."""
		self.write(f"sites/{name}/site_config.json", {"db_name": f"_{name}"})
		return self.web.add_site(name, installed_apps)

	def start(self) -> Bench:
		"""Start all processes, and wait until the sidecar has subscribed to Redis."""
		self.valkey.start()
		self.start_web()
		self.sidecar.start()
		self.wait_until_subscribed()
		return self

	def wait_until_subscribed(self) -> None:
		"""Wait until the sidecar has subscribed to the channel of events."""
		self.valkey.wait_for_subscriber()

	def start_web(self) -> None:
		"""Start the web process, or start it again."""
		self.background.run(self.web.listen(self.web_port, self.web_host))

	def stop_web(self) -> None:
		"""Stop the web process; connections to it are refused then."""
		self.background.run(self.web.stop())

	def close(self) -> None:
		"""Stop all processes."""
		try:
			self.sidecar.close()
		finally:
			self.background.run(self.web.close())
			self.valkey.close()

	def site(self, name: str = APP_SITE) -> Site:
		"""Return the data of a site in the stand-in of the web process."""
		return self.web.sites[name]

	def user(self, site: str = APP_SITE, user_type: str = SYSTEM_USER) -> User:
		"""Add a user that no other test uses."""
		number = next(self._numbers)
		return self.site(site).add_user(f"user-{number}@example.com", f"User {number}", user_type)

	def document(self) -> str:
		"""Return a document's name that no other test uses."""
		return f"DOC-{next(self._numbers):04}"

	def headers(
		self,
		user: User | str = GUEST,
		site: str = APP_SITE,
		authorization: str = "",
		more: dict[str, str | None] | None = None,
	) -> dict[str, str]:
		"""Return the headers of a browser on a site: Host, Origin, and a new session of `user`.

		Args:
			user: The user of the session; the cookie of a Guest is `sid=Guest`.
			site: The host.
			authorization: An Authorization header, sent instead of a cookie.
			more: More headers; a header that is None is not sent.
		"""
		host = f"{site}:{self.sidecar.port}"
		name = user if isinstance(user, str) else user.name
		headers: dict[str, str | None] = {"Host": host, "Origin": f"http://{host}"}
		if authorization:
			headers["Authorization"] = authorization
		else:
			headers["Cookie"] = f"sid={GUEST if name == GUEST else self.site(site).login(name)}"
		headers.update(more or {})
		return {key: value for key, value in headers.items() if value is not None}

	def client(
		self,
		user: User | str = GUEST,
		site: str = APP_SITE,
		*,
		namespace: str = "",
		authorization: str = "",
		headers: dict[str, str | None] | None = None,
		transports: tuple[str, ...] = WEBSOCKET,
		auth: dict[str, Any] | None = None,
	) -> Client:
		"""Return a Python client that is not connected yet. `headers` is the argument `more` of `headers()`."""
		return Client(
			self.background,
			self.sidecar.url,
			namespace or f"/{site}",
			self.headers(user, site, authorization, headers),
			transports,
			auth,
		)

	def node_client(
		self,
		module: str,
		user: User | str = GUEST,
		site: str = APP_SITE,
		*,
		namespace: str = "",
		authorization: str = "",
		headers: dict[str, str | None] | None = None,
		transports: tuple[str, ...] = WEBSOCKET,
		options: dict[str, Any] | None = None,
	) -> NodeClient:
		"""Start a Node client. It connects at once; its method `connect` waits for that."""
		return NodeClient(
			module,
			f"{self.sidecar.url}{namespace or f'/{site}'}",
			self.headers(user, site, authorization, headers),
			transports,
			options or {},
		)

	def publish(self, event: str, message: Any, room: str | None = None, site: str | None = APP_SITE) -> None:
		"""Publish an event as stock Frappe does."""
		payload = {"event": event, "message": message, "room": room, "namespace": site}
		self.valkey.client.publish("events", json.dumps(payload))

	def join(self, client: AnyClient, room: str, event: str, *args: Any, site: str = APP_SITE) -> None:
		"""Send the event of a client that joins a room, and wait until the client is in the room."""
		probe = f"joined-{next(self._numbers)}"

		def arrived() -> bool:
			self.publish(probe, {}, room, site)
			return bool(client.all(probe))

		client.emit(event, *args)
		until(arrived, f"{client} is in {room} after {event}{args}")

	def wait_until_asked(self, doctype: str, name: str = "", user: str = "") -> None:
		"""Wait until the web process has answered a permission request for a document or a DocType, of any user or of one."""

		def asked() -> bool:
			return any(
				[doctype, name] in request.questions()
				for request in list(self.web.requests)
				if request.status and user in ("", request.user)
			)

		until(asked, f"a permission request for {doctype}/{name}")

	def settle(self, *clients: AnyClient, site: str = APP_SITE) -> None:
		"""Wait until these clients of one site have received all events for them that were published before."""
		event = f"settle-{next(self._numbers)}"
		self.publish(event, {}, "website", site)
		for client in clients:
			until(lambda client=client: client.all(event), f"{event} at {client}")  # type: ignore[misc]
