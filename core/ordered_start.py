"""Starting several instances in the order that their configs ask for, and with a distance.

Without `start_after` and `--stagger` all are launched at once, from one process. Otherwise one is
launched as soon as those that it names are ready or have failed, whatever the others do.
Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from core.config_files import active_configs, read_text
from core.console import Console
from core.errors import ConfigError
from core.instance_manager import InstanceRegistry
from core.spec import ChildSpec
from core.start_order import StartCycle, startable, unknown, waves, without_cycles

READY = "ready"


class Launcher(Protocol):
    """What launches (`core.batch.Batch`). `outcomes`: "ready" or what became of it, by id."""

    outcomes: dict[str, str]

    def launch(self, spec: ChildSpec, **options: Any) -> None: ...
    def flush(self) -> None: ...
    def wait_next(self) -> None: ...


def launch_in_order(
    launcher: Launcher,
    console: Console,
    specs: Sequence[ChildSpec],
    *,
    stagger_s: float = 0.0,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Launch each when its turn comes; the last ones are not waited for.

    `stagger_s`: about this long between two starts, half as much more or less. `options` are the
    launcher's, by id.
    """
    by_id = {spec.instance_id: spec for spec in specs}
    after, _ = without_cycles(graph_of(specs))  # told before, where it is a fault
    order = [name for wave in waves(after) for name in wave]
    after = {name: after[name] for name in order}
    started: set[str] = set()
    while turn := startable(after, started, launcher.outcomes):
        for name in turn:
            if started and stagger_s:
                # Not all at once: fifty bots would ask one exchange and two processors together.
                launcher.flush()
                time.sleep(stagger_s * (0.5 + random.random()))
            _tell_failed(console, name, after[name], launcher.outcomes)
            launcher.launch(by_id[name], **(options or {}).get(name, {}))
            started.add(name)
        if len(started) == len(after):
            return
        launcher.flush()
        while not startable(after, started, launcher.outcomes):
            launcher.wait_next()


def _tell_failed(
    console: Console, name: str, named: Sequence[str], outcomes: Mapping[str, str]
) -> None:
    for one in named:
        if outcomes.get(one, READY) != READY:
            words = "warning: {id}: {other} did not become ready; it is started all the same"
            console.complain(words, id=name, other=one)


# Faults and warnings ------------------------------------------------------------------------------


def graph_of(specs: Sequence[ChildSpec]) -> dict[str, tuple[str, ...]]:
    return {spec.instance_id: spec.start_after for spec in specs}


def order_faults(specs: Sequence[ChildSpec]) -> dict[str, str]:
    """Find who waits for itself in the end: the fault by id, which names the whole circle."""
    _, cycles = without_cycles(graph_of(specs))
    faults = {}
    for spec in specs:
        for cycle in cycles:
            if spec.instance_id in cycle.names:
                faults[spec.instance_id] = _fault(spec, cycle)
    return faults


def _fault(spec: ChildSpec, cycle: StartCycle) -> str:
    circle = cycle.seen_from(spec.instance_id)
    return f"{spec.config_path}: daemon_config.start_after: was {circle}, expected no circle"


def order_warnings(specs: Sequence[ChildSpec], root: Path) -> list[str]:
    """Name whom nobody knows: in no config of this start, no active one, no record."""
    after = graph_of(specs)
    if not any(after.values()):
        return []
    known = {*after, *active_graph(root)}
    with contextlib.suppress(ConfigError, OSError):
        known |= InstanceRegistry(root).load().keys()
    paths = {spec.instance_id: spec.config_path for spec in specs}
    return [
        f"{paths[name]}: daemon_config.start_after names {one}, which no config and no record is of"
        for name, one in unknown(after, known)
    ]


def check_order(
    spec: ChildSpec, specs: Sequence[ChildSpec], root: Path
) -> tuple[list[str], list[str]]:
    """Find the faults and warnings of one config, among those given with it and the active ones."""
    if not spec.start_after:
        return [], []
    _, cycles = without_cycles({**active_graph(root), **graph_of(specs)})
    faults = [_fault(spec, cycle) for cycle in cycles if spec.instance_id in cycle.names]
    paths = f"{spec.config_path}: "
    return faults, [w for w in order_warnings(specs, root) if w.startswith(paths)]


def active_graph(root: Path) -> dict[str, tuple[str, ...]]:
    """Read who is named by whom in the active configs, valid or not, without checking them."""
    graph = {}
    for path in active_configs(root):
        try:
            raw = json.loads(read_text(path, path.name))
        except (ConfigError, ValueError, RecursionError):
            continue
        sections = raw if isinstance(raw, dict) else {}
        daemon = _section(sections, "daemon_config") or sections  # the older flat format
        name = _section(sections, "metadata").get("instance_id") or path.stem
        named = daemon.get("start_after")
        if not isinstance(named, list):
            named = []
        graph[str(name)] = tuple(one for one in named if isinstance(one, str))
    return graph


def _section(sections: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = sections.get(name)
    return found if isinstance(found, dict) else {}
