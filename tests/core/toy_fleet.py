"""Supervisors over toy children, under a root of their own: start, look, wait, and leave nothing.

Real forks, real signals. Everything that is still alive at the end of a test is ended by identity:
what a process's environment says belongs to this root, and the supervisors of this root.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from free_ports import free_port

from core import pidfile, process
from core.control import ControlClient
from core.identity import ProcessId, read_pid_file
from core.instance_manager import InstanceRegistry
from core.launch import Launch, Launched, launch, wait_all
from core.spec import (
    ChildSpec,
    HealthSettings,
    LimitSettings,
    LogSettings,
    RestartSettings,
)
from core.supervision_types import Event

TOY = Path(__file__).resolve().parent.parent / "toys" / "toy_bot.py"
DEADLINE_S = 20.0


def wait_for(condition: Callable[[], Any], what: str = "", timeout_s: float = DEADLINE_S) -> Any:
    """Wait until the condition holds and return its value; fail with `what` at the deadline."""
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(OSError, ValueError):
            if value := condition():
                return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what or condition}")
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    stat = process.read_stat(pid)
    return stat is not None and not stat.is_zombie


class ToyFleet:
    """One root with toy instances."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.registry = InstanceRegistry(root)
        (root / "logs").mkdir(mode=0o700, exist_ok=True)

    # Building -------------------------------------------------------------------------------------

    def spec(
        self,
        instance_id: str = "toy",
        *options: str,
        is_bot: bool = True,
        health: dict[str, Any] | None = None,
        restart: dict[str, Any] | None = None,
        limits: dict[str, Any] | None = None,
        **changes: Any,
    ) -> ChildSpec:
        """Describe one toy; short timings, no retries unless asked for."""
        bot = ("--bot",) if is_bot else ()
        spec = ChildSpec(
            instance_id=instance_id,
            config_path=str(self.root / f"{instance_id}.json"),
            config_text='{"metadata": {}}\n',
            root=str(self.root),
            argv=(sys.executable, str(TOY), *bot, *options),
            working_dir=str(self.root),
            db_path=str(self.root / "database" / f"{instance_id}.db"),
            web_host="127.0.0.1",
            web_port=free_port(),
            is_bot=is_bot,
            restart=RestartSettings(
                **{"restart_delay": 0.1, "max_restart_attempts": 3, **(restart or {})}
            ),
            health=HealthSettings(
                **{"interval": 0.2, "timeout": 1.0, "stop_timeout": 5.0, **(health or {})}
            ),
            limits=LimitSettings(**(limits or {})),
            logs=LogSettings(log_dir=str(self.root / "logs" / instance_id)),
            environment={},
        )
        return replace(spec, **changes)

    # Acting ---------------------------------------------------------------------------------------

    def start(
        self,
        spec: ChildSpec,
        *,
        wait_s: float = DEADLINE_S,
        first: Event | None = None,
        **options: Any,
    ) -> Launched:
        """Start a supervisor and wait for its outcome."""
        (one,) = launch(
            Launch(
                spec=spec,
                started_at="2026-01-02T03:04:05+00:00",
                wait_s=wait_s,
                first=first,
                **options,
            )
        )
        wait_all([one], lambda _: None)
        return one

    def ask(self, op: str, instance_id: str = "toy", **fields: Any) -> dict[str, Any]:
        with ControlClient(self.folder(instance_id)) as client:
            return client.ask(op, **fields)

    def stop(self, instance_id: str = "toy", **fields: Any) -> None:
        """Ask for a stop and wait for the end of the supervisor."""
        pid = self.supervisor_pid(instance_id)
        with ControlClient(self.folder(instance_id)) as client:
            client.ask("stop", watch=True, **fields)
            while client.read(time.monotonic() + DEADLINE_S) is not None:
                pass
        wait_for(lambda: not is_alive(pid), "the supervisor's end")

    # Looking --------------------------------------------------------------------------------------

    def folder(self, instance_id: str = "toy") -> Path:
        return self.root / "logs" / instance_id

    def record(self, instance_id: str = "toy") -> dict[str, Any]:
        return self.registry.get(instance_id) or {}

    def status(self, instance_id: str = "toy") -> str:
        return str(self.record(instance_id).get("status"))

    def wait_status(self, *wanted: str, instance_id: str = "toy") -> str:
        def reached() -> str:
            status = self.status(instance_id)
            return status if status in wanted else ""

        return str(wait_for(reached, f"{wanted}; now {self.status(instance_id)}"))

    def bot_pid(self, instance_id: str = "toy") -> int:
        found = read_pid_file(self.folder(instance_id) / "bot.pid")
        return found[0] if found else 0

    def kill_bot(self, instance_id: str = "toy", signum: int = signal.SIGKILL) -> int:
        """Signal the bot, once there is one, and give its PID; never 0, which means ourselves."""
        pid = int(wait_for(lambda: self.bot_pid(instance_id), "a bot"))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)
        return pid

    def supervisor_pid(self, instance_id: str = "toy") -> int:
        found = read_pid_file(self.folder(instance_id) / "daemon.pid")
        return found[0] if found else 0

    def lines(self, name: str, instance_id: str = "toy") -> list[str]:
        path = self.folder(instance_id) / name
        return path.read_text().splitlines() if path.exists() else []

    def events(self, instance_id: str = "toy") -> list[dict[str, Any]]:
        """Everything in the dated daemon.log."""
        return [
            json.loads(line)
            for path in sorted(self.folder(instance_id).glob("*/daemon.log"))
            for line in path.read_text().splitlines()
        ]

    def event_names(self, instance_id: str = "toy") -> list[str]:
        return [event["event"] for event in self.events(instance_id)]

    def output(self, name: str, instance_id: str = "toy") -> str:
        return "".join(
            path.read_text() for path in sorted(self.folder(instance_id).glob(f"*/{name}"))
        )

    def processes(self) -> list[int]:
        """Every living process whose environment names this root: children and grandchildren."""
        mark = f"GRID_ROOT={self.root}".encode()
        found = []
        for pid, stat in process.all_processes().items():
            with contextlib.suppress(OSError):
                names = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                if mark in names and not stat.is_zombie and pid != os.getpid():
                    found.append(pid)
        return found

    def clean_up(self) -> None:
        """End what is left; supervisors first, so that nothing is restarted."""
        for lock in self.root.glob("logs/*/.supervisor.lock"):
            found = read_pid_file(lock)
            if found is not None and found[1] is not None and pidfile.is_held(lock):
                child = process.adopt(ProcessId(pid=found[0], start=found[1]))
                if child is not None and child.pid != os.getpid():
                    process.send(child.pidfd, signal.SIGKILL)
                    process.wait_gone([child.pidfd], 5.0)
                    child.close()
        for pid in self.processes():
            stat = process.read_stat(pid)
            if stat is not None:
                process.signal_members([stat], signal.SIGKILL)
        wait_for(lambda: not self.processes(), "the end of every process of this test")
