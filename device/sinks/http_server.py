"""HTTP server of the page and of the editor for zones: aiohttp with the limits of `http_limits`."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from aiohttp import web

from .base import LOG
from .http_limits import KEEPALIVE_TIMEOUT_S, HttpConnection, Listener

_CLOSE_TIMEOUT_S = 0.2
_CLOSED_STATUS = (400, 401, 403, 404, 405, 413, 429)
"""After such an answer the connection is closed, so that a client cannot keep it open."""


class HttpServer:
    """Server that passes each request to one function. All methods run in its event loop.

    Attributes:
        connections: The open connections, which the event loop owns.
    """

    def __init__(
        self,
        answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        tls: ssl.SSLContext | None = None,
        connections: set[HttpConnection] | None = None,
    ) -> None:
        """Create the server without listening.

        Args:
            answer: Makes the answer to a request, or sends it, as a stream does.
            tls: Certificate for HTTPS; None: HTTP.
            connections: Set that the open connections are kept in; default: a new one.
        """
        self._answer, self._tls = answer, tls
        self.connections: set[HttpConnection] = set() if connections is None else connections

    async def run(self, host: str, port: int, on_listening: Callable[[int], None], work: Awaitable[None]) -> None:
        """Serve until `work` is done.

        Args:
            host: Address or host name to listen on.
            port: Port to listen on; 0 chooses a free port.
            on_listening: Called with the port when the server listens.
            work: Awaited while the server runs.

        Raises:
            OSError: The server cannot listen.
        """
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_log_error)
        limits: dict[str, Any] = {
            "access_log": None, "max_line_size": 2048, "max_field_size": 8190, "lingering_time": 1.0,
            "keepalive_timeout": KEEPALIVE_TIMEOUT_S,
            "auto_decompress": False,  # a compressed body is never used, and an invalid one would be logged as an error
        }  # fmt: skip
        # Not web.Application: its router answers some requests before our checks, such as those with Expect.
        web_server = web.Server(self._handle_request)
        listener = Listener(
            self.connections, lambda: HttpConnection(self.connections, web_server, loop=loop, **limits), self._tls
        )
        try:
            on_listening(await listener.listen(host, port))
            await work
        finally:
            if asyncio.iscoroutine(work):
                work.close()
            listener.close()
            await web_server.shutdown(0.3)
            for connection in tuple(self.connections):
                connection.disconnect()
            end_s = monotonic() + _CLOSE_TIMEOUT_S
            while self.connections and monotonic() < end_s:
                await asyncio.sleep(0.01)

    async def _handle_request(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, HttpConnection)
        connection.begin_answer()
        try:
            response = await self._answer(request)
            if response.status in _CLOSED_STATUS and not response.prepared:
                response.force_close()
            # Written here and not later by aiohttp, so that the time the client needs to read it is limited.
            with contextlib.suppress(ConnectionError):
                await response.prepare(request)
                await response.write_eof()
            return response
        finally:
            connection.end_answer()


def _log_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error of the event loop in one line, for example that no file descriptors are left."""
    error = context.get("exception")
    LOG.error("http: %s", f"{context.get('message', '')} ({error})" if error else context.get("message", ""))
