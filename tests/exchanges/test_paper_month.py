"""The paper exchange on a real month, against GRID.md's golden vector."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from paper_world import FUNDING, MONTH, SYMBOL, D, ToyGrid, paper, rules

from exchanges.price_feed import CandleSource, read_funding

pytestmark = pytest.mark.skipif(
    not (MONTH.exists() and FUNDING.exists()),
    reason=f"no market data in {MONTH.parent}; set GRID_DATA to its folder",
)


def levels(tick: str, *, geometric: bool = False) -> list[Decimal]:
    low, high, cells = D(33000), D(48000), 49
    if geometric:
        exact = [low * (high / low) ** (D(i) / cells) for i in range(cells + 1)]
    else:
        exact = [low + i * (high - low) / cells for i in range(cells + 1)]
    return [level.quantize(D(tick), ROUND_HALF_EVEN) for level in exact]


@pytest.mark.parametrize(
    "wake",
    [
        pytest.param(False, marks=pytest.mark.slow, id="each quote"),
        pytest.param(True, id="coalesced"),
    ],
)
@pytest.mark.parametrize(
    ("geometric", "fills", "closed", "position", "grid", "funding", "change"),
    [
        (False, 786, 380, "2.6", "11029.17164", "-232.5927220450", "913.4638179550"),
        (True, 794, 385, "2.4", "10897.60282", "-198.7550679050", "2271.9652920950"),
    ],
    ids=["arithmetic", "geometric"],
)
def test_month_matches_golden_vector(
    geometric: bool,
    fills: int,
    closed: int,
    position: str,
    grid: str,
    funding: str,
    change: str,
    wake: bool,
) -> None:
    """A neutral grid over the month gives the printed fills, grid profit, funding and equity."""
    exchange = paper(CandleSource(MONTH, read_funding(FUNDING, SYMBOL)), with_rules=rules())
    toy = ToyGrid(levels("1", geometric=geometric), D("0.1"), exchange.fetch_quote(SYMBOL).last)
    if wake:
        exchange.set_wake_range(D(1), None)
    toy.place_missing(exchange)
    toy.run(exchange)
    assert len(toy.fills) == fills
    assert toy.closed == closed
    assert toy.grid == D(grid)
    assert exchange.fetch_position(SYMBOL).quantity == D(position)
    assert sum(p.amount for p in toy.funding.values()) == D(funding)
    assert exchange.fetch_balance().equity - 100_000 == D(change)
