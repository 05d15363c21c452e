"""The short way of a replay gives what the engine gives, fill by fill, or leaves it to the engine.

Every case is replayed twice, with and without the short way, and compared field by field: ids,
prices, quantities, fees, times and order of the fills, every lot with the entry that opened it,
every total, the ledger after each booking, the equity.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from cli.replay import Replayed, replay
from core.errors import ConfigError
from core.model import GridMode, GridType, Instrument
from core.ports import PaperStore
from exchanges.candle_columns import columns_of
from exchanges.candle_file import Candle
from exchanges.candles import Candles
from exchanges.matching import Rules
from exchanges.paper_memory import MemoryPaperStore
from exchanges.price_feed import CandleSource, read_funding
from exchanges.trade_file import Trades, TradeSource
from strategies.settings import EngineSettings, GridRequest

D = Decimal
DATA = Path(os.environ.get("GRID_DATA", Path(__file__).parents[3] / "shared/market_data"))
MONTH = DATA / "btc_perp_1m_2022-01.csv"
FUNDING = DATA / "funding_btcusdt_binance_8h_2020_2023.csv"
START_MS = 1_640_995_200_000
MINUTE_MS = 60_000
NOWHERE = Path("made here.csv")
NEUTRAL, LONG, SHORT = GridType.NEUTRAL, GridType.LONG, GridType.SHORT
ARITHMETIC, GEOMETRIC = GridMode.ARITHMETIC, GridMode.GEOMETRIC


@dataclass(frozen=True, kw_only=True)
class Case:
    """A grid, the exchange's rules, and what else may act."""

    lower: str = "100"
    upper: str = "110"
    num: int = 11
    mode: GridMode = ARITHMETIC
    kind: GridType = NEUTRAL
    quantity: str | None = "1"
    max_position: str | None = None
    open_initial: bool = False
    trigger: str | None = None
    tick: str = "1"
    lot: str = "0.001"
    maker: str = "0.0002"
    taker: str = "0.0005"
    leverage: str = "10"
    balance: str = "10000"
    through: bool = False
    slippage: str = "0"
    boundary: str = "none"
    stop_loss: str | None = None
    allow: bool = True

    def settings(self) -> EngineSettings:
        return EngineSettings(
            instance_id="t",
            exchange="paper",
            mode="paper",
            symbol="BTCUSDT",
            interval_s=1e12,
            boundary_action=self.boundary,
            stop_loss=_number(self.stop_loss),
            allow_liquidation_in_range=self.allow,
            grid=GridRequest(
                lower=D(self.lower),
                upper=D(self.upper),
                num=self.num,
                mode=self.mode,
                kind=self.kind,
                quantity=_number(self.quantity),
                max_position=_number(self.max_position),
                open_initial=self.open_initial,
                trigger_price=_number(self.trigger),
            ),
        )

    def rules(self) -> Rules:
        instrument = Instrument(
            symbol="BTCUSDT",
            base_asset="BTC",
            quote_asset="USDT",
            tick_size=D(self.tick),
            lot_size=D(self.lot),
            min_quantity=D(self.lot),
            min_notional=D(0),
            maker_fee=D(self.maker),
            taker_fee=D(self.taker),
            liquidation_fee=D(self.taker),
        )
        return Rules(
            instrument=instrument,
            leverage=D(self.leverage),
            fill_through=self.through,
            slippage=D(self.slippage),
        )


def _number(text: str | None) -> Decimal | None:
    return None if text is None else D(text)


def run(
    case: Case,
    source: CandleSource | TradeSource,
    *,
    fast: bool,
    store: PaperStore | None = None,
) -> Replayed | str:
    """The result; or the words of the refusal."""
    try:
        return replay(
            case.settings(),
            case.rules(),
            source,
            store or MemoryPaperStore(),
            D(case.balance),
            with_points=True,
            fast=fast,
        )
    except ConfigError as error:
        return str(error)


def both(case: Case, source: CandleSource | TradeSource) -> Replayed | str:
    """Replay both ways, compare everything, give the short way's result."""
    short, engine = run(case, source, fast=True), run(case, source, fast=False)
    if isinstance(short, str) or isinstance(engine, str):
        assert short == engine
        return short
    assert engine.why_engine == "it was asked for"
    for field in fields(Replayed):
        if field.name not in ("seconds", "why_engine"):
            assert getattr(short, field.name) == getattr(engine, field.name), field.name
    # Not only as large, but written alike, so that files made of them are the same bytes.
    assert repr(short.fills) == repr(engine.fills)
    assert repr(short.grid.cells) == repr(engine.grid.cells)
    return short


