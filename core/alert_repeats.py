"""Which alert is written, and which is only counted: repeats of one text, floods of one kind.

A text is written when it first comes. The same text again within `WINDOW_S` is only counted, and
what was counted is told once the window is over: "n more". A kind that brings ever new texts (a
price in each of them) may write `KIND_MAX` lines in a window; beyond that it is counted as well.
So a loop that goes wrong costs a few lines and not the alerts of others, and nothing goes untold.

Pure: times are monotonic seconds that the caller gives. At most `KIND_MAX` texts of a kind are
remembered, and kinds are few and ours.
"""

from __future__ import annotations

from dataclasses import dataclass

WINDOW_S = 300.0
KIND_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One line to write. `repeats`: how often it came again unwritten, before this line."""

    level: str
    kind: str
    message: str
    repeats: int = 0


@dataclass(slots=True)
class _Seen:
    """What came in one window, of one text or (message "") of a kind that floods."""

    level: str
    until: float
    written: int = 0
    counted: int = 0
    last: str = ""


class Repeats:
    """What one writer has written lately."""

    def __init__(self, window_s: float = WINDOW_S, kind_max: int = KIND_MAX) -> None:
        self._window_s = window_s
        self._kind_max = kind_max
        self._texts: dict[tuple[str, str], _Seen] = {}
        self._kinds: dict[str, _Seen] = {}

    def admit(self, level: str, kind: str, message: str, now: float) -> bool:
        """Tell whether to write it; else it is counted. Ask `take_due` first."""
        seen = self._texts.get((kind, message))
        if seen is not None:
            seen.counted += 1
            return False
        family = self._kinds.get(kind)
        if family is None:
            family = self._kinds[kind] = _Seen(level, now + self._window_s)
        if family.written >= self._kind_max:
            family.counted += 1
            family.last = message
            return False
        family.written += 1
        self._texts[kind, message] = _Seen(level, now + self._window_s)
        return True

    def forget(self, kind: str, message: str) -> None:
        """It could not be written: the next of it is a first one."""
        self._texts.pop((kind, message), None)

    def take_due(self, now: float, *, at_end: bool = False) -> list[Note]:
        """Give a line for all that was counted in windows that are over (`at_end`: in all)."""
        notes: list[Note] = []
        for (kind, message), seen in list(self._texts.items()):
            if now < seen.until and not at_end:
                continue
            if seen.counted:
                words = f"{message} ({seen.counted} more)"
                notes.append(Note(level=seen.level, kind=kind, message=words, repeats=seen.counted))
                seen.counted, seen.until = 0, now + self._window_s
            else:
                del self._texts[kind, message]
        for kind, family in list(self._kinds.items()):
            if now < family.until and not at_end:
                continue
            if family.counted:
                words = f"{family.counted} more alerts of this kind; the last: {family.last}"
                notes.append(
                    Note(level=family.level, kind=kind, message=words, repeats=family.counted)
                )
            del self._kinds[kind]
        return notes

    def next_due(self) -> float | None:
        """When `take_due` has something to tell; None while nothing was counted."""
        every = (*self._texts.values(), *self._kinds.values())
        return min((seen.until for seen in every if seen.counted), default=None)
