"""A page that shows what the loop sees: live image, people, times, history; and the same for machines.

`/` page, `/stream.mjpg`, `/snapshot.jpg`, `/poses` (server-sent events: `poses` and, every second, `stats`), `/metrics`
(Prometheus), `/healthz`. aiohttp in a thread of its own. On loopback only, unless the user says otherwise; elsewhere a
token must be set. A token that is set is always asked for, because a reverse proxy comes from loopback, too.

Ownership: the page's thread runs the event loop, and everything but `_latest` belongs to that loop: listening sockets,
connections, streams. `send` replaces `_latest` and posts a wake-up to the loop, `stop` posts the end; neither touches a
connection. http_limits.py has the limits of connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import os
import re
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass
from importlib import resources
from ipaddress import IPv4Network, IPv6Network, ip_address
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias

import cv2

from ...runtime.errors import InputError, MissingExtraError
from ..monitor.stats import Stats
from . import metrics
from .base import LOG, Message, Sink
from .privacy import Privacy, apply_privacy

if TYPE_CHECKING:
    from aiohttp import web

TOKEN = "EDGEPOSE_HTTP_TOKEN"  # nosec B105
_Handler: TypeAlias = "Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]"
_MAX_STREAMS = 8
_FPS = 10.0
"""Of the image on the page."""
_QUALITY = 75
_MIN_TOKEN_LENGTH = 12
_STOP_TIMEOUT_S = 1.0
_HOST = re.compile(r"(\[[0-9a-f:.]+(?:%[\w.-]+)?\]|[\w.-]+)(?::[0-9]{1,5})?", re.IGNORECASE | re.ASCII)
"""The header Host: a name or an address, and perhaps a port."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; connect-src 'self'; script-src 'self'; "
    "style-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}  # fmt: skip
_FILES = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}


@dataclass(frozen=True)
class PageOptions:
    """How others reach the page.

    `hosts`: names besides localhost, this machine's name, `NAME.local` and IP addresses that requests may name.
    `proxies`: reverse proxies whose `X-Forwarded-Host` and `X-Forwarded-Proto` are believed. `path`: the path under
    which a proxy shows the page, such as `/door`. `certificate`, `key`: PEM files; the page is served over HTTPS.
    """

    hosts: frozenset[str] = frozenset()
    proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    path: str = ""
    certificate: str = ""
    key: str = ""


