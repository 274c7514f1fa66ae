"""TLS of the MQTT sink: files for mqtts://, and what OpenSSL's errors mean."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...runtime.errors import InputError

_CLOCK_ERROR_CODES = {9, 10}
"""OpenSSL codes: certificate not yet valid, certificate expired. Temporary on a board whose clock is not set."""
_NAME_ERROR_CODES = {62, 64}
"""OpenSSL codes: the certificate is for another host name, for another IP address."""
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
    server_name: str = ""
    """Name that the broker's certificate must have; empty: the host name of the address."""

    def make_context(self, on_error: Callable[[ssl.SSLError], object] | None = None) -> ssl.SSLContext:
        """Create a context that verifies the certificate and the host name of the server.

        Args:
            on_error: Called with errors after the handshake. With TLS 1.3 the broker refuses a client certificate only
                then, and paho does not pass on the reason. Called in paho's thread. None: not needed.

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
            context = _TlsContext(ssl.PROTOCOL_TLS_CLIENT)
            context.server_name = self.server_name
            if self.ca is None:
                context.load_default_certs()
            else:
                context.load_verify_locations(self.ca)
            if on_error is not None:
                context.sslsocket_class = _make_socket_class(on_error)
        except (ssl.SSLError, OSError) as error:
            raise InputError(f"{self.ca}: expected certificates as PEM: {error}") from None
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


class _TlsContext(ssl.SSLContext):
    """Context that can check another name than that of the address.

    Not `ssl.create_default_context`: since Python 3.13 it refuses authorities without the extensions that RFC 5280
    requires, and many authorities for home networks lack them.
    """

    server_name = ""

    def wrap_socket(
        self,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        return super().wrap_socket(
            sock,
            server_side,
            do_handshake_on_connect,
            suppress_ragged_eofs,
            self.server_name or server_hostname,
            session,
        )


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
    return f"the broker refuses the client certificate: {text}; check the options cert and key"


def describe_untrusted(error: BaseException | None) -> str:
    """Return why the broker's certificate is not trusted, and what to do.

    Returns:
        Empty if it is trusted or the clock may be the reason.
    """
    if not isinstance(error, ssl.SSLCertVerificationError) or error.verify_code in _CLOCK_ERROR_CODES:
        return ""
    advice = (
        "if this is the right broker, give the name in its certificate with mqtts://...?server_name=NAME"
        if error.verify_code in _NAME_ERROR_CODES
        else "give the certificate of its authority with mqtts://...?ca=FILE"
    )
    return f"the broker's certificate is not trusted: {error.verify_message.rstrip('.')}; {advice}"
