"""Names of several cameras on the command line and in the configuration: `NAME=SOURCE`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ...runtime.errors import InputError
from ...runtime.io import naming
from ...runtime.io.atomic import expand_home
from ...runtime.io.redact import mask_credentials

_NAMED_SOURCE = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9 _-]{0,31})=(?P<source>.+)", re.DOTALL)
_MAX_CAMERAS = 16


def has_name(text: str) -> bool:
    """Return True for `NAME=SOURCE`, unless a file has this name."""
    return _NAMED_SOURCE.fullmatch(text) is not None and not Path(text).exists()


def parse_sources(texts: Sequence[str]) -> dict[str, str]:
    """Return the source of each camera by its name, from `NAME=SOURCE` or `SOURCE`.

    A source without a name gets the slug of the source as its name (`v4l2-0`, `10-0-0-9-door`).

    Raises:
        InputError: Two cameras have the same name or the same slug, two read standard input, or there are too many.
    """
    sources: dict[str, str] = {}
    slugs: dict[str, str] = {}
    for text in texts:
        matched = _NAMED_SOURCE.fullmatch(text) if has_name(text) else None
        name, source = (matched["name"], matched["source"]) if matched else (naming.make_source_slug(text), text)
        slug = naming.make_slug(name)
        if slug in slugs:
            raise InputError(f"source {mask_credentials(text)!r}: the name {name!r} is given twice; write NAME=SOURCE")
        slugs[slug] = name
        sources[name] = expand_home(source)
    if list(sources.values()).count("-") > 1:
        raise InputError("source '-': expected at most one camera that reads standard input")
    if len(sources) > _MAX_CAMERAS:
        raise InputError(f"expected at most {_MAX_CAMERAS} cameras, got {len(sources)}")
    return sources
