"""The request budget: its arithmetic, and that many processes keep to one."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError, Retryable
from exchanges import budget as budgets
from exchanges.budget import BucketState, Budget, burst_of, charged, step_of, wait_for
from exchanges.wire import Limit

LIMIT = Limit(name="weight", count=100, period_s=10.0, per_account=False)


class Time:
    """A clock that moves when it is slept on."""

    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def make(folder: Path, clock: Time, *limits: Limit, account: str = "key") -> Budget:
    return Budget(
        folder,
        host="api.example",
        account=account,
        limits=limits or (LIMIT,),
        clock=clock,
        sleep=clock.sleep,
    )


@given(st.lists(st.tuples(st.integers(1, 20), st.floats(0, 3)), max_size=200))
def test_no_window_holds_more_than_allowed(asked: list[tuple[int, float]]) -> None:
    """Whatever is asked when, no period of the exchange sees more than its limit."""
    state, now, admitted = BucketState(), 1000.0, []
    for cost, pause in asked:
        now += pause
        if wait_for(state, LIMIT, cost, now, is_write=True) <= 0:
            state = charged(state, LIMIT, cost, now)
            admitted.append((now, cost))
    for start, _ in admitted:
        inside = sum(c for at, c in admitted if start <= at < start + LIMIT.period_s)
        assert inside <= LIMIT.count


def test_orders_go_before_polls(tmp_path: Path) -> None:
    """FAILURES 26: when polls have used up their part, an order still goes at once."""
    clock = Time()
    budget = make(tmp_path, clock)
    for _ in range(int(burst_of(LIMIT, is_write=False))):
        budget.take({"weight": 1}, is_write=False, patience_s=0)
    with pytest.raises(Retryable) as caught:
        budget.take({"weight": 1}, is_write=False, patience_s=0)
    assert caught.value.retry_after_s > 0
    before = clock.now
    for _ in range(20):
        budget.take({"weight": 1}, is_write=True, patience_s=0)
    assert clock.now == before
    budget.close()


def test_it_waits_within_its_patience(tmp_path: Path) -> None:
    """A turn that comes soon is waited for, one that comes late is the caller's to come again."""
    clock = Time()
    budget = make(tmp_path, clock)
    started = clock.now
    for _ in range(30):
        budget.take({"weight": 1}, is_write=False, patience_s=5)
    assert 0 < clock.now - started < 5
    budget.close()


def test_a_penalty_holds_for_everybody(tmp_path: Path) -> None:
    """What one is told all wait out; a shorter one does not end it; another bucket is free."""
    clock = Time()
    other = replace(LIMIT, name="orders", per_account=True)
    one, two = make(tmp_path, clock, LIMIT, other), make(tmp_path, clock, LIMIT, other)
    one.punish({"weight": 1}, 60.0)
    one.punish({"weight": 1}, 1.0)
    with pytest.raises(Retryable) as caught:
        two.take({"weight": 1}, is_write=True)
    assert caught.value.retry_after_s == pytest.approx(60.0)
    two.take({"orders": 1}, is_write=True)
    assert {use.name: use.blocked_s for use in two.use()}["weight"] == pytest.approx(60.0)
    clock.now += 61
    two.take({"weight": 1}, is_write=True)
    one.close()
    two.close()


def test_all_buckets_or_none(tmp_path: Path) -> None:
    """A request that one bucket refuses costs nothing in the others."""
    clock = Time()
    small = Limit(name="orders", count=4, period_s=10.0, per_account=True)
    budget = make(tmp_path, clock, LIMIT, small)
    budget.take({"weight": 1, "orders": 1}, is_write=True)
    with pytest.raises(Retryable):
        budget.take({"weight": 1, "orders": 1}, is_write=True, patience_s=0)
    assert {found.name: found.used for found in budget.use()} == {"weight": 1, "orders": 1}
    budget.close()


def test_accounts_are_apart_only_where_the_exchange_counts_them_so(tmp_path: Path) -> None:
    """The address is shared by all keys; orders are counted for each key, whose name is hashed."""
    clock = Time()
    orders = replace(LIMIT, name="orders", per_account=True)
    one = make(tmp_path, clock, LIMIT, orders, account="first-key")
    two = make(tmp_path, clock, LIMIT, orders, account="other-key")
    one.take({"weight": 3, "orders": 2}, is_write=True)
    use = {found.name: found.used for found in two.use()}
    assert use == {"weight": 3, "orders": 0}
    names = [path.name for path in tmp_path.iterdir()]
    assert len(names) == 3
    assert not any("key" in name for name in names)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in tmp_path.iterdir())
    one.close()
    two.close()


