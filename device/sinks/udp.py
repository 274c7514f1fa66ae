"""UDP sink: one datagram per frame and per event, without confirmation."""

from __future__ import annotations

import socket

from ...runtime.errors import InputError
from .base import Message, Sink, SinkError

_MAX_DATAGRAM_BYTES = 65_000


class UdpSink(Sink):
    """Sink that sends each frame and each event as JSON (docs/reference/output.md) to one address.

    The socket belongs to the sink's thread.
    """

    name = "udp"

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self._host, self._port = host, port
        self._socket: socket.socket | None = None

    def connect(self) -> None:
        """Resolve the host name and create the socket. Raises InputError if the host is unknown."""
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(family, kind, protocol)
            self._socket.connect(address)
        except (OSError, UnicodeError) as error:
            self.close()
            raise InputError(f"udp://{self._host}:{self._port}: {getattr(error, 'strerror', None) or error}") from None

    def write(self, message: Message) -> None:
        """Send a frame as one datagram. Raises SinkError."""
        self._send(message.line)

    def write_events(self, message: Message) -> None:
        """Send one datagram per event. Raises SinkError."""
        for line in message.event_lines:
            self._send(line)

    def _send(self, line: str) -> None:
        """Send one datagram; resolve the host name first if that has failed before."""
        if self._socket is None:
            try:
                self.connect()
            except InputError as error:
                raise SinkError(str(error)) from None
        assert self._socket is not None
        content = line.encode()
        if len(content) > _MAX_DATAGRAM_BYTES:
            raise SinkError(f"a frame of {len(content)} bytes is larger than a datagram of {_MAX_DATAGRAM_BYTES} bytes")
        try:
            self._socket.send(content)
        except ConnectionRefusedError:
            return  # nobody listens on this machine, which is no error for UDP
        except OSError as error:
            raise SinkError(f"udp://{self._host}:{self._port}: {error.strerror}") from None

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
