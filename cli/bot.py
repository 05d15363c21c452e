"""run.py: one grid bot. The composition root: reads the config, wires the arms, runs, exits.

The main thread owns signals and the exit code; the engine thread owns the trading; the web has
threads of its own. The engine thread's death ends the process: a bot that only looks alive is
worse than one that is restarted.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cli.bot_place import place_of
from cli.bot_process import AlreadyRunning, BotProcess, favour_engine, shorten
from core.alert_spool import AlertSpool
from core.bot_options import COMMAND_KEYS, add_options
from core.errors import (
    AuthError,
    ConfigError,
    ExchangeError,
    ExitCode,
    GridfleetError,
    UsageError,
)

if TYPE_CHECKING:
    from cli.bot_wiring import Opened
    from core.config import InstanceConfig
    from core.config_load import LoadedConfig
    from core.model import Snapshot
    from core.ports import ExchangeClient
    from strategies.order_ids import ClientIds

LIVE_WITHIN_S = 30.0
"""The strategy loop turns at least once a second; silent for this long, it has stalled."""

LOG_CHECK_S = 60.0
"""Seconds between looks at the size of the log files; midnight is met exactly."""

CANCEL_ROUNDS = 5

CAUSE_LIMIT = 1000
"""Characters of an exit note's cause: the longest refusal of a grid that is usual fits in."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the bot, or check it, or cancel its orders; gives the exit code of CONTRACT 6."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="run.py",
        description="One grid bot for perpetual futures; a supervisor runs it, or you do.",
        allow_abbrev=False,
    )
    add_options(parser)
    options = vars(parser.parse_args(arguments))
    try:
        loaded = _load(options, arguments)
        place_of(loaded)  # what the environment says of it is judged before anything is done
    except ConfigError as error:
        return _refuse(error, ExitCode.USAGE)
    except (GridfleetError, OSError) as error:
        return _refuse(error, ExitCode.FAILED)
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if options.get("check"):
        from cli.bot_check import check

        return check(loaded)
    if options.get("cancel_orders"):
        return _cancel_orders(loaded)
    return Bot(loaded).run()


def _load(options: dict[str, Any], arguments: list[str]) -> LoadedConfig:
    """Load the config named by --config or CONFIG_FILE; the other options win over it."""
    from core import config_load
    from core.paths import find_root

    root = find_root(None)
    named = options.get("config") or os.environ.get("CONFIG_FILE")
    settings = [key for key in options if key not in COMMAND_KEYS]
    bot_args = _without_commands(arguments) if settings else []
    instance_id = os.environ.get("INSTANCE_ID") or None
    if named is None:
        if not settings:
            raise ConfigError(
                "no config: give --config FILE, or set CONFIG_FILE, or give the grid by options "
                "(run.py --help lists them)"
            )
        return config_load.load_options(bot_args, root, instance_id=instance_id)
    return config_load.load(
        named,
        root,
        instance_id=instance_id,
        bot_args=bot_args,
        source=os.environ.get("GRID_CONFIG_SOURCE"),
    )


def _without_commands(arguments: list[str]) -> list[str]:
    """Drop --config FILE, --check and --cancel-orders: they say what to do, not what the bot is."""
    kept: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--config":
            next(words, None)
        elif not (word.startswith("--config=") or word in ("--check", "--cancel-orders")):
            kept.append(word)
    return kept


def _refuse(error: Exception, code: ExitCode) -> int:
    print(f"run.py: {error}", file=sys.stderr)
    return int(code)


