"""Removal of credentials from addresses before they are shown, logged or stored."""

from __future__ import annotations

import re

_INNER_QUOTE = r"['\"](?![\s:;,.)\]}]|$)"
"""Quotation mark inside a password, not at the end of a quoted address."""
_USER_INFO = re.compile(rf"([A-Za-z][A-Za-z0-9+.\-]{{0,20}}:/{{0,3}})[^\s'\"]*(?:{_INNER_QUOTE}[^\s'\"]*)*@")
"""Scheme, then everything up to the last `@` of the word, because a password may contain `/` and `@`."""
_SECRET_OPTION = re.compile(
    r"([?&;](?:[a-z0-9_\-]{0,40}(?:passw(?:or)?d|secret|token|apikey|api_key)|(?:login)?pass?|passwd|pwd|pswd|psw|auth|key"
    rf"|user(?:name)?|usr|loginuse)[0-9]*=)[^\s&;#'\"]*(?:{_INNER_QUOTE}[^\s&;#'\"]*)*",
    re.IGNORECASE,
)
_PATH_CREDENTIALS = re.compile(
    rf"(/user=)[^\s/?&#'\"]*_password=[^\s/?&#'\"]*(?:{_INNER_QUOTE}[^\s/?&#'\"]*)*", re.IGNORECASE
)
"""User and password in the path, as used by some cameras: `rtsp://cam/user=me_password=secret_channel=1`."""


def mask_credentials(text: str) -> str:
    """Return `text` without the user names, passwords and secret query options of all addresses in it.

    `text` may be a whole message. The host is kept: `RTSP://me:secret@cam/1?token=x` becomes `RTSP://cam/1?token=***`.
    """
    text = _PATH_CREDENTIALS.sub(r"\1***", _USER_INFO.sub(r"\1", text))
    return _SECRET_OPTION.sub(r"\1***", text)
