"""The shared vocabulary: what orders, fills, quotes and positions are.

Every value is frozen and keyword-only. Prices, quantities, fees and balances are `Decimal` built
from text; moments are timezone-aware UTC; nothing here reads a clock, a file or a socket.
All rounding of prices and quantities lives on `Instrument`.
"""

from __future__ import annotations

import decimal
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_UP, Decimal

ZERO = Decimal(0)

PRECISION = 60
"""Digits of every calculation: price x quantity x rate of any venue stays exact (I6)."""

decimal.DefaultContext.prec = PRECISION  # for every thread started from now on
decimal.getcontext().prec = PRECISION  # for the thread that imports this


class Side(enum.Enum):
    """The side of an order."""

    BUY = "BUY"
    SELL = "SELL"

    __hash__ = object.__hash__  # Enum's own is written in Python and hashes the name each time

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> Side:
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderStatus(enum.Enum):
    """Where an order stands. PENDING is ours alone: written down, not answered yet."""

    PENDING = "PENDING"
    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"

    @property
    def is_terminal(self) -> bool:
        """Whether the order can no longer rest (a late fill may still arrive, GRID.md 3)."""
        return self in _TERMINAL


_TERMINAL = frozenset(
    {OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.REJECTED, OrderStatus.EXPIRED}
)


class TimeInForce(enum.Enum):
    """How long an order may rest."""

    GTC = "GTC"
    IOC = "IOC"


class GridMode(enum.Enum):
    """Spacing of the levels."""

    ARITHMETIC = "arithmetic"
    GEOMETRIC = "geometric"


class GridType(enum.Enum):
    """Which side the grid may hold."""

    NEUTRAL = "neutral"
    LONG = "long"
    SHORT = "short"


class BoundaryAction(enum.Enum):
    """What to do when the mark price leaves the range (GRID.md 8)."""

    NONE = "none"
    STOP_ONLY = "stop_only"
    EMERGENCY_CLOSE = "emergency_close"
    ADJUST_RANGE = "adjust_range"
    TRAIL = "trail"


class LotsPolicy(enum.Enum):
    """What an adjust does with a lot that finds no cell of its own (GRID.md 7)."""

    CARRY = "carry"
    REDISTRIBUTE = "redistribute"
    CLOSE = "close"


