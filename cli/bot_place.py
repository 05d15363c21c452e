"""Where one bot keeps its things: the supervisor's word first, else the config's."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

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
    """Resolve directories, address and start from the environment and the config."""
    from core.paths import find_root, resolve, run_dir

    config, environ = loaded.config, os.environ
    root = find_root(None)
    started = environ.get("GRID_STARTED_AT")
    port = environ.get("WEB_PORT")
    return Place(
        root=root,
        run_dir=Path(environ.get("GRID_RUN_DIR") or run_dir(root, config.instance_id)),
        log_dir=Path(environ.get("LOG_DIR") or resolve(root, config.daemon.log_dir)),
        db_path=Path(environ.get("DB_PATH") or resolve(root, config.daemon.db_path)),
        web_host=environ.get("WEB_HOST") or config.daemon.web_host,
        web_port=int(port) if port and port.isdigit() else config.daemon.web_port,
        started_at=datetime.fromisoformat(started) if started else datetime.now(UTC),
    )
