"""A paper instance with a history: really traded by the engine, then left as a crash leaves it.

`make_instance` trades on the synthetic feed until the ledger has fills, funding, an adjust, a
checkpoint with a tail behind it, a position and open orders. `Instance.copy_to` gives a root of its
own to each test, where one value can be changed behind the ledger's back.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from cli.bot_wiring import build
from core.config_load import load
from core.instance_manager import InstanceRegistry
from core.model import AdjustGrid

ID = "paper_01"
MAX_STEPS = 20_000
CONFIG: dict[str, Any] = {
    "metadata": {"instance_id": ID},
    "exchange_config": {"mode": "paper", "paper": {"seed": 7, "speed": 0}},
    "strategy_config": {
        "exchange": "backpack",
        "symbol": "SOL_USDC_PERP",
        "grid_lower_price": 140,
        "grid_upper_price": 160,
        "grid_num": 20,
        "max_position": 10,
    },
}


@dataclass(slots=True)
class Instance:
    """One root with one instance that is registered, and does not run."""

    root: Path

    @property
    def db_path(self) -> Path:
        return self.root / "database" / f"{ID}.db"

    @property
    def config_path(self) -> Path:
        return self.root / "config" / "active" / f"{ID}.json"

    def copy_to(self, root: Path) -> Instance:
        """Copy config and database, and register the copy."""
        for name in ("config/active", "database", "logs"):
            (root / name).mkdir(parents=True, exist_ok=True)
        made = Instance(root)
        shutil.copy(self.config_path, made.config_path)
        shutil.copy(self.db_path, made.db_path)
        made.register()
        return made

    def register(self) -> None:
        InstanceRegistry(self.root).register(
            ID,
            {
                "status": "STOPPED",
                "config_file": str(self.config_path),
                "db_path": str(self.db_path),
            },
        )

    def change(self, *statements: str) -> None:
        """Change the database behind the ledger's back."""
        with closing(sqlite3.connect(self.db_path, isolation_level=None)) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
                assert cursor.rowcount != 0, f"changed nothing: {statement}"

    def change_json(self, table: str, where: str, path: tuple[str | int, ...], value: Any) -> None:
        """Set one place inside a payload; `value` may be a function of what was there."""
        with closing(sqlite3.connect(self.db_path, isolation_level=None)) as connection:
            (text,) = connection.execute(f"SELECT payload FROM {table} WHERE {where}").fetchone()
            document = json.loads(text)
            place = document
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = value(place[path[-1]]) if callable(value) else value
            connection.execute(
                f"UPDATE {table} SET payload = ? WHERE {where}", (json.dumps(document),)
            )

    def value(self, query: str) -> Any:
        with closing(sqlite3.connect(self.db_path)) as connection:
            row = connection.execute(query).fetchone()
        return None if row is None else row[0]


def _nothing(*_: object, **__: object) -> None:
    """Nobody listens."""


def make_instance(root: Path) -> Instance:
    """Trade until there is something of everything, and stop dead with the orders resting."""
    for name in ("config/active", "database", "logs"):
        (root / name).mkdir(parents=True, exist_ok=True)
    made = Instance(root)
    made.config_path.write_text(json.dumps(CONFIG), encoding="utf-8")
    parts = build(
        load(made.config_path, root).config,
        db_path=made.db_path,
        root=root,
        started_at=datetime.now(UTC),
        log=_nothing,
        publish=_nothing,
        beat=_nothing,
    )
    engine, store = parts.engine, parts.database
    engine.load()
    engine.feed.start(_nothing)  # a paper feed is pulled

    def step_until(fills: int, *, funding: bool = False) -> None:
        for _ in range(MAX_STEPS):
            if store.fill_count() >= fills and (
                not funding or store.last_funding_time() is not None
            ):
                return
            engine.step(0.0)
        raise AssertionError("the market did not move enough")

    step_until(60)
    engine.submit(AdjustGrid(lower=Decimal(139), upper=Decimal(161), grid_num=23), 0.0)
    step_until(120)
    engine.ledger.checkpoint()
    step_until(180, funding=True)
    for _ in range(MAX_STEPS):
        grid = engine.book.grid
        if grid is not None and grid.position and not engine.book.pending:
            break
        engine.step(0.0)
    parts.client.close()
    store.close()
    made.register()
    return made
