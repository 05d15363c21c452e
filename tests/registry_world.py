"""What the registry's and the listing's tests share: specs, and real processes that hold locks."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from core.instance_manager import InstanceRegistry
from core.spec import ChildSpec, HealthSettings, LimitSettings, LogSettings, RestartSettings

DEADLINE_S = 20.0

_HOLDER = """
import fcntl, os, sys
from pathlib import Path
locks = [open(name, "a") for name in sys.argv[1:]]
for lock in locks:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
print("held", flush=True)
sys.stdin.read()
"""


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until it holds. Errors: AssertionError after DEADLINE_S."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.01)


def make_spec(root: Path, instance_id: str, **changes: Any) -> ChildSpec:
    """A spec with every default of CONTRACT 2."""
    fields: dict[str, Any] = {
        "instance_id": instance_id,
        "config_path": str(root / "config" / "active" / f"{instance_id}.json"),
        "config_text": "{}",
        "root": str(root),
        "argv": ("run.py",),
        "working_dir": str(root),
        "db_path": str(root / "database" / f"{instance_id}.db"),
        "web_host": "127.0.0.1",
        "web_port": None,
        "is_bot": True,
        "restart": RestartSettings(),
        "health": HealthSettings(),
        "limits": LimitSettings(),
        "logs": LogSettings(log_dir=str(root / "logs" / instance_id)),
        "environment": {},
        "mode": "paper",
        "exchange": "backpack",
        "symbol": "SOL_USDC_PERP",
        "grid": "140 - 160, 20 levels",
    }
    return ChildSpec(**{**fields, **changes})


class Holder:
    """A real process that holds locks until it is told to go; only ever ended by its own handle."""

    def __init__(self, *locks: Path) -> None:
        for lock in locks:
            lock.parent.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, *map(str, locks)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"held\n"
        self.pid = self._process.pid

    def end(self) -> None:
        """Let it go and wait until it is gone."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Holder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()


def supervisor_of(root: Path, instance_id: str) -> Holder:
    """A process that holds the instance's supervisor lock."""
    return Holder(root / "logs" / instance_id / ".supervisor.lock")


def bot_of(root: Path, instance_id: str) -> Holder:
    """A process that holds the instance's bot lock."""
    return Holder(root / "logs" / instance_id / ".bot.lock")


def registry_text(root: Path) -> Any:
    """The registry as it lies on the disk."""
    return json.loads((root / "logs" / "instances.json").read_text())


def start_claimed(root: Path, instance_id: str, **changes: Any) -> Holder:
    """A supervisor that lives and has claimed its resources."""
    holder = supervisor_of(root, instance_id)
    try:
        spec = make_spec(root, instance_id, **changes)
        InstanceRegistry(root).claim(spec, pid=holder.pid)
        InstanceRegistry(root).update(instance_id, status="RUNNING")
    except BaseException:
        holder.end()
        raise
    return holder
