"""Build the frozen Snapshot that pages, routes and health checks read. Engine thread only."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from core.model import (
    ZERO,
    Balance,
    Check,
    GridView,
    LevelView,
    Order,
    PnL,
    Snapshot,
)
from strategies.grid_math import plain
from strategies.grid_state import GridSpec, GridState, entry_price
from strategies.reconcile import is_opening
from strategies.risk import liquidation_price
from strategies.session import Session

YEAR_DAYS = Decimal(365)
APR_AFTER_DAYS = Decimal(1) / 24
"""Days of market time before an APR is shown: the figures of a first minute would only mislead."""


def build(session: Session, seq: int) -> Snapshot:
    """Freeze the engine's present state."""
    grid, quote, settings = session.book.grid, session.quote, session.settings
    working = tuple(session.desk.working.values())
    figures = session.figures()
    entry = None if grid is None else entry_price(grid)
    grid_apr, total_apr = _aprs(session, grid, figures)
    return Snapshot(
        seq=seq,
        instance_id=settings.instance_id,
        exchange=settings.exchange,
        mode=settings.mode,
        symbol=settings.symbol,
        strategy=settings.strategy,
        state=session.state,
        started_at=session.started_at,
        time=session.clock.now(),
        quote=quote,
        grid=None if grid is None else _grid_view(grid),
        levels=() if grid is None else _levels(grid, working),
        position=ZERO if grid is None else grid.position,
        entry_price=entry,
        liquidation_price=_liquidation(session, entry),
        pnl=figures,
        balance=_balance_now(session, figures),
        open_orders=working,
        recent_fills=tuple(session.ledger.recent_fills),
        fill_count=0 if grid is None else grid.totals.fills + grid.totals.initial_fills,
        closed_cells=0 if grid is None else grid.totals.closed_cells,
        grid_apr=grid_apr,
        total_apr=total_apr,
        entries_frozen="; ".join(f"{name}: {why}" for name, why in session.frozen.items()),
        alerts=tuple(session.alerts),
        checks=_checks(session),
        extra={"zone": session.book.zone.value, "paused": str(session.book.paused).lower()},
    )


def _balance_now(session: Session, figures: PnL) -> Balance | None:
    """Carry the fetched balance on by what the ledger has seen since, so that figures add up.

    Exact for an account that this instance alone trades on; the next reconciliation corrects it
    where others do.
    """
    balance, then = session.balance, session.balance_pnl
    if balance is None:
        return None
    change = figures.total - then.total
    return replace(
        balance,
        equity=balance.equity + change,
        wallet=balance.wallet + change - (figures.unrealized - then.unrealized),
    )


def invested(spec: GridSpec, max_position: Decimal | None, leverage: Decimal) -> Decimal:
    """Estimate the margin the grid takes when one side is full: the base of both APRs (quote)."""
    cells = len(spec.levels) - 1
    most = spec.quantity * cells
    if max_position is not None:
        most = min(most, max_position)
    middle = (spec.levels[0] + spec.levels[-1]) / 2
    return most * middle / leverage


def _aprs(
    session: Session, grid: GridState | None, figures: PnL
) -> tuple[Decimal | None, Decimal | None]:
    started, quote = session.book.seeded_at, session.quote
    if grid is None or started is None or quote is None:
        return None, None
    days = Decimal(str((quote.time - started).total_seconds())) / 86400
    base = invested(grid.spec, session.settings.max_position, session.settings.leverage)
    if days < APR_AFTER_DAYS or base <= 0:
        return None, None
    scale = YEAR_DAYS / days / base
    return _percent(figures.grid * scale), _percent(figures.total * scale)


def _percent(fraction: Decimal) -> Decimal:
    return (fraction * 100).quantize(Decimal("0.01"))


def _grid_view(grid: GridState) -> GridView:
    spec = grid.spec
    return GridView(
        lower=spec.lower,
        upper=spec.upper,
        num=spec.num,
        cells=spec.num - 1,
        mode=spec.mode,
        type=spec.kind,
        quantity=spec.quantity,
        version=grid.version,
    )


def _levels(grid: GridState, working: tuple[Order, ...]) -> tuple[LevelView, ...]:
    by_price: dict[Decimal, Order] = {}
    for order in working:
        by_price.setdefault(order.price, order)
    views = []
    for index, price in enumerate(grid.spec.levels):
        at_level = by_price.get(price)
        cell = grid.cells[index] if index < len(grid.cells) else None
        views.append(
            LevelView(
                index=index,
                price=price,
                side=None if at_level is None else at_level.side,
                role=None
                if at_level is None
                else ("entry" if is_opening(at_level.slot) else "exit"),
                quantity=None if at_level is None else at_level.leaves_qty,
                dormant=at_level is None and cell is not None and not cell.awake,
            )
        )
    return tuple(views)


def _liquidation(session: Session, entry: Decimal | None) -> Decimal | None:
    """Prefer the exchange's own figure; else estimate with the whole balance as margin."""
    if session.book.grid is None or entry is None or session.instrument is None:
        return None
    if session.position is not None and session.position.liquidation_price is not None:
        return session.position.liquidation_price
    if session.balance is None:
        return None
    price = liquidation_price(
        session.book.grid.position,
        entry,
        session.balance.wallet,
        session.instrument.maintenance_rate,
        session.instrument.liquidation_fee,
    )
    return None if price is None else session.instrument.round_price(price)


def _checks(session: Session) -> tuple[Check, ...]:
    now = session.clock.monotonic()
    contact = session.last_contact
    feed_age = session.feed.age_s()
    stale_after = session.settings.stale_after_s
    frozen = session.frozen
    return (
        Check(
            name="exchange",
            ok="exchange" not in frozen,
            age_s=None if contact is None else now - contact,
            detail=frozen.get("exchange", "reached"),
        ),
        Check(
            name="data",
            ok=feed_age is None or feed_age <= stale_after,
            age_s=feed_age,
            detail=f"stale after {stale_after:g} s",
        ),
        Check(
            name="database",
            ok="database" not in frozen,
            age_s=None,
            detail=frozen.get("database", "takes writes"),
        ),
        Check(
            name="position",
            ok="position" not in frozen,
            age_s=None if contact is None else now - contact,
            detail=frozen.get("position", _position_words(session)),
        ),
    )


def _position_words(session: Session) -> str:
    if session.book.grid is None:
        return "no grid yet"
    return f"ledger and exchange agree on {plain(session.book.grid.position)}"
