"""Config files: found, read, resolved, listed, versioned; and the ones that are shipped."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.config_manager import (
    ConfigManager,
    active_configs,
    find,
    load,
    load_options,
    load_specs_in_child,
    prepare,
)
from core.errors import ConfigError, GridfleetError
from core.forked import run_forked
from core.paths import checkout_root, installed_run_py
from core.spec import ChildSpec

# Other tests' threads may linger in this process; the forked child touches none of them.
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")

ROOT = checkout_root()
GUIDE = ROOT / "tests" / "data" / "configs"
KEYS = {"BACKPACK_KEY": "public-key-1", "BACKPACK_SECRET": "private-seed-1"}
PAPER: dict[str, Any] = {
    "metadata": {"symbol": "SOL_USDC_PERP"},
    "daemon_config": {"web_port": 5005},
    "exchange_config": {"mode": "paper"},
    "strategy_config": {
        "grid_lower_price": 140,
        "grid_upper_price": 160,
        "grid_num": 20,
        "max_position": 10,
    },
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "config" / "active").mkdir(parents=True)
    return tmp_path


def write(root: Path, name: str, document: Any = PAPER, **sections: dict[str, Any]) -> Path:
    """Write a config below the root, with values put into its sections."""
    copy = json.loads(json.dumps(document))
    for section, values in sections.items():
        copy.setdefault(section, {}).update(values)
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(copy))
    return path


def faults(action: Any, *args: Any, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        action(*args, **options)
    return "\n".join(caught.value.faults)


# Finding --------------------------------------------------------------------------------------


def test_a_config_is_found_as_given_then_in_active(root: Path) -> None:
    """As typed, config/active/X, config/active/X.json, in this order."""
    active = write(root, "config/active/sol.json")
    assert find("sol.json", root, root) == active
    assert find("sol", root, root) == active
    assert find(active, root, root) == active
    own = write(root, "elsewhere/sol.json")
    assert find("sol.json", root, own.parent) == own
    assert find("elsewhere/sol.json", root, root / "config") == own


def test_a_config_that_is_not_there(root: Path) -> None:
    """The message names every place that was looked at; a folder is no config."""
    (root / "config" / "active" / "folder").mkdir()
    for name in ("nope", "folder"):
        assert f"config/active/{name}.json" in faults(find, name, root, root)
    assert "expected the name" in faults(find, "", root, root)
    assert "expected the name" in faults(find, "a\0", root, root)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\xff\xfe{}", "byte 0 is not UTF-8"), (b" " * (1024 * 1024 + 1), "is larger than 1048576")],
)
def test_a_file_that_cannot_be_a_config(root: Path, content: bytes, said: str) -> None:
    """Wrong encoding and absurd size are said by name."""
    (root / "config" / "active" / "x.json").write_bytes(content)
    assert said in faults(load, "x", root, environ={})


def test_a_fifo_is_no_config(root: Path) -> None:
    """A FIFO at the name is refused; it does not hang the command."""
    os.mkfifo(root / "config" / "active" / "x.json")
    assert "not a regular file" in faults(load, "x", root, environ={})


def test_a_byte_order_mark_is_no_fault(root: Path) -> None:
    """Editors on other systems leave one."""
    path = write(root, "config/active/x.json")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load("x", root, environ={}).config.instance_id == "x"


# Variables ------------------------------------------------------------------------------------


def env_file(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text)
    path.chmod(mode)


def test_variables_come_from_three_places(root: Path) -> None:
    """The environment wins over .env, which wins over env_file."""
    env_file(root / ".env", "A=env\nB=env\n# comment\nexport C='quoted value'\n")
    env_file(root / "own.env", "A=own\nB=own\nD=own\n")
    write(
        root,
        "config/active/x.json",
        daemon_config={"env_file": "${WHICH:-own.env}"},
        metadata={"name": "${A} ${B} ${C} ${D}"},
    )
    loaded = load("x", root, environ={"A": "process"})
    assert loaded.config.metadata.name == "process env quoted value own"
    assert loaded.variables["D"] == "own"
    assert "own" not in repr(loaded.variables).replace("own.env", "")


def test_an_env_file_that_is_not_there(root: Path) -> None:
    """A named env_file must exist; a missing .env is nothing."""
    write(root, "config/active/x.json", daemon_config={"env_file": "own.env"})
    assert "daemon_config.env_file" in faults(load, "x", root, environ={})


def test_an_open_env_file(root: Path) -> None:
    """Live refuses a .env that others can read, paper warns (SECURITY.md 35)."""
    env_file(root / ".env", "BACKPACK_KEY=k\nBACKPACK_SECRET=s\n", 0o644)
    write(root, "config/active/x.json")
    (warning,) = load("x", root, environ={}).warnings
    assert ".env: mode 0644" in warning
    write(
        root,
        "config/active/x.json",
        exchange_config={"mode": "live"},
        metadata={"exchange": "backpack"},
    )
    assert ".env: was mode 0644, expected 0600" in faults(load, "x", root, environ={})
    (root / ".env").chmod(0o600)
    assert load("x", root, environ={}).warnings == ()


def test_web_token_from_env(root: Path) -> None:
    """A page beyond this machine finds its token in .env; WEB_DEBUG there is refused too."""
    write(root, "config/active/x.json", daemon_config={"web_host": "0.0.0.0"})
    assert "WEB_TOKEN" in faults(load, "x", root, environ={})
    env_file(root / ".env", "WEB_TOKEN=a-long-token\n")
    assert load("x", root, environ={}).config.daemon.web_host == "0.0.0.0"
    env_file(root / ".env", "WEB_TOKEN=a-long-token\nWEB_DEBUG=1\n")
    assert "WEB_DEBUG" in faults(load, "x", root, environ={})


# The guide's files and the shipped ones -----------------------------------------------------------


@pytest.mark.parametrize("name", ["bp_sol_01", "bp_eth_02", "daemon_config"])
def test_the_guides_files(name: str, tmp_path: Path) -> None:
    """They name no mode, so they are live: refused without keys, loaded unchanged with them."""
    said = faults(load, GUIDE / f"{name}.json", tmp_path, environ={})
    assert said.count("\n") == 1
    assert "exchange_config.api_key" in said
    assert "set BACKPACK_KEY and BACKPACK_SECRET in .env" in said
    assert '"mode": "paper"' in said
    loaded = load(GUIDE / f"{name}.json", tmp_path, environ=KEYS)
    assert loaded.warnings == ()
    assert loaded.config.exchange.mode == "live"
    assert loaded.config.exchange.api_key is not None
    assert loaded.config.exchange.api_key.reveal() == "public-key-1"


def test_shipped_active_configs() -> None:
    """The mission's values, on paper, without a warning, each with its own place and port."""
    sol, eth = load("bp_sol_01", ROOT, environ={}), load("bp_eth_02", ROOT, environ={})
    example = load("example_multi_instance", ROOT, environ={})
    default = load("config/daemon_config.json", ROOT, environ={})
    assert (sol.config.symbol, eth.config.symbol) == ("SOL_USDC_PERP", "ETH_USDC_PERP")
    grids = [
        (c.strategy.grid_lower_price, c.strategy.grid_upper_price, c.strategy.grid_num)
        for c in (sol.config, eth.config)
    ]
    assert grids == [(140, 160, 20), (2800, 3200, 15)]
    assert sol.config.strategy.max_position == 10
    assert [c.config.daemon.web_port for c in (sol, eth)] == [5001, 5002]
    everything = [sol, eth, example, default]
    assert all(c.config.is_paper for c in everything)
    assert [w for c in everything for w in c.warnings if ".env" not in w] == []
    for field in ("web_port", "db_path", "log_dir"):
        assert len({getattr(c.config.daemon, field) for c in everything}) == len(everything)
    assert len({c.config.instance_id for c in everything}) == len(everything)


