"""S26: who is started before whom: the pure order, its driver over a fake, and real programs."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from registry_world import make_spec
from test_daemon_manager import Shell, write_config
from toy_fleet import TOY, ToyFleet

from core.console import Console
from core.ordered_start import active_graph, check_order, launch_in_order, order_warnings
from core.spec import ChildSpec
from core.start_order import StartCycle, startable, unknown, waves, without_cycles

# The order ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ({}, []),
        ({"a": (), "b": ()}, [["a", "b"]]),
        ({"b": ("a",), "a": ()}, [["a"], ["b"]]),
        ({"c": ("b", "a"), "b": ("a",), "a": ()}, [["a"], ["b"], ["c"]]),
        ({"d": ("b", "c"), "b": ("a",), "c": ("a",), "a": ()}, [["a"], ["b", "c"], ["d"]]),
        ({"a": ("elsewhere",)}, [["a"]]),
        ({"b": ("a", "a"), "a": ()}, [["a"], ["b"]]),
    ],
)
def test_waves(after: dict[str, tuple[str, ...]], expected: list[list[str]]) -> None:
    """S26: each in the first wave after all that it names; who is no part of it is not awaited."""
    assert waves(after) == expected


@pytest.mark.parametrize(
    ("after", "names"),
    [
        ({"a": ("a",)}, ("a",)),
        ({"a": ("b",), "b": ("a",)}, ("a", "b")),
        ({"x": ("a",), "a": ("b",), "b": ("c",), "c": ("a",), "free": ()}, ("a", "b", "c")),
    ],
)
def test_a_circle_is_named(after: dict[str, tuple[str, ...]], names: tuple[str, ...]) -> None:
    """S26: the circle alone, not who waits for it."""
    with pytest.raises(StartCycle) as caught:
        waves(after)
    assert caught.value.names == names
    assert str(caught.value) == " after ".join((*names, names[0]))


NAMES = [f"i{number}" for number in range(8)]
Graph = dict[str, tuple[str, ...]]


@st.composite
def graphs(draw: st.DrawFn, *, acyclic: bool) -> Graph:
    """Any names in any order; acyclic: each names only those before it in a hidden order."""
    hidden = draw(st.permutations(NAMES))
    after = {}
    for place, name in enumerate(hidden):
        others = hidden[:place] if acyclic else hidden
        chosen = draw(st.lists(st.sampled_from([*others, "elsewhere"]), max_size=4))
        after[name] = tuple(chosen)
    return {name: after[name] for name in draw(st.permutations(NAMES))}


@pytest.mark.slow
@given(graphs(acyclic=True))
def test_every_order_is_kept_and_nobody_waits_longer(after: Graph) -> None:
    """S26: each name once, behind all that it names, and right behind the last of them."""
    found = waves(after)
    place = {name: number for number, wave in enumerate(found) for name in wave}
    assert sorted(place) == sorted(after)
    assert sum(map(len, found)) == len(after)
    for name, named in after.items():
        assert place[name] == max((place[one] + 1 for one in named if one in after), default=0)


@pytest.mark.slow
@given(graphs(acyclic=True), st.randoms(use_true_random=False))
def test_whatever_is_decided_first_all_are_started_in_order(after: Graph, chance: Any) -> None:
    """S26: outcomes come in any order; nobody is started early, and nobody is forgotten."""
    started: list[str] = []
    decided: list[str] = []
    while len(decided) < len(after):
        for name in startable(after, started, decided):
            assert {one for one in after[name] if one in after} <= set(decided)
            started.append(name)
        open_ = [name for name in started if name not in decided]
        assert open_, "somebody runs or can be started, until all are"
        decided.append(chance.choice(open_))
    assert sorted(started) == sorted(after)


@pytest.mark.slow
@given(graphs(acyclic=False))
def test_without_its_circles_every_start_ends(after: Graph) -> None:
    """S26: who is in no circle keeps its order; who is in one is named."""
    graph, cycles = without_cycles(after)
    assert sorted(name for wave in waves(graph) for name in wave) == sorted(after)
    broken = {name for cycle in cycles for name in cycle.names}
    for name, named in after.items():
        assert graph[name] == (() if name in broken else named)
    for cycle in cycles:
        for one, following in itertools.pairwise((*cycle.names, cycle.names[0])):
            assert following in after[one]


def test_who_is_unknown_is_named() -> None:
    after = {"a": ("b", "x"), "b": ("y",)}
    assert unknown(after, {"a", "b", "y"}) == [("a", "x")]


# The driver ---------------------------------------------------------------------------------------


class FakeLauncher:
    """Keeps what was asked; each wait decides one, in the order of launch."""

    def __init__(self, **outcomes: str) -> None:
        self.outcomes: dict[str, str] = {}
        self.told: list[str] = []
        self._will_be = outcomes
        self._open: list[str] = []

    def launch(self, spec: ChildSpec, **options: Any) -> None:
        self.told.append(spec.instance_id + "".join(f" {key}" for key in options))
        self._open.append(spec.instance_id)

    def flush(self) -> None:
        self.told.append("flush")

    def wait_next(self) -> None:
        name = self._open.pop(0)
        self.outcomes[name] = self._will_be.get(name, "ready")
        self.told.append(f"{name} is {self.outcomes[name]}")


def specs_of(tmp_path: Path, **after: tuple[str, ...]) -> list[ChildSpec]:
    return [make_spec(tmp_path, name, start_after=named) for name, named in after.items()]


def test_without_an_order_all_are_launched_at_once(tmp_path: Path) -> None:
    """S26: nothing is flushed or waited for: the usual case is as quick as ever."""
    fake = FakeLauncher()
    launch_in_order(fake, Console(as_json=False), specs_of(tmp_path, b=(), a=("elsewhere",)))
    assert fake.told == ["b", "a"]


def test_one_waits_for_those_it_names_and_for_nobody_else(tmp_path: Path) -> None:
    """S26: c goes as soon as a is decided, although b is not."""
    fake = FakeLauncher()
    specs = specs_of(tmp_path, c=("a",), a=(), b=(), d=("b", "c"))
    launch_in_order(fake, Console(as_json=False), specs, options={"c": {"started_at": "then"}})
    assert fake.told == [
        "a",
        "b",
        "flush",
        "a is ready",
        "c started_at",
        "flush",
        "b is ready",
        "c is ready",
        "d",
    ]


def test_a_failure_holds_nobody_back_and_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """S26, S14: one bot's crash touches no other; the warning says who is not there."""
    fake = FakeLauncher(a="failed")
    launch_in_order(fake, Console(as_json=False), specs_of(tmp_path, a=(), b=("a",)))
    assert fake.told[-1] == "b"
    assert "b: a did not become ready; it is started all the same" in capsys.readouterr().err


