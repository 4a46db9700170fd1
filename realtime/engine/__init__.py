"""Engine.IO protocol v4: bytes to messages and back, over WebSocket, HTTP long-polling and the upgrade between them.

Knows neither Socket.IO nor Frappe. `Engine` opens a `Connection` for each client and reports its events to a `ConnectionListener`.
An `Encoded` message is encoded once, however many connections it is sent to.
"""

from .connection import Connection, ConnectionListener
from .engine import Engine
from .errors import RequestRefused
from .owners import Handover, IncomingRequest, RequestPasser
from .packets import Encoded
from .request import Request
from .settings import EngineSettings

__all__ = [
	"Connection",
	"ConnectionListener",
	"Encoded",
	"Engine",
	"EngineSettings",
	"Handover",
	"IncomingRequest",
	"Request",
	"RequestPasser",
	"RequestRefused",
]
