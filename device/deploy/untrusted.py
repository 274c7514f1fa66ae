"""What a board sends is not trusted: size and depth are limited, types checked.

Text is escaped where it is printed (`runtime.printable`)."""

from __future__ import annotations

import json
import math
from typing import Any

from ...runtime.errors import InputError

MAX_ANSWER_BYTES = 1 << 20
_MAX_DEPTH = 12
_MAX_VALUES = 20_000
_MAX_TEXT = 8192
_MAX_NUMBER = 1e18


def load_json(text: str) -> Any:
    """Read a JSON document of limited size, depth and values.

    Raises:
        InputError: It is none, or exceeds a limit.
    """
    if len(text) > MAX_ANSWER_BYTES:
        raise InputError(f"expected at most {MAX_ANSWER_BYTES} characters, got {len(text)}")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"no JSON: {type(error).__name__}: {error}") from None
    _check(value)
    return value


def _check(document: Any) -> None:
    waiting, seen = [(document, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        if seen > _MAX_VALUES or depth > _MAX_DEPTH:
            raise InputError(f"expected at most {_MAX_VALUES} values, {_MAX_DEPTH} deep")
        if isinstance(value, dict):
            waiting += [(item, depth + 1) for pair in value.items() for item in pair]
        elif isinstance(value, list):
            waiting += [(item, depth + 1) for item in value]
        elif isinstance(value, str) and len(value) > _MAX_TEXT:
            raise InputError(f"expected text of at most {_MAX_TEXT} characters, got {len(value)}")
        elif isinstance(value, int | float) and not (
            abs(value) <= _MAX_NUMBER and (isinstance(value, int) or math.isfinite(value))
        ):
            raise InputError("expected numbers up to 1e18")
