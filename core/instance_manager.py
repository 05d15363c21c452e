"""InstanceRegistry: which instances there are, which of them live, and what each one holds.

A record holds facts, no secret: config_file, pid, pid_start, bot_pid, bot_start, boot_id, log_dir,
db_path, web_host, web_port, web_port_auto, started_at, status, restarts, exchange, symbol, mode,
grid, account. `status` is what the supervisor last said; what is true now is derived from it,
the locks and the processes (`core.listing`).

What alive means is `core.liveness`'s.

How a supervisor uses it: take `logs/{id}/.supervisor.lock`, then `claim(spec)`, then `update` at
each change; the record stays after a stop. The lock comes first, so that a record whose start
is under way is never taken for a dead one.

Standard library only: a supervisor loads this.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import ConfigError
from core.identity import LockTable, identify, process_start_ticks
from core.liveness import Liveness, look
from core.paths import check_name, run_dir
from core.registry_changes import Changes
from core.registry_file import Record, RegistryFile

if TYPE_CHECKING:  # readers of the registry need no spec
    from core.claims import Places
    from core.spec import ChildSpec


_PASSING = frozenset(
    {
        "pid",
        "pid_start",
        "bot_pid",
        "bot_start",
        "boot_id",
        "status",
        "reason",
        "restarts",
        "exit_code",
        "limits",
    }
)


def orders_may_rest(record: Mapping[str, Any]) -> bool:
    """Tell whether its bot ended with orders on a real exchange that are not proven gone.

    Paper orders rest nowhere but in its own database, and another program (mode "") has none of
    ours; a record that names no mode gets no benefit of the doubt.
    """
    return record.get("orders_unsettled") is True and record.get("mode") not in ("paper", "")


class InstanceRegistry:
    """The registry under one root. Every change holds the registry's lock and is written whole.

    Errors of all methods that write: StoreError (the lock can't be had), ConfigError (a planted
    link), OSError (a full disk); the registry is then as it was.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self._file = RegistryFile(self.root)
        self._changes = Changes(self._file.logs)

    @property
    def path(self) -> Path:
        return self._file.path

    def locked(self) -> AbstractContextManager[None]:
        """Hold the lock over several calls; may be nested."""
        return self._file.locked()

    def load(self) -> dict[str, Record]:
        """Read all records by instance id, without a lock; a damaged file is repaired."""
        return self._file.load()

    def save(self, records: dict[str, Record]) -> None:
        """Replace all records. Between `load` and `save` hold `locked()`."""
        with self.locked():
            for removed in self._file.load().keys() - records.keys():
                self._file.drop_copy(removed)
            self._file.save(records)

    def get(self, instance_id: str) -> Record | None:
        """Give one record; None when the id is unknown."""
        return self.load().get(instance_id)

    def register(self, instance_id: str, record: Record) -> None:
        """Put a whole record in, in place of any earlier one."""
        check_name(instance_id)
        with self.locked():
            records, taken = self._begin()
            records[instance_id] = dict(record)
            self._file.save_copy(instance_id, records[instance_id])
            self._commit(records, taken)
        self._file.sync_copy(instance_id)

    def update(self, instance_id: str, **fields: Any) -> Record:
        """Change fields of a record (made if it is not there) and return it whole.

        A new `pid` or `bot_pid` without its start time gets it from the running process. What only
        tells of processes (`_PASSING`) need not outlive a power cut, and doesn't wait for the disk.
        """
        check_name(instance_id)
        full = _with_identity(fields)
        posted: list[Path] = []

        def post() -> None:
            with contextlib.suppress(OSError):  # a full disk: we wait for the lock and say so then
                posted.append(self._changes.post(instance_id, full))

        try:
            with self._file.locked(on_busy=post):
                if posted and not posted[0].exists():
                    # Who had the lock before us has written it. Fifty who read the whole file for
                    # one record would each hold it in memory of their own.
                    record = self._file.load_copy(instance_id) or full
                    is_durable = not _is_passing(dict.fromkeys(full), full)
                else:
                    record, is_durable = self._update(instance_id, full)
        finally:
            self._changes.drop(posted)  # written by now, or never
        if is_durable:
            self._file.sync_copy(instance_id)
        return record

    def _update(self, instance_id: str, fields: dict[str, Any]) -> tuple[Record, bool]:
        """Change a record under the lock; also whether the change has to outlive a power cut."""
        records, taken = self._begin(but=(instance_id, fields))
        before = records.get(instance_id, {})
        record = {**before, **fields}
        if instance_id in records and record == before and not taken:
            return record, False
        self._file.save_copy(instance_id, record)
        records[instance_id] = record
        self._commit(records, taken)
        return record, not _is_passing(before, record)

    def _begin(
        self, but: tuple[str, dict[str, Any]] | None = None
    ) -> tuple[dict[str, Record], list[Path]]:
        """Load for a change: the records with what was posted applied, and the files of that.

        `but`: what the caller applies itself, should it have posted it. The lock must be held.
        """
        records = self._file.load()
        changes = self._changes.posted()
        touched = set()
        for change in changes:
            if (change.instance_id, change.fields) != but:
                records[change.instance_id] = {
                    **records.get(change.instance_id, {}),
                    **change.fields,
                }
                touched.add(change.instance_id)
        for instance_id in touched:
            self._file.save_copy(instance_id, records[instance_id])
        return records, [change.path for change in changes]

    def _commit(self, records: dict[str, Record], taken: list[Path]) -> None:
        """Write the records; then what was posted is in them, and its files go."""
        self._file.save(records)
        self._changes.drop(taken)

    def sync(self, instance_id: str) -> None:
        """Wait until the instance's record is on the disk. Errors: OSError."""
        self._file.sync_copy(instance_id)

    def unregister(self, instance_id: str) -> bool:
        """Take a record out; False when there was none."""
        check_name(instance_id)
        with self.locked():
            records, taken = self._begin()
            if records.pop(instance_id, None) is None:
                return False
            self._file.drop_copy(instance_id)
            self._commit(records, taken)
            return True

    def list_instances(self) -> list[Record]:
        """Give every record with `instance_id`, `is_alive` (the supervisor) and live PIDs, by id.

        `pid` and `bot_pid` are None unless that very process runs.
        """
        locks = LockTable()
        return [
            {
                **record,
                "instance_id": instance_id,
                "is_alive": alive.is_alive,
                "pid": alive.pid,
                "bot_pid": alive.bot_pid,
            }
            for instance_id, record in sorted(self.load().items())
            for alive in (self.liveness(instance_id, record, locks),)
        ]

    def liveness(
        self, instance_id: str, record: Record | None = None, locks: LockTable | None = None
    ) -> Liveness:
        """Look which processes of the instance run now, without disturbing them."""
        record = (self.get(instance_id) or {}) if record is None else record
        return look(run_dir(self.root, instance_id), record, locks or LockTable())

    def dead_instances(self, keep: Collection[str] = ()) -> list[str]:
        """Name the instances of which nothing lives or is locked, but not those in `keep`."""
        return self._dead_of(self.load(), keep)

    def _dead_of(self, records: Mapping[str, Record], keep: Collection[str]) -> list[str]:
        locks = LockTable()
        return [
            instance_id
            for instance_id, record in sorted(records.items())
            if instance_id not in keep and not self._holds_anything(instance_id, record, locks)
        ]

    def cleanup_dead_instances(self, keep: Collection[str] = ()) -> int:
        """Remove records and PID files of dead instances and return how many there were.

        One whose orders may rest stays: its record alone remembers that they must be looked after.
        """
        with self.locked():
            records, taken = self._begin()
            dead = [
                name for name in self._dead_of(records, keep) if not orders_may_rest(records[name])
            ]
            for instance_id in dead:
                del records[instance_id]
                self._file.drop_copy(instance_id)
                for name in ("daemon.pid", "bot.pid"):
                    with contextlib.suppress(OSError):
                        (run_dir(self.root, instance_id) / name).unlink()
            if dead or taken:
                self._commit(records, taken)
        return len(dead)

    def claim(self, spec: ChildSpec, *, pid: int | None = None, **fields: Any) -> int:
        """Take the spec's port, database, log directory, id and account, and return the port.

        `pid` is the supervisor (None: the caller); `fields` go into the record as they are. No
        port in the spec: the one this instance had, if it was chosen for it and is still usable,
        else the first from 5001 that is free and in nobody's record.
        Errors: ConfigError with one fault for each thing that another living instance holds, its
        holder named; nothing is written then.
        """
        from core.claims import Places  # readers claim nothing

        own = os.getpid() if pid is None else pid
        with self.locked():
            records, taken = self._begin()
            claimed = self._claim(spec, records, LockTable(), Places(), own, fields)
            self._file.save_copy(spec.instance_id, claimed)
            records[spec.instance_id] = claimed
            self._commit(records, taken)
        self._file.sync_copy(spec.instance_id)
        port: int = claimed["web_port"]
        return port

    def claim_all(
        self, wanted: Sequence[tuple[ChildSpec, dict[str, Any]]]
    ) -> list[tuple[int, Record] | ConfigError | None]:
        """Claim for supervisors that are about to be forked, in one write; one result for each.

        The caller holds `locked()` until each of them has its own lock, by which it lives. One
        that is claimed gives its port and the record as it was; None: a supervisor of it lives
        already. The records name no process yet, and do not wait for the disk.
        """
        from core.claims import Places

        records, taken = self._begin()
        locks, places, together = LockTable(), Places(), set[str]()
        found: list[tuple[int, Record] | ConfigError | None] = []
        for spec, fields in wanted:
            name = spec.instance_id
            before = records.get(name, {})
            if self.liveness(name, before, locks).pid is not None:
                found.append(None)
                continue
            try:
                claimed = self._claim(spec, records, locks, places, None, fields, together)
            except ConfigError as error:
                found.append(error)
                continue
            together.add(name)
            self._file.save_copy(name, claimed)
            records[name] = claimed
            found.append((claimed["web_port"], before))
        self._commit(records, taken)
        return found

    def _claim(
        self,
        spec: ChildSpec,
        records: Mapping[str, Record],
        locks: LockTable,
        places: Places,
        own: int | None,
        fields: dict[str, Any],
        together: Collection[str] = (),
    ) -> Record:
        """Look whether the spec's things are free; the record that claims them. Errors: as `claim`.

        `own` None: a supervisor that is about to be forked. `together`: others of the same start,
        whose records claim too, though nobody holds their locks yet.
        """
        from core.claims import choose_port, facts, find_clashes, own_faults

        mine = records.get(spec.instance_id, {})
        others = {key: record for key, record in records.items() if key != spec.instance_id}
        alive = self.liveness(spec.instance_id, mine, locks)
        faults = [] if own is None else own_faults(spec, mine, alive.pid, own)
        for key, record in sorted(others.items()):
            clashes = find_clashes(spec, record, places)
            if not clashes:
                continue
            if key in together or self._holds_anything(key, record, locks):
                state = record.get("status", "unknown")
                who = "by the same command" if key in together else f"pid {record.get('pid')}"
                holder = f"held by instance {key} ({state}, supervisor {who})"
                faults += [f"{spec.config_path}: {clash} is {holder}" for clash in clashes]
        if faults:
            raise ConfigError(f"{spec.instance_id}: cannot start", tuple(faults))
        port = spec.web_port or choose_port(
            spec, mine, others, is_adopted=alive.bot_pid is not None
        )
        claim = {
            **facts(spec, port),
            "pid": own,
            "bot_pid": alive.bot_pid,
            "started_at": datetime.now().astimezone().isoformat(timespec="seconds"),
            "status": "STARTING",
            "restarts": 0,
            **fields,
        }
        return {**mine, **_with_identity(claim)}

    def _holds_anything(self, instance_id: str, record: Record, locks: LockTable) -> bool:
        """Tell whether a process of it lives, or a stranger (a leftover) holds one of its locks."""
        folder = run_dir(self.root, instance_id)
        return self.liveness(instance_id, record, locks).is_any_alive or any(
            locks.is_held(folder / name) for name in (".supervisor.lock", ".bot.lock")
        )


def _is_passing(before: Record, after: Record) -> bool:
    """Whether two records differ only in what means nothing after a power cut.

    That orders may rest must outlive one; that none do need not: they are only looked for again.
    """
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    if not after.get("orders_unsettled"):
        changed.discard("orders_unsettled")
    return changed <= _PASSING


def _with_identity(fields: dict[str, Any]) -> dict[str, Any]:
    """Add start times to new PIDs, so that they name processes."""
    full = dict(fields)
    for key, start_key in (("pid", "pid_start"), ("bot_pid", "bot_start")):
        if key in full and start_key not in full:
            pid = full[key]
            full[start_key] = process_start_ticks(pid) if isinstance(pid, int) else None
    if "pid" in full or "bot_pid" in full:
        process = identify(os.getpid())
        full["boot_id"] = process.boot if process else ""
    return full
