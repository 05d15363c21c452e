"""S1, S23: what the alerter says of a supervisor, or a bot as well, that was killed.

Tables and a property for the decision; real locks for what a look finds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from registry_world import Holder, bot_of, make_spec, supervisor_of

from cli.alerting.episodes import (
    DOWN,
    DOWN_LOOKS,
    DOWN_LOOKS_MAX,
    LIVES_AGAIN,
    LIVES_LOOKS,
    ORPHANED,
    ORPHANED_LOOKS,
    Case,
    Seen,
    decide,
)
from cli.alerting.fleet_watch import FleetWatch
from core.alert_files import SPOOL_NAME
from core.desired import Desired, Wanted
from core.instance_manager import InstanceRegistry

# The decision ------------------------------------------------------------------------------------

RUNS = Seen(has_supervisor=True, has_bot=True, status="RUNNING", is_wanted=True)
ORPHAN = replace(RUNS, has_supervisor=False)
DEAD = replace(ORPHAN, has_bot=False)
STRANGER = replace(ORPHAN, is_wanted=False)  # started in the foreground

Look = Seen | None


def walk(
    looks: Sequence[Look], told: str = "", *, beside: Sequence[Look] = ()
) -> tuple[list[tuple[int, str]], dict[str, Case]]:
    """Take the looks one after another; every alarm as (number of the look from 1, kind)."""
    cases = {"bp": Case(told=told)} if told else {}
    raised = []
    for number, (one, other) in enumerate(zip_longest(looks, beside[: len(looks)]), 1):
        fleet = {name: seen for name, seen in (("bp", one), ("other", other)) if seen is not None}
        alarms, cases = decide(fleet, cases)
        for alarm in alarms:
            assert alarm.instance_id == "bp"
            raised.append((number, alarm.kind))
            cases[alarm.instance_id] = alarm.after
    return raised, {name: case for name, case in cases.items() if case != Case()}


def seen(**changes: Any) -> Seen:
    return replace(RUNS, **changes)


STORIES: dict[str, tuple[Sequence[Look], str, list[tuple[int, str]], str]] = {
    # story: (looks, told before, alarms by look, told after)
    "all well": ([RUNS] * 9, "", [], ""),
    "an orphan, once": ([ORPHAN] * 99, "", [(ORPHANED_LOOKS, ORPHANED)], ORPHANED),
    "a supervisor that is being replaced": (
        [*[ORPHAN] * (ORPHANED_LOOKS - 1), RUNS, *[ORPHAN] * (ORPHANED_LOOKS - 1), RUNS],
        "",
        [],
        "",
    ),
    "an orphan that nobody wants in the background": (
        [STRANGER] * 9,
        "",
        [(ORPHANED_LOOKS, ORPHANED)],
        ORPHANED,
    ),
    "an orphan whatever its record says": (
        [replace(ORPHAN, status="FATAL")] * 9,
        "",
        [(ORPHANED_LOOKS, ORPHANED)],
        ORPHANED,
    ),
    "healed": ([RUNS] * 9, ORPHANED, [(LIVES_LOOKS, LIVES_AGAIN)], ""),
    "a supervisor that dies at once heals nothing": (
        [RUNS, ORPHAN, ORPHAN, RUNS, *[ORPHAN] * 9],
        ORPHANED,
        [],
        ORPHANED,
    ),
    "a second episode": (
        [*[RUNS] * LIVES_LOOKS, *[ORPHAN] * 9],
        ORPHANED,
        [(LIVES_LOOKS, LIVES_AGAIN), (LIVES_LOOKS + ORPHANED_LOOKS, ORPHANED)],
        ORPHANED,
    ),
    "both dead, once": ([DEAD] * 99, "", [(DOWN_LOOKS, DOWN)], DOWN),
    "both dead after an orderly shutdown": (
        [replace(DEAD, status="STOPPED")] * 99,
        "",
        [(DOWN_LOOKS, DOWN)],
        DOWN,
    ),
    "resurrected": ([RUNS] * 9, DOWN, [(LIVES_LOOKS, LIVES_AGAIN)], ""),
    "resurrected soon enough": ([*[DEAD] * (DOWN_LOOKS - 1), RUNS], "", [], ""),
    "an orphan whose bot dies too": (
        [*[ORPHAN] * ORPHANED_LOOKS, *[DEAD] * 99],
        "",
        [(ORPHANED_LOOKS, ORPHANED), (ORPHANED_LOOKS + DOWN_LOOKS, DOWN)],
        DOWN,
    ),
    "dead, and nobody wants it": ([replace(DEAD, is_wanted=False)] * 99, "", [], ""),
    "given up: its supervisor told it": ([replace(DEAD, status="FATAL")] * 99, "", [], ""),
    "ended by itself": ([replace(DEAD, status="EXITED")] * 99, "", [], ""),
    "a start under way": (
        [replace(DEAD, is_wanted=False), seen(has_bot=False, status="STARTING"), RUNS],
        "",
        [],
        "",
    ),
    "a stop": (
        [
            RUNS,
            seen(status="STOPPING", is_wanted=False),
            seen(status="STOPPING", is_wanted=False, has_bot=False),
            seen(status="STOPPED", is_wanted=False, has_bot=False, has_supervisor=False),
        ],
        "",
        [],
        "",
    ),
    "an orphan that is stopped lives not again": (
        [*[seen(status="STOPPING", is_wanted=False)] * 9, replace(DEAD, is_wanted=False)],
        ORPHANED,
        [],
        "",
    ),
    "the orders of a dead bot are cleaned up, then it lives": (
        [*[seen(has_bot=False, status="FINISHING")] * 9, *[RUNS] * LIVES_LOOKS],
        DOWN,
        [(9 + LIVES_LOOKS, LIVES_AGAIN)],
        "",
    ),
    "no repeat at the alerter's start": ([ORPHAN] * 99, ORPHANED, [], ORPHANED),
    "nor of what is down": ([DEAD] * 99, DOWN, [], DOWN),
    "what is wanted can't be read: no alarm": ([replace(DEAD, is_wanted=None)] * 99, "", [], ""),
    "and what was told stays": ([*[replace(DEAD, is_wanted=None)] * 9, DEAD], DOWN, [], DOWN),
    "but an orphan is told": (
        [replace(ORPHAN, is_wanted=None)] * 9,
        "",
        [(ORPHANED_LOOKS, ORPHANED)],
        ORPHANED,
    ),
    "removed": ([None], DOWN, [], ""),
}


@pytest.mark.parametrize("story", STORIES)
def test_stories(story: str) -> None:
    looks, told, expected, after = STORIES[story]
    raised, cases = walk(looks, told)
    assert raised == expected
    assert (cases["bp"].told if "bp" in cases else "") == after


STARTS = seen(status="STARTING", has_bot=False)
STOPS = seen(status="STOPPING")


@pytest.mark.parametrize(
    ("beside", "told_at"),
    [
        ([], DOWN_LOOKS),
        ([RUNS] * 99, DOWN_LOOKS),
        ([STARTS] * 99, DOWN_LOOKS_MAX),  # not for ever: it may be in a loop of crashes
        ([*[STARTS] * 20, RUNS, *[STARTS] * 20, *[RUNS] * 50], 41 + DOWN_LOOKS),
        ([*[STOPS] * 10, *[replace(DEAD, is_wanted=False)] * 50], 10 + DOWN_LOOKS),
        ([replace(DEAD, status="STARTING", is_wanted=False)] * 99, DOWN_LOOKS),  # an old record
    ],
)
def test_what_is_down_has_longer_while_others_start_or_stop(
    beside: Sequence[Look], told_at: int
) -> None:
    """`start_after` lets one of a `resurrect` wait; a restart of all stops the slowest last."""
    raised, _ = walk([DEAD] * 99, beside=beside)
    assert raised == [(told_at, DOWN)]


def test_words_tell_what_to_do() -> None:
    """The command as a shell takes it, the orders that nobody looks after; critical both."""
    config = "/etc/my bots/bp.json"
    orphan = {"bp": replace(ORPHAN, config_file=config)}
    (alarm,), _ = decide(orphan, {"bp": Case(met=ORPHANED, looks=ORPHANED_LOOKS)})
    assert alarm.level == "critical"
    assert alarm.message == (
        "its supervisor is gone, the bot trades on unwatched;"
        " heal it with: daemon_manager start --config '/etc/my bots/bp.json'"
    )
    waited = {"bp": Case(met=DOWN, looks=DOWN_LOOKS, quiet=DOWN_LOOKS)}
    (alarm,), _ = decide({"bp": DEAD}, waited)
    assert alarm.level == "critical"
    assert alarm.message == (
        "should run and does not: neither its supervisor nor its bot lives, and its orders may"
        " rest on the exchange; bring it back with: daemon_manager resurrect"
    )
    (alarm,), _ = decide({"bp": replace(DEAD, is_paper=True)}, waited)
    assert "orders" not in alarm.message
    lived = {"bp": Case(told=DOWN, met=LIVES_AGAIN, looks=LIVES_LOOKS)}
    (alarm,), _ = decide({"bp": RUNS}, lived)
    assert (alarm.level, alarm.message) == ("info", "lives again: a supervisor watches it")


def test_what_could_not_be_written_is_raised_again() -> None:
    """Until the caller takes `after` over, every look raises it."""
    cases: dict[str, Case] = {}
    raised = []
    for _ in range(ORPHANED_LOOKS + 3):
        alarms, cases = decide({"bp": ORPHAN}, cases)
        raised.append(len(alarms))
    assert raised == [0] * (ORPHANED_LOOKS - 1) + [1] * 4


LOOKS = st.lists(
    st.builds(
        Seen,
        has_supervisor=st.booleans(),
        has_bot=st.booleans(),
        status=st.sampled_from(["RUNNING", "STARTING", "STOPPING", "STOPPED", "FATAL"]),
        is_wanted=st.sampled_from([True, True, False, None]),
    ).flatmap(lambda one: st.integers(1, 10).map(lambda count: [one] * count)),
    max_size=30,
).map(lambda runs: [one for run in runs for one in run])


TAILS = st.sampled_from([([ORPHAN] * 9, ORPHANED), ([DEAD] * 9, DOWN), ([RUNS] * 9, "")])


def is_over(one: Seen) -> bool:
    """Whether an episode ends with this look, without a word."""
    return one.is_wanted is False and not one.has_bot and not one.has_supervisor


@given(LOOKS, TAILS, st.integers(0, 300))
def test_no_alarm_is_repeated_and_none_lost(
    looks: list[Seen], tail: tuple[list[Seen], str], at: int
) -> None:
    """Over any history, with a restart of the alerter anywhere before the last few looks."""
    at = min(at, len(looks))
    looks = [*looks, *tail[0]]
    first, cases = walk(looks[:at])
    second, after = walk(looks[at:], cases["bp"].told if "bp" in cases else "")
    stands, last = "", 0
    for number, kind in [*first, *((at + number, kind) for number, kind in second)]:
        if any(map(is_over, looks[last : number - 1])):
            stands = ""
        assert kind != stands
        assert stands or kind != LIVES_AGAIN
        stands, last = "" if kind == LIVES_AGAIN else kind, number
    assert (after["bp"].told if "bp" in after else "") == tail[1]


# A look ------------------------------------------------------------------------------------------


@pytest.fixture
def said() -> list[str]:
    return []


def watch(root: Path, said: list[str], told: dict[str, str] | None = None) -> FleetWatch:
    return FleetWatch(root, told or {}, tell=lambda text, **v: said.append(text.format(**v)))


def spooled(root: Path, name: str = "bp") -> list[dict[str, Any]]:
    path = root / "logs" / name / SPOOL_NAME
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def record(root: Path, holder: Holder) -> None:
    registry = InstanceRegistry(root)
    registry.claim(make_spec(root, "bp"), pid=holder.pid)
    registry.update("bp", status="RUNNING")


def look(one: FleetWatch, count: int) -> list[bool]:
    return [one.look(float(number)) for number in range(count)]


def test_an_orphan_is_spooled_once_over_restarts(tmp_path: Path, said: list[str]) -> None:
    """A real bot lock without its supervisor; a new watch goes on from what was told."""
    with bot_of(tmp_path, "bp"):
        with supervisor_of(tmp_path, "bp") as supervisor:
            record(tmp_path, supervisor)
            one = watch(tmp_path, said)
            assert look(one, ORPHANED_LOOKS) == [False] * ORPHANED_LOOKS
        assert look(one, ORPHANED_LOOKS) == [False] * (ORPHANED_LOOKS - 1) + [True]
        assert one.told == {"bp": ORPHANED}
        (alert,) = spooled(tmp_path)
        assert (alert["source"], alert["level"], alert["kind"]) == ("alerter", "critical", ORPHANED)
        assert "daemon_manager start --config" in alert["message"]
        next_one = watch(tmp_path, said, one.told)
        look(next_one, 9)
        assert len(spooled(tmp_path)) == 1
        with supervisor_of(tmp_path, "bp"):
            look(next_one, LIVES_LOOKS)
    assert [alert["kind"] for alert in spooled(tmp_path)] == [ORPHANED, LIVES_AGAIN]
    assert next_one.told == {}
    assert said == []


def test_what_is_wanted_and_has_no_trace_is_down(tmp_path: Path, said: list[str]) -> None:
    """desired.json alone: neither a record nor a run directory; a name that is none is passed."""
    wanted = Wanted(config_path="/c/bp.json", started_at="2026-01-02T03:04:05+00:00")
    Desired(tmp_path).enter_all({"bp": wanted, "../away": wanted})
    one = watch(tmp_path, said)
    look(one, DOWN_LOOKS)
    assert [alert["kind"] for alert in spooled(tmp_path)] == [DOWN]
    assert not (tmp_path / "away").exists()


def test_a_spool_that_takes_nothing_is_tried_again(tmp_path: Path, said: list[str]) -> None:
    """A folder in its place: told on the terminal, and raised once it is gone; nothing is lost."""
    wanted = Wanted(config_path="/c/bp.json", started_at="2026-01-02T03:04:05+00:00")
    Desired(tmp_path).enter("bp", wanted)
    place = tmp_path / "logs" / "bp" / SPOOL_NAME
    place.mkdir(parents=True)
    one = watch(tmp_path, said)
    look(one, DOWN_LOOKS + 2)
    assert one.told == {}
    assert len(said) == 3
    assert "could not be written" in said[0]
    place.rmdir()
    assert look(one, 2) == [True, False]
    assert [alert["kind"] for alert in spooled(tmp_path)] == [DOWN]


def test_a_damaged_list_of_wishes_is_said_once(tmp_path: Path, said: list[str]) -> None:
    """Orphans are told all the same."""
    with bot_of(tmp_path, "bp"):
        with supervisor_of(tmp_path, "bp") as supervisor:
            record(tmp_path, supervisor)
        (tmp_path / "logs" / "desired.json").write_text("{")
        look(watch(tmp_path, said), ORPHANED_LOOKS)
    assert [alert["kind"] for alert in spooled(tmp_path)] == [ORPHANED]
    assert len(said) == 1
    assert "desired.json: is damaged" in said[0]


def test_nothing_in_the_files_ends_the_alerter(tmp_path: Path, said: list[str]) -> None:
    """What no one of us wrote: nested beyond what can be read."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "desired.json").write_text("[" * 200_000)
    one = watch(tmp_path, said)
    assert look(one, 3) == [False] * 3
    assert len(said) == 1
