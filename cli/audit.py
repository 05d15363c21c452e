"""`instance_cli audit ID`: the ledger against the exchange, to the last digit (CONTRACT 4).

0 equal, 1 different, 3 could not compare. The bot may trade on: the ledger is read in one read
transaction that blocks nobody, nothing is written anywhere, and what differs only because it was in
flight is looked at again before it is called a difference. A paper exchange's own books stand in
the same file and are read at the same instant; a live one is asked through its client.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.audit_words import say
from cli.instance_lookup import config_of, find_records
from core.console import Console
from core.errors import ConfigError, GridfleetError, StoreError
from core.i18n import Tell, english, t
from core.masking import escape_controls, mask_text
from core.paths import check_name
from strategies.audit import Look, compare, confirm
from strategies.findings import Difference, ExchangeSide, LedgerSide
from strategies.grid_math import plain

if TYPE_CHECKING:
    from core.config import InstanceConfig
    from core.model import Order
    from core.ports import ExchangeClient
    from database.reading import LedgerReader, PaperReader

EQUAL, DIFFERENT, NOT_COMPARED = 0, 1, 3

PAUSES_S = (0.3, 0.7, 1.0, 2.0, 3.0)
"""Before each further look at a bot that runs; none is needed when the first finds nothing."""

OVERLAP = timedelta(seconds=1)
"""How far before the grid's first moment the exchange's fills are asked for."""

Document = dict[str, Any]


def audit(instance_id: str, root: Path, console: Console) -> int:
    """Compare and print; gives the exit code. Errors: ConfigError for what is no id."""
    check_name(instance_id)
    try:
        found = collect(instance_id, root)
    except (GridfleetError, OSError) as error:
        faults = error.faults if isinstance(error, ConfigError) else (str(error),)
        return _not_compared(instance_id, mask_text("; ".join(faults)), console)
    except Exception as error:  # a bug of ours is no difference, which is what a bare 1 would say
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}"
        return _not_compared(instance_id, mask_text(reason), console)
    if console.as_json:
        console.emit(document_of(found))
    else:
        _print(found, console)
    if console.unsaid is not None and not found.differences:
        return NOT_COMPARED  # it could not be told; a bare failure's 1 would say "different"
    return found.exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """What an audit ended with: the last look, and the differences that stood in every one."""

    config: InstanceConfig
    is_running: bool
    counts: Mapping[str, int]
    looks: int
    last: Look
    differences: tuple[Difference, ...]
    history_from: datetime | None = None

    @property
    def exit_code(self) -> int:
        return DIFFERENT if self.differences else EQUAL


def collect(instance_id: str, root: Path) -> Audited:
    """Look until all is equal or the differences stand.

    Errors: GridfleetError or OSError with the reason why it could not be compared.
    """
    record = find_records(root, instance_id)[0]
    is_running = record["bot_pid"] is not None
    may_move = is_running or record["is_alive"]  # a supervisor brings its bot back
    config = config_of(instance_id, root, record)
    db_path = Path(record.get("db_path") or root / "database" / f"{instance_id}.db")
    looks: list[Look] = []
    with _Sides(config, db_path, root) as sides:
        for pause in (0.0, *(PAUSES_S if may_move else ())):
            time.sleep(pause)
            looks.append(sides.look())
            if not confirm(looks):
                break
    return Audited(
        config=config,
        is_running=is_running,
        counts=sides.counts,
        looks=len(looks),
        last=looks[-1],
        differences=confirm(looks),
        history_from=sides.history_from,
    )


class _Sides:
    """Where both sides are read from. A live client is opened once, paper at every look anew."""

    def __init__(self, config: InstanceConfig, db_path: Path, root: Path) -> None:
        from cli.bot_wiring import client_ids

        self.config = config
        self.counts: dict[str, int] = {}
        self.history_from: datetime | None = None  # where ended orders were compared
        self._db_path = db_path
        self._root = root
        ids = client_ids(config)
        self._owns, self._do_ids_repeat = ids.owns, ids.capacity is not None
        self._live: ExchangeClient | None = None
        self._history_from: datetime | None = None

    def __enter__(self) -> _Sides:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.close()

    def look(self) -> Look:
        """Read both sides and compare them. Errors: StoreError, ConfigError, ExchangeError."""
        from cli.bot_wiring import HISTORY_KEY
        from database.reading import LedgerReader

        with LedgerReader(self._db_path) as reader:
            owner = reader.meta("instance_id")
            if owner != self.config.instance_id:
                raise StoreError(
                    f"{self._db_path}: belongs to instance {owner!r}, not to "
                    f"{self.config.instance_id!r}"
                )
            since = reader.meta(HISTORY_KEY)
            self._history_from = None if since is None else datetime.fromisoformat(since)
            ledger = _read_ledger(reader, do_ids_repeat=self._do_ids_repeat)
            if self.config.is_paper:
                with self._paper(reader) as (client, initial):
                    exchange = self._read_exchange(client, ledger, initial)
        if not self.config.is_paper:  # the reader is closed: nothing waits for the network
            exchange = self._read_exchange(self._client(), ledger, None)
        self.counts = {
            "orders": len(ledger.orders),
            "open_orders": sum(not order.status.is_terminal for order in ledger.orders),
            "fills": len(ledger.fills),
            "funding": len(ledger.funding),
            "journal": len(ledger.events),
        }
        return compare(ledger, exchange, self._owns)

    def _client(self) -> ExchangeClient:
        if self._live is None:
            from cli.bot_wiring import SystemClock
            from exchanges.factory import create_exchange
            from exchanges.paper_memory import MemoryPaperStore

            clock = SystemClock()
            self._live, _ = create_exchange(
                self.config,
                MemoryPaperStore(),
                clock,
                root=self._root,
                history_from=self._history_from,
                may_change=False,  # an audit only looks
            )
        return self._live

    @contextmanager
    def _paper(self, reader: LedgerReader) -> Iterator[tuple[ExchangeClient, Decimal]]:
        """Open the paper exchange at the reader's moment; with what its account began with."""
        from cli.bot_wiring import SystemClock
        from database.reading import PaperReader
        from exchanges.factory import create_exchange

        store: PaperReader = PaperReader(reader)
        account = store.load_account()
        if account is None:
            raise StoreError(
                f"{self._db_path}: the paper exchange has no account yet; start the instance once"
            )
        try:
            initial = Decimal(account["market"]["initial"])
            client, _ = create_exchange(self.config, store, SystemClock(), root=self._root)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            why = f"{type(error).__name__}: {error}"
            words = f"{self._db_path}: the paper exchange's account is damaged ({why})"
            raise StoreError(words) from error
        try:
            yield client, initial
        finally:
            client.close()

    def _read_exchange(
        self, client: ExchangeClient, ledger: LedgerSide, initial: Decimal | None
    ) -> ExchangeSide:
        """Ask everything that is compared; the fills before and after the position."""
        symbol = self.config.symbol
        seeded = next((at for _, kind, _, at in ledger.events if kind == "seed"), None)
        since = None if seeded is None else seeded - OVERLAP
        fills_before = frozenset(f.trade_id for f in client.fetch_fills(symbol, since))
        position = client.fetch_position(symbol)
        balance = None if initial is None else client.fetch_balance()
        open_orders = client.fetch_open_orders(symbol)
        resting = {order.client_order_id for order in open_orders}
        asked = [
            order.client_order_id
            for order in ledger.orders
            # A paper exchange is asked about every order: that is no request to anybody.
            if order.client_order_id not in resting
            and (initial is not None or not order.status.is_terminal)
        ]
        looked_up: dict[str, Order | None] = {
            client_id: client.fetch_order(symbol, client_id) for client_id in asked
        }
        past = None if self.config.is_paper or since is None else _history(client, symbol, since)
        self.history_from = None if past is None else past[1]
        return ExchangeSide(
            open_orders=open_orders,
            looked_up=looked_up,
            history={} if past is None else past[0],
            history_from=self.history_from,
            history_to=None if past is None else past[2],
            fills=client.fetch_fills(symbol, since),
            fills_before=fills_before,
            funding=client.fetch_funding(symbol, since),
            position=position,
            mark=client.fetch_quote(symbol).mark,
            balance=balance,
            initial_equity=initial,
        )


