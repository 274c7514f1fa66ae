"""Cameras whose address gives one image per request, fetched over HTTP or HTTPS."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple
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
from ...runtime.io.images import decode_image
from ...runtime.io.redact import mask_credentials
from ...runtime.types import Image

_TIMEOUT_S = 5.0
"""For one request, from the connection to the last byte."""
_MAX_BYTES = 32 << 20
_PORTS = {"rtsp": 554, "rtsps": 322, "rtmp": 1935, "rtmps": 443}
_READ_BYTES = 1 << 16


class Answer(NamedTuple):
    """What is at an address from which FFmpeg gets no video."""

    is_snapshot: bool
    """True for one image per request."""
    problem: str = ""
    """Why it is neither video nor image, and what to do."""


def is_snapshot(address: str) -> bool:
    """Return whether `address` answers with one image; False for streams and if there is no answer."""
    return urlsplit(address).scheme.lower() in ("http", "https") and ask(address).is_snapshot


def ask(address: str) -> Answer:
    """Ask an address once, for at most five seconds. Never raises; names the host, never credentials."""
    try:
        parts = urlsplit(address)
        if parts.scheme.lower() not in ("http", "https"):
            return Answer(False, _try_connection(parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 554)))
        with _open(address) as response:
            kind = str(response.headers.get_content_type())
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Answer(False, describe_failure(error))
    if kind.startswith("image/"):
        return Answer(True)
    if kind in ("text/html", "application/xhtml+xml"):
        return Answer(False, "this is a web page; look for the address of the stream in the camera's settings")
    return Answer(False, f"no video comes from there (the server sends {kind[:60]})")


def _try_connection(host: str, port: int) -> str:
    try:
        with socket.create_connection((host, port), _TIMEOUT_S):
            return "the host answers, but no video comes from this path; check path, user and password"
    except OSError as error:
        return describe_failure(error)


def describe_failure(error: Exception) -> str:
    """Return why there was no answer, and what to do."""
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, socket.gaierror):
        return "unknown host; check the name"
    if isinstance(reason, ConnectionRefusedError):
        return "connection refused: nothing listens on this port"
    if isinstance(reason, TimeoutError):
        return f"no answer within {_TIMEOUT_S:g} s"
    if isinstance(reason, ssl.SSLError):
        return "the certificate of the camera cannot be verified"
    text = str(getattr(reason, "strerror", None) or reason or type(error).__name__)
    if text.startswith(("401", "403")):
        return (
            f"the camera refuses ({text}); give user and password with EDGEPOSE_CAMERA_USER and "
            "EDGEPOSE_CAMERA_PASSWORD, or in the address"
        )
    if text.startswith("404"):
        return f"the camera has nothing at this path ({text})"
    return f"the camera does not answer: {text[:160]}"


def fetch(address: str, canceled: Callable[[], bool] = lambda: False) -> Image:
    """Fetch and decode one image, (H, W, 3) uint8 BGR.

    `canceled` is asked between reads: the image is then given up.

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
                if monotonic() > end_s or canceled():
                    raise InputError(f"{name}: the image did not arrive within {_TIMEOUT_S:g} s")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise InputError(f"{name}: {describe_failure(error)}") from None
    return decode_image(content, name)


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