def test_all_leaves_the_example_out() -> None:
    """`--all` starts the active configs but no example."""
    assert [path.stem for path in active_configs(ROOT)] == ["bp_eth_02", "bp_sol_01"]


def test_a_broken_active_config_is_not_left_out(root: Path) -> None:
    """It is reported as faulty instead; hidden files and folders are no configs."""
    write(root, "config/active/ok.json")
    write(root, "config/active/.hidden.json")
    write(root, "config/active/example.json", metadata={"example": True})
    (root / "config" / "active" / "broken.json").write_text("{")
    (root / "config" / "active" / "folder.json").mkdir()
    assert [path.name for path in active_configs(root)] == ["broken.json", "ok.json"]


@pytest.mark.parametrize("name", ["paper", "backpack", "aster"])
def test_templates(name: str, tmp_path: Path) -> None:
    """Every template is a valid config once its keys are set, and names its exchange."""
    keys = {**KEYS, "ASTER_KEY": "k", "ASTER_SECRET": "s"}
    loaded = load(ROOT / "config" / "templates" / f"{name}.json", tmp_path, environ=keys)
    assert loaded.warnings == ()
    assert loaded.config.exchange_name == name
    assert loaded.config.is_paper is (name == "paper")
    assert loaded.config.daemon.web_port is None