def test_a_circle_is_launched_all_the_same(tmp_path: Path) -> None:
    """S26: as `resurrect` needs it: its members in any order, the others in theirs."""
    fake = FakeLauncher()
    specs = specs_of(tmp_path, a=("b",), b=("a",), c=("b",))
    launch_in_order(fake, Console(as_json=False), specs)
    assert [told for told in fake.told if len(told) == 1] == ["a", "b", "c"]
    assert fake.told.index("c") > fake.told.index("b is ready")


def test_a_stagger_stands_between_two_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S26: half as much more or less, by chance; not before the first."""
    slept: list[float] = []
    monkeypatch.setattr("core.ordered_start.time.sleep", slept.append)
    fake = FakeLauncher()
    specs = specs_of(tmp_path, **{f"i{number}": () for number in range(20)})
    launch_in_order(fake, Console(as_json=False), specs, stagger_s=2.0)
    assert len(slept) == 19
    assert all(1.0 <= pause <= 3.0 for pause in slept)
    assert len(set(slept)) > 1
    assert fake.told[:3] == ["i0", "flush", "i1"]


# Faults and warnings ------------------------------------------------------------------------------


def write_active(root: Path, name: str, document: object) -> None:
    folder = root / "config" / "active"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(
        document if isinstance(document, str) else json.dumps(document)
    )


def test_the_active_configs_are_read_whatever_they_hold(tmp_path: Path) -> None:
    """Both formats, an id of their own, broken ones left out."""
    write_active(tmp_path, "a", {"daemon_config": {"start_after": ["b", 7]}})
    write_active(tmp_path, "b", {"start_after": ["c"], "metadata": {"instance_id": "bee"}})
    write_active(tmp_path, "c", {"daemon_config": {"start_after": "a"}})
    write_active(tmp_path, "d", "{")
    write_active(tmp_path, "e", "[]")
    assert active_graph(tmp_path) == {"a": ("b",), "bee": ("c",), "c": (), "e": ()}


def test_one_config_is_checked_against_the_active_ones(tmp_path: Path) -> None:
    """S26: the circle goes through files that were not given."""
    write_active(tmp_path, "b", {"daemon_config": {"start_after": ["a"]}})
    (spec,) = specs_of(tmp_path, a=("b", "nobody"))
    faults, warnings = check_order(spec, [spec], tmp_path)
    assert faults == [
        f"{spec.config_path}: daemon_config.start_after: was a after b after a, expected no circle"
    ]
    assert warnings == order_warnings([spec], tmp_path)
    assert len(warnings) == 1
    assert "nobody" in warnings[0]


# Real programs ------------------------------------------------------------------------------------


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[ToyFleet]:
    root = tmp_path / "root"
    (root / "config" / "active").mkdir(parents=True)
    fleet = ToyFleet(root)
    yield fleet
    fleet.clean_up()


@pytest.fixture
def run(fleet: ToyFleet, tmp_path: Path) -> Shell:
    shutil.copy(TOY, fleet.root / "toy.py")
    return Shell(fleet.root, tmp_path)


def times_of(fleet: ToyFleet, name: str) -> tuple[str, str]:
    """When its child was started, and when it became ready or was given up, as ISO times."""
    events = fleet.events(name)
    started = next(e["timestamp"] for e in events if e["event"] == "child_started")
    decided = next(
        e["timestamp"]
        for e in events
        if e["event"] == "state_changed" and e["to"] not in ("STARTING", "STOPPED")
    )
    return str(started), str(decided)


@pytest.mark.slow
def test_three_programs_start_in_their_order(run: Shell, fleet: ToyFleet) -> None:
    """S26: by `start --all`, by several --config, and by `resurrect`; a reboot forgets no order."""
    write_config(fleet, "first", start_after=["third"])
    write_config(fleet, "second", start_after=["first"])
    write_config(fleet, "third")
    for words in (
        ("start", "--all"),
        ("start", "--config", "first", "--config", "second", "--config", "third"),
        ("resurrect", "--stagger", "0"),
    ):
        answer = run(*words)
        assert answer.code == 0, answer.err
        assert answer.err == ""
        third, first, second = (times_of(fleet, name) for name in ("third", "first", "second"))
        assert third[0] < third[1] <= first[0] < first[1] <= second[0]
        assert run("stop", "--all", "--keep-wanted").code == 0
        for log in fleet.root.glob("logs/*/*/daemon.log"):
            log.unlink()


@pytest.mark.slow
def test_a_program_starts_although_the_one_before_it_failed(run: Shell, fleet: ToyFleet) -> None:
    """S26: it waits until the other has failed, says so, and runs; an unknown name is a warning."""
    write_config(fleet, "broken", "--exit-code", "3", auto_restart=False)
    write_config(fleet, "other", start_after=["broken", "nobody"])
    answer = run("start", "--all", "--json")
    assert answer.code == 1
    assert {entry["instance_id"]: entry["ok"] for entry in answer.json()} == {
        "broken": False,
        "other": True,
    }
    assert "start_after names nobody" in answer.err
    assert "other: broken did not become ready; it is started all the same" in answer.err
    assert times_of(fleet, "broken")[1] <= times_of(fleet, "other")[0]
    assert run("stop", "--all").code == 0


@pytest.mark.slow
def test_a_circle_is_a_fault_of_each_config_in_it(run: Shell, fleet: ToyFleet) -> None:
    """S26: exit 2 and nothing runs; of `--all`, the others do; `validate` sees it in one file."""
    write_config(fleet, "a", start_after=["b"])
    write_config(fleet, "b", start_after=["a"])
    write_config(fleet, "free", start_after=["b"])
    answer = run("validate", "--config", "a")
    assert answer.code == 2
    assert "daemon_config.start_after: was a after b after a, expected no circle" in answer.err
    assert run("start", "--config", "a", "--config", "b").code == 2
    assert fleet.processes() == []
    answer = run("start", "--all")
    assert answer.code == 2
    assert "was b after a after b, expected no circle" in answer.err
    assert fleet.status("free") == "RUNNING"
    assert (fleet.record("a"), fleet.record("b")) == ({}, {})
    assert run("stop", "--all").code == 0


@pytest.mark.slow
def test_a_bad_list_is_a_fault(run: Shell, fleet: ToyFleet) -> None:
    write_config(fleet, "a", start_after=["../x"])
    answer = run("validate", "--config", "a")
    assert answer.code == 2
    assert "daemon_config.start_after" in answer.err
    assert "a list of instance ids" in answer.err