def _history(
    client: ExchangeClient, symbol: str, since: datetime
) -> tuple[dict[str, Order], datetime, datetime] | None:
    """Ask a live exchange for its own list of orders, and from when to when it is whole."""
    from exchanges.rest_client import RestClient

    return client.fetch_history(symbol, since) if isinstance(client, RestClient) else None


def _read_ledger(reader: LedgerReader, *, do_ids_repeat: bool) -> LedgerSide:
    return LedgerSide(
        orders=reader.orders(),
        fills=reader.fills(),
        funding=reader.funding(),
        events=reader.events(),
        checkpoint=reader.checkpoint(),
        do_ids_repeat=do_ids_repeat,
    )


# What is printed --------------------------------------------------------------------------------


def document_of(found: Audited) -> Document:
    """Write what `--json` prints: English, exact decimals as text."""
    config, last = found.config, found.last
    return {
        "instance_id": config.instance_id,
        "verdict": "different" if found.differences else "equal",
        "exit_code": found.exit_code,
        "reason": None,
        "exchange": config.exchange_name,
        "mode": config.exchange.mode,
        "symbol": config.symbol,
        "is_running": found.is_running,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "looks": found.looks,
        "compared": dict(found.counts),
        "position": {
            "ledger": None if last.position is None else plain(last.position),
            "exchange": plain(last.exchange_position),
        },
        "pnl": {part: plain(getattr(last.pnl, part)) for part in _PNL},
        "notes": _notes(found, english),
        "differences": [
            {
                "kind": difference.kind.value,
                "subject": difference.subject,
                "field": difference.field,
                "ledger": difference.ledger,
                "exchange": difference.exchange,
                "expected": difference.expected,
                "message": say(difference, english),
            }
            for difference in found.differences
        ],
    }


