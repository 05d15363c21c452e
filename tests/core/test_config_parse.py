"""Formats, precedence, defaults and warnings of a config document."""

from __future__ import annotations

import copy
import json
import pickle
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from core.bot_options import FLAG_OF_KEY, KEY_ALIASES, OPTIONS, BotArgsError, Kind, parse_bot_args
from core.config import InstanceConfig, StrategyConfig, json_schema, parse
from core.errors import ConfigError
from core.model import BoundaryAction, GridMode, GridType

GRID = "--grid-lower 140 --grid-upper 160 --grid-num 20 --max-position 10"
PAPER: dict[str, Any] = {
    "metadata": {"symbol": "SOL_USDC_PERP"},
    "daemon_config": {"bot_args": GRID},
    "exchange_config": {"mode": "paper"},
}


def read(
    document: dict[str, Any], variables: dict[str, str] | None = None, **options: Any
) -> tuple[InstanceConfig, tuple[str, ...]]:
    return parse(document, stem="sol", source="sol.json", variables=variables, **options)


def paper(**sections: dict[str, Any]) -> dict[str, Any]:
    document = copy.deepcopy(PAPER)
    for name, values in sections.items():
        document.setdefault(name, {}).update(values)
    return document


def test_defaults_are_the_contracts() -> None:
    """What a file leaves out has the values of the guide and the contract."""
    config, warnings = read(PAPER)
    daemon = config.daemon
    assert warnings == ()
    assert config.instance_id == "sol"
    assert (daemon.log_dir, daemon.db_path) == ("logs/sol", "database/sol.db")
    assert (daemon.web_host, daemon.web_port) == ("127.0.0.1", None)
    assert (daemon.python_path, daemon.script_path) == (".venv/bin/python3", "run.py")
    assert (daemon.max_restart_attempts, daemon.restart_delay) == (3, 60.0)
    assert (daemon.restart_window, daemon.restart_delay_max) == (3600.0, 900.0)
    assert (daemon.healthy_after, daemon.fatal_retry_interval) == (600.0, None)
    assert (daemon.health_check, daemon.health_check_interval) == ("auto", 30.0)
    assert (daemon.health_check_timeout, daemon.health_check_failures) == (5.0, 3)
    assert (daemon.startup_timeout, daemon.stop_timeout, daemon.finish_after) == (60, 30, 10)
    assert (daemon.memory_limit_mb, daemon.cpu_limit_percent) == (2048, 80)
    assert (daemon.cpu_limit_action, daemon.auto_restart) == ("warn", True)
    assert (daemon.log_cleanup_interval, daemon.log_retention_days) == (86400.0, 2)
    exchange = config.exchange.paper
    assert (exchange.feed, exchange.balance) == ("synthetic", Decimal(100000))
    assert (exchange.maker_fee, exchange.taker_fee) == (Decimal("0.0002"), Decimal("0.0005"))
    assert (exchange.tick_size, exchange.lot_size) == (Decimal("0.01"), Decimal("0.001"))
    assert (exchange.min_notional, exchange.speed) == (Decimal(5), Decimal(1))
    strategy = config.strategy
    assert (strategy.strategy, strategy.market_type) == ("perp_grid", "perp")
    assert (strategy.grid_mode, strategy.grid_type) == (GridMode.ARITHMETIC, GridType.NEUTRAL)
    assert strategy.boundary_action is BoundaryAction.NONE
    assert strategy.boundary_tolerance == Decimal("0.001")
    assert (strategy.interval, strategy.duration) == (60.0, None)


def test_paper_without_an_exchange_is_the_paper_exchange() -> None:
    """A paper config need not say which exchange it plays."""
    config, _ = read(PAPER)
    assert config.exchange_name == "paper"
    assert config.is_paper


def test_the_paper_exchange_is_paper_without_a_mode() -> None:
    """`--exchange paper` is enough: it can't be live."""
    config, _ = read(paper(exchange_config={"mode": None}, metadata={"exchange": "paper"}))
    assert config.is_paper


