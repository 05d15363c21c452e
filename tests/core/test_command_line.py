"""The command line where nothing is started: words, exit codes, faults of configs."""

from __future__ import annotations

import pytest
from command_shell import Shell, write_config
from toy_fleet import ToyFleet

pytestmark = pytest.mark.slow  # every test runs the real command as a process


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("explode",),
        ("start", "--config"),
        ("start", "--daemon", "--foreground"),
        ("start", "--all", "--config", "x"),
        ("start", "--all", "--instance-id", "x"),
        ("start", "--wait", "soon"),
        ("start", "--config", "nowhere.json"),
        ("stop", "../x"),
        ("stop", "a\n"),
        ("stop", "x" * 300),
        ("stop", "-rf"),
        ("stop", "--all", "x"),
        ("stop", "x", "--keep-orders", "--close-positions"),
        ("logs",),
        ("logs", "x", "-n", "many"),
        ("logs", "x", "--stream", "everything"),
        ("adjust", "x"),
        ("adjust", "x", "--lower", "NaN"),
        ("adjust", "x", "--upper", "1e5"),
        ("validate", "--config", "nowhere.json"),
        ("restart", "--config", "nowhere.json"),
    ],
)
def test_a_wrong_command_line_is_exit_2(run: Shell, args: tuple[str, ...]) -> None:
    """Usage and invalid names: 2, a message on standard error, nothing on the disk."""
    answer = run(*args)
    assert answer.code == 2
    assert answer.err.strip()
    assert not answer.out.strip()
    assert not list((run.root / "logs").glob("*/*"))


def test_unknown_instances_have_their_exit_codes(run: Shell) -> None:
    """S24: stop 1, status 3, restart 1, logs 1, pause 1; nothing is created for them."""
    codes = {
        verb: run(verb, "nobody").code for verb in ("stop", "status", "restart", "logs", "pause")
    }
    assert codes == {"stop": 1, "status": 3, "restart": 1, "logs": 1, "pause": 1}
    assert run("status", "nobody", "--json").json()["instance_id"] == "nobody"
    assert not (run.root / "logs" / "nobody").exists()


def test_errors_speak_chinese_too(run: Shell) -> None:
    """The sentence and the reason; in JSON both stay as they are."""
    run.env |= {"LC_ALL": "zh_TW.UTF-8", "PYTHONUTF8": "1"}
    assert run("stop", "nobody").err == ("nobody：未知的實例；請見：daemon_manager list --all\n")
    found = run("stop", "nobody", "--json").json()
    assert found["error"] == "unknown instance; see: daemon_manager list --all"


def test_every_fault_of_a_config_is_listed_and_nothing_starts(run: Shell, fleet: ToyFleet) -> None:
    """All faults at once, exit 2, for start, restart and validate alike."""
    good = write_config(fleet, "good")
    bad = write_config(fleet, "bad", web_port=70000, restart_delay=-1)
    for args in (
        ("start", "--config", str(good), "--config", str(bad)),
        ("validate", "--config", "bad"),
        ("restart", "--config", "bad"),
    ):
        answer = run(*args)
        assert answer.code == 2
        assert "web_port" in answer.err
        assert "restart_delay" in answer.err
    assert fleet.processes() == []
    assert not (fleet.root / "logs" / "good").exists()


def test_two_configs_of_one_id_are_refused_by_name(run: Shell, fleet: ToyFleet) -> None:
    """Both files are named; nothing starts."""
    write_config(fleet, "one", metadata={"instance_id": "same"})
    write_config(fleet, "two", metadata={"instance_id": "same"})
    answer = run("start", "--config", "one", "--config", "two")
    assert answer.code == 2
    assert "same" in answer.err
    assert "one.json" in answer.err
    assert "two.json" in answer.err
    assert fleet.processes() == []


def test_list_of_nothing_is_an_empty_json_list(run: Shell) -> None:
    """One JSON value, whatever there is."""
    assert run("list", "--json").json() == []
    assert run("stop", "--all").code == 0
    assert run("resurrect").code == 0


def test_validate_reports_as_json(run: Shell, fleet: ToyFleet) -> None:
    """One value: valid, faults, warnings, exit code."""
    write_config(fleet, "good")
    report = run("validate", "--config", "good", "--json").json()
    assert (report["valid"], report["faults"], report["exit_code"]) == (True, [], 0)
    assert report["instance_id"] == "good"