def candles(*rows: str, decimals: str = "") -> CandleSource:
    """Minutes of `open high low close`."""
    return source_of(
        [
            Candle(START_MS + i * MINUTE_MS, *(D(price + decimals) for price in row.split()))
            for i, row in enumerate(rows)
        ]
    )


def source_of(rows: list[Candle], rates: tuple[tuple[int, Decimal], ...] = ()) -> CandleSource:
    return CandleSource(Candles(columns_of(rows, NOWHERE), NOWHERE), rates)


def trades(
    prices: list[Decimal], stamps: list[int], rates: tuple[tuple[int, Decimal], ...]
) -> TradeSource:
    return TradeSource(Trades(stamps, prices, NOWHERE), rates)


# Tables -----------------------------------------------------------------------------------------

PATHS: dict[str, tuple[str, ...]] = {
    "through levels and back": ("105 105 103 104", "104 108 104 107", "107 107 100 101"),
    "exactly at levels": ("105 105 104 104", "104 105 104 105", "105 106 105 106"),
    "a tie at the start": ("104.5 106 103 104.5", "104.5 104.5 104.5 104.5"),
    "many levels in one line": ("105 110 100 110", "110 110 100 100", "100 111 99 105"),
    "jumps between candles": ("105 105 105 105", "101 101 101 101", "109 109 109 109"),
    "out of the range and back": ("105 120 105 120", "120 120 90 90", "90 105 90 104"),
    "from below": ("95 100 95 100", "100 101 99 100", "100 104 100 103", "103 103 98 99"),
    "from the lowest level": ("100 100 100 100", "100 100.5 100 100", "100 103 100 102"),
    "from above": ("115 115 110 110", "110 111 109 110", "110 110 106 107", "107 112 107 111"),
    "from the highest level": ("110 110 110 110", "110 110 109.5 110", "110 110 107 108"),
    "it never moves": ("105 105 105 105", "105 105 105 105"),
    "one candle": ("105 108 101 103",),
}


@pytest.mark.parametrize("through", [False, True], ids=["touch", "through"])
@pytest.mark.parametrize("kind", [NEUTRAL, LONG, SHORT], ids=lambda kind: kind.value)
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_paths(path: tuple[str, ...], kind: GridType, *, through: bool) -> None:
    """Each is told without the engine, with and without an initial entry."""
    for open_initial in (False, True):
        case = Case(kind=kind, through=through, open_initial=open_initial)
        result = both(case, candles(*path))
        assert isinstance(result, Replayed)
        assert result.why_engine == ""


REFUSALS = {
    "a binding limit": (Case(max_position="3"), "max_position may limit"),
    "a limit on the initial entry": (
        Case(kind=LONG, open_initial=True, max_position="3"),
        "max_position limits the initial entry",
    ),
    "margin for the first orders": (Case(balance="50"), "margin may be short for the first"),
    "margin later": (Case(balance="110", kind=LONG), "margin may be short"),
    "a liquidation": (Case(balance="60", leverage="100"), "margin may be short"),
    "liquidation in the range": (
        Case(balance="5", leverage="1000", allow=False),
        "liquidation may lie inside",
    ),
    "a boundary action": (Case(boundary="stop_only"), "the price leaves the range"),
    "an emergency close": (Case(boundary="emergency_close"), "the price leaves the range"),
    "a stop": (Case(stop_loss="20"), "stop_loss and take_profit"),
    "a trigger out of reach": (Case(trigger="500"), "never reached"),
    "colliding levels": (Case(num=30), "the grid is refused"),
    "no quantity": (Case(quantity=None), "the grid is refused"),
}


@pytest.mark.parametrize(("case", "why"), REFUSALS.values(), ids=REFUSALS)
def test_what_is_left_to_the_engine(case: Case, why: str) -> None:
    """The result, or the refusal, is the engine's own; the reason is told."""
    source = candles(
        "105 107 104 106", "106 106 97 97", "97 97 70 72", "72 112 72 112", "112 140 112 130"
    )
    result = both(case, source)
    if isinstance(result, Replayed):
        assert why in result.why_engine
    else:
        assert case.trigger or "the grid is refused" in why or "liquidation" in why


def test_a_limit_with_room_for_every_cell_binds_nothing() -> None:
    """`max_position` of all cells of one side, or the quantity derived from it."""
    source = candles("105 107 104 106", "106 106 97 97", "97 112 97 112")
    for case in (
        Case(max_position="5"),
        Case(max_position="10", kind=LONG),
        Case(max_position="7", quantity=None),
        Case(max_position="7", quantity=None, kind=SHORT, open_initial=True),
    ):
        result = both(case, source)
        assert isinstance(result, Replayed)
        assert result.why_engine == ""


def test_a_boundary_action_that_no_price_causes_needs_no_engine() -> None:
    """The price stays within the tolerance of the bounds."""
    result = both(Case(boundary="stop_only"), candles("105 110 100 101", "101 105 100 100.5"))
    assert isinstance(result, Replayed)
    assert result.why_engine == ""