class Secret:
    """A secret value: `reveal()` is the only way to its text; every other rendering is masked."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Secret is never pickled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One perpetual contract: its limits, its fees, and all rounding of prices and quantities.

    Units: `tick_size` and `min_notional` in the quote currency, quantities in the base currency,
    rates as fractions (0.0002 is 0.02 %).
    """

    symbol: str
    base_asset: str
    quote_asset: str
    tick_size: Decimal
    lot_size: Decimal
    min_quantity: Decimal
    min_notional: Decimal
    maker_fee: Decimal
    taker_fee: Decimal
    max_quantity: Decimal | None = None
    maintenance_rate: Decimal = Decimal("0.005")
    liquidation_fee: Decimal = ZERO
    max_open_orders: int | None = None

    def round_price(self, price: Decimal) -> Decimal:
        """Round to the nearest tick, half to even."""
        return self._to_tick(price, ROUND_HALF_EVEN)

    def price_down(self, price: Decimal) -> Decimal:
        """Round down to a tick."""
        return self._to_tick(price, ROUND_DOWN)

    def price_up(self, price: Decimal) -> Decimal:
        """Round up to a tick."""
        return self._to_tick(price, ROUND_UP)

    def floor_quantity(self, quantity: Decimal) -> Decimal:
        """Round down to a whole number of lots."""
        return (quantity / self.lot_size).to_integral_value(ROUND_DOWN) * self.lot_size

    def is_tradable(self, quantity: Decimal, price: Decimal) -> bool:
        """Tell whether an order of this quantity and price meets the lot and notional minimum."""
        return (
            quantity > 0
            and quantity >= self.min_quantity
            and quantity % self.lot_size == 0
            and quantity * price >= self.min_notional
        )

    def _to_tick(self, price: Decimal, rounding: str) -> Decimal:
        return (price / self.tick_size).to_integral_value(rounding) * self.tick_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What the market is at one moment. A paper exchange has one price for all four."""

    symbol: str
    bid: Decimal
    ask: Decimal
    last: Decimal
    mark: Decimal
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """An order to be sent. Its client order id is in the database before it leaves."""

    client_order_id: str
    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    post_only: bool
    reduce_only: bool
    time_in_force: TimeInForce = TimeInForce.GTC


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as last known. `slot` is the place in the grid that it serves, e.g. `entry:7`.

    `venue_order_id` is None until the exchange has answered. Range: 0 <= filled_qty <= quantity.
    """

    client_order_id: str
    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    status: OrderStatus
    created_at: datetime
    updated_at: datetime
    venue_order_id: str | None = None
    filled_qty: Decimal = ZERO
    post_only: bool = False
    reduce_only: bool = False
    time_in_force: TimeInForce = TimeInForce.GTC
    slot: str = ""
    reason: str = ""

    @property
    def leaves_qty(self) -> Decimal:
        """What may still fill."""
        return ZERO if self.status.is_terminal else self.quantity - self.filled_qty


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One execution. `fee` > 0 is a cost, in `fee_asset`."""

    trade_id: str
    venue_order_id: str
    client_order_id: str
    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_asset: str
    is_maker: bool
    time: datetime

    @property
    def signed_quantity(self) -> Decimal:
        return self.quantity if self.side is Side.BUY else -self.quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingPayment:
    """One funding payment; `amount` > 0 was received, `position` is signed. Key: (symbol, time).

    `rate`, `mark_price`, `position`: None where the exchange does not tell it, never a made-up 0.
    """

    symbol: str
    time: datetime
    rate: Decimal | None
    mark_price: Decimal | None
    position: Decimal | None
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The exchange's own figure of what is held; `quantity` is signed, flat has no entry price."""

    symbol: str
    quantity: Decimal
    entry_price: Decimal | None = None
    liquidation_price: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Margin account in the quote currency: `wallet` without, `equity` with unrealized PnL."""

    asset: str
    wallet: Decimal
    equity: Decimal
    available: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedGap:
    """The stream was interrupted: fills must be fetched before anything is placed."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedEnd:
    """The data has ended for good (a CSV replay): cancel the orders and finish."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionTold:
    """A position as a stream tells it (signed): to be compared with ours, never taken for fills."""

    symbol: str
    quantity: Decimal
    time: datetime


MarketEvent = Quote | Order | Fill | FundingPayment | PositionTold | FeedGap | FeedEnd


# What the web page and the HTTP routes show ---------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PnL:
    """The accounting of GRID.md 6, in the quote currency.

    total = grid + trend + unrealized - open_fees + funding, exactly.
    `fees` is everything ever paid; it is inside grid and trend except `open_fees`.
    """

    grid: Decimal = ZERO
    trend: Decimal = ZERO
    unrealized: Decimal = ZERO
    fees: Decimal = ZERO
    open_fees: Decimal = ZERO
    funding: Decimal = ZERO

    @property
    def total(self) -> Decimal:
        return self.grid + self.trend + self.unrealized - self.open_fees + self.funding


@dataclass(frozen=True, slots=True, kw_only=True)
class GridView:
    """The grid in force, for display. `num` counts levels, `cells` the gaps between them."""

    lower: Decimal
    upper: Decimal
    num: int
    cells: int
    mode: GridMode
    type: GridType
    quantity: Decimal
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelView:
    """One price line: the order that rests there (`side`, `role` entry or exit) or none."""

    index: int
    price: Decimal
    side: Side | None = None
    role: str | None = None
    quantity: Decimal | None = None
    dormant: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EquitySample:
    """One point of the equity curve."""

    time: datetime
    price: Decimal
    position: Decimal
    pnl: PnL
    equity: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One health check: its verdict, its age in seconds (None: never yet), words for a reader."""

    name: str
    ok: bool
    age_s: float | None
    detail: str = ""


class RunState(enum.Enum):
    """Where the bot itself stands."""

    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything a reader may know, published whole by the engine thread; `seq` only grows."""

    seq: int
    instance_id: str
    exchange: str
    mode: str
    symbol: str
    strategy: str
    state: RunState
    started_at: datetime
    time: datetime
    quote: Quote | None = None
    grid: GridView | None = None
    levels: tuple[LevelView, ...] = ()
    position: Decimal = ZERO
    entry_price: Decimal | None = None
    liquidation_price: Decimal | None = None
    pnl: PnL = PnL()
    balance: Balance | None = None
    open_orders: tuple[Order, ...] = ()
    recent_fills: tuple[Fill, ...] = ()
    fill_count: int = 0
    closed_cells: int = 0
    grid_apr: Decimal | None = None
    total_apr: Decimal | None = None
    entries_frozen: str = ""
    alerts: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)


# What a user may ask of a running bot ---------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjustGrid:
    """Move the grid; None keeps what is in force."""

    lower: Decimal | None = None
    upper: Decimal | None = None
    grid_num: int | None = None
    lots: LotsPolicy = LotsPolicy.CARRY
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Stop opening; exits stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Open again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopBot:
    """Cancel the orders (unless kept), close the position if asked, and end with exit code 0."""

    keep_orders: bool = False
    close_positions: bool = False
    reason: str = ""


Command = AdjustGrid | Pause | Resume | StopBot


class Outcome(enum.Enum):
    """How a command ended."""

    DONE = "done"
    PENDING = "pending"  # accepted and stored, still being carried out
    INVALID = "invalid"  # the values are wrong; nothing changed
    NOT_RUNNING = "not_running"
    REFUSED = "refused"  # the exchange refused before anything was cancelled; the old grid stands


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """A command's answer: words for a person and `data` for a program (Decimals allowed)."""

    outcome: Outcome
    message: str
    data: Mapping[str, object] = field(default_factory=dict)
