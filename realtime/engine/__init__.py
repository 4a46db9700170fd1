"""Engine.IO 4: bytes to messages and back, over WebSocket, long-polling and the upgrade between them.

Knows no Socket.IO and no Frappe. `Engine` makes a `Connection` for each client and tells a `Listener` of it; an
`Encoded` message is encoded once however many connections it is sent to.
"""

from .connection import Connection, Listener
from .engine import Engine
from .errors import RequestRefused
from .packets import Encoded, PayloadError
from .request import Request
from .settings import EngineSettings

__all__ = [
	"Connection",
	"Encoded",
	"Engine",
	"EngineSettings",
	"Listener",
	"PayloadError",
	"Request",
	"RequestRefused",
]
