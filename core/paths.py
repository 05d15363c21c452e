"""Where things are: the root, run directories, and how written and typed paths are read.

Standard library only: a running supervisor uses this. Rules it keeps: a name that becomes part of
a path is matched whole and can hold no separator; a path in a file is against the root, a path
typed is against the current folder first. How private files are made is in `core.files`.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from core.errors import ConfigError

NAME_RULE = "[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
"""CONTRACT 2: what an instance id looks like, whole."""

_NAME = re.compile(NAME_RULE)


# The root -------------------------------------------------------------------------------------


def checkout_root() -> Path:
    """Return the folder that the package is installed from (the parent of `core/`)."""
    return Path(__file__).resolve().parent.parent


def installed_run_py() -> Path:
    """Return the run.py that was installed with this package."""
    return checkout_root() / "run.py"


def find_root(
    cli_value: str | Path | None = None, environ: Mapping[str, str] | None = None
) -> Path:
    """Return the root, absolute: `--root`, else GRID_ROOT, else the checkout.

    Errors: ConfigError when the folder that was named does not exist.
    """
    env = os.environ if environ is None else environ
    if cli_value is not None and str(cli_value):
        source, text = "--root", str(cli_value)
    elif env.get("GRID_ROOT"):
        source, text = "GRID_ROOT", env["GRID_ROOT"]
    else:
        return checkout_root()
    if "\0" in text:
        raise ConfigError(f"{source}: was {text!r}, expected the path of an existing folder")
    root = Path(text).expanduser().resolve()
    if not root.is_dir():
        raise ConfigError(f"{source}: was {text}, expected an existing folder")
    return root


# Names and places -----------------------------------------------------------------------------


def is_safe_name(name: str) -> bool:
    """Tell whether `name` matches NAME_RULE whole (no separator, no dot, no trailing newline)."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str, what: str = "instance id") -> str:
    """Return `name` unchanged. Errors: ConfigError when it does not match NAME_RULE."""
    if not is_safe_name(name):
        raise ConfigError(f"{what}: was {shown(name)}, expected {NAME_RULE}")
    return name


def shown(text: str, limit: int = 80) -> str:
    """Return `text` quoted for a message, control characters escaped, cut at `limit`."""
    quoted = ascii(text) if not text.isprintable() else f'"{text}"'
    return quoted if len(quoted) <= limit else quoted[: limit - 1] + "…"


def run_dir(root: Path, instance_id: str) -> Path:
    """Return `{root}/logs/{id}`, where PID files, locks and the heartbeat are, always.

    Errors: ConfigError for an id that is not a safe name.
    """
    return root / "logs" / check_name(instance_id)


def is_inside(path: Path, base: Path) -> bool:
    """Tell whether `path`, links resolved, is `base` or lies below it."""
    return path.resolve().is_relative_to(base.resolve())


def resolve(root: Path, text: str | Path) -> Path:
    """Return a path named in a file: absolute, against the root. Links are kept as they are.

    A virtual environment's python is a link, and following it would leave the environment.
    """
    return Path(os.path.normpath(root / Path(text).expanduser()))


def resolve_typed(root: Path, text: str | Path, cwd: Path | None = None) -> Path:
    """Return a path typed on a command line: against the current folder, then the root.

    When neither exists the first is returned, for the message.
    """
    first = resolve(cwd or Path.cwd(), text)
    if first.exists():
        return first
    second = resolve(root, text)
    return second if second.exists() else first


def for_display(path: Path, root: Path) -> str:
    """Return `path` relative to the root when it lies below it, else absolute."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def read_limited(path: Path, limit: int, *, follow: bool = True) -> bytes:
    """Read a regular file of at most `limit` bytes.

    Errors: OSError; (EFBIG) when it is larger, (EINVAL) when it is no regular file, (ELOOP) for a
    link unless `follow`.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    fd = os.open(path, flags)
    with os.fdopen(fd, "rb") as file:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "is a folder, expected a file", str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(path))
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"is larger than {limit} bytes", str(path))
    return data
