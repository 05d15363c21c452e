"""From a config to the ChildSpec that a supervisor runs: programs, folders, policy, all resolved.

Looks at the file system (is the script there?) and changes nothing. A spec holds no secret: keys
stay references, and an account is named by a digest.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.paths import for_display, installed_run_py, resolve

if TYPE_CHECKING:
    from core.config import DaemonConfig, Examined, InstanceConfig
    from core.config_text import Findings
    from core.spec import ChildSpec

DEFAULT_PYTHON = ".venv/bin/python3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is run, and where: absolute paths."""

    argv: tuple[str, ...]
    working_dir: Path
    log_dir: Path
    db_path: Path


def is_bot_script(script_path: object, root: Path) -> bool:
    """Tell whether a config's `script_path` means our run.py: by that name, or the very file."""
    if not isinstance(script_path, str) or os.path.normpath(script_path or "run.py") == "run.py":
        return True
    script = resolve(root, script_path)
    return script.is_file() and script.resolve() == installed_run_py().resolve()


def find_program(found: Examined, root: Path) -> Program:
    """Resolve and look at what the config wants run; adds to the findings what is not there."""
    daemon, findings = found.daemon, found.findings
    program = Program(
        argv=_argv(daemon, found, root),
        working_dir=resolve(root, daemon.working_dir),
        log_dir=resolve(root, daemon.log_dir),
        db_path=resolve(root, daemon.db_path),
    )

    def fault(key: str, expected: str) -> None:
        findings.fault(f"{found.prefix}{key}", f'"{getattr(daemon, key)}"', expected)

    if not program.working_dir.is_dir():
        fault("working_dir", "an existing folder")
    if program.log_dir.exists() and not program.log_dir.is_dir():
        fault("log_dir", "a folder: a file of this name is in the way")
    if program.db_path.is_dir():
        fault("db_path", "a file: a folder of this name is in the way")
    return program


def _argv(daemon: DaemonConfig, found: Examined, root: Path) -> tuple[str, ...]:
    script = resolve(root, daemon.script_path)
    where = f"{found.prefix}script_path"
    args = _words(daemon.bot_args, found.findings, f"{found.prefix}bot_args")
    if found.is_bot:
        if not script.is_file():
            script = installed_run_py()
        return (_python(daemon, found, root), str(script), *args)
    if not script.is_file():
        found.findings.fault(
            where, f'"{daemon.script_path}"', f"an existing file; looked: {script}"
        )
    elif script.suffix == ".py":
        return (_python(daemon, found, root), str(script), *args)
    elif not os.access(script, os.X_OK):
        found.findings.fault(
            where, f'"{daemon.script_path}"', f"an executable file: chmod +x {script}"
        )
    return (str(script), *args)


def _python(daemon: DaemonConfig, found: Examined, root: Path) -> str:
    """Return the interpreter: the config's, else (not there under the root) the running one."""
    python = resolve(root, daemon.python_path)
    if python.is_file() and os.access(python, os.X_OK):
        return str(python)
    where = f"{found.prefix}python_path"
    if Path(daemon.python_path).expanduser().is_absolute():
        found.findings.fault(where, f'"{daemon.python_path}"', "an existing interpreter")
    elif daemon.python_path != DEFAULT_PYTHON:
        found.findings.warn(
            where,
            f'"{daemon.python_path}" is not under the root; {sys.executable} is used',
        )
    return sys.executable


def _words(bot_args: str | tuple[str, ...], findings: Findings, where: str) -> tuple[str, ...]:
    if not isinstance(bot_args, str):
        return bot_args
    try:
        return tuple(shlex.split(bot_args))
    except ValueError as error:
        findings.fault(where, f"not readable ({error})".lower(), "options, quotes closed")
        return ()


def check_price_file(found: Examined, root: Path) -> None:
    """Add a fault for each file that the paper exchange is to replay and that is not there."""
    if found.mode != "paper" or found.paper.feed != "csv":
        return
    for key, name in (("file", found.paper.file), ("funding_file", found.paper.funding_file)):
        if name is None:
            continue
        path = resolve(root, name)
        if not path.is_file() or not os.access(path, os.R_OK):
            found.findings.fault(
                f"exchange_config.paper.{key}",
                f'"{name}"',
                f"a readable file; looked for {for_display(path, root)}",
            )