class Bot:
    """One run of one bot, from its lock to its exit code."""

    def __init__(self, loaded: LoadedConfig) -> None:
        self.loaded = loaded
        self.config: InstanceConfig = loaded.config
        self.place = place_of(loaded)
        self.process = BotProcess(self.place.run_dir, dict(os.environ))
        self.alerts = AlertSpool(
            self.place.run_dir, self.config.instance_id, "bot", on_drop=self._tell_drop
        )
        self.log: Any = None  # structlog's logger, once it is configured
        self.orders_left: int | None = None
        self.ended_for = "finished"  # the reason that the engine gave for its end
        self.has_begun = False  # the engine runs: orders may be touched from here on
        self._snapshot: Snapshot | None = None
        self._notify: Any = None
        self._opened: Opened | None = None
        self._events: queue.SimpleQueue[tuple[str, BaseException | None]] = queue.SimpleQueue()
        self._beat_at = time.monotonic()
        self._last_beat = (0, False)

    def run(self) -> int:
        """Trade until the end; every error becomes its exit code and its last words."""
        from core.log_manager import configure_bot_logging, get_logger

        self._hide_secrets()
        configure_bot_logging(self.config.instance_id, level=self.config.daemon.log_level)
        self.log = get_logger()
        try:
            self.process.take_lock()
            code = self._trade()
            cause = self.ended_for
        except AlreadyRunning as error:
            self.log.error("already_running", error=str(error))
            return int(ExitCode.FAILED)  # the exit note is the other one's
        except (ConfigError, UsageError) as error:
            code, cause = self._failed(error, ExitCode.USAGE)
        except AuthError as error:
            code, cause = self._failed(error, ExitCode.AUTH)
        except GridfleetError as error:
            code, cause = self._failed(error, getattr(error, "exit_code", ExitCode.FAILED))
        except Exception as error:
            self.log.exception("crashed", error=str(error))
            code, cause = int(ExitCode.CRASH), f"{type(error).__name__}: {error}"
        self.process.leave(
            code, shorten(cause, CAUSE_LIMIT), self.orders_left, untouched=not self.has_begun
        )
        return code

    def _hide_secrets(self) -> None:
        """Have every log line masked by the values of our secrets too, wherever they turn up."""
        from core.masking import remember

        exchange = self.config.exchange
        for secret in (exchange.api_key, exchange.secret_key):
            if secret:
                remember(secret.reveal())
        token = self.loaded.variables.get("WEB_TOKEN")
        if token:
            remember(token)

    def _failed(self, error: GridfleetError, code: ExitCode) -> tuple[int, str]:
        self.log.error("ended", error=str(error), code=int(code))
        return int(code), str(error)

    def _trade(self) -> int:
        from cli.bot_wiring import build
        from cli.first_grid import check_first_grid
        from core.log_files import OutputRepointer

        server = self._bind()
        check_first_grid(self.loaded, self.place, self.log)
        parts = build(
            self.config,
            db_path=self.place.db_path,
            root=self.place.root,
            started_at=self.place.started_at,
            log=self._log_event,
            publish=self._publish,
            beat=self._beat,
        )
        engine, self._opened = parts.engine, parts.opened
        if self._opened.session is not None:
            self._opened.session.on_wait = self._wait_begins
        engine.publish_now()
        history = None
        try:
            if server is not None:
                from database.history import DatabaseHistory
                from web.server import create_app

                history = DatabaseHistory(self.place.db_path)
                app = create_app(self._view, engine, history, self._web_settings(server.port))
                server.start(app)
                self._notify = app.publisher.notify
            self.log.info(
                "started",
                symbol=self.config.symbol,
                mode=self.config.exchange.mode,
                web=None if server is None else f"http://{self.place.web_host}:{server.port}",
            )
            self._watch_signals()
            if self.config.exchange.mode == "live":
                favour_engine()
            gc.freeze()  # what is loaded now stays: no collection looks at it again
            gc.enable()
            self.has_begun = True
            threading.Thread(target=self._engine_thread, args=(engine,), name="engine").start()
            self._supervise(engine, OutputRepointer(self.place.log_dir))
        finally:
            self.orders_left = engine.orders_left
            self.alerts.tell_repeats(at_end=True)
            if server is not None:
                server.stop()
            if history is not None:
                history.close()
            parts.close()
        if engine.position_left:
            self.log.error(
                "position_left", position=str(engine.book.grid and engine.book.grid.position)
            )
            self.ended_for += "; a position is left"
            return int(ExitCode.FAILED)
        if engine.orders_left:
            self.log.error("orders_left", count=engine.orders_left)
            self.ended_for += f"; {engine.orders_left} orders are left"
            return int(ExitCode.FAILED)
        return int(ExitCode.OK)

    # Threads ------------------------------------------------------------------------------------

    def _engine_thread(self, engine: Any) -> None:
        """Run the engine; whatever ends it is the main thread's to judge."""
        try:
            request = engine.run()
        except BaseException as error:
            # The main thread ends the process; should it be stuck, this does.
            timer = threading.Timer(10.0, os._exit, args=(int(ExitCode.CRASH),))
            timer.daemon = True
            timer.start()
            self._events.put(("died", error))
        else:
            self.ended_for = request.reason or self.ended_for
            self.log.info("ended", reason=request.reason, orders_left=engine.orders_left)
            self._events.put(("ended", None))

    def _supervise(self, engine: Any, repointer: Any) -> None:
        """Wait for the engine's end; hand signals to it, keep the log files in their places."""
        from core.log_files import seconds_to_midnight

        while True:
            try:
                event, error = self._events.get(timeout=min(LOG_CHECK_S, seconds_to_midnight()))
            except queue.Empty:
                repointer.check()
                self.alerts.tell_repeats()
                continue
            match event:
                case "stop":
                    engine.inbox.post_command(self.process.stop_note())
                case "hangup":
                    repointer.check()
                    self._follow_log_level()
                case "died":
                    assert error is not None
                    raise error
                case _:
                    return

    def _follow_log_level(self) -> None:
        """Take the log level from the config as it is accepted now; the rest stays as it was."""
        from core.log_manager import LEVELS, change_level

        try:
            document = json.loads(self.loaded.path.read_text(encoding="utf-8-sig"))
            level = document.get("daemon_config", document).get("log_level", "info")
        except (OSError, ValueError, AttributeError) as error:
            self.log.warning("log_level_not_read", error=str(error))
            return
        if level in LEVELS:
            change_level(level)
            self.log.info("log_level", level=level)

    def _watch_signals(self) -> None:
        """Signal handlers only enqueue."""

        def stop(_number: int, _frame: object) -> None:
            self._events.put(("stop", None))

        def hangup(_number: int, _frame: object) -> None:
            self._events.put(("hangup", None))

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGHUP, hangup)

    def _publish(self, snapshot: Snapshot) -> None:
        if self._opened is not None:
            words = self._opened.budget_words()
            if words:
                snapshot = replace(snapshot, extra={**snapshot.extra, **words})
        self._snapshot = snapshot
        if self._notify is not None:
            self._notify()

    def _view(self) -> Snapshot:
        assert self._snapshot is not None  # one is published before the server starts
        return self._snapshot

    def _wait_begins(self, longest_s: float) -> None:
        """An exchange that is silent is no stalled loop: a beat says how long it may take.

        With 0 the wait is over.
        """
        if threading.current_thread().name == "engine":
            self._beat(*self._last_beat, longest_s)

    def _beat(self, loops: int, ready: bool, allowance_s: float = 0.0) -> None:
        self._last_beat = loops, ready
        self._beat_at = time.monotonic() + allowance_s
        self.process.beat(loops, ready, allowance_s)

    def _is_live(self) -> bool:
        return time.monotonic() - self._beat_at < LIVE_WITHIN_S

    def _log_event(self, event: str, **fields: object) -> None:
        is_bad = event in ("alert", "alert_dropped") or event.endswith("_failed")
        level = "warning" if is_bad else "info"
        # A log line must never stop the trading (FAILURES 15).
        with contextlib.suppress(Exception):
            getattr(self.log, level)(event, **fields)
        if event == "alert":
            severity = str(fields.get("severity", "warning"))
            self.alerts.add(severity, "bot", str(fields.get("message", "")))

    def _tell_drop(self, why: str, count: int) -> None:
        self._log_event("alert_dropped", error=why, dropped=count)

    # Web ----------------------------------------------------------------------------------------

    def _bind(self) -> Any:
        """Take the port before anything is traded; None without a page."""
        if self.config.strategy.no_web:
            return None
        from web.lean import load_flask_socketio

        load_flask_socketio()  # before web.server, which would import Flask whole
        from web.server import WebServer, find_available_port

        port = self.place.web_port
        if port is None:
            port = find_available_port(host=self.place.web_host)
        server = WebServer(self.place.web_host, port, self.log)
        server.bind()
        return server

    def _web_settings(self, port: int) -> Any:
        from core.model import Secret
        from web.settings import WebSettings

        token = self.loaded.variables.get("WEB_TOKEN")
        return WebSettings(
            instance_id=self.config.instance_id,
            host=self.place.web_host,
            port=port,
            allowed_hosts=tuple(self.config.daemon.allowed_hosts),
            token=Secret(token) if token else None,
            liveness=self._is_live,
            log=self.log,
        )