_PNL = ("grid", "trend", "unrealized", "fees", "open_fees", "funding", "total")


def _notes(found: Audited, tell: Tell) -> list[str]:
    """Say what a reader should know beside the differences."""
    last, notes = found.last, []
    if last.position is None:
        notes.append(tell("no grid was laid out yet: there is no position to compare"))
    if last.foreign:
        net = sum((fill.signed_quantity for fill in last.foreign), Decimal(0))
        words = "{count} fills on the symbol are not this instance's; they come to {net}"
        notes.append(tell(words, count=len(last.foreign), net=plain(net)))
    if found.history_from is not None:
        words = "orders that ended are compared with the exchange's list from {time} on"
        notes.append(tell(words, time=f"{found.history_from:%Y-%m-%d %H:%M:%SZ}"))
    if not found.config.is_paper:
        notes.append(tell("the balance is not compared: the account may have other users"))
    if found.differences and not found.is_running:
        notes.append(tell("the bot is not running: its next start takes up what happened since"))
    return notes


def _not_compared(instance_id: str, reason: str, console: Console) -> int:
    if console.as_json:
        console.emit(
            {
                "instance_id": instance_id,
                "verdict": "not compared",
                "exit_code": NOT_COMPARED,
                "reason": reason,
                "notes": [],
                "differences": [],
            }
        )
    console.complain("{id}: could not compare: {reason}", id=instance_id, reason=reason)
    return NOT_COMPARED


def _print(found: Audited, console: Console) -> None:
    name = found.config.instance_id
    for difference in found.differences:
        console.say("{id}: {words}", id=name, words=escape_controls(say(difference, t)))
    for note in _notes(found, t):
        console.say("{id}: note: {note}", id=name, note=note)
    if found.differences:
        count = len(found.differences)
        console.say("{id}: {count} differences between ledger and exchange", id=name, count=count)
        return
    console.say(
        "{id}: equal: {open_orders} open orders, {fills} fills, {funding} payments, {position}",
        id=name,
        position=plain(found.last.exchange_position),
        **found.counts,
    )
