"""Private files: modes, planted links, and publishing whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from core.files import make_private_dir, open_private, publish, remove_leftovers


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_modes_do_not_depend_on_the_umask(tmp_path: Path, umask: int) -> None:
    """0600 and 0700, always."""
    before = os.umask(umask)
    try:
        make_private_dir(tmp_path / "a" / "b")
        publish(tmp_path / "a" / "b" / "x.json", "{}")
        os.close(open_private(tmp_path / "a" / "y.log", os.O_WRONLY | os.O_CREAT))
    finally:
        os.umask(before)
    assert [mode(tmp_path / name) for name in ("a", "a/b", "a/b/x.json", "a/y.log")] == [
        0o700,
        0o700,
        0o600,
        0o600,
    ]


def test_an_existing_file_is_narrowed(tmp_path: Path) -> None:
    """A file of ours that others could read can't be read by them any more."""
    path = tmp_path / "x"
    path.write_text("x")
    path.chmod(0o644)
    os.close(open_private(path, os.O_RDONLY))
    assert mode(path) == 0o600


def test_planted_things_are_refused(tmp_path: Path) -> None:
    """Links and FIFOs at a file's name, links and files at a folder's; targets stay whole."""
    target = tmp_path / "precious"
    target.write_text("precious")
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "dangling"):
        with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
            open_private(tmp_path / name, os.O_WRONLY | os.O_CREAT)
        with pytest.raises(OSError, match="is a link"):
            publish(tmp_path / name, "x")
        with pytest.raises(OSError, match="is a link"):
            make_private_dir(tmp_path / name)
    with pytest.raises(OSError):  # noqa: PT011 - the kernel's own words differ by version
        open_private(tmp_path / "fifo", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(OSError, match="regular file"):
        open_private(tmp_path / "fifo", os.O_RDONLY)
    with pytest.raises(NotADirectoryError):
        make_private_dir(target)
    assert target.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


def test_publish_replaces_whole(tmp_path: Path) -> None:
    """The old text, then the new one; nothing is left beside it."""
    path = tmp_path / "x.json"
    publish(path, "old")
    publish(path, b"new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is raised, the old file is whole, the half-written one is gone."""
    path = tmp_path / "x.json"
    publish(path, "old")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        publish(path, "new")

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_remove_leftovers(tmp_path: Path) -> None:
    """Only what a killed `publish` of this very file left."""
    for name in (".x.json.1.ab.tmp", ".y.json.1.ab.tmp", "x.json.tmp", "x.json"):
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path / "x.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".y.json.1.ab.tmp",
        "x.json",
        "x.json.tmp",
    ]
