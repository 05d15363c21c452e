"""The schema, as named migrations in order, and how a database is brought up to date.

`PRAGMA user_version` counts the migrations that a file has. Each one runs in a transaction of its
own together with its number, so an interrupted one leaves the version before it, whole. A file
with data is first copied to `{db}.backup-v{old}-{UTC time}` (0600, the newest three are kept).
A file of a newer version, or of another program, is refused and left alone.

A migration that has been released is never edited: add the next one.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from core.errors import StoreError
from database.faults import corrupt_advice, list_backups
from database.files import create_private, sync_folder
from database.session import BUSY_TIMEOUT_S, Session

APPLICATION_ID = 0x67666C74  # "gflt": tells our files from any other SQLite file
BACKUPS_KEPT = 3
FULL_CHECK_BYTES = 16 * 2**20
"""Up to this size, some 30,000 fills, `quick_check` reads every page at start (7.5 ms of CPU a MiB,
measured); beyond it, only the schema and both ends of every table: a restart is never slow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step of the schema; its version is its place in the list, from 1."""

    name: str
    statements: tuple[str, ...]


_ORDERS = """
CREATE TABLE {table} (
    id INTEGER PRIMARY KEY,
    client_order_id TEXT NOT NULL UNIQUE,
    venue_order_id TEXT,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    price TEXT NOT NULL,
    quantity TEXT NOT NULL,
    filled_qty TEXT NOT NULL,
    status TEXT NOT NULL,
    live INTEGER NOT NULL CHECK (live = (status IN ('PENDING', 'NEW', 'PARTIALLY_FILLED'))),
    post_only INTEGER NOT NULL,
    reduce_only INTEGER NOT NULL,
    time_in_force TEXT NOT NULL,
    slot TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
)"""

_FILLS = """
CREATE TABLE {table} (
    id INTEGER PRIMARY KEY,
    trade_id TEXT NOT NULL,
    venue_order_id TEXT NOT NULL,
    client_order_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    price TEXT NOT NULL,
    quantity TEXT NOT NULL,
    fee TEXT NOT NULL,
    fee_asset TEXT NOT NULL,
    is_maker INTEGER NOT NULL,
    time INTEGER NOT NULL,
    slot TEXT NOT NULL DEFAULT '',
    UNIQUE (symbol, trade_id)
)"""

_FUNDING = """
CREATE TABLE {table} (
    id INTEGER PRIMARY KEY,
    symbol TEXT NOT NULL,
    time INTEGER NOT NULL,
    rate TEXT NOT NULL,
    mark_price TEXT NOT NULL,
    position TEXT NOT NULL,
    amount TEXT NOT NULL,
    UNIQUE (symbol, time)
)"""

_EVENTS = """
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    time INTEGER NOT NULL
)"""

_DOCUMENT = """
CREATE TABLE {table} (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    {more}
    payload TEXT NOT NULL
)"""

_EQUITY = """
CREATE TABLE equity (
    id INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    price TEXT NOT NULL,
    position TEXT NOT NULL,
    equity TEXT NOT NULL,
    grid TEXT NOT NULL,
    trend TEXT NOT NULL,
    unrealized TEXT NOT NULL,
    fees TEXT NOT NULL,
    open_fees TEXT NOT NULL,
    funding TEXT NOT NULL
)"""

_RESERVED = """
CREATE TABLE reserved (
    client_order_id TEXT PRIMARY KEY,
    slot TEXT NOT NULL
) WITHOUT ROWID"""

MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        name="the ledger of the engine",
        statements=(
            "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
            "CREATE TABLE counters (name TEXT PRIMARY KEY, next INTEGER NOT NULL) WITHOUT ROWID",
            _ORDERS.format(table="orders"),
            # I2, in the database: one live order for a place in the grid.
            "CREATE UNIQUE INDEX orders_one_live ON orders (slot) WHERE live = 1 AND slot <> ''",
            "CREATE INDEX orders_live ON orders (created_at) WHERE live = 1",
            _FILLS.format(table="fills"),
            _FUNDING.format(table="funding"),
            _EVENTS,
            _DOCUMENT.format(table="checkpoint", more="seq INTEGER NOT NULL,"),
            _EQUITY,
        ),
    ),
    Migration(
        name="the books of the paper exchange",
        statements=(
            _DOCUMENT.format(table="paper_account", more=""),
            _ORDERS.format(table="paper_orders"),
            "CREATE INDEX paper_orders_live ON paper_orders (created_at) WHERE live = 1",
            _FILLS.format(table="paper_fills"),
            "CREATE INDEX paper_fills_time ON paper_fills (time)",
            _FUNDING.format(table="paper_funding"),
        ),
    ),
    Migration(
        name="client order ids kept for slots",
        statements=(_RESERVED,),
    ),
)


def open_session(
    db_path: str | Path,
    *,
    durable: bool = False,
    checked: bool = False,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    on_rollback: Callable[[], None] | None = None,
) -> Session:
    """Open a database of ours, up to date; `checked` looks for damage first.

    Nothing of the file, its mode included, is changed before it is known to be ours.
    """
    session = Session(db_path, busy_timeout_s=busy_timeout_s, on_rollback=on_rollback)
    try:
        known_version(session)
        session.make_ready(durable=durable)
        if checked:
            check(session)
        migrate(session)
    except BaseException:
        session.close()
        raise
    return session


def migrate(session: Session, migrations: Sequence[Migration] = MIGRATIONS) -> int:
    """Bring the file up to date; returns the version that it had.

    Errors: as `known_version`, and StoreError for a step that failed; what was there stays whole,
    and the backup beside it.
    """
    old = known_version(session, len(migrations))
    if old == len(migrations):
        return old
    if old and not session.in_memory:
        back_up(session, old)
    for version, migration in enumerate(migrations[old:], start=old + 1):
        _apply(session, version, migration)
    return old


def known_version(session: Session, newest: int = len(MIGRATIONS)) -> int:
    """The version of the file, 0 for an empty one. Errors: StoreError: newer, or not ours."""
    owner = _number(session, "PRAGMA application_id")
    version = _number(session, "PRAGMA user_version")
    if owner == APPLICATION_ID:
        if version > newest:
            raise StoreError(
                f"{session.path}: has schema version {version}, this program knows {newest}: a "
                f"newer gridfleet wrote it; install that version, or restore an older backup"
            )
        return version
    if owner or version or _number(session, "SELECT count(*) FROM sqlite_master"):
        raise StoreError(
            f"{session.path}: is a database of another program (application id {owner:#x}, version "
            f"{version}); set daemon_config.db_path to a file of this instance's own"
        )
    return 0


def _apply(session: Session, version: int, migration: Migration) -> None:
    doing = f"apply migration {version} ({migration.name})"
    with session.transaction():
        if _number(session, "PRAGMA user_version") >= version:
            return  # another connection has done it while this one waited for the lock
        for statement in migration.statements:
            session.execute(doing, statement)
        session.execute(doing, f"PRAGMA application_id = {APPLICATION_ID}")
        session.execute(doing, f"PRAGMA user_version = {version}")


def back_up(session: Session, version: int, now: datetime | None = None) -> Path:
    """Copy the database beside itself while it is open, 0600, and keep the newest three copies."""
    path = Path(session.path).absolute()
    stamp = f"{now or datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
    target = path.with_name(f"{path.name}.backup-v{version}-{stamp}")
    partial = target.with_name(target.name + ".partial")
    try:
        for leftover in path.parent.glob(f"{path.name}.backup-v*.partial*"):
            leftover.unlink()
        create_private(partial)
        with closing(sqlite3.connect(partial)) as copy:
            session.connection.backup(copy)
            # A copy is one file: without this it would want a -wal of its own to be read.
            copy.execute("PRAGMA journal_mode = DELETE")
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(target)
        sync_folder(path.parent)
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise StoreError(
            f"{path}: could not be backed up to {target} before its migration: {error}; nothing "
            f"was changed. Free space on the disk (a copy's size) and start again"
        ) from error
    for old in list_backups(path)[:-BACKUPS_KEPT]:
        with suppress(OSError):
            old.unlink()
    return target


def check(session: Session, full_check_bytes: int = FULL_CHECK_BYTES) -> None:
    """Refuse a damaged database, naming the newest backup; never repair, never replace.

    Call it before `migrate`. It reads every page of a file up to `full_check_bytes`.
    """
    if session.in_memory:
        return
    doing = "check it"
    tables = [
        name
        for (name,) in session.all(
            doing,
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
        )
    ]
    size = _number(session, "PRAGMA page_count") * _number(session, "PRAGMA page_size")
    if size <= full_check_bytes:
        verdict = session.one(doing, "PRAGMA quick_check(1)")
        if verdict != ("ok",):
            _damaged(session, str(verdict[0] if verdict else "no verdict"))
    else:
        for table in tables:
            for order in ("ASC", "DESC"):
                session.one(doing, f'SELECT * FROM "{table}" ORDER BY 1 {order} LIMIT 1')
    if "events" in tables:
        _check_journal(session, counted=size <= full_check_bytes)


def _check_journal(session: Session, *, counted: bool) -> None:
    """The journal runs 1, 2, 3 … and the checkpoint lies in it; anything else is a lost page."""
    last = _number(session, "SELECT coalesce(max(seq), 0) FROM events")
    first = _number(session, "SELECT coalesce(min(seq), 0) FROM events")
    entries = _number(session, "SELECT count(*) FROM events") if counted else last
    if (last and first != 1) or entries != last:
        _damaged(session, f"the journal has {entries} entries, from {first} to {last}")
    folded = _number(session, "SELECT coalesce(max(seq), 0) FROM checkpoint")
    if folded > last:
        _damaged(session, f"the checkpoint is of entry {folded}, the journal ends at {last}")


def _damaged(session: Session, finding: str) -> None:
    raise StoreError(f"{session.path}: is damaged: {finding}. {corrupt_advice(session.path)}")


def _number(session: Session, sql: str) -> int:
    row = session.one("read its schema", sql)
    return int(row[0]) if row else 0
