"""The messages to systemd."""

from __future__ import annotations

import os
import re
import socket
import uuid
from pathlib import Path

import pytest

from realtime.workers.notify import Notifier


@pytest.mark.parametrize("abstract", [False, True])
def test_messages(tmp_path: Path, abstract: bool) -> None:
	address = f"@{uuid.uuid4()}" if abstract else str(tmp_path / "notify")
	with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
		systemd.bind(address.replace("@", "\0") if abstract else address)
		notifier = Notifier({"NOTIFY_SOCKET": address})
		for say in (notifier.ready, notifier.reloading, notifier.alive, notifier.stopping):
			say()
		messages = [systemd.recv(1000).decode() for _ in range(4)]
	assert messages[0] == "READY=1"
	assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", messages[1])
	assert messages[2:] == ["WATCHDOG=1", "STOPPING=1"]


def test_nothing_without_systemd(tmp_path: Path) -> None:
	notifier = Notifier({})
	notifier.ready()
	assert notifier.watchdog_seconds == 0
	Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready()


@pytest.mark.parametrize(
	("pid", "usec", "seconds"),
	[("", "30000000", 30), ("own", "500000", 0.5), ("1", "30000000", 0), ("", "soon", 0)],
)
def test_the_watchdog(pid: str, usec: str, seconds: float) -> None:
	pid = str(os.getpid()) if pid == "own" else pid
	assert Notifier({"WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}).watchdog_seconds == seconds