def test_a_trigger_in_the_midst_of_a_candle() -> None:
    """The grid begins at the corner that reaches it, from above and from below."""
    for trigger in ("102", "105", "108.5"):
        for kind in (NEUTRAL, LONG, SHORT):
            case = Case(trigger=trigger, kind=kind)
            source = candles("105 106 104 105", "105 109 101 104", "104 107 99 101")
            result = both(case, source)
            assert isinstance(result, Replayed)
            assert result.why_engine == ""


def test_an_account_that_is_not_new_is_left_to_the_engine() -> None:
    """It goes on where it stood, which a replay from the beginning would not."""
    store = MemoryPaperStore()
    first = run(Case(), candles("105 107 104 106"), fast=False, store=store)
    assert isinstance(first, Replayed)
    again = run(Case(), candles("105 107 104 106"), fast=True, store=store)
    assert isinstance(again, Replayed)
    assert again.why_engine == "the account is not new"


def test_funding_counts_from_the_first_moment_on() -> None:
    """One at the seed's own moment counts, earlier ones do not."""
    rows = [Candle(START_MS + i * MINUTE_MS, D(105), D(106), D(101), D(102 + i)) for i in range(4)]
    rates = tuple((START_MS + i * MINUTE_MS, D("0.001")) for i in range(-2, 6))
    result = both(Case(), source_of(rows, rates))
    assert isinstance(result, Replayed)
    assert result.why_engine == ""
    assert result.pnl.funding != 0


@pytest.mark.parametrize("trigger", ["103", "101", "107", "102"])
def test_funding_is_paid_before_a_grid_begins_where_it_is_due(trigger: str) -> None:
    """A trigger reached at a candle's last corner, or at a trade, at which a rate is due."""
    rows = [
        Candle(START_MS + i * MINUTE_MS, D(105), D(107), D(101), close)
        for i, close in enumerate((D(105), D(102), D(103), D(104)))
    ]
    rates = tuple((START_MS + i * MINUTE_MS, D("0.001")) for i in range(4))
    prices, stamps = [D(105), D(102), D(100), D(101)], [row.time_ms for row in rows]
    for kind in (NEUTRAL, LONG, SHORT):
        case = Case(kind=kind, open_initial=True, trigger=trigger)
        for result in (
            both(case, source_of(rows, rates)),
            both(case, trades(prices, stamps, rates)),
        ):
            assert isinstance(result, str) or result.why_engine == ""


# Properties -------------------------------------------------------------------------------------

halves = st.integers(180, 240).map(lambda n: D(n) / 2)
quarters = st.integers(380, 460).map(lambda n: D(n) / 4)


@st.composite
def candle_rows(draw: st.DrawFn) -> list[Candle]:
    prices = draw(st.sampled_from([halves, quarters]))
    rows, time_ms = [], START_MS
    for _ in range(draw(st.integers(1, 25))):
        four = sorted(draw(st.lists(prices, min_size=4, max_size=4)))
        opened, close = draw(st.permutations(four[1:3]))
        rows.append(Candle(time_ms, opened, four[3], four[0], close))
        time_ms += draw(st.sampled_from([MINUTE_MS, MINUTE_MS, MINUTE_MS, 7_000, 600_000]))
    return rows


@st.composite
def cases(draw: st.DrawFn) -> Case:
    lower = draw(st.integers(96, 104))
    num = draw(st.integers(2, 14))
    limit = draw(st.sampled_from([None, None, None, "4", "14", "40"]))
    return Case(
        lower=str(lower),
        upper=str(lower + draw(st.integers(num - 1, 2 * num))),
        num=num,
        mode=draw(st.sampled_from(GridMode)),
        kind=draw(st.sampled_from(GridType)),
        quantity=draw(st.sampled_from(["1", "0.013", "2.50", *([None] if limit else [])])),
        max_position=limit,
        open_initial=draw(st.booleans()),
        trigger=draw(st.sampled_from([None, None, None, None, "103", "101.5"])),
        tick=draw(st.sampled_from(["1", "0.5", "0.01"])),
        maker=draw(st.sampled_from(["0", "0.0002", "-0.00005"])),
        taker=draw(st.sampled_from(["0", "0.0005", "0.00033333333333"])),
        leverage=draw(st.sampled_from(["3", "10", "100"])),
        balance=draw(st.sampled_from(["10000", "10000.5", "10000", "400", "60"])),
        through=draw(st.booleans()),
        slippage=draw(st.sampled_from(["0", "0", "0.001", "0.01"])),
        boundary=draw(st.sampled_from([*["none"] * 10, "stop_only", "emergency_close"])),
        stop_loss=draw(st.sampled_from([*[None] * 10, "30"])),
        allow=draw(st.booleans()),
    )


