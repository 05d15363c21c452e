"""How far each channel has come, kept in `logs/alerter.json` over every death of the alerter.

It also keeps which alarms about the fleet stand (`cli.alerting.fleet_watch`).

Written after a delivery, synced to the disk and renamed into place: a kill between the two makes
the delivery happen again, never not at all. It holds places and what `instance_cli alerts list`
shows of a channel; an address is in it as a digest only. One process writes it, the one that holds
`logs/.alerter.lock`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.alert_files import load_state, place_in, state_path
from core.alert_lines import VERSION
from core.files import make_private_dir, publish

LOCK_NAME = ".alerter.lock"


class AlerterState:
    """The alerter's memory. Channels that are configured no more keep their places."""

    def __init__(self, root: Path, channels: list[tuple[str, str]], level: str) -> None:
        """Take what the last alerter left; `channels` are (id, name)."""
        self._root = root
        state = load_state(root)
        found = state.get("channels")
        self._channels: dict[str, dict[str, Any]] = {}
        if isinstance(found, dict):
            self._channels = {k: v for k, v in found.items() if isinstance(v, dict)}
        told = state.get("told")
        self.told: dict[str, str] = {}
        if isinstance(told, dict):
            self.told = {str(name): str(kind) for name, kind in told.items()}
        self._active = [channel_id for channel_id, _ in channels]
        self._level = level
        for channel_id, name in channels:
            self._channels.setdefault(channel_id, {})["name"] = name

    def place(self, channel_id: str) -> dict[str, dict[str, int]]:
        """Give a channel's places: `{instance: {file: offset}}`."""
        spools = self._channels[channel_id].get("spools")
        names = spools if isinstance(spools, dict) else {}
        state = {"channels": self._channels}
        return {name: place_in(state, channel_id, name) for name in names}

    def note(self, channel_id: str, **fields: Any) -> None:
        """Change what is known of a channel; `save` makes it last."""
        self._channels[channel_id].update(fields)

    def save(self) -> None:
        """Make it last. Errors: OSError; what was saved before stands."""
        make_private_dir(self._root / "logs")
        document = {
            "v": VERSION,
            "active": self._active,
            "level": self._level,
            "told": self.told,
            "channels": self._channels,
        }
        publish(state_path(self._root), json.dumps(document) + "\n")
