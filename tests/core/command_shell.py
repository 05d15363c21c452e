"""`daemon_manager` as a user types it, and configs of toys for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toy_fleet import TOY, ToyFleet, free_port

SCRIPT = TOY.parents[2] / "core" / "daemon_manager.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How one command ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """`python3 core/daemon_manager.py` under one root, from a folder of its own."""

    def __init__(self, root: Path, cwd: Path) -> None:
        self.root = root
        self.cwd = cwd
        self.env = {k: v for k, v in os.environ.items() if k not in ("WEB_TOKEN", "GRID_ROOT")}
        self.env |= {"LC_ALL": "C.UTF-8"}

    def __call__(self, *args: str, timeout: float = 60.0) -> Answer:
        done = subprocess.run(
            [sys.executable, str(SCRIPT), "--root", str(self.root), *args],
            capture_output=True,
            text=True,
            cwd=self.cwd,
            env=self.env,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Answer(code=done.returncode, out=done.stdout, err=done.stderr)


def write_config(fleet: ToyFleet, name: str, *options: str, **daemon: Any) -> Path:
    """Write config/active/NAME.json for a toy program that answers /health."""
    document = {
        "metadata": {"name": f"toy {name}", **daemon.pop("metadata", {})},
        "daemon_config": {
            "script_path": "toy.py",
            "python_path": sys.executable,
            "bot_args": ["--bot", *options],
            "web_port": free_port(),
            "health_check": "auto",
            "health_check_interval": 0.5,
            "restart_delay": 0.2,
            "stop_timeout": 5,
            "startup_timeout": 20,
            **daemon,
        },
    }
    path = fleet.root / "config" / "active" / f"{name}.json"
    path.write_text(json.dumps(document, indent=2))
    return path
