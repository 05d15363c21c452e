"""Backpack's stream frames, read into our own values. Pure.

Source: as `backpack_wire`. Odd but true: streams stamp in microseconds, REST in milliseconds; a
fill that the exchange itself caused says so by its origin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from core.model import ZERO, Fill, Order, PositionTold
from exchanges.backpack_replies import side_of, status_of, time_in_force, unnamed
from exchanges.wire import (
    BookTop,
    Fields,
    MarkPrice,
    StreamEvent,
    StreamRefused,
    from_us,
    load_json,
)

NameOf = Callable[[str], str | None]
"""Tells the client id of an order from the exchange's own; None: not known."""


def read_frame(text: str, name_of: NameOf) -> Iterable[StreamEvent]:
    """Read one frame; a stream that is not ours gives nothing. Errors: WireError."""
    frame = Fields("frame", load_json(text, "frame"))
    if frame.has("error"):
        error = frame.object("error")
        return (
            StreamRefused(
                reason=f"{error.optional_text('code')} {error.optional_text('message')}"[:200]
            ),
        )
    if not frame.has("stream"):
        return ()
    stream = frame.text("stream")
    kind = stream.split(".", 1)[0]
    if kind == "bookTicker":
        return _book_top(Fields(stream, frame.raw("data")))
    if kind == "markPrice":
        return _mark_price(Fields(stream, frame.raw("data")))
    if stream.startswith("account.orderUpdate"):
        return _order_update(Fields(stream, frame.raw("data")), name_of)
    if stream.startswith("account.positionUpdate"):
        return _position_update(Fields(stream, frame.raw("data")))
    return ()


def _book_top(data: Fields) -> tuple[StreamEvent, ...]:
    bid, ask = data.optional_decimal("b"), data.optional_decimal("a")
    if bid is None and ask is None:
        return ()
    symbol, moment = data.text("s"), _moment(data)
    if bid is None or ask is None:
        bid = ask = bid if ask is None else ask
    assert bid is not None
    assert ask is not None
    return (BookTop(symbol=symbol, bid=bid, ask=ask, time=moment),)


def _mark_price(data: Fields) -> tuple[StreamEvent, ...]:
    return (MarkPrice(symbol=data.text("s"), price=data.decimal("p"), time=_moment(data)),)


def _position_update(data: Fields) -> tuple[StreamEvent, ...]:
    """Read a position, of an event or of the snapshot after the subscription."""
    told = PositionTold(symbol=data.text("s"), quantity=data.decimal("q"), time=_moment(data))
    return (told,)


def _moment(data: Fields) -> datetime:
    return from_us(data.integer("T" if data.has("T") else "E"))


def _order_update(data: Fields, name_of: NameOf) -> tuple[StreamEvent, ...]:
    """Read an order event: its fill, if it tells of one, and the order's state after it."""
    venue_id, moment = data.text("i"), _moment(data)
    client_id = data.optional_text("c") or name_of(venue_id) or unnamed(venue_id)
    origin = data.optional_text("O", "USER")
    side = side_of(data, "S")
    order = Order(
        client_order_id=client_id,
        symbol=data.text("s"),
        side=side,
        price=data.optional_decimal("p") or ZERO,
        quantity=data.optional_decimal("q") or ZERO,
        status=status_of(data.text("X")),
        created_at=moment,
        updated_at=moment,
        venue_order_id=venue_id,
        filled_qty=data.optional_decimal("z") or ZERO,
        post_only=data.flag("y"),
        reduce_only=data.flag("r"),
        time_in_force=time_in_force(data.optional_text("f")),
        reason=data.optional_text("R"),
    )
    if origin != "USER":
        order = replace(order, client_order_id=f"liquidation:{venue_id}")
    if not (data.has("t") and data.has("l")) or data.decimal("l") == 0:
        return (order,)
    fill = Fill(
        trade_id=data.text("t"),
        venue_order_id=venue_id,
        client_order_id=order.client_order_id,
        symbol=order.symbol,
        side=side,
        price=data.decimal("L"),
        quantity=data.decimal("l"),
        fee=data.optional_decimal("n") or ZERO,
        fee_asset=data.optional_text("N"),
        is_maker=data.flag("m"),
        time=moment,
    )
    return (fill, order)