def test_precedence() -> None:
    """Typed options win over bot_args over strategy_config over metadata over defaults."""
    document = paper(
        metadata={"symbol": "A_USDC_PERP", "exchange": "backpack"},
        strategy_config={
            "symbol": "B_USDC_PERP", "grid_num": 15, "grid_lower_price": "140.0", "interval": 30,
        },
    )  # fmt: skip
    config, warnings = read(document)
    assert (config.symbol, config.strategy.grid_num) == ("B_USDC_PERP", 20)
    assert config.strategy.interval == 30.0
    assert config.exchange_name == "backpack"
    assert [line.removeprefix("sol.json: ") for line in warnings] == [
        'strategy_config.symbol: "B_USDC_PERP" wins over metadata.symbol, which is "A_USDC_PERP"',
        "daemon_config.bot_args: --grid-num: 20 wins over strategy_config.grid_num, which is 15",
    ]
    typed, typed_warnings = read(document, bot_args=["--grid-num", "30", "--no-web"])
    assert (typed.strategy.grid_num, typed.strategy.no_web) == (30, True)
    assert typed_warnings == warnings


@pytest.mark.parametrize("bot_args", [GRID, GRID.split()], ids=["text", "list"])
def test_bot_args_as_text_and_as_list(bot_args: object) -> None:
    """bot_args is one text, split as a shell would, or a list of texts."""
    config, _ = read(paper(daemon_config={"bot_args": bot_args}))
    assert config.strategy.grid_upper_price == Decimal(160)


def test_switches_in_bot_args() -> None:
    """A switch can be turned on and off again on the command line."""
    config, _ = read(
        paper(
            daemon_config={"bot_args": GRID + " --grid-type long --no-open-initial"},
            strategy_config={"open_initial": True},
        )
    )
    assert config.strategy.open_initial is False


def test_the_flat_format() -> None:
    """The older format has daemon_config's keys at the top, and other sections beside them."""
    config, warnings = read(
        {
            "web_port": 5007,
            "restart_delay": 5,
            "bot_args": GRID + " --symbol SOL_USDC_PERP",
            "exchange_config": {"mode": "paper"},
        }
    )
    assert warnings == ()
    assert (config.daemon.web_port, config.daemon.restart_delay) == (5007, 5.0)
    assert config.symbol == "SOL_USDC_PERP"


def test_faults_of_the_flat_format_have_its_paths() -> None:
    """A path in a message is the path in the file at hand."""
    with pytest.raises(ConfigError) as caught:
        read({"web_port": 0, "bot_args": "--grid-num 1", "exchange_config": {"mode": "paper"}})
    faults = caught.value.faults
    assert any(fault.startswith("sol.json: web_port: was 0") for fault in faults)
    assert any(fault.startswith("sol.json: bot_args: --grid-num: was ") for fault in faults)


def test_unknown_keys_are_warnings_with_the_nearest() -> None:
    """A typo does not stop a start, and is not silent either."""
    document = paper(
        daemon_config={"web_prot": 5001, "grid_num": 3},
        exchange_config={"paper": {"sped": 60}},
        strategy_config={"grid_lwer": 5, "xyzzy": 1, "check": True},
    )
    document["metdata"] = {}
    document["$schema"] = "schema.json"
    _, warnings = read(document)
    assert sorted(line.removeprefix("sol.json: ") for line in warnings) == [
        "daemon_config.grid_num: is not a known key here; it belongs in strategy_config",
        "daemon_config.web_prot: is not a known key; nearest is web_port",
        "exchange_config.paper.sped: is not a known key; nearest is speed",
        "metdata: is not a known key; nearest is metadata",
        "strategy_config.check: has no effect here: --check is a command",
        "strategy_config.grid_lwer: is not a known key; nearest is grid_lower",
        "strategy_config.xyzzy: is not a known key",
    ]


def test_every_long_option_is_a_strategy_key() -> None:
    """With underscores, and under grid_lower_price and grid_upper_price too (CONTRACT 2)."""
    for option in OPTIONS:
        _, warnings = read(paper(strategy_config={option.spelled_key: None}))
        assert not [line for line in warnings if "not a known key" in line], option.flag
    assert KEY_ALIASES == {"grid_lower": "grid_lower_price", "grid_upper": "grid_upper_price"}
    settings = {option.key for option in OPTIONS if option.kind in (Kind.VALUE, Kind.SWITCH)}
    assert settings <= set(StrategyConfig.model_fields)


def test_aliases() -> None:
    """grid_lower means grid_lower_price."""
    document = paper(strategy_config={"grid_lower": 100, "grid_upper": 110})
    document["daemon_config"]["bot_args"] = "--grid-num 5 --quantity 1"
    config, _ = read(document)
    assert config.strategy.grid_lower_price == Decimal(100)


