"""S28: the kernel's bounds around real children: rlimits here and now, cgroup v2 where it is."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from toy_fleet import ToyFleet, wait_for

from core import deaths, kernel_limits, rlimits
from core.bounds import Witness
from core.listing import collect

MB = kernel_limits.MB


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[ToyFleet]:
    fleet = ToyFleet(tmp_path)
    yield fleet
    fleet.clean_up()


@pytest.fixture
def sleeper() -> Iterator[int]:
    """A process of ours that only sleeps."""
    with subprocess.Popen(["sleep", "600"]) as running:
        yield running.pid
        running.kill()


def limit_of(pid: int, which: int) -> tuple[int, int]:
    return resource.prlimit(pid, which)


# One process --------------------------------------------------------------------------------------


def test_a_running_process_gets_its_limits(sleeper: int) -> None:
    """S28: a soft limit of data, which can be changed again; no core dump, for good."""
    _, hard = limit_of(sleeper, resource.RLIMIT_DATA)
    wide = rlimits.limit_data(sleeper, 2000, is_bot=True, lives=False)
    small = rlimits.limit_data(sleeper, 100, is_bot=True, lives=False)
    assert wide is not None
    assert small is not None
    assert wide - small == 1900 * MB + (1000 - kernel_limits.LEAST_MARGIN_MB) * MB
    assert limit_of(sleeper, resource.RLIMIT_DATA) == (small, hard)
    assert rlimits.limit_data(sleeper, None, is_bot=True, lives=False) is None
    assert limit_of(sleeper, resource.RLIMIT_DATA)[0] == resource.getrlimit(resource.RLIMIT_DATA)[0]
    rlimits.forbid_core_dump(sleeper)
    assert limit_of(sleeper, resource.RLIMIT_CORE) == (0, 0)
    assert Path(f"/proc/{sleeper}/coredump_filter").read_text().strip() == "00000000"


def test_what_a_process_has_it_keeps(sleeper: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """S28: a limit below what is mapped would make the next allocation fail, not the leak."""
    monkeypatch.setattr("core.kernel_limits.BOT_STACKS", 0)
    monkeypatch.setattr("core.kernel_limits.LEAST_MARGIN_MB", 0)
    used = wait_for(lambda: rlimits.mapped_data(sleeper), "its memory")
    assert rlimits.limit_data(sleeper, 1, is_bot=True, lives=False) == MB
    assert used < MB, "a larger sleeper makes the next line say nothing"
    monkeypatch.setattr("core.rlimits.mapped_data", lambda _: 7 * MB)
    assert rlimits.limit_data(sleeper, 1, is_bot=True, lives=True) == 7 * MB


def test_descriptors_are_raised_and_never_lowered(sleeper: int) -> None:
    _, hard = limit_of(sleeper, resource.RLIMIT_NOFILE)
    resource.prlimit(sleeper, resource.RLIMIT_NOFILE, (64, hard))
    rlimits.allow_files(sleeper, 100)
    assert limit_of(sleeper, resource.RLIMIT_NOFILE) == (min(100, hard), hard)
    rlimits.allow_files(sleeper, 50)
    assert limit_of(sleeper, resource.RLIMIT_NOFILE) == (min(100, hard), hard)


def test_a_process_that_is_gone_costs_nothing() -> None:
    """S28: nothing fails for want of a bound."""
    with subprocess.Popen(["true"]) as done:
        pass
    assert rlimits.limit_data(done.pid, 100, is_bot=True, lives=True) is None
    rlimits.forbid_core_dump(done.pid)
    rlimits.allow_files(done.pid)


# What a death says --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "cause", "last", "expected"),
    [
        (1, "", "MemoryError", "oom"),
        (-6, "", "std::bad_alloc", "oom"),
        (1, "", "ValueError", "exit"),
        (0, "", "MemoryError", "exit"),
        (None, "", "MemoryError", "exit"),
        (-9, "", "MemoryError", "signal"),
        (-15, "", "MemoryError", "signal"),
        (1, "memory", "MemoryError", "memory"),
    ],
)
def test_a_death_by_want_of_memory_is_told_by_its_last_lines(
    code: int | None, cause: str, last: str, expected: str
) -> None:
    """S28: it ended by itself, badly, and said so; a stop by its supervisor keeps its cause."""
    record = deaths.make_record(pid=1, start=0, code=code, cause=cause)
    witness = Witness(group=None, kills=None, memory_mb=None, data_mb=768)
    witness.explain_words(record, {"bot_stderr.log": ["Traceback", last]})
    assert record["cause"] == expected
    assert ("768 MB" in record["reason"]) == (expected == "oom")


def test_without_a_limit_of_ours_last_lines_blame_nobody() -> None:
    record = deaths.make_record(pid=1, start=0, code=1, cause="")
    witness = Witness(group=None, kills=None, memory_mb=None, data_mb=None)
    witness.explain_words(record, {"bot_stderr.log": ["MemoryError"]})
    assert record["cause"] == "exit"


# Real bots ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_child_that_outruns_the_sampling_is_stopped_by_the_kernel(
    fleet: ToyFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S28: it takes memory as fast as it can; no sample sees it, and it is started again."""
    monkeypatch.setattr("core.monitor.SAMPLE_INTERVAL_S", 600.0)
    monkeypatch.setattr("core.kernel_limits.BOT_STACKS", 16)
    fleet.start(fleet.spec("toy", "--grab", "--once", limits={"memory_limit_mb": 64}))
    record = wait_for(lambda: deaths.load(fleet.folder()), "a death")[0]
    fleet.wait_status("RUNNING")
    assert (record["cause"], record["code"]) == ("oom", 1)
    assert record["reason"].startswith("it got no more memory")
    assert record["log"]["bot_stderr.log"][-1] == "MemoryError"
    assert "child_stopping" not in fleet.event_names()
    assert len(fleet.lines("starts")) == 2


