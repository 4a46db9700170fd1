"""Handlers in JavaScript: `apps/<app>/realtime/handlers.js`, run in a Node process that the sidecar starts.

The sidecar owns the sockets. It replicates those whose site has such an app to the Node process, with their rooms, so that
handlers read both without waiting; what handlers do is sent back and executed here. The Node side is in `node/`.

    handlers.py         the event handler of the application; connects the parts
    app_loader.py       which apps have a handlers.js, and which of them are left out
    replication.py      sockets and rooms, replicated to the process
    dispatcher.py       events of clients, sent to the process or kept until it is ready
    handler_requests.py what handlers ask for: emit, join, has_permission, …
    node_process.py     starts the process, watches it, restarts it
    ipc.py, channel.py  frames and operations between the two processes
    process_log.py      the output of the process, in the log of the sidecar
    file_watcher.py     reload after a change, in developer mode
"""

from .handlers import JavaScriptHandlers

__all__ = ["JavaScriptHandlers"]
