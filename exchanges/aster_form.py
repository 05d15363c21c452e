"""How Aster's parameters are written and travel: the part that both kinds of keys share. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import urlencode

from exchanges.wire import Call, HttpRequest

_FORM = "application/x-www-form-urlencoded"


def encoded(call: Call) -> str:
    """Write the parameters in their own order, percent-encoded."""
    assert isinstance(call.params, Mapping)
    return urlencode({name: _rendered(value) for name, value in call.params.items()})


def _rendered(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    if isinstance(value, (list, tuple)):
        return json.dumps(value, separators=(",", ":"))
    raise TypeError(f"a parameter must be text, a whole number or a list, not {type(value)}")


def wrapped(method: str, path: str, text: str, headers: Mapping[str, str]) -> HttpRequest:
    """Put the parameters where they travel: the query of a GET, else a form body."""
    if method == "GET":
        target = f"{path}?{text}" if text else path
        return HttpRequest(method=method, target=target, headers=headers)
    return HttpRequest(
        method=method,
        target=path,
        headers={**headers, "Content-Type": _FORM},
        body=text.encode(),
    )
