"""How the loop fares, in a file: `edgepose status` and the health check of a deployment read it, no port is opened."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from time import monotonic

from .stats import Stats

NAME = "status.json"
_EVERY_S = 2.0


class StatusFile:
    """Writes the statistics into a folder, every two seconds, whole or not at all; does nothing without a folder.

    The folder is the one that systemd gives a service (`RuntimeDirectory=`): in memory, gone when the service ends.
    """

    def __init__(self, folder: str | None = None) -> None:
        folder = os.environ.get("RUNTIME_DIRECTORY", "") if folder is None else folder
        self._path = Path(folder) / NAME if folder else None
        self._last_s = -_EVERY_S

    def update(self, stats: Stats, *, now: bool = False) -> None:
        """Called as often as one likes; `now`: without waiting until it is due."""
        if self._path is None or (not now and monotonic() - self._last_s < _EVERY_S):
            return
        self._last_s = monotonic()
        temporary = self._path.with_suffix(".part")
        with suppress(OSError):
            # A full memory disk must not end the loop.
            temporary.write_text(json.dumps(asdict(stats.snapshot())) + "\n")
            temporary.chmod(0o644)  # for whoever logs in and asks
            temporary.replace(self._path)
