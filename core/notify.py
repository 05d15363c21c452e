"""Telling systemd that a start is decided: sd_notify(3), for `start --foreground`.

`Type=notify` lets `After=` wait until the instance before is ready or has failed, as `start_after`
means it; with `Type=exec` it would wait for no more than a process. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import socket

from core.control import Message

VARIABLE = "NOTIFY_SOCKET"


class Notifier:
    """Says READY=1 once; nothing where nobody asked for it."""

    def __init__(self) -> None:
        """Take the address out of the environment: what a bot starts must not speak for us."""
        self._address = os.environ.pop(VARIABLE, "")

    def hear(self, message: Message) -> None:
        """Take a change of the supervisor's state."""
        if self._address and message.get("state") != "STARTING":
            self._send(b"READY=1")
            self._address = ""

    def _send(self, words: bytes) -> None:
        name = self._address
        address = "\0" + name[1:] if name.startswith("@") else name
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out,
        ):
            out.sendto(words, address)
