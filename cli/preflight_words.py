"""The preflight's figures as lines a trader reads, and as the document that `--json` carries.

`tell` is `core.i18n.t` for a person, `english` for a log; the document is not translated either.
Its figures are decimals as text: exact, but for per cents, to 1e-8, and liquidations, to the tick.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from core.i18n import Tell
from core.model import GridType, Instrument
from strategies.grid_math import plain
from strategies.preflight import Holding, Preflight, Range

Line = tuple[str, str]
"""The name of a check and its words; named "warning" where a trader should look twice."""

_REMEDY = {
    "orders": "use fewer levels or a lower max_position",
    "margin": "lower quantity or max_position",
    "liquidation": (
        "lower quantity or max_position, add margin, or set allow_liquidation_in_range"
    ),
}
"""What to do about a refused check."""

_REMEDY_SHARED = (
    "lower quantity or max_position of one of them, or give this one a (sub-)account of its own"
)
"""The same for margin that other bots of the account want too."""

_BOUNDARY = {
    "none": "outside the range nothing is done: the grid waits for the price to come back",
    "stop_only": "{beyond}: entries are cancelled, exits stay; back inside it goes on",
    "emergency_close": "{beyond}: all is cancelled and closed, and the bot ends",
    "adjust_range": "{beyond}: a range of the same width around the price, {moves} an hour at most",
    "trail": "{beyond}: the grid follows the price cell by cell, {moves} an hour at most",
}


def lines(found: Preflight, instrument: Instrument, tell: Tell) -> Iterator[Line]:
    """Say it all, in the order in which a trader asks; what is refused with what to do."""
    refused = refused_checks(found)
    for name, words in _figures(found, instrument, tell):
        if name in refused:
            is_shared = name == "margin" and found.others_remaining
            remedy = tell(_REMEDY_SHARED if is_shared else _REMEDY[name])
            yield name, tell("{figures}: {remedy}", figures=words, remedy=remedy)
        else:
            yield name, words


def refused_checks(found: Preflight) -> frozenset[str]:
    """Name the checks for which the grid may not start."""
    return frozenset(refusal.check for refusal in found.refusals)


def _figures(found: Preflight, instrument: Instrument, tell: Tell) -> Iterator[Line]:
    spec, quote, base = found.spec, instrument.quote_asset, instrument.base_asset
    yield (
        "grid",
        tell(
            "{levels} levels ({cells} cells), {mode}, {kind}, {quantity} {base} an order",
            levels=spec.num,
            cells=spec.num - 1,
            mode=tell(spec.mode.value),
            kind=tell(spec.kind.value),
            quantity=plain(spec.quantity),
            base=base,
        ),
    )
    yield (
        "range",
        tell(
            "{lower} to {upper}, {width} wide ({percent} %); levels {step} apart ({steps} %)",
            lower=plain(spec.levels[0]),
            upper=plain(spec.levels[-1]),
            width=plain(found.width),
            percent=_short(found.width_percent),
            step=_span(found.step, plain, tell),
            steps=_span(found.step_percent, _short, tell),
        ),
    )
    yield (
        "profit",
        tell(
            "a closed cell earns {profit} {quote} after fees ({percent} % of its order)",
            profit=_span(found.profit, _fine, tell),
            quote=quote,
            percent=_span(found.profit_percent, _fine, tell),
        ),
    )
    if found.thin_cells:
        words = "{count} of {cells} cells earn less than twice their fees: use fewer levels"
        yield "warning", tell(words, count=found.thin_cells, cells=spec.num - 1)
    yield "orders", _orders(found, instrument, tell)
    yield "margin", _margin(found, quote, tell)
    yield "position", _position(found, instrument, tell)
    yield "liquidation", _liquidation(found, instrument, tell)
    yield from _stops(found, quote, tell)
    beyond = tell(
        "below {low} or above {high} for {seconds} s",
        low=plain(found.breach.low),
        high=plain(found.breach.high),
        seconds=f"{found.confirm_s:g}",
    )
    yield (
        "boundary",
        tell(_BOUNDARY[found.boundary_action], beyond=beyond, moves=found.moves_per_hour),
    )


def _orders(found: Preflight, instrument: Instrument, tell: Tell) -> str:
    values = {
        "now": found.orders_now,
        "most": found.most_orders,
        "limit": found.order_limit,
        "notional": _span(found.notional, plain, tell),
        "quote": instrument.quote_asset,
        "minimum": plain(instrument.min_notional),
    }
    if found.order_limit is None:
        words = "{now} now, at most {most} at once; worth {notional} {quote} (at least {minimum})"
        return tell(words, **values)
    return tell(
        "{now} now, at most {most} of {limit} at once; worth {notional} {quote} (from {minimum})",
        **values,
    )


def _margin(found: Preflight, quote: str, tell: Tell) -> str:
    """Say what a full side takes, and what the other bots of the account may still take."""
    words = tell(
        "a full side takes {margin} {quote} at leverage {leverage}, {available} is available",
        margin=_cents(found.margin),
        quote=quote,
        leverage=plain(found.leverage),
        available=_cents(found.available),
    )
    if found.used:
        words += tell("; {used} of it is in use already", used=_cents(found.used))
    if found.others:
        names = ", ".join(
            f"{other.instance_id} ({other.symbol}) {_cents(other.remaining)}"
            for other in found.others
        )
        rest = _cents(found.others_remaining)
        told = "; the other bots of this account may still take {rest}: {names}"
        words += tell(told, rest=rest, names=names)
    return words


def _position(found: Preflight, instrument: Instrument, tell: Tell) -> str:
    """Say what a full side is, for the sides that this kind of grid has."""
    kind, quote, base = found.spec.kind, instrument.quote_asset, instrument.base_asset
    long = tell(
        "long {quantity} {base} for {cost} {quote}, down {loss} at the lowest level",
        **_holding(found.long, base, quote),
    )
    short = tell(
        "short {quantity} {base} for {cost} {quote}, down {loss} at the highest level",
        **_holding(found.short, base, quote),
    )
    if kind is GridType.NEUTRAL:
        words = tell("at most {long}; or {short}", long=long, short=short)
    else:
        words = tell("at most {side}", side=long if kind is GridType.LONG else short)
    if found.position:
        held = tell("the account holds {position} now; ", position=plain(found.position))
        return held + words
    return words


def _holding(side: Holding, base: str, quote: str) -> dict[str, str]:
    return {
        "quantity": plain(side.quantity),
        "base": base,
        "cost": _cents(side.cost),
        "quote": quote,
        "loss": _cents(side.loss),
    }


def _liquidation(found: Preflight, instrument: Instrument, tell: Tell) -> str:
    parts = []
    if found.liquidation_now is not None:
        at = plain(instrument.round_price(found.liquidation_now))
        parts.append(tell("now at about {price}", price=at))
    lower, upper = found.spec.levels[0], found.spec.levels[-1]
    falling, rising = found.worst.falling, found.worst.rising
    if falling is not None:
        words = "worst case, falling: about {price}, {percent} % below the lowest level"
        if falling >= lower:
            words = "worst case, falling: about {price}, inside the range"
        parts.append(_away(tell, words, falling, (1 - falling / lower) * 100, instrument))
    if rising is not None:
        words = "worst case, rising: about {price}, {percent} % above the highest level"
        if rising <= upper:
            words = "worst case, rising: about {price}, inside the range"
        parts.append(_away(tell, words, rising, (rising / upper - 1) * 100, instrument))
    return "; ".join(parts) if parts else tell("no price on the way leads to it")


def _away(tell: Tell, words: str, price: Decimal, percent: Decimal, instrument: Instrument) -> str:
    return tell(words, price=plain(instrument.round_price(price)), percent=_short(percent))


def _stops(found: Preflight, quote: str, tell: Tell) -> Iterator[Line]:
    """Say when each stop would come, and warn of one that would come at once."""
    worst = _cents(found.worst_loss)
    if found.stop_loss is not None:
        amount = plain(found.stop_loss)
        if found.stop_loss <= found.entry_cost:
            words = "stop_loss {amount}: leaving after the first fill costs {cost}: it ends at once"
            yield "warning", tell(words, amount=amount, cost=_cents(found.entry_cost))
        elif found.stop_loss <= found.worst_loss:
            words = (
                "stop_loss {amount} {quote}: reached inside the range, a full side loses {worst}"
            )
            yield "stop_loss", tell(words, amount=amount, quote=quote, worst=worst)
        else:
            words = "stop_loss {amount} {quote}: beyond the range, a full side loses {worst} inside"
            yield "stop_loss", tell(words, amount=amount, quote=quote, worst=worst)
    if found.take_profit is not None and found.cells_to_profit is not None:
        values = {"amount": plain(found.take_profit), "quote": quote}
        if found.take_profit <= found.profit.low:
            words = "take_profit {amount} {quote}: one closed cell earns it: the bot ends with it"
            yield "warning", tell(words, **values)
        else:
            words = "take_profit {amount} {quote}: {count} closed cells, more while lots are open"
            yield "take_profit", tell(words, **values, count=found.cells_to_profit)


# Figures ----------------------------------------------------------------------------------------


def _short(value: Decimal) -> str:
    return plain(value.quantize(Decimal("0.01")))


def _cents(value: Decimal) -> str:
    return plain(value.quantize(Decimal("0.01")))


def _fine(value: Decimal) -> str:
    return plain(value.quantize(Decimal("0.0001")))


def _span(span: Range, write: Callable[[Decimal], str], tell: Tell) -> str:
    """Write `0.9` or `0.9 to 1.1`, as the digits that are shown tell them apart."""
    low, high = write(span.low), write(span.high)
    return low if low == high else tell("{low} to {high}", low=low, high=high)


# The document -----------------------------------------------------------------------------------


def document(found: Preflight, instrument: Instrument) -> dict[str, Any]:
    """Write every figure for a program; decimals as exact text, None where there is none."""
    spec = found.spec
    return {
        "symbol": instrument.symbol,
        "base_asset": instrument.base_asset,
        "quote_asset": instrument.quote_asset,
        "price": plain(found.price),
        "levels": spec.num,
        "cells": spec.num - 1,
        "mode": spec.mode.value,
        "type": spec.kind.value,
        "lower": plain(spec.levels[0]),
        "upper": plain(spec.levels[-1]),
        "width": plain(found.width),
        "width_percent": _ratio(found.width_percent),
        "step": _pair(found.step),
        "step_percent": _pair(found.step_percent, _ratio),
        "quantity": plain(spec.quantity),
        "profit_per_cell": _pair(found.profit),
        "profit_per_cell_percent": _pair(found.profit_percent, _ratio),
        "cells_below_twice_fees": found.thin_cells,
        "order_notional": _pair(found.notional),
        "min_notional": plain(instrument.min_notional),
        "orders_now": found.orders_now,
        "orders_at_most": found.most_orders,
        "order_limit": found.order_limit,
        "leverage": plain(found.leverage),
        "margin_worst_case": plain(found.margin),
        "available": plain(found.available),
        "margin_used": plain(found.used),
        "others_on_account": [
            {
                "instance_id": other.instance_id,
                "symbol": other.symbol,
                "margin_worst_case": plain(other.worst),
                "margin_used": plain(other.used),
                "margin_remaining": plain(other.remaining),
            }
            for other in found.others
        ],
        "position": plain(found.position),
        "worst_case": {"long": _side(found.long), "short": _side(found.short)},
        "liquidation": {
            "now": _tick(found.liquidation_now, instrument),
            "worst_case_falling": _tick(found.worst.falling, instrument),
            "worst_case_rising": _tick(found.worst.rising, instrument),
        },
        "stop_loss": _or_none(found.stop_loss),
        "take_profit": _or_none(found.take_profit),
        "worst_loss_in_range": plain(found.worst_loss),
        "cost_of_leaving_at_once": plain(found.entry_cost),
        "cells_to_take_profit": found.cells_to_profit,
        "boundary_action": found.boundary_action,
        "moves_per_hour": found.moves_per_hour,
        "breach_below": plain(found.breach.low),
        "breach_above": plain(found.breach.high),
    }


def _pair(span: Range, write: Callable[[Decimal], str] = plain) -> dict[str, str]:
    return {"min": write(span.low), "max": write(span.high)}


def _ratio(value: Decimal) -> str:
    return plain(value.quantize(Decimal("1E-8")))


def _side(side: Holding) -> dict[str, str | int]:
    return {
        "quantity": plain(side.quantity),
        "orders": side.orders,
        "cost": plain(side.cost),
        "margin": plain(side.margin),
        "loss_at_bound": plain(side.loss),
    }


def _tick(price: Decimal | None, instrument: Instrument) -> str | None:
    return None if price is None else plain(instrument.round_price(price))


def _or_none(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)
