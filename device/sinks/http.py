"""HTTP sink: web page with live image, number of people, latency and history, and endpoints for other programs.

Paths: `/` (the page), `/login`, `/stream.mjpg`, `/snapshot.jpg`, `/poses` (server-sent events: `poses` for each
message, `rules` for each change, `event`, `stats` every second, `sample` every two seconds), `/events` and `/rules`
(JSON), `/history` (JSON, the samples of the last hour), `/metrics` (Prometheus), `/healthz`. The server is aiohttp in
its own thread. On an address other than loopback a token is required, unless the user turns this off. If a token is
set, it is always checked, because requests that come through a reverse proxy also come from loopback.

Ownership: the page's thread runs the event loop. Listening sockets, connections, streams and the history belong to the
event loop. `send` replaces `_latest` and posts a wake-up to the event loop; `stop` posts the stop event. Neither uses a
connection. `http_limits` limits the connections, `http_access` checks the requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from html import escape
from importlib import resources
from ipaddress import ip_address
from string import Template
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias

import cv2
import numpy as np

from ...runtime.errors import InputError, MissingExtraError
from ...runtime.io.naming import get_device_name
from ..events.event import RuleState
from ..monitor import history
from ..monitor.health import HEALTHY_STATES
from ..monitor.history import History
from ..monitor.stats import Stats
from . import metrics
from .base import Message, Sink
from .http_access import Access, PageOptions
from .http_events import LastEvents, format_rules
from .privacy import Privacy, apply_privacy

if TYPE_CHECKING:
    from aiohttp import web

TOKEN_VARIABLE = "EDGEPOSE_HTTP_TOKEN"  # nosec B105
_Handler: TypeAlias = "Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]"
_MAX_STREAMS = 8
_MAX_FPS = 10.0
"""Maximum frame rate of the image on the page."""
_JPEG_QUALITY = 75
_MIN_TOKEN_LENGTH = 12
_STOP_TIMEOUT_S = 1.0
_PAGE_FILES = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/charts.js": ("charts.js", "text/javascript"),
    "/overlay.js": ("overlay.js", "text/javascript"),
    "/events.js": ("events.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
    "/uplot.js": ("uplot/uplot.min.js", "text/javascript"),
    "/uplot.css": ("uplot/uplot.min.css", "text/css"),
}
_PUBLIC_FILES = {"/base.css": ("base.css", "text/css"), "/icon.svg": ("icon.svg", "image/svg+xml")}
"""Files that the login form needs; they are served without a token."""


class HttpSink(Sink):
    """Sink that serves the latest message over HTTP. Images are drawn and encoded only while a client requests them.

    Attributes:
        port: Port that the server listens on; the actual port if 0 was requested.
    """

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
        device: str = "",
    ) -> None:
        """Check the settings and load the certificate; `start` starts the server.

        Args:
            host: Address or host name to listen on.
            port: Port to listen on; 0 chooses a free port.
            stats: Statistics for the page, `/metrics` and `/healthz`.
            privacy: Privacy mode of the images.
            insecure: If True, no token is required on addresses other than loopback.
            options: Host names, proxies, HTTPS and embedding.
            device: Display name, the title of the page; default: `naming.get_device_name()`.

        Raises:
            InputError: Other computers can reach the address and EDGEPOSE_HTTP_TOKEN holds no token, the token is
                shorter than 12 characters, or the certificate cannot be used.
        """
        super().__init__()
        self._host, self._port, self._stats = host, port, stats
        self._privacy: Privacy = privacy
        self._options = options or PageOptions()
        self._scheme = "https" if self._options.certificate else "http"
        self._tls = _load_certificate(self._options)
        token = os.environ.get(TOKEN_VARIABLE, "")
        local = host == "localhost" or _is_loopback(host)
        address = f"{self._scheme}://{host}:{port}"
        if token and len(token) < _MIN_TOKEN_LENGTH:
            raise InputError(
                f"{address}: expected a token of {_MIN_TOKEN_LENGTH} characters or more in {TOKEN_VARIABLE}, "
                f"got {len(token)}"
            )
        if not local and not insecure and not token:
            raise InputError(
                f"{address}: the page can be reached by others: no token is set; put a token of {_MIN_TOKEN_LENGTH} "
                f"characters or more into {TOKEN_VARIABLE}, or use --insecure"
            )
        # Read at the start: later the process may have no file descriptor left.
        page = resources.files(__package__ or "").joinpath("page")
        self._files = {
            path: (page.joinpath(*name.split("/")).read_bytes(), kind)
            for path, (name, kind) in {**_PAGE_FILES, **_PUBLIC_FILES}.items()
        }
        html = Template(self._files["/"][0].decode()).substitute(name=escape(device or get_device_name()))
        self._files["/"] = html.encode(), "text/html"
        self._access = Access(host, token, self._options, page.joinpath("login.html").read_bytes().decode())
        self._headers = self._access.headers
        self._history = History(stats)
        self._sample: history.Sample | None = None
        """The latest sample of the history."""
        self._latest: tuple[Message, int] | None = None
        """The latest message, and the number of pauses before it."""
        self._recent_events = LastEvents()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._new_message = asyncio.Event()
        """Set and replaced with every message, so that each stream waits for the next one."""
        self._render_lock = asyncio.Lock()
        self._stop_event: asyncio.Event | None = None
        self._start_done = threading.Event()
        self._server_error: Exception | None = None
        self._clients = 0
        self._connections: set[Any] = set()
        self._routes: dict[str, _Handler] = {}
        self._image: tuple[Message | None, float, bytes] = (None, 0.0, b"")
        self.port = port

    def start(self) -> None:
        """Start the server and wait until it listens.

        Raises:
            MissingExtraError: aiohttp is not installed.
            InputError: The server cannot listen, for example because the port is in use.
        """
        try:
            import aiohttp  # noqa: F401 - checks only that it is installed
        except ModuleNotFoundError as error:
            raise MissingExtraError("http", "camera", error) from None
        self.thread = threading.Thread(target=self._run_event_loop, name="edgepose-http", daemon=True)
        self.thread.start()
        self._start_done.wait()
        if isinstance(self._server_error, OSError):
            raise InputError(
                f"{self._scheme}://{self._host}:{self._port}: {self._server_error.strerror or self._server_error}"
            )
        if self._server_error is not None:
            raise self._server_error

    def send(self, message: Message) -> None:
        """Replace the latest message and wake the streams."""
        if message.events:
            self._recent_events.add(message)
        self._latest = message, self._stats.pauses
        self.sent += 1
        if self._clients and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the event loop has just ended
                self._loop.call_soon_threadsafe(self._wake_streams)

    def stop(self) -> None:
        """End all streams and the server; wait at most one second."""
        if self._loop is not None and self._stop_event is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop_event.set)
            self.thread.join(_STOP_TIMEOUT_S)

    def _run_event_loop(self) -> None:
        try:
            asyncio.run(self._run_server())
        except Exception as error:
            self._server_error = error
        finally:
            # `start` must not wait forever, whatever happened.
            self._start_done.set()

    def _wake_streams(self) -> None:
        new_message, self._new_message = self._new_message, asyncio.Event()
        new_message.set()

    async def _run_server(self) -> None:
        from .http_server import HttpServer

        self._loop, self._stop_event = asyncio.get_running_loop(), asyncio.Event()
        self._routes = {
            **dict.fromkeys(self._files, self._serve_file),
            "/stream.mjpg": self._serve_mjpeg, "/snapshot.jpg": self._serve_snapshot, "/poses": self._serve_events,
            "/events": self._serve_event_list, "/rules": self._serve_rules,
            "/history": self._serve_history, "/metrics": self._serve_metrics, "/healthz": self._serve_health,
        }  # fmt: skip
        if self._options.path:
            self._routes[self._options.path] = self._add_slash
        server = HttpServer(self._check_and_route, self._tls, self._connections)
        await server.run(self._host, self.port, self._set_port, self._record_history_until_stop())

    def _set_port(self, port: int) -> None:
        self.port = port
        self._start_done.set()

    async def _record_history_until_stop(self) -> None:
        assert self._stop_event is not None
        while not self._is_stopping:
            self._sample = self._history.add_sample()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop_event.wait(), history.INTERVAL_S)
        self._wake_streams()

    async def _check_and_route(self, request: web.BaseRequest) -> web.StreamResponse:
        access = self._access
        if request.version < (1, 0):
            return access.refuse(400, "HTTP/0.9 is not supported; use HTTP/1.0 or later")
        if (refusal := access.check_site(request)) is not None:
            return refusal
        path = self._remove_prefix(request.path)
        if path == "/login":
            return await access.log_in(request)
        if path not in _PUBLIC_FILES and (refusal := access.check_token(request)) is not None:
            return refusal
        if request.method not in ("GET", "HEAD"):
            refusal = access.refuse(405, "method not allowed; use GET or HEAD")
            refusal.headers["Allow"] = "GET, HEAD"
            return refusal
        handler = self._routes.get(path)
        return access.refuse(404, "page not found") if handler is None else await handler(request)

    def _remove_prefix(self, path: str) -> str:
        """Return the path without `PageOptions.path`: a proxy may remove it from its requests or keep it."""
        prefix = self._options.path
        return path.removeprefix(prefix) if prefix and path.startswith(f"{prefix}/") else path

    async def _add_slash(self, request: web.BaseRequest) -> web.Response:
        from aiohttp import web

        return web.Response(status=308, headers={**self._headers, "Location": f"{self._options.path}/"})

    async def _serve_file(self, request: web.BaseRequest) -> web.Response:
        from aiohttp import web

        body, kind = self._files[self._remove_prefix(request.path)]
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=self._headers)

    async def _serve_history(self, request: web.BaseRequest) -> web.Response:
        from aiohttp import web

        # In another thread: a slow board needs some time for an hour of samples, and streams must not wait for that.
        text = await asyncio.to_thread(history.format_samples, self._history.copy_samples())
        return web.Response(text=text, content_type="application/json", headers=self._headers)

    async def _serve_event_list(self, request: web.BaseRequest) -> web.Response:
        from aiohttp import web

        text = self._recent_events.format_list()
        return web.Response(text=text, content_type="application/json", headers=self._headers)

    async def _serve_rules(self, request: web.BaseRequest) -> web.Response:
        from aiohttp import web

        text = format_rules(self._get_message())
        return web.Response(text=text, content_type="application/json", headers=self._headers)

    async def _serve_metrics(self, request: web.BaseRequest) -> web.Response:
        from aiohttp import web

        try:
            # In another thread: the first call imports the library, and streams must not wait for that.
            message = self._get_message()
            text = await asyncio.to_thread(
                metrics.format_metrics,
                self._stats.take_snapshot(),
                message.rules if message else (),
                self._recent_events.counts.copy(),
            )
        except MissingExtraError as error:
            return web.Response(status=501, text=f"{error}\n", headers=self._headers)
        return web.Response(text=text, headers=self._headers)

    async def _serve_health(self, request: web.BaseRequest) -> web.Response:
        from aiohttp import web

        snapshot = self._stats.take_snapshot()
        is_healthy = snapshot.state in HEALTHY_STATES and not snapshot.problem
        return web.json_response(asdict(snapshot), status=200 if is_healthy else 503, headers=self._headers)

    async def _serve_snapshot(self, request: web.BaseRequest) -> web.Response:
        from aiohttp import web

        image = await self._render_jpeg()
        if not image:
            text = "paused" if self._stats.state == "paused" else "no frame yet"
            return web.Response(status=503, text=text, headers=self._headers)
        return web.Response(body=image, content_type="image/jpeg", headers=self._headers)

    async def _serve_mjpeg(self, request: web.BaseRequest) -> web.StreamResponse:
        from aiohttp import web

        from .http_limits import write_part

        response = web.StreamResponse(
            headers={**self._headers, "Content-Type": "multipart/x-mixed-replace; boundary=frame"}
        )
        async with self._open_stream(request, response) as accepted:
            while accepted and not self._is_stopping:
                if image := await self._render_jpeg():
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(image)}\r\n\r\n"
                    await write_part(request, response, head.encode() + image + b"\r\n")
                await self._wait_for_message(1 / _MAX_FPS)
        return response

    async def _serve_events(self, request: web.BaseRequest) -> web.StreamResponse:
        from aiohttp import web

        from .http_limits import write_part

        response = web.StreamResponse(headers={**self._headers, "Content-Type": "text/event-stream"})
        last_message, last_sample, stats_sent_s = None, self._sample, 0.0
        last_rules: tuple[RuleState, ...] = ()
        last_number = self._recent_events.number
        async with self._open_stream(request, response) as accepted:
            while accepted and not self._is_stopping:
                if (message := self._get_message()) is not None and message is not last_message:
                    last_message = message
                    # Before the poses, whose labels belong to these rules.
                    if message.rules != last_rules:
                        last_rules = message.rules
                        text = format_rules(message)
                        await write_part(request, response, f"event: rules\ndata: {text}\n\n".encode())
                    await write_part(request, response, f"event: poses\ndata: {message.line}\n\n".encode())
                for event in self._recent_events.list_after(last_number):
                    last_number = event.number
                    await write_part(request, response, f"event: event\ndata: {event.line}\n\n".encode())
                if monotonic() - stats_sent_s >= 1:
                    stats_sent_s = monotonic()
                    stats = json.dumps(asdict(self._stats.take_snapshot()))
                    await write_part(request, response, f"event: stats\ndata: {stats}\n\n".encode())
                if (sample := self._sample) is not None and sample is not last_sample:
                    last_sample = sample
                    text = history.format_samples(np.array([sample]))
                    await write_part(request, response, f"event: sample\ndata: {text}\n\n".encode())
                await self._wait_for_message(0.0)
        return response

    @contextlib.asynccontextmanager
    async def _open_stream(self, request: web.BaseRequest, response: Any) -> AsyncIterator[bool]:
        """Begin a stream. Yields False if the answer has no body: HEAD request, or `_MAX_STREAMS` clients already.

        A client that disconnects ends the context without an exception.
        """
        from .http_limits import HttpConnection

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
        if isinstance(request.protocol, HttpConnection):
            request.protocol.begin_stream()
        is_prepared = False
        try:
            await response.prepare(request)
            is_prepared = True
            yield True
        except (ConnectionError, asyncio.CancelledError):
            if not is_prepared:
                yield False
        finally:
            self._clients -= 1

    @property
    def _is_stopping(self) -> bool:
        return self._stop_event is None or self._stop_event.is_set()

    async def _wait_for_message(self, min_s: float) -> None:
        """Wait at least `min_s`, then at most one second for a new message."""
        new_message = self._new_message
        await asyncio.sleep(min_s)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(new_message.wait(), 1.0)

    def _get_message(self) -> Message | None:
        """Return the latest message; None before the first frame, and from a pause to the next frame."""
        latest = self._latest
        return latest[0] if latest is not None and latest[1] == self._stats.pauses else None

    async def _render_jpeg(self) -> bytes:
        """Return the latest frame with its poses as JPEG, encoded once for all clients; empty if there is none."""
        async with self._render_lock:
            message, rendered_s, image = self._image
            latest = self._get_message()
            if latest is None:
                return b""
            if latest is message or monotonic() - rendered_s < 0.5 / _MAX_FPS:
                return image
            image = await asyncio.to_thread(_encode_jpeg, latest, self._privacy)
            self._image = (latest, monotonic(), image)
            return image


def _encode_jpeg(message: Message, privacy: Privacy) -> bytes:
    image = apply_privacy(message.frame, message.estimate, message.skeleton, privacy)
    ok, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return encoded.tobytes() if ok else b""


def _load_certificate(options: PageOptions) -> ssl.SSLContext | None:
    if not options.certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # Without this, OpenSSL asks for the password of an encrypted key on the terminal.
        context.load_cert_chain(options.certificate, options.key or None, password=lambda: b"")
    except (OSError, ssl.SSLError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{options.certificate}: cannot be used as a certificate: {reason}; expected PEM files and a key that is "
            f"not encrypted ({options.key or options.certificate})"
        ) from None
    return context


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
