"""One run's report folder: report.json, fills.csv, index.html and the pictures.

Two runs on the same data write the same bytes: nothing in the folder tells when or how fast it was
made. Without matplotlib the folder has no pictures, and says so.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

from cli.backtesting.run import Run, report_document
from cli.replay import Replayed

NO_PLOTS = (
    "matplotlib is not installed, so there are no plots; "
    "pip install 'gridfleet[backtest]' brings it (in a checkout: pip install -e '.[backtest]')"
)


def write_folder(folder: Path, run: Run) -> str | None:
    """Write the whole folder; gives what the user should be warned of, None: nothing."""
    from cli.backtesting.run_page import page

    _write(folder / "report.json", json.dumps(report_document(run), indent=2) + "\n")
    write_fills(folder / "fills.csv", run.replayed)
    pictures, warning = pictures_of(run)
    for name, image in pictures.items():
        (folder / f"{name}.png").write_bytes(image)
    _write(folder / "index.html", page(run, pictures, warning))
    return warning


def pictures_of(run: Run) -> tuple[dict[str, bytes], str | None]:
    """Draw the pictures; none, and the reason, without matplotlib."""
    try:
        from cli.backtesting.plots import draw
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("matplotlib", "numpy"):
            raise
        return {}, NO_PLOTS
    return draw(run), None


def write_fills(path: Path, replayed: Replayed) -> None:
    """Write every fill, oldest first."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["time", "trade_id", "client_order_id", "side", "price", "quantity", "fee", "is_maker"]
        )
        for fill in replayed.fills:
            writer.writerow(
                [
                    fill.time.isoformat(),
                    fill.trade_id,
                    fill.client_order_id,
                    fill.side.value,
                    fill.price,
                    fill.quantity,
                    fill.fee,
                    str(fill.is_maker).lower(),
                ]
            )


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
