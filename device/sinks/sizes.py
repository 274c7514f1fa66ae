"""Sizes of files in settings: `500MB`, `2GB`."""

from __future__ import annotations

import re

BYTES_PER_UNIT = {"kB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}
_SIZE = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)(kB|MB|GB)", re.ASCII)


def parse_size(text: str) -> int:
    """Return a size in bytes.

    Raises:
        ValueError: The text is not a number with kB, MB or GB.
    """
    if (matched := _SIZE.fullmatch(text.strip())) is None:
        raise ValueError(f"expected a size such as 500MB or 2GB, got {text[:80]!r}")
    return round(float(matched[1]) * BYTES_PER_UNIT[matched[2]])
