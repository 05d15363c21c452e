"""What run.py is to its supervisor: its lock, its heartbeat, its last words.

Standard library only; every file is in the instance's run directory (CONTRACT 5, DESIGN).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path

from core.errors import GridfleetError
from core.files import make_private_dir, open_private, publish
from core.identity import process_start_ticks
from core.model import StopBot
from core.pidfile import acquire, remove_pid, write_pid

BEAT_SIZE = 128


LIVE_SWITCH_S = 0.001
"""How long a thread keeps the interpreter while others wait for it: a fifth of the default."""


class AlreadyRunning(GridfleetError):
    """Another process holds this instance's bot lock."""


def shorten(text: str, limit: int) -> str:
    """Cut a long text between two words and mark the cut; `limit` is in characters."""
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]  # one more than " …" leaves: a word that ends right there stays whole
    parts = cut.rsplit(maxsplit=1)
    if not cut[-1].isspace():
        cut = parts[0] if len(parts) == 2 else cut[:-1]
    return f"{cut.rstrip()} …"


class BotProcess:
    """This process as one instance's bot, from its lock to its exit note."""

    def __init__(self, run_dir: Path, environ: dict[str, str]) -> None:
        self.run_dir = make_private_dir(run_dir)
        self._start = process_start_ticks(os.getpid())
        self._beat_fd: int | None = None
        self._lock_fd: int | None = None
        self._supervised = "GRID_BOT_LOCK_FD" in environ

    def take_lock(self) -> None:
        """Hold the bot lock: the supervisor's, inherited, or our own. Errors: AlreadyRunning."""
        if self._supervised:
            return
        self._lock_fd = acquire(self.run_dir / ".bot.lock")
        if self._lock_fd is None:
            raise AlreadyRunning(
                f"{self.run_dir.name}: this instance runs already; `daemon_manager status "
                f"{self.run_dir.name}` shows it"
            )
        write_pid(self.run_dir / "bot.pid", os.getpid(), self._start)

    def beat(self, loops: int, ready: bool, allowance_s: float = 0.0) -> None:
        """Rewrite the heartbeat in place; a full disk cannot stop it, the file keeps its size.

        `allowance_s`: a wait begins that can last so long; the beat ages only from its end on.
        """
        if self._beat_fd is None:
            self._beat_fd = open_private(self.run_dir / "heartbeat", os.O_WRONLY | os.O_CREAT)
        now = time.monotonic()
        record = {
            "v": 1,
            "pid": os.getpid(),
            "start": self._start,
            "mono": round(now, 3),
            "loops": loops,
            "ready": ready,
        }
        if allowance_s > 0:
            record["until"] = round(now + allowance_s, 3)
        line = json.dumps(record, separators=(",", ":")).ljust(BEAT_SIZE - 1) + "\n"
        with contextlib.suppress(OSError):
            os.pwrite(self._beat_fd, line.encode(), 0)

    def stop_note(self) -> StopBot:
        """Read how the supervisor wants us to stop; without a note, orders are cancelled."""
        try:
            note = json.loads((self.run_dir / "stop.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return StopBot(reason="SIGTERM")
        if not isinstance(note, dict):
            return StopBot(reason="SIGTERM")
        return StopBot(
            keep_orders=note.get("keep_orders") is True,
            close_positions=note.get("close_positions") is True,
            reason=str(note.get("reason", "SIGTERM")),
        )

    def leave(
        self, code: int, cause: str, orders_left: int | None, *, untouched: bool = False
    ) -> None:
        """Leave the exit note for our supervisor, also one that is not our parent.

        `untouched`: this process ended before it could place or cancel any order.
        """
        note = {
            "v": 1,
            "pid": os.getpid(),
            "start": self._start,
            "code": code,
            "cause": cause,
            "orders_left": orders_left,
            "untouched": untouched,
        }
        with contextlib.suppress(OSError):
            publish(self.run_dir / "exit.json", json.dumps(note) + "\n")
        if self._lock_fd is not None:
            with contextlib.suppress(OSError):
                remove_pid(self.run_dir / "bot.pid")


def favour_engine() -> None:
    """Let a live engine wait less for the threads that read the feed and serve pages."""
    sys.setswitchinterval(LIVE_SWITCH_S)
