"""Watching one living child: when to probe, when a beat is too old, when a limit is passed.

What lives here: the timers and counters between a child's signs of life and the events that
`core.supervision.decide` understands. The loop asks `next_due`, calls `on_timer`, and registers the
probe's socket; nothing here waits.

Rules it keeps:
- an answer of 503 is DEGRADED at once, a missing answer only after `failures` in a row;
- a probe that nobody answers never restarts anything: only a beat older than `interval x
  failures` (at least 3 s) and the program's own `live: false`, `failures` times in a row, do;
- what we can't look at for want of a descriptor is no fault of the child's;
- a beat that announces a wait for an exchange ages only from the end of that wait on;
- our bot always beats; a foreign program is judged by its beat only if it writes one;
- a bot binds its page before it says that it is ready, so a ready beat where nobody has ever
  listened is a bot that was told to serve none: it is healthy, and its beat alone is watched;
- memory is the resident size of the whole group, CPU its share of one processor between two
  samples; a limit counts as passed when that holds for several samples in a row, so neither a short
  peak nor a busy moment restarts anything.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.health import Beat, Probe, ProbeResult, Verdict, read_beat
from core.process import Child, ProcStat
from core.spec import ChildSpec
from core.supervision import beat_age_s, beat_limit_s, probe_interval_s, starting_interval_s
from core.supervision_types import Cause, Degraded, Event, Healthy, Stuck

SAMPLE_INTERVAL_S = 5.0  # S28: a limit that is looked at once a minute comes too late
MEMORY_SAMPLES = 3  # in a row: what a sort or a compression takes is given back within seconds
CPU_SAMPLES = 6  # half a minute: a fast market keeps a bot busy, a loop without an end longer
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something to be logged that changes nothing."""

    event: str
    detail: str


