"""Broken configs: each with the JSON path that is named and a fragment of what is said."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from core.bot_options import COMMAND_KEYS, OPTIONS, Kind
from core.config import parse
from core.config_sections import (
    DaemonConfig,
    ExchangeConfig,
    Metadata,
    PaperConfig,
    StrategyConfig,
)
from core.config_text import Findings, decode
from core.errors import ConfigError

SOURCE = "config/active/broken.json"

VALID: dict[str, Any] = {
    "metadata": {"instance_id": "bp_sol_01", "exchange": "backpack", "symbol": "SOL_USDC_PERP"},
    "daemon_config": {"web_port": 5001},
    "exchange_config": {"mode": "paper", "paper": {"feed": "synthetic", "seed": 7}},
    "strategy_config": {
        "grid_lower_price": 140,
        "grid_upper_price": "160",
        "grid_num": 20,
        "max_position": 10,
    },
}
REMOVED = object()


def changed(*changes: tuple[str, Any]) -> dict[str, Any]:
    """Return VALID with values set (or REMOVED) at dotted paths."""
    document = copy.deepcopy(VALID)
    for path, value in changes:
        *parents, last = path.split(".")
        place = document
        for name in parents:
            place = place.setdefault(name, {})
        if value is REMOVED:
            place.pop(last, None)
        else:
            place[last] = value
    return document


def faults_of(
    document: Any, variables: dict[str, str] | None = None, **options: Any
) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(document, stem="broken", source=SOURCE, variables=variables, **options)
    return caught.value.faults


def d(key: str, value: Any) -> tuple[str, Any]:
    return (f"daemon_config.{key}", value)


def e(key: str, value: Any) -> tuple[str, Any]:
    return (f"exchange_config.{key}", value)


def s(key: str, value: Any) -> tuple[str, Any]:
    return (f"strategy_config.{key}", value)


ONE_FAULT: list[tuple[list[tuple[str, Any]], str, str]] = [
    # metadata
    ([("metadata.instance_id", "../x")], "metadata.instance_id", "[A-Za-z0-9]"),
    ([("metadata.instance_id", "a\n")], "metadata.instance_id", '"a\\n"'),
    ([("metadata.instance_id", 7)], "metadata.instance_id", "an instance id"),
    ([("metadata.instance_id", "x" * 300)], "metadata.instance_id", "…"),
    ([("metadata.symbol", "<b>SOL</b>")], "metadata.symbol", "as the exchange spells it"),
    ([("metadata.exchange", "binance")], "metadata.exchange", "backpack, aster, paper"),
    ([("metadata.market_type", "spot")], "metadata.market_type", '"perp"'),
    ([("metadata.strategy", "dca")], "metadata.strategy", '"perp_grid"'),
    ([("metadata.example", "maybe")], "metadata.example", "true or false"),
    ([("metadata", [])], "metadata", "a list, expected an object"),
    ([("metadata.name", "")], "metadata.name", '"", expected a text of one line'),
    ([("metadata.name", "a\nb")], "metadata.name", "a text of one line"),
    ([("metadata.version", [])], "metadata.version", "a text of one line"),
    # daemon_config
    ([d("web_port", 0)], "daemon_config.web_port", "a port from 1 to 65535"),
    ([d("web_port", 65536)], "daemon_config.web_port", "a port from 1 to 65535"),
    ([d("web_port", 5001.5)], "daemon_config.web_port", "whole number"),
    ([d("web_port", True)], "daemon_config.web_port", "a port"),
    ([d("web_port", "http")], "daemon_config.web_port", '"http", expected a port'),
    ([d("web_host", "0.0.0.0")], "daemon_config.web_host", "WEB_TOKEN"),
    ([d("web_host", "::")], "daemon_config.web_host", "WEB_TOKEN"),
    ([d("web_host", "bad host!")], "daemon_config.web_host", "an IP address or a host name"),
    ([d("web_host", "999.1.1.1")], "daemon_config.web_host", "an IP address or a host name"),
    ([d("allowed_hosts", "x")], "daemon_config.allowed_hosts", "a list of host names"),
    ([d("allowed_hosts", ["a b"])], "daemon_config.allowed_hosts", "a host name"),
    ([d("allowed_hosts", ["a", "https://b"])], "daemon_config.allowed_hosts", "[1] is 'https://b'"),
    ([d("environment", {"A=B": "1"})], "daemon_config.environment", "not 'A=B'"),
    ([d("max_restart_attempts", -1)], "daemon_config.max_restart_attempts", "from 0 to"),
    ([d("restart_delay", -1)], "daemon_config.restart_delay", "seconds from 0"),
    ([d("restart_delay", "soon")], "daemon_config.restart_delay", "a number of seconds"),
    (
        [d("restart_delay", 60), d("restart_delay_max", 10)],
        "daemon_config.restart_delay_max",
        "at least restart_delay, which is 60",
    ),
    ([d("stop_timeout", 0)], "daemon_config.stop_timeout", "seconds above 0"),
    ([d("health_check", "http")], "daemon_config.health_check", "auto, none"),
    ([d("health_check_failures", 0)], "daemon_config.health_check_failures", "from 1"),
    ([d("memory_limit_mb", 0)], "daemon_config.memory_limit_mb", "from 1"),
    ([d("cpu_limit_action", "kill")], "daemon_config.cpu_limit_action", "warn, restart"),
    ([d("log_level", "loud")], "daemon_config.log_level", "debug, info, warning, error"),
    ([d("auto_restart", 1)], "daemon_config.auto_restart", "true or false"),
    ([d("log_retention_days", 0)], "daemon_config.log_retention_days", "from 1"),
    ([d("log_dir", "a\0b")], "daemon_config.log_dir", "a path"),
    ([d("db_path", 5)], "daemon_config.db_path", "a path"),
    ([d("environment", {"A-B": "x"})], "daemon_config.environment", "names of variables"),
    ([d("environment", {"A": ["x"]})], "daemon_config.environment", "a number for A"),
    ([d("environment", {"WEB_PORT": 1})], "daemon_config.environment.WEB_PORT", "supervisor sets"),
    ([d("environment", {"WEB_DEBUG": "1"})], "daemon_config.environment.WEB_DEBUG", "debugger"),
    ([d("bot_args", 5)], "daemon_config.bot_args", "a text of options"),
    ([d("bot_args", "--grid-num 'x")], "daemon_config.bot_args", "quotes closed"),
    ([d("bot_args", "--grid-nmu 5")], "daemon_config.bot_args", "nearest is --grid-num"),
    ([d("bot_args", "--grid-num")], "daemon_config.bot_args", "expected one argument"),
    ([d("bot_args", "run")], "daemon_config.bot_args", "belongs to none"),
    ([d("bot_args", "--check")], "daemon_config.bot_args", "command for run.py"),
    ([d("bot_args", ["--grid-num", 5])], "daemon_config.bot_args", "a list of texts"),
    ([d("bot_args", "--grid-num 1")], "daemon_config.bot_args: --grid-num", "from 2 to 1000"),
    (
        [d("bot_args", "--grid-lower 170")],
        "daemon_config.bot_args: --grid-lower",
        "less than grid_upper_price, which is 160",
    ),
    ([d("bot_args", "--symbol ${API_TOKEN:-x}")], "daemon_config.bot_args", "no key or token"),
    ([d("python_path", " ")], "daemon_config.python_path", '" ", expected a path'),
    ([d("script_path", "run\n.py")], "daemon_config.script_path", "a path"),
    ([d("working_dir", True)], "daemon_config.working_dir", "true, expected a path"),
    ([d("env_file", 5)], "daemon_config.env_file", "5, expected a path"),
    ([d("restart_window", 0)], "daemon_config.restart_window", "0, expected a number of seconds"),
    ([d("restart_delay_max", "1h")], "daemon_config.restart_delay_max", '"1h", expected a number'),
    ([d("healthy_after", -5)], "daemon_config.healthy_after", "-5, expected a number of seconds"),
    ([d("fatal_retry_interval", 0)], "daemon_config.fatal_retry_interval", "seconds above 0"),
    ([d("health_check_interval", "0")], "daemon_config.health_check_interval", '"0", expected'),
    ([d("health_check_timeout", -1)], "daemon_config.health_check_timeout", "seconds above 0"),
    ([d("start_after", "first")], "daemon_config.start_after", "expected a list of instance ids"),
    ([d("start_after", ["../x"])], "daemon_config.start_after", "[0] is '../x'"),
    ([d("startup_timeout", "1e10")], "daemon_config.startup_timeout", "at most 1e9"),
    ([d("finish_after", -0.5)], "daemon_config.finish_after", "seconds from 0"),
    ([d("cpu_limit_percent", 0)], "daemon_config.cpu_limit_percent", "a whole number from 1"),
    ([d("log_cleanup_interval", 0)], "daemon_config.log_cleanup_interval", "seconds above 0"),
    ([d("log_max_mb", 1.5)], "daemon_config.log_max_mb", "1.5, expected a whole number from 1"),
    ([d("python_path", "${PYTHON")], "daemon_config.python_path", "${NAME:-default}"),
    ([d("python_path", "${NOWHERE}")], "daemon_config.python_path", "NOWHERE is not set"),
    # exchange_config
    ([e("mode", "dry")], "exchange_config.mode", "live, paper"),
    (
        [e("mode", "live"), ("metadata.exchange", "paper")],
        "exchange_config.mode",
        "the exchange is paper",
    ),
    ([e("api_key", 5)], "exchange_config.api_key", "a key"),
    ([e("secret_key", "a b")], "exchange_config.secret_key", "***, expected a key"),
    ([e("base_url", "http://api.example.com")], "exchange_config.base_url", "only to this machine"),
    ([e("base_url", "ftp://127.0.0.1")], "exchange_config.base_url", "https://"),
    ([e("base_url", "https://u:p@x.com")], "exchange_config.base_url", "***"),
    ([e("base_url", "https://x.com:99999")], "exchange_config.base_url", "https://"),
    ([e("base_url", "http://localhost@evil.com")], "exchange_config.base_url", "without user"),
    ([e("ws_url", "ws://10.0.0.1")], "exchange_config.ws_url", "wss://"),
    ([e("paper", "yes")], "exchange_config.paper", "an object"),
    ([e("paper.feed", "live")], "exchange_config.paper.feed", "synthetic, csv"),
    ([e("paper.feed", "csv")], "exchange_config.paper.file", "timestamp_ms"),
    ([e("paper.speed", -1)], "exchange_config.paper.speed", "at least 0"),
    ([e("paper.seed", 1.5)], "exchange_config.paper.seed", "a whole number"),
    ([e("paper.maker_fee", 2)], "exchange_config.paper.maker_fee", "0.0002 for 0.02 %"),
    ([e("paper.tick_size", 0)], "exchange_config.paper.tick_size", "above 0"),
    ([e("paper.taker_fee", "-0.02")], "exchange_config.paper.taker_fee", "from -0.01 to 0.1"),
    ([e("paper.lot_size", -1)], "exchange_config.paper.lot_size", "-1, expected a number above 0"),
    ([e("paper.min_notional", -5)], "exchange_config.paper.min_notional", "of at least 0"),
    ([e("paper.balance", 0)], "exchange_config.paper.balance", "0, expected a number above 0"),
    ([e("paper.start_price", "x")], "exchange_config.paper.start_price", '"x", expected a number'),
    ([e("paper.funding_file", 5)], "exchange_config.paper.funding_file", "5, expected a path"),
    ([e("paper.funding_rate", 1)], "exchange_config.paper.funding_rate", "from -0.1 to 0.1"),
    # strategy_config
    ([s("exchange", "kraken")], "strategy_config.exchange", '"kraken", expected one of backpack'),
    ([s("symbol", "SOL USDC")], "strategy_config.symbol", "as the exchange spells it"),
    ([s("strategy", "dca")], "strategy_config.strategy", '"dca", expected "perp_grid"'),
    ([s("market_type", "spot")], "strategy_config.market_type", '"spot", expected "perp"'),
    ([s("max_position", "-1")], "strategy_config.max_position", '"-1", expected a number above 0'),
    ([s("price_range", 100)], "strategy_config.price_range", "per cent above 0, at most 99"),
    ([s("auto_price", "maybe")], "strategy_config.auto_price", '"maybe", expected true or false'),
    ([s("trigger_price", 0)], "strategy_config.trigger_price", "0, expected a number above 0"),
    (
        [s("allow_liquidation_in_range", 1)],
        "strategy_config.allow_liquidation_in_range",
        "true or false",
    ),
    ([s("allow_account_changes", "si")], "strategy_config.allow_account_changes", "true or false"),
    ([s("no_web", 0)], "strategy_config.no_web", "0, expected true or false"),
    ([("metadata.symbol", REMOVED)], "strategy_config.symbol", "not set"),
    ([s("grid_lower_price", REMOVED)], "strategy_config.grid_lower_price", "not set"),
    ([s("grid_num", REMOVED)], "strategy_config.grid_num", "how many levels"),
    ([s("grid_num", 1)], "strategy_config.grid_num", "1, expected a whole number from 2 to 1000"),
    ([s("grid_num", 1001)], "strategy_config.grid_num", "from 2 to 1000"),
    ([s("grid_num", 3000)], "strategy_config.grid_num", "from 2 to 1000"),
    ([s("grid_num", 999), e("paper.tick_size", 1)], "strategy_config.grid_num", "once rounded"),
    ([s("grid_lower_price", 160)], "strategy_config.grid_lower_price", "less than"),
    ([s("grid_lower_price", "1e400")], "strategy_config.grid_lower_price", "above 0 (between"),
    ([s("grid_lower_price", -5)], "strategy_config.grid_lower_price", "above 0"),
    ([s("grid_lower_price", False)], "strategy_config.grid_lower_price", "a number above 0"),
    ([s("grid_lower_price", "12,5")], "strategy_config.grid_lower_price", "a number"),
    ([s("grid_lower_price", "0." + "1" * 40)], "strategy_config.grid_lower_price", "28 digits"),
    ([s("grid_lower_price", float("nan"))], "strategy_config.grid_lower_price", "finite"),
    ([s("grid_upper_price", float("inf"))], "strategy_config.grid_upper_price", "finite"),
    ([s("grid_lower", 141)], "strategy_config.grid_lower", "the same as grid_lower_price"),
    ([s("grid_mode", "fibonacci")], "strategy_config.grid_mode", "arithmetic, geometric"),
    ([s("grid_type", "both")], "strategy_config.grid_type", "neutral, long, short"),
    ([s("max_position", REMOVED)], "strategy_config.max_position", "or quantity"),
    ([s("quantity", "0.0005")], "strategy_config.quantity", "lots of 0.001"),
    ([s("quantity", "0.03")], "strategy_config.quantity", "min_notional 5"),
    ([s("quantity", 11)], "strategy_config.quantity", "at most max_position, which is 10"),
    ([s("leverage", 0)], "strategy_config.leverage", "from 1 to 200"),
    ([s("stop_loss", -100)], "strategy_config.stop_loss", "above 0"),
    ([s("take_profit", 0)], "strategy_config.take_profit", "above 0"),
    ([s("boundary_action", "panic")], "strategy_config.boundary_action", "stop_only"),
    ([s("boundary_tolerance", 2)], "strategy_config.boundary_tolerance", "a fraction from 0"),
    ([s("boundary_confirm", -1)], "strategy_config.boundary_confirm", "a number of seconds"),
    ([s("boundary_moves_per_hour", 0)], "strategy_config.boundary_moves_per_hour", "from 1"),
    ([s("boundary_confirm", -1)], "strategy_config.boundary_confirm", "-1, expected a number of"),
    (
        [s("boundary_moves_per_hour", 0)],
        "strategy_config.boundary_moves_per_hour",
        "0, expected a whole number from 1",
    ),
    ([s("auto_price", True)], "strategy_config.price_range", "auto_price needs it"),
    ([s("open_initial", "yes")], "strategy_config.open_initial", "true or false"),
    ([s("duration", 0)], "strategy_config.duration", "above 0"),
    ([s("interval", 0)], "strategy_config.interval", "above 0"),
    ([s("dead_mans_switch", 0)], "strategy_config.dead_mans_switch", "above 0"),
    ([s("dead_mans_switch", 9)], "strategy_config.dead_mans_switch", "at least 10 seconds"),
    (
        [
            s("dead_mans_switch", 120),
            e("mode", "live"),
            e("api_key", "${KEY:-" + "k" * 43 + "=}"),
            e("secret_key", "${KEY:-" + "k" * 43 + "=}"),
        ],
        "strategy_config.dead_mans_switch",
        "run.py --cancel-orders",
    ),
    ([s("slippage_cap", 0)], "strategy_config.slippage_cap", "a fraction above 0"),
]


@pytest.mark.parametrize(
    ("changes", "where", "said"),
    ONE_FAULT,
    ids=[f"{number:02}-{case[1]}" for number, case in enumerate(ONE_FAULT)],
)
def test_each_broken_config_is_one_fault(
    changes: list[tuple[str, Any]], where: str, said: str
) -> None:
    """One mistake is one line, which names the file, the JSON path and what was expected."""
    faults = faults_of(changed(*changes))
    assert len(faults) == 1, faults
    assert faults[0].startswith(f"{SOURCE}: {where}: was "), faults[0]
    assert ", expected " in faults[0]
    assert said in faults[0]


SECTIONS = {
    "metadata": Metadata,
    "daemon_config": DaemonConfig,
    "exchange_config": ExchangeConfig,
    "exchange_config.paper": PaperConfig,
    "strategy_config": StrategyConfig,
}


def test_every_key_has_a_value_that_is_refused() -> None:
    """A key that is added to a section comes with a broken value in the table above."""
    covered = {where for _, where, _ in ONE_FAULT}
    missing = [
        f"{section}.{key}"
        for section, model in SECTIONS.items()
        for key in model.model_fields
        if f"{section}.{key}" not in covered
    ]
    assert missing == []


BAD_OPTIONS: dict[str, tuple[str, str]] = {
    # An option that takes a value: what is typed after it, and what it wants instead.
    "--exchange": ("kraken", "backpack, aster, paper"),
    "--symbol": ("SOL/USDC", "as the exchange spells it"),
    "--strategy": ("dca", '"perp_grid"'),
    "--market-type": ("spot", '"perp"'),
    "--grid-lower": ("-1", "a number above 0"),
    "--grid-upper": ("1e400", "a number above 0"),
    "--grid-num": ("1", "from 2 to 1000"),
    "--grid-mode": ("log", "arithmetic, geometric"),
    "--grid-type": ("both", "neutral, long, short"),
    "--quantity": ("0", "a number above 0"),
    "--max-position": ("ten", "a number above 0"),
    "--leverage": ("0.5", "from 1 to 200"),
    "--stop-loss": ("-100", "a number above 0"),
    "--take-profit": ("NaN", "a number above 0"),
    "--boundary-action": ("panic", "stop_only"),
    "--boundary-tolerance": ("0.6", "a fraction from 0 to 0.5"),
    "--price-range": ("0", "per cent above 0"),
    "--duration": ("1h", "a number of seconds"),
    "--interval": ("0", "seconds above 0"),
}


@pytest.mark.parametrize("flag", [o.flag for o in OPTIONS if o.kind is Kind.VALUE])
def test_every_option_that_takes_a_value_refuses_a_bad_one(flag: str) -> None:
    """Typed after run.py or in bot_args: the option, the value as typed, what was expected."""
    value, said = BAD_OPTIONS[flag]
    (fault,) = faults_of(VALID, bot_args=(f"{flag}={value}",))
    assert fault.startswith(f'{SOURCE}: {flag}: was "{value}", expected '), fault
    assert said in fault
    (fault,) = faults_of(changed(d("bot_args", f"{flag}={value}")))
    assert fault.startswith(f'{SOURCE}: daemon_config.bot_args: {flag}: was "{value}"'), fault


@pytest.mark.parametrize("flag", [o.flag for o in OPTIONS if o.kind in (Kind.SWITCH, Kind.FLAG)])
def test_every_switch_refuses_a_value(flag: str) -> None:
    """A switch is given alone; `--no-web=1` is not guessed at."""
    (fault,) = faults_of(VALID, bot_args=(f"{flag}=maybe",))
    assert flag in fault
    assert "maybe" in fault


@pytest.mark.parametrize("flag", [o.flag for o in OPTIONS if o.key in COMMAND_KEYS])
def test_every_command_is_refused_in_a_file(flag: str) -> None:
    """What a run is to do is not a setting: bot_args with it would do it at every start."""
    value = "=x" if flag == "--config" else ""
    (fault,) = faults_of(changed(d("bot_args", f"{flag}{value}")))
    assert "settings only: this is a command for run.py itself" in fault
    assert flag in fault


def test_the_config_that_the_table_breaks_is_valid() -> None:
    """What the table changes is valid before the change, and has no warning."""
    config, warnings = parse(VALID, stem="broken", source=SOURCE)
    assert config.instance_id == "bp_sol_01"
    assert warnings == ()


def test_all_faults_are_named_at_once() -> None:
    """Every section's faults come together, those between keys included."""
    faults = faults_of(
        changed(
            d("web_port", 0),
            d("bot_args", "--grid-num 1 --stop-loss -3"),
            e("paper.speed", -1),
            e("paper.seed", -1),
            s("grid_lower_price", 200),
            s("leverage", 0),
            ("metadata.example", 3),
        )
    )
    assert {fault.split(": was ")[0].removeprefix(f"{SOURCE}: ") for fault in faults} == {
        "metadata.example",
        "daemon_config.web_port",
        "daemon_config.bot_args: --grid-num",
        "daemon_config.bot_args: --stop-loss",
        "exchange_config.paper.speed",
        "exchange_config.paper.seed",
        "strategy_config.grid_lower_price",
        "strategy_config.leverage",
    }


