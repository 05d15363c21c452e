"""`instance_cli stats [ID]`: trading figures and what the processes use, side by side.

The figures come from each instance's own page, all asked at once with a short timeout; where the
bot is down or silent, from its database, read-only, and marked so. What the processes use comes
from /proc: memory now, processor time over a quarter of a second.
"""

from __future__ import annotations

import http.client
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from cli.instance_lookup import Record, find_records
from core.config_files import EnvFile, Variables
from core.console import Console
from core.errors import ExitCode, GridfleetError
from core.health import probe_address
from core.i18n import t
from core.listing import describe
from core.masking import escape_controls
from core.process import read_stat

TIMEOUT_S = 2.0
SAMPLE_S = 0.25
_MAX_ANSWER = 4 << 20
_PAGE = os.sysconf("SC_PAGESIZE")
_TICKS = os.sysconf("SC_CLK_TCK")

Document = dict[str, Any]


def stats(instance_id: str | None, root: Path, console: Console) -> int:
    """Print the figures of one instance or of all; 1 for an unknown id."""
    documents = collect_stats(find_records(root, instance_id), root)
    if console.as_json:
        console.emit(documents if instance_id is None else documents[0])
    elif documents:
        console.say("{table}", table=render_stats(documents))
    else:
        console.say("no instance is registered")
    return ExitCode.OK


def collect_stats(records: Sequence[Record], root: Path) -> list[Document]:
    """Ask all instances at once; one document each, in the order of the records."""
    now = datetime.now().astimezone()
    entries = [describe(record, now) for record in records]
    token = Variables(os.environ, [EnvFile(root / ".env", ".env")]).get("WEB_TOKEN", "")
    answers = _all_at_once([partial(_figures, entry, token) for entry in entries])
    pids = {pid for entry in entries for pid in (entry["pid"], entry["bot_pid"]) if pid}
    usage = _usage(pids)
    keys = ("instance_id", "state", "is_alive", "mode", "symbol", "web_url", "uptime_s", "restarts")
    return [
        {
            **{key: entry[key] for key in keys},
            **answer,
            "supervisor": usage.get(entry["pid"]),
            "bot": usage.get(entry["bot_pid"]),
        }
        for entry, answer in zip(entries, answers, strict=True)
    ]


def render_stats(documents: Sequence[Document]) -> str:
    """Draw one row an instance. Memory is PSS, in MB, of supervisor + bot."""
    from tabulate import tabulate

    headers = ["Instance ID", "State", "Price", "Position", "Total PnL", "Open orders", "Fills"]
    headers += ["Memory MB", "CPU %", "Source"]
    is_live = any(one.get("budget") for one in documents)
    headers += ["Request budget"] if is_live else []
    rows = []
    for one in documents:
        figures = (one["price"], one["position"], (one["pnl"] or {}).get("total"))
        counts = (one["open_orders"], one["fills"])
        used = (_joined(one, "pss_mb"), _joined(one, "cpu_percent"), t(one["source"] or "-"))
        cells = (one["instance_id"], one["state"], *figures, *counts, *used)
        row = [escape_controls("-" if cell is None else str(cell)) for cell in cells]
        if is_live:
            budget = one.get("budget") or {"-": ""}
            row.append("\n".join(escape_controls(f"{k} {v}".strip()) for k, v in budget.items()))
        rows.append(row)
    aligned = ("left", "left", *["right"] * 7, "left", *(["left"] if is_live else []))
    return tabulate(
        rows, [t(name) for name in headers], "grid", disable_numparse=True, colalign=aligned
    )


# Figures --------------------------------------------------------------------------------------


def _figures(entry: Document, token: str) -> Document:
    """Give price, position, pnl, counts; `source` "page", "database" or None, `error` why not."""
    blank = dict.fromkeys(("price", "position", "entry_price", "pnl", "open_orders", "fills"))
    error = None
    if entry["bot_pid"] is not None and entry["web_port"]:
        try:
            status = ask_page(entry, token)
            known = {key: status.get(key) for key in (*blank, "grid", "equity", "closed_cells")}
            return {**known, "budget": _budget(status), "source": "page", "error": None}
        except (OSError, http.client.HTTPException, ValueError) as fault:
            error = f"{entry['web_url']}/api/status: {fault or type(fault).__name__}"
    try:
        return {**blank, **_from_database(Path(entry["db_path"] or "")), "error": error}
    except (GridfleetError, OSError, ValueError, sqlite3.Error) as fault:
        return {**blank, "source": None, "error": error or str(fault)}


