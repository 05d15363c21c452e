"""The last accepted version of an instance's config, kept beside its PID files, private.

`config.json` is the user's text, unexpanded: what the bot reads (CONFIG_FILE). `spec.json` is what
a supervisor needs of it: with it an instance can be stopped, adopted or resurrected when the user's
file is broken or gone. Standard library only.
"""

from __future__ import annotations

from pathlib import Path

from core.files import publish
from core.spec import ChildSpec

CONFIG_NAME = "config.json"
SPEC_NAME = "spec.json"


def save_accepted(run_dir: Path, spec: ChildSpec) -> None:
    """Keep this version. Errors: OSError; each of the two files is then the old one or the new."""
    publish(run_dir / CONFIG_NAME, spec.config_text)
    publish(run_dir / SPEC_NAME, spec.to_json())


def load_accepted(run_dir: Path) -> ChildSpec | None:
    """Load what was last accepted; None when there is none that is whole."""
    try:
        return ChildSpec.from_json((run_dir / SPEC_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return None
