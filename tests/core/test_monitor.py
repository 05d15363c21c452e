"""The limits of one child, sample by sample: what is sustained counts, a peak does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core import monitor
from core.health import Probe
from core.monitor import SAMPLE_INTERVAL_S, Monitor, Notice
from core.process import Child, ProcStat
from core.spec import ChildSpec, HealthSettings, LimitSettings, LogSettings, RestartSettings
from core.supervision_types import Cause, Stuck

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


def stat(pid: int, *, mb: int = 0, cpu_s: float = 0.0) -> ProcStat:
    return ProcStat(
        pid=pid,
        state="S",
        ppid=1,
        pgrp=pid,
        session=pid,
        cpu_ticks=round(cpu_s * TICKS),
        start=pid,
        rss_pages=mb * 1024 * 1024 // PAGE,
    )


class Sampled:
    """A monitor whose samples the test makes; the clock starts at the monitor's own."""

    def __init__(self, tmp_path: Path, **limits: object) -> None:
        spec = ChildSpec(
            instance_id="toy",
            config_path="toy.json",
            config_text="{}",
            root=str(tmp_path),
            argv=("toy",),
            working_dir=str(tmp_path),
            db_path="",
            web_host="127.0.0.1",
            web_port=1,
            is_bot=False,
            restart=RestartSettings(),
            health=HealthSettings(check="none"),
            limits=LimitSettings(**limits),  # type: ignore[arg-type]
            logs=LogSettings(log_dir=str(tmp_path)),
            environment={},
        )
        self.members: list[ProcStat] = []
        child = Child(pid=1, start=1, pidfd=-1, ours=True)
        self.monitor = Monitor(
            spec, tmp_path, 1, child, is_ready=True, members=lambda: self.members
        )
        due = self.monitor.next_due()
        assert due is not None
        self.now = due

    def take(self, *members: ProcStat) -> list[object]:
        self.members = list(members)
        found = self.monitor.on_timer(self.now)
        self.now += SAMPLE_INTERVAL_S
        return list(found)


@pytest.fixture(autouse=True)
def no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here may open a socket."""

    def refuse(*args: object) -> Probe:
        raise AssertionError("no probe")

    monkeypatch.setattr(monitor, "Probe", refuse)


def test_without_limits_nothing_is_sampled(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        Sampled(tmp_path)


def test_memory_counts_when_it_is_sustained(tmp_path: Path) -> None:
    """Two samples above the limit and one below start the count anew; the group is summed."""
    sampled = Sampled(tmp_path, memory_limit_mb=100)
    over, under = (stat(1, mb=60), stat(2, mb=60)), (stat(1, mb=60),)
    for group in (over, over, under, over, over):
        assert sampled.take(*group) == []
    found = sampled.take(*over)
    assert found == [
        Stuck(Cause.MEMORY, "memory 120 MB is over memory_limit_mb 100, 3 samples in a row")
    ]
    assert sampled.monitor.peak_bytes == 120 << 20


def test_cpu_is_the_groups_and_must_last(tmp_path: Path) -> None:
    """Each sample compares with the one before it; half a minute above the limit is too long."""
    sampled = Sampled(tmp_path, cpu_limit_percent=80, cpu_limit_action="restart")
    assert sampled.take(stat(1), stat(2)) == []
    for number in range(1, monitor.CPU_SAMPLES + 1):
        spent = number * SAMPLE_INTERVAL_S / 2  # half a processor each
        found = sampled.take(stat(1, cpu_s=spent), stat(2, cpu_s=spent))
        assert bool(found) == (number == monitor.CPU_SAMPLES)
    assert found == [Stuck(Cause.CPU, "CPU 100 % is over cpu_limit_percent 80, 6 samples in a row")]


def test_a_process_that_ends_does_not_hide_the_others(tmp_path: Path) -> None:
    """Its past goes with it: the sum may shrink, nobody's share becomes negative."""
    sampled = Sampled(tmp_path, cpu_limit_percent=80)
    sampled.take(stat(1), stat(2, cpu_s=1000.0))
    for number in range(1, monitor.CPU_SAMPLES + 1):
        found = sampled.take(stat(1, cpu_s=number * SAMPLE_INTERVAL_S))
    assert [type(item) for item in found] == [Notice]


def test_a_warning_is_repeated_once_for_each_long_stretch(tmp_path: Path) -> None:
    """Not a line every few seconds."""
    sampled = Sampled(tmp_path, cpu_limit_percent=80)
    sampled.take(stat(1))
    said = 0
    for number in range(1, 3 * monitor.CPU_SAMPLES + 1):
        said += len(sampled.take(stat(1, cpu_s=number * SAMPLE_INTERVAL_S)))
    assert said == 3


def test_a_quiet_moment_starts_the_count_anew(tmp_path: Path) -> None:
    sampled = Sampled(tmp_path, cpu_limit_percent=80, cpu_limit_action="restart")
    spent = 0.0
    sampled.take(stat(1))
    for _ in range(4):
        for _ in range(monitor.CPU_SAMPLES - 1):
            spent += SAMPLE_INTERVAL_S
            assert sampled.take(stat(1, cpu_s=spent)) == []
        assert sampled.take(stat(1, cpu_s=spent)) == []