TEXTS = [
    ('{"a": 1, "a": 2}', "a: was there twice"),
    ('{"metadata": {"name": "x", "name": "y"}}', "metadata.name: was there twice"),
    ('{"strategy_config": {"grid_num": NaN}}', "strategy_config.grid_num: was NaN"),
    ('{"unknown": [1, -Infinity]}', "unknown[1]: was -Infinity"),
    ('{"strategy_config": {"quantity": 1e400}}', "was 1E+400, expected a number above 0"),
    ('{"strategy_config": {"quantity": ' + "9" * 5000 + "}}", "was 999"),
    ("[1, 2]", "$: was a list, expected an object"),
    ("null", "$: was null"),
    ("", "line 1, column 1: was expecting value"),
    ('{"metadata": {"name": "x",}}', "line 1, column"),
    ("{'a': 1}", "line 1, column 2"),
    ('{"a": ' * 100000, "$: was unreadable"),
    ('{"a": ' * 50 + "1" + "}" * 50, "nested too deep"),
    ('{"strategy_config": {"stop_loss": 1e9999999999999999999}}', "expected"),
]


@pytest.mark.parametrize(("text", "said"), TEXTS, ids=[said[:30] for _, said in TEXTS])
def test_text_that_is_no_config(text: str, said: str) -> None:
    """Broken JSON, repeated keys and numbers that are not finite are faults with their place."""
    findings = Findings(SOURCE)
    document = decode(text, findings)
    faults = findings.faults or faults_of(document)
    assert any(said in fault for fault in faults), faults