# What a supervisor gets ---------------------------------------------------------------------------


def test_a_bots_spec(root: Path) -> None:
    """run.py with its bot_args, every path absolute, no secret, the environment unexpanded."""
    path = write(
        root,
        "config/active/x.json",
        metadata={"instance_id": "bp_sol_09", "exchange": "backpack"},
        daemon_config={
            "bot_args": "--interval 30 --symbol 'SOL_USDC_PERP'",
            "environment": {"TZ": "UTC", "MY_TOKEN": "${BACKPACK_KEY}", "N": 5},
            "env_file": "own.env",
            "restart_delay": 0,
        },
        exchange_config={"mode": "live"},
    )
    env_file(root / "own.env", "X=1\n")
    spec = prepare("x", root, environ=KEYS).spec
    assert spec.argv == (
        sys.executable,
        str(installed_run_py()),
        "--interval",
        "30",
        "--symbol",
        "SOL_USDC_PERP",
    )
    assert (spec.working_dir, spec.root) == (str(root), str(root))
    assert spec.db_path == str(root / "database" / "bp_sol_09.db")
    assert spec.logs.log_dir == str(root / "logs" / "bp_sol_09")
    assert spec.environment == {"TZ": "UTC", "MY_TOKEN": "${BACKPACK_KEY}", "N": "5"}
    assert spec.env_files == (str(root / "own.env"),)
    assert (spec.config_path, spec.config_text) == (str(path), path.read_text())
    assert (spec.restart.restart_delay, spec.health.check) == (0.0, "auto")
    assert (spec.mode, spec.exchange, spec.symbol) == ("live", "backpack", "SOL_USDC_PERP")
    assert spec.grid == "140-160 x20 arithmetic neutral"
    assert spec.account is not None
    exchange, digest, symbol = spec.account.split(":")
    assert (exchange, len(digest), symbol) == ("backpack", 16, "SOL_USDC_PERP")
    assert not any(secret in spec.to_json() for secret in KEYS.values())
    assert ChildSpec.from_json(spec.to_json()) == spec


def test_programs_under_the_root_are_preferred(root: Path) -> None:
    """A run.py and an interpreter under the root are used; links in a venv are not followed."""
    python = root / ".venv" / "bin" / "python3"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    (root / "run.py").write_text("")
    write(root, "config/active/x.json")
    assert prepare("x", root, environ={}).spec.argv == (str(python), str(root / "run.py"))


def script(root: Path, name: str, mode: int = 0o755) -> Path:
    path = root / name
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def test_a_foreign_program(root: Path) -> None:
    """*.py runs under python, anything else is executed itself; bot_args go through untouched."""
    section = {"bot_args": "--a '${B} c'", "script_path": "worker.py"}
    script(root, "worker.py", 0o644)
    write(root, "config/active/x.json", {"daemon_config": section})
    spec = prepare("x", root, environ={}).spec
    assert spec.argv == (sys.executable, str(root / "worker.py"), "--a", "${B} c")
    assert (spec.is_bot, spec.health.check, spec.account, spec.mode) == (False, "none", None, "")
    script(root, "worker")
    write(root, "config/active/x.json", {"script_path": "worker", "bot_args": ["-x", "y z"]})
    assert prepare("x", root, environ={}).spec.argv == (str(root / "worker"), "-x", "y z")


