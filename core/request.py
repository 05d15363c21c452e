"""What a client asks of a supervisor, read and judged before anything is done. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.spec import ChildSpec

OPS = frozenset({"status", "start", "stop", "restart", "reload", "detach"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request. `spec`: what the next child runs; `started_at`: of a start, ISO 8601."""

    op: str
    spec: ChildSpec | None = None
    started_at: str | None = None
    close_positions: bool = False
    keep_orders: bool = False


def read_request(raw: Mapping[str, Any], mine: ChildSpec) -> Request:
    """Read a request to the supervisor of `mine`. Errors: ValueError, in words for the client."""
    op = raw.get("op")
    if op not in OPS:
        raise ValueError(f"unknown op {str(op)[:40]!r}")
    spec = None
    if isinstance(raw.get("spec"), str):
        try:
            spec = ChildSpec.from_json(raw["spec"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"not a spec: {error}"[:200]) from None
        if spec.instance_id != mine.instance_id or spec.root != mine.root:
            raise ValueError("not a spec: it is another instance's")
    started_at = raw.get("started_at")
    return Request(
        op=op,
        spec=spec,
        started_at=str(started_at) if started_at else None,
        close_positions=raw.get("close_positions") is True,
        keep_orders=raw.get("keep_orders") is True,
    )
