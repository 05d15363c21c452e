"""Where one bot keeps its things: the supervisor's word first, else the config's."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import ConfigError

if TYPE_CHECKING:
    from core.config_load import LoadedConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where this instance keeps its things; the supervisor's word first, else the config's."""

    root: Path
    run_dir: Path
    log_dir: Path
    db_path: Path
    web_host: str
    web_port: int | None
    started_at: datetime


def place_of(loaded: LoadedConfig) -> Place:
    """Resolve directories, address and start from the environment and the config.

    Errors: ConfigError for a WEB_PORT that is no port.
    """
    from core.paths import find_root, resolve, run_dir

    config, environ = loaded.config, os.environ
    root = find_root(None)
    started = environ.get("GRID_STARTED_AT")
    port = _port(environ.get("WEB_PORT"))
    return Place(
        root=root,
        run_dir=Path(environ.get("GRID_RUN_DIR") or run_dir(root, config.instance_id)),
        log_dir=Path(environ.get("LOG_DIR") or resolve(root, config.daemon.log_dir)),
        db_path=Path(environ.get("DB_PATH") or resolve(root, config.daemon.db_path)),
        web_host=environ.get("WEB_HOST") or config.daemon.web_host,
        web_port=config.daemon.web_port if port is None else port,
        started_at=datetime.fromisoformat(started) if started else datetime.now(UTC),
    )


def _port(text: str | None) -> int | None:
    """Read WEB_PORT; None when it is not set. 0 is any free port."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise ConfigError(f"WEB_PORT: was {text[:20]!r}, expected a port from 1 to 65535")
    return int(text)