def test_the_installed_run_py_by_its_full_path_is_a_bot(root: Path) -> None:
    """What decides is the file, not how it is spelled."""
    write(root, "config/active/x.json", daemon_config={"script_path": str(installed_run_py())})
    assert prepare("x", root, environ={}).spec.is_bot


def test_programs_that_are_not_there(root: Path) -> None:
    """All that is missing is named with the config's other faults, at once."""
    write(
        root,
        "config/active/x.json",
        {
            "daemon_config": {
                "script_path": "gone.py",
                "python_path": "/gone/python",
                "working_dir": "gone",
                "db_path": "config",
                "web_port": 0,
            }
        },
    )
    said = faults(prepare, "x", root, environ={})
    for key in ("script_path", "working_dir", "db_path", "web_port"):
        assert f"daemon_config.{key}: was " in said
    script(root, "worker", 0o644)
    (root / "taken").write_text("")
    write(root, "config/active/x.json", {"script_path": "worker", "log_dir": "taken"})
    said = faults(prepare, "x", root, environ={})
    assert "script_path: was" in said
    assert "chmod +x" in said
    assert "log_dir: was" in said
    write(root, "config/active/x.json", daemon_config={"python_path": "/gone/python"})
    assert "daemon_config.python_path" in faults(prepare, "x", root, environ={})


def test_an_interpreter_that_is_not_under_the_root(root: Path) -> None:
    """The running one takes its place; silently only where nothing else was asked for."""
    write(root, "config/active/x.json", daemon_config={"python_path": "env/bin/python"})
    prepared = prepare("x", root, environ={})
    assert prepared.spec.argv[0] == sys.executable
    assert any("python_path" in warning for warning in prepared.spec.warnings)


def test_a_price_file_must_be_there(root: Path) -> None:
    """A CSV feed's file is looked for before the start, against the root."""
    paper = {"paper": {"feed": "csv", "file": "data/x.csv", "speed": 60}}
    write(root, "config/active/x.json", exchange_config=paper)
    assert "exchange_config.paper.file" in faults(load, "x", root, environ={})
    (root / "data").mkdir()
    (root / "data" / "x.csv").write_text("")
    assert load("x", root, environ={}).config.exchange.paper.file == "data/x.csv"


def test_a_bot_by_options_alone(root: Path) -> None:
    """run.py without a file: the options are the config."""
    options = "--exchange paper --symbol X --grid-lower 1 --grid-upper 2 --grid-num 5 --quantity 9"
    config = load_options(options.split(), root, "by_hand", {}).config
    assert (config.instance_id, config.is_paper, config.strategy.grid_num) == ("by_hand", True, 5)
    said = faults(load_options, ["--grid-num", "1"], root, None, {})
    assert "run.py: --grid-num: was " in said


# In a process of its own ----------------------------------------------------------------------


def test_specs_from_a_forked_process(root: Path) -> None:
    """One outcome for each name, in order; a bad file is an outcome, not an exception."""
    write(root, "config/active/good.json", metadata={"nmae": "x"})
    write(root, "config/active/bad.json", strategy_config={"grid_num": 1})
    good, bad, gone = load_specs_in_child(["good", "bad", "gone"], root, environ={})
    assert good.spec_or_raise().instance_id == "good"
    assert good.spec == prepare("good", root, environ={}).spec
    assert ["nearest is name" in warning for warning in good.warnings] == [True]
    assert bad.spec is None
    assert "strategy_config.grid_num" in bad.faults[0]
    with pytest.raises(ConfigError, match="bad cannot be started"):
        bad.spec_or_raise()
    assert "config/active/gone" in gone.faults[0]