@pytest.mark.slow
def test_what_is_in_force_is_shown(fleet: ToyFleet) -> None:
    """S28: the limit and the kernel's, as long as there is a bot; a live change moves both."""
    spec = fleet.spec(limits={"memory_limit_mb": 100, "cpu_limit_percent": 300})
    fleet.start(spec)
    bot = fleet.bot_pid()
    (entry,) = collect(fleet.root)
    soft, _ = limit_of(bot, resource.RLIMIT_DATA)
    assert entry["limits"] == {
        "memory_mb": 100,
        "cpu_percent": 300,
        "kernel": "rlimit",
        "kernel_mb": soft // MB,
    }
    assert limit_of(bot, resource.RLIMIT_CORE) == (0, 0)
    os.kill(fleet.supervisor_pid(), 9)
    wait_for(lambda: not fleet.registry.liveness("toy").is_alive)
    resource.prlimit(bot, resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    fleet.start(spec)
    assert fleet.bot_pid() == bot
    assert limit_of(bot, resource.RLIMIT_DATA)[0] >= soft
    assert limit_of(bot, resource.RLIMIT_DATA)[0] != resource.RLIM_INFINITY
    fleet.stop()
    (entry,) = collect(fleet.root, include_all=True)
    assert (entry["limits"]["memory_mb"], entry["limits"]["kernel"]) == (100, None)


@pytest.mark.slow
def test_a_program_of_the_users_own_keeps_its_core_dumps(fleet: ToyFleet) -> None:
    """It has no keys from us; with an environment of its own in the config it may."""
    sleep = ("/bin/sleep", "600")
    plain = fleet.spec("plain", is_bot=False, argv=sleep, health={"check": "none"})
    keyed = fleet.spec("keyed", is_bot=False, argv=sleep, health={"check": "none"})
    fleet.start(plain)
    fleet.start(replace(keyed, environment={"TOKEN": "x"}))
    own = resource.getrlimit(resource.RLIMIT_CORE)
    assert limit_of(fleet.bot_pid("plain"), resource.RLIMIT_CORE) == own
    assert limit_of(fleet.bot_pid("keyed"), resource.RLIMIT_CORE) == (0, 0)