def test_variables_reach_every_kind_of_value() -> None:
    """A port, a price, a switch and a mode can come from the environment."""
    config, _ = read(
        paper(
            metadata={"symbol": "${SYMBOL}"},
            daemon_config={
                "web_port": "${PORT:-5009}", "auto_restart": "${AUTO}",
                "bot_args": "--grid-lower ${LOW} --grid-upper 160 --grid-num 5 --quantity 1",
            },
            exchange_config={"mode": "${MODE:-paper}"},
        ),
        {"SYMBOL": "ETH_USDC_PERP", "AUTO": "false", "LOW": "150.5"},
    )  # fmt: skip
    assert (config.symbol, config.daemon.web_port) == ("ETH_USDC_PERP", 5009)
    assert config.daemon.auto_restart is False
    assert config.strategy.grid_lower_price == Decimal("150.5")


def live(**exchange: Any) -> dict[str, Any]:
    document = paper(metadata={"exchange": "aster", "symbol": "SOLUSDT"})
    document["exchange_config"] = exchange
    return document


def test_live_keys() -> None:
    """Keys come from the variables that the file names, else from the exchange's own."""
    variables = {"ASTER_KEY": "k1", "ASTER_SECRET": "s1", "OTHER": "k2"}
    config, warnings = read(live(api_key="${OTHER}"), variables)
    assert (config.exchange.mode, warnings) == ("live", ())
    assert config.exchange.api_key is not None
    assert config.exchange.secret_key is not None
    assert config.exchange.api_key.reveal() == "k2"
    assert config.exchange.secret_key.reveal() == "s1"


def test_a_literal_key_works_with_a_warning() -> None:
    """The warning says where the key belongs, and does not repeat it."""
    config, warnings = read(live(api_key="literal-key", secret_key="literal-secret"))
    assert config.exchange.api_key is not None
    assert config.exchange.api_key.reveal() == "literal-key"
    assert [line.split(": ")[1] for line in warnings] == [
        "exchange_config.api_key",
        "exchange_config.secret_key",
    ]
    assert "${ASTER_KEY}" in warnings[0]
    assert "literal-" not in "".join(warnings)


def test_no_rendering_of_a_config_shows_its_keys() -> None:
    """repr, str and a dump of a config are safe to log; it cannot be pickled."""
    config, _ = read(live(api_key="literal-key", secret_key="literal-secret"))
    for text in (repr(config), str(config), str(config.model_dump()), f"{config.exchange}"):
        assert "literal-" not in text
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(config)
    with pytest.raises(ValueError, match="Unable to serialize"):
        config.model_dump_json()


def test_paper_needs_no_key_and_no_variable() -> None:
    """The shipped files name ${BACKPACK_KEY} and start on paper without it."""
    document = paper(exchange_config={"api_key": "${NOWHERE}", "secret_key": "${NOR_HERE}"})
    config, warnings = read(document)
    assert (config.exchange.api_key, warnings) == (None, ())


def test_wider_than_loopback_with_a_token() -> None:
    """WEB_TOKEN may be in the variables or in the child's own environment."""
    wide = {"web_host": "0.0.0.0"}
    config, _ = read(paper(daemon_config=wide), {"WEB_TOKEN": "t" * 20})
    assert config.daemon.web_host == "0.0.0.0"
    own = {**wide, "environment": {"WEB_TOKEN": "${MY_TOKEN}"}}
    read(paper(daemon_config=own), {"MY_TOKEN": "t" * 20})
    with pytest.raises(ConfigError, match="WEB_TOKEN"):
        read(paper(daemon_config=wide), {"WEB_TOKEN": " "})


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:8000", "http://localhost:1/x/", "http://[::1]:9", "https://x.com"]
)
def test_plain_http_on_loopback(address: str) -> None:
    """A local simulator is reached without TLS, everything else with it."""
    config, _ = read(paper(exchange_config={"base_url": address}))
    assert config.exchange.base_url == address.rstrip("/")


def test_a_program_of_the_users_own() -> None:
    """With another script, exchange and strategy are not looked at, bot_args not touched."""
    config, _ = read(
        {
            "metadata": {"strategy": "my own", "name": "worker"},
            "daemon_config": {"script_path": "worker.py", "bot_args": "--any ${THING} 'a b'"},
            "strategy_config": {"grid_num": -1},
            "exchange_config": {"mode": "nonsense"},
        }
    )
    assert not config.is_bot
    assert config.daemon.bot_args == "--any ${THING} 'a b'"
    assert config.daemon.health_check == "none"
    probed, _ = read({"script_path": "worker", "health_check": "auto"})
    assert probed.daemon.health_check == "auto"


