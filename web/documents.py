"""The JSON documents of the HTTP API and of the Socket.IO events, made from the shared vocabulary.

Values in, values out: nothing here reads a clock, a file or a socket. Every figure that is money, a
price or a quantity leaves as a string holding the exact decimal, without exponent; every moment as
ISO 8601 in UTC; what is not known leaves as null, never as zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from core.model import (
    Balance,
    Check,
    EquitySample,
    Fill,
    GridView,
    LevelView,
    Order,
    PnL,
    RunState,
    Snapshot,
)

Document = dict[str, Any]

READY_STATES = frozenset({RunState.RUNNING, RunState.PAUSED})
ENDING_STATES = frozenset({RunState.STOPPING, RunState.STOPPED})


_KEPT_DECIMALS = 8


def decimal_text(value: Decimal) -> str:
    """Write a decimal exactly, without exponent; minus zero is zero.

    Zeros behind the eighth decimal, left over from multiplying, say nothing and are left out.
    """
    text = format(value, "f")
    whole, point, part = text.partition(".")
    if len(part) > _KEPT_DECIMALS:
        text = whole + point + part[:_KEPT_DECIMALS] + part[_KEPT_DECIMALS:].rstrip("0")
    return text[1:] if value.is_zero() and text.startswith("-") else text


def optional_text(value: Decimal | None) -> str | None:
    """Write a decimal exactly, or null for what is not known."""
    return None if value is None else decimal_text(value)


def time_text(moment: datetime) -> str:
    """Write a moment as ISO 8601 in UTC, e.g. `2026-11-23T19:05:00.250000Z`."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def plain(value: object) -> Any:
    """Turn what a command's result may hold into JSON's own types, decimals as exact strings."""
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, datetime):
        return time_text(value)
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, (str, int, bool)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return str(value)


def fill_document(fill: Fill) -> Document:
    """One execution, as `/api/fills` and the `fill` event show it."""
    return {
        "trade_id": fill.trade_id,
        "order_id": fill.venue_order_id,
        "client_order_id": fill.client_order_id,
        "symbol": fill.symbol,
        "side": fill.side.value,
        "price": decimal_text(fill.price),
        "quantity": decimal_text(fill.quantity),
        "fee": decimal_text(fill.fee),
        "fee_asset": fill.fee_asset,
        "is_maker": fill.is_maker,
        "time": time_text(fill.time),
    }


def order_document(order: Order) -> Document:
    """One order, as `/api/orders` shows it."""
    return {
        "order_id": order.venue_order_id,
        "client_order_id": order.client_order_id,
        "symbol": order.symbol,
        "side": order.side.value,
        "price": decimal_text(order.price),
        "quantity": decimal_text(order.quantity),
        "filled": decimal_text(order.filled_qty),
        "status": order.status.value,
        "post_only": order.post_only,
        "reduce_only": order.reduce_only,
        "time_in_force": order.time_in_force.value,
        "slot": order.slot.replace(".", ":"),  # 1.e8 would read as a number
        "reason": order.reason,
        "created_at": time_text(order.created_at),
        "updated_at": time_text(order.updated_at),
    }


def pnl_document(pnl: PnL) -> Document:
    """The accounting; total = grid + trend + unrealized - open_fees + funding."""
    return {
        "grid": decimal_text(pnl.grid),
        "trend": decimal_text(pnl.trend),
        "unrealized": decimal_text(pnl.unrealized),
        "fees": decimal_text(pnl.fees),
        "open_fees": decimal_text(pnl.open_fees),
        "funding": decimal_text(pnl.funding),
        "total": decimal_text(pnl.total),
    }


def equity_document(sample: EquitySample) -> Document:
    """One point of the equity curve, as `/api/pnl` shows it."""
    return {
        "time": time_text(sample.time),
        "price": decimal_text(sample.price),
        "position": decimal_text(sample.position),
        "equity": decimal_text(sample.equity),
        **pnl_document(sample.pnl),
    }


def grid_document(grid: GridView | None) -> Document | None:
    """The grid in force; null before there is one."""
    if grid is None:
        return None
    return {
        "lower": decimal_text(grid.lower),
        "upper": decimal_text(grid.upper),
        "num": grid.num,
        "cells": grid.cells,
        "mode": grid.mode.value,
        "type": grid.type.value,
        "quantity": decimal_text(grid.quantity),
        "version": grid.version,
    }