def test_a_live_config_without_keys_names_both_ways_out() -> None:
    """No mode means live; without both keys the message says to set them, or to trade on paper."""
    faults = faults_of(changed(e("mode", REMOVED), e("api_key", "${BACKPACK_KEY}")))
    assert [fault.split(": ")[1] for fault in faults] == [
        "exchange_config.api_key",
        "exchange_config.secret_key",
    ]
    for fault in faults:
        assert "BACKPACK_KEY and BACKPACK_SECRET in .env" in fault
        assert '"mode": "paper"' in fault


def test_one_missing_key_is_the_only_one_asked_for() -> None:
    """With one key set, the fault asks for the other alone."""
    (fault,) = faults_of(
        changed(e("mode", "live")), variables={"BACKPACK_KEY": "k" * 44, "BACKPACK_SECRET": ""}
    )
    assert "exchange_config.secret_key: was not set" in fault
    assert "set BACKPACK_SECRET in .env" in fault


def test_an_empty_variable_is_no_key() -> None:
    """A copied .env.example, with nothing after the =, is refused like no .env at all."""
    faults = faults_of(
        changed(
            e("mode", "live"),
            e("api_key", "${BACKPACK_KEY}"),
            e("secret_key", "${BACKPACK_SECRET}"),
        ),
        variables={"BACKPACK_KEY": "", "BACKPACK_SECRET": ""},
    )
    assert len(faults) == 2


