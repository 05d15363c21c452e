"""The synthetic price path: the same everywhere, lively, and near its range."""

from __future__ import annotations

from decimal import Decimal
from itertools import islice, pairwise

import pytest
from paper_world import D

from core.model import Side
from exchanges.factory import VOLATILITY
from exchanges.price_feed import Vertex
from exchanges.synthetic_feed import SyntheticSource

FUNDING_RATE = D("0.0001")
PINNED_BEGINNING = ["150.00", "149.94", "150.01", "150.08", "150.08", "150.11"]
PINNED_LATER = ["149.90", "147.99", "148.89"]  # after 500, 1000 and 2000 seconds


def make(seed: int = 7, *, band: str = "0.0667", tick: str = "0.01") -> SyntheticSource:
    return SyntheticSource(
        seed=seed,
        start_price=D(150),
        tick_size=D(tick),
        volatility=VOLATILITY,
        band=D(band),
        funding_rate=FUNDING_RATE,
    )


def first(source: SyntheticSource, count: int, now_ms: int = 0) -> list[Vertex]:
    source.open(None, now_ms)
    return list(islice(iter(source.next, None), count))


def test_path_is_the_same_on_every_machine() -> None:
    """Integers only: these very prices, wherever it runs. It starts at the start price."""
    prices = [str(v.price) for v in first(make(), 2001)]
    assert prices[:6] == PINNED_BEGINNING
    assert [prices[i] for i in (500, 1000, 2000)] == PINNED_LATER
    assert [str(v.price) for v in first(make(8), 6)] != prices[:6]


def test_path_continues_behind_any_step() -> None:
    """Step and price are all there is to keep, as JSON."""
    whole = first(make(), 300)
    for index in (0, 1, 57, 298):
        source = make()
        source.open(None, 0)
        kept = source.save(whole[index].place)
        again = make()
        assert again.open(kept, 0) == whole[index].place
        assert list(islice(iter(again.next, None), 299 - index)) == whole[index + 1 :]


def test_seeds_beside_each_other_walk_apart() -> None:
    """Neighbouring seeds share no stretch of draws, shifted or not."""
    moves = []
    for seed in (0, 1, 2, 2**63, -1):
        units = [v.place[1] for v in first(make(seed), 400)]
        moves.append({round((b - a) / a, 12) for a, b in pairwise(units)})
    for index, one in enumerate(moves):
        for other in moves[index + 1 :]:
            assert len(one & other) < 8


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 2))])
def test_it_stays_near_the_range_and_trades(seed: int) -> None:
    """A day of it: mostly inside the band, and several fills a wall minute at speed 60."""
    day = [v.price for v in first(make(seed), 86_400)]
    inside = sum(140 <= price <= 160 for price in day)
    assert inside > 0.85 * len(day)
    assert min(day) > 120
    assert max(day) < 180
    assert fills_of_grid(day[:14_400]) > 4 * 5  # an hour of it is a wall minute at speed 60


def fills_of_grid(prices: list[Decimal]) -> int:
    """Fills of 20 levels from 140 to 160, each cell turning when the price comes to its order."""
    levels = [140 + D(20) * i / 19 for i in range(20)]
    sides = [Side.BUY if upper <= 150 else Side.SELL for upper in levels[1:]]
    fills = 0
    low, high = D(0), D(0)  # between these no order is met
    for price in prices:
        if low < price < high:
            continue
        for cell, side in enumerate(sides):
            if side is Side.BUY and price <= levels[cell]:
                sides[cell], fills = Side.SELL, fills + 1
            elif side is Side.SELL and price >= levels[cell + 1]:
                sides[cell], fills = Side.BUY, fills + 1
        bought = [levels[cell] for cell, side in enumerate(sides) if side is Side.BUY]
        sold = [levels[cell + 1] for cell, side in enumerate(sides) if side is Side.SELL]
        low, high = max(bought, default=D(0)), min(sold, default=D(10**6))
    return fills


def test_price_is_on_the_tick_and_never_zero() -> None:
    """Even with a tick as large as the price."""
    for tick in ("0.01", "7", "150", "0.00000001"):
        for vertex in first(make(tick=tick), 200):
            assert vertex.price > 0
            assert vertex.price % D(tick) == 0


def test_time_jumps_to_the_wall_clock_and_never_back() -> None:
    """After an absence the price stands where it was, and nothing is due for the gap."""
    source = make()
    source.open(None, 1_000_500)
    assert source.beginning.time_ms == 1_000_000
    for _ in range(10):
        last = source.next()
    kept = source.save(last.place)
    for now_ms, expected in ((1_000_000, 1_010_000), (99_000_700, 99_000_000)):
        again = make()
        again.open(kept, now_ms)
        vertex = again.next()
        assert vertex.time_ms == expected
        assert vertex.pace_ms == 10_000
        assert not vertex.funding
        assert again.save(vertex.place)["start_ms"] == expected - 10_000


def test_funding_is_due_every_eight_hours_of_utc() -> None:
    """At 00:00, 08:00 and 16:00 of simulated time, and not passed by `skip`."""
    source = make()
    source.open(None, 8 * 3_600_000 - 5_000)
    low, high = D(1), D(1000)
    vertex, count = source.skip(low, high, 1 << 60, 2000)
    assert count == 5
    assert vertex is not None
    due = source.next()
    assert due.funding == ((8 * 3_600_000, FUNDING_RATE),)
    stamps = [v.time_ms for v in islice(iter(source.next, None), 86_400) if v.funding]
    assert stamps == [16 * 3_600_000, 24 * 3_600_000, 32 * 3_600_000]


def test_skip_walks_the_same_path() -> None:
    """Skipping stops before a price on or beyond a bound, and loses no draw."""
    whole = first(make(), 5000, now_ms=1000)
    low, high = D("149.5"), D("150.5")
    outside = next(i for i, v in enumerate(whole) if not low < v.price < high)
    source = make()
    source.open(None, 1000)
    passed, count = source.skip(low, high, 1 << 60, 5000)
    assert (passed, count) == (whole[outside - 1], outside)
    assert source.next() == whole[outside]
    source.open(None, 1000)
    assert source.skip(low, high, 3_000, 5000)[1] == 4  # the vertices at 0 to 3 seconds are due
    assert source.skip(low, high, 1 << 60, 2)[1] == 2
    assert source.next() == whole[6]
