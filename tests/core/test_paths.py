"""The root, names, and how paths are read."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from core.errors import ConfigError
from core.paths import (
    check_name,
    checkout_root,
    find_root,
    for_display,
    installed_run_py,
    is_inside,
    is_safe_name,
    read_limited,
    resolve,
    resolve_typed,
    run_dir,
    shown,
)


def test_root_by_precedence(tmp_path: Path) -> None:
    """--root, else GRID_ROOT, else the checkout."""
    typed, named = tmp_path / "typed", tmp_path / "named"
    typed.mkdir()
    named.mkdir()
    environ = {"GRID_ROOT": str(named)}
    assert find_root(typed, environ) == typed
    assert find_root(None, environ) == named
    assert find_root("", {"GRID_ROOT": ""}) == checkout_root()
    assert (checkout_root() / "core" / "paths.py").is_file()
    assert installed_run_py().is_file()


@pytest.mark.parametrize(("typed", "environ"), [("gone", {}), (None, {"GRID_ROOT": "gone\0"})])
def test_a_root_that_is_not_there(typed: str | None, environ: dict[str, str]) -> None:
    """A root that was named and does not exist is refused by the name of what named it."""
    with pytest.raises(ConfigError, match="--root" if typed else "GRID_ROOT"):
        find_root(typed, environ)


@pytest.mark.parametrize("name", ["a", "bp_sol_01", "A-b_C", "0", "x" * 64])
def test_safe_names(name: str) -> None:
    """What the contract's rule allows."""
    assert is_safe_name(name)
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "../x", "/etc/x", "a/b", "..", ".h", "-rf", "_a", "a\n", "a\0", "x" * 65, "ａ", "a b"],
)
def test_unsafe_names(name: str, tmp_path: Path) -> None:
    """Nothing that could leave its folder, hide, look like an option, or end in a newline."""
    assert not is_safe_name(name)
    with pytest.raises(ConfigError, match="instance id: was "):
        run_dir(tmp_path, name)


def test_run_dir(tmp_path: Path) -> None:
    """PID files are in logs/{id} under the root, whatever log_dir says."""
    assert run_dir(tmp_path, "bp_sol_01") == tmp_path / "logs" / "bp_sol_01"


def test_paths_in_files_are_against_the_root(tmp_path: Path) -> None:
    """Relative ones below the root, absolute ones as they are, dots taken out, links kept."""
    assert resolve(tmp_path, "logs/./x/../y") == tmp_path / "logs" / "y"
    assert resolve(tmp_path, "/var/log") == Path("/var/log")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert resolve(tmp_path, "link/x") == tmp_path / "link" / "x"


def test_paths_typed_are_against_the_current_folder_first(tmp_path: Path) -> None:
    """Then against the root; when neither exists the first is what a message should name."""
    here, root = tmp_path / "here", tmp_path / "root"
    here.mkdir()
    root.mkdir()
    (root / "only_root").touch()
    (root / "both").touch()
    (here / "both").touch()
    assert resolve_typed(root, "both", here) == here / "both"
    assert resolve_typed(root, "only_root", here) == root / "only_root"
    assert resolve_typed(root, "neither", here) == here / "neither"


def test_inside_follows_links(tmp_path: Path) -> None:
    """A link that leads out is outside, however it is spelled."""
    base = tmp_path / "base"
    base.mkdir()
    (base / "out").symlink_to(tmp_path)
    assert is_inside(base / "x", base)
    assert is_inside(base, base)
    assert not is_inside(base / "out" / "x", base)
    assert not is_inside(base / ".." / "x", base)
    assert not is_inside(tmp_path / "base2", base)


def test_what_is_shown(tmp_path: Path) -> None:
    """Paths below the root are shown relative; control characters are escaped, length is cut."""
    assert for_display(tmp_path / "config" / "a.json", tmp_path) == "config/a.json"
    assert for_display(Path("/x/a.json"), tmp_path) == "/x/a.json"
    assert shown("a\n") == "'a\\n'"
    assert shown("a") == '"a"'
    assert len(shown("x" * 300)) == 80


def test_reading_is_limited(tmp_path: Path) -> None:
    """A file that is too large, a folder or a FIFO is refused without reading or hanging."""
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    assert read_limited(file, 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_limited(file, 4)
    with pytest.raises(IsADirectoryError):
        read_limited(tmp_path, 5)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="not a regular file"):
        read_limited(tmp_path / "fifo", 5)
    (tmp_path / "link").symlink_to(file)
    assert read_limited(tmp_path / "link", 5) == b"12345"
    with pytest.raises(OSError, match="link") as caught:
        read_limited(tmp_path / "link", 5, follow=False)
    assert caught.value.errno == errno.ELOOP