def test_web_debug_in_the_environment_is_refused() -> None:
    """WEB_DEBUG is read and refused with the reason, unless it is off."""
    (fault,) = faults_of(VALID, variables={"WEB_DEBUG": "true"})
    assert "WEB_DEBUG: was on in the environment" in fault
    assert "run code" in fault
    parse(VALID, stem="x", variables={"WEB_DEBUG": "0"})


def test_a_file_name_that_is_no_id_is_refused() -> None:
    """A stem that is no safe name is a fault unless the file or the command line names an id."""
    document = changed(("metadata.instance_id", REMOVED))
    with pytest.raises(ConfigError, match=r"metadata\.instance_id: was not set"):
        parse(document, stem="my bot", source=SOURCE)
    config, _ = parse(document, stem="my bot", source=SOURCE, instance_id="bot_7")
    assert config.instance_id == "bot_7"


@pytest.mark.parametrize(
    "typed", ["../x", "/etc/x", "a/b", "..", ".h", "-rf", "a\n", "a\0", "x" * 65, ""]
)
def test_typed_ids_that_are_refused(typed: str) -> None:
    """An --instance-id is held to the same rule (SECURITY.md 33)."""
    (fault,) = faults_of(VALID, instance_id=typed)
    assert "--instance-id: was " in fault


