"""systemd units: what stands in them, and that systemd itself understands them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from core import services
from core.daemon_manager import main
from core.stopping import patience_s


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "a root with 100% spaces"
    (root / "config" / "active").mkdir(parents=True)
    toy = {"daemon_config": {"script_path": "/bin/true", "stop_timeout": 200}}
    (root / "config" / "active" / "slow.json").write_text(json.dumps(toy))
    return root


def settings(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_the_instance_unit_keeps_the_bot_and_retries_what_can_be_retried(root: Path) -> None:
    found = settings(services.template_unit(root, stop_s=90, user=False))
    assert found["ExecStart"].endswith("start --foreground --config %i")
    assert f'--root "{str(root).replace("%", "%%")}"' in found["ExecStart"]
    assert found["WorkingDirectory"] == str(root).replace("%", "%%")
    assert (found["Restart"], found["RestartPreventExitStatus"]) == ("on-failure", "2 4 5")
    assert (found["KillMode"], found["TimeoutStopSec"]) == ("process", "90")
    assert found["WantedBy"] == "multi-user.target"
    assert settings(services.template_unit(root, stop_s=1, user=True))["WantedBy"] == (
        "default.target"
    )


def test_the_fleet_unit_keeps_what_is_wanted(root: Path) -> None:
    found = settings(services.fleet_unit(root, stop_s=90, user=False))
    assert found["ExecStart"].endswith(" resurrect")
    assert found["ExecStop"].endswith(" stop --all --keep-wanted")
    assert found["RemainAfterExit"] == "yes"


def test_the_alerter_has_a_unit_that_is_retried_for_ever(root: Path) -> None:
    """S23; but not where it has nothing to deliver to."""
    found = settings(services.alerts_unit(root, user=True))
    assert found["ExecStart"].endswith(" alerts run")
    assert "instance_cli" in found["ExecStart"]
    assert (found["Restart"], found["RestartPreventExitStatus"]) == ("on-failure", "2")
    assert found["StartLimitIntervalSec"] == "0"


def test_the_units_delegate_their_group_where_systemd_has_subgroups(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """S28: without a subgroup, adoption would fail: nothing is delegated before systemd 254."""
    for unit in (services.template_unit, services.fleet_unit):
        found = settings(unit(root, stop_s=1, user=False, delegates=True))
        assert (found["Delegate"], found["DelegateSubgroup"]) == ("memory pids", "supervisor")
        assert "Delegate" not in settings(unit(root, stop_s=1, user=False))
    for version, expected in ((252, False), (254, True), (None, False)):
        monkeypatch.setattr(services, "systemd_version", lambda version=version: version)
        monkeypatch.setattr(services, "verify", lambda *_, **__: (None, []))
        folder = tmp_path / f"units {version}"
        assert main(["--root", str(root), "install-service", "--dir", str(folder)]) == 0
        assert ("Delegate=" in (folder / services.TEMPLATE).read_text()) is expected


def test_the_order_of_the_configs_is_systemds_too(root: Path, tmp_path: Path) -> None:
    """S26: units are named for files, start_after for instances; what is named no more goes."""
    active, folder = root / "config" / "active", tmp_path / "units"
    toy = {"script_path": "/bin/true"}
    first = {"daemon_config": toy, "metadata": {"instance_id": "the-first"}}
    (active / "one.json").write_text(json.dumps(first))
    named = {"daemon_config": {**toy, "start_after": ["the-first", "slow", "nobody"]}}
    (active / "two.json").write_text(json.dumps(named))
    words = ["--root", str(root), "install-service", "--dir", str(folder)]
    assert main(words) == 0
    drop_in = folder / "gridfleet@two.service.d" / services.ORDER
    assert settings(drop_in.read_text()) == {
        "After": "gridfleet@one.service gridfleet@slow.service"
    }
    assert list(folder.glob("*.d")) == [drop_in.parent]
    unit = settings((folder / services.TEMPLATE).read_text())
    assert (unit["Type"], unit["TimeoutStartSec"]) == ("notify", "infinity")
    (active / "two.json").write_text(json.dumps({"daemon_config": toy}))
    assert main(words) == 0
    assert list(folder.glob("*.d")) == []


def test_the_version_of_systemd_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From the program's own first line; nowhere without it."""
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\necho 'systemd 257 (257.9-1~deb13u1)'\necho +PAM\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert services.systemd_version() == 257
    program.write_text("#!/bin/sh\necho nothing\nexit 1\n")
    assert services.systemd_version() is None
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert services.systemd_version() is None


def test_systemd_waits_longer_than_the_slowest_of_ours(root: Path) -> None:
    assert patience_s(None) < 200 < services.stop_timeout_s(root)


@pytest.mark.parametrize("user", [True, False])
def test_the_units_are_written_and_verified(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], user: bool
) -> None:
    """By systemd-analyze where it is; written again they are the same."""
    folder = tmp_path / "units"
    words = ["--root", str(root), "install-service", "--dir", str(folder), "--json"]
    for _ in range(2):
        code = main([*words, "--user"] if user else words)
        out = json.loads(capsys.readouterr().out)
        assert (code, out["verified"]) == (0, True if shutil.which("systemd-analyze") else None)
    assert sorted(path.name for path in folder.iterdir()) == [
        "gridfleet-alerts.service",
        "gridfleet.service",
        "gridfleet@.service",
    ]
    assert any("enable --now gridfleet@slow.service" in line for line in out["enable"])
    assert all(("--user" in line) == user for line in out["enable"] if "systemctl" in line)


def test_a_unit_that_systemd_refuses_is_told(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    path = tmp_path / "gridfleet.service"
    path.write_text("[Service]\nExecStart=/bin/true\nKillMode=sometimes\n")
    verdict, lines = services.verify([path], user=False)
    assert verdict is False
    assert any("kill mode" in line for line in lines)