class HttpSink(Sink):
    """Serves the latest message; nothing is drawn or encoded while nobody looks."""

    name = "http"

    def __init__(
        self,
        host: str,
        port: int,
        stats: Stats,
        privacy: Privacy,
        *,
        insecure: bool = False,
        options: PageOptions | None = None,
    ) -> None:
        """Prepare the page.

        Raises:
            InputError: The address can be reached by others and there is no token in EDGEPOSE_HTTP_TOKEN, the token is
                too short, or the certificate cannot be used.
        """
        super().__init__()
        self._host, self._port, self._stats = host, port, stats
        self._privacy: Privacy = privacy
        self._options = options or PageOptions()
        self._scheme = "https" if self._options.certificate else "http"
        self._tls = _load_certificate(self._options)
        self._token = os.environ.get(TOKEN, "")
        local = host == "localhost" or _is_loopback(host)
        address = f"{self._scheme}://{host}:{port}"
        if self._token and len(self._token) < _MIN_TOKEN_LENGTH:
            raise InputError(f"{address}: expected a token of {_MIN_TOKEN_LENGTH} characters or more in {TOKEN}")
        if not local and not insecure and not self._token:
            raise InputError(
                f"{address} can be reached by others: put a token of {_MIN_TOKEN_LENGTH} characters or more into "
                f"{TOKEN}, or say --insecure"
            )
        self._hosts = _allowed_hosts(host) | self._options.hosts
        self._latest: Message | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        """Set and replaced with every message."""
        self._drawing = asyncio.Lock()
        self._ended: asyncio.Event | None = None
        self._begun = threading.Event()
        self._fault: Exception | None = None
        self._clients = 0
        self._connections: set[Any] = set()
        self._routes: dict[str, _Handler] = {}
        # Read once: later there may be no descriptor left for it.
        page = resources.files(__package__ or "").joinpath("page")
        self._files = {path: (page.joinpath(name).read_bytes(), kind) for path, (name, kind) in _FILES.items()}
        self._image: tuple[Message | None, float, bytes] = (None, 0.0, b"")
        self.port = port
        """Where it listens; the real one where 0 was asked for."""

    def start(self) -> None:
        """Raises InputError where the port is in use."""
        try:
            import aiohttp  # noqa: F401 - only whether it is there
        except ModuleNotFoundError as error:
            raise MissingExtraError("http", "camera", error) from None
        self.thread = threading.Thread(target=self._run, name="edgepose-http", daemon=True)
        self.thread.start()
        self._begun.wait()
        if isinstance(self._fault, OSError):
            raise InputError(f"{self._scheme}://{self._host}:{self._port}: {self._fault.strerror or self._fault}")
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
            self.thread.join(_STOP_TIMEOUT_S)

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

        from .http_limits import KEEPALIVE_TIMEOUT_S, Connection, Listener

        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(_log_fault)
        routes: dict[str, _Handler] = {
            **dict.fromkeys(_FILES, self._file),
            "/stream.mjpg": self._stream, "/snapshot.jpg": self._snapshot, "/poses": self._poses,
            "/metrics": self._metrics, "/healthz": self._healthz,
        }  # fmt: skip
        # A proxy may or may not leave its own path in what it asks for.
        self._routes = {
            prefix + path: handler for prefix in ("", self._options.path) for path, handler in routes.items()
        }
        if self._options.path:
            self._routes[self._options.path] = self._add_slash
        limits: dict[str, Any] = {
            "access_log": None, "max_line_size": 2048, "max_field_size": 8190, "lingering_time": 1.0,
            "keepalive_timeout": KEEPALIVE_TIMEOUT_S,
        }  # fmt: skip
        # Not web.Application: its router answers some requests, such as those with Expect, before any check.
        web_server = web.Server(self._answer)
        listener = Listener(
            self._connections,
            lambda: Connection(self._connections, web_server, loop=asyncio.get_running_loop(), **limits),
            self._tls,
        )
        try:
            self.port = await listener.listen(self._host, self.port)
            self._begun.set()
            await self._ended.wait()
            self._tell()
        finally:
            listener.close()
            await web_server.shutdown(0.3)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request; after a refusal the connection is closed, so that it cannot be held by asking again."""
        from .http_limits import Connection

        connection = request.protocol
        assert isinstance(connection, Connection)
        connection.begin_answer()
        try:
            response = await self._guarded(request)
            if response.status in (400, 401, 403, 404, 405) and not response.prepared:
                response.force_close()
            # Here, not later in aiohttp: the client's time to read it counts.
            with contextlib.suppress(ConnectionError):
                await response.prepare(request)
                await response.write_eof()
            return response
        finally:
            connection.end_answer()

    async def _guarded(self, request: web.BaseRequest) -> web.StreamResponse:
        from aiohttp import web

        forwarded = self._is_from_proxy(request)
        host = _last(request.headers.get("X-Forwarded-Host", "")) if forwarded else ""
        if request.version < (1, 0):
            return web.Response(status=400, text="HTTP/1.0 or later is needed", headers=_HEADERS)
        # Not request.host, which is an address of this machine if the header is missing. Two headers are ambiguous.
        given = request.headers.getall("Host", [])
        name = _host_name(host or given[0]) if len(given) == 1 else ""
        if name not in self._hosts and not _is_address(name):
            # Another site's name that resolves to this machine: a page there must not read the camera.
            return web.Response(status=403, text="unknown host; ?host=NAME adds it to the sink", headers=_HEADERS)
        if not _is_own_site(request):
            return web.Response(status=403, text="request of another site", headers=_HEADERS)
        if self._token and not self._knows_token(request):
            return web.Response(status=401, text="token missing or wrong: /?token=...", headers=_HEADERS)
        if request.path in ("/", f"{self._options.path}/") and "token" in request.query:
            # Out of the address bar and the history, into a cookie that scripts cannot read.
            place = f"{self._options.path}/"
            answer: web.StreamResponse = web.Response(status=303, headers={**_HEADERS, "Location": place})
            https = self._tls is not None or (
                forwarded and _last(request.headers.get("X-Forwarded-Proto", "")) == "https"
            )
            answer.set_cookie(
                "token", self._token, httponly=True, samesite="Strict", max_age=30 * 86400, secure=https, path=place
            )
            return answer
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, text="only GET", headers={**_HEADERS, "Allow": "GET, HEAD"})
        handler = self._routes.get(request.path)
        if handler is None:
            return web.Response(status=404, text="no such page", headers=_HEADERS)
        return await handler(request)

    def _is_from_proxy(self, request: web.BaseRequest) -> bool:
        try:
            peer = ip_address(request.remote or "")
        except ValueError:
            return False
        return any(peer in network for network in self._options.proxies)

    def _knows_token(self, request: web.BaseRequest) -> bool:
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        given = (
            # A proxy's own user and password may be in this header, and an old token in the cookie: any may be right.
            credentials.strip() if scheme.lower() == "bearer" else "",
            request.cookies.get("token", ""),
            request.query.get("token", ""),
        )
        # Headers may hold any bytes.
        token = self._token.encode("utf-8", "surrogateescape")
        known = [hmac.compare_digest(text.encode("utf-8", "surrogateescape"), token) for text in given]
        return any(known)

    async def _add_slash(self, request: web.BaseRequest) -> web.Response:
        from aiohttp import web

        return web.Response(status=308, headers={**_HEADERS, "Location": f"{self._options.path}/"})

    async def _file(self, request: web.BaseRequest) -> web.Response:
        from aiohttp import web

        path = request.path
        body, kind = self._files.get(path) or self._files[path.removeprefix(self._options.path)]
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=_HEADERS)

    async def _metrics(self, request: web.BaseRequest) -> web.Response:
        from aiohttp import web

        try:
            text = metrics.format_metrics(self._stats.snapshot())
        except MissingExtraError as error:
            return web.Response(status=501, text=f"{error}\n", headers=_HEADERS)
        return web.Response(text=text, headers=_HEADERS)

    async def _healthz(self, request: web.BaseRequest) -> web.Response:
        from aiohttp import web

        snapshot = self._stats.snapshot()
        well = snapshot.state == "running" and not snapshot.problem
        return web.json_response(asdict(snapshot), status=200 if well else 503, headers=_HEADERS)

    async def _snapshot(self, request: web.BaseRequest) -> web.Response:
        from aiohttp import web

        image = await self._jpeg()
        if not image:
            return web.Response(status=503, text="no frame yet", headers=_HEADERS)
        return web.Response(body=image, content_type="image/jpeg", headers=_HEADERS)

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        from aiohttp import web

        from .http_limits import write

        response = web.StreamResponse(headers={**_HEADERS, "Content-Type": "multipart/x-mixed-replace; boundary=frame"})
        async with self._client(request, response) as welcome:
            while welcome and not self._over:
                if image := await self._jpeg():
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(image)}\r\n\r\n"
                    await write(request, response, head.encode() + image + b"\r\n")
                await self._next(1 / _FPS)
        return response

    async def _poses(self, request: web.BaseRequest) -> web.StreamResponse:
        from aiohttp import web

        from .http_limits import write

        response = web.StreamResponse(headers={**_HEADERS, "Content-Type": "text/event-stream"})
        last, told = None, 0.0
        async with self._client(request, response) as welcome:
            while welcome and not self._over:
                if (message := self._latest) is not None and message is not last:
                    last = message
                    await write(request, response, f"event: poses\ndata: {message.line}\n\n".encode())
                if monotonic() - told >= 1:
                    told = monotonic()
                    stats = json.dumps(asdict(self._stats.snapshot()))
                    await write(request, response, f"event: stats\ndata: {stats}\n\n".encode())
                await self._next(0.0)
        return response

    @contextlib.asynccontextmanager
    async def _client(self, request: web.BaseRequest, response: Any) -> AsyncIterator[bool]:
        """One of the few that may watch; says whether there is room. A client that goes ends it quietly."""
        from .http_limits import Connection

        if request.method == "HEAD":
            await response.prepare(request)
            yield False
            return
        if self._clients >= _MAX_STREAMS:
            response.set_status(503)
            await response.prepare(request)
            yield False
            return
        self._clients += 1
        if isinstance(request.protocol, Connection):
            request.protocol.begin_stream()
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
            message, made, image = self._image
            latest = self._latest
            if latest is None or latest is message or monotonic() - made < 0.5 / _FPS:
                return image
            image = await asyncio.to_thread(_encoded, latest, self._privacy)
            self._image = (latest, monotonic(), image)
            return image


def _encoded(message: Message, privacy: Privacy) -> bytes:
    image = apply_privacy(message.frame, message.estimate, message.skeleton, privacy)
    ok, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return encoded.tobytes() if ok else b""


def _log_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log a fault of the event loop in one line, such as no descriptors left."""
    error = context.get("exception")
    LOG.error("http: %s", f"{context.get('message', '')} ({error})" if error else context.get("message", ""))


