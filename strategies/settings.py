"""What the engine is told: the grid that was asked for and the rules around it. Frozen, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from core.model import GridMode, GridType, Instrument
from strategies.boundary import CONFIRM_S
from strategies.grid_math import (
    Levels,
    default_quantity,
    fee_floor_faults,
    fee_floor_warnings,
    level_prices,
    plain,
)
from strategies.grid_state import GridSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRequest:
    """The grid as configured. `lower` and `upper` are None when `price_range` (percent) centres it.

    `quantity` is per order, base currency; None derives it from `max_position`.
    """

    lower: Decimal | None
    upper: Decimal | None
    num: int
    mode: GridMode
    kind: GridType
    quantity: Decimal | None
    max_position: Decimal | None
    price_range: Decimal | None = None
    open_initial: bool = False
    trigger_price: Decimal | None = None

    def range_at(self, price: Decimal, instrument: Instrument) -> tuple[Decimal, Decimal]:
        """Give the bounds, centred on `price` where the config asks for that."""
        if self.lower is not None and self.upper is not None:
            return self.lower, self.upper
        half = (self.price_range or Decimal(10)) / 100
        return instrument.round_price(price * (1 - half)), instrument.round_price(
            price * (1 + half)
        )

    def fingerprint(self) -> str:
        """Name the config's own range: when it changes, an adjusted range ends (GRID.md 7)."""
        prices = (self.lower, self.upper, self.price_range)
        parts = ["-" if price is None else plain(price) for price in prices]
        return "/".join((*parts, str(self.num), self.mode.value, self.kind.value))


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """One bot's rules. `interval_s` is the period of the full reconciliation.

    `end_at`: when `duration` is over, wall time; None: never. `stop_loss` and `take_profit` are
    positive, quote currency, on the total of the instance's whole life; None: not watched.
    """

    instance_id: str
    exchange: str
    mode: str
    symbol: str
    grid: GridRequest
    leverage: Decimal = Decimal(10)
    strategy: str = "perp_grid"
    boundary_action: str = "none"
    boundary_tolerance: Decimal = Decimal("0.001")
    boundary_confirm_s: float = CONFIRM_S
    boundary_moves_per_hour: int = 12
    dead_mans_switch_s: float | None = None
    interval_s: float = 60.0
    end_at: datetime | None = None
    slippage_cap: Decimal = Decimal("0.005")
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    allow_liquidation_in_range: bool = False
    stale_after_s: float = 60.0

    @property
    def has_stops(self) -> bool:
        """Whether any price may end the run by profit or loss."""
        return self.stop_loss is not None or self.take_profit is not None

    @property
    def moves_at_boundary(self) -> bool:
        """Whether a breach moves the grid."""
        return self.boundary_action in ("trail", "adjust_range")

    @property
    def max_position(self) -> Decimal | None:
        return self.grid.max_position


def build_spec(request: GridRequest, price: Decimal, instrument: Instrument) -> GridSpec:
    """Lay out the configured grid at `price`. Errors: ValueError, one fault a line."""
    lower, upper = request.range_at(price, instrument)
    levels = level_prices(lower, upper, request.num, request.mode, instrument)
    quantity = request.quantity
    if quantity is None:
        if request.max_position is None:
            raise ValueError("neither quantity nor max_position is set; give one of them")
        quantity = default_quantity(request.max_position, levels, price, request.kind, instrument)
    spec = GridSpec(
        lower=lower,
        upper=upper,
        mode=request.mode,
        kind=request.kind,
        quantity=quantity,
        levels=levels,
    )
    faults = spec_faults(spec, request.max_position, instrument)
    if faults:
        raise ValueError("\n".join(faults))
    return spec


def spec_faults(
    spec: GridSpec, max_position: Decimal | None, instrument: Instrument
) -> tuple[str, ...]:
    """Name everything that makes a grid unfit to trade; empty when it may."""
    faults = list(fee_floor_faults(spec.levels, instrument.maker_fee))
    quantity, lowest = spec.quantity, spec.levels[0]
    if quantity <= 0 or quantity < instrument.min_quantity:
        faults.append(
            f"the quantity of one order is {plain(quantity)} {instrument.base_asset}; the exchange "
            f"wants at least {plain(instrument.min_quantity)}: raise quantity or max_position, or "
            "use fewer levels"
        )
    elif quantity % instrument.lot_size != 0:
        faults.append(
            f"quantity was {plain(quantity)}, expected a multiple of the lot "
            f"{plain(instrument.lot_size)}"
        )
    if quantity > 0 and quantity * lowest < instrument.min_notional:
        faults.append(
            f"an order at the lowest level {plain(lowest)} is worth {plain(quantity * lowest)} "
            f"{instrument.quote_asset}; the exchange wants at least "
            f"{plain(instrument.min_notional)}: raise quantity or max_position"
        )
    if instrument.max_quantity is not None and quantity > instrument.max_quantity:
        faults.append(
            f"quantity was {plain(quantity)}, the exchange takes at most "
            f"{plain(instrument.max_quantity)}"
        )
    if max_position is not None and 0 < max_position < quantity:
        faults.append(
            f"max_position {plain(max_position)} is less than one order of {plain(quantity)}"
        )
    return tuple(faults)


def spec_warnings(levels: Levels, instrument: Instrument) -> tuple[str, ...]:
    """Say what a trader should know of a grid that may trade."""
    return fee_floor_warnings(levels, instrument.maker_fee)
