"""What a channel is told next, in which words, and when it is tried again. Pure.

- Alerts go out one by one, oldest first, as long as at most `DIGEST_ABOVE` wait; more than that
  go out as one message, in which equal ones stand once with their number and the worst first.
- A level below the channel's is passed over: taken, not sent.
- A failure is tried again after 5 s, doubling to 5 minutes, for ever: a channel that was down for
  a week gets everything (as a digest) when it is back.
- A place is a mapping `{instance: {file: offset}}`; it moves only over what was delivered.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.alert_lines import LEVELS, Alert, Entry

DIGEST_ABOVE = 10
DIGEST_MAX = 1000  # alerts in one message; what is beyond goes with the next
TEXT_MAX = 3000  # characters of a message; Telegram takes 4,096, with its title and its markup
RETRY_S = 5.0
RETRY_MAX_S = 300.0

_LINE_MAX = 200
_NAME = "gridfleet"  # in every title: a DingTalk robot may ask for a keyword

Place = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One message and what is delivered by it. `level` is the worst of its alerts."""

    title: str
    body: str
    level: str
    count: int
    entries: tuple[Entry, ...]


def in_order(spools: Iterable[Sequence[Entry]]) -> list[Entry]:
    """Merge the instances' alerts by time; each instance's own stay in the order of its spool."""
    latest = ((_timed(spool)) for spool in spools)
    return [entry for _, _, entry in heapq.merge(*latest, key=lambda item: item[:2])]


def next_message(
    waiting: Sequence[Entry], min_level: str, *, host: str, text_max: int = TEXT_MAX
) -> tuple[tuple[Entry, ...], Outgoing | None]:
    """Give what is passed over at once, and the next message (None: nothing to send)."""
    wanted = [index for index, entry in enumerate(waiting) if is_wanted(entry, min_level)]
    if not wanted:
        return tuple(waiting), None
    passed = tuple(waiting[: wanted[0]])
    text_max = min(text_max, TEXT_MAX)
    taken = wanted[:DIGEST_MAX] if len(wanted) > DIGEST_ABOVE else wanted[:1]
    entries = tuple(waiting[wanted[0] : taken[-1] + 1])
    alerts = [alert for index in taken if (alert := waiting[index].alert) is not None]
    if len(alerts) == 1:
        return passed, _single(alerts[0], entries, host, text_max)
    return passed, _digest(alerts, entries, host, text_max)


def advanced(place: Place, entries: Iterable[Entry]) -> dict[str, dict[str, int]]:
    """Move a place behind these entries."""
    moved = {instance_id: dict(files) for instance_id, files in place.items()}
    for entry in entries:
        moved.setdefault(entry.instance_id, {})[entry.file] = entry.end
    return moved


def pruned(place: Place, files: Mapping[str, set[str]]) -> dict[str, dict[str, int]]:
    """Forget files that are gone, by the files that each instance has now."""
    return {
        instance_id: {file: end for file, end in ends.items() if file in files[instance_id]}
        if instance_id in files
        else dict(ends)
        for instance_id, ends in place.items()
    }


def retry_s(failures: int) -> float:
    """Seconds until a channel that failed so often in a row is tried again; failures >= 1."""
    return float(min(RETRY_MAX_S, RETRY_S * 2.0 ** min(failures - 1, 16)))


def is_wanted(entry: Entry, min_level: str) -> bool:
    """Tell whether an entry is an alert of that level or worse."""
    return entry.alert is not None and _rank(entry.alert.level) >= _rank(min_level)


def trial(host: str) -> Outgoing:
    """Give the message by which a channel is tried."""
    body = f"a test of this channel, from {host}: alerts of your bots arrive here"
    return Outgoing(title=f"{_NAME}: test", body=body, level="info", count=0, entries=())


def _timed(spool: Sequence[Entry]) -> list[tuple[str, int, Entry]]:
    """Give each entry a time that never falls: a clock that was set back reorders nothing."""
    timed, time = [], ""
    for number, entry in enumerate(spool):
        if entry.alert is not None:
            time = max(time, entry.alert.time)
        timed.append((time, number, entry))
    return timed


def _rank(level: str) -> int:
    return LEVELS.index(level)


def _single(alert: Alert, entries: tuple[Entry, ...], host: str, text_max: int) -> Outgoing:
    return Outgoing(
        title=f"{_NAME} {alert.level}: {alert.instance_id} {alert.kind}",
        body=f"{_cut(alert.message, text_max)}\n{alert.time} on {host}",
        level=alert.level,
        count=1,
        entries=entries,
    )


def _digest(
    alerts: Sequence[Alert], entries: tuple[Entry, ...], host: str, text_max: int
) -> Outgoing:
    groups: dict[tuple[str, str, str, str], list[Alert]] = {}
    for alert in alerts:
        key = (alert.instance_id, alert.level, alert.kind, alert.message)
        groups.setdefault(key, []).append(alert)
    worst_first = sorted(groups.values(), key=lambda same: -_rank(same[0].level))
    head = f"{alerts[0].time} to {alerts[-1].time} on {host}"
    lines, size, left = [head], len(head), len(alerts)
    for same in worst_first:
        line = _line(same)
        if size + len(line) + 80 > text_max:  # 80: the last line
            break
        lines.append(line)
        size += len(line) + 1
        left -= len(same)
    if left:
        lines.append(f"and {left} more: instance_cli alerts list")
    critical = sum(alert.level == "critical" for alert in alerts)
    counts = f"{len(alerts)} alerts" + (f", {critical} critical" if critical else "")
    return Outgoing(
        title=f"{_NAME}: {counts}",
        body="\n".join(lines),
        level=max((alert.level for alert in alerts), key=_rank),
        count=len(alerts),
        entries=entries,
    )


def _line(same: Sequence[Alert]) -> str:
    alert = same[0]
    times = f" ({len(same)} times)" if len(same) > 1 else ""
    words = f"{alert.time[11:19]} {alert.instance_id} {alert.level} {alert.kind}{times}: "
    return words + _cut(" ".join(alert.message.split()), _LINE_MAX)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: max(0, limit - 1)] + "…"