def _cancel_orders(loaded: LoadedConfig) -> int:
    """Cancel this instance's own orders and prove that none rests (the finish step)."""
    from cli.bot_wiring import SystemClock, client_ids, open_exchange
    from database.db import Database

    place, config = place_of(loaded), loaded.config
    process = BotProcess(place.run_dir, dict(os.environ))
    try:
        process.take_lock()
        database = Database(place.db_path, durable=config.exchange.mode == "live")
        try:
            database.bind_instance(config.instance_id)
            opened = open_exchange(config, database, SystemClock(), place.root, alone=False)
            try:
                cancelled = cancel_own(opened.client, client_ids(config), config.symbol)
            finally:
                opened.close()
        finally:
            database.close()
    except ConfigError as error:
        return _refuse(error, ExitCode.USAGE)
    except AuthError as error:
        return _refuse(error, ExitCode.AUTH)
    except GridfleetError as error:
        return _refuse(error, ExitCode.FAILED)
    print(f"{config.instance_id}: {cancelled} orders cancelled, none rests")
    process.leave(int(ExitCode.OK), "orders cancelled", 0)
    return int(ExitCode.OK)


def cancel_own(client: ExchangeClient, ids: ClientIds, symbol: str) -> int:
    """Cancel until the exchange shows no order of ours; gives how many there were.

    Errors: ExchangeError when that could not be proved.
    """
    seen: set[str] = set()
    for _ in range(CANCEL_ROUNDS):
        mine = [
            order for order in client.fetch_open_orders(symbol) if ids.owns(order.client_order_id)
        ]
        if not mine:
            return len(seen)
        seen.update(order.client_order_id for order in mine)
        client.cancel_orders(mine)
    raise ExchangeError(f"{len(seen)} orders of ours could not be proved cancelled; try again")
