"""Escaping of control characters, to print text from untrusted sources."""

from __future__ import annotations

import unicodedata

MAX_LENGTH = 2000


def make_printable(text: object, *, limit: int = MAX_LENGTH, keep: str = "") -> str:
    r"""Return `text` with control characters escaped, for example as `\x1b`.

    Escape sequences, line ends, characters that change the text direction, private and unassigned characters and lone
    surrogates are escaped.

    Args:
        text: The value to print; it is converted with `str`.
        limit: Maximum number of characters of `text`; the rest is replaced by `...`.
        keep: Characters that are not escaped.
    """
    shortened = str(text)
    if len(shortened) > limit:
        shortened = shortened[:limit] + "..."
    return "".join(char if char in keep or not _is_control(char) else _escape_character(char) for char in shortened)


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _escape_character(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
