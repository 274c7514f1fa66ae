"""Small files of the kernel."""

from __future__ import annotations

from pathlib import Path


def text(path: Path) -> str:
    """What a file of /proc or /sys says, empty where it is not there."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
