"""The first grid of an instance, judged before anything is placed: the preflight over an exchange.

Shared by `run.py --check`, which prints it, and by a bot's first start, which logs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.bot_wiring import SystemClock, engine_settings
from cli.grid_preflight import preflight_of, refuse
from cli.preflight_words import lines
from core.errors import AuthError, ExchangeError, StoreError
from core.i18n import english
from exchanges.factory import create_exchange
from exchanges.paper_memory import MemoryPaperStore
from strategies.account_margin import ALONE, Sharing

if TYPE_CHECKING:
    from cli.bot_place import Place
    from core.config import InstanceConfig
    from core.config_load import LoadedConfig
    from core.ports import ExchangeClient


def check_first_grid(loaded: LoadedConfig, place: Place, log: Any) -> None:
    """Tell the log what a bot's first grid will be, and refuse what `--check` refuses.

    Before anything is opened, so that a refused start leaves nothing behind. A grid that is in the
    ledger goes on as it is. Errors: AuthError, ConfigError.
    """
    if has_journal(place.db_path):
        return
    config, clock = loaded.config, SystemClock()
    settings = engine_settings(config, clock.now())
    client, _ = create_exchange(
        config, MemoryPaperStore(), clock, root=place.root, may_change=False
    )
    try:
        instrument = client.fetch_instrument(config.symbol)
        sharing = _sharing(config, place, client)
        found = preflight_of(client, settings, instrument, sharing)
    except AuthError:
        raise
    except (ExchangeError, StoreError) as error:  # the engine tries until it is reached
        log.warning("preflight_failed", error=str(error))
        return
    finally:
        client.close()
    for words in sharing.unknown:
        log.warning("preflight", check="warning", words=words)
    for name, words in lines(found, instrument, english):
        log.info("preflight", check=name, words=words)
    if settings.grid.trigger_price is None:  # else it is judged at the price that starts it
        refuse(found)


def _sharing(config: InstanceConfig, place: Place, client: ExchangeClient) -> Sharing:
    """Tell who else trades on a live account; on paper nobody does, and nothing is loaded."""
    if config.exchange.mode != "live":
        return ALONE
    from cli import account_bots

    return account_bots.look(config, place.root, place.db_path, client)


def has_journal(path: Path) -> bool:
    """Whether anything was ever booked; True too for a file that a start will refuse itself."""
    from database.reading import LedgerReader

    if not path.exists():
        return False
    try:
        with LedgerReader(path) as reader:
            return reader.has_events()
    except StoreError:
        return True
