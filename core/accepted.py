"""The last accepted version of an instance's config, kept beside its PID files, private.

`config.json` is the user's text, unexpanded: what the bot reads (CONFIG_FILE). `spec.json` is what
a supervisor needs of it: with it an instance can be stopped, adopted or resurrected when the user's
file is broken or gone. Standard library only.
"""

from __future__ import annotations

from pathlib import Path

from core.files import publish, sync_dir, sync_file
from core.paths import read_limited
from core.spec import ChildSpec

CONFIG_NAME = "config.json"
SPEC_NAME = "spec.json"
_LIMIT = 4 << 20


def save_accepted(run_dir: Path, spec: ChildSpec, *, durable: bool = True) -> None:
    """Keep this version. Errors: OSError; each of the two files is then the old one or the new.

    Not `durable`: `sync_accepted` follows, when nobody waits.
    """
    spec_text = spec.to_json()
    if (_read(run_dir / CONFIG_NAME), _read(run_dir / SPEC_NAME)) == (spec.config_text, spec_text):
        return  # as it was: nothing to wait for the disk for
    publish(run_dir / CONFIG_NAME, spec.config_text, durable=durable, sync_folder=False)
    publish(run_dir / SPEC_NAME, spec_text, durable=durable)


def sync_accepted(run_dir: Path) -> None:
    """Wait until what was kept is on the disk. Errors: OSError."""
    for name in (CONFIG_NAME, SPEC_NAME):
        sync_file(run_dir / name)
    sync_dir(run_dir)


def load_accepted(run_dir: Path) -> ChildSpec | None:
    """Load what was last accepted; None when there is none that is whole."""
    try:
        return ChildSpec.from_json((run_dir / SPEC_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read(path: Path) -> str | None:
    try:
        return read_limited(path, _LIMIT, follow=False).decode()
    except (OSError, ValueError):
        return None
