"""`instance_cli audit`: equal, different or not compared, on a ledger that was really traded."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from audit_world import ID, Instance, make_instance

from cli import instance_cli
from cli.audit import _Sides
from cli.audit_words import WORDS
from cli.bot_wiring import SystemClock
from core.config_load import load
from core.errors import AuthError, ConfigError, ExchangeError, OutcomeUnknown, Retryable
from core.instance_manager import InstanceRegistry
from core.ports import ExchangeClient
from database.reading import LedgerReader, PaperReader
from exchanges.factory import create_exchange
from strategies.audit import compare, confirm
from strategies.findings import ExchangeSide, Kind, LedgerSide

pytestmark = pytest.mark.slow

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def traded(tmp_path_factory: pytest.TempPathFactory) -> Instance:
    """The instance that all tests copy; made once, changed never."""
    return make_instance(tmp_path_factory.mktemp("traded"))


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRID_ROOT", raising=False)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


@pytest.fixture
def instance(traded: Instance, tmp_path: Path) -> Instance:
    return traded.copy_to(tmp_path)


@pytest.fixture
def run(instance: Instance, capsys: pytest.CaptureFixture[str]) -> Run:
    def go(*words: str) -> tuple[int, str, str]:
        code = instance_cli.main(["audit", *(words or (ID,)), "--root", str(instance.root)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return go


def files_of(root: Path) -> dict[str, str]:
    """Every file of a root with a digest; SQLite's own -shm and an empty -wal left out."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.endswith(("-shm", "-wal", ".lock"))
    }


# Equal ------------------------------------------------------------------------------------------


