"""What commands and the registry are tested on: an empty root, with a toy and a shell over it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_shell import Shell
from toy_fleet import TOY, ToyFleet

from core.instance_manager import InstanceRegistry


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[ToyFleet]:
    root = tmp_path / "root"
    (root / "config" / "active").mkdir(parents=True)
    shutil.copy(TOY, root / "toy.py")
    fleet = ToyFleet(root)
    yield fleet
    fleet.clean_up()


@pytest.fixture
def run(fleet: ToyFleet, tmp_path: Path) -> Shell:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    return Shell(fleet.root, elsewhere)


@pytest.fixture
def registry(tmp_path: Path) -> InstanceRegistry:
    return InstanceRegistry(tmp_path)
