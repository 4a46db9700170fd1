"""The handlers that apps ship in JavaScript, `apps/<app>/realtime/handlers.js`, run in a Node process of the sidecar.

The sidecar owns the sockets. `host` tells the process of those whose site has such an app and of their rooms, and does
what their handlers ask for; `child` keeps the process alive; `frames` is what goes between the two. The other side lies
in `node`.
"""

from .host import JavaScriptHandlers

__all__ = ["JavaScriptHandlers"]
