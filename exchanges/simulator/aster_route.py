"""What a route of Aster's is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Answer = Callable[[Mapping[str, str]], Any]


@dataclass(frozen=True, slots=True)
class Route:
    """`security`: "none", "key" or "signed"; `weight` of the request limit, `orders` of theirs."""

    security: str
    answer: Answer
    weight: int = 1
    orders: int = 0


Routes = dict[tuple[str, str], Route]
"""By method and path after the version."""
