"""Limits of the HTTP connections: their number, the time for a request, and the time for reading the answer.

aiohttp limits the size of a request, but not the time until it is complete, nor the time that a client takes to read
the answer. asyncio accepts connections until the process has no file descriptors left, and the application does not see
connections during their TLS handshake. Therefore this module accepts connections itself and counts them from then on.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from .base import LOG

MAX_CONNECTIONS = 32
REQUEST_TIMEOUT_S = 10.0
"""Maximum time from the start of a connection or request until the request is complete; also for a TLS handshake."""
ANSWER_TIMEOUT_S = 10.0
"""Maximum time from a complete request until the client has read the answer. Streams use WRITE_TIMEOUT_S instead."""
KEEPALIVE_TIMEOUT_S = 15.0
WRITE_TIMEOUT_S = 5.0
"""Maximum time for a client to read a part of a stream; after it the connection is closed."""
_TLS_SHUTDOWN_TIMEOUT_S = 2.0
_ACCEPT_RETRY_DELAY_S = 1.0


class HttpConnection(web.RequestHandler):
    """HTTP connection with time limits for sending a request and for reading the answer.

    All methods run in the event loop of the page, which owns `connections`.
    """

    def __init__(self, connections: set[HttpConnection], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._connections = connections
        self._event_loop: asyncio.AbstractEventLoop = options["loop"]
        self._timer: asyncio.TimerHandle | None = None
        self._answering = self._has_input = False
        self._raw_transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the time limit of the first request."""
        if isinstance(transport, asyncio.Transport):
            self._raw_transport = transport
        self._has_input = True
        self._start_timer(REQUEST_TIMEOUT_S)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Remove the connection from the open ones."""
        self._stop_timer()
        self._connections.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Receive a part of a request; start its time limit if it is the first part."""
        if data:
            self._has_input = True
            if not self._answering and self._timer is None:
                self._start_timer(REQUEST_TIMEOUT_S)
        super().data_received(data)

    def log_exception(self, *args: Any, **options: Any) -> None:
        """Log an error of the program. An invalid request is not logged; aiohttp answers it with 400."""
        if not isinstance(options.get("exc_info"), HttpProcessingError):
            super().log_exception(*args, **options)

    def begin_answer(self) -> None:
        """Start the time limit for reading the answer; the request is complete."""
        self._answering, self._has_input = True, False
        self._start_timer(ANSWER_TIMEOUT_S)

    def begin_stream(self) -> None:
        """Stop the time limit of the answer; `write_part` limits the time for each part of a stream."""
        self._stop_timer()

    def end_answer(self) -> None:
        """Note that the answer is written. Its time limit continues until the client has read it."""
        self._answering = False
        if not (self._has_input or self._has_output()):
            self._stop_timer()
        elif self._timer is None:
            self._start_timer(REQUEST_TIMEOUT_S)

    def disconnect(self) -> None:
        """End the connection without waiting for the client. asyncio waits for its answer at the end of TLS.

        The event loop closes the socket afterwards.
        """
        if self._raw_transport is not None:
            with contextlib.suppress(OSError):
                self._raw_transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    def _has_output(self) -> bool:
        """Return True if the client has not read everything yet."""
        return self._raw_transport is not None and self._raw_transport.get_write_buffer_size() > 0

    def _start_timer(self, timeout_s: float) -> None:
        self._stop_timer()
        self._timer = self._event_loop.call_later(timeout_s, self._handle_timeout)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _handle_timeout(self) -> None:
        self._timer = None
        if self._raw_transport is not None and (self._answering or self._has_input or self._has_output()):
            self._raw_transport.abort()


class Listener:
    """Listening sockets of the page. Connections beyond `MAX_CONNECTIONS` are closed at once.

    All methods run in the event loop of the page, which owns the sockets and `connections`.
    """

    def __init__(
        self, connections: set[HttpConnection], factory: Callable[[], HttpConnection], tls: ssl.SSLContext | None
    ) -> None:
        self._connections, self._factory, self._tls = connections, factory, tls
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, host: str, port: int) -> int:
        """Listen on all addresses of `host` and return the port. Raises OSError if no address can be used."""
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        last_error = OSError(f"{host} has no address")
        for family, address in dict.fromkeys((info[0], info[4]) for info in infos):
            try:
                listener = socket.create_server(address, family=family, backlog=MAX_CONNECTIONS)
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                last_error = error  # for example IPv6 on a machine without IPv6
                continue
            listener.setblocking(False)
            self._sockets.append(listener)
        if not self._sockets:
            raise last_error
        for listener in self._sockets:
            self._start_task(self._accept(listener))
        return int(self._sockets[0].getsockname()[1])

    def close(self) -> None:
        """Stop accepting connections; open connections stay open."""
        for task in self._tasks:
            task.cancel()
        for listener in self._sockets:
            listener.close()
        self._sockets.clear()

    def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client_socket, _ = await loop.sock_accept(listener)
            except OSError as error:
                # For example no file descriptors left. The connection stays queued, so an immediate retry would fail.
                LOG.error("http: cannot accept a connection: %s", error.strerror or error)
                await asyncio.sleep(_ACCEPT_RETRY_DELAY_S)
                continue
            if len(self._connections) < MAX_CONNECTIONS:
                connection = self._factory()
                self._connections.add(connection)
                self._start_task(self._start_connection(client_socket, connection))
            else:
                client_socket.close()
                LOG.warning("http: connection refused: %d connections are open already", MAX_CONNECTIONS)
            # sock_accept returns at once if a connection is waiting: give the other tasks a turn.
            await asyncio.sleep(0)

    async def _start_connection(self, client_socket: socket.socket, connection: HttpConnection) -> None:
        limits: dict[str, Any] = {}
        if self._tls is not None:
            limits = {
                "ssl": self._tls, "ssl_handshake_timeout": REQUEST_TIMEOUT_S,
                "ssl_shutdown_timeout": _TLS_SHUTDOWN_TIMEOUT_S,
            }  # fmt: skip
        connected = False
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, client_socket, **limits)
            connected = True
        except OSError:
            return  # the client does not use TLS, or has disconnected
        finally:
            if not connected:
                self._connections.discard(connection)
                client_socket.close()


async def write_part(request: web.BaseRequest, response: web.StreamResponse, data: bytes) -> None:
    """Send a part of a stream.

    Raises:
        ConnectionError: The client has disconnected, or does not read the part within `WRITE_TIMEOUT_S`.
    """
    try:
        await asyncio.wait_for(response.write(data), WRITE_TIMEOUT_S)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the client does not read") from None
