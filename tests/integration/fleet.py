"""A fleet of real supervisors and real bots under a root of its own, cleaned up by PID."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from free_ports import free_port

BIN = Path(sys.executable).parent
DEADLINE_S = 60.0


def wait_for(what: str, condition: Callable[[], Any], deadline_s: float = DEADLINE_S) -> Any:
    """Wait until `condition` gives something true; its result. Fails, naming `what`, after that."""
    end = time.monotonic() + deadline_s
    pause = 0.02
    while True:
        with contextlib.suppress(OSError, ValueError, KeyError):
            result = condition()
            if result:
                return result
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s:g} s: {what}")
        time.sleep(pause)
        pause = min(0.2, pause * 1.3)


@dataclass(slots=True)
class Fleet:
    """One root directory and the commands over it."""

    root: Path
    ports: dict[str, int] = field(default_factory=dict)

    def write(self, name: str, *, feed: dict[str, Any] | None = None, **changes: Any) -> Path:
        """Write a paper config; `changes` are keys of daemon_config or strategy_config."""
        self.ports[name] = free_port()
        config: dict[str, Any] = {
            "metadata": {"instance_id": name},
            "daemon_config": {
                "web_port": self.ports[name],
                "restart_delay": 0.2,
                "health_check_interval": 2,
                "startup_timeout": 50,
            },
            "exchange_config": {"mode": "paper", "paper": feed or {"seed": 7, "speed": 600}},
            "strategy_config": {
                "exchange": "backpack",
                "symbol": "SOL_USDC_PERP",
                "grid_lower_price": 140,
                "grid_upper_price": 160,
                "grid_num": 20,
                "max_position": 10,
                "interval": 5,
            },
        }
        for key, value in changes.items():
            section = "strategy_config"
            if key in ("restart_delay", "max_restart_attempts", "stop_timeout", "environment"):
                section = "daemon_config"
            config[section][key] = value
        path = self.root / "config" / "active" / f"{name}.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        return path

    def run(self, command: str, *args: str) -> subprocess.CompletedProcess[str]:
        environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("GRID_", "WEB_", "BACKPACK_", "ASTER_")) and key != "LANG"
        }
        return subprocess.run(
            [str(BIN / command), *args],
            env={**environment, "GRID_ROOT": str(self.root)},
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )

    def manage(self, *args: str) -> subprocess.CompletedProcess[str]:
        return self.run("daemon_manager", *args)

    def start(self, *names: str) -> None:
        done = self.manage("start", *(word for name in names for word in ("--config", name)))
        assert done.returncode == 0, done.stdout + done.stderr

    def record(self, name: str) -> dict[str, Any]:
        entries = json.loads(self.run("instance_cli", "list", "--all", "--json").stdout)
        return next(entry for entry in entries if entry["instance_id"] == name)

    def get(self, name: str, path: str) -> Any:
        url = f"http://127.0.0.1:{self.ports[name]}{path}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.loads(answer.read())

    def post(self, name: str, path: str, body: Any) -> tuple[int, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports[name]}{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def wait_ready(self, name: str, but_not_pid: int | None = None) -> dict[str, Any]:
        def ready() -> dict[str, Any] | None:
            health: dict[str, Any] = self.get(name, "/health")
            return health if health["ready"] and health["pid"] != but_not_pid else None

        found: dict[str, Any] = wait_for(f"{name} is ready", ready)
        return found

    def clean_up(self) -> None:
        self.manage("stop", "--all")
        for folder in (self.root / "logs").glob("*/"):
            for name in ("daemon.pid", "bot.pid"):
                with contextlib.suppress(OSError, ValueError, IndexError):
                    pid = int((folder / name).read_text().split()[0])
                    environ = Path(f"/proc/{pid}/environ").read_bytes()
                    if str(self.root).encode() in environ:
                        os.kill(pid, signal.SIGKILL)
