"""The strategy's journal: every change of state is an entry, and state is the fold over them.

Pure. The live engine and a restart go through the same `apply`, so a rebuilt state equals the one
that was lost, bit for bit (I12). Payloads hold JSON types only; decimals travel as text.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from core.errors import IllegalTransition
from core.model import ZERO, Fill, GridMode, GridType, LotsPolicy, Side
from strategies.adjust import regrid
from strategies.boundary import Zone
from strategies.following import recent_moves, shift
from strategies.grid_state import Carried, Cell, GridSpec, GridState, Origin, Totals
from strategies.lots import Lot, Part
from strategies.perp_grid import (
    add_funding,
    add_trim,
    close_outside,
    end_initial,
    new_grid,
    on_fill,
    settle,
    wake,
)

Payload = Mapping[str, Any]


class Move(enum.Enum):
    """Who moves the grid: a user or the config file, or the boundary action that is named so."""

    ADJUST = "adjust"
    TRAIL = "trail"
    ADJUST_RANGE = "adjust_range"


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingAdjust:
    """An adjust that was accepted and stored, and is being carried out.

    `step`: by how much a trailing grid's index moves; 0 for every other adjust.
    """

    spec: GridSpec
    lots: LotsPolicy
    fee: Decimal
    lot_minimum: Decimal
    move: Move = Move.ADJUST
    step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """Everything that outlives a crash. `source` is the config's own range when it was last read.

    `base` is the position that was there before the first seed; it is not ours. `moves` are the
    times of the grid's own moves (trail, adjust_range) within the hour before the last one.
    """

    grid: GridState | None = None
    pending: PendingAdjust | None = None
    zone: Zone = Zone.INSIDE
    paused: bool = False
    base: Decimal = ZERO
    seeded_at: datetime | None = None
    source: str = ""
    moves: tuple[datetime, ...] = ()


def apply(book: Book, kind: str, payload: Payload, seq: int, time: datetime) -> Book:
    """Fold one journal entry into the book. Errors: IllegalTransition on an unknown entry."""
    if kind == "seed":
        return Book(
            grid=new_grid(
                decode_spec(payload["spec"]),
                Decimal(payload["price"]),
                open_initial=payload["open_initial"],
                max_position=_optional(payload["max_position"]),
            ),
            base=Decimal(payload["base"]),
            paused=book.paused,
            seeded_at=time,
            source=payload["source"],
        )
    if kind == "pause":
        return replace(book, paused=True)
    if kind == "resume":
        return replace(book, paused=False)
    if book.grid is None:
        raise IllegalTransition(f"journal entry {seq} is {kind!r} before any grid was seeded")
    match kind:
        case "fill":
            return replace(
                book, grid=on_fill(book.grid, decode_fill(payload), payload["slot"], seq)
            )
        case "close":
            return replace(book, grid=close_outside(book.grid, decode_fill(payload), seq))
        case "trim":
            return replace(book, grid=add_trim(book.grid, decode_fill(payload)))
        case "settle":
            return replace(book, grid=settle(book.grid, Decimal(payload["price"])))
        case "funding":
            return replace(book, grid=add_funding(book.grid, Decimal(payload["amount"])))
        case "wake":
            return replace(book, grid=wake(book.grid, payload["cells"]))
        case "initial_end":
            return replace(book, grid=end_initial(book.grid))
        case "zone":
            return replace(book, zone=Zone(payload["zone"]))
        case "source":
            return replace(book, source=payload["source"])
        case "adjust_begin":
            return replace(book, pending=decode_pending(payload))
        case "adjust_abort":
            return replace(book, pending=None)
        case "adjust":
            if book.pending is None:
                raise IllegalTransition(f"journal entry {seq} applies an adjust that never began")
            moves = book.moves
            if book.pending.move is not Move.ADJUST:
                moves = (*recent_moves(moves, time), time)
            return replace(
                book,
                grid=_moved(book.grid, book.pending, Decimal(payload["price"])),
                pending=None,
                zone=Zone(payload.get("zone", Zone.INSIDE.value)),
                moves=moves,
            )
        case _:
            raise IllegalTransition(f"journal entry {seq} has the unknown kind {kind!r}")


def _moved(grid: GridState, pending: PendingAdjust, price: Decimal) -> GridState:
    if pending.step:
        return shift(grid, pending.spec, pending.step, price)
    return regrid(grid, pending.spec, price, pending.lots, pending.fee, pending.lot_minimum)


# Entries ----------------------------------------------------------------------------------------


def fill_payload(fill: Fill, slot: str) -> dict[str, Any]:
    """Write a fill as a journal payload."""
    return {
        "trade_id": fill.trade_id,
        "slot": slot,
        "side": fill.side.value,
        "price": str(fill.price),
        "quantity": str(fill.quantity),
        "fee": str(fill.fee),
    }


_NO_TIME = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def decode_fill(payload: Payload) -> Fill:
    """Read back what the grid needs of a fill; the fills table has the rest."""
    return Fill(
        trade_id=payload["trade_id"],
        venue_order_id="",
        client_order_id="",
        symbol="",
        side=Side(payload["side"]),
        price=Decimal(payload["price"]),
        quantity=Decimal(payload["quantity"]),
        fee=Decimal(payload["fee"]),
        fee_asset="",
        is_maker=True,
        time=_NO_TIME,
    )


def encode_spec(spec: GridSpec) -> dict[str, Any]:
    return {
        "lower": str(spec.lower),
        "upper": str(spec.upper),
        "mode": spec.mode.value,
        "kind": spec.kind.value,
        "quantity": str(spec.quantity),
        "levels": [str(level) for level in spec.levels],
        "origin": _encode_origin(spec.origin),
    }


def _encode_origin(origin: Origin | None) -> list[Any] | None:
    return None if origin is None else [str(origin.lower), str(origin.upper), origin.index]


def _decode_origin(row: list[Any] | None) -> Origin | None:
    if row is None:
        return None
    lower, upper, index = row
    return Origin(lower=Decimal(lower), upper=Decimal(upper), index=index)


def decode_spec(payload: Payload) -> GridSpec:
    return GridSpec(
        lower=Decimal(payload["lower"]),
        upper=Decimal(payload["upper"]),
        mode=GridMode(payload["mode"]),
        kind=GridType(payload["kind"]),
        quantity=Decimal(payload["quantity"]),
        levels=tuple(Decimal(level) for level in payload["levels"]),
        origin=_decode_origin(payload.get("origin")),
    )


def encode_pending(pending: PendingAdjust) -> dict[str, Any]:
    return {
        "spec": encode_spec(pending.spec),
        "lots": pending.lots.value,
        "fee": str(pending.fee),
        "lot_minimum": str(pending.lot_minimum),
        "move": pending.move.value,
        "step": pending.step,
    }


def decode_pending(payload: Payload) -> PendingAdjust:
    return PendingAdjust(
        spec=decode_spec(payload["spec"]),
        lots=LotsPolicy(payload["lots"]),
        fee=Decimal(payload["fee"]),
        lot_minimum=Decimal(payload["lot_minimum"]),
        move=Move(payload.get("move", Move.ADJUST.value)),
        step=payload.get("step", 0),
    )


# Checkpoints ------------------------------------------------------------------------------------


def encode_book(book: Book) -> dict[str, Any]:
    """Write the whole book, so that a start need not fold years of entries."""
    grid = book.grid
    return {
        "grid": None if grid is None else _encode_grid(grid),
        "pending": None if book.pending is None else encode_pending(book.pending),
        "zone": book.zone.value,
        "paused": book.paused,
        "base": str(book.base),
        "seeded_at": None if book.seeded_at is None else book.seeded_at.isoformat(),
        "source": book.source,
        "moves": [move.isoformat() for move in book.moves],
    }


def decode_book(payload: Payload) -> Book:
    """Read back what `encode_book` wrote."""
    seeded = payload["seeded_at"]
    return Book(
        grid=None if payload["grid"] is None else _decode_grid(payload["grid"]),
        pending=None if payload["pending"] is None else decode_pending(payload["pending"]),
        zone=Zone(payload["zone"]),
        paused=payload["paused"],
        base=Decimal(payload["base"]),
        seeded_at=None if seeded is None else datetime.fromisoformat(seeded),
        source=payload["source"],
        moves=tuple(datetime.fromisoformat(move) for move in payload.get("moves", ())),
    )


def _encode_grid(grid: GridState) -> dict[str, Any]:
    totals = grid.totals
    return {
        "spec": encode_spec(grid.spec),
        "version": grid.version,
        "next_carried": grid.next_carried,
        "initial": str(grid.initial),
        "cells": [[cell.side.value, cell.awake, _encode_lot(cell.lot)] for cell in grid.cells],
        "carried": [
            [c.id, c.side.value, str(c.lower), str(c.upper), _encode_lot(c.lot), c.closing]
            for c in grid.carried
        ],
        "totals": {
            "grid": str(totals.grid),
            "trend": str(totals.trend),
            "fees": str(totals.fees),
            "funding": str(totals.funding),
            "closed_cells": totals.closed_cells,
            "fills": totals.fills,
            "initial_fills": totals.initial_fills,
            "stray_fills": totals.stray_fills,
        },
    }


def _decode_grid(payload: Payload) -> GridState:
    totals = payload["totals"]
    return GridState(
        spec=decode_spec(payload["spec"]),
        version=payload["version"],
        next_carried=payload["next_carried"],
        initial=Decimal(payload["initial"]),
        cells=tuple(
            Cell(side=Side(side), awake=awake, lot=_decode_lot(lot))
            for side, awake, lot in payload["cells"]
        ),
        carried=tuple(
            Carried(
                id=id_,
                side=Side(side),
                lower=Decimal(lower),
                upper=Decimal(upper),
                lot=_decode_lot(lot),
                closing=any(closing),
            )
            for id_, side, lower, upper, lot, *closing in payload["carried"]
        ),
        totals=Totals(
            grid=Decimal(totals["grid"]),
            trend=Decimal(totals["trend"]),
            fees=Decimal(totals["fees"]),
            funding=Decimal(totals["funding"]),
            closed_cells=totals["closed_cells"],
            fills=totals["fills"],
            initial_fills=totals["initial_fills"],
            stray_fills=totals["stray_fills"],
        ),
    )


def _encode_lot(lot: Lot) -> list[list[Any]]:
    return [[str(part.quantity), str(part.price), str(part.fee), part.seq] for part in lot]


def _decode_lot(rows: list[list[Any]]) -> Lot:
    return tuple(
        Part(quantity=Decimal(quantity), price=Decimal(price), fee=Decimal(fee), seq=seq)
        for quantity, price, fee, seq in rows
    )


def _optional(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
