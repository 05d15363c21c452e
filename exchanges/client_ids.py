"""Client order ids that carry the instance, in the form that each exchange takes. Pure.

By its own ids an instance recognises its orders and touches no others (FAILURES 10). They are
`ClientIds` of the order desk: made from a number that the ledger gives out once.
"""

from __future__ import annotations

import hashlib
import re

TAG_BITS = 12
COUNTER_BITS = 20
_COUNTERS = 1 << COUNTER_BITS
_PREFIX_LENGTH = 20  # of Aster's 36 characters; 15 are left for the counter


class BackpackIds:
    """Backpack takes a uint32: 12 bits of instance tag, 20 bits of the ledger's counter.

    The tag is never 0, so that small ids made by hand are not taken for ours. The ids begin again
    after `capacity` numbers: whoever makes orders skips those that may still be meant.
    """

    capacity: int | None = _COUNTERS

    def __init__(self, instance_id: str) -> None:
        digest = hashlib.sha256(instance_id.encode()).digest()
        self.tag = int.from_bytes(digest[:4], "big") % ((1 << TAG_BITS) - 1) + 1

    def make(self, number: int) -> str:
        return str((self.tag << COUNTER_BITS) | (number % _COUNTERS))

    def owns(self, client_order_id: str) -> bool:
        if not (client_order_id.isascii() and client_order_id.isdigit()):
            return False
        return int(client_order_id) >> COUNTER_BITS == self.tag


class AsterIds:
    """Aster takes 36 characters of `.A-Z:/a-z0-9_-`: the instance, `-`, the ledger's counter.

    A long instance id is cut and made one of a kind by six digits of its hash.
    """

    capacity: int | None = None

    def __init__(self, instance_id: str) -> None:
        name = instance_id
        if len(name) > _PREFIX_LENGTH:
            digest = hashlib.sha256(instance_id.encode()).hexdigest()[:6]
            name = f"{instance_id[: _PREFIX_LENGTH - 7]}.{digest}"
        self._prefix = f"{name}-"
        self._own = re.compile(re.escape(self._prefix) + r"[0-9]+")

    def make(self, number: int) -> str:
        return f"{self._prefix}{number}"

    def owns(self, client_order_id: str) -> bool:
        return self._own.fullmatch(client_order_id) is not None
