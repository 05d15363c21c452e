"""The protocol facts that the tests read: vectors and sample replies, from outside the project."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

DATA = Path(os.environ.get("GRID_DATA", Path(__file__).parents[3] / "shared/market_data"))
SPECS = DATA.parent / "specs"
VECTORS = SPECS / "vectors.json"

needs_specs = pytest.mark.skipif(
    not VECTORS.exists(), reason=f"no protocol facts in {SPECS}; set GRID_DATA beside that folder"
)


def vectors(exchange: str, kind: str = "vectors") -> list[dict[str, Any]]:
    """Give the vectors of a section; none when the facts are not here (the tests then skip)."""
    if not VECTORS.exists():
        return []
    found: list[dict[str, Any]] = json.loads(VECTORS.read_text())[exchange][kind]
    return found


def section(exchange: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(VECTORS.read_text())[exchange]
    return found


def fixture_names(exchange: str, *, streams: bool) -> list[str]:
    folder = SPECS / "fixtures" / exchange
    return sorted(p.stem for p in folder.glob("*.json") if p.name.startswith("ws_") is streams)


def wire_text(exchange: str, name: str) -> str:
    """Give a sample's content as it would come over the wire."""
    document = json.loads((SPECS / "fixtures" / exchange / f"{name}.json").read_text())
    content = document["body"] if "body" in document else document["frame"]
    return content if isinstance(content, str) else json.dumps(content)


def body(exchange: str, name: str) -> Any:
    return json.loads(wire_text(exchange, name), parse_float=Decimal)
