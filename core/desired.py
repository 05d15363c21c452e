"""What should run: `logs/desired.json`, apart from what does run (that is the registry).

A user's `start` enters an instance, a user's `stop` takes it out, before the first signal leaves;
a bot that finishes takes itself out. A signal to a supervisor, a crash or a reboot change nothing
here, which is why `resurrect` can bring back what ran. `started_at` is the moment of the user's
last `start`: `--duration` is counted from it over every restart. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import StoreError
from core.files import make_private_dir, open_private, publish, remove_leftovers
from core.identity import take_lock

_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One instance that should run. `started_at` is ISO 8601 with a zone."""

    config_path: str
    started_at: str


class Desired:
    """The file under one root."""

    def __init__(self, root: Path) -> None:
        self._logs = root / "logs"
        self.path = self._logs / "desired.json"

    def load(self) -> dict[str, Wanted]:
        """Read what should run, by instance id; nothing when there is no file.

        Errors: StoreError when the file is damaged: it is left as it is, for a human to look at.
        """
        try:
            raw = json.loads(self.path.read_text(encoding="utf-8"))
            return {
                str(key): Wanted(
                    config_path=str(value["config_file"]), started_at=str(value["started_at"])
                )
                for key, value in raw.items()
            }
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StoreError(
                f"{self.path}: is damaged ({error}); repair it, or move it away and start what"
                " should run"
            ) from None

    def enter(self, instance_id: str, wanted: Wanted) -> None:
        """Note that it should run. Errors: StoreError, OSError, with the file unchanged."""
        self.enter_all({instance_id: wanted})

    def enter_all(self, entries: Mapping[str, Wanted]) -> list[str]:
        """Note that these should run, in one write; which of them were not wanted before.

        Errors: as `enter`.
        """
        with contextlib.suppress(StoreError):
            before = self.load()
            if all(before.get(key) == wanted for key, wanted in entries.items()):
                return []  # nothing to write; a look needs no lock
        with self._locked():
            records = self._load_or_put_aside()
            new = [key for key in entries if key not in records]
            self._save({**records, **entries})
            return new

    def remove(self, *instance_ids: str) -> bool:
        """Note that they should not run; False when nothing said that any should."""
        with self._locked():
            records = self._load_or_put_aside()
            kept = {key: value for key, value in records.items() if key not in instance_ids}
            if len(kept) == len(records):
                return False
            self._save(kept)
            return True

    def _load_or_put_aside(self) -> dict[str, Wanted]:
        try:
            return self.load()
        except StoreError:
            # Kept, never overwritten: it may be the only list of what ran before a reboot.
            self.path.replace(self.path.with_name(f"desired.json.damaged-{os.urandom(4).hex()}"))
            return {}

    def _save(self, records: dict[str, Wanted]) -> None:
        remove_leftovers(self.path)
        content = {
            key: {"config_file": value.config_path, "started_at": value.started_at}
            for key, value in sorted(records.items())
        }
        publish(self.path, json.dumps(content, indent=2) + "\n")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        make_private_dir(self._logs)
        fd = open_private(self._logs / ".desired.lock", os.O_RDWR | os.O_CREAT)
        try:
            if not take_lock(fd, _PATIENCE_S):
                raise StoreError(f"{self._logs / '.desired.lock'}: held for {_PATIENCE_S:g} s")
            yield
        finally:
            os.close(fd)
