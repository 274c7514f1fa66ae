"""A page that shows what the loop sees: live picture, people, times, history; and the same for machines.

`/` page, `/stream.mjpg`, `/snapshot.jpg`, `/poses` (server-sent events: `poses` and, every second, `stats`), `/metrics`
(Prometheus), `/healthz`. aiohttp in a thread of its own. On loopback only, unless the user says otherwise; elsewhere a
token is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from importlib import resources
from ipaddress import ip_address
from time import monotonic
from typing import TYPE_CHECKING, Any

import cv2

from edgepose.runtime.errors import InputError, MissingExtraError

from ..privacy import Privacy, shown
from ..stats import Stats
from . import metrics
from .base import Message, Sink

if TYPE_CHECKING:
    from aiohttp import web

TOKEN = "EDGEPOSE_HTTP_TOKEN"
_CLIENTS = 8
"""Streams at once."""
_FPS = 10.0
"""Of the picture on the page."""
_QUALITY = 75
_LEAST_TOKEN = 12
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; connect-src 'self'; script-src 'self'; "
    "style-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
}  # fmt: skip
_FILES = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}


class HttpSink(Sink):
    """Serves the latest message; nothing is drawn or encoded while nobody looks."""

    name = "http"

    def __init__(self, host: str, port: int, stats: Stats, privacy: Privacy, *, insecure: bool = False) -> None:
        """Raises InputError for an address beyond this machine without a token in EDGEPOSE_HTTP_TOKEN."""
        super().__init__()
        self._host, self._port, self._stats, self._privacy = host, port, stats, privacy
        self._token = os.environ.get(TOKEN, "")
        self._local = host == "localhost" or _is_loopback(host)
        if not self._local and not insecure and len(self._token) < _LEAST_TOKEN:
            raise InputError(
                f"http://{host}:{port} can be reached by others: put a token of {_LEAST_TOKEN} characters or more into "
                f"{TOKEN}, or say --insecure"
            )
        self._latest: Message | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        """Set and replaced with every message."""
        self._drawing = asyncio.Lock()
        self._ended: asyncio.Event | None = None
        self._begun = threading.Event()
        self._fault: Exception | None = None
        self._clients = 0
        self._picture: tuple[Message | None, float, bytes] = (None, 0.0, b"")
        self.port = port
        """Where it listens; the real one where 0 was asked for."""

    def start(self) -> None:
        """Raises InputError where the port is in use."""
        try:
            import aiohttp  # noqa: F401 - only whether it is there
        except ModuleNotFoundError as error:
            raise MissingExtraError("http", "camera", error) from None
        self._thread = threading.Thread(target=self._run, name="edgepose-http", daemon=True)
        self._thread.start()
        self._begun.wait()
        if isinstance(self._fault, OSError):
            raise InputError(f"http://{self._host}:{self._port}: {self._fault.strerror}")
        if self._fault is not None:
            raise self._fault

    def send(self, message: Message) -> None:
        """The newest is all that is kept."""
        self._latest = message
        self.sent += 1
        if self._clients and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has just ended
                self._loop.call_soon_threadsafe(self._tell)

    def stop(self) -> None:
        """Ends all streams and the server."""
        if self._loop is not None and self._ended is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join(2.0)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as fault:
            self._fault = fault
        finally:
            # Whatever happened, nobody must wait for it.
            self._begun.set()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _serve(self) -> None:
        from aiohttp import web

        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        guarded = self._guarded

        @web.middleware
        async def guard(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            return await guarded(request, handler)

        app = web.Application(middlewares=[guard], client_max_size=1024)
        for path in _FILES:
            app.router.add_get(path, self._file)
        app.router.add_get("/stream.mjpg", self._stream)
        app.router.add_get("/snapshot.jpg", self._snapshot)
        app.router.add_get("/poses", self._poses)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5, max_line_size=2048, max_field_size=2048)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self._port, reuse_address=True, backlog=32)
            await site.start()
            self.port = runner.addresses[0][1]
            self._begun.set()
            await self._ended.wait()
            self._tell()
        finally:
            await runner.cleanup()

    async def _guarded(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        from aiohttp import web

        if self._local and not _names_this_machine(request.host):
            # Another site's name that resolves to this machine: a page there must not read the camera.
            return web.Response(status=403, text="unknown host", headers=_HEADERS)
        if self._token and not self._local and not self._knows_token(request):
            return web.Response(status=401, text="token missing or wrong: /?token=...", headers=_HEADERS)
        if request.path == "/" and "token" in request.query:
            # Out of the address bar and the history, into a cookie that scripts cannot read.
            answer: web.StreamResponse = web.Response(status=303, headers={**_HEADERS, "Location": "/"})
            answer.set_cookie("token", request.query["token"], httponly=True, samesite="Strict", max_age=30 * 86400)
            return answer
        return await handler(request)

    def _knows_token(self, request: web.Request) -> bool:
        given = (
            request.headers.get("Authorization", "").removeprefix("Bearer ")
            or request.cookies.get("token", "")
            or request.query.get("token", "")
        )
        return hmac.compare_digest(given.encode(), self._token.encode())

    async def _file(self, request: web.Request) -> web.Response:
        from aiohttp import web

        name, kind = _FILES[request.path]
        text = resources.files("edgepose.device").joinpath("page", name).read_text(encoding="utf-8")
        return web.Response(text=text, content_type=kind, headers=_HEADERS)

    async def _metrics(self, request: web.Request) -> web.Response:
        from aiohttp import web

        return web.Response(text=metrics.prometheus(self._stats.snapshot()), headers=_HEADERS)

    async def _healthz(self, request: web.Request) -> web.Response:
        from aiohttp import web

        snapshot = self._stats.snapshot()
        well = snapshot.state == "running" and not snapshot.problem
        return web.json_response(asdict(snapshot), status=200 if well else 503, headers=_HEADERS)

    async def _snapshot(self, request: web.Request) -> web.Response:
        from aiohttp import web

        picture = await self._jpeg()
        if not picture:
            return web.Response(status=503, text="no frame yet", headers=_HEADERS)
        return web.Response(body=picture, content_type="image/jpeg", headers=_HEADERS)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import web

        response = web.StreamResponse(headers={**_HEADERS, "Content-Type": "multipart/x-mixed-replace; boundary=frame"})
        async with self._client(request, response) as welcome:
            while welcome and not self._over:
                if picture := await self._jpeg():
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                    await response.write(head.encode() + picture + b"\r\n")
                await self._next(1 / _FPS)
        return response

    async def _poses(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import web

        response = web.StreamResponse(headers={**_HEADERS, "Content-Type": "text/event-stream"})
        last, told = None, 0.0
        async with self._client(request, response) as welcome:
            while welcome and not self._over:
                if (message := self._latest) is not None and message is not last:
                    last = message
                    await response.write(f"event: poses\ndata: {message.line}\n\n".encode())
                if monotonic() - told >= 1:
                    told = monotonic()
                    stats = json.dumps(asdict(self._stats.snapshot()))
                    await response.write(f"event: stats\ndata: {stats}\n\n".encode())
                await self._next(0.0)
        return response

    @contextlib.asynccontextmanager
    async def _client(self, request: web.Request, response: Any) -> AsyncIterator[bool]:
        """One of the few that may watch; says whether there is room. A client that goes ends it quietly."""
        if self._clients >= _CLIENTS:
            response.set_status(503)
            await response.prepare(request)
            yield False
            return
        self._clients += 1
        try:
            await response.prepare(request)
            yield True
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._clients -= 1

    @property
    def _over(self) -> bool:
        return self._ended is None or self._ended.is_set()

    async def _next(self, least_s: float) -> None:
        """Waits for a new message, at most a second, and at least `least_s`."""
        news = self._news
        await asyncio.sleep(least_s)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(news.wait(), 1.0)

    async def _jpeg(self) -> bytes:
        """The latest frame drawn, once for all who look."""
        async with self._drawing:
            message, made, picture = self._picture
            latest = self._latest
            if latest is None or latest is message or monotonic() - made < 0.5 / _FPS:
                return picture
            picture = await asyncio.to_thread(_encoded, latest, self._privacy)
            self._picture = (latest, monotonic(), picture)
            return picture


def _encoded(message: Message, privacy: Privacy) -> bytes:
    picture = shown(message.frame, message.estimate, message.skeleton, privacy)
    ok, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return encoded.tobytes() if ok else b""


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _names_this_machine(host: str) -> bool:
    name = host.rpartition(":")[0] if host.count(":") == 1 else host.partition("]")[0].lstrip("[") or host
    return name == "localhost" or _is_loopback(name)
