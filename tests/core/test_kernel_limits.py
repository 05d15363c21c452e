"""S28: how far the kernel's limits stand above ours, and what its files say; values alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import kernel_limits as kl

MIXED = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
"""
PURE = "25 20 0:23 / /sys/fs/cgroup rw,nosuid shared:4 master:2 - cgroup2 cgroup2 rw,nsdelegate\n"
SPACED = "25 20 0:23 / /mnt/a\\040b rw - cgroup2 none rw\n"
BOUND = "25 20 0:23 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n"
V1 = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"


@pytest.mark.parametrize(
    ("limit", "expected"), [(1, 129), (64, 192), (256, 384), (257, 385), (2048, 3072)]
)
def test_the_kernel_stands_half_above_and_never_close(limit: int, expected: int) -> None:
    """S28: the graceful restart by sampling comes first, unless the growth outruns it."""
    assert kl.backstop_bytes(limit) == expected * kl.MB


@given(st.integers(1, 1_000_000), st.integers(1, 1 << 30), st.booleans())
def test_mapped_memory_has_room_for_stacks(limit: int, stack: int, is_bot: bool) -> None:
    """S28: RLIMIT_DATA counts stacks that are mapped and never touched."""
    whole = kl.data_bytes(limit, stack=stack, is_bot=is_bot)
    assert whole - kl.backstop_bytes(limit) >= kl.BOT_STACKS * stack
    assert (
        kl.data_bytes(limit, stack=None, is_bot=is_bot) > kl.backstop_bytes(limit) > limit * kl.MB
    )


@given(st.integers(0, 1 << 50), st.integers(0, 1 << 50))
def test_a_limit_that_changes_never_ends_who_runs(wanted: int, used: int) -> None:
    """S28: lowered under a running bot it leaves room; the sampling ends it gracefully."""
    bound = kl.never_below(wanted, used)
    assert bound >= wanted
    assert bound >= used + kl.LEAST_MARGIN_MB * kl.MB


@pytest.mark.parametrize(
    ("cgroup", "mounts", "expected"),
    [
        ("4:memory:/x\n0::/\n", MIXED, ("/sys/fs/cgroup/unified", True)),
        (
            "0::/a.slice/b.service/supervisor\n",
            PURE,
            ("/sys/fs/cgroup/a.slice/b.service/supervisor", False),
        ),
        ("0::/a\n", SPACED, ("/mnt/a b/a", False)),
        ("0::/docker/abc\n", BOUND, ("/sys/fs/cgroup", True)),
        ("0::/docker/abc/x\n", BOUND, ("/sys/fs/cgroup/x", False)),
        ("0::/docker/abcd\n", BOUND, None),
        ("0::/other\n", BOUND, None),
        ("0::/../../x\n", PURE, None),
        ("0::/a (deleted)\n", PURE, None),
        ("0::/a\n", V1, None),
        ("4:memory:/x\n", PURE, None),
        ("", "", None),
        ("0::/a\n", "nonsense\n - cgroup2\n", None),
    ],
)
def test_where_a_group_is(cgroup: str, mounts: str, expected: tuple[str, bool] | None) -> None:
    """S28: cgroup v2 alone, beside v1, in a container, out of sight."""
    assert kl.group_folder(cgroup, mounts) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("low 0\noom 3\noom_kill 2\noom_group_kill 1\n", 2),
        ("oom_kill 0", 0),
        ("oom_kill x\n", None),
        ("oom_group_kill 1\n", None),
        ("", None),
    ],
)
def test_a_counter_is_read(text: str, expected: int | None) -> None:
    assert kl.count_of(text, "oom_kill") == expected


def test_a_size_of_a_process_is_read() -> None:
    assert kl.size_of("Name:\tx\nVmData:\t  463212 kB\n", "VmData") == 463212 * 1024
    assert kl.size_of("Name:\tVmData:\nState:\tZ\n", "VmData") is None


@pytest.mark.parametrize(
    ("streams", "expected"),
    [
        ([["Traceback", "  x = 1", "MemoryError"]], True),
        ([["fine"], ["terminate called after throwing an instance of 'std::bad_alloc'"]], True),
        ([["FATAL ERROR: Reached heap limit - JavaScript heap out of memory", ""]], True),
        ([["sh: fork: Cannot allocate memory", "  ", ""]], True),
        ([["MemoryError", "a", "b", "c", "d", "e"]], False),
        ([["ValueError: memory"], []], False),
        ([], False),
    ],
)
def test_last_words_of_a_child_without_memory(streams: list[list[str]], expected: bool) -> None:
    """S28: only the very last lines count; what was handled long before did not end it."""
    assert kl.said_memory_is_out(streams) is expected
