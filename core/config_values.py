"""The kinds of values a config holds, as pydantic types: each says in one phrase what it expects.

Pure. A type accepts what a file may hold (numbers as JSON or text) and its own result, so that
validated values can be validated again.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from core.config_text import parse_boolean, parse_decimal, parse_integer
from core.model import Secret
from core.paths import NAME_RULE, is_safe_name

_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*\.?")
_SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def expected(words: str) -> PydanticCustomError:
    """Make the error that `core.config` turns into `... expected {words}`."""
    return PydanticCustomError("expected", "{words}", {"words": words})


def _checked(parse: Callable[[object], Any]) -> BeforeValidator:
    def validate(value: object) -> Any:
        try:
            return parse(value)
        except ValueError as error:
            raise expected(str(error)) from None

    return BeforeValidator(validate)


# Numbers --------------------------------------------------------------------------------------


def _within(
    parse: Callable[[object], Any],
    what: str,
    *,
    above: str | None = None,
    at_least: str | None = None,
    at_most: str | None = None,
) -> Callable[[object], Any]:
    """Wrap a scalar parser with a range; the limits are text, so that they are shown as written."""
    low, high = Decimal(above or at_least or "-1e30"), Decimal(at_most or "1e30")
    phrase = what
    if above is not None:
        phrase += f" above {above}" + (f", at most {at_most}" if at_most else "")
    elif at_least is not None:
        phrase += f" from {at_least} to {at_most}" if at_most else f" of at least {at_least}"

    def check(value: object) -> Any:
        try:
            number = parse(value)
        except ValueError as error:
            size = str(error).removeprefix(what).removeprefix("a number")
            raise ValueError(phrase + (f" ({size.strip()})" if size.strip() else "")) from None
        if number > high or number < low or (above is not None and number == low):
            raise ValueError(phrase)
        return number

    return check


def _decimal(what: str = "a number", **limits: str) -> BeforeValidator:
    return _checked(_within(parse_decimal, what, **limits))


def _integer(what: str = "a whole number", **limits: str) -> BeforeValidator:
    return _checked(_within(parse_integer, what, **limits))


def _seconds(**limits: str) -> BeforeValidator:
    parse = _within(lambda v: parse_decimal(_plain(v)), "a number of seconds", **limits)
    return _checked(lambda value: float(parse(value)))


def _plain(value: object) -> object:
    """Let a float that is already a result pass through as its own text."""
    return repr(value) if isinstance(value, float) else value


Positive = Annotated[Decimal, _decimal(above="0")]
NotNegative = Annotated[Decimal, _decimal(at_least="0")]
Fee = Annotated[
    Decimal, _decimal("a rate, such as 0.0002 for 0.02 %,", at_least="-0.01", at_most="0.1")
]
FundingRate = Annotated[
    Decimal, _decimal("a rate, such as 0.0001 for 0.01 %,", at_least="-0.1", at_most="0.1")
]
Tolerance = Annotated[Decimal, _decimal("a fraction", at_least="0", at_most="0.5")]
Slippage = Annotated[Decimal, _decimal("a fraction", above="0", at_most="0.5")]
Percent = Annotated[Decimal, _decimal("per cent", above="0", at_most="99")]
Leverage = Annotated[Decimal, _decimal("a leverage", at_least="1", at_most="200")]
GridNum = Annotated[int, _integer(at_least="2", at_most="1000")]
Count = Annotated[int, _integer(at_least="0", at_most="1000000")]
PositiveCount = Annotated[int, _integer(at_least="1", at_most="1000000")]
Port = Annotated[int, _integer("a port", at_least="1", at_most="65535")]
Seed = Annotated[int, _integer(at_least="0", at_most="9007199254740991")]
Seconds = Annotated[float, _seconds(at_least="0", at_most="1e9")]
PositiveSeconds = Annotated[float, _seconds(above="0", at_most="1e9")]
Switch = Annotated[bool, _checked(parse_boolean)]


# Words ----------------------------------------------------------------------------------------


def one_of(*words: str) -> BeforeValidator:
    """Make a rule for one of a few words."""
    phrase = f'"{words[0]}"' if len(words) == 1 else "one of " + ", ".join(words)

    def parse(value: object) -> str:
        if isinstance(value, str) and value in words:
            return value
        raise ValueError(phrase)

    return _checked(parse)


def member_of(kind: type[enum.Enum]) -> BeforeValidator:
    """Make a rule for the values of an enum."""
    phrase = "one of " + ", ".join(member.value for member in kind)

    def parse(value: object) -> enum.Enum:
        if isinstance(value, kind):
            return value
        try:
            return kind(value)
        except ValueError:
            raise ValueError(phrase) from None

    return _checked(parse)


def _text(value: object) -> str:
    if isinstance(value, str) and value.strip() and value.isprintable():
        return value
    raise ValueError("a text of one line, not empty")


def _version(value: object) -> str:
    return str(value) if isinstance(value, int | Decimal) else _text(value)


def _path(value: object) -> str:
    if isinstance(value, str) and value.strip() and value.isprintable():
        return value
    raise ValueError("a path")


def _name(value: object) -> str:
    if isinstance(value, str) and is_safe_name(value):
        return value
    raise ValueError(f"an instance id: {NAME_RULE}")


def _symbol(value: object) -> str:
    if isinstance(value, str) and _SYMBOL.fullmatch(value):
        return value
    raise ValueError("a symbol as the exchange spells it, e.g. SOL_USDC_PERP or BTCUSDT")


def _secret(value: object) -> Secret:
    if isinstance(value, Secret):
        return value
    if isinstance(value, str) and value.isprintable() and " " not in value.strip():
        return Secret(value.strip())
    raise ValueError("a key: one text without spaces")


def _market_type(value: object) -> str:
    if value in ("perp", "perpetual", "futures"):
        return "perp"
    raise ValueError('"perp": only perpetual futures are traded')


def _name_list(value: object) -> tuple[str, ...]:
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            if not isinstance(item, str) or not is_safe_name(item):
                raise ValueError(
                    f"a list of instance ids ({NAME_RULE}); [{index}] is {ascii(item)[:60]}"
                )
        return tuple(dict.fromkeys(value))
    raise ValueError("a list of instance ids")


Text = Annotated[str, _checked(_text)]
Version = Annotated[str, _checked(_version)]
PathText = Annotated[str, _checked(_path)]
NameList = Annotated[tuple[str, ...], _checked(_name_list)]
Name = Annotated[str, _checked(_name), WithJsonSchema({"type": "string", "pattern": NAME_RULE})]
Symbol = Annotated[str, _checked(_symbol)]
MarketType = Annotated[str, _checked(_market_type)]
Key = Annotated[Secret, _checked(_secret), WithJsonSchema({"type": "string"})]


def _variables(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError("an object of variables, name to text")
    for name, text in value.items():
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            raise ValueError(
                f"names of variables: letters, digits and _, no digit first; not {name!a}"
            )
        if isinstance(text, bool) or not isinstance(text, str | int | Decimal):
            raise ValueError(f"a text or a number for {name}")
        if "\0" in str(text):
            raise ValueError(f"no NUL in {name}")
    return {name: str(text) for name, text in value.items()}


def _bot_args(value: object) -> str | tuple[str, ...]:
    if isinstance(value, str) and "\0" not in value:
        return value
    if isinstance(value, list | tuple) and all(isinstance(v, str) and "\0" not in v for v in value):
        return tuple(value)
    raise ValueError("a text of options, or a list of texts")


Variables = Annotated[dict[str, str], _checked(_variables)]
BotArgs = Annotated[str | tuple[str, ...], _checked(_bot_args)]


# Addresses ------------------------------------------------------------------------------------


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine alone: localhost, 127.0.0.0/8, ::1."""
    name = host.removeprefix("[").removesuffix("]")
    if name.lower() in ("localhost", "localhost."):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _host(value: object) -> str:
    if isinstance(value, str):
        if _HOST_NAME.fullmatch(value) and not re.fullmatch(r"[0-9.]+", value):
            return value
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            pass
    raise ValueError("an IP address or a host name, without port")


