"""Finding and reading config files and the variables around them: the file side of a config.

Standard library only until there is a `.env` to read, so that commands which only look things up
stay quick. A file is read whole, once, up to a limit; what a variable holds goes nowhere but into
the config that asked for it.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from core.errors import ConfigError
from core.paths import for_display, read_limited, resolve, resolve_typed

MAX_CONFIG_BYTES = 1024 * 1024  # a hand-written file is 2 kB
MAX_ENV_BYTES = 1024 * 1024

ACTIVE = Path("config") / "active"
TEMPLATES = Path("config") / "templates"
ARCHIVED = Path("config") / "archived"
DEFAULT_CONFIG = Path("config") / "daemon_config.json"
"""What `--config` means when it is not given."""


def find(name: str | Path, root: Path, cwd: Path | None = None) -> Path:
    """Return the file that `--config NAME` means: NAME as given, then config/active/NAME[.json].

    As given is against the current folder, then the root. Errors: ConfigError names every place.
    """
    text = str(name)
    if not text or "\0" in text:
        raise ConfigError(f"--config: was {text!r}, expected the name of a config file")
    active = resolve(root, ACTIVE / text)
    places = (resolve_typed(root, text, cwd), active, active.with_name(f"{active.name}.json"))
    for place in places:
        if place.is_file() or (place.exists() and not place.is_dir()):
            return place
    looked = ", ".join(dict.fromkeys(for_display(place, root) for place in places))
    raise ConfigError(f"--config: was {text}, expected a config file; looked for {looked}")


def read_text(path: Path, source: str) -> str:
    """Read a config file. Errors: ConfigError says what is wrong with it, by name."""
    try:
        return read_limited(path, MAX_CONFIG_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{source}: byte {error.start} is not UTF-8, expected a JSON file in UTF-8"
        ) from None
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror or error}") from None


def active_configs(root: Path) -> list[Path]:
    """Return what `start --all` starts: every config/active/*.json that is no example, by name."""
    return [path for path in json_files(root / ACTIVE) if not is_example(path)]


def json_files(folder: Path) -> list[Path]:
    """Return the JSON files of a folder, by name; hidden ones are left out."""
    found = folder.glob("*.json") if folder.is_dir() else ()
    return sorted(path for path in found if path.is_file() and not path.name.startswith("."))


def is_example(path: Path) -> bool:
    """Tell whether a config says `example: true`; an unreadable one does not, so it is reported."""
    try:
        document = json.loads(read_limited(path, MAX_CONFIG_BYTES).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return False
    metadata = document.get("metadata") if isinstance(document, dict) else None
    return isinstance(metadata, dict) and metadata.get("example") in (True, "true")


class EnvFile:
    """One file of `NAME=value` lines, read when it is first asked, if it exists.

    `fault` says why it cannot be read ("" while it can); `open_mode` is its mode when others than
    its owner can read it, else None.
    """

    def __init__(self, path: Path, source: str) -> None:
        self.path = path
        self.source = source
        self.fault = ""
        self.open_mode: int | None = None
        self.exists = False
        self._values: dict[str, str] | None = None
        try:
            mode = path.stat().st_mode
        except OSError:
            return
        self.exists = True
        if stat.S_IMODE(mode) & 0o077:
            self.open_mode = stat.S_IMODE(mode)

    def values(self) -> Mapping[str, str]:
        """Return what the file sets; empty when it does not exist or cannot be read."""
        if self._values is None:
            self._values = self._read() if self.exists else {}
        return self._values

    def _read(self) -> dict[str, str]:
        try:
            text = read_limited(self.path, MAX_ENV_BYTES).decode("utf-8-sig")
        except UnicodeDecodeError:
            self.fault = "not UTF-8"
            return {}
        except OSError as error:
            self.fault = f"unreadable ({error.strerror or error})"
            return {}
        from dotenv import dotenv_values  # 35 ms that most commands do not need

        values = dotenv_values(stream=StringIO(text))
        return {name: value for name, value in values.items() if value is not None}


class Variables(Mapping[str, str]):
    """The environment, then `.env`, then `env_file`; a file is read at the first miss before it.

    Its text form shows no value.
    """

    def __init__(self, environ: Mapping[str, str], files: Sequence[EnvFile] = ()) -> None:
        self._environ = environ
        self.files = tuple(files)

    def __getitem__(self, name: str) -> str:
        if name in self._environ:
            return self._environ[name]
        for file in self.files:
            values = file.values()
            if name in values:
                return values[name]
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._environ, *(n for f in self.files for n in f.values()))))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"Variables({', '.join(['environment', *(f.source for f in self.files)])})"


def variables_for(
    document: Any, root: Path, environ: Mapping[str, str] | None = None
) -> tuple[Variables, EnvFile | None]:
    """Return the variables of a config document, and the `env_file` that it names, if any."""
    env = os.environ if environ is None else environ
    first = Variables(env, [EnvFile(root / ".env", ".env")])
    section = document.get("daemon_config", document) if isinstance(document, dict) else None
    named = section.get("env_file") if isinstance(section, dict) else None
    if not isinstance(named, str) or not named.strip() or "\0" in named:
        return first, None
    from core.config_text import BrokenReference, MissingVariable, expand_text

    try:
        path = resolve(root, expand_text(named, first))
    except (BrokenReference, MissingVariable):
        return first, None  # a fault of its own when the document is examined
    own = EnvFile(path, for_display(path, root))
    return Variables(env, [*first.files, own]), own
