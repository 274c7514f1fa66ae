"""One HTTP request of the webhook sink, and what its answer means.

`http.client` instead of a library: it follows no redirects, keeps no cookies and is in the base installation. The time
of a whole request is limited, also if the receiver sends one byte at a time.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import http.client
import io
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic, time
from typing import Any

from ...runtime.version import get_version
from .mqtt_tls import describe_connection_error

_MAX_ANSWER_BYTES = 4096
"""The answer is only read so that the receiver sees no broken connection; its content is not used."""
_MAX_RETRY_AFTER_S = 3600.0
_SECRET_PREFIX = "whsec_"  # nosec B105
_TEMPORARY_STATUS = (408, 425, 429)


@dataclass(frozen=True)
class Target:
    """Receiver of the events."""

    host: str
    port: int
    path: str
    """Path and query."""
    context: ssl.SSLContext | None
    """TLS; None sends without encryption."""
    secret: bytes = b""
    """Key of the signature; empty sends none."""
    timeout_s: float = 10.0
    """Maximum time of a request."""

    @property
    def name(self) -> str:
        """Address for messages. Paths of webhooks are often secret, so it has none."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.context else 'http'}://{host}:{self.port}"


@dataclass(frozen=True)
class Outcome:
    """Result of a request.

    Attributes:
        delivered: True if the receiver has accepted the event.
        problem: What went wrong; empty if nothing did.
        is_final: True if another attempt is useless.
        retry_after_s: Time that the receiver asks to wait; None if it does not say.
    """

    delivered: bool = False
    problem: str = ""
    is_final: bool = False
    retry_after_s: float | None = None


def parse_secret(text: str) -> bytes:
    """Return the key of the signature: the text, or the Base64 after `whsec_`. Raises ValueError."""
    text = text.strip()
    if not text.startswith(_SECRET_PREFIX):
        return text.encode("utf-8", "surrogateescape")
    try:
        return base64.b64decode(text.removeprefix(_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"expected Base64 after {_SECRET_PREFIX}") from None


def sign(secret: bytes, identifier: str, timestamp: int, body: bytes) -> str:
    """Return the signature of a request as in Standard Webhooks (www.standardwebhooks.com), version 1."""
    content = f"{identifier}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(secret, content, hashlib.sha256)).decode()


def post_event(target: Target, identifier: str, body: bytes) -> Outcome:
    """Send one event and return the outcome; never raises for an error of the network or the receiver."""
    end_s = monotonic() + target.timeout_s
    connection = _make_connection(target, end_s)
    timestamp = int(time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"edgepose/{get_version()}",
        "webhook-id": identifier,
        "webhook-timestamp": str(timestamp),
    }
    if target.secret:
        headers["webhook-signature"] = sign(target.secret, identifier, timestamp, body)
    try:
        connection.request("POST", target.path, body, headers)
        answer = connection.getresponse()
        # The status says it all; an event must not be repeated because the rest does not come.
        with contextlib.suppress(OSError, http.client.HTTPException):
            answer.read(_MAX_ANSWER_BYTES)
        return _judge(target, answer)
    except ssl.SSLCertVerificationError as error:
        return Outcome(problem=f"{target.name}: the certificate is not trusted: {error.verify_message}")
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Outcome(problem=f"{target.name}: {_describe_error(error)}")
    finally:
        connection.close()


def _describe_error(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or 'unknown reason').replace('_', ' ').lower()}"
    return (
        describe_connection_error(error) if isinstance(error, OSError) else f"no valid answer ({type(error).__name__})"
    )


def _judge(target: Target, answer: http.client.HTTPResponse) -> Outcome:
    status = answer.status
    if 200 <= status < 300:
        return Outcome(delivered=True)
    if 300 <= status < 400:
        return Outcome(problem=f"{target.name}: answers with a redirect ({status}), which is not followed")
    is_final = 400 <= status < 500 and status not in _TEMPORARY_STATUS
    return Outcome(
        problem=f"{target.name}: answers with status {status}",
        is_final=is_final,
        retry_after_s=_parse_retry_after(answer.getheader("Retry-After", "")),
    )


def _parse_retry_after(value: str) -> float | None:
    """Return the seconds of a Retry-After header, a number or a date, at most one hour; None if it is not valid."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), _MAX_RETRY_AFTER_S)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((moment - datetime.now(UTC)).total_seconds(), 0.0), _MAX_RETRY_AFTER_S)


def _make_connection(target: Target, end_s: float) -> http.client.HTTPConnection:
    timeout_s = target.timeout_s
    connection = (
        http.client.HTTPConnection(target.host, target.port, timeout=timeout_s)
        if target.context is None
        else http.client.HTTPSConnection(target.host, target.port, timeout=timeout_s, context=target.context)
    )

    def make_response(sock: socket.socket, *arguments: Any, **options: Any) -> http.client.HTTPResponse:
        return http.client.HTTPResponse(_LimitedSocket(sock, end_s), *arguments, **options)  # type: ignore[arg-type]

    connection.response_class = make_response  # type: ignore[assignment]
    return connection


class _LimitedSocket:
    """What `HTTPResponse` needs of a socket, with a limit for the time of all reads together."""

    def __init__(self, sock: socket.socket, end_s: float) -> None:
        self._sock, self._end_s = sock, end_s

    def makefile(self, *_: object) -> io.BufferedReader:
        return io.BufferedReader(_LimitedReader(self._sock, self._end_s))


class _LimitedReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, end_s: float) -> None:
        super().__init__()
        self._sock, self._end_s = sock, end_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left_s = self._end_s - monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left_s)
        return self._sock.recv_into(buffer)