def test_a_ledger_that_is_whole_is_equal(run: Run, instance: Instance) -> None:
    """There is something of everything, all of it is equal, and no byte was written."""
    before = files_of(instance.root)
    code, out, err = run(ID, "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["verdict"] == "equal"
    assert document["differences"] == document["notes"] == []
    compared = document["compared"]
    assert compared["fills"] >= 180
    assert min(compared.values()) >= 1, compared
    assert document["position"]["ledger"] == document["position"]["exchange"] != "0"
    assert files_of(instance.root) == before
    code, out, _ = run()
    assert code == 0
    assert f"{ID}: equal: {compared['open_orders']} open orders" in out


def test_the_figures_add_up(run: Run) -> None:
    """The accounting that it prints is the ledger's, and adds up."""
    pnl = json.loads(run(ID, "--json")[1])["pnl"]
    parts = {key: Decimal(value) for key, value in pnl.items()}
    total = parts["grid"] + parts["trend"] + parts["unrealized"] - parts["open_fees"]
    assert parts["total"] == total + parts["funding"]


def test_an_order_of_somebody_else_is_no_difference(run: Run, instance: Instance) -> None:
    """What rests under an id that is not ours is not this ledger's business."""
    columns = (
        "venue_order_id, symbol, side, price, quantity, filled_qty, status, live, post_only,"
        " reduce_only, time_in_force, slot, reason, created_at, updated_at"
    )
    instance.change(
        f"INSERT INTO paper_orders (client_order_id, {columns}) SELECT 'hand-1', {columns} "
        "FROM paper_orders WHERE live = 1 LIMIT 1"
    )
    assert run()[0] == 0


# Different --------------------------------------------------------------------------------------

A_FILL = "(SELECT id FROM {table} ORDER BY id LIMIT 1 OFFSET 40)"
LIVE = "(SELECT id FROM {table} WHERE live = 1 ORDER BY id LIMIT 1)"
DONE = "(SELECT id FROM {table} WHERE status = 'FILLED' ORDER BY id LIMIT 1 OFFSET 9)"
FILL_COLUMNS = "symbol, side, price, quantity, fee, fee_asset, is_maker, time"
ORDER_COLUMNS = (
    "symbol, side, price, quantity, filled_qty, status, live, post_only, reduce_only, "
    "time_in_force, reason, created_at, updated_at"
)
BIT = "0.00000001"


def fill(assignment: str, table: str = "fills") -> str:
    return f"UPDATE {table} SET {assignment} WHERE id = {A_FILL.format(table=table)}"


def order(assignment: str, which: str, table: str = "orders") -> str:
    return f"UPDATE {table} SET {assignment} WHERE id = {which.format(table=table)}"


def off_by(column: str) -> str:
    """Put a 1 far behind the last digit of a decimal that is stored as text: 148.42000001."""
    dot = f"CASE WHEN instr({column}, '.') THEN '' ELSE '.' END"
    return f"{column} = {column} || {dot} || '000001'"


SUBJECT_OF_FILL = f"SELECT trade_id FROM fills WHERE id = {A_FILL.format(table='fills')}"
SUBJECT_OF_LIVE = f"SELECT client_order_id FROM orders WHERE id = {LIVE.format(table='orders')}"
SUBJECT_OF_DONE = f"SELECT client_order_id FROM orders WHERE id = {DONE.format(table='orders')}"
NO_SUBJECT = "SELECT ''"
SUMS = ("order_filled", "lots", "position", "fees", "pnl")
ENTRY = "seq = (SELECT seq FROM events WHERE kind = 'fill' ORDER BY seq LIMIT 1 OFFSET 44)"

DOUBLED_PAYMENT = (
    "INSERT INTO funding (symbol, time, rate, mark_price, position, amount) "
    "SELECT symbol, time + 1, rate, mark_price, position, amount FROM funding WHERE id = 1"
)
DOUBLED_ENTRY = (
    "INSERT INTO events (kind, payload, time) "
    "SELECT kind, payload, time FROM events WHERE kind = 'funding' LIMIT 1"
)

TAMPERED: list[tuple[str, list[str], str, set[str]]] = [
    # What was changed, how, whose name must be told, and which kinds of difference must be.
    ("fill price", [fill(off_by("price"))], SUBJECT_OF_FILL, {"fill", "fill_journal", "pnl"}),
    ("fill fee", [fill(off_by("fee"))], SUBJECT_OF_FILL, {"fill", "fill_journal", "fees", "pnl"}),
    (
        "fill quantity",
        [fill(off_by("quantity"))],
        SUBJECT_OF_FILL,
        {"fill", "fill_journal", "order_filled", "lots", "position", "pnl"},
    ),
    (
        "fill side",
        [fill("side = CASE side WHEN 'BUY' THEN 'SELL' ELSE 'BUY' END")],
        SUBJECT_OF_FILL,
        {"fill", "fill_journal", "fill_order", "lots", "position", "pnl"},
    ),
    ("fill maker", [fill("is_maker = 1 - is_maker")], SUBJECT_OF_FILL, {"fill"}),
    ("fill fee asset", [fill("fee_asset = 'BNB'")], SUBJECT_OF_FILL, {"fill"}),
    ("fill time", [fill("time = time + 2000000")], SUBJECT_OF_FILL, {"fill"}),
    ("fill slot", [fill("slot = '1.e0x'")], SUBJECT_OF_FILL, {"fill_journal"}),
    ("fill's exchange id", [fill("venue_order_id = 'P0'")], SUBJECT_OF_FILL, {"fill"}),
    (
        "fill of another order",
        [fill("client_order_id = 'paper_01-999999'")],
        SUBJECT_OF_FILL,
        {"fill", "fill_without_order", "order_filled"},
    ),
    (
        "fill missing",
        [f"DELETE FROM fills WHERE id = {A_FILL.format(table='fills')}"],
        "SELECT trade_id FROM paper_fills ORDER BY id LIMIT 1 OFFSET 40",
        {"fill_only_on_exchange", "fill_only_in_journal", *SUMS},
    ),
    (
        "fill too many",
        [
            f"INSERT INTO fills (trade_id, venue_order_id, client_order_id, {FILL_COLUMNS}) SELECT "
            f"'T777777', venue_order_id, client_order_id, {FILL_COLUMNS} FROM fills WHERE id = "
            + A_FILL.format(table="fills")
        ],
        "SELECT 'T777777'",
        {"fill_only_in_ledger", "fill_not_in_journal", *SUMS},
    ),
    (
        "fill gone from the exchange",
        [f"DELETE FROM paper_fills WHERE id = {A_FILL.format(table='paper_fills')}"],
        SUBJECT_OF_FILL,
        {"fill_only_in_ledger", "position", "equity"},
    ),
    (
        "fill price on the exchange",
        [fill(off_by("price"), "paper_fills")],
        SUBJECT_OF_FILL,
        {"fill", "equity"},
    ),
    # Funding
    ("funding missing", ["DELETE FROM funding WHERE id = 1"], NO_SUBJECT,
     {"funding_only_on_exchange", "funding_sum", "pnl"}),
    ("funding amount", [f"UPDATE funding SET {off_by('amount')} WHERE id = 1"], NO_SUBJECT,
     {"funding", "funding_sum", "pnl"}),
    ("funding rate", [f"UPDATE funding SET {off_by('rate')} WHERE id = 1"], NO_SUBJECT,
     {"funding"}),
    ("funding mark", [f"UPDATE funding SET {off_by('mark_price')} WHERE id = 1"], NO_SUBJECT,
     {"funding"}),
    ("funding position", [f"UPDATE funding SET {off_by('position')} WHERE id = 1"], NO_SUBJECT,
     {"funding"}),
    (
        "funding doubled",
        [DOUBLED_PAYMENT],
        NO_SUBJECT,
        {"funding_only_in_ledger", "funding_sum", "pnl"},
    ),
    (
        "funding doubled in the journal",
        [DOUBLED_ENTRY],
        NO_SUBJECT,
        {"funding_sum", "pnl"},
    ),
    # Orders
    ("order price", [order(off_by("price"), LIVE)], SUBJECT_OF_LIVE, {"order"}),
    ("order quantity", [order(off_by("quantity"), LIVE)], SUBJECT_OF_LIVE, {"order"}),
    ("order side", [order("side = CASE side WHEN 'BUY' THEN 'SELL' ELSE 'BUY' END", LIVE)],
     SUBJECT_OF_LIVE, {"order"}),
    ("order filled", [order("filled_qty = '0.001'", LIVE)], SUBJECT_OF_LIVE,
     {"order", "order_filled", "order_status"}),
    ("order's exchange id", [order("venue_order_id = 'P0'", LIVE)], SUBJECT_OF_LIVE, {"order"}),
    ("order status", [order("status = 'CANCELED', live = 0", LIVE)], SUBJECT_OF_LIVE,
     {"order_only_on_exchange"}),
    ("order never sent", [order("status = 'PENDING'", LIVE)], SUBJECT_OF_LIVE, {"order"}),
    ("order that was filled", [order("status = 'CANCELED'", DONE)], SUBJECT_OF_DONE,
     {"order", "order_status"}),
    ("order filled too little", [order("filled_qty = '0'", DONE)], SUBJECT_OF_DONE,
     {"order", "order_filled", "order_status"}),
    (
        "order back to life",
        ["UPDATE orders SET status = 'NEW', live = 1, filled_qty = '0', slot = '' WHERE id = "
         + DONE.format(table="orders")],
        SUBJECT_OF_DONE,
        {"order_only_in_ledger", "order", "order_filled"},
    ),
    (
        "two orders in one slot",
        ["DROP INDEX orders_one_live",
         f"INSERT INTO orders (client_order_id, venue_order_id, slot, {ORDER_COLUMNS}) SELECT "
         f"'paper_01-777777', NULL, slot, {ORDER_COLUMNS} FROM orders WHERE id = "
         + LIVE.format(table="orders")],
        "SELECT 'paper_01-777777'",
        {"slot_twice", "order_only_in_ledger"},
    ),
    ("order missing", [f"DELETE FROM orders WHERE id = {LIVE.format(table='orders')}"],
     f"SELECT client_order_id FROM paper_orders WHERE id = {LIVE.format(table='paper_orders')}",
     {"order_only_on_exchange"}),
    (
        "order of a fill missing",
        ["DELETE FROM orders WHERE client_order_id = (SELECT client_order_id FROM fills WHERE id = "
         + A_FILL.format(table="fills") + ")"],
        SUBJECT_OF_FILL,
        {"fill_without_order"},
    ),
    ("order gone from the exchange",
     [f"DELETE FROM paper_orders WHERE id = {LIVE.format(table='paper_orders')}"],
     SUBJECT_OF_LIVE, {"order_only_in_ledger"}),
    ("order canceled on the exchange",
     [order("status = 'CANCELED', live = 0", LIVE, "paper_orders")],
     SUBJECT_OF_LIVE, {"order_only_in_ledger"}),
    ("order price on the exchange", [order(off_by("price"), LIVE, "paper_orders")],
     SUBJECT_OF_LIVE, {"order"}),
    (
        "order of ours that the ledger never had",
        [f"INSERT INTO paper_orders (client_order_id, venue_order_id, slot, {ORDER_COLUMNS}) "
         f"SELECT 'paper_01-888888', 'P888888', '', {ORDER_COLUMNS} FROM paper_orders WHERE id = "
         + LIVE.format(table="paper_orders")],
        "SELECT 'paper_01-888888'",
        {"order_only_on_exchange"},
    ),
    # The journal
    ("journal entry missing", [f"DELETE FROM events WHERE {ENTRY}"],
     f"SELECT CAST(seq + 1 AS TEXT) FROM events WHERE {ENTRY}", {"journal", "fill_not_in_journal"}),
    ("journal entry of no kind", [f"UPDATE events SET kind = 'gift' WHERE {ENTRY}"],
     f"SELECT CAST(seq AS TEXT) FROM events WHERE {ENTRY}", {"journal"}),
    ("journal entry unreadable", [f"UPDATE events SET payload = '{{}}' WHERE {ENTRY}"],
     f"SELECT CAST(seq AS TEXT) FROM events WHERE {ENTRY}", {"journal", "fill_not_in_journal"}),
    ("checkpoint beyond the journal", ["UPDATE checkpoint SET seq = 999999"], "SELECT '999999'",
     {"checkpoint"}),
    ("checkpoint of another entry", ["UPDATE checkpoint SET seq = seq - 1"], NO_SUBJECT,
     {"checkpoint"}),
    ("checkpoint unreadable", ["UPDATE checkpoint SET payload = '{\"grid\": 7}'"], NO_SUBJECT,
     {"checkpoint"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("statements", "subject", "kinds"),
    [case[1:] for case in TAMPERED],
    ids=[case[0].replace(" ", "-") for case in TAMPERED],
)
def test_every_changed_value_is_found_and_named(
    run: Run, instance: Instance, statements: list[str], subject: str, kinds: set[str]
) -> None:
    """One value changed: exit 1, the kinds that follow from it, the thing's own name in words."""
    name = instance.value(subject)
    instance.change(*statements)
    code, out, err = run(ID, "--json")
    assert (code, err) == (1, "")
    document = json.loads(out)
    found = document["differences"]
    assert {each["kind"] for each in found} == kinds, found
    assert any(name in each["message"] for each in found if name == each["subject"]) or not name
    assert document["verdict"] == "different"
    code, out, _ = run()
    assert code == 1
    for each in found:
        assert each["message"] in out
    assert f"{len(found)} differences" in out


def add_bit(text: str) -> str:
    return str(Decimal(text) + Decimal(BIT))


INSIDE: list[tuple[str, str, str, tuple[str | int, ...], Any, set[str]]] = [
    ("the account's position", "paper_account", "id = 1", ("market", "position"), add_bit,
     {"position", "equity"}),
    ("the account's wallet", "paper_account", "id = 1", ("market", "wallet"), add_bit, {"equity"}),
    ("the base", "events", "kind = 'seed'", ("base",), "1", {"position", "checkpoint"}),
    ("the base in the checkpoint", "checkpoint", "id = 1", ("base",), "1", {"checkpoint"}),
    ("the grid's profit", "checkpoint", "id = 1", ("grid", "totals", "grid"), add_bit,
     {"checkpoint"}),
    ("a level", "checkpoint", "id = 1", ("grid", "spec", "levels", 3), add_bit, {"checkpoint"}),
    ("a cell", "checkpoint", "id = 1", ("grid", "cells", 0, 1), lambda awake: not awake,
     {"checkpoint"}),
    ("the pause", "checkpoint", "id = 1", ("paused",), True, {"checkpoint"}),
    ("a fill in the journal", "events", "kind = 'fill' AND seq > 30", ("price",), add_bit,
     {"fill_journal", "checkpoint", "pnl"}),
    ("a slot in the journal", "events", "kind = 'fill' AND seq > 30", ("slot",), "9.e0",
     {"fill_journal", "checkpoint"}),
    ("a payment in the journal", "events", "kind = 'funding'", ("amount",), add_bit,
     {"funding_sum", "pnl"}),
    ("a fill's id in the journal", "events", "kind = 'fill' AND seq > 30", ("trade_id",), "T0",
     {"fill_only_in_journal", "fill_not_in_journal"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "where", "path", "value", "kinds"),
    [case[1:] for case in INSIDE],
    ids=[case[0].replace(" ", "-") for case in INSIDE],
)
def test_every_changed_document_is_found(
    run: Run,
    instance: Instance,
    table: str,
    where: str,
    path: tuple[str | int, ...],
    value: Any,
    kinds: set[str],
) -> None:
    """One place inside a journal entry, the checkpoint or the account: exit 1, and its place."""
    instance.change_json(table, where, path, value)
    code, out, _ = run(ID, "--json")
    found = json.loads(out)["differences"]
    assert code == 1
    assert {each["kind"] for each in found} >= kinds - {"checkpoint"}, found
    if table == "checkpoint":
        place = ".".join(str(step) for step in path).replace(".0.1", "[0][1]").replace(".3", "[3]")
        assert [(each["kind"], each["field"]) for each in found] == [("checkpoint", place)]


def test_the_words_are_a_traders(run: Run, instance: Instance) -> None:
    """Which fill of which order, what each side says; and that a stopped bot catches up."""
    trade, client, side, quantity, price = (
        instance.value(f"SELECT {column} FROM fills WHERE id = {A_FILL.format(table='fills')}")
        for column in ("trade_id", "client_order_id", "side", "quantity", "price")
    )
    instance.change(f"DELETE FROM fills WHERE trade_id = '{trade}'")
    out = run()[1]
    assert f"fill {trade} ({side} {Decimal(quantity):f} at" in out
    assert f"of order {client}: on the exchange, missing in the ledger" in out
    assert Decimal(price) > 0
    assert "note: the bot is not running" in out


def test_the_words_in_chinese_and_json_in_english(
    run: Run, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person reads their language; a program reads the same JSON everywhere."""
    instance.change(fill(off_by("price")))
    expected = json.loads(run(ID, "--json")[1])["differences"]
    monkeypatch.setenv("LC_ALL", "zh_TW.UTF-8")
    assert "成交" in run()[1]
    assert json.loads(run(ID, "--json")[1])["differences"] == expected


def test_every_kind_of_difference_has_words() -> None:
    """And each is met by a case above, or by the pure test below."""
    assert set(WORDS) == set(Kind)
    met = {kind for case in (*TAMPERED, *INSIDE) for kind in case[-1]}
    assert {kind.value for kind in Kind} - met == {"fill_twice", "funding_twice"}


# In flight --------------------------------------------------------------------------------------


def sides_of(instance: Instance) -> tuple[LedgerSide, ExchangeSide]:
    """Both sides as one look reads them."""
    config = load(instance.config_path, instance.root).config
    taken: list[tuple[LedgerSide, ExchangeSide]] = []
    sides = _Sides(config, instance.db_path, instance.root)
    real = sides._read_exchange

    def keep(client: Any, ledger: LedgerSide, initial: Decimal | None) -> ExchangeSide:
        taken.append((ledger, real(client, ledger, initial)))
        return taken[-1][1]

    sides._read_exchange = keep  # type: ignore[method-assign]  # to look at what it reads
    sides.look()
    return taken[0]


def owns(client_order_id: str) -> bool:
    return client_order_id.startswith(f"{ID}-")


def test_rows_that_stand_twice_are_found(traded: Instance) -> None:
    """The database refuses them; should it not, the audit does."""
    ledger, exchange = sides_of(traded)
    twice = replace(
        ledger,
        fills=(*ledger.fills, ledger.fills[0]),
        funding=(*ledger.funding, ledger.funding[0]),
    )
    kinds = {found.kind for found in compare(twice, exchange, owns).differences}
    assert {Kind.FILL_TWICE, Kind.FUNDING_TWICE} <= kinds


def test_what_the_next_look_finds_settled_is_no_difference(traded: Instance) -> None:
    """A fill that only the exchange has, then both: in flight. One that stays: a difference."""
    ledger, exchange = sides_of(traded)
    last, _ = ledger.fills[-1]
    behind = replace(ledger, fills=ledger.fills[:-1])
    early = compare(behind, exchange, owns)
    later = compare(ledger, exchange, owns)
    assert any(found.subject == last.trade_id for found in early.differences)
    assert confirm([early, later]) == ()
    stuck = confirm([early, early])
    assert {found.kind for found in stuck} >= {Kind.FILL_ONLY_ON_EXCHANGE, Kind.POSITION}


def test_another_fill_in_flight_at_every_look_is_no_difference(traded: Instance) -> None:
    """A fast bot always has something in flight; it is another one each time."""
    ledger, exchange = sides_of(traded)
    first = ledger.fills[-1][0]
    second = ledger.fills[-2][0]

    def without(trade_id: str) -> ExchangeSide:
        kept = tuple(fill for fill in exchange.fills if fill.trade_id != trade_id)
        return replace(exchange, fills=kept)

    looks = [compare(ledger, without(fill.trade_id), owns) for fill in (first, second)]
    assert all(look.differences for look in looks)
    assert {found.kind for found in confirm(looks)} <= {Kind.POSITION, Kind.EQUITY}


def test_a_position_between_two_readings_of_the_fills_is_equal(traded: Instance) -> None:
    """Live, the fills are asked for before and after the position: it may be of any moment."""
    ledger, exchange = sides_of(traded)
    exchange = replace(exchange, initial_equity=None)
    own = exchange.fills
    for known in range(len(own) - 3, len(own) + 1):
        before = frozenset(fill.trade_id for fill in own[:known])
        look = compare(ledger, replace(exchange, fills_before=before), owns)
        assert look.differences == ()
    last = own[-1]
    held = replace(exchange.position, quantity=exchange.position.quantity - last.signed_quantity)
    moved = replace(exchange, position=held, fills_before=frozenset(f.trade_id for f in own[:-1]))
    assert compare(ledger, moved, owns).differences == ()
    off = replace(moved, position=replace(held, quantity=held.quantity + Decimal(BIT)))
    assert [found.kind for found in compare(ledger, off, owns).differences] == [Kind.POSITION]


def test_fills_of_others_explain_a_position(traded: Instance) -> None:
    """A trade by hand on the same symbol: the position differs, and the fills are counted."""
    ledger, exchange = sides_of(traded)
    hand = replace(
        exchange.fills[-1],
        trade_id="H1",
        client_order_id="hand-1",
        venue_order_id="P999999",
        time=exchange.fills[-1].time + timedelta(seconds=1),
    )
    held = exchange.position.quantity + hand.signed_quantity
    other = replace(
        exchange,
        fills=(*exchange.fills, hand),
        position=replace(exchange.position, quantity=held),
        initial_equity=None,
    )
    look = compare(ledger, other, owns)
    assert look.foreign == (hand,)
    assert [found.kind for found in look.differences] == [Kind.POSITION]


# Not compared -----------------------------------------------------------------------------------


def garbage(instance: Instance) -> None:
    instance.db_path.write_bytes(b"no database at all" * 100)


def of_another_program(instance: Instance) -> None:
    instance.db_path.unlink()
    with closing(sqlite3.connect(instance.db_path)) as connection:
        connection.execute("CREATE TABLE t (x)")


def without_config(instance: Instance) -> None:
    instance.config_path.unlink()


def with_config(instance: Instance, section: str, **values: Any) -> None:
    document = json.loads(instance.config_path.read_text())
    document.setdefault(section, {}).update(values)
    instance.config_path.write_text(json.dumps(document))


NOT_COMPARED: list[tuple[str, Callable[[Instance], object], str]] = [
    ("no database", lambda i: i.db_path.unlink(), "there is no such database"),
    ("a folder in its place", lambda i: (i.db_path.unlink(), i.db_path.mkdir()), "no regular file"),
    ("garbage", garbage, "damaged"),
    ("another program's", of_another_program, "no database of gridfleet"),
    ("another version", lambda i: i.change("PRAGMA user_version = 99"), "schema version 99"),
    ("another instance's",
     lambda i: i.change("UPDATE meta SET value = 'x' WHERE key = 'instance_id'"), "belongs to"),
    ("a damaged number", lambda i: i.change("UPDATE fills SET price = 'abc' WHERE id = 3"),
     "a value is damaged"),
    ("a damaged document", lambda i: i.change("UPDATE events SET payload = '{' WHERE seq = 3"),
     "a value is damaged"),
    ("a table gone", lambda i: i.change("DROP TABLE funding"), "no such table"),
    ("no account", lambda i: i.change("DELETE FROM paper_account"), "no account yet"),
    ("a damaged account", lambda i: i.change("UPDATE paper_account SET payload = '{}'"),
     "account is damaged"),
    ("no config", without_config, "paper_01.json"),
    ("a faulty config", lambda i: with_config(i, "strategy_config", grid_num=1), "grid_num"),
    ("a live exchange out of reach", lambda i: with_config(i, "exchange_config", mode="live",
     api_key="k" * 44, secret_key="s" * 44, base_url="http://127.0.0.1:9"), ""),
    ("a program of one's own", lambda i: with_config(i, "daemon_config", script_path="/bin/true"),
     "a program of its own"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spoil", "said"),
    [case[1:] for case in NOT_COMPARED],
    ids=[case[0].replace(" ", "-") for case in NOT_COMPARED],
)
def test_what_cannot_be_compared_is_3(
    run: Run, instance: Instance, spoil: Callable[[Instance], object], said: str
) -> None:
    """Never 0 and never 1: the reason is told, in JSON too."""
    spoil(instance)
    code, out, err = run()
    assert (code, out) == (3, "")
    assert "could not compare" in err
    assert said in err
    code, out, err = run(ID, "--json")
    document = json.loads(out)
    assert (code, document["exit_code"], document["verdict"]) == (3, 3, "not compared")
    assert said in document["reason"]
    assert said in err


def test_a_database_that_is_locked_whole_is_3(run: Run, instance: Instance) -> None:
    """A tool that holds the file for itself is waited for shortly, then named."""
    with closing(sqlite3.connect(instance.db_path, isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        code, _, err = run()
    assert code == 3
    assert "locked" in err
    assert run()[0] == 0


def test_an_unknown_id_is_3_and_no_id_is_2(run: Run) -> None:
    """`audit` answers what it could not compare; what is no id at all is wrong usage."""
    code, out, err = run("nobody")
    assert (code, out) == (3, "")
    assert f"known: {ID}" in err
    for word in ("../x", "", "a b"):
        code, out, err = run(word)
        assert (code, out) == (2, ""), word
    assert run(ID, "more")[0] == 2
    assert run("--", "-x")[0] == 2


def test_a_fresh_instance_without_a_grid(run: Run, instance: Instance) -> None:
    """Before the first grid there is nothing to differ: 0, and it is said."""
    for table in ("fills", "funding", "orders", "paper_fills", "paper_funding", "paper_orders"):
        instance.change(f"DELETE FROM {table}")
    instance.change("DELETE FROM events", "DELETE FROM checkpoint")
    initial = "100000"
    instance.change_json("paper_account", "id = 1", ("market", "position"), "0")
    instance.change_json("paper_account", "id = 1", ("market", "cost"), "0")
    instance.change_json("paper_account", "id = 1", ("market", "wallet"), initial)
    code, out, _ = run()
    assert code == 0
    assert "no grid was laid out yet" in out


def test_the_version_last_accepted_is_compared(run: Run, instance: Instance) -> None:
    """A file that was edited since, even badly, changes nothing: the bot runs on the accepted."""
    folder = instance.root / "logs" / ID
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(instance.config_path.read_text())
    instance.config_path.write_text("{")
    assert run()[0] == 0
    assert InstanceRegistry(instance.root).get(ID) is not None


def test_words_that_find_no_room_are_no_verdict(instance: Instance) -> None:
    """Equal, but nobody could be told: 3, never the 1 that means different."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cli.instance_cli", "--root", str(instance.root), "audit", ID],
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            timeout=60,
            check=False,
        )
    assert done.returncode == 3
    assert b"No space left" in done.stderr


def test_a_bug_of_ours_is_no_difference(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody foresaw ends with 3 and its traceback."""

    def broken(*_: object) -> None:
        raise AssertionError("impossible")

    monkeypatch.setattr("cli.audit.compare", broken)
    code, _, err = run()
    assert code == 3
    assert "could not compare: AssertionError: impossible" in err
    assert "Traceback" in err


# Live -------------------------------------------------------------------------------------------


class Live:
    """Answers like a live exchange: what the paper books say, with what each test changes."""

    name = "backpack"

    def __init__(self, client: ExchangeClient) -> None:
        self._client = client
        self.asked: list[str] = []
        self.faults: dict[str, Exception] = {}
        self.is_closed = False

    def __getattr__(self, name: str) -> Any:
        def call(*values: Any) -> Any:
            self.asked.append(name)
            if name in self.faults:
                raise self.faults[name]
            return getattr(self._client, name)(*values)

        return call

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def live(
    instance: Instance, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Live]:
    """The instance is a live one; its exchange is another copy's paper books."""
    config = load(instance.config_path, instance.root).config
    other = instance.copy_to(tmp_path_factory.mktemp("exchange"))
    with LedgerReader(other.db_path) as reader:
        books, _ = create_exchange(config, PaperReader(reader), SystemClock(), root=other.root)
        client = Live(books)
        monkeypatch.setattr("exchanges.factory.create_exchange", lambda *_, **__: (client, None))
        with_config(instance, "exchange_config", mode="live", api_key="k" * 44, secret_key="s" * 44)
        yield client


def test_a_live_account_is_compared_through_its_client(
    run: Run, instance: Instance, live: Live
) -> None:
    """All but the balance, and no order is looked up one by one when all is well."""
    code, out, err = run(ID, "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["mode"] == "live"
    assert document["notes"] == ["the balance is not compared: the account may have other users"]
    assert live.is_closed
    assert {"fetch_order", "fetch_balance", "place_orders", "cancel_orders"}.isdisjoint(live.asked)
    instance.change(f"DELETE FROM fills WHERE id = {A_FILL.format(table='fills')}")
    code, out, _ = run()
    assert code == 1
    assert "missing in the ledger" in out


def test_an_order_that_rests_no_more_is_looked_up(run: Run, instance: Instance, live: Live) -> None:
    """Absent from the open orders is a question: the exchange is asked what became of it."""
    instance.change(
        "UPDATE orders SET status = 'NEW', live = 1, filled_qty = '0', slot = '' WHERE id = "
        + DONE.format(table="orders")
    )
    code, out, _ = run()
    assert code == 1
    assert "NEW in the ledger, not on the exchange (FILLED)" in out
    assert live.asked.count("fetch_order") == 1


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("fetch_fills", Retryable("api.example.com: timed out")),
        ("fetch_position", AuthError("invalid signature")),
        ("fetch_open_orders", ExchangeError("answered 502")),
        ("fetch_funding", OutcomeUnknown("the connection broke")),
        ("fetch_quote", ConfigError("symbol: was 'X', expected one that is traded")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_exchange_that_does_not_answer_is_3(
    run: Run, live: Live, name: str, fault: Exception
) -> None:
    """Unknown is never read as equal, nor as different (I11)."""
    live.faults[name] = fault
    code, out, err = run()
    assert (code, out) == (3, "")
    assert str(fault) in err
    assert live.is_closed