def test_a_forked_process_that_fails() -> None:
    """A bug, a death and a hang in the forked process are errors of the caller's, in time."""

    def bug() -> None:
        raise ValueError("secret-value")

    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(GridfleetError, match="the test failed: ValueError in bug") as caught:
        run_forked(bug, "the test")
    assert "secret-value" not in str(caught.value)
    with pytest.raises(GridfleetError, match="no answer"):
        run_forked(lambda: os._exit(3), "the test")
    with pytest.raises(GridfleetError, match=r"no answer within 0\.2 s"):
        run_forked(lambda: os.read(os.pipe()[0], 1), "the test", timeout_s=0.2)
    assert run_forked(lambda: ["x" * 1_000_000], "the test") == ["x" * 1_000_000]
    assert {child.pid for child in psutil.Process().children()} <= before  # no zombie is left


LIGHT = """
import sys
import core.config_manager
from pathlib import Path
root = Path(sys.argv[1])
(result,) = core.config_manager.load_specs_in_child(["x"], root, environ={})
assert result.spec is not None, result
core.config_manager.active_configs(root)
heavy = {"pydantic", "pydantic_core", "dotenv", "argparse", "structlog", "flask"} & set(sys.modules)
assert not heavy, heavy
"""


def test_the_module_is_light(root: Path) -> None:
    """Importing it and preparing in a child loads neither pydantic nor dotenv into the parent."""
    write(root, "config/active/x.json")
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, str(root)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# ConfigManager --------------------------------------------------------------------------------


def test_lists(root: Path) -> None:
    """Active, template and archived configs, by name."""
    write(root, "config/active/b.json")
    write(root, "config/active/a.json", metadata={"example": True})
    write(root, "config/templates/paper.json")
    manager = ConfigManager(root, {})
    manager.save_version("b")
    assert [path.name for path in manager.list_active()] == ["a.json", "b.json"]
    assert [path.name for path in manager.list_templates()] == ["paper.json"]
    assert manager.list_archived() == ["b"]
    assert ConfigManager(root / "config", {}).list_archived() == []


def test_validate(root: Path) -> None:
    """Every check of a start, the warnings returned."""
    manager = ConfigManager(root, {})
    write(root, "config/active/x.json", metadata={"nmae": "x"})
    assert "nearest is name" in manager.validate("x")[0]
    assert manager.load("x").config.instance_id == "x"
    write(root, "config/active/x.json", daemon_config={"working_dir": "gone"})
    assert "working_dir" in faults(manager.validate, "x")


def test_save_keeps_what_was_there(root: Path) -> None:
    """A valid new content replaces the old one, which becomes a version; all of it private."""
    manager = ConfigManager(root, {})
    first = json.dumps(PAPER)
    second = first.replace("5005", "5006")
    manager.save("x", first)
    assert manager.versions("x") == []
    manager.save("x", second)
    (version,) = manager.versions("x")
    assert version.path.read_text() == first
    assert manager.find("x").read_text() == second
    for path in (version.path, manager.find("x")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    manager.rollback("x", version.id)
    assert manager.find("x").read_text() == first
    assert [v.path.read_text() for v in manager.versions("x")] == [second, first]


def test_save_refuses_what_is_not_valid(root: Path) -> None:
    """A faulty content, and a name that leaves the folder, change nothing."""
    manager = ConfigManager(root, {})
    manager.save("x", json.dumps(PAPER))
    assert "grid_num" in faults(manager.save, "x", json.dumps(PAPER).replace("20", "1"))
    assert manager.versions("x") == []
    assert manager.find("x").read_text() == json.dumps(PAPER)
    assert "config: was" in faults(manager.save, "../x", json.dumps(PAPER))
    assert "expected one of" in faults(manager.rollback, "x", "../../active/x")


def test_the_same_content_is_kept_once(root: Path) -> None:
    """Saving a version twice without a change makes one."""
    manager = ConfigManager(root, {})
    write(root, "config/active/x.json")
    assert manager.save_version("x") == manager.save_version("x")
    assert len(manager.versions("x")) == 1
