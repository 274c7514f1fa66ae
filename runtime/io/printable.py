"""Makes text from outside safe to print."""

from __future__ import annotations

import unicodedata

MAX_LINE = 2000


def printable(text: object, *, limit: int = MAX_LINE, keep: str = "") -> str:
    r"""Return text that a terminal shows as it is: control characters as `\x1b`, at most `limit` characters.

    Escape sequences, carriage returns, characters that reverse the direction of text and lone surrogates are escaped;
    those in `keep` stay.
    """
    shown = str(text)
    if len(shown) > limit:
        shown = shown[:limit] + "..."
    return "".join(char if char in keep or not _is_control(char) else _escaped(char) for char in shown)


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
