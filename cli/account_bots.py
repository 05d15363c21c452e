"""Which other bots of this machine trade on the same account, and what margin they may still take.

The registry names the account of each instance by a digest of its key (`core.config_spec`): no
secret is looked at to tell two accounts apart. A bot counts when it runs or should run; one that is
stopped takes nothing until its own start, which looks at the rest. What each needs comes from its
ledger, else from the config it runs with; what it has already from the exchange. The formula is in
`strategies.account_margin`. Bots of another root, or of another key of the account, are not seen;
those whose margin is another asset's take nothing of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.bot_wiring import SystemClock, engine_settings
from cli.grid_in_force import UNREADABLE, read_book
from cli.instance_lookup import config_of
from core.config_spec import account_of
from core.desired import Desired
from core.errors import Rejected, StoreError
from core.instance_manager import InstanceRegistry
from core.model import ZERO
from strategies.account_margin import ALONE, Demand, Sharing, full_margin, used_margin

if TYPE_CHECKING:
    from core.config import InstanceConfig
    from core.ports import ExchangeClient
    from strategies.grid_state import GridState


def look(config: InstanceConfig, root: Path, db_path: Path, client: ExchangeClient) -> Sharing:
    """Tell how the account is shared. Errors: ExchangeError, AuthError; StoreError.

    What cannot be told stands in `unknown`; margin in use that is not told counts twice, which is
    the safe side.
    """
    account = account_of(config)
    if account is None:
        return ALONE
    from exchanges.rest_client import RestClient  # a paper bot never loads it
    from exchanges.wire import WireError

    if not isinstance(client, RestClient):
        return ALONE
    own = _ledger(db_path)
    others = [
        record
        for record in records_on(account, config.instance_id, root)
        if _quote_of(record.get("symbol")) == _quote_of(config.symbol)
    ]
    if own is None and not others:
        return ALONE
    demands: list[Demand] = []
    unknown: list[str] = []
    held: Mapping[str, Decimal] = {}
    try:
        held = client.fetch_used_margin()
    except (Rejected, WireError) as error:
        unknown.append(f"what is in use already could not be told, and counts twice: {error}")
    used = ZERO
    if own is not None:
        leverage = engine_settings(config, SystemClock().now()).leverage
        used = used_margin(*own, held.get(config.symbol, ZERO), leverage)
    for record in others:
        try:
            demands.append(_demand(record, root, client, held))
        except UNREADABLE as error:
            unknown.append(
                f"{record['instance_id']} trades on this account too; what margin it may take "
                f"could not be told: {error}"
            )
    return Sharing(used=used, others=tuple(demands), unknown=tuple(unknown))


def _quote_of(symbol: object) -> str:
    """Name the asset that a symbol's margin is of: another one is another balance."""
    from exchanges.factory import split_symbol

    return split_symbol(str(symbol))[1]


def records_on(account: str, instance_id: str, root: Path) -> list[dict[str, Any]]:
    """Give the records of the other bots on the account that run or should. Errors: StoreError."""
    wanted = Desired(root).load()
    whole = account.rpartition(":")[0]  # without the symbol
    return [
        record
        for record in InstanceRegistry(root).list_instances()
        if record["instance_id"] != instance_id
        and str(record.get("account") or "").rpartition(":")[0] == whole
        and (record["is_alive"] or record["bot_pid"] or record["instance_id"] in wanted)
    ]


def _demand(
    record: Mapping[str, Any], root: Path, client: ExchangeClient, held: Mapping[str, Decimal]
) -> Demand:
    """Work out what one bot needs: by the grid in force, else by its config at the present price.

    Errors: those of `UNREADABLE`.
    """
    from cli.grid_preflight import preflight_of

    instance_id = str(record["instance_id"])
    config = config_of(instance_id, root, record)
    settings = engine_settings(config, SystemClock().now())
    ledger = _ledger(Path(record.get("db_path") or root / "database" / f"{instance_id}.db"))
    if ledger is None:
        instrument = client.fetch_instrument(config.symbol)
        worst = preflight_of(client, settings, instrument).margin
        return Demand(instance_id=instance_id, symbol=config.symbol, worst=worst)
    grid, base = ledger
    return Demand(
        instance_id=instance_id,
        symbol=config.symbol,
        worst=full_margin(grid, settings.max_position, settings.leverage),
        used=used_margin(grid, base, held.get(config.symbol, ZERO), settings.leverage),
    )


def _ledger(path: Path) -> tuple[GridState, Decimal] | None:
    """Read the grid in force and the position before it; None: no grid was laid out yet."""
    try:
        book = read_book(path)
    except UNREADABLE as error:
        raise StoreError(f"{path.name}: {error}") from error
    return None if book is None or book.grid is None else (book.grid, book.base)
