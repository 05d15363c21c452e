"""The alerter's loop: look at the spools, send what waits, remember what was delivered.

Every few seconds it looks at the fleet as well, which adds to the spools
(`cli.alerting.fleet_watch`).

One process for the whole fleet, one thread. It looks at the spools' sizes once a second (a stat
for each file); each channel has a place of its own, a message under way at most, and its own time
of the next try, so one that fails or hangs holds up no other. Sends are forks (`core.chores`).
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from cli.alerting.channels import SEND_S, Channel
from cli.alerting.fleet_watch import FleetWatch
from cli.alerting.plan import Outgoing, advanced, in_order, next_message, pruned, retry_s
from cli.alerting.state import AlerterState
from core.alert_lines import Entry
from core.alert_reading import files_of, read_spool, spools
from core.chores import Chores
from core.loop import Loop

LOOK_S = 1.0
END_S = 10.0  # at a stop: how long messages under way may still take

Marks = dict[Path, tuple[int, ...]]


@dataclass(slots=True)
class _Line:
    """One channel at work. Times are monotonic seconds."""

    channel: Channel
    place: dict[str, dict[str, int]]
    seen: Marks = field(default_factory=dict)  # the spools, when nothing more waited in them
    next_at: float = 0.0
    failures: int = 0
    is_busy: bool = False


class Alerter:
    """Delivers until it is told to stop, or (`once`) until nothing waits that can be sent."""

    def __init__(
        self,
        root: Path,
        channels: list[Channel],
        level: str,
        *,
        tell: Callable[..., None],
        once: bool = False,
    ) -> None:
        """`tell(text, **values)` hears what happens, in words for a person."""
        self._root = root
        self._level = level
        self._tell = tell
        self._once = once
        self._host = socket.gethostname()
        self._state = AlerterState(root, [(c.id, c.name) for c in channels], level)
        self._lines = [_Line(channel, self._state.place(channel.id)) for channel in channels]
        # One look tells nothing: what it finds may be a restart under way.
        self._watch = None if once else FleetWatch(root, self._state.told, tell=tell)
        self._is_dirty = True
        self._is_ending = False
        self._loop = Loop()
        self._chores = Chores(self._loop, lambda _pid, **_: None)

    def run(self) -> bool:
        """Deliver; gives False when `once` and something could not be sent."""
        self._loop.catch_signals((signal.SIGTERM, signal.SIGINT), self._on_signals)
        self._save()
        end_at: float | None = None
        try:
            while True:
                now = time.monotonic()
                if self._is_ending:
                    end_at = end_at or now + END_S
                    if now >= end_at or not any(line.is_busy for line in self._lines):
                        break
                else:
                    self._watch_fleet(now)
                    self._look(now)
                    if self._once and self._is_through():
                        break
                self._chores.on_timer(now)
                self._loop.turn(self._timeout(now))
        finally:
            if self._is_dirty:
                self._save()
            self._chores.close()
            self._loop.close()
        return not any(line.failures for line in self._lines)

    def _on_signals(self, _: set[int]) -> None:
        self._is_ending = True

    def _is_through(self) -> bool:
        """Whether no channel is sending, and each has nothing more or has failed."""
        marks = dict(spools(self._root))
        return all(
            not line.is_busy and (line.failures > 0 or line.seen == marks) for line in self._lines
        )

    def _timeout(self, now: float) -> float:
        dues = [line.next_at for line in self._lines if not line.is_busy and line.next_at > now]
        due = min([now + LOOK_S, *dues, *filter(None, [self._chores.next_due()])])
        return max(0.0, due - now)

    def _watch_fleet(self, now: float) -> None:
        """Look at the fleet when it is time; what was told is kept before anything is sent."""
        if self._watch is not None and now >= self._watch.next_at and self._watch.look(now):
            self._state.told = self._watch.told
            self._save()

    # Sending --------------------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        """Let each channel that is free and due go on with what it has not taken yet."""
        marks = dict(spools(self._root))
        for line in self._lines:
            if not line.is_busy and now >= line.next_at and line.seen != marks:
                self._go_on(line, marks)

    def _go_on(self, line: _Line, marks: Marks) -> None:
        waiting, is_whole = self._waiting(line, marks)
        passed, message = next_message(
            waiting, self._level, host=self._host, text_max=line.channel.text_max
        )
        if passed:
            self._take(line, passed)
            self._is_dirty = True
        if message is None:
            if is_whole:
                line.seen = marks
            if self._is_dirty:
                self._save()
            return
        line.is_busy = True

        def work() -> dict[str, Any]:
            return line.channel.send(message)

        def done(answer: dict[str, Any]) -> None:
            line.is_busy = False
            self._sent(line, message, answer)

        self._chores.start("the send", work, done, SEND_S)

    def _waiting(self, line: _Line, marks: Marks) -> tuple[list[Entry], bool]:
        """Give what the channel has not taken, in order; and whether every spool could be read."""
        found, is_whole = [], True
        for run_dir in marks:
            try:
                found.append(read_spool(run_dir, line.place.get(run_dir.name)))
            except OSError as error:
                is_whole = False
                line.next_at = time.monotonic() + LOOK_S
                self._tell("{path}: {error}", path=str(run_dir), error=str(error.strerror))
        return in_order(found), is_whole

    def _sent(self, line: _Line, message: Outgoing, answer: dict[str, Any]) -> None:
        now, name = time.monotonic(), line.channel.name
        stamp = datetime.now().astimezone().isoformat(timespec="seconds")
        if answer.get("sent") is True:
            line.failures = 0
            line.next_at = now + line.channel.gap_s
            self._take(line, message.entries)
            self._state.note(line.channel.id, last_sent=stamp, last_error="", failures=0)
            self._tell("{name}: {count} delivered", name=name, count=message.count)
        else:
            why = str(answer.get("why") or answer.get("error") or "not sent")
            line.failures += 1
            pause = retry_s(line.failures)
            line.next_at = now + pause
            self._state.note(
                line.channel.id, last_error=why, last_error_at=stamp, failures=line.failures
            )
            words = "{name}: not delivered ({error}); again in {seconds:.0f} s"
            self._tell(words, name=name, error=why, seconds=pause)
        self._save()

    def _take(self, line: _Line, entries: tuple[Entry, ...]) -> None:
        """Move the channel's place behind these."""
        here = {entry.instance_id for entry in entries}
        files = {name: files_of(self._root / "logs" / name) for name in here}
        line.place = pruned(advanced(line.place, entries), files)
        self._state.note(line.channel.id, spools=line.place)

    def _save(self) -> None:
        """Make it last; on a full disk it is tried again with the next message."""
        try:
            self._state.save()
        except OSError as error:
            self._is_dirty = True
            self._tell("logs/alerter.json was not written: {error}", error=str(error.strerror))
        else:
            self._is_dirty = False
