"""A grid in a small world: the real engine and ledger over the scripted exchange.

`World` boots an engine, moves the price with the engine reacting at every level (`go`) or before
it can react (`jump`), and writes the orders that rest as GRID.md writes them: `SELL 105[c]` closes,
`SELL 105[k]` closes a carried lot.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from fakes import FakeClock, FakeExchange

from core.model import (
    AdjustGrid,
    Command,
    CommandResult,
    GridMode,
    GridType,
    Instrument,
    LotsPolicy,
    Order,
    PnL,
    RunState,
    Side,
    StopBot,
)
from core.ports import IdReserve, Store
from database.db import Database
from strategies import ending
from strategies.engine import Engine
from strategies.grid_state import GridState, pnl
from strategies.inbox import Ticket
from strategies.journal import Book
from strategies.settings import EngineSettings, GridRequest

D = Decimal
SYMBOL = "BTCUSDT"
OWN = "bt-"
MAX_STEPS = 400


def make_instrument(
    tick: str = "1",
    lot: str = "0.001",
    fee: str = "0.0002",
    *,
    min_notional: str = "0",
    min_quantity: str | None = None,
) -> Instrument:
    return Instrument(
        symbol=SYMBOL,
        base_asset="BTC",
        quote_asset="USDT",
        tick_size=D(tick),
        lot_size=D(lot),
        min_quantity=D(min_quantity or lot),
        min_notional=D(min_notional),
        maker_fee=D(fee),
        taker_fee=D(fee),
    )


def make_settings(
    lower: int | str = 100,
    upper: int | str = 110,
    num: int = 11,
    *,
    kind: GridType = GridType.NEUTRAL,
    mode: GridMode = GridMode.ARITHMETIC,
    quantity: str | None = "1",
    max_position: int | str | None = None,
    open_initial: bool = False,
    trigger: int | str | None = None,
    **rest: Any,
) -> EngineSettings:
    request = GridRequest(
        lower=D(lower),
        upper=D(upper),
        num=num,
        mode=mode,
        kind=kind,
        quantity=None if quantity is None else D(quantity),
        max_position=None if max_position is None else D(max_position),
        open_initial=open_initial,
        trigger_price=None if trigger is None else D(trigger),
    )
    return EngineSettings(
        instance_id="t", exchange="fake", mode="paper", symbol=SYMBOL, grid=request, **rest
    )


class Ids:
    """Client order ids that name their bot."""

    capacity: int | None = None

    def make(self, number: int) -> str:
        return f"{OWN}{number}"

    def owns(self, client_order_id: str) -> bool:
        return client_order_id.startswith(OWN)


class World:
    """One engine on one scripted exchange; `crash` and `boot` put another one in its place."""

    def __init__(
        self,
        settings: EngineSettings,
        start: int | str,
        *,
        instrument: Instrument | None = None,
        store: Store | None = None,
        reserve: Callable[[], IdReserve] | None = None,
        boot: bool = True,
    ) -> None:
        self.settings = settings
        self.clock = FakeClock()
        self.exchange = FakeExchange(instrument or make_instrument(), D(start), self.clock)
        self.store: Store = store or Database(":memory:")
        self.make_reserve = reserve  # of each engine anew
        self.log: list[tuple[str, dict[str, object]]] = []
        self.after_step: Callable[[], None] | None = None
        self.engine = self._new_engine()
        if boot:
            self.boot()

    # Life ---------------------------------------------------------------------------------------

    def _new_engine(self) -> Engine:
        return Engine(
            settings=self.settings,
            client=self.exchange,
            feed=self.exchange,
            store=self.store,
            clock=self.clock,
            ids=Ids(),
            log=self._log,
            wait=self.clock.advance,
            reserve=None if self.make_reserve is None else self.make_reserve(),
        )

    def _log(self, event: str, **fields: object) -> None:
        self.log.append((event, fields))

    def boot(self) -> World:
        """Start the engine and let it come to rest."""
        self.engine.load()
        self.exchange.start(self.engine.inbox.post)
        return self.settle()

    def crash(self) -> None:
        """Lose the process and everything that was on its way to it."""
        self.exchange.stop()
        self.exchange.outbox.clear()
        self.exchange.on_call = None

    def restart(self, settings: EngineSettings | None = None) -> World:
        """Crash, and start a new engine on the same ledger and exchange."""
        self.crash()
        self.settings = settings or self.settings
        self.engine = self._new_engine()
        return self.boot()

    def stop(self, **options: Any) -> int:
        """Stop as `Engine.run` does at its end; gives the orders that may be left."""
        request = StopBot(**options)
        ticket = self.engine.inbox.post_command(request)
        self.engine.step(0.0)
        assert ticket.result is not None
        assert self.engine.stop_request is not None
        return ending.shut_down(self.engine, self.engine.stop_request)

    # Time ---------------------------------------------------------------------------------------

    def step(self) -> None:
        self.engine.step(0.0)
        if self.after_step is not None:
            self.after_step()

    def settle(self, patience_s: float = 0.0) -> World:
        """Step until nothing moves any more; wait up to `patience_s` for what needs time."""
        exchange, waited = self.exchange, 0.0
        for _ in range(MAX_STEPS):
            before = len(exchange.requests), len(exchange.fills)
            self.step()
            moved = (len(exchange.requests), len(exchange.fills)) != before
            if moved or (exchange.outbox and self.engine.synced):
                continue
            if waited >= patience_s and (self.engine.synced or not exchange.outbox):
                return self
            self.clock.advance(0.25)
            waited += 0.25
        raise AssertionError(f"does not come to rest: {exchange.requests[-20:]}")

    def go(self, *prices: int | str | Decimal) -> World:
        """Move the price, the engine reacting at every level in the way."""
        for price in prices:
            for _ in self.exchange.walk(price):
                self.clock.advance(0.01)
                self.settle()
        return self

    def jump(self, price: int | str | Decimal) -> World:
        """Move the price before the engine can react, then let it."""
        self.exchange.jump(price)
        return self.settle()

    def post(self, command: Command) -> Ticket:
        return self.engine.inbox.post_command(command)

    def do(self, command: Command, patience_s: float = 0.0) -> CommandResult:
        """Give a command and wait for its answer."""
        ticket = self.engine.inbox.post_command(command)
        self.settle(patience_s)
        assert ticket.result is not None, "not answered"
        return ticket.result

    def adjust(
        self,
        lower: int | str | None = None,
        upper: int | str | None = None,
        num: int | None = None,
        *,
        lots: LotsPolicy = LotsPolicy.CARRY,
        dry_run: bool = False,
    ) -> CommandResult:
        return self.do(
            AdjustGrid(
                lower=None if lower is None else D(lower),
                upper=None if upper is None else D(upper),
                grid_num=num,
                lots=lots,
                dry_run=dry_run,
            )
        )

    # What is ------------------------------------------------------------------------------------

    @property
    def grid(self) -> GridState:
        grid = self.engine.book.grid
        assert grid is not None
        return grid

    @property
    def book(self) -> Book:
        return self.engine.book

    @property
    def pnl(self) -> PnL:
        return pnl(self.grid, self.exchange.last)

    def is_in(self, state: RunState) -> bool:
        return self.engine.state is state

    def slot(self, order: Order) -> str:
        known = self.store.load_order(order.client_order_id)
        return "" if known is None else known.slot

    def own(self) -> list[Order]:
        return [o for o in self.exchange.open if o.client_order_id.startswith(OWN)]

    def orders(self) -> str:
        """What rests, as GRID.md writes it, by price: `BUY 100 101; SELL 103[c] 104`."""
        words: dict[Side, list[str]] = {Side.BUY: [], Side.SELL: []}
        for order in sorted(self.own(), key=lambda o: (o.price, self.slot(o))):
            slot = self.slot(order)
            mark = "[k]" if slot.startswith("k") else "[c]" if ".x" in slot else ""
            size = "" if order.leaves_qty == 1 else f"*{order.leaves_qty}"
            words[order.side].append(f"{order.price}{mark}{size}")
        return "; ".join(f"{side.value} {' '.join(w)}" for side, w in words.items() if w)

    def asked(self) -> list[str]:
        """The requests since the last look, in order."""
        requests, self.exchange.requests = self.exchange.requests, []
        return requests

    def lots(self) -> dict[str, str]:
        """What is held: level of entry by cell, e.g. `102: 1` long, `-104: 1` short."""
        grid, found = self.grid, {}
        for i, cell in enumerate(grid.cells):
            if cell.lot:
                at = grid.spec.levels[i if cell.side is Side.BUY else i + 1]
                total = sum(part.quantity for part in cell.lot)
                found[f"{'' if cell.side is Side.BUY else '-'}{at}"] = str(total)
        return found

    def alerts(self) -> str:
        return "\n".join(self.engine.alerts)

    def severity_of(self, words: str) -> str:
        """The severity of the last alert that says this; it must have come."""
        told = [fields for event, fields in self.log if event == "alert"]
        return str([one["severity"] for one in told if words in str(one["message"])][-1])
