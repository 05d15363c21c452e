"""S28: a cgroup v2 group for each bot: where one may be made, and what a real one does.

The decisions are tried on a tree of plain files that stands for cgroupfs. The real ones need root,
cgroup v2 and its memory controller, handed on at the root of the tree, as systemd has it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_fleet import ToyFleet, free_port, is_alive, wait_for

from core import cgroups, deaths, kernel_limits
from core.cgroups import Group, Place, find_base, place_of
from core.launch import supervise
from core.listing import collect
from core.spec import ChildSpec


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[ToyFleet]:
    fleet = ToyFleet(tmp_path)
    yield fleet
    fleet.clean_up()


# Whose folder it is: a tree of plain files --------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A delegated group with nobody in it but us."""
    return make_folder(tmp_path / "x.scope", mark=True, pids=[os.getpid()])


def make_folder(path: Path, *, mark: bool, pids: list[int], memory: bool = True) -> Path:
    path.mkdir()
    (path / "cgroup.controllers").write_text("cpu memory pids\n" if memory else "cpu\n")
    (path / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
    (path / "cgroup.subtree_control").write_text("")
    if mark:
        (path / "user.delegate").touch()
    return path


def make_leaf(base: Path, name: str = cgroups.SUPERVISORS) -> Path:
    leaf = base / name
    leaf.mkdir()
    (leaf / "cgroup.procs").write_text(f"{os.getpid()}\n")
    return leaf


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """As root; a mark is a file here, where not every file system has attributes."""

    def getxattr(path: Path, name: str) -> bytes:
        if not (path / name).exists():
            raise OSError(61, "No data available")
        return b"1"

    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("os.getxattr", getxattr)


def test_without_cgroup_v2_there_is_none() -> None:
    assert find_base(None) == (None, "there is no cgroup v2 here")


@pytest.mark.usefixtures("as_root")
def test_beside_the_supervisors_of_a_unit(folder: Path) -> None:
    """What our units make: nobody moves, and the controllers are handed on."""
    leaf = make_leaf(folder)
    (folder / "cgroup.procs").write_text("")
    assert find_base(Place(folder=leaf, is_root=False)) == (folder, "")
    assert (folder / "cgroup.subtree_control").read_text().startswith("+pids")


@pytest.mark.usefixtures("as_root")
def test_alone_in_a_delegated_folder_we_move_below_it(folder: Path) -> None:
    """A folder whose children have controllers may hold no process itself."""
    make_leaf(folder).joinpath("cgroup.procs").write_text("")
    assert find_base(Place(folder=folder, is_root=False)) == (folder, "")
    assert (folder / "supervisor" / "cgroup.procs").read_text() == str(os.getpid())


@pytest.mark.usefixtures("as_root")
def test_with_others_in_it_nothing_is_moved(folder: Path) -> None:
    (folder / "cgroup.procs").write_text(f"1\n{os.getpid()}\n")
    base, why = find_base(Place(folder=folder, is_root=False))
    assert base is None
    assert "others are in" in why
    assert not (folder / "supervisor").exists()


@pytest.mark.usefixtures("as_root")
def test_a_service_without_a_subgroup_is_left_alone(tmp_path: Path) -> None:
    """systemd could not start the next supervisor in it while the bot lives."""
    folder = make_folder(tmp_path / "x.service", mark=True, pids=[os.getpid()])
    base, why = find_base(Place(folder=folder, is_root=False))
    assert base is None
    assert "DelegateSubgroup=supervisor" in why
    assert (folder / "cgroup.subtree_control").read_text() == ""


@pytest.mark.usefixtures("as_root")
def test_root_asks_for_the_mark(tmp_path: Path) -> None:
    """Root may write everywhere; that makes nothing ours but the root of a namespace."""
    folder = make_folder(tmp_path / "x.scope", mark=False, pids=[os.getpid()])
    make_leaf(folder).joinpath("cgroup.procs").write_text("")
    assert find_base(Place(folder=folder, is_root=False))[1].endswith("is not delegated")
    assert find_base(Place(folder=folder, is_root=True))[1].endswith("is not delegated")
    (folder / "cgroup.events").write_text("populated 1\n")
    assert find_base(Place(folder=folder, is_root=True)) == (folder, "")


def test_a_user_asks_for_the_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    folder = make_folder(tmp_path / "x.scope", mark=False, pids=[os.getpid()])
    make_leaf(folder).joinpath("cgroup.procs").write_text("")
    assert find_base(Place(folder=folder, is_root=False)) == (folder, "")
    monkeypatch.setattr("os.access", lambda *_: False)
    assert find_base(Place(folder=folder, is_root=False))[1].endswith("is not ours to write")


@pytest.mark.usefixtures("as_root")
def test_without_the_memory_controller_there_is_none(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "x.scope", mark=True, pids=[os.getpid()], memory=False)
    assert find_base(Place(folder=folder, is_root=False))[1].endswith("has no memory controller")
    assert find_base(Place(folder=tmp_path / "gone", is_root=False))[0] is None


def test_no_file_of_the_kernels_is_ever_made(tmp_path: Path) -> None:
    """A name that is not there is told, not created: a plain folder is no group."""
    group = Group.make(tmp_path, "x")
    with pytest.raises(FileNotFoundError):
        group.limit(1 << 20, None)
    assert list(group.folder.iterdir()) == []
    assert group.oom_kills() is None
    group.remove()


def test_limits_and_counters_are_written_and_read(tmp_path: Path) -> None:
    group = Group.make(tmp_path, "x")
    names = ("memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cgroup.kill")
    for name in names:
        (group.folder / name).write_text("")
    group.limit(1 << 20, 1024)
    group.kill()
    found = [(group.folder / name).read_text() for name in names]
    assert found == ["1048576", "0", "1", "1024", "1"]
    (group.folder / "memory.events").write_text("oom 5\noom_kill 4\noom_group_kill 1\n")
    (group.folder / "memory.current").write_text("12345\n")
    assert (group.oom_kills(), group.held()) == (4, 12345)


def test_where_we_are_is_found_or_nowhere(tmp_path: Path) -> None:
    """This machine's own files; and none of a process that is gone."""
    own = place_of("self")
    assert own is None or own.folder.is_dir()
    assert place_of(os.getpid(), proc=tmp_path) is None


# The real thing -----------------------------------------------------------------------------------


@pytest.fixture
def base() -> Iterator[Path]:
    """A group that was delegated, as a unit of ours is; it goes with all that is in it."""
    mounts = Path("/proc/self/mountinfo").read_text()
    found = kernel_limits.group_folder("0::/", mounts)
    if found is None:
        pytest.skip("cgroup v2 is not mounted here")
    root = Path(found[0])
    if os.geteuid() != 0:
        pytest.skip("making a delegated group needs root")
    if "memory" not in (root / "cgroup.subtree_control").read_text().split():
        pytest.skip(f"{root} hands no memory controller on (cgroup v1 has it, or nobody)")
    base = root / f"gridfleet-test-{os.getpid()}"
    base.mkdir()
    os.setxattr(base, "user.delegate", b"1")
    yield base
    (base / "cgroup.kill").write_text("1")
    for path in (*base.glob("*/"), base):
        wait_for(lambda path=path: _is_removed(path), f"the end of {path}")


def _is_removed(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        path.rmdir()
    return True


def start_within(folder: Path, fleet: ToyFleet, spec: ChildSpec) -> None:
    """Start a supervisor from a process that is in this group, as systemd does."""
    folder.mkdir(exist_ok=True)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            (folder / "cgroup.procs").write_text(str(os.getpid()))
            fleet.start(spec)
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def kernel_of(fleet: ToyFleet) -> tuple[object, object]:
    (entry,) = collect(fleet.root)
    return entry["limits"]["kernel"], entry["limits"]["kernel_mb"]


def group_of(pid: int) -> Path:
    place = place_of(pid)
    assert place is not None
    return place.folder


@pytest.mark.slow
def test_a_bot_has_a_group_of_its_own_and_leaves_none(base: Path, fleet: ToyFleet) -> None:
    """S28: limits set, the supervisor outside, all that descends from the bot inside; then gone."""
    options = ("--grandchild", "--own-session")
    start_within(
        base / "supervisor", fleet, fleet.spec("toy", *options, limits={"memory_limit_mb": 64})
    )
    group = base / "bot-toy"
    grandchild = int((fleet.folder() / "grandchild").read_text())
    assert group_of(fleet.bot_pid()) == group_of(grandchild) == group
    assert group_of(fleet.supervisor_pid()) == base / "supervisor"
    files = ("memory.max", "memory.swap.max", "memory.oom.group", "pids.max")
    found = [(group / name).read_text().strip() for name in files if (group / name).exists()]
    assert found[0] == str(192 << 20)
    assert found[-2:] == ["1", "1024"]
    assert kernel_of(fleet) == ("cgroup", 192)
    fleet.stop()
    assert not is_alive(grandchild)
    assert not group.exists()


@pytest.mark.slow
def test_the_kernel_ends_what_outruns_the_sampling_and_the_record_says_so(
    base: Path, fleet: ToyFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S28: killed at memory.max as a whole, told as oom by the group's own counter, restarted."""
    monkeypatch.setattr("core.monitor.SAMPLE_INTERVAL_S", 600.0)
    options = ("--grab", "--once")
    start_within(
        base / "supervisor", fleet, fleet.spec("toy", *options, limits={"memory_limit_mb": 64})
    )
    record = wait_for(lambda: deaths.load(fleet.folder()), "a death")[0]
    assert (record["cause"], record["signal"]) == ("oom", "SIGKILL")
    assert record["reason"] == "the kernel killed it: over the 192 MB of its cgroup"
    assert 64 < record["peak_mb"] < 256  # files that it maps are not its group's
    wait_for(lambda: len(fleet.lines("starts")) == 2, "a new bot")
    fleet.wait_status("RUNNING")
    assert group_of(fleet.bot_pid()) == base / "bot-toy"
    os.kill(fleet.bot_pid(), signal.SIGKILL)
    found = wait_for(lambda: len(all_ := deaths.load(fleet.folder())) == 2 and all_, "a second")
    assert found[0]["cause"] == "signal"


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--by-grandchild",)])
def test_a_slow_leak_is_still_restarted_gracefully(
    base: Path, fleet: ToyFleet, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """S28: between memory_limit_mb and memory.max the sampling comes first."""
    monkeypatch.setattr("core.monitor.SAMPLE_INTERVAL_S", 0.2)
    words = ("--leak", "80", "--once", *options)
    start_within(
        base / "supervisor", fleet, fleet.spec("toy", *words, limits={"memory_limit_mb": 64})
    )
    found = wait_for(lambda: deaths.load(fleet.folder()), "a death")
    assert found[0]["cause"] == "memory"
    assert "child_killed" not in fleet.event_names()
    assert '"keep_orders": true' in "".join(fleet.lines("said"))


@pytest.mark.slow
def test_an_adopted_bot_keeps_its_group_and_its_death_is_told(base: Path, fleet: ToyFleet) -> None:
    """S28: the next supervisor may be anywhere; it finds the group by the bot, and its counter."""
    spec = fleet.spec("toy", limits={"memory_limit_mb": 64}, restart={"max_restart_attempts": 9})
    start_within(base / "supervisor", fleet, spec)
    bot, first = fleet.bot_pid(), fleet.supervisor_pid()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: not is_alive(first), "the supervisor's end")
    fleet.start(spec)
    assert fleet.bot_pid() == bot
    assert group_of(bot) == base / "bot-toy"
    assert kernel_of(fleet) == ("cgroup", 192)
    hog = "held = []\nwhile True: held.append(b'x' * (4 << 20))\n"
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.stdin.read()\n{hog}"], stdin=-1
    ) as it:
        (base / "bot-toy" / "cgroup.procs").write_text(str(it.pid))
        assert it.stdin is not None
        it.stdin.close()
        it.wait()
    record = wait_for(lambda: deaths.load(fleet.folder()), "a death")[0]
    assert (record["cause"], record["code"], record["pid"]) == ("oom", None, bot)
    wait_for(lambda: fleet.bot_pid() not in (0, bot), "a new bot")
    fleet.wait_status("RUNNING")


@pytest.mark.slow
def test_who_left_the_bots_family_is_ended_with_its_group(base: Path, fleet: ToyFleet) -> None:
    """S6: an adopted bot's orphans don't come to us; one without its lock shows nowhere else."""
    spec = fleet.spec("toy", "--finish-code", "0")
    start_within(base / "supervisor", fleet, spec)
    os.kill(fleet.supervisor_pid(), signal.SIGKILL)
    wait_for(lambda: not fleet.registry.liveness("toy").is_alive)
    fleet.start(spec)
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as lost:
        (base / "bot-toy" / "cgroup.procs").write_text(str(lost.pid))
        fleet.stop()
        assert lost.wait() == -signal.SIGKILL
    assert not (base / "bot-toy").exists()


@pytest.mark.slow
def test_alone_in_a_delegated_group_we_move_and_the_bot_has_its_own(
    base: Path, fleet: ToyFleet
) -> None:
    """A container's way: no subgroup was made for us, and nobody else is there."""
    spec = fleet.spec("toy", limits={"memory_limit_mb": 64})
    pid = os.fork()
    if pid == 0:
        try:
            (base / "cgroup.procs").write_text(str(os.getpid()))
            supervise(
                spec,
                started_at="2026-01-02T03:04:05+00:00",
                first=None,
                to_stop=False,
                keep_desired=False,
            )
        finally:
            os._exit(0)
    fleet.wait_status("RUNNING")
    assert group_of(fleet.bot_pid()) == base / "bot-toy"
    assert group_of(pid) == base / "supervisor"
    fleet.ask("stop")
    os.waitpid(pid, 0)
    assert not (base / "bot-toy").exists()


@pytest.mark.slow
def test_a_limit_that_is_lowered_live_kills_nobody(
    base: Path, fleet: ToyFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S28: memory.max stays above what the bot holds; the sampling does the rest."""
    monkeypatch.setattr("core.monitor.SAMPLE_INTERVAL_S", 600.0)
    options = ("--leak", "300")

    def limited(mb: int) -> ChildSpec:
        settings = {"daemon_config.memory_limit_mb": str(mb)}
        return fleet.spec(
            "toy", *options, web_port=port, limits={"memory_limit_mb": mb}, settings=settings
        )

    port = free_port()
    start_within(base / "supervisor", fleet, limited(2000))
    group, bot = Group(base / "bot-toy"), fleet.bot_pid()
    wait_for(lambda: group.held() > 300 << 20, "the leak")
    fleet.ask("reload", spec=limited(900).to_json())
    wait_for(lambda: kernel_of(fleet) == ("cgroup", 1350), "the new limit")
    assert (group.folder / "memory.max").read_text().strip() == str(1350 << 20)
    fleet.ask("reload", spec=limited(1).to_json())
    wait_for(lambda: kernel_of(fleet) not in (("cgroup", 1350), ("cgroup", 129)), "the next")
    assert int((group.folder / "memory.max").read_text()) > group.held()
    assert fleet.bot_pid() == bot
    assert is_alive(bot)
    assert group.oom_kills() == 0
