"""The file `logs/instances.json` itself: lock, load, save, and what happens when it is damaged.

Rules it keeps:
- Writers hold an exclusive flock on `logs/.instances.lock`, a file of its own that is never
  renamed or deleted (a lock on a file that gets replaced is no lock). The kernel frees it at any
  death, so there is no stale lock.
- The file is replaced whole (temp, fsync, rename). Readers take no lock and see old or new.
- Each record is also kept as `logs/{id}/record.json`, written before the registry. A registry that
  is damaged is put aside as `instances.json.damaged-<time>`, and built anew from what can still be
  read of it, the copies, and the PID files of what runs; nothing is ever overwritten with `{}`.
  A registry that is missing, or lacks a record that has a copy, is completed from the same sources.
  A record that was removed takes its copy with it, so nothing removed comes back.
- Writers that come at the same time share a write (`core.registry_changes`).

Standard library only: a supervisor loads this.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from core.errors import ConfigError, StoreError
from core.files import (
    make_private_dir,
    open_private,
    publish,
    remove_leftovers,
    sync_dir,
    sync_file,
)
from core.identity import read_pid_file, take_lock
from core.paths import is_safe_name, read_limited

Record: TypeAlias = dict[str, Any]
Records: TypeAlias = dict[str, Record]

LOCK_PATIENCE_S = 10.0
"""How long a writer waits. A holder needs milliseconds; one that was stopped (SIGSTOP) must not
hold every supervisor for ever."""

_LIMIT = 16 * 1024 * 1024  # a record is about 1 kB


class RegistryFile:
    """The registry's file under one root. One object may be shared by threads of a process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.logs = root / "logs"
        self.path = self.logs / "instances.json"
        self.lock_path = self.logs / ".instances.lock"
        self._thread_lock = threading.RLock()
        self._depth = 0

    @contextlib.contextmanager
    def locked(self, on_busy: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold the registry's lock; may be nested within a thread.

        `on_busy` is called, once, before a wait for somebody else who has it.
        Errors: StoreError after `LOCK_PATIENCE_S`; ConfigError when a link stands at its name.
        """
        with self._thread_lock:
            if self._depth:
                descriptor = None
            else:
                make_private_dir(self.logs)
                descriptor = self._open_lock()
            self._depth += 1
            try:
                if descriptor is not None:
                    self._wait_for_lock(descriptor, on_busy)
                yield
            finally:
                self._depth -= 1
                if descriptor is not None:
                    # Said, not left to the close: a process that was forked meanwhile has a copy.
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
                    os.close(descriptor)

    def load(self) -> Records:
        """Read all records, by instance id; a damaged registry is repaired first.

        Errors: ConfigError when a link or anything but a regular file stands at its name.
        """
        records, whole = self._read()
        if whole and not self._lacks_any(records):
            return records
        if not os.path.lexists(self.path) and not self._rebuilt({}):
            return {}  # a new root: a reader leaves no trace in it
        try:
            with self.locked():
                records, whole = self._read()  # another process may have repaired it meanwhile
                if whole and not self._lacks_any(records):
                    return records
                return self._repair(records, damaged=not whole)
        except (OSError, StoreError):  # a full or read-only disk: answer, repair another time
            return self._rebuilt(records)

    def save(self, records: Records) -> None:
        """Replace the registry. The lock must be held. Errors: OSError, with the old one whole.

        Not through to the disk: the copies are, and a damaged or lost registry is built from them.
        """
        remove_leftovers(self.path)  # of a writer that was killed
        try:
            publish(self.path, _dump_all(records), durable=False)
        except OSError as error:
            raise _planted(self.path, error) from None

    def save_copy(self, instance_id: str, record: Record) -> None:
        """Keep the instance's own copy of its record; `sync_copy` makes it outlive a power cut."""
        make_private_dir(self.logs / instance_id)
        publish(self.logs / instance_id / "record.json", _dump(record), durable=False)

    def load_copy(self, instance_id: str) -> Record | None:
        """Read the instance's own copy of its record; None when there is none."""
        return _read_copy(self.logs / instance_id / "record.json")

    def sync_copy(self, instance_id: str) -> None:
        """Wait until the copy is on the disk; without the lock, for which others wait."""
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            sync_file(self.logs / instance_id / "record.json")
            sync_dir(self.logs / instance_id)

    def drop_copy(self, instance_id: str) -> None:
        """Forget the copy, durably: a rebuild must not bring a removed instance back."""
        with contextlib.suppress(OSError):
            (self.logs / instance_id / "record.json").unlink()
            sync_dir(self.logs / instance_id)

    def _open_lock(self) -> int:
        try:
            return open_private(self.lock_path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise _planted(self.lock_path, error) from None

    def _wait_for_lock(self, descriptor: int, on_busy: Callable[[], None] | None) -> None:
        if on_busy is not None:
            if take_lock(descriptor, 0.0):
                return
            on_busy()
        if not take_lock(descriptor, LOCK_PATIENCE_S):
            raise StoreError(
                f"{self.lock_path}: another process has held it for {LOCK_PATIENCE_S:g} s;"
                f" see which one in /proc/locks (inode {os.fstat(descriptor).st_ino})"
            )

    def _read(self) -> tuple[Records, bool]:
        """Read what is there; False: it is missing or not whole (the good records are returned)."""
        try:
            text = read_limited(self.path, _LIMIT, follow=False).decode()
            raw = json.loads(text)
        except FileNotFoundError:
            return {}, False
        except OSError as error:
            if error.errno == errno.EFBIG:
                return {}, False
            raise _planted(self.path, error) from None
        except (ValueError, RecursionError):
            return {}, False
        if not isinstance(raw, dict):
            return {}, False
        good = {
            key: value
            for key, value in raw.items()
            if is_safe_name(key) and isinstance(value, dict)
        }
        return good, len(good) == len(raw)

    def _lacks_any(self, records: Records) -> bool:
        """Tell whether an instance has a copy and no record: somebody emptied the file."""
        try:
            names = [name for name in os.listdir(self.logs) if name not in records]  # noqa: PTH208
        except OSError:
            return False
        return any(
            is_safe_name(name)
            and not (self.logs / name).is_symlink()
            and _read_copy(self.logs / name / "record.json") is not None
            for name in names
        )

    def _repair(self, records: Records, *, damaged: bool) -> Records:
        """Put a damaged file aside, then write what could be rebuilt, if there is anything."""
        rebuilt = self._rebuilt(records)
        if damaged and os.path.lexists(self.path):
            stamp = time.strftime("%Y%m%dT%H%M%S") + f".{time.time_ns() % 10**9:09d}"
            self.path.rename(self.path.with_name(f"{self.path.name}.damaged-{stamp}"))
        if rebuilt:
            self.save(rebuilt)
        return rebuilt

    def _rebuilt(self, records: Records) -> Records:
        """Join the records still readable with the copies and with what the PID files tell."""
        rebuilt = dict(records)
        try:
            folders = sorted(entry for entry in self.logs.iterdir() if is_safe_name(entry.name))
        except OSError:
            return rebuilt
        for folder in folders:
            if folder.name in rebuilt or folder.is_symlink():
                continue
            record = _read_copy(folder / "record.json") or _from_pid_files(self.root, folder)
            if record is not None:
                rebuilt[folder.name] = record
        return rebuilt


def web_url(record: Record) -> str | None:
    """Give the address of the page as this machine reaches it, without a slash at the end."""
    port = record.get("web_port")
    if not isinstance(port, int):
        return None
    host = str(record.get("web_host") or "127.0.0.1").strip("[]")
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def start_command(instance_id: str, config_file: object) -> str:
    """Give the command, ready for a shell, that starts this instance and no other."""
    if not isinstance(config_file, str) or not config_file:
        return f"daemon_manager start --config {instance_id}"
    is_plain = all(c.isalnum() or c in "@%+=:,./-_" for c in config_file)
    quoted = config_file if is_plain else "'" + config_file.replace("'", "'\"'\"'") + "'"
    # The file may say another id: it was started with --instance-id.
    other = "" if Path(config_file).stem == instance_id else f" --instance-id {instance_id}"
    return f"daemon_manager start --config {quoted}{other}"


def _read_copy(path: Path) -> Record | None:
    try:
        raw = json.loads(read_limited(path, _LIMIT, follow=False))
    except (OSError, ValueError, RecursionError):
        return None
    return raw if isinstance(raw, dict) else None


def _from_pid_files(root: Path, folder: Path) -> Record | None:
    """Make the record of a run directory that has PID files and no copy, as far as it is known."""
    supervisor = read_pid_file(folder / "daemon.pid")
    bot = read_pid_file(folder / "bot.pid")
    if supervisor is None and bot is None:
        return None
    name = folder.name
    config = root / "config" / "active" / f"{name}.json"
    return {
        "config_file": str(config) if config.is_file() else None,
        "pid": supervisor[0] if supervisor else None,
        "pid_start": supervisor[1] if supervisor else None,
        "bot_pid": bot[0] if bot else None,
        "bot_start": bot[1] if bot else None,
        "log_dir": str(folder),
        "db_path": str(root / "database" / f"{name}.db"),
        "web_port": None,
        "started_at": None,
        "status": "STOPPED",
        "restarts": 0,
    }


def _dump(value: Record) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=True, default=str) + "\n"


def _dump_all(records: Records) -> str:
    """Render all records, a line each: quick (an indented dump is not), and still for the eye."""
    lines = [
        f"  {json.dumps(key)}: {json.dumps(record, sort_keys=True, default=str)}"
        for key, record in sorted(records.items())
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _planted(path: Path, error: OSError) -> Exception:
    """Say in the operator's words that something else stands at the name; other errors stay."""
    if error.errno in (errno.ELOOP, errno.EINVAL, errno.EISDIR, errno.ENXIO):
        return ConfigError(
            f"{path}: is a link or no regular file; we made no such thing, look at it and remove it"
        )
    return error
