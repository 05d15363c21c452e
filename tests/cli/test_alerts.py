"""`instance_cli alerts`: what is sent next and in which words, the settings, and the verbs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import instance_cli
from cli.alerting.channels import refusal
from cli.alerting.plan import (
    DIGEST_ABOVE,
    DIGEST_MAX,
    TEXT_MAX,
    advanced,
    in_order,
    next_message,
    pruned,
    retry_s,
)
from cli.alerting.settings import hide, load_settings
from core import masking
from core.alert_lines import Alert, Entry
from core.alert_spool import AlertSpool
from core.errors import ConfigError
from core.masking import mask_text

TOKEN = "tgram://123456789:abcdefg_hijklmnop/12315544/"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALERT_URLS", "ALERT_LEVEL", "LC_ALL", "LANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(masking, "_remembered", set())


def entry(number: int, level: str = "warning", **changes: Any) -> Entry:
    """An entry whose fields follow from its number."""
    instance = changes.pop("instance", "bp")
    fields = {
        "id": f"{instance}.{number}",
        "time": f"2026-11-26T12:{number // 60:02}:{number % 60:02}.000+00:00",
        "instance_id": instance,
        "source": "bot",
        "level": level,
        "kind": "bot",
        "message": f"message {number}",
    }
    alert = Alert(**{**fields, **changes})
    return Entry(alert=alert, instance_id=instance, file="f", end=100 * (number + 1))


def damaged(number: int) -> Entry:
    return Entry(alert=None, instance_id="bp", file="f", end=100 * (number + 1))


# What is sent next --------------------------------------------------------------------------------


def test_a_few_go_one_by_one() -> None:
    waiting = [entry(0), entry(1)]
    passed, message = next_message(waiting, "warning", host="vm")
    assert passed == ()
    assert message is not None
    assert message.title == "gridfleet warning: bp bot"
    assert message.body == "message 0\n2026-11-26T12:00:00.000+00:00 on vm"
    assert message.entries == (waiting[0],)


def test_what_is_below_the_level_is_passed_over() -> None:
    """And so is a line that can't be read; neither is ever sent."""
    waiting = [entry(0, "info"), damaged(1), entry(2, "critical"), entry(3, "info")]
    passed, message = next_message(waiting, "warning", host="vm")
    assert (passed, message and message.entries) == (tuple(waiting[:2]), (waiting[2],))
    assert next_message(waiting[3:], "warning", host="vm") == ((waiting[3],), None)
    assert next_message([], "info", host="vm") == ((), None)


def test_a_burst_is_one_message_worst_first_equal_ones_once() -> None:
    waiting = [entry(number, message="again") for number in range(DIGEST_ABOVE)]
    waiting += [entry(30, "critical", kind="fatal", message="given up")]
    _, message = next_message(waiting, "warning", host="vm")
    assert message is not None
    assert (message.title, message.count) == ("gridfleet: 11 alerts, 1 critical", 11)
    assert message.level == "critical"
    assert message.entries == tuple(waiting)
    assert message.body.splitlines() == [
        "2026-11-26T12:00:00.000+00:00 to 2026-11-26T12:00:30.000+00:00 on vm",
        "12:00:30 bp critical fatal: given up",
        "12:00:00 bp warning bot (10 times): again",
    ]


def test_a_digest_says_how_many_it_has_no_room_for() -> None:
    waiting = [entry(number, message=f"{number} " + "x" * 150) for number in range(300)]
    _, message = next_message(waiting, "warning", host="vm")
    assert message is not None
    assert len(message.body) <= TEXT_MAX
    *shown, last = message.body.splitlines()[1:]
    assert last == f"and {300 - len(shown)} more: instance_cli alerts list"


levels = st.sampled_from(["info", "warning", "critical", "damaged"])


@given(
    st.lists(levels, max_size=60),
    st.sampled_from(["info", "warning", "critical"]),
    st.sampled_from([120, 500, TEXT_MAX]),
)
def test_taking_message_after_message_takes_everything_once(
    kinds: list[str], level: str, text_max: int
) -> None:
    """Each step takes a front part; what is sent is exactly what has the level, in order."""
    waiting = [
        damaged(n) if kind == "damaged" else entry(n, kind, message="m" * (n * 40))
        for n, kind in enumerate(kinds)
    ]
    order = ["info", "warning", "critical"]
    wanted = [
        one.alert.id
        for one in waiting
        if one.alert and order.index(one.alert.level) >= order.index(level)
    ]
    sent, count = [], 0
    while waiting:
        passed, message = next_message(waiting, level, host="vm", text_max=text_max)
        taken = passed + (message.entries if message else ())
        assert taken == tuple(waiting[: len(taken)])
        assert taken
        if message is not None:
            mine = [e.alert.id for e in message.entries if e.alert and e.alert.id in wanted]
            assert len(mine) == message.count
            assert message.count == 1 or len(message.body) <= max(text_max, 250)
            sent += mine
            count += 1
        waiting = waiting[len(taken) :]
    assert sent == wanted
    assert count <= max(DIGEST_ABOVE, len(wanted) / DIGEST_MAX)


