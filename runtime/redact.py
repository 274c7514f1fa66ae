"""Removes credentials from addresses before they are shown, logged or stored."""

from __future__ import annotations

import re

_USER_INFO = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*:/{0,3})[^\s'\"]*@")
"""A scheme, then everything up to the last `@` of the word: a password may itself hold `/` and `@`."""
_SECRET_OPTION = re.compile(
    r"([?&;](?:[a-z0-9_\-]*(?:passw(?:or)?d|secret|token|apikey|api_key)|pass|passwd|pwd|auth|key|user(?:name)?)=)[^\s&;#'\"]*",
    re.IGNORECASE,
)


def mask_credentials(text: str) -> str:
    """Return `text` with user names, passwords and secret query options of all addresses in it removed.

    Works on whole messages too. The host stays: `RTSP://me:secret@cam/1?token=x` becomes `RTSP://cam/1?token=***`.
    """
    return _SECRET_OPTION.sub(r"\1***", _USER_INFO.sub(r"\1", text))