def ask_page(entry: Document, token: str) -> Document:
    """GET /api/status. Errors: OSError, HTTPException, ValueError for an answer of another kind."""
    host = entry["web_url"].removeprefix("http://").rpartition(":")[0]
    _, (address, port), header = probe_address(host, entry["web_port"])
    headers = {"Host": header, "Accept": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    with closing(http.client.HTTPConnection(address, port, timeout=TIMEOUT_S)) as connection:
        connection.request("GET", "/api/status", headers=headers)
        answer = connection.getresponse()
        body = answer.read(_MAX_ANSWER)
        if answer.status != 200:
            raise ValueError(f"answered {answer.status} {answer.reason}")
    document = json.loads(body)
    if not isinstance(document, dict) or document.get("instance_id") != entry["instance_id"]:
        raise ValueError("another server answers on this port")
    return document


def _budget(status: Document) -> dict[str, str]:
    """Take how much of the exchange's request budgets all bots of this machine use, by bucket."""
    extra = status.get("extra")
    found = extra if isinstance(extra, dict) else {}
    return {
        name.removeprefix("budget_"): str(words)
        for name, words in found.items()
        if name.startswith("budget_")
    }


def _from_database(path: Path) -> Document:
    """Read the last known figures without writing anything."""
    from database.history import DatabaseHistory  # the arms are loaded only when they are needed

    with closing(DatabaseHistory(path)) as history:
        samples, _ = history.equity(1, None)
        orders, _ = history.orders(100_000, None, open_only=True)
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        fills = connection.execute("SELECT count(*) FROM fills").fetchone()[0]
    found: Document = {"open_orders": len(orders), "fills": fills, "source": "database"}
    if samples:
        last = samples[0]
        parts = ("grid", "trend", "unrealized", "fees", "open_fees", "funding", "total")
        found |= {
            "price": format(last.price, "f"),
            "position": format(last.position, "f"),
            "pnl": {part: format(getattr(last.pnl, part), "f") for part in parts},
            "as_of": last.time.isoformat(),
        }
    return found


def _all_at_once(jobs: Sequence[Callable[[], Document]]) -> list[Document]:
    """Run the jobs in a thread each, so that silent instances cost one timeout together."""
    results: list[Document] = [{} for _ in jobs]

    def work(index: int) -> None:
        results[index] = jobs[index]()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# What the processes use -------------------------------------------------------------------------


def _usage(pids: set[int]) -> dict[int, Document]:
    """Give rss_mb, pss_mb (None without the right to read it), cpu_s and cpu_percent by PID."""
    before = {pid: found for pid in pids if (found := read_stat(pid)) is not None}
    began = time.monotonic()
    if before:
        time.sleep(SAMPLE_S)
    span = time.monotonic() - began
    usage = {}
    for pid, first in before.items():
        last = read_stat(pid)
        if last is None or last.start != first.start:
            continue
        usage[pid] = {
            "pid": pid,
            "rss_mb": round(last.rss_pages * _PAGE / 1e6, 1),
            "pss_mb": _pss_mb(pid),
            "cpu_s": round(last.cpu_ticks / _TICKS, 2),
            "cpu_percent": round((last.cpu_ticks - first.cpu_ticks) / _TICKS / span * 100, 1),
        }
    return usage


def _pss_mb(pid: int) -> float | None:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return round(int(line.split()[1]) * 1024 / 1e6, 1)
    except (OSError, ValueError):
        return None
    return None


def _joined(document: Document, key: str) -> str:
    parts = [document[who][key] for who in ("supervisor", "bot") if document[who]]
    return " + ".join("?" if part is None else f"{part:g}" for part in parts) or "-"