@pytest.mark.parametrize("damage", [b"", b"x", b"\xff" * 64, b"\x00" * 64, os.urandom(200)])
def test_a_damaged_file_stops_nobody(tmp_path: Path, damage: bytes) -> None:
    """Whatever stands in the file, trading goes on within the budget."""
    clock = Time()
    budget = make(tmp_path, clock)
    next(tmp_path.iterdir()).write_bytes(damage)
    budget.take({"weight": 1}, is_write=True, patience_s=0)
    budget.close()


def test_a_stamp_from_the_future_is_cut(tmp_path: Path) -> None:
    """A TAT of next year, of this very boot, blocks for seconds and not for a year."""
    clock = Time()
    budget = make(tmp_path, clock)
    budget._write("weight", BucketState(arrival=1e12, window_start=1e12))
    with pytest.raises(Retryable) as caught:
        budget.take({"weight": 1}, is_write=True, patience_s=0)
    assert caught.value.retry_after_s <= LIMIT.count * step_of(LIMIT) + 1
    budget._boot = b"another boot...."
    budget.take({"weight": 1}, is_write=True, patience_s=0)
    budget.close()


def test_a_folder_that_cannot_be_used_is_a_config_error(tmp_path: Path) -> None:
    """A planted link is refused, its target whole."""
    target = tmp_path / "target"
    target.write_text("mine")
    folder = tmp_path / "budget"
    folder.mkdir()
    (folder / "api.example.weight").symlink_to(target)
    with pytest.raises(ConfigError, match="budget"):
        make(folder, Time())
    assert target.read_text() == "mine"


WORKER = """
import sys, time
from pathlib import Path
from core.errors import Retryable
from exchanges.budget import Budget
from exchanges.wire import Limit
limit = Limit(name="weight", count=200, period_s=2.0, per_account=False)
budget = Budget(Path(sys.argv[1]), host="h", account="a", limits=[limit])
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    try:
        budget.take({"weight": 1}, is_write=True, patience_s=0.0)
    except Retryable:
        time.sleep(0.001)
    else:
        print(f"{time.clock_gettime(time.CLOCK_BOOTTIME):.6f}", flush=True)
"""


@pytest.mark.slow
def test_ten_processes_keep_to_one_budget(tmp_path: Path) -> None:
    """FAILURES 26: ten greedy ones, one killed in the middle: no window sees more than allowed."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path), "4"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(10)
    ]
    assert children[0].stdout is not None
    children[0].stdout.readline()
    children[0].send_signal(signal.SIGKILL)
    sent = sorted(float(line) for child in children for line in (child.communicate()[0]).split())
    assert [child.returncode for child in children[1:]] == [0] * 9
    assert len(sent) > 200  # it was used well beyond one burst
    for i, start in enumerate(sent):
        assert sum(1 for at in sent[i:] if at < start + 2.0) <= 200


@pytest.mark.slow
def test_a_stopped_holder_does_not_hang_the_others(tmp_path: Path) -> None:
    """A process that stands still with the lock costs the others a moment and a plain error."""
    code = (
        "import sys, fcntl, os, time\n"
        "fd = os.open(sys.argv[1], os.O_RDWR); fcntl.flock(fd, fcntl.LOCK_EX)\n"
        "print('held', flush=True); time.sleep(600)"
    )
    budget = Budget(tmp_path, host="h", account="a", limits=[LIMIT])
    file = next(tmp_path.iterdir())
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Retryable, match="held by another process"):
            budget.take({"weight": 1}, is_write=True)
    finally:
        holder.kill()
        holder.communicate()
    budget.take({"weight": 1}, is_write=True)
    budget.close()


def test_a_turn_is_cheap(tmp_path: Path) -> None:
    """A thousand turns are no matter: what they cost is measured in benchmarks, not here."""
    budget = Budget(tmp_path, host="h", account="a", limits=[replace(LIMIT, count=10_000_000)])
    started = time.monotonic()
    for _ in range(1000):
        budget.take({"weight": 1}, is_write=True)
    assert time.monotonic() - started < 10
    assert budgets.boot_time() > 0
    budget.close()
