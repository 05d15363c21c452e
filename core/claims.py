"""What an instance claims for itself alone: port, database, log directory, id, account.

Called by `InstanceRegistry.claim` under the registry's lock. Only a bind that is undone at once
touches the machine. A clash with an instance that doesn't live is none: a stopped instance
keeps only its port, so that its address stays the same.

Standard library only: a supervisor loads this.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import ConfigError
from core.registry_file import Record, web_url
from core.spec import BROWSER_BLOCKED_PORTS, ChildSpec

FIRST_PORT = 5001  # CONTRACT 2
LAST_PORT = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What the command that forks a supervisor has claimed for it under the registry's lock.

    `before` is the record as it was. `hold()` says that the supervisor has its own lock now; False:
    the command is gone, and with it the claim, so the supervisor makes its own.
    """

    port: int
    before: Record
    hold: Callable[[], bool]


def facts(spec: ChildSpec, port: int) -> dict[str, Any]:
    return {
        "config_file": spec.config_path,
        "log_dir": spec.logs.log_dir,
        "db_path": spec.db_path,
        "web_host": spec.web_host,
        "web_port": port,
        "web_port_auto": spec.web_port is None,
        "mode": spec.mode,
        "exchange": spec.exchange,
        "symbol": spec.symbol,
        "grid": spec.grid,
        "account": spec.account,
    }


def own_faults(spec: ChildSpec, mine: Record, live_pid: int | None, own: int) -> list[str]:
    """Refuse a second supervisor of one id; an orphaned bot is no fault, it is adopted."""
    if live_pid is None or live_pid == own:
        return []
    where = f", {web_url(mine)}" if mine.get("web_port") else ""
    config = mine.get("config_file")
    message = (
        f"{spec.config_path}: instance id {spec.instance_id} already runs"
        f" (pid {live_pid}{where}, config {config}); choose another with metadata.instance_id"
    )
    return [message]


class Places:
    """Paths told apart by real path and by inode: neither `..` nor any link hides a clash.

    What was looked at once is kept, so make one for each look at the registry: among fifty
    instances each path is compared with all others.
    """

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}
        self._real: dict[str, str] = {}
        self._inodes: dict[str, tuple[int, int] | None] = {}

    def are_same(self, one: str, other: object) -> bool:
        """Tell whether two paths are one place; an empty one is none."""
        if not one or not isinstance(other, str) or not other:
            return False
        if self._real_path(one) == self._real_path(other):
            return True
        inode = self._inode(one)
        return inode is not None and inode == self._inode(other)

    def _real_path(self, path: str) -> str:
        if path not in self._real:
            folder, name = os.path.split(path)
            if folder not in self._folders:
                self._folders[folder] = os.path.realpath(folder)
            joined = os.path.join(self._folders[folder], name)  # noqa: PTH118 - bare and quick
            is_plain = name not in ("", ".", "..") and not os.path.islink(joined)  # noqa: PTH114 - bare and quick
            self._real[path] = joined if is_plain else os.path.realpath(path)
        return self._real[path]

    def _inode(self, path: str) -> tuple[int, int] | None:
        if path not in self._inodes:
            try:
                info = os.stat(path)  # noqa: PTH116 - bare and quick
            except OSError:
                self._inodes[path] = None
            else:
                self._inodes[path] = (info.st_dev, info.st_ino)
        return self._inodes[path]


def find_clashes(spec: ChildSpec, record: Record, places: Places) -> list[str]:
    """Name what the spec wants and the record has, as `JSON path: value`."""
    found = []
    if spec.web_port is not None and spec.web_port == record.get("web_port"):
        found.append(f"daemon_config.web_port: {spec.web_port}")
    if places.are_same(spec.db_path, record.get("db_path")):
        found.append(f"daemon_config.db_path: {spec.db_path}")
    if places.are_same(spec.logs.log_dir, record.get("log_dir")):
        found.append(f"daemon_config.log_dir: {spec.logs.log_dir}")
    if spec.account and spec.account == record.get("account"):
        found.append(f"exchange_config.api_key: this key's {spec.symbol} on {spec.exchange}")
    return found


def choose_port(
    spec: ChildSpec, mine: Record, others: Mapping[str, Record], *, is_adopted: bool
) -> int:
    """Choose the port of an instance whose config names none.

    The one it had, when it was chosen for it and is in nobody else's record and usable; a bot
    about to be adopted uses it itself. Else the first from 5001 that is free and in no record.
    Errors: ConfigError when there is none.
    """
    taken = {record.get("web_port") for record in others.values()}
    before = mine.get("web_port") if mine.get("web_port_auto") else None
    if (
        isinstance(before, int)
        and before not in taken
        and (is_adopted or is_port_free(spec.web_host, before))
    ):
        return before
    for port in range(FIRST_PORT, LAST_PORT + 1):
        if (
            port not in taken
            and port not in BROWSER_BLOCKED_PORTS
            and is_port_free(spec.web_host, port)
        ):
            return port
    raise ConfigError(
        f"{spec.config_path}: daemon_config.web_port: no port from {FIRST_PORT} is usable"
        f" on {spec.web_host}; is web_host an address of this machine?"
    )


def is_port_free(host: str, port: int) -> bool:
    """Tell whether a server could listen there now, by binding as the server does."""
    bare = host.strip("[]")
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bare, port))
        except OSError:
            return False
    return True