def build_spec(
    config: InstanceConfig,
    program: Program,
    *,
    root: Path,
    config_path: Path,
    config_text: str,
    environment: dict[str, str],
    env_files: Sequence[Path],
    warnings: Sequence[str],
) -> ChildSpec:
    """Put a valid config and its program into the form that a supervisor runs."""
    from core.spec import ChildSpec, HealthSettings, LimitSettings, LogSettings, RestartSettings

    daemon = config.daemon
    return ChildSpec(
        instance_id=config.instance_id,
        config_path=str(config_path),
        config_text=config_text,
        root=str(root),
        argv=program.argv,
        working_dir=str(program.working_dir),
        db_path=str(program.db_path),
        web_host=daemon.web_host,
        web_port=daemon.web_port,
        is_bot=config.is_bot,
        restart=RestartSettings(
            auto_restart=daemon.auto_restart,
            max_restart_attempts=daemon.max_restart_attempts,
            restart_delay=daemon.restart_delay,
            restart_window=daemon.restart_window,
            restart_delay_max=daemon.restart_delay_max,
            healthy_after=daemon.healthy_after,
            fatal_retry_interval=daemon.fatal_retry_interval,
        ),
        health=HealthSettings(
            check=daemon.health_check,
            interval=daemon.health_check_interval,
            timeout=daemon.health_check_timeout,
            failures=daemon.health_check_failures,
            startup_timeout=daemon.startup_timeout,
            stop_timeout=daemon.stop_timeout,
            finish_after=daemon.finish_after,
        ),
        limits=LimitSettings(
            memory_limit_mb=daemon.memory_limit_mb,
            cpu_limit_percent=daemon.cpu_limit_percent,
            cpu_limit_action=daemon.cpu_limit_action,
        ),
        logs=LogSettings(
            log_dir=str(program.log_dir),
            cleanup_interval=daemon.log_cleanup_interval,
            retention_days=daemon.log_retention_days,
            max_mb=daemon.log_max_mb,
            level=daemon.log_level,
        ),
        environment=environment,
        env_files=tuple(str(path) for path in env_files),
        start_after=daemon.start_after,
        account=account_of(config),
        mode=config.exchange.mode if config.is_bot else "",
        exchange=config.exchange_name,
        symbol=config.symbol,
        grid=_grid(config),
        warnings=tuple(warnings),
        settings=settings_of(config),
    )


def settings_of(config: InstanceConfig) -> dict[str, str]:
    """Render every value in force as text by its JSON path, secrets as digests.

    Of a program of the user's own only daemon_config means anything. A bot's `bot_args` are merged
    into strategy_config already; `environment` is compared as written, not by its values.
    """
    daemon = config.daemon.model_dump(exclude={"environment"})
    if config.is_bot:
        del daemon["bot_args"]
    sections: dict[str, dict[str, Any]] = {"daemon_config": daemon}
    if config.is_bot:
        exchange = config.exchange.model_dump(exclude={"api_key", "secret_key"})
        for name in ("api_key", "secret_key"):
            secret = getattr(config.exchange, name)
            text = secret.reveal() if secret is not None else ""
            exchange[name] = hashlib.sha256(text.encode()).hexdigest()[:16]
        sections |= {"exchange_config": exchange, "strategy_config": config.strategy.model_dump()}
    found = {
        f"{section}.{key}": _as_text(value)
        for section, values in sections.items()
        for key, value in values.items()
    }
    return {**found, "metadata": _as_text(config.metadata.model_dump())}


def _as_text(value: Any) -> str:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"  # 140 and 140.0 are one price
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, default=str)


def account_of(config: InstanceConfig) -> str | None:
    """Name (exchange, key, symbol) without telling the key; None for paper: it shares nothing."""
    key = config.exchange.api_key
    if not config.is_bot or config.is_paper or key is None:
        return None
    digest = hashlib.sha256(key.reveal().encode()).hexdigest()[:16]
    return f"{config.exchange_name}:{digest}:{config.symbol}"


def _grid(config: InstanceConfig) -> str:
    strategy = config.strategy
    if not config.is_bot:
        return ""
    if strategy.auto_price:
        reach = f"±{strategy.price_range}%"
    else:
        reach = f"{strategy.grid_lower_price}-{strategy.grid_upper_price}"
    return f"{reach} x{strategy.grid_num} {strategy.grid_mode.value} {strategy.grid_type.value}"