def level_document(level: LevelView) -> Document:
    """One price line with the order that rests there."""
    return {
        "index": level.index,
        "price": decimal_text(level.price),
        "side": None if level.side is None else level.side.value,
        "role": level.role,
        "quantity": optional_text(level.quantity),
        "dormant": level.dormant,
    }


def balance_document(balance: Balance | None) -> Document | None:
    """The margin account; null before the exchange has told it."""
    if balance is None:
        return None
    return {
        "asset": balance.asset,
        "wallet": decimal_text(balance.wallet),
        "equity": decimal_text(balance.equity),
        "available": decimal_text(balance.available),
    }


def check_document(check: Check, snapshot_age_s: float) -> Document:
    """One health check; its age grows with the age of the snapshot that carries it."""
    age_s = None if check.age_s is None else round(check.age_s + snapshot_age_s, 3)
    return {
        "ok": check.ok,
        "verdict": "ok" if check.ok else "failing",
        "age_s": age_s,
        "detail": check.detail,
    }


def stats_document(snapshot: Snapshot) -> Document:
    """The figures that move with every trade and tick."""
    return {
        "seq": snapshot.seq,  # grows by each snapshot of a process: a reader can tell old from new
        "time": time_text(snapshot.time),
        "price": None if snapshot.quote is None else decimal_text(snapshot.quote.last),
        "price_time": None if snapshot.quote is None else time_text(snapshot.quote.time),
        "mark_price": None if snapshot.quote is None else decimal_text(snapshot.quote.mark),
        "position": decimal_text(snapshot.position),
        "entry_price": optional_text(snapshot.entry_price),
        "liquidation_price": optional_text(snapshot.liquidation_price),
        "pnl": pnl_document(snapshot.pnl),
        "equity": None if snapshot.balance is None else decimal_text(snapshot.balance.equity),
        "balance": balance_document(snapshot.balance),
        "apr": {
            "grid": optional_text(snapshot.grid_apr),
            "total": optional_text(snapshot.total_apr),
        },
        "open_orders": len(snapshot.open_orders),
        "fills": snapshot.fill_count,
        "closed_cells": snapshot.closed_cells,
    }


def status_document(snapshot: Snapshot) -> Document:
    """Everything of `/api/status` that the snapshot knows."""
    return {
        "instance_id": snapshot.instance_id,
        "mode": snapshot.mode,
        "exchange": snapshot.exchange,
        "symbol": snapshot.symbol,
        "strategy": snapshot.strategy,
        "state": snapshot.state.value,
        "started_at": time_text(snapshot.started_at),
        "grid": grid_document(snapshot.grid),
        "entries_frozen": snapshot.entries_frozen or None,
        "alerts": list(snapshot.alerts),
        "checks": [
            {"name": check.name, "ok": check.ok, "detail": check.detail}
            for check in snapshot.checks
        ],
        "extra": dict(snapshot.extra),
        **stats_document(snapshot),
    }


def levels_documents(snapshot: Snapshot) -> list[Document]:
    """All price lines, lowest first as the engine gives them."""
    return [level_document(level) for level in snapshot.levels]


def health_status(snapshot: Snapshot, live: bool) -> str:
    """One word for how the instance is; only `ok` and `starting` answer 200."""
    if not live:
        return "stalled"
    if snapshot.state in ENDING_STATES:
        return "stopping"
    if not all(check.ok for check in snapshot.checks):
        return "unhealthy"
    return "ok" if snapshot.state in READY_STATES else "starting"


def health_document(snapshot: Snapshot, live: bool, pid: int) -> Document:
    """The answer of `/health`."""
    status = health_status(snapshot, live)
    return {
        "status": status,
        "live": live,
        "ready": live and snapshot.state in READY_STATES,
        "instance_id": snapshot.instance_id,
        "pid": pid,
        "state": snapshot.state.value,
        "mode": snapshot.mode,
        "symbol": snapshot.symbol,
        "failing": [check.name for check in snapshot.checks if not check.ok],
    }


def is_healthy(status: str) -> bool:
    """Tell whether a status word answers 200."""
    return status in {"ok", "starting"}
