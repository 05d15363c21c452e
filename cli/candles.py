"""`instance_cli candles`: an exchange's public candles into the CSV that a backtest reads.

The file grows page by page and is whole after each; a run that was broken off goes on where it
ended. The candle of now is left out until it is finished. No key is needed.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from core.console import Console
from core.errors import ConfigError, ExchangeError, ExitCode, Retryable, UsageError
from core.files import make_private_dir
from core.i18n import t

if TYPE_CHECKING:
    from exchanges.klines import KlineSource

BAR_WIDTH = 30
MAX_TRIES = 8
HEADER = "timestamp_ms,open,high,low,close,volume\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of CONTRACT 4 and ours."""
    parser.add_argument("--exchange", required=True, choices=("backpack", "aster"))
    parser.add_argument("--symbol", required=True, metavar="SYMBOL")
    parser.add_argument("--from", dest="start", required=True, metavar="T", help=t("UTC, ISO text"))
    parser.add_argument("--to", dest="end", required=True, metavar="T", help=t("UTC, ISO text"))
    parser.add_argument("--interval", default="1m", metavar="I", help="1m 5m 15m 1h 4h 1d …")
    parser.add_argument("--out", metavar="FILE", help=t("the CSV; it is continued if it is there"))
    parser.add_argument("--base-url", metavar="URL", help=t("another address of the exchange"))


def run(args: argparse.Namespace, root: Path, console: Console) -> int:
    """Fetch what is missing; 0 when all of it is in the file. Errors: UsageError, ExchangeError."""
    from exchanges.klines import INTERVALS_MS, open_source

    if args.interval not in INTERVALS_MS:
        raise UsageError(
            f"--interval: was {args.interval!r}, expected one of {' '.join(INTERVALS_MS)}"
        )
    step = INTERVALS_MS[args.interval]
    start, end = _moment("--from", args.start), _moment("--to", args.end)
    if start >= end:
        raise UsageError(f"--to: was {args.end}, expected a time after --from, {args.start}")
    if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", args.symbol) is None:
        raise UsageError(f"--symbol: was {args.symbol!r}, expected one such as SOL_USDC_PERP")
    start = -(-start // step) * step
    name = f"{args.exchange}_{args.symbol}_{args.interval}.csv"
    path, address = _place(args.out or name), _address(args.base_url)
    begun = _resume(path, start, step)
    source = open_source(args.exchange, address, args.symbol, args.interval, root=root)
    try:
        last = min(end, source.now_ms() // step * step)  # the candle of now is not finished
        rows = _fetch(source, path, begun, last, start, console)
    finally:
        source.close()
    total = _count(path)
    if args.json:
        console.emit({"file": str(path), "rows": total, "new_rows": rows})
    else:
        console.say("{rows} candles in {file}, {new} of them new", rows=total, file=path, new=rows)
    return ExitCode.OK


def _fetch(
    source: KlineSource, path: Path, begun: int, last: int, start: int, console: Console
) -> int:
    """Append page after page; gives how many rows were written."""
    rows = 0
    bar = _Bar(start, last, console)
    make_private_dir(path.absolute().parent)
    with path.open("a", encoding="ascii", newline="") as file:
        if file.tell() == 0:
            file.write(HEADER)
        while begun < last:
            page, begun = _page(source, begun, last)
            file.writelines(f"{','.join(row)}\n" for row in page)
            file.flush()
            os.fsync(file.fileno())
            rows += len(page)
            bar.show(begun)
    bar.end()
    return rows


def _page(source: KlineSource, begun: int, last: int) -> tuple[list[tuple[str, ...]], int]:
    """Fetch one page, waiting out what passes. Errors: ExchangeError."""
    tries = 0
    while True:
        try:
            return source.page(begun, last)
        except Retryable as error:
            tries += 1
            if tries >= MAX_TRIES:
                raise ExchangeError(
                    f"{error}; what was fetched is in the file, the same command goes on from there"
                ) from None
            source.wait(min(30.0, max(error.retry_after_s, 0.5)))


def _place(text: str) -> Path:
    """Read --out. Errors: UsageError for what can be no file."""
    path = Path(text)
    there = next(folder for folder in path.absolute().parents if folder.exists())
    if path.is_dir() or not there.is_dir():
        raise UsageError(f"--out: was {text!r}, expected the name of a file in a folder")
    return path


def _resume(path: Path, start: int, step: int) -> int:
    """Give the first stamp that the file lacks; half a row at its end is cut off.

    Errors: UsageError for a file that holds anything else than a beginning of what is asked for.
    """
    if not path.exists():
        return start
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    lines = whole.decode("ascii", "replace").splitlines()
    if data and not (lines and lines[0] + "\n" == HEADER):
        raise UsageError(f"{path}: is no candle file of ours, expected the header {HEADER.strip()}")
    stamps = [line.split(",", 1)[0] for line in lines[1:]]
    if len(whole) != len(data):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    if not stamps:
        return start
    if not all(stamp.isdigit() for stamp in (stamps[0], stamps[-1])):
        raise UsageError(f"{path}: holds rows that are no candles; choose another --out")
    first, latest = int(stamps[0]), int(stamps[-1])
    if first % step or (len(stamps) > 1 and (int(stamps[1]) - first) % step):
        raise UsageError(f"{path}: holds candles of another interval; choose another --out")
    if first > start + step:
        raise UsageError(
            f"{path}: begins at {_iso(first)}, after --from; choose another --out, or remove it"
        )
    return max(start, latest + step)


def _count(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file) - 1


def _moment(option: str, text: str) -> int:
    """Read a time: ISO text (UTC without a zone), or Unix milliseconds."""
    if text.isascii() and text.isdigit() and len(text) >= 12:
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{option}: was {text!r}, expected a time such as 2026-01-31 or 2026-01-31T08:00"
        ) from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return int(moment.timestamp() * 1000)


def _iso(stamp_ms: int) -> str:
    return datetime.fromtimestamp(stamp_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _address(url: str | None) -> str | None:
    """Check another address. Errors: ConfigError for plain http beyond this machine."""
    if url is None:
        return None
    parts = urlsplit(url)
    local = parts.hostname in ("127.0.0.1", "::1", "localhost")
    if not (parts.scheme == "https" or (parts.scheme == "http" and local)) or not parts.netloc:
        raise ConfigError(
            f"--base-url: was {url!r}, expected https://…, or http:// of this machine"
        )
    return url.rstrip("/")


class _Bar:
    """A progress bar, on a terminal only."""

    def __init__(self, start: int, last: int, console: Console) -> None:
        self._start, self._span = start, max(1, last - start)
        self._shown = sys.stderr.isatty() and not console.as_json

    def show(self, at: int) -> None:
        if self._shown:
            share = min(1.0, (at - self._start) / self._span)
            full = round(share * BAR_WIDTH)
            sys.stderr.write(f"\r[{'#' * full}{'.' * (BAR_WIDTH - full)}] {share:4.0%}  {_iso(at)}")
            sys.stderr.flush()

    def end(self) -> None:
        if self._shown:
            sys.stderr.write("\n")
