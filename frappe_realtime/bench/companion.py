"""What gunicorn's companion manager calls to start the realtime server.

pilot can let gunicorn start the other processes of a bench (`use_companion_manager` in `bench.toml`): the manager forks its
master process, which has loaded Frappe, and calls a function in the child. `bench realtime setup` names this one.
"""

from __future__ import annotations

import os
from pathlib import Path


def run_socketio() -> None:
	"""Replace this process by the sidecar of the bench in the current folder, where the manager starts companions.

	The sidecar gets a process of its own program, not the fork of one that has imported Frappe: its event loop shares no
	thread, lock or connection with it. The number of workers is in the environment, or in the configuration.
	"""
	bench = Path.cwd()
	executable = str(bench / "env" / "bin" / "frappe-realtime")
	os.execv(executable, [executable, "serve", "--bench", str(bench)])