def test_instances_are_merged_by_time_and_each_keeps_its_order() -> None:
    """A clock that was set back reorders nothing within an instance."""
    one = [entry(10, instance="one"), entry(2, instance="one"), entry(30, instance="one")]
    two = [entry(5, instance="two"), entry(20, instance="two")]
    assert in_order([one, two]) == [two[0], one[0], one[1], two[1], one[2]]


def test_places_move_and_forget() -> None:
    place = advanced({"bp": {"old": 7}}, [entry(0), entry(1), entry(0, instance="other")])
    assert place == {"bp": {"old": 7, "f": 200}, "other": {"f": 100}}
    assert pruned(place, {"bp": {"f"}}) == {"bp": {"f": 200}, "other": {"f": 100}}


def test_retries_double_and_never_end() -> None:
    assert [retry_s(n) for n in (1, 2, 3, 6, 7, 8, 10**6)] == [5, 10, 20, 160, 300, 300, 300]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"errcode": 310000, "errmsg": "keywords not in content"}', "errcode 310000: keywords"),
        (b'{"errcode": 0, "errmsg": "ok"}', ""),
        (b'{"ok": true}', ""),
        (b"[1]", ""),
        (b"ok", ""),
        (b"", ""),
    ],
)
def test_an_answer_of_200_may_refuse(body: bytes, expected: str) -> None:
    assert refusal(body).startswith(expected)
    assert bool(refusal(body)) == bool(expected)


# Settings -----------------------------------------------------------------------------------------


def write_env(root: Path, text: str, mode: int = 0o600) -> None:
    (root / ".env").write_text(text)
    (root / ".env").chmod(mode)


def test_addresses_have_spaces_or_new_lines_between_them(tmp_path: Path) -> None:
    """A comma belongs to an address; twice the same is once."""
    mail = "mailtos://u:p@example.com?to=a@example.com,b@example.com"
    write_env(tmp_path, f'ALERT_URLS="{mail}\n  {TOKEN} {TOKEN}\njson://h/1 json://h/2"\n')
    found = load_settings(tmp_path, {})
    assert [address.name for address in found.addresses] == ["mailtos", "tgram", "json", "json 2"]
    assert found.addresses[0].url.reveal() == mail
    assert found.level == "warning"
    assert TOKEN not in repr(found)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    write_env(tmp_path, f"ALERT_URLS={TOKEN}\nALERT_LEVEL=info\n", 0o644)
    found = load_settings(tmp_path, {"ALERT_URLS": "json://h", "ALERT_LEVEL": "Critical"})
    assert ([a.name for a in found.addresses], found.level) == (["json"], "critical")


@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        ("", 0o600, ("ALERT_URLS", "was not set", "docs/alerts.md")),
        ("ALERT_URLS=' '", 0o600, ("ALERT_URLS", "was not set")),
        (f"ALERT_URLS={TOKEN}", 0o644, (".env", "mode 644", "chmod 600 .env")),
        (f"ALERT_URLS={TOKEN}\nALERT_LEVEL=loud", 0o600, ("ALERT_LEVEL", "'loud'", "info")),
        (f"ALERT_URLS='json://h {TOKEN},json://x'", 0o600, ("address 2 of 2", "two addresses")),
        ("ALERT_URLS=abcdefg_hijklmnop", 0o600, ("address 1 of 1", "no scheme://")),
        (f"ALERT_URLS={TOKEN}\xff", 0o600, ()),
    ],
)
def test_a_fault_names_the_thing_and_shows_no_secret(
    tmp_path: Path, text: str, mode: int, expected: tuple[str, ...]
) -> None:
    if not expected:
        (tmp_path / ".env").write_bytes(text.encode("latin-1"))
        expected = (".env", "not UTF-8")
    else:
        write_env(tmp_path, text, mode)
    with pytest.raises(ConfigError) as found:
        load_settings(tmp_path, {})
    assert all(word in str(found.value) for word in expected)
    assert "hijklmnop" not in str(found.value)