def test_null_means_not_given_or_no_limit() -> None:
    """null is the default, except for a limit, where it is none."""
    config, _ = read(
        paper(
            daemon_config={"restart_delay": None, "memory_limit_mb": None, "log_max_mb": None},
            strategy_config={"grid_mode": None},
        )
    )
    assert config.daemon.restart_delay == 60.0
    assert (config.daemon.memory_limit_mb, config.daemon.log_max_mb) == (None, None)


def test_a_long_restart_delay_raises_its_cap() -> None:
    """restart_delay_max never lies below a delay that the file asks for."""
    config, _ = read(paper(daemon_config={"restart_delay": 1200}))
    assert config.daemon.restart_delay_max == 1200.0
    at_once, _ = read(paper(daemon_config={"restart_delay": 0}))
    assert at_once.daemon.restart_delay == 0.0


def test_auto_price() -> None:
    """A centred grid needs no bounds, only a first price: from the market, or named on paper."""
    centred = {"bot_args": "--auto-price --price-range 5 --grid-num 10 --quantity 1"}
    with pytest.raises(ConfigError, match=r"paper\.start_price"):
        read(paper(daemon_config=centred))
    config, _ = read(paper(daemon_config=centred, exchange_config={"paper": {"start_price": 150}}))
    assert config.strategy.price_range == Decimal(5)
    assert config.strategy.grid_lower_price is None


def test_keys_without_effect_are_warnings() -> None:
    """A setting that does nothing in this config is said to."""
    _, warnings = read(
        paper(
            exchange_config={"paper": {"file": "x.csv"}},
            strategy_config={"open_initial": True, "price_range": 3},
        )
    )
    assert [line.split(": ")[1] for line in warnings] == [
        "strategy_config.price_range",
        "strategy_config.open_initial",
        "exchange_config.paper.file",
    ]


def test_a_geometric_grid_is_checked_for_collisions_at_its_narrow_end() -> None:
    """Geometric levels lie closest at the bottom, and that is where they collide."""
    document = paper(
        daemon_config={"bot_args": "--grid-mode geometric --quantity 1000"},
        strategy_config={"grid_lower_price": "0.1", "grid_upper_price": 100, "grid_num": 200},
    )
    with pytest.raises(ConfigError, match=r"levels 0 and 1 are both 0\.10"):
        read(document)
    document["exchange_config"]["paper"] = {"tick_size": "0.0001"}
    read(document)


def test_a_config_is_frozen() -> None:
    """Nothing changes a config after it was checked."""
    config, _ = read(PAPER)
    with pytest.raises(ValidationError):
        config.strategy.grid_num = 5  # type: ignore[misc]  # the attempt is the point


def test_the_schema_covers_every_key() -> None:
    """The JSON Schema that a form or an editor reads has each key of each section."""
    schema = json_schema()
    assert json.loads(json.dumps(schema, default=str))
    strategy = schema["properties"]["strategy_config"]["properties"]
    assert set(strategy) == set(StrategyConfig.model_fields)


# The options of run.py --------------------------------------------------------------------------


def test_the_option_table_is_the_contracts() -> None:
    """Exactly the options of CONTRACT 6, in its order."""
    contract = """
        --exchange --symbol --strategy --market-type --grid-lower --grid-upper --grid-num
        --grid-mode --grid-type --quantity --max-position --leverage --open-initial --stop-loss
        --take-profit --boundary-action --boundary-tolerance --auto-price --price-range
        --duration --interval --config --no-web --check --cancel-orders
    """
    assert list(FLAG_OF_KEY.values()) == contract.split()


def test_bot_args_faults_come_together() -> None:
    """Every unknown option is named; the value after one is not counted as a second fault."""
    with pytest.raises(BotArgsError) as caught:
        parse_bot_args(["--grd-num", "5", "--interval", "3", "stray", "--xyzzy=1", "--check"])
    assert [found for found, _ in caught.value.faults] == [
        "--grd-num",
        "stray",
        "--xyzzy=1",
        "--check",
    ]


def test_options_are_not_abbreviated() -> None:
    """--grid is no option, though argparse would guess one."""
    with pytest.raises(BotArgsError):
        parse_bot_args(["--dur", "5"])
    assert parse_bot_args(["--duration=5", "--duration", "6"]) == {"duration": "6"}
