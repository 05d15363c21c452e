"""S23: whatever happens between writers, renames and deaths, every alert arrives, in order.

The true spool, the true reader, the true alerter and its state on disk; only the sends are not
forks, so that hypothesis can say where each one is cut off.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.alerting.alerter import Alerter
from cli.alerting.plan import Outgoing, is_wanted
from core import alert_spool
from core.alert_files import SPOOL_NAME
from core.alert_spool import AlertSpool

LATER = 1e18
MEMORY = (
    "/dev/shm" if Path("/dev/shm").is_dir() else None
)  # a sync to a disk for every step is slow
LEVELS = ("info", "warning", "critical")


class FakeChannel:
    """Takes messages; `taken` is every alert's text in the order in which it first arrived."""

    gap_s = 0.0
    text_max = 3000

    def __init__(self, name: str) -> None:
        self.name = self.id = name
        self.taken: list[str] = []

    def send(self, message: Outgoing) -> dict[str, Any]:
        for entry in message.entries:
            if is_wanted(entry, "warning") and entry.alert is not None:
                text = entry.alert.message
                if text not in self.taken:
                    self.taken.append(text)
        return {"sent": True, "why": ""}


class Jobs:
    """In place of `core.chores`: what was begun, for the test to end or to forget."""

    def __init__(self) -> None:
        self.begun: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []

    def start(self, _what: str, work: Any, done: Any, _timeout_s: float) -> None:
        self.begun.append((work, done))


class World:
    def __init__(self, root: Path, *, cap: int) -> None:
        self.root = root
        self.channels = [FakeChannel("a"), FakeChannel("b")]
        self.written: dict[tuple[str, str], list[str]] = {}
        self.spools = {}
        for instance in ("one", "two"):
            folder = root / "logs" / instance
            folder.mkdir(parents=True)
            for source in ("supervisor", "bot"):
                self.spools[instance, source] = AlertSpool(
                    folder, instance, source, rotate_bytes=700, cap_bytes=cap
                )
        self.number = 0
        self.begin()

    def begin(self) -> None:
        """A new alerter, from what the last one has left on disk."""
        self.alerter = Alerter(self.root, self.channels, "warning", tell=lambda *_, **__: None)  # type: ignore[arg-type]
        self.alerter._chores = self.jobs = Jobs()  # type: ignore[assignment]
        self.alerter._save()

    def die(self) -> None:
        """SIGKILL: nothing more is written."""
        self.alerter._loop.close()
        self.begin()

    def write(self, who: tuple[str, str], level: str) -> None:
        self.number += 1
        text = f"alert {self.number}"
        if level != "info":
            self.written.setdefault(who, []).append(text)
        assert self.spools[who].add(level, f"kind {self.number}", text)

    def stalled(self, who: tuple[str, str], meanwhile: list[Any]) -> None:
        """A writer that is stopped between its open and its write, while others go on."""
        true_open, todo = alert_spool.open_private, list(meanwhile)

        def stalling(path: Path, flags: int) -> int:
            fd = true_open(path, flags)
            if path.name == SPOOL_NAME and path.parent.name == who[0]:
                steps, todo[:] = list(todo), []
                for step in steps:
                    self.do(step)
            return fd

        with mock.patch.object(alert_spool, "open_private", stalling):
            self.write(who, "warning")

    def round(self, outcomes: list[str]) -> None:
        """Each channel that is free begins a message; this is what becomes of them."""
        self.alerter._look(LATER)
        begun, self.jobs.begun = self.jobs.begun, []
        is_dead = False
        for (work, done), outcome in zip(begun, outcomes, strict=False):
            match outcome:
                case "sent":
                    done(work())
                case "failed":
                    done({"sent": False, "why": "no line"})
                case "hangs":
                    self.jobs.begun.append((work, lambda _: None))  # never answers
                case "killed while it was sent":
                    work()
                    is_dead = True
                case _:
                    is_dead = True
        if is_dead:
            self.die()

    def do(self, step: Any) -> None:
        match step:
            case ("write", who, level):
                self.write(who, level)
            case ("round", outcomes):
                self.round(outcomes)
            case ("kill",):
                self.die()
            case ("stalled", who, meanwhile):
                self.stalled(who, meanwhile)

    def settle(self) -> None:
        """The channels are well again: deliver all."""
        self.die()
        for _ in range(200):
            self.alerter._look(LATER)
            begun, self.jobs.begun = self.jobs.begun, []
            if not begun and not any(line.is_busy for line in self.alerter._lines):
                break
            for work, done in begun:
                done(work())
        self.alerter._loop.close()


WHO = st.sampled_from([(i, s) for i in ("one", "two") for s in ("supervisor", "bot")])
OUTCOMES = st.lists(
    st.sampled_from(["sent", "sent", "failed", "hangs", "killed while it was sent", "killed"]),
    min_size=2,
    max_size=2,
)
PLAIN = st.one_of(
    st.tuples(st.just("write"), WHO, st.sampled_from(LEVELS)),
    st.tuples(st.just("round"), OUTCOMES),
    st.tuples(st.just("kill")),
)


def others(who: tuple[str, str]) -> Any:
    """What may happen while this writer is stopped: anything but a write of its own."""
    another = WHO.filter(lambda one: one != who)
    return st.lists(
        st.one_of(
            st.tuples(st.just("write"), another, st.sampled_from(LEVELS)),
            st.tuples(st.just("round"), OUTCOMES),
        ),
        max_size=12,
    )


STALLED = WHO.flatmap(lambda who: st.tuples(st.just("stalled"), st.just(who), others(who)))
BURST = st.tuples(WHO, st.integers(5, 25)).map(
    lambda pair: [("write", pair[0], "warning")] * pair[1]
)
STEPS = st.lists(
    st.one_of(PLAIN.map(lambda s: [s]), STALLED.map(lambda s: [s]), BURST), max_size=25
)


@pytest.mark.slow
@settings(max_examples=150)
@given(STEPS)
def test_every_alert_arrives_on_every_channel_in_order(steps: list[list[Any]]) -> None:
    """S23: over any interleaving of writers, renames, failures, hangs and deaths."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        world = World(Path(folder), cap=1 << 30)
        for step in (one for group in steps for one in group):
            world.do(step)
        world.settle()
        for channel in world.channels:
            assert len(channel.taken) == sum(map(len, world.written.values()))
            for texts in world.written.values():
                assert [text for text in channel.taken if text in set(texts)] == texts


@pytest.mark.slow
@settings(max_examples=80)
@given(STEPS)
def test_above_the_cap_what_is_lost_is_told_with_its_number(steps: list[list[Any]]) -> None:
    """Undelivered alerts are dropped oldest first, and the notes count at least what is missing."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        world = World(Path(folder), cap=1500)
        for step in (one for group in steps for one in group):
            world.do(step)
        world.settle()
        for channel in world.channels:
            wanted = {text for texts in world.written.values() for text in texts}
            missing = wanted - set(channel.taken)
            notes = [text for text in channel.taken if "oldest alerts were dropped" in text]
            assert sum(int(text.split()[1]) for text in notes) >= len(missing)
