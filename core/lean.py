"""Import a library without those of its parts that a bot never uses.

Flask, structlog, pydantic and their friends load asyncio, ssl, HTTP clients, test clients, the
debugger and the package metadata at import; a bot on one port needs none of it. Two ways to leave a
part out, both the library's own business as little as possible:

- `absent`: it can't be imported meanwhile. For what the library itself treats as optional.
- `deferred`: a stand-in that loads the real module at its first use. For what the library imports
  without a condition; the names are those it takes by `from module import name`, and must be
  functions or classes that it only calls. A use while the import still runs is an ImportError.

Rules: only while a program starts, from its one thread; afterwards `sys.modules` is as it was, and
whoever needs such a module imports it as usual. Nothing loaded already is touched.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any


class _StandIn(ModuleType):
    """Stands for a module until somebody uses it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_real(self.__name__), name)


@contextmanager
def importing_without(
    absent: Iterable[str] = (), deferred: Mapping[str, tuple[str, ...]] | None = None
) -> Iterator[None]:
    """Leave these modules out of what is imported inside."""
    planted: dict[str, ModuleType | None] = dict.fromkeys(
        name for name in absent if name not in sys.modules
    )
    for name, members in (deferred or {}).items():
        if name not in sys.modules:
            planted[name] = _stand_in(name, members)
    sys.modules.update(planted)  # type: ignore[arg-type]  # None marks a module as not importable
    try:
        yield
    finally:
        for name, module in planted.items():
            if name in sys.modules and sys.modules[name] is module:
                del sys.modules[name]


def _stand_in(name: str, members: Iterable[str]) -> ModuleType:
    module = _StandIn(name)
    for member in members:
        setattr(module, member, _forwarder(name, member))
    return module


def _forwarder(module: str, member: str) -> Callable[..., Any]:
    def forward(*args: Any, **kwargs: Any) -> Any:
        return getattr(_real(module), member)(*args, **kwargs)

    return forward


def _real(name: str) -> ModuleType:
    if isinstance(sys.modules.get(name), _StandIn):
        raise ImportError(f"{name} is left out of this import, and yet used by it", name=name)
    return import_module(name)
