"""The limits of the symbol as the ledger keeps them, for a start while the exchange tells none.

A symbol that was settled or taken off the list has no limits to ask for any more; a bot that holds
lots of it must come up all the same, with its entries frozen. Engine thread only.
"""

from __future__ import annotations

import json
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from typing import Any

from core.errors import AuthError, Rejected, UnknownSymbol
from core.model import Instrument
from strategies.session import Session

KEY = "instrument"


def fetch_instrument(session: Session) -> Instrument:
    """Ask for the limits and keep them; where a closed market has none, take those that were kept.

    Errors: ExchangeError, StoreError; UnknownSymbol for a symbol that was never traded here.
    """
    symbol = session.settings.symbol
    try:
        found = session.client.fetch_instrument(symbol)
    except AuthError:
        raise
    except (UnknownSymbol, Rejected) as error:
        kept = _load(session, symbol)
        if kept is None or session.market.state.takes_exits:
            raise
        session.log("instrument_kept", symbol=symbol, error=str(error))
        return kept
    text = encode(found)
    if session.store.load_meta(KEY) != text:
        session.store.save_meta(KEY, text)
    return found


def _load(session: Session, symbol: str) -> Instrument | None:
    kept = session.store.load_meta(KEY)
    found = None if kept is None else decode(kept)
    return found if found is not None and found.symbol == symbol else None


def encode(instrument: Instrument) -> str:
    """Write it as JSON; decimals as text."""
    values = {field.name: getattr(instrument, field.name) for field in fields(instrument)}
    return json.dumps(
        {name: str(v) if isinstance(v, Decimal) else v for name, v in values.items()},
        sort_keys=True,
    )


def decode(text: str) -> Instrument | None:
    """Read back what `encode` wrote; None for what another version wrote."""
    try:
        values = json.loads(text)
        typed: dict[str, Any] = {
            field.name: Decimal(values[field.name])
            if "Decimal" in str(field.type) and values[field.name] is not None
            else values[field.name]
            for field in fields(Instrument)
        }
    except (ValueError, TypeError, KeyError, InvalidOperation):
        return None
    return Instrument(**typed)