def _allowed_host(value: object) -> str:
    if isinstance(value, str):
        try:
            parts = urlsplit(f"//{value}")
            if parts.netloc == value and "@" not in value and _host(parts.hostname):
                return value if parts.port is None else value.lower()
        except ValueError:
            pass
    raise ValueError("a host name or address, with or without :port")


def _url(secure: str, plain: str) -> Callable[[object], str]:
    phrase = f"an address {secure}://host[:port][/path] ({plain}:// only to this machine)"

    def parse(value: object) -> str:
        if not isinstance(value, str) or not value.isprintable() or " " in value:
            raise ValueError(phrase)
        try:
            parts = urlsplit(value)
            parts.port  # noqa: B018 - raises ValueError for a bad port
            host = parts.hostname or ""
        except ValueError:
            raise ValueError(phrase) from None
        if not host or "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError(phrase + ", without user, query or fragment")
        if parts.scheme != secure and not (parts.scheme == plain and is_loopback(host)):
            raise ValueError(phrase)
        return value.rstrip("/")

    return parse


def _host_list(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError("a list of host names")
    hosts = []
    for index, item in enumerate(value):
        try:
            hosts.append(_allowed_host(item))
        except ValueError as error:
            raise ValueError(f"{error}; [{index}] is {ascii(item)[:60]}") from None
    return tuple(hosts)


Host = Annotated[str, _checked(_host)]
HostList = Annotated[tuple[str, ...], _checked(_host_list)]
HttpUrl = Annotated[str, _checked(_url("https", "http"))]
WsUrl = Annotated[str, _checked(_url("wss", "ws"))]
