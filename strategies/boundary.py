"""Where the price stands against the range, with tolerance, confirmation and hysteresis. Pure.

A breach counts when the mark price has been beyond the bound by more than `tolerance` (a fraction
of the bound) for `confirm_s` seconds without a break; the way back counts when it has been inside
the bound itself for as long. The zone is stored; the pending candidate is not: a restart only
starts its confirmation anew.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

CONFIRM_S = 10.0
"""Seconds of market time that a breach or a return must last; a wick shorter than this is noise."""


class Zone(enum.Enum):
    """Where the confirmed price is."""

    INSIDE = "INSIDE"
    ABOVE = "ABOVE"
    BELOW = "BELOW"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """The confirmed zone and, while another one is being confirmed, which and since when."""

    zone: Zone = Zone.INSIDE
    candidate: Zone | None = None
    since: datetime | None = None


def judge(
    watch: Watch,
    mark: Decimal,
    lower: Decimal,
    upper: Decimal,
    tolerance: Decimal,
    now: datetime,
    confirm_s: float = CONFIRM_S,
) -> Watch:
    """Take one mark price at market time `now`; the result's zone differs once it is confirmed."""
    seen = zone_of(watch.zone, mark, lower, upper, tolerance)
    if seen is watch.zone:
        return watch if watch.candidate is None else Watch(zone=watch.zone)
    if watch.candidate is not seen or watch.since is None:
        watch = Watch(zone=watch.zone, candidate=seen, since=now)
    assert watch.since is not None
    if (now - watch.since).total_seconds() >= confirm_s:
        return Watch(zone=seen)
    return watch


def zone_of(zone: Zone, mark: Decimal, lower: Decimal, upper: Decimal, tolerance: Decimal) -> Zone:
    """Read the zone of one price; out of `zone`, only a price inside the bound itself is back."""
    if zone is Zone.ABOVE and mark > upper:
        return Zone.ABOVE
    if zone is Zone.BELOW and mark < lower:
        return Zone.BELOW
    if mark > upper * (1 + tolerance):
        return Zone.ABOVE
    if mark < lower * (1 - tolerance):
        return Zone.BELOW
    return Zone.INSIDE
