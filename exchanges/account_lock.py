"""One bot for each exchange, account and symbol on this machine, whatever its root or its user.

Two bots on one account and symbol would answer each other's fills. The lock is a name in the
kernel's abstract socket space: no file to agree on, none to clean up, gone with its process at any
death. A second socket beside it carries the holder's name, which /proc/net/unix shows to whoever
is refused. The account is hashed, so that no key is in a name. A second bot on another machine is
beyond a lock: its orders are found on the exchange.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import socket
from pathlib import Path

from core.errors import ConfigError

_PREFIX = "gridfleet."
# With 16 digits of a hash, a PID and an instance id of 64 a name has 99 of the 107 bytes there are.


class AccountLock:
    """Held while it is open; inherited by no program that is executed."""

    def __init__(
        self, *, host: str, account: str, symbol: str, instance_id: str, shown: str
    ) -> None:
        """Take the lock. `shown` names exchange and symbol in messages.

        Errors: ConfigError naming the holder.
        """
        text = "\n".join((host.lower(), account, symbol))
        name = f"{_PREFIX}{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        self._sockets: list[socket.socket] = []
        try:
            self._bind(name)
            self._bind(f"{name}.{os.getpid()}.{instance_id}")
        except OSError as error:
            self.close()
            if error.errno != errno.EADDRINUSE:
                raise ConfigError(
                    f"the lock of {shown} cannot be taken: {error.strerror}"
                ) from None
            raise ConfigError(
                f"exchange_config.api_key: this account's {shown} is traded by {_holder(name)}; "
                "stop that one first, or give this one another symbol or a (sub-)account of its own"
            ) from None

    def _bind(self, name: str) -> None:
        found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sockets.append(found)
        found.bind(f"\0{name}")

    def close(self) -> None:
        for found in self._sockets:
            found.close()
        self._sockets = []


def _holder(name: str) -> str:
    """Name who holds a lock, as far as the machine tells."""
    try:
        table = Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace")
    except OSError:
        table = ""
    found = re.search(rf"@{re.escape(name)}\.(\d+)\.([A-Za-z0-9_-]+)$", table, re.MULTILINE)
    if found is None:
        return "another bot on this machine"
    return f"instance {found.group(2)} (pid {found.group(1)})"
