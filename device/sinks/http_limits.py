"""Limits for the connections of the page: how many, and how long one may take to send a request.

aiohttp limits the size of a request, but waits for ever for its end, and accepts connections until the process has no
descriptors left.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

MAX_CONNECTIONS = 32
REQUEST_TIMEOUT_S = 10.0
"""From the first byte of a connection or request to the end of its headers."""
KEEPALIVE_TIMEOUT_S = 15.0
WRITE_TIMEOUT_S = 5.0
"""A reader of a stream that takes nothing for so long is dropped."""


class Connection(web.RequestHandler):
    """A connection that is closed where it takes too long to ask for something.

    All methods run in the event loop of the page, which owns `connections`.
    """

    def __init__(self, connections: set[Connection], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._connections = connections
        self._event_loop: asyncio.AbstractEventLoop = options["loop"]
        self._timer: asyncio.TimerHandle | None = None
        self._refused = self._busy = False
        self._raw_transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse the connection if there are too many."""
        if len(self._connections) >= MAX_CONNECTIONS:
            self._refused = True
            if isinstance(transport, asyncio.Transport):
                transport.abort()
            return
        self._connections.add(self)
        if isinstance(transport, asyncio.Transport):
            self._raw_transport = transport
        self._arm()
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Make room for another one."""
        self._disarm()
        self._connections.discard(self)
        if not self._refused:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a piece of a request."""
        if self._refused:
            return
        if not self._busy and self._timer is None:
            self._arm()
        super().data_received(data)

    def eof_received(self) -> None:
        """The client sends nothing more."""
        if not self._refused:
            super().eof_received()

    def log_exception(self, *args: Any, **options: Any) -> None:
        """Log a fault of the program; a request that cannot be understood is the client's, and answered with 400."""
        if not isinstance(options.get("exc_info"), HttpProcessingError):
            super().log_exception(*args, **options)

    def begin(self) -> None:
        """A request is complete and is being answered."""
        self._busy = True
        self._disarm()

    def end(self) -> None:
        """The answer is done; the next request may come."""
        self._busy = False

    def _arm(self) -> None:
        self._timer = self._event_loop.call_later(REQUEST_TIMEOUT_S, self._expire)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        if self._raw_transport is not None:
            self._raw_transport.abort()


async def write(request: web.Request, response: web.StreamResponse, data: bytes) -> None:
    """Send a part of a stream. Raises ConnectionError where the client has gone, or takes nothing."""
    try:
        await asyncio.wait_for(response.write(data), WRITE_TIMEOUT_S)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the client does not read") from None
