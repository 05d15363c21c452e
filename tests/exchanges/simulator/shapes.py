"""Whether an answer has the fields of a reference one, with the same kinds of values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sim_world import SPECS

DYNAMIC = ("capital",)  # keyed by asset: the assets of the sample need not be ours


def reference_names(*, is_frame: bool) -> set[str]:
    """The names of the reference replies, or of the reference frames of sockets."""
    paths = (SPECS / "fixtures").glob("*/*.json")
    return {
        f"{path.parent.name}/{path.stem}"
        for path in paths
        if path.stem.startswith("ws_") == is_frame
    }


def differences(answer: Any, sample: Any, where: str) -> Iterator[str]:
    """Where the answer lacks a field of the sample, or has another kind of value.

    A field that is null on either side is only asked to be there; a number is a number.
    """
    if sample is None or (answer is None and where.count(".") + where.count("[")):
        return
    if isinstance(sample, dict) and isinstance(answer, dict):
        if where.endswith(DYNAMIC):
            sample = dict.fromkeys(answer, next(iter(sample.values())))
        for key, value in sample.items():
            if key in answer:
                yield from differences(answer[key], value, f"{where}.{key}")
            else:
                yield f"{where}.{key}: is missing"
    elif isinstance(sample, list) and isinstance(answer, list):
        if sample and not answer:
            yield f"{where}: is empty"
        for index, item in enumerate(answer):
            alike = [known for known in sample if is_like(item, known)]
            if alike:
                known = alike[0] if isinstance(item, dict) else sample[min(index, len(sample) - 1)]
                yield from differences(item, known, f"{where}[{index}]")
    elif kind(sample) != kind(answer):
        yield f"{where}: was {answer!r}, expected one such as {sample!r}"


def is_like(item: Any, sample: Any) -> bool:
    """A market order among limit orders has other fields, and a filter has its type's."""
    if not isinstance(item, dict) or not isinstance(sample, dict):
        return True
    names = ("orderType", "filterType", "operation")
    is_same_type = all(item.get(name) == sample.get(name) for name in names)
    return is_same_type and ("code" in item) == ("code" in sample)


def kind(value: Any) -> type:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float if is_number else type(value)
