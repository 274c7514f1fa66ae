"""Reader of JSON that a board sends. A board is not trusted: size and depth are limited, and types are checked.

Text from a board is escaped before it is printed (`runtime.io.printable`).
"""

from __future__ import annotations

import json
import math
from typing import Any

from ...runtime.errors import InputError

MAX_ANSWER_BYTES = 1 << 20
_MAX_DEPTH = 12
_MAX_VALUES = 20_000
_MAX_TEXT_LENGTH = 8192
_MAX_NUMBER = 1e18


def load_json(text: str) -> Any:
    """Parse a JSON document with limits: 1 MiB, 12 levels, 20,000 values, texts of 8192 characters, numbers up to 1e18.

    Raises:
        InputError: The text is not JSON, or exceeds a limit.
    """
    if len(text) > MAX_ANSWER_BYTES:
        raise InputError(f"expected at most {MAX_ANSWER_BYTES} characters, got {len(text)}")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not valid JSON: {type(error).__name__}: {error}") from None
    _check_limits(value)
    return value


def _check_limits(document: Any) -> None:
    pending, count = [(document, 0)], 0
    while pending:
        value, depth = pending.pop()
        count += 1
        if count > _MAX_VALUES or depth > _MAX_DEPTH:
            raise InputError(f"expected at most {_MAX_VALUES} values in at most {_MAX_DEPTH} levels")
        if isinstance(value, dict):
            pending += [(item, depth + 1) for pair in value.items() for item in pair]
        elif isinstance(value, list):
            pending += [(item, depth + 1) for item in value]
        elif isinstance(value, str) and len(value) > _MAX_TEXT_LENGTH:
            raise InputError(f"expected text of at most {_MAX_TEXT_LENGTH} characters, got {len(value)}")
        elif isinstance(value, int | float) and not (
            abs(value) <= _MAX_NUMBER and (isinstance(value, int) or math.isfinite(value))
        ):
            raise InputError("expected finite numbers up to 1e18")
