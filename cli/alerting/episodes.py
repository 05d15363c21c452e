"""Which instances need a person because nobody else can say it: orphans, and what is down. Pure.

A supervisor tells what becomes of its bot; a supervisor that was killed tells nothing. So the
alerter looks at the fleet (`cli.alerting.fleet_watch`), and here is what each look means:

| supervisor | bot  | wanted | recorded as   | means                                     |
| ---------- | ---- | ------ | ------------- | ----------------------------------------- |
| lives      | any  | any    | STOPPING, ... | nothing yet: it ends, or cleans up        |
| lives      | any  | any    | any other     | well; the supervisor speaks for itself    |
| gone       | yes  | any    | any           | ORPHANED                                  |
| gone       | gone | yes    | EXITED, FATAL | nothing: its supervisor told it           |
| gone       | gone | yes    | any other     | DOWN                                      |
| gone       | gone | no     | any           | over, without a word: it was to end       |
| gone       | gone | (1)    | any           | nothing that changes what was told        |

(1) unknown: `desired.json` can't be read.

An alarm is raised once, when a condition was met in so many looks in a row, and so is the word that
it is over, if the alarm was. Looks are counted, no seconds: an alerter that was stopped for a
minute has not seen that minute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from core.registry_file import start_command

LOOK_S = 5.0

ORPHANED = "orphaned"
DOWN = "down"
LIVES_AGAIN = "lives_again"

ORPHANED_LOOKS = 3
"""10 to 15 s: `restart --supervisor-only` takes one or two, systemd's RestartSec 5 and a start."""

DOWN_LOOKS = 7
"""30 to 35 s in which no other starts or stops, as in a restart of all; after a boot the alerter
may be up before `resurrect` has read the configs."""

LIVES_LOOKS = 2
"""A supervisor that dies at once has mended nothing."""

DOWN_LOOKS_MAX = 61
"""Five minutes, however many others start or stop: `start_after` lets some wait for others."""

_LEAVING = frozenset({"STOPPING", "STOPPED", "FINISHING"})
_MOVING = frozenset({"STARTING", "STOPPING", "FINISHING"})
_TOLD_BY_SUPERVISOR = frozenset({"EXITED", "FATAL"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One instance in one look. `status` is the record's word; `is_wanted` None: unknown."""

    has_supervisor: bool
    has_bot: bool
    status: str
    is_wanted: bool | None
    config_file: str | None = None
    is_paper: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is known of an instance that is not well: `met` in `looks` looks, `told` before.

    `quiet`: in how many of the last looks no instance was starting or stopping.
    """

    met: str = ""
    looks: int = 0
    quiet: int = 0
    told: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """An alert to raise, and the case as it is once that is written."""

    instance_id: str
    level: str
    kind: str
    message: str
    after: Case


def decide(
    fleet: Mapping[str, Seen], cases: Mapping[str, Case]
) -> tuple[list[Alarm], dict[str, Case]]:
    """Take one look: the alarms to raise, and the cases as they are until those are written.

    Shape: both by instance id; whoever is well and was not told of has no case.
    """
    is_moving = any(seen.has_supervisor and seen.status in _MOVING for seen in fleet.values())
    alarms, left = [], {}
    for instance_id, seen in sorted(fleet.items()):
        case = cases.get(instance_id, Case())
        alarm, case = _decide_one(instance_id, seen, case, is_moving=is_moving)
        if alarm is not None:
            alarms.append(alarm)
        if case != Case():
            left[instance_id] = case
    return alarms, left


def _decide_one(
    instance_id: str, seen: Seen, case: Case, *, is_moving: bool
) -> tuple[Alarm | None, Case]:
    if seen.has_supervisor:
        if not case.told or seen.status in _LEAVING:
            return None, Case(told=case.told)
        case = _met(case, LIVES_AGAIN, is_moving=is_moving)
        if case.looks < LIVES_LOOKS:
            return None, case
        words = "lives again: a supervisor watches it"
        alarm = Alarm(
            instance_id=instance_id, level="info", kind=LIVES_AGAIN, message=words, after=Case()
        )
        return alarm, case
    if seen.has_bot:
        case = _met(case, ORPHANED, is_moving=is_moving)
        if case.told == ORPHANED or case.looks < ORPHANED_LOOKS:
            return None, case
        heal = start_command(instance_id, seen.config_file)
        words = f"its supervisor is gone, the bot trades on unwatched; heal it with: {heal}"
        return _critical(instance_id, case, words), case
    if seen.is_wanted is None:
        return None, Case(told=case.told)
    if not seen.is_wanted:
        return None, Case()
    if seen.status in _TOLD_BY_SUPERVISOR:
        return None, Case(told=case.told)
    case = _met(case, DOWN, is_moving=is_moving)
    if case.told == DOWN or (case.quiet < DOWN_LOOKS and case.looks < DOWN_LOOKS_MAX):
        return None, case
    orders = "" if seen.is_paper else ", and its orders may rest on the exchange"
    words = (
        f"should run and does not: neither its supervisor nor its bot lives{orders};"
        " bring it back with: daemon_manager resurrect"
    )
    return _critical(instance_id, case, words), case


def _met(case: Case, condition: str, *, is_moving: bool) -> Case:
    if case.met != condition:
        case = Case(met=condition, told=case.told)
    quiet = 0 if is_moving else case.quiet + 1
    return replace(case, looks=case.looks + 1, quiet=quiet)


def _critical(instance_id: str, case: Case, message: str) -> Alarm:
    return Alarm(
        instance_id=instance_id,
        level="critical",
        kind=case.met,
        message=message,
        after=replace(case, told=case.met),
    )
