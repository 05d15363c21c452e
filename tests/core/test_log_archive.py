"""Old days are compressed, never lost; readers find them as before."""

from __future__ import annotations

import gzip
import stat
from datetime import date
from pathlib import Path

import pytest

from core import log_archive
from core.log_archive import compress_old
from core.log_files import clean_up, has_old_days
from core.log_reading import follow, parts, tail

TODAY = date(2026, 3, 10)


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Four days of one log, two files each."""
    for day in (6, 7, 9, 10):
        folder = tmp_path / f"2026-03-{day:02}"
        folder.mkdir()
        (folder / "bot_stdout.log.1").write_text(f"{day} early\n" * 100)
        (folder / "bot_stdout.log").write_text(f"{day} late\n" * 100)
    return tmp_path


def names(logs: Path) -> list[str]:
    return [f"{path.parent.name[-2:]}/{path.name}" for path in parts(logs, "bot_stdout.log")]


def test_days_before_yesterday_are_compressed_and_read_as_before(logs: Path) -> None:
    """S21: by gzip, a file each; `logs` shows them as if they were plain."""
    before = tail(logs, "bot_stdout.log", 10_000)
    assert has_old_days(logs, TODAY)
    done = compress_old(logs, day=TODAY)
    assert done["files"] == 4
    assert done["freed"] > 0
    assert not has_old_days(logs, TODAY)
    assert names(logs) == [
        "06/bot_stdout.log.1.gz",
        "06/bot_stdout.log.gz",
        "07/bot_stdout.log.1.gz",
        "07/bot_stdout.log.gz",
        "09/bot_stdout.log.1",
        "09/bot_stdout.log",
        "10/bot_stdout.log.1",
        "10/bot_stdout.log",
    ]
    assert tail(logs, "bot_stdout.log", 10_000) == before
    assert tail(logs, "bot_stdout.log", 401)[0] == "7 late"
    packed = logs / "2026-03-06" / "bot_stdout.log.gz"
    assert stat.S_IMODE(packed.stat().st_mode) == 0o600
    assert gzip.decompress(packed.read_bytes()) == b"6 late\n" * 100
    assert compress_old(logs, day=TODAY) == {"files": 0, "freed": 0}


def test_following_begins_in_a_compressed_day(logs: Path) -> None:
    compress_old(logs, day=TODAY)
    lines = follow(logs, "bot_stdout.log", 401, wait=lambda _: True)
    assert len(list(lines)) == 401


def test_what_is_in_use_is_left_alone(logs: Path) -> None:
    path = logs / "2026-03-06" / "bot_stdout.log"
    info = path.stat()
    done = compress_old(logs, in_use={(info.st_dev, info.st_ino)}, day=TODAY)
    assert done["files"] == 3
    assert path.exists()


def test_a_copy_that_is_not_the_same_replaces_nothing(
    logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad disk, or a writer in between: the plain file stays, no half copy is left."""
    monkeypatch.setattr(log_archive, "_read_back", lambda _: (0, 0))
    assert compress_old(logs, day=TODAY)["files"] == 0
    assert not list(logs.glob("*/*.gz*"))
    assert len(parts(logs, "bot_stdout.log")) == 8


def test_an_interrupted_run_is_made_good(logs: Path) -> None:
    """Killed between the copy and the removal, or in the middle of the copy."""
    folder = logs / "2026-03-06"
    (folder / "bot_stdout.log.gz").write_bytes(gzip.compress(b"half\n"))
    (folder / "bot_stdout.log.1.gz.tmp").write_bytes(b"half")
    assert names(logs)[:2] == ["06/bot_stdout.log.1", "06/bot_stdout.log"]
    compress_old(logs, day=TODAY)
    assert sorted(path.name for path in folder.iterdir()) == [
        "bot_stdout.log.1.gz",
        "bot_stdout.log.gz",
    ]
    assert tail(logs, "bot_stdout.log", 10_000).count("6 late") == 100


def test_links_and_other_files_are_left_alone(logs: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("precious\n")
    folder = logs / "2026-03-06"
    (folder / "linked.log").symlink_to(outside)
    (folder / "notes.txt").write_text("mine")
    compress_old(logs, day=TODAY)
    assert outside.read_text() == "precious\n"
    assert (folder / "linked.log").is_symlink()
    assert (folder / "notes.txt").exists()


def test_a_damaged_copy_gives_what_can_be_read(logs: Path) -> None:
    compress_old(logs, day=TODAY)
    packed = logs / "2026-03-06" / "bot_stdout.log.gz"
    packed.write_bytes(b"no gzip")
    assert tail(logs, "bot_stdout.log", 10_000)[0] == "6 early"


def test_compressed_days_are_cleaned_up_as_others(logs: Path) -> None:
    compress_old(logs, day=TODAY)
    assert clean_up(logs, 2, day=TODAY).days == ("2026-03-06", "2026-03-07")
