"""Small classes that keep the contract of core/ports.py toward the web room, and a served instance.

`FakeBot` is View and Commands in one: a grid that really moves when it is adjusted, so that a test
can ask whether a refused request left everything as it was. `FakeHistory` pages as the port says.
`Served` runs the real server on a port of its own.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.client import HTTPConnection
from typing import Any

from free_ports import free_port

from core.model import (
    AdjustGrid,
    Balance,
    Check,
    Command,
    CommandResult,
    EquitySample,
    Fill,
    GridMode,
    GridType,
    GridView,
    LevelView,
    Order,
    OrderStatus,
    Outcome,
    Pause,
    PnL,
    Quote,
    Resume,
    RunState,
    Secret,
    Side,
    Snapshot,
    StopBot,
)
from web.server import WebApp, WebServer, create_app
from web.settings import WebSettings

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DEADLINE_S = 10.0


def make_fill(index: int, **changes: Any) -> Fill:
    """A fill whose every field follows from its index."""
    side = Side.BUY if index % 2 == 0 else Side.SELL
    fill = Fill(
        trade_id=f"t{index}",
        venue_order_id=f"v{index}",
        client_order_id=f"c{index}",
        symbol="SOL_USDC_PERP",
        side=side,
        price=Decimal("140.00") + Decimal(index % 20),
        quantity=Decimal("0.500"),
        fee=Decimal("0.01400"),
        fee_asset="USDC",
        is_maker=True,
        time=START + timedelta(seconds=30 * index),
    )
    return replace(fill, **changes)


def make_order(index: int, **changes: Any) -> Order:
    """A resting order whose every field follows from its index."""
    order = Order(
        client_order_id=f"c{index}",
        symbol="SOL_USDC_PERP",
        side=Side.BUY if index < 10 else Side.SELL,
        price=Decimal("140.00") + Decimal(index),
        quantity=Decimal("0.500"),
        status=OrderStatus.NEW,
        created_at=START,
        updated_at=START,
        venue_order_id=f"v{index}",
        post_only=True,
        slot=f"entry:{index}",
    )
    return replace(order, **changes)


def make_levels(lower: Decimal, upper: Decimal, num: int, price: Decimal) -> tuple[LevelView, ...]:
    """An arithmetic grid around a price: entries, some exits, some dormant cells, one hole."""
    step = (upper - lower) / (num - 1)
    hole = round((price - lower) / step)
    levels = []
    for index in range(num):
        level_price = (lower + step * index).quantize(Decimal("0.01"))
        dormant = index in {0, num - 1}
        side = None if dormant or index == hole else Side.BUY if index < hole else Side.SELL
        levels.append(
            LevelView(
                index=index,
                price=level_price,
                side=side,
                role=None if side is None else "exit" if 0 < index - hole <= 3 else "entry",
                quantity=None if side is None else Decimal("0.500"),
                dormant=dormant,
            )
        )
    return tuple(levels)


def make_snapshot(**changes: Any) -> Snapshot:
    """A running paper instance in the middle of its range, with exact and uneven figures."""
    price = Decimal("150.07")
    lower, upper, num = Decimal("140"), Decimal("160"), 21
    snapshot = Snapshot(
        seq=1,
        instance_id="bp_sol_01",
        exchange="backpack",
        mode="paper",
        symbol="SOL_USDC_PERP",
        strategy="perp_grid",
        state=RunState.RUNNING,
        started_at=START,
        time=START + timedelta(hours=30),
        quote=Quote(
            symbol="SOL_USDC_PERP", bid=price, ask=price, last=price, mark=price, time=START
        ),
        grid=GridView(
            lower=lower,
            upper=upper,
            num=num,
            cells=num - 1,
            mode=GridMode.ARITHMETIC,
            type=GridType.NEUTRAL,
            quantity=Decimal("0.500"),
            version=1,
        ),
        levels=make_levels(lower, upper, num, price),
        position=Decimal("1.500"),
        entry_price=Decimal("149.123456789"),
        liquidation_price=Decimal("61.33"),
        pnl=PnL(
            grid=Decimal("128.4730125"),
            trend=Decimal("-3.20"),
            unrealized=Decimal("1.4198148165"),
            fees=Decimal("9.870112"),
            open_fees=Decimal("0.0447"),
            funding=Decimal("-0.612"),
        ),
        balance=Balance(
            asset="USDC",
            wallet=Decimal("100124.6163125"),
            equity=Decimal("100126.0361273165"),
            available=Decimal("99901.00"),
        ),
        open_orders=tuple(make_order(index) for index in range(18)),
        recent_fills=tuple(make_fill(index) for index in range(180, 200)),
        fill_count=200,
        closed_cells=96,
        grid_apr=Decimal("37.51"),
        total_apr=Decimal("36.87"),
        checks=(
            Check(name="exchange", ok=True, age_s=0.4, detail="answered"),
            Check(name="feed", ok=True, age_s=1.2, detail="price is fresh"),
        ),
    )
    return replace(snapshot, **changes)


class FakeBot:
    """View and Commands over one snapshot; `answer` overrides the outcome of the next commands."""

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self._snapshot = snapshot or make_snapshot()
        self.commands: list[Command] = []
        self.answer: CommandResult | Exception | None = None
        self.before_answer: Callable[[], None] | None = None
        self.notify: Callable[[], None] = lambda: None

    def __call__(self) -> Snapshot:
        return self._snapshot

    def publish(self, **changes: Any) -> Snapshot:
        """Publish a changed snapshot as the engine does."""
        self._snapshot = replace(self._snapshot, seq=self._snapshot.seq + 1, **changes)
        self.notify()
        return self._snapshot

    def submit(self, command: Command, timeout_s: float) -> CommandResult:
        assert timeout_s > 0
        self.commands.append(command)
        if self.before_answer is not None:
            self.before_answer()
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            return self.answer
        return self._carry_out(command)

    def _carry_out(self, command: Command) -> CommandResult:
        match command:
            case AdjustGrid():
                return self._adjust(command)
            case Pause():
                self.publish(state=RunState.PAUSED)
                return CommandResult(outcome=Outcome.DONE, message="entries are paused")
            case Resume():
                self.publish(state=RunState.RUNNING)
                return CommandResult(outcome=Outcome.DONE, message="entries are resumed")
            case StopBot():
                self.publish(state=RunState.STOPPING)
                return CommandResult(outcome=Outcome.DONE, message="stopping")

    def _adjust(self, command: AdjustGrid) -> CommandResult:
        grid = self._snapshot.grid
        assert grid is not None
        lower, upper = command.lower or grid.lower, command.upper or grid.upper
        num = command.grid_num or grid.num
        if lower >= upper:
            return CommandResult(
                outcome=Outcome.INVALID,
                message=f"grid_lower_price: was {lower}, expected less than {upper}",
            )
        data: Mapping[str, object] = {
            "grid_lower_price": lower,
            "grid_upper_price": upper,
            "grid_num": num,
            "dry_run": command.dry_run,
            "kept": [
                {"side": "BUY", "price": Decimal(141 + i), "quantity": Decimal("0.500")}
                for i in range(12)
            ],
            "cancelled": [{"side": "SELL", "price": Decimal("160"), "quantity": Decimal("0.500")}],
            "placed": [{"side": "BUY", "price": lower, "quantity": Decimal("0.500")}],
            "dormant_cells": [0, num - 2],
            "carried": [],
            "position": self._snapshot.position,
            "warnings": [],
        }
        if not command.dry_run:
            assert self._snapshot.quote is not None
            self.publish(
                grid=replace(
                    grid, lower=lower, upper=upper, num=num, cells=num - 1, version=grid.version + 1
                ),
                levels=make_levels(lower, upper, num, self._snapshot.quote.last),
            )
        message = "this is what it would do" if command.dry_run else "the new grid rests"
        return CommandResult(outcome=Outcome.DONE, message=message, data=data)


class FakeHistory:
    """Newest first, `before` exclusive, `next_before` None at the end."""

    def __init__(self, fills: int = 200, samples: int = 200) -> None:
        self.all_fills = tuple(make_fill(index) for index in range(fills))
        self.all_orders = tuple(
            make_order(index, status=OrderStatus.NEW if index < 18 else OrderStatus.FILLED)
            for index in range(25)
        )
        self.all_samples = tuple(
            EquitySample(
                time=START + timedelta(minutes=9 * index),
                price=Decimal("150") + Decimal(((index * 37) % 101) - 50) / 10,
                position=Decimal("1.5"),
                pnl=PnL(grid=Decimal(index) / 2),
                equity=Decimal(100_000) + Decimal(index),
            )
            for index in range(samples)
        )
        self.largest_fetch = 0
        self.fault: Exception | None = None

    def orders(
        self, limit: int, before: int | None, *, open_only: bool
    ) -> tuple[tuple[Order, ...], int | None]:
        wanted = tuple(
            order for order in self.all_orders if not open_only or not order.status.is_terminal
        )
        return self._page(wanted, limit, before)

    def fills(self, limit: int, before: int | None) -> tuple[tuple[Fill, ...], int | None]:
        return self._page(self.all_fills, limit, before)

    def equity(self, limit: int, before: int | None) -> tuple[tuple[EquitySample, ...], int | None]:
        return self._page(self.all_samples, limit, before)

    def _page(
        self, rows: tuple[Any, ...], limit: int, before: int | None
    ) -> tuple[tuple[Any, ...], int | None]:
        if self.fault is not None:
            raise self.fault
        self.largest_fetch = max(self.largest_fetch, limit)
        end = len(rows) if before is None else min(before - 1, len(rows))
        start = max(0, end - limit)
        return tuple(reversed(rows[start:end])), start + 1 if start > 0 else None


class ListLog:
    """A log that keeps its lines for a test to read."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, object]]] = []

    def info(self, event: str, /, **fields: object) -> object:
        return self.lines.append(("info", event, fields))

    def warning(self, event: str, /, **fields: object) -> object:
        return self.lines.append(("warning", event, fields))

    def error(self, event: str, /, **fields: object) -> object:
        return self.lines.append(("error", event, fields))


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Served:
    """One instance served by the real server, and the means to talk to it."""

    def __init__(
        self,
        bot: FakeBot | None = None,
        history: FakeHistory | None = None,
        **settings: Any,
    ) -> None:
        self.bot = bot or FakeBot()
        self.history = history or FakeHistory()
        self.log = ListLog()
        self.server = WebServer("127.0.0.1", free_port(), self.log)
        port = self.server.bind()
        values: dict[str, Any] = {
            "instance_id": "bp_sol_01",
            "host": "127.0.0.1",
            "port": port,
            "log": self.log,
            **settings,
        }
        self.settings = WebSettings(**values)
        self.app: WebApp = create_app(self.bot, self.bot, self.history, self.settings)
        self.bot.notify = self.app.publisher.notify
        self.server.start(self.app)
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        self.server.stop()

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, headers=headers)

    def post(self, path: str, body: object = None, **headers: str) -> Answer:
        """POST a JSON document, or the given bytes as they are."""
        given = {"Content-Type": "application/json", **headers}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request("POST", path, data, given)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send exactly these headers, `_` for `-` in their names; Host is ours unless given."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            given = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
            connection.putrequest(
                method, path, skip_host="Host" in given, skip_accept_encoding=True
            )
            for name, value in given.items():
                connection.putheader(name, value)
            if body is not None and "Content-Length" not in given:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            lowered = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, lowered, response.read())
        finally:
            connection.close()

    def raw(self, data: bytes, timeout_s: float = DEADLINE_S) -> bytes:
        """Send bytes and read until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s) as sock:
            sock.sendall(data)
            received = b""
            while chunk := sock.recv(65536):
                received += chunk
            return received


@contextmanager
def serving(**arguments: Any) -> Iterator[Served]:
    """Serve one instance for the length of a block."""
    served = Served(**arguments)
    try:
        yield served
    finally:
        served.stop()


def wait_until(condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Wait for a condition with a deadline; the message tells what did not come true."""
    end = time.monotonic() + deadline_s
    pause = threading.Event()
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s} s: {what}")
        pause.wait(0.01)


def secret(text: str = "a-long-token-for-tests") -> Secret:
    return Secret(text)
