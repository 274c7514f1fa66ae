"""TLS of the MQTT sink: files for mqtts://, and what OpenSSL's errors mean."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...runtime.errors import InputError

_CLOCK_ERROR_CODES = {9, 10}
"""OpenSSL codes: certificate not yet valid, certificate expired. Temporary on a board whose clock is not set."""
_CLIENT_CERTIFICATE_REASONS = ("CERTIFICATE_REQUIRED", "CERTIFICATE_EXPIRED", "CERTIFICATE_REVOKED", "UNKNOWN_CA",
                               "BAD_CERTIFICATE", "UNSUPPORTED_CERTIFICATE", "CERTIFICATE_UNKNOWN")  # fmt: skip
"""Ends of the reasons with which OpenSSL reports that the broker has refused the client certificate."""


@dataclass(frozen=True)
class Tls:
    """PEM files for mqtts://."""

    ca: Path | None = None
    """Certificates of the trusted authorities; None trusts those of the system."""
    cert: Path | None = None
    """Client certificate; None sends none."""
    key: Path | None = None
    """Key of the client certificate; None: the key is in `cert`."""

    def make_context(self, on_error: Callable[[ssl.SSLError], object]) -> ssl.SSLContext:
        """Create a context that verifies the certificate and the host name of the broker.

        Args:
            on_error: Called with errors after the handshake. With TLS 1.3 the broker refuses a client certificate only
                then, and paho does not pass on the reason. Called in paho's thread.

        Raises:
            InputError: A file cannot be read or used; the message names it.
        """
        for path in (self.ca, self.cert, self.key):
            if path is not None:
                try:
                    path.open("rb").close()
                except OSError as error:
                    raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        try:
            context = ssl.create_default_context(cafile=self.ca)
            context.sslsocket_class = _make_socket_class(on_error)
        except (ssl.SSLError, OSError) as error:
            raise InputError(f"{self.ca}: expected certificates as PEM: {error}") from None
        if self.ca is not None:
            # Python 3.13 sets this flag: it refuses authorities without the extensions that RFC 5280 requires. Many
            # authorities for home networks lack them. The user has chosen this one.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if self.cert is not None:
            try:
                # Without this, OpenSSL asks for the password of an encrypted key on the terminal.
                context.load_cert_chain(self.cert, self.key, password=lambda: b"")
            except (ssl.SSLError, OSError, ValueError) as error:
                raise InputError(
                    f"{self.cert}: expected a certificate as PEM and its key, not encrypted ({self.key or self.cert}): "
                    f"{error}"
                ) from None
        return context


def _make_socket_class(on_error: Callable[[ssl.SSLError], object]) -> type[ssl.SSLSocket]:
    class TlsSocket(ssl.SSLSocket):
        """TLS socket that is closed if the handshake fails; paho leaves this to the garbage collector."""

        def do_handshake(self, block: bool = False) -> None:
            try:
                super().do_handshake(block)
            except OSError:
                self.close()
                raise

        def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
            try:
                return super().recv(buflen, flags)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except ssl.SSLError as error:
                on_error(error)
                raise

    return TlsSocket


def describe_connection_error(error: BaseException | None) -> str:
    """Describe why a connection failed, in a few words and without the codes of OpenSSL."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        reason = error.reason or ""
        if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
            return "the broker does not use TLS on this port (mqtt:// instead of mqtts://)"
        return reason.replace("_", " ").lower() or str(error)
    if isinstance(error, TimeoutError):
        return "no answer"
    return getattr(error, "strerror", None) or str(error) or "unknown error"


def describe_client_refusal(error: BaseException | None) -> str:
    """Return why the broker has refused the client certificate; empty if that is not the reason."""
    reason = error.reason or "" if isinstance(error, ssl.SSLError) else ""
    if not reason.endswith(_CLIENT_CERTIFICATE_REASONS) or "ALERT_" not in reason:
        return ""
    text = reason.rpartition("ALERT_")[2].replace("_", " ").lower()
    return f"the broker refuses the client certificate: {text}; check ?cert=FILE&key=FILE"


def describe_untrusted(error: BaseException | None) -> str:
    """Return why the broker's certificate is not trusted; empty if it is trusted or the clock may be the reason."""
    if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code not in _CLOCK_ERROR_CODES:
        return error.verify_message
    return ""