@st.composite
def funding_rates(draw: st.DrawFn) -> tuple[tuple[int, Decimal], ...]:
    stamps = draw(st.sets(st.integers(-2, 40), max_size=4))
    offset = draw(st.sampled_from([0, 0, 30_000]))
    return tuple(
        (START_MS + n * MINUTE_MS + offset, draw(st.sampled_from([D("0.0001"), D("-0.00012359")])))
        for n in sorted(stamps)
    )


def check(case: Case, rows: list[Candle], rates: tuple[tuple[int, Decimal], ...]) -> None:
    result = both(case, source_of(rows, rates))
    event("refused" if isinstance(result, str) else result.why_engine.split(":")[0] or "short way")


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=cases(), rows=candle_rows(), rates=funding_rates())
def test_the_short_way_is_the_engines(
    case: Case, rows: list[Candle], rates: tuple[tuple[int, Decimal], ...]
) -> None:
    """Random candles, grids, kinds, fees, funding, limits, margins, boundaries and stops."""
    check(case, rows, rates)


@settings(max_examples=10, deadline=None)
@given(
    case=cases(),
    rows=st.lists(st.tuples(halves, st.integers(0, 2)), min_size=1, max_size=60),
    stamps=st.sets(st.integers(-2, 60), max_size=4),
)
def test_the_short_way_is_the_engines_over_trades(
    case: Case, rows: list[tuple[Decimal, int]], stamps: set[int]
) -> None:
    """The same over a trade file's path, some trades at one stamp, with funding between them."""
    times = [START_MS + 500 * step for step in accumulate(step for _, step in rows)]
    rates = tuple((START_MS + 500 * n, D("0.0003")) for n in sorted(stamps))
    both(case, trades([price for price, _ in rows], times, rates))


@pytest.mark.slow
@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=cases(), rows=candle_rows(), rates=funding_rates())
def test_the_short_way_is_the_engines_at_length(
    case: Case, rows: list[Candle], rates: tuple[tuple[int, Decimal], ...]
) -> None:
    """Many times as many."""
    check(case, rows, rates)


# The golden month -------------------------------------------------------------------------------

needs_data = pytest.mark.skipif(
    not (MONTH.exists() and FUNDING.exists()),
    reason=f"no market data in {DATA}; set GRID_DATA to the folder that has it",
)
GOLDEN = Case(
    lower="33000", upper="48000", num=50, quantity="0.1", taker="0.0002", balance="100000"
)
UNROUNDED = {"tick": "1e-8", "lot": "1e-8"}


@needs_data
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(GOLDEN, marks=pytest.mark.slow),
        *(
            pytest.param(replace(GOLDEN, **changes), marks=pytest.mark.slow)
            for changes in (
                {"mode": GEOMETRIC},
                {"kind": LONG},
                {"kind": LONG, "open_initial": True},
                {"kind": SHORT},
                {"kind": SHORT, "open_initial": True, "mode": GEOMETRIC},
                {"through": True},
                {"trigger": "44000"},
                UNROUNDED,
                {"mode": GEOMETRIC, **UNROUNDED},
                {"kind": LONG, "open_initial": True, **UNROUNDED},
            )
        ),
    ],
)
def test_a_real_month(case: Case) -> None:
    """The golden months of GRID.md, funding included, need no engine and are the engine's."""
    result = both(case, month())
    assert isinstance(result, Replayed)
    assert result.why_engine == ""


@needs_data
def test_the_golden_month() -> None:
    """The figures of GRID.md, to the last digit, without the engine."""
    result = run(GOLDEN, month(), fast=True)
    assert isinstance(result, Replayed)
    assert result.why_engine == ""
    totals = result.grid.totals
    assert (totals.fills, totals.closed_cells, result.grid.position) == (786, 380, D("2.6"))
    assert (result.pnl.grid, result.pnl.trend) == (D("11029.17164"), 0)
    assert result.pnl.unrealized == D("-9861.10")
    assert result.pnl.funding == D("-232.5927220450")
    assert result.equity_change == D("913.4638179550") == result.pnl.total


@needs_data
def test_two_runs_are_the_same_bytes() -> None:
    """I12: the same prices give the same result, to the last digit as written."""
    first, second = run(GOLDEN, month(), fast=True), run(GOLDEN, month(), fast=True)
    assert isinstance(first, Replayed)
    assert isinstance(second, Replayed)
    assert repr(replace(first, seconds=0.0)) == repr(replace(second, seconds=0.0))


def month() -> CandleSource:
    return CandleSource(MONTH, read_funding(FUNDING, "BTCUSDT"), preload=True)
