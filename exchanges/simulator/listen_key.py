"""The one listenKey of the account: made, kept alive, ended. Pure but for the random key."""

from __future__ import annotations

import secrets


class ListenKey:
    """`life_ms`: how long it lives after it was made or kept alive (documented: 60 minutes)."""

    def __init__(self, life_ms: int) -> None:
        self._life_ms = life_ms
        self._key: str | None = None
        self._ends_ms = 0

    def make(self, now_ms: int) -> str:
        """The same key while it lives, kept alive; else a new one."""
        if self._key is None or now_ms >= self._ends_ms:
            self._key = secrets.token_urlsafe(48).replace("-", "a").replace("_", "b")
        self._ends_ms = now_ms + self._life_ms
        return self._key

    def current(self, now_ms: int) -> str | None:
        return self._key if now_ms < self._ends_ms else None

    def keep(self, key: str | None, now_ms: int) -> bool:
        """Extend its life. False: it does not exist."""
        if self.current(now_ms) is None or key not in (None, "", self._key):
            return False
        self._ends_ms = now_ms + self._life_ms
        return True

    def close(self, key: str | None, now_ms: int) -> str | None:
        """End it; returns the key that was ended."""
        ended = self.current(now_ms)
        if ended is None or key not in (None, "", ended):
            return None
        self._key = None
        return ended

    def expire(self, now_ms: int) -> str | None:
        """The key whose life has just run out, once."""
        if self._key is None or now_ms < self._ends_ms:
            return None
        ended, self._key = self._key, None
        return ended
