"""Reader for small text files of the kernel."""

from __future__ import annotations

from pathlib import Path


def read_text(path: Path) -> str:
    """Read a file of /proc or /sys; return an empty text if it does not exist or cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
