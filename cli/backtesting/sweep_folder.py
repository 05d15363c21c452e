"""The folder of a sweep or a walk-forward: report.json, its table as CSV, index.html, the picture.

The same bytes for the same data: `seconds` is told on the terminal and in `--json` alone.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

from cli.backtesting.folder import NO_PLOTS
from cli.backtesting.sweep_page import page
from cli.backtesting.sweep_report import COLUMNS, Sweep, all_refused, cells, document, walk_rows


def write_folder(folder: Path, sweep: Sweep) -> str | None:
    """Write it; gives what the user should be warned of, None: nothing."""
    found = document(sweep)
    del found["seconds"]  # the only thing that two sweeps differ in
    (folder / "report.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    name = "walk_forward" if sweep.is_walk else "sweep"
    with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if sweep.is_walk:
            headers, rows = walk_rows(sweep)
            writer.writerow([header.replace(", ", " ").replace(" ", "_") for header in headers])
            writer.writerows(rows)
        else:
            writer.writerow([*sweep.keys, *COLUMNS, "refused"])
            writer.writerows([*cells(row, COLUMNS), row.refused] for row in sweep.rows)
    picture, warning = _picture(sweep)
    if picture is not None:
        (folder / f"{name}.png").write_bytes(picture)
    (folder / "index.html").write_text(page(sweep, picture, warning), encoding="utf-8")
    return warning


def _picture(sweep: Sweep) -> tuple[bytes | None, str | None]:
    if all_refused(sweep) is not None:
        return None, None
    try:
        from cli.backtesting.sweep_plots import draw_sweep, draw_walk
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("matplotlib", "numpy"):
            raise
        return None, NO_PLOTS
    return (draw_walk if sweep.is_walk else draw_sweep)(sweep), None
