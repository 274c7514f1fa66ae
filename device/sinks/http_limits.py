"""Limits for the connections of the page: how many, how long a request may take, and how long its answer.

aiohttp limits the size of a request, but waits without limit for its end and for a client that does not read, and
asyncio accepts connections until the process has no descriptors left; connections in a TLS handshake are not known to
the application. So the page accepts connections itself and counts them from that moment.
"""

from __future__ import annotations

import asyncio
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
"""From the start of a connection or request to its end; also for a TLS handshake."""
ANSWER_TIMEOUT_S = 10.0
"""From a complete request until the client has read the answer; streams have WRITE_TIMEOUT_S for each part instead."""
KEEPALIVE_TIMEOUT_S = 15.0
WRITE_TIMEOUT_S = 5.0
"""A reader of a stream that takes nothing for so long is dropped."""
_TLS_SHUTDOWN_TIMEOUT_S = 2.0
_ACCEPT_RETRY_DELAY_S = 1.0


class Connection(web.RequestHandler):
    """A connection that is closed if its client takes too long to send a request or to read the answer.

    All methods run in the event loop of the page, which owns `connections`.
    """

    def __init__(self, connections: set[Connection], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._connections = connections
        self._event_loop: asyncio.AbstractEventLoop = options["loop"]
        self._timer: asyncio.TimerHandle | None = None
        self._answering = self._has_input = False
        self._raw_transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first request."""
        if isinstance(transport, asyncio.Transport):
            self._raw_transport = transport
        self._has_input = True
        self._arm(REQUEST_TIMEOUT_S)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Make room for another one."""
        self._disarm()
        self._connections.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a piece of a request."""
        if data:
            self._has_input = True
            if not self._answering and self._timer is None:
                self._arm(REQUEST_TIMEOUT_S)
        super().data_received(data)

    def log_exception(self, *args: Any, **options: Any) -> None:
        """Log a fault of the program; a request that cannot be understood is the client's, and answered with 400."""
        if not isinstance(options.get("exc_info"), HttpProcessingError):
            super().log_exception(*args, **options)

    def begin_answer(self) -> None:
        """Note that a request is complete: from now on its answer has to be read in time."""
        self._answering, self._has_input = True, False
        self._arm(ANSWER_TIMEOUT_S)

    def begin_stream(self) -> None:
        """Note that the answer is a stream: `write` limits the time of its parts."""
        self._disarm()

    def end_answer(self) -> None:
        """Note that the answer is written. The time goes on until the client has read it."""
        self._answering = False
        if not (self._has_input or self._has_output()):
            self._disarm()
        elif self._timer is None:
            self._arm(REQUEST_TIMEOUT_S)

    def _has_output(self) -> bool:
        """Return whether something waits for the client to read it."""
        return self._raw_transport is not None and self._raw_transport.get_write_buffer_size() > 0

    def _arm(self, timeout_s: float) -> None:
        self._disarm()
        self._timer = self._event_loop.call_later(timeout_s, self._expire)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        if self._raw_transport is not None and (self._answering or self._has_input or self._has_output()):
            self._raw_transport.abort()


class Listener:
    """Accepts connections, MAX_CONNECTIONS at most; the others are closed at once.

    All methods run in the event loop of the page, which owns the sockets and `connections`.
    """

    def __init__(
        self, connections: set[Connection], factory: Callable[[], Connection], tls: ssl.SSLContext | None
    ) -> None:
        self._connections, self._factory, self._tls = connections, factory, tls
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, host: str, port: int) -> int:
        """Listen on all addresses of `host`; return the port. Raises OSError if none can be used."""
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        missing = OSError(f"{host} has no address")
        for family, address in dict.fromkeys((info[0], info[4]) for info in infos):
            try:
                listener = socket.create_server(address, family=family, backlog=MAX_CONNECTIONS)
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                missing = error  # such as IPv6 on a machine that has none
                continue
            listener.setblocking(False)
            self._sockets.append(listener)
        if not self._sockets:
            raise missing
        for listener in self._sockets:
            self._start(self._accept(listener))
        return int(self._sockets[0].getsockname()[1])

    def close(self) -> None:
        """Accept no more; connections that are open stay open."""
        for task in self._tasks:
            task.cancel()
        for listener in self._sockets:
            listener.close()
        self._sockets.clear()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                link, _ = await loop.sock_accept(listener)
            except OSError as error:
                # Such as no descriptors left. The connection waits, and would be reported again without end.
                LOG.error("http: cannot accept a connection: %s", error.strerror or error)
                await asyncio.sleep(_ACCEPT_RETRY_DELAY_S)
                continue
            if len(self._connections) < MAX_CONNECTIONS:
                connection = self._factory()
                self._connections.add(connection)
                self._start(self._connect(link, connection))
            else:
                link.close()
                LOG.warning("http: %d connections are open; more are refused", MAX_CONNECTIONS)
            # sock_accept does not wait if a connection is there: let the others run.
            await asyncio.sleep(0)

    async def _connect(self, link: socket.socket, connection: Connection) -> None:
        limits: dict[str, Any] = {}
        if self._tls is not None:
            limits = {
                "ssl": self._tls, "ssl_handshake_timeout": REQUEST_TIMEOUT_S,
                "ssl_shutdown_timeout": _TLS_SHUTDOWN_TIMEOUT_S,
            }  # fmt: skip
        connected = False
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, link, **limits)
            connected = True
        except OSError:
            return  # no TLS, or the client has gone
        finally:
            if not connected:
                self._connections.discard(connection)
                link.close()


async def write(request: web.BaseRequest, response: web.StreamResponse, data: bytes) -> None:
    """Send a part of a stream. Raises ConnectionError where the client has gone, or takes nothing."""
    try:
        await asyncio.wait_for(response.write(data), WRITE_TIMEOUT_S)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the client does not read") from None