class Monitor:
    """The signs of life of one child, from its spawn or adoption to its end."""

    def __init__(
        self,
        spec: ChildSpec,
        run_dir: Path,
        web_port: int,
        child: Child,
        *,
        is_ready: bool,
        members: Callable[[], list[ProcStat]],
    ) -> None:
        now = time.monotonic()
        self._spec = spec
        self._health = spec.health
        self._beat_path = run_dir / "heartbeat"
        self._web_port = web_port
        self._child = child
        self._members = members
        self._began = now
        self._is_ready = is_ready
        self._has_answered = False
        self._missed = 0
        self._dead_loops = 0
        self._beat_limit = beat_limit_s(spec.health.interval, spec.health.failures)
        probes = spec.health.check != "none"
        self.probe: Probe | None = None
        self._probe_at: float | None = now if probes else None
        self._probe_deadline: float | None = None
        self._beat_at: float | None = now + self._beat_limit if probes else None
        self._limits_at = now + SAMPLE_INTERVAL_S if _has_limits(spec) else None
        self._ticks: dict[tuple[int, int], int] = {}
        self._sampled_at: float | None = None
        self._memory_over = 0
        self._cpu_over = 0
        self.peak_bytes = 0  # of the whole group, as far as it was sampled

    def change(self, spec: ChildSpec) -> None:
        """Go by these settings from now on; what was counted so far counts on."""
        now = time.monotonic()
        self._spec, self._health = spec, spec.health
        self._beat_limit = beat_limit_s(spec.health.interval, spec.health.failures)
        if self._beat_at is not None:
            self._beat_at = now
        if self._probe_at is not None:
            self._probe_at = min(self._probe_at, now + spec.health.interval)
        if not _has_limits(spec):
            self._limits_at = None
        elif self._limits_at is None:
            self._limits_at = now + SAMPLE_INTERVAL_S

    def next_due(self) -> float | None:
        """When `on_timer` has something to do next."""
        first = self._probe_deadline if self.probe is not None else self._probe_at
        dues = [due for due in (first, self._beat_at, self._limits_at) if due is not None]
        return min(dues, default=None)

    def on_timer(self, now: float) -> list[Event | Notice]:
        """Do what is due; a probe that begins shows up as `probe`."""
        found: list[Event | Notice] = []
        if self.probe is not None and self._probe_deadline is not None:
            if now >= self._probe_deadline:
                found += self._judge(self.probe.time_out(self._health.timeout), now)
        elif self._probe_at is not None and now >= self._probe_at:
            found += self._begin_probe(now)
        if self._beat_at is not None and now >= self._beat_at:
            found += self._check_beat(now)
        if self._limits_at is not None and now >= self._limits_at:
            self._limits_at = now + SAMPLE_INTERVAL_S
            found += self._check_limits(now)
        return found

    def on_probe_ready(self, now: float) -> list[Event | Notice]:
        """Let the probe go on; empty while it isn't done."""
        result = self.probe.advance() if self.probe is not None else None
        return self._judge(result, now) if result is not None else []

    def close(self) -> None:
        if self.probe is not None:
            self.probe.close()
            self.probe = None

    def _begin_probe(self, now: float) -> list[Event | Notice]:
        pid = self._child.pid if self._spec.is_bot else None
        try:
            self.probe = Probe(self._spec.web_host, self._web_port, self._spec.instance_id, pid)
        except OSError as error:  # no socket left for us: as good as no answer
            detail = f"cannot probe: {error.strerror}"
            return self._judge(ProbeResult(verdict=Verdict.NO_ANSWER, detail=detail), now)
        self._probe_deadline = now + self._health.timeout
        # A refused connection over loopback is known at once.
        return [] if self.probe.result is None else self._judge(self.probe.result, now)

    def _judge(self, result: ProbeResult, now: float) -> list[Event | Notice]:
        self.close()
        if result.refused and self._is_ready_without_page():
            self._probe_at = None
            self._is_ready = True
            return [Healthy()]
        self._has_answered = self._has_answered or result.verdict is not Verdict.NO_ANSWER
        found: list[Event | Notice] = []
        self._dead_loops = self._dead_loops + 1 if result.verdict is Verdict.DEAD_LOOP else 0
        match result.verdict:
            case Verdict.READY:
                self._missed = 0
                self._is_ready = True
                found.append(Healthy())
            case Verdict.DEGRADED | Verdict.DEAD_LOOP:
                self._missed += 1
                found.append(Degraded(result.detail))
                if self._dead_loops >= self._health.failures:
                    found.append(Stuck(Cause.PROBE, f"{result.detail}, live: false"))
            case Verdict.NO_ANSWER | Verdict.STRANGER:
                self._missed += 1
                if self._missed >= self._health.failures:
                    found.append(Degraded(result.detail))
        self._probe_at = now + (
            probe_interval_s(self._health.interval, self._health.timeout, self._missed)
            if self._is_ready
            else starting_interval_s(now - self._began)
        )
        return found

    def _check_beat(self, now: float) -> list[Event | Notice]:
        """Compare the beat with the limit and wake next when the present one would be too old."""
        try:
            beat = self._own_beat()
        except OSError as error:
            self._beat_at = now + self._beat_limit
            return [Notice(event="heartbeat_not_looked_at", detail=str(error))]
        if beat is not None:
            age = beat_age_s(beat.mono, beat.until, now)
        elif self._spec.is_bot:
            age = now - self._began
        else:
            self._beat_at = now + self._beat_limit
            return []
        if age < self._beat_limit:
            self._beat_at = now + self._beat_limit - age
            return []
        self._beat_at = now + self._beat_limit
        what = f"no heartbeat for {age:.1f} s"
        if beat is not None:
            late = "overdue" if beat.until > beat.mono else "old"
            what = f"heartbeat is {age:.1f} s {late}"
        return [Stuck(Cause.HEARTBEAT, f"{what}, the limit is {self._beat_limit:g} s")]

    def _own_beat(self) -> Beat | None:
        beat = read_beat(self._beat_path)
        if beat is None or (beat.pid, beat.start) != (self._child.pid, self._child.start):
            return None
        return beat

    def _is_ready_without_page(self) -> bool:
        try:
            beat = self._own_beat() if self._spec.is_bot and not self._has_answered else None
        except OSError:
            return False
        return beat is not None and beat.ready

    def _check_limits(self, now: float) -> list[Event | Notice]:
        members = self._members()
        resident = sum(member.rss_pages for member in members) * _PAGE
        self.peak_bytes = max(self.peak_bytes, resident)
        percent = self._cpu_percent(members, now)
        return self._check_memory(resident) or self._check_cpu(percent)

    def _check_memory(self, resident: int) -> list[Event | Notice]:
        limit = self._spec.limits.memory_limit_mb
        if limit is None or resident <= limit * 1024 * 1024:
            self._memory_over = 0
            return []
        self._memory_over += 1
        if self._memory_over < MEMORY_SAMPLES:
            return []
        words = f"memory {resident >> 20} MB is over memory_limit_mb {limit}"
        return [Stuck(Cause.MEMORY, f"{words}, {self._memory_over} samples in a row")]

    def _check_cpu(self, percent: float | None) -> list[Event | Notice]:
        limits = self._spec.limits
        if limits.cpu_limit_percent is None or percent is None:
            return []
        if percent <= limits.cpu_limit_percent:
            self._cpu_over = 0
            return []
        self._cpu_over += 1
        if self._cpu_over % CPU_SAMPLES:
            return []
        words = f"CPU {percent:.0f} % is over cpu_limit_percent {limits.cpu_limit_percent}"
        words += f", {self._cpu_over} samples in a row"
        if limits.cpu_limit_action == "restart":
            return [Stuck(Cause.CPU, words)]
        return [Notice(event="cpu_over_limit", detail=words)]

    def _cpu_percent(self, members: list[ProcStat], now: float) -> float | None:
        """Give the group's share of one processor since the last sample; None for the first.

        Counted for each process by itself: one that ended takes its past along.
        """
        before, since = self._ticks, self._sampled_at
        self._ticks = {(m.pid, m.start): m.cpu_ticks for m in members}
        self._sampled_at = now
        if since is None or now <= since:
            return None
        spent = sum(max(0, now_ - before.get(key, 0)) for key, now_ in self._ticks.items())
        return 100.0 * spent / _TICKS_PER_S / (now - since)


def _has_limits(spec: ChildSpec) -> bool:
    limits = spec.limits
    return limits.memory_limit_mb is not None or limits.cpu_limit_percent is not None
