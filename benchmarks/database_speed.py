"""How many fills a second the ledger takes, beside the floor: the same rows by bare sqlite3.

One fill of the engine is three transactions of the ledger (the intent; the exchange's answer; the
fill with its journal entry and the order's end), and on paper two more of the exchange's books.
The floor writes the same number of rows in the same number of transactions, in the same pragmas,
one ready-made tuple into one table without an index each.

    python benchmarks/database_speed.py [--fills 3000] [--folder DIR]
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from core.model import Fill, Order, OrderStatus, Side
from database.db import Database
from database.history import DatabaseHistory
from database.paper_store import PaperDatabase
from database.rows import ORDER_COLUMNS, order_row
from database.session import PAGE_BYTES, WAL_PAGES

NOW = datetime(2026, 11, 23, tzinfo=UTC)
ORDER = Order(
    client_order_id="gf-0",
    symbol="SOL_USDC_PERP",
    side=Side.BUY,
    price=Decimal("150.10"),
    quantity=Decimal("2.000"),
    status=OrderStatus.PENDING,
    created_at=NOW,
    updated_at=NOW,
)
FILL = Fill(
    trade_id="0",
    venue_order_id="1",
    client_order_id="gf-0",
    symbol="SOL_USDC_PERP",
    side=Side.BUY,
    price=Decimal("150.10"),
    quantity=Decimal("2.000"),
    fee=Decimal("0.06004"),
    fee_asset="USDC",
    is_maker=True,
    time=NOW,
)
EVENT = {"trade_id": "123456", "price": "150.10", "quantity": "2.000", "fee": "0.06004", "cell": 7}
ACCOUNT = {"wallet": "100000.000000", "position": "12.000", "next_id": 12345, "feed": {"candle": 1}}


def ours(path: str, fills: int, *, durable: bool, paper: bool) -> float:
    """Seconds for `fills` fills through Database and PaperDatabase."""
    store = Database(path, durable=durable)
    books = PaperDatabase(store)
    began = time.perf_counter()
    for number in range(fills):
        intent = replace(ORDER, client_order_id=f"gf-{number}", slot=f"entry:{number % 40}")
        with store.transaction():
            store.reserve_order_numbers(1)
            store.save_order(intent)
        if paper:
            books.commit(ACCOUNT, [intent])
        working = replace(intent, status=OrderStatus.NEW, venue_order_id=str(number))
        store.save_order(working)
        fill = replace(FILL, trade_id=str(number), client_order_id=intent.client_order_id)
        done = replace(working, status=OrderStatus.FILLED, filled_qty=working.quantity)
        if paper:
            books.commit(ACCOUNT, [done], [fill])
        with store.transaction():
            store.insert_fill(fill, intent.slot)
            store.save_order(done)
            store.append_event("fill", EVENT, NOW)
    seconds = time.perf_counter() - began
    store.close()
    return seconds


def floor(path: str, fills: int, *, durable: bool, paper: bool) -> float:
    """Seconds for as many rows in as many transactions of bare sqlite3."""
    columns = ORDER_COLUMNS.count(",") + 1
    row = order_row(ORDER)
    insert = f"INSERT INTO rows VALUES ({', '.join('?' * columns)})"
    transactions = (2, 1, 3, 2, 3) if paper else (2, 1, 3)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        connection.execute(f"CREATE TABLE rows ({ORDER_COLUMNS})")
        began = time.perf_counter()
        for _ in range(fills):
            for rows in transactions:
                connection.execute("BEGIN IMMEDIATE")
                for _ in range(rows):
                    connection.execute(insert, row)
                connection.execute("COMMIT")
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--fills", type=int, default=3000)
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    options = parser.parse_args()
    fills: int = options.fills
    print(f"{'':34}{'ours':>12}{'floor':>12}   fills a second, of {fills}; sqlite {_version()}")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        cases = [
            ("memory, ledger", True, False, False),
            ("memory, ledger and paper", True, False, True),
            ("file, ledger", False, False, False),
            ("file, ledger and paper", False, False, True),
            ("file, durable, ledger", False, True, False),
        ]
        for number, (title, memory, durable, paper) in enumerate(cases):
            count = max(fills // 10, 1) if durable else fills
            path = ":memory:" if memory else str(folder / f"{number}.db")
            bare = ":memory:" if memory else str(folder / f"{number}.floor.db")
            mine = count / ours(path, count, durable=durable, paper=paper)
            least = count / floor(bare, count, durable=durable, paper=paper)
            print(f"{title:34}{mine:12,.0f}{least:12,.0f}")
        for title, number in (("ledger", 2), ("ledger and paper", 3)):
            size = (folder / f"{number}.db").stat().st_size
            print(f"on disk, {title}: {size / fills:,.0f} bytes a fill")
        began = time.perf_counter()
        history = DatabaseHistory(folder / "3.db")
        page, _ = history.fills(100_000, None)
        history.close()
        print(f"a page of {len(page)} fills: {(time.perf_counter() - began) * 1000:.1f} ms")
        began = time.perf_counter()
        Database(folder / "3.db").close()
        size = (folder / "3.db").stat().st_size
        took = (time.perf_counter() - began) * 1000
        print(f"open, check and close {size / 2**20:.1f} MiB: {took:.1f} ms")


def _version() -> str:
    return sqlite3.sqlite_version


if __name__ == "__main__":
    main()
