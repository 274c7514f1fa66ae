"""One datagram a frame, for whoever listens; nobody needs to."""

from __future__ import annotations

import socket

from edgepose.runtime.errors import InputError

from .base import Message, Sink, SinkError

_MOST = 65_000


class UdpSink(Sink):
    """JSON as in the lines, to one address."""

    name = "udp"

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self._host, self._port = host, port
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Raises InputError where the name is unknown."""
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(family, kind, protocol)
            self._socket.connect(address)
        except OSError as error:
            raise InputError(f"udp://{self._host}:{self._port}: {error.strerror}") from None

    def write(self, message: Message) -> None:
        """Sends it off."""
        assert self._socket is not None
        content = message.line.encode()
        if len(content) > _MOST:
            raise SinkError(f"a frame of {len(content)} bytes does not fit a datagram")
        try:
            self._socket.send(content)
        except ConnectionRefusedError:
            return  # nobody listens on this very machine: as good as sent
        except OSError as error:
            raise SinkError(f"udp://{self._host}:{self._port}: {error.strerror}") from None

    def close(self) -> None:
        """Closes the socket."""
        if self._socket is not None:
            self._socket.close()
