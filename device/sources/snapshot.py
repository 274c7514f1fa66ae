"""Cameras whose address gives one image per request, fetched over HTTP or HTTPS."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from time import monotonic
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import (
    HTTPBasicAuthHandler,
    HTTPDigestAuthHandler,
    HTTPPasswordMgrWithDefaultRealm,
    OpenerDirector,
    Request,
    build_opener,
)

from ...runtime.errors import InputError
from ...runtime.io.images import decode_picture
from ...runtime.io.redact import mask_credentials
from ...runtime.types import Image

_TIMEOUT_S = 5.0
"""For one request, from the connection to the last byte."""
_MAX_BYTES = 32 << 20
_READ_BYTES = 1 << 16


def is_snapshot(address: str) -> bool:
    """Return whether `address` answers with one image; False for streams and if there is no answer."""
    if urlsplit(address).scheme.lower() not in ("http", "https"):
        return False
    try:
        with _open(address) as response:
            return str(response.headers.get_content_type()).startswith("image/")
    except (OSError, http.client.HTTPException, ValueError):
        return False


def fetch(address: str, cancelled: Callable[[], bool] = lambda: False) -> Image:
    """Fetch and decode one image, (H, W, 3) uint8 BGR.

    `cancelled` is asked between reads: the image is then given up.

    Raises:
        InputError: No answer in time, an answer that is too large, or no image.
    """
    name = mask_credentials(address)
    end_s = monotonic() + _TIMEOUT_S
    content = bytearray()
    try:
        with _open(address) as response:
            while piece := response.read1(_READ_BYTES):
                content += piece
                if len(content) > _MAX_BYTES:
                    raise InputError(f"{name}: the image has more than {_MAX_BYTES >> 20} MiB")
                if monotonic() > end_s or cancelled():
                    raise InputError(f"{name}: the image did not arrive within {_TIMEOUT_S:g} s")
    except URLError as error:
        raise InputError(f"{name}: the camera does not answer: {error.reason}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise InputError(f"{name}: the camera does not answer: {error or type(error).__name__}") from None
    return decode_picture(content, name)


def _open(address: str) -> Any:
    """The response; credentials in the address are sent as Basic or Digest, as the camera asks for."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    plain = urlunsplit((parts.scheme, host, parts.path or "/", parts.query, ""))
    try:
        return _opener(plain, parts.username, parts.password).open(Request(plain), timeout=_TIMEOUT_S)
    except HTTPError as error:
        error.close()  # it holds the connection
        raise URLError(f"{error.code} {error.reason}") from None


def _opener(address: str, user: str | None, password: str | None) -> OpenerDirector:
    if user is None:
        return build_opener()
    passwords = HTTPPasswordMgrWithDefaultRealm()
    passwords.add_password(None, address, unquote(user), unquote(password or ""))
    return build_opener(_BasicHandler(passwords), _DigestHandler(passwords))


# The handlers of the standard library leave the connection of the refusal open.
class _BasicHandler(HTTPBasicAuthHandler):
    def http_error_401(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        fp.close()
        return super().http_error_401(req, fp, code, msg, headers)


class _DigestHandler(HTTPDigestAuthHandler):
    def http_error_401(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        fp.close()
        return super().http_error_401(req, fp, code, msg, headers)
