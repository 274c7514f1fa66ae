"""Snapshot cameras: addresses that return one image per HTTP or HTTPS request."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit
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
"""Limit for one request, from the connection to the last byte."""
_MAX_BYTES = 32 << 20
_DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322, "rtmp": 1935, "rtmps": 443}
_CHUNK_BYTES = 1 << 16
_ASCII_WITHOUT_CONTROLS = "".join(map(chr, range(32, 127)))


class ProbeResult(NamedTuple):
    """Content of an address from which FFmpeg reads no video."""

    is_snapshot: bool
    """True if the address returns one image per request."""
    problem: str = ""
    """Why the address has neither video nor images, and what to do."""


def is_snapshot(address: str) -> bool:
    """Return True if an address returns one image; False for a stream, or if there is no answer."""
    return urlsplit(address).scheme.lower() in ("http", "https") and probe_address(address).is_snapshot


def probe_address(address: str) -> ProbeResult:
    """Request an address once to find out what it returns.

    Takes at most five seconds. It never raises an error, and the result contains no credentials.

    Args:
        address: URL; for schemes other than HTTP, HTTPS and RTSP, only the connection to the port is tested.
    """
    try:
        parts = urlsplit(address)
        if parts.scheme.lower() == "rtsp":
            return ProbeResult(False, _describe_rtsp_answer(parts, _request_rtsp(parts)))
        if parts.scheme.lower() not in ("http", "https"):
            return ProbeResult(
                False, _try_connection(parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme, 554))
            )
        with _open(address) as response:
            kind = str(response.headers.get_content_type())
    except (OSError, http.client.HTTPException, ValueError) as error:
        return ProbeResult(False, _describe_failure(error))
    if kind.startswith("image/"):
        return ProbeResult(True)
    if kind in ("text/html", "application/xhtml+xml"):
        return ProbeResult(
            False, "this is a web page; look for the address of the stream in the settings of the camera"
        )
    return ProbeResult(False, f"no video at this address: the server sends {kind[:60]}; check the path")


def _request_rtsp(parts: SplitResult) -> str:
    """Ask an RTSP server for a description of the stream, without credentials; return the status, such as `404`.

    Raises:
        OSError: There is no answer.
        ValueError: The port is not valid.
    """
    host = parts.netloc.rpartition("@")[2]
    target = urlunsplit((parts.scheme.lower(), host, parts.path or "/", parts.query, ""))
    request = f"DESCRIBE {target} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
    with socket.create_connection((parts.hostname or "", parts.port or _DEFAULT_PORTS["rtsp"]), _TIMEOUT_S) as link:
        link.sendall(quote(request, safe=_ASCII_WITHOUT_CONTROLS + "\r\n").encode())
        answer = link.recv(_CHUNK_BYTES)
    matched = re.match(rb"RTSP/\d\.\d (\d{3})", answer)
    return matched[1].decode() if matched else ""


def _describe_rtsp_answer(parts: SplitResult, status: str) -> str:
    """Return why FFmpeg could not read a stream whose server answered with `status`."""
    if status == "401" and parts.username is not None:
        return "the camera refuses this user and password (401), or has no such path; check them"
    if status == "401":
        return (
            "the camera requires a user and password (401); give them with EDGEPOSE_CAMERA_USER and "
            "EDGEPOSE_CAMERA_PASSWORD, or in the address"
        )
    if status == "404":
        return "the camera has no such path (404); check the path"
    if not status:
        return "the server does not speak RTSP; check the port"
    if status == "200":
        return "the camera describes a stream, but no frame arrived within 5 s; try again, or check its codec (H.264)"
    return f"the camera refuses the request (RTSP status {status})"


def _try_connection(host: str, port: int) -> str:
    try:
        with socket.create_connection((host, port), _TIMEOUT_S):
            return "the host answers, but this path has no video; check path, user and password"
    except OSError as error:
        return _describe_failure(error)


def _describe_failure(error: Exception) -> str:
    """Return the reason why a request failed, and what to do."""
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, socket.gaierror):
        return "unknown host; check the name"
    if isinstance(reason, ConnectionRefusedError):
        return "connection refused: no server listens on this port; check the port"
    if isinstance(reason, TimeoutError):
        return f"no answer within {_TIMEOUT_S:g} s; check that the camera is on"
    if isinstance(reason, ssl.SSLError):
        return "the certificate of the camera cannot be verified"
    text = str(getattr(reason, "strerror", None) or reason or type(error).__name__)
    if text.startswith(("401", "403")):
        return (
            f"the camera refuses access ({text}); give user and password with EDGEPOSE_CAMERA_USER and "
            "EDGEPOSE_CAMERA_PASSWORD, or in the address"
        )
    if text.startswith("404"):
        return f"the camera has no such path ({text}); check the path"
    return f"the request failed: {text[:160]}"


def fetch_image(address: str, canceled: Callable[[], bool] = lambda: False, token: str | None = None) -> Image:
    """Request and decode one image.

    Args:
        address: URL, with or without credentials.
        canceled: Called between reads; the request is given up if it returns True.
        token: Token of the page of a board, sent as `Authorization: Bearer`; None: none is sent.

    Returns:
        Image (height, width, 3), uint8, BGR.

    Raises:
        InputError: There is no answer in time, the answer is larger than 32 MiB, or it is not an image.
    """
    name = mask_credentials(address)
    end_s = monotonic() + _TIMEOUT_S
    content = bytearray()
    try:
        with _open(address, token) as response:
            while chunk := response.read1(_CHUNK_BYTES):
                content += chunk
                if len(content) > _MAX_BYTES:
                    raise InputError(f"{name}: the image is too large; expected at most {_MAX_BYTES >> 20} MiB")
                if monotonic() > end_s or canceled():
                    raise InputError(f"{name}: the image did not arrive within {_TIMEOUT_S:g} s")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise InputError(f"{name}: {_describe_failure(error)}") from None
    return decode_image(content, name)


def _open(address: str, token: str | None = None) -> Any:
    """Return the response. Credentials in the address are sent as Basic or Digest, as the camera requires."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    plain = urlunsplit((parts.scheme, host, parts.path or "/", parts.query, ""))
    request = Request(plain, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        return _build_opener(plain, parts.username, parts.password).open(request, timeout=_TIMEOUT_S)
    except HTTPError as error:
        error.close()  # closes the connection
        raise URLError(f"{error.code} {error.reason}") from None


def _build_opener(address: str, user: str | None, password: str | None) -> OpenerDirector:
    if user is None:
        return build_opener()
    passwords = HTTPPasswordMgrWithDefaultRealm()
    passwords.add_password(None, address, unquote(user), unquote(password or ""))
    return build_opener(_BasicHandler(passwords), _DigestHandler(passwords))


# The handlers of the standard library do not close the connection of the 401 response.
class _BasicHandler(HTTPBasicAuthHandler):
    def http_error_401(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        fp.close()
        return super().http_error_401(req, fp, code, msg, headers)


class _DigestHandler(HTTPDigestAuthHandler):
    def http_error_401(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        fp.close()
        return super().http_error_401(req, fp, code, msg, headers)