def test_every_part_of_an_address_is_masked(tmp_path: Path) -> None:
    """Whole, decoded and piece by piece, as a library may say it."""
    url = "mailtos://somebody:pass%20word%21@mail.example.com?to=x@example.com"
    (address,) = load_settings(tmp_path, {"ALERT_URLS": url}).addresses
    hide(address.url)
    for part in (url, "pass%20word%21", "pass word!", "somebody"):
        assert part not in mask_text(f"could not log in with {part} there")


# The verbs ----------------------------------------------------------------------------------------


def cli(capsys: pytest.CaptureFixture[str], root: Path, *words: str) -> tuple[int, str, str]:
    code = instance_cli.main(["--root", str(root), "alerts", *words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("bp", "eth"):
        (tmp_path / "logs" / name).mkdir(parents=True)
        AlertSpool(tmp_path / "logs" / name, name, "bot").add("warning", "bot", f"of {name}")
    return tmp_path


def test_list_needs_no_apprise_and_no_settings(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = cli(capsys, root, "list")
    assert code == 0
    assert "warning   bp  bot: of bp" in out
    assert "no alerter runs" in out
    code, out, _ = cli(capsys, root, "list", "--json", "-n", "1")
    document = json.loads(out)
    assert [alert["message"] for alert in document["alerts"]] == ["of eth"]
    assert document["channels"] == []
    assert document["alerter"] == {"running": False, "pid": None, "level": "warning"}


def test_list_of_an_empty_fleet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = cli(capsys, tmp_path, "list")
    assert (code, out.splitlines()[0]) == (0, "no alert is kept")


def test_a_damaged_state_spoils_no_list(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("{", '{"v": 1, "active": ["x"], "channels": {"x": 3}, "level": []}'):
        (root / "logs" / "alerter.json").write_text(text)
        code, out, _ = cli(capsys, root, "list", "--json")
        assert (code, len(json.loads(out)["alerts"])) == (0, 2)


@pytest.mark.parametrize("count", ["0", "-1", "x", "1.5", "1000000", "٣"])
def test_a_bad_count_is_refused(root: Path, capsys: pytest.CaptureFixture[str], count: str) -> None:
    code, _, err = cli(capsys, root, "list", f"-n={count}")
    assert code == 2
    assert "-n" in err


@pytest.mark.parametrize("verb", ["run", "test"])
def test_without_addresses_nothing_runs(
    root: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    code, _, err = cli(capsys, root, verb)
    assert code == 2
    assert "ALERT_URLS" in err


@pytest.mark.parametrize("verb", ["run", "test"])
def test_without_apprise_one_line_says_what_to_install(root: Path, verb: str) -> None:
    code = f"""
import sys
sys.modules["apprise"] = None
from cli.instance_cli import main
sys.exit(main(["--root", {str(root)!r}, "alerts", {verb!r}]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"ALERT_URLS": TOKEN, "LC_ALL": "C", "PATH": ""},
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "pip install 'gridfleet[alerts]'" in line
    assert done.stdout == ""


def test_an_address_that_apprise_does_not_know_is_named_by_its_scheme(root: Path) -> None:
    pytest.importorskip("apprise", reason="the extra [alerts] is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "cli.instance_cli", "--root", str(root), "alerts", "test"],
        env={"ALERT_URLS": "nosuchthing://abcdefg_hijklmnop", "LC_ALL": "C", "PATH": ""},
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 2
    assert "nosuchthing" in done.stderr
    assert "hijklmnop" not in done.stderr


def test_nothing_else_loads_apprise() -> None:
    """Neither bots nor supervisors nor a list: it takes 45 MB, and only the alerter has them."""
    code = """
import sys
import cli.alerting.alerter, cli.alerting.overview, cli.alerts, cli.bot, core.supervisor
print([name for name in ("apprise", "requests", "yaml", "markdown") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_words_are_chinese_where_the_locale_is(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "zh_TW.UTF-8")
    _, out, _ = cli(capsys, root, "list")
    assert "警報程式未執行" in out


def test_a_bot_spools_what_its_engine_raises(tmp_path: Path) -> None:
    """The hook in the bot's log: an alert goes to both, anything else to the log alone."""
    from cli.bot import Bot

    bot = Bot.__new__(Bot)
    bot.log = None  # a log that fails takes nothing away from the spool
    bot.alerts = AlertSpool(tmp_path, "bp", "bot")
    bot._log_event("alert", message="the price is above the range")
    bot._log_event("order_failed", error="x")
    bot._log_event("alert", message="closing everything: stop_loss", severity="critical")
    lines = [json.loads(one) for one in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    assert [(line["level"], line["message"]) for line in lines] == [
        ("warning", "the price is above the range"),
        ("critical", "closing everything: stop_loss"),
    ]
