"""What this instance is right now: the snapshot, joined with what the process itself knows.

Reads the latest frozen snapshot and never blocks. Shared by the routes, the metrics and the events,
so that all of them tell the same.
"""

from __future__ import annotations

import os

from core.model import Snapshot
from core.ports import View
from web.documents import (
    Document,
    check_document,
    health_document,
    levels_documents,
    status_document,
)
from web.settings import WebSettings


class Instance:
    """One bot as its readers see it."""

    def __init__(self, view: View, settings: WebSettings) -> None:
        self._view = view
        self._settings = settings
        self._started = settings.monotonic()
        self._seen_seq: int | None = None
        self._seen_at = self._started

    @property
    def settings(self) -> WebSettings:
        return self._settings

    def snapshot(self) -> Snapshot:
        """The latest snapshot; its age counts from when it was first seen here."""
        snapshot = self._view()
        if snapshot.seq != self._seen_seq:
            self._seen_seq = snapshot.seq
            self._seen_at = self._settings.monotonic()
        return snapshot

    def uptime_s(self) -> float:
        """Seconds since the web room was built, which is when the process began."""
        return self._settings.monotonic() - self._started

    def snapshot_age_s(self) -> float:
        """Seconds since the latest snapshot was first seen by a reader."""
        return self._settings.monotonic() - self._seen_at

    def health(self, *, detailed: bool = False) -> Document:
        """The document of `/health`, or of `/health/detailed`."""
        snapshot = self.snapshot()
        document = health_document(snapshot, self._settings.liveness(), os.getpid())
        document["uptime_s"] = round(self.uptime_s(), 3)
        if detailed:
            age_s = self.snapshot_age_s()
            document["snapshot_age_s"] = round(age_s, 3)
            document["checks"] = {
                check.name: check_document(check, age_s) for check in snapshot.checks
            }
            document["entries_frozen"] = snapshot.entries_frozen or None
            document["alerts"] = list(snapshot.alerts)
        return document

    def status(self, snapshot: Snapshot | None = None, *, levels: bool = False) -> Document:
        """The document of `/api/status`, with all price lines if asked."""
        snapshot = self.snapshot() if snapshot is None else snapshot
        document = status_document(snapshot)
        document["live"] = self._settings.liveness()
        document["pid"] = os.getpid()
        document["uptime_s"] = round(self.uptime_s(), 3)
        if levels:
            document["levels"] = levels_documents(snapshot)
        return document
