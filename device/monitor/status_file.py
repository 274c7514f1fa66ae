"""Status file of the camera loop, read by `edgepose status` and by the health check of a deployment."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Protocol

from .stats import Snapshot

_FILE_NAME = "status.json"
_WRITE_INTERVAL_S = 2.0


class SnapshotTaker(Protocol):
    """Statistics of one camera or of several."""

    def take_snapshot(self) -> Snapshot:
        """Return the current state."""
        ...


class StatusFile:
    """JSON file with the statistics, replaced atomically every two seconds.

    The folder is the runtime directory that systemd creates for the service (`RuntimeDirectory=`): it is in memory and
    is removed when the service ends. With a file, no network port is needed for the status.
    """

    def __init__(self, folder: str | None = None) -> None:
        """Choose the folder.

        Args:
            folder: Folder of the file; empty: no file is written. Default: RUNTIME_DIRECTORY of the environment.
        """
        folder = os.environ.get("RUNTIME_DIRECTORY", "") if folder is None else folder
        self._path = Path(folder) / _FILE_NAME if folder else None
        self._last_s = -_WRITE_INTERVAL_S

    def update(self, stats: SnapshotTaker, *, now: bool = False) -> None:
        """Write the file if the last write was at least two seconds ago. Errors are ignored.

        Args:
            stats: Statistics to write.
            now: True to write in any case.
        """
        if self._path is None or (not now and monotonic() - self._last_s < _WRITE_INTERVAL_S):
            return
        self._last_s = monotonic()
        temporary = self._path.with_suffix(".part")
        with suppress(OSError):
            # A full disk in memory must not end the loop.
            temporary.write_text(json.dumps(asdict(stats.take_snapshot())) + "\n")
            temporary.chmod(0o644)  # every user who logs in may read it
            temporary.replace(self._path)
