"""What an audit found, in words a trader reads; pure. JSON has them in English, as all of it."""

from __future__ import annotations

from core.i18n import Tell
from strategies.findings import Difference, Kind

FIELDS = {
    "side": "side",
    "price": "price",
    "quantity": "quantity",
    "filled": "quantity filled",
    "status": "status",
    "fee": "fee",
    "fee_asset": "fee's asset",
    "is_maker": "maker",
    "time": "time",
    "venue_order_id": "exchange's order id",
    "client_order_id": "client order id",
    "rate": "rate",
    "mark_price": "mark price",
    "position": "position",
    "amount": "amount",
    "slot": "slot",
}
"""A field's name as a reader knows it."""

CHECKPOINT_UNREADABLE = "checkpoint of entry {subject}: {field}"

WORDS = {
    Kind.ORDER_ONLY_ON_EXCHANGE: (
        "order {subject} ({what}): rests on the exchange ({exchange}), not in the ledger ({ledger})"
    ),
    Kind.ORDER_ONLY_IN_LEDGER: (
        "order {subject} ({what}): {ledger} in the ledger, not on the exchange ({exchange})"
    ),
    Kind.ORDER: "order {subject} ({what}): {field}: ledger {ledger}, exchange {exchange}",
    Kind.FILL_ONLY_ON_EXCHANGE: (
        "fill {subject} ({what}) of order {field}: on the exchange, missing in the ledger"
    ),
    Kind.FILL_ONLY_IN_LEDGER: (
        "fill {subject} ({what}) of order {field}: in the ledger, unknown to the exchange"
    ),
    Kind.FILL: "fill {subject} ({what}): {field}: ledger {ledger}, exchange {exchange}",
    Kind.FUNDING_ONLY_ON_EXCHANGE: (
        "funding of {subject}: the exchange booked {exchange}, the ledger has none"
    ),
    Kind.FUNDING_ONLY_IN_LEDGER: (
        "funding of {subject}: the ledger has {ledger}, the exchange booked none"
    ),
    Kind.FUNDING: "funding of {subject}: {field}: ledger {ledger}, exchange {exchange}",
    Kind.POSITION: "position: ledger {ledger}, exchange {exchange}",
    Kind.EQUITY: (
        "equity: the fills and payments come to {ledger}, the exchange's account is {exchange}"
    ),
    Kind.JOURNAL: "journal entry {subject} cannot be applied: {field}",
    Kind.CHECKPOINT: (
        "checkpoint of entry {subject}: {field}: it has {ledger}, the journal says {expected}"
    ),
    Kind.FILL_NOT_IN_JOURNAL: "fill {subject} ({what}): no journal entry of it",
    Kind.FILL_ONLY_IN_JOURNAL: "fill {subject} ({what}): in the journal, not among the fills",
    Kind.FILL_JOURNAL: (
        "fill {subject} ({what}): {field}: the fills have {ledger}, the journal {expected}"
    ),
    Kind.FILL_TWICE: "fill {subject} ({what}): twice in the ledger",
    Kind.FILL_WITHOUT_ORDER: "fill {subject} ({what}): its order {field} is not in the ledger",
    Kind.FILL_ORDER: "fill {subject}: is {ledger}, its order {field} is {expected}",
    Kind.FUNDING_TWICE: "funding of {subject}: twice in the ledger ({ledger})",
    Kind.ORDER_FILLED: (
        "order {subject} ({what}): filled {ledger} in the ledger, its fills add up to {expected}"
    ),
    Kind.ORDER_STATUS: (
        "order {subject} ({what}): {ledger} in the ledger, by its fills it is {expected}"
    ),
    Kind.SLOT_TWICE: "order {subject} ({what}): order {ledger} works in the same slot {field}",
    Kind.LOTS: "lots: the cells hold {ledger}, the fills add up to {expected}",
    Kind.FEES: "fees: {ledger} is booked, the fills paid {expected}",
    Kind.FUNDING_SUM: "funding: {ledger} is booked, the payments add up to {expected}",
    Kind.PNL: "profit: {ledger} is booked, the fills and payments come to {expected}",
}


def say(found: Difference, tell: Tell) -> str:
    """Put one difference into words."""
    text = WORDS[found.kind]
    if found.kind is Kind.CHECKPOINT and found.ledger is None:
        text = CHECKPOINT_UNREADABLE
    return tell(
        text,
        subject=found.subject,
        what=found.what,
        field=tell(FIELDS.get(found.field, found.field)),
        ledger=found.ledger,
        exchange=found.exchange,
        expected=found.expected,
    )