SECRET = "sk_live_3f9a8b7c6d5e4f"
LEAKS = [
    changed(e("api_key", SECRET), e("secret_key", SECRET), s("grid_num", 1)),
    changed(e("api_key", SECRET + " x")),
    changed(e("api_kye", SECRET), s("grid_num", 1)),
    changed(d("environment", {"WEB_TOKEN": SECRET}), s("grid_num", 1)),
    changed(d("web_port", "${MY_VALUE}")),
    changed(d("bot_args", "--grid-num ${MY_VALUE}")),
    changed(d("bot_args", "--${MY_VALUE}")),
    changed(d("bot_args", "${MY_VALUE}")),
    changed(s("grid_lower_price", "${MY_VALUE}")),
    changed(e("base_url", "https://${MY_VALUE}@host")),
    changed(e("mode", "live"), e("secret_key", SECRET)),
    changed(e("api_key", "${MY_VALUE}"), d("bot_args", "--symbol ${MY_VALUE}")),
]


@pytest.mark.parametrize("document", LEAKS, ids=range(len(LEAKS)))
def test_no_message_shows_a_secret(document: dict[str, Any]) -> None:
    """A literal key, and what a variable holds, are in no fault and no warning."""
    from core.config import examine

    findings = Findings(SOURCE)
    examine(document, stem="x", findings=findings, variables={"MY_VALUE": SECRET})
    assert findings.faults
    assert SECRET not in json.dumps([findings.faults, findings.warnings])