def _load_certificate(options: PageOptions) -> ssl.SSLContext | None:
    if not options.certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # An encrypted key would ask for its password on the terminal.
        context.load_cert_chain(options.certificate, options.key or None, password=lambda: b"")
    except (OSError, ssl.SSLError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{options.certificate}: cannot be used as a certificate with its key, not encrypted "
            f"({options.key or options.certificate}): {reason}"
        ) from None
    return context


def _allowed_hosts(host: str) -> frozenset[str]:
    """Names of this machine; addresses are always allowed, since no other site can be called so."""
    own = socket.gethostname().lower()
    return frozenset({"localhost", own, own.partition(".")[0], f"{own.partition('.')[0]}.local", host.lower()})


def _host_name(host: str) -> str:
    """Return the name of `name:port` or `[address]:port` in small letters; empty if it is neither."""
    found = _HOST.fullmatch(host)
    return found[1].strip("[]").removesuffix(".").lower() if found else ""


def _is_own_site(request: web.BaseRequest) -> bool:
    """Return False if a browser asks on behalf of a page of another site, except to show the page itself."""
    site = request.headers.get("Sec-Fetch-Site", "none")
    if site in ("none", "same-origin"):
        return True
    return request.headers.get("Sec-Fetch-Mode") == "navigate" and request.headers.get("Sec-Fetch-Dest") == "document"


def _last(values: str) -> str:
    """The value that the nearest proxy has added."""
    return values.rpartition(",")[2].strip()


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
