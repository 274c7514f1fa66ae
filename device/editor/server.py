"""Server of the editor's page: the image, the zones and lines as JSON, and the answer of the user.

Paths below `/TOKEN/`: the page and its files, `image.jpg`, `state` (GET, JSON), `check` and `done` (POST, JSON: the
shapes). The random token is a part of the address, so that other users of the machine and pages of other sites cannot
read the image. The server ends when the user is done.

Ownership: everything runs in one event loop, in the thread that calls `run`.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import socket
from collections.abc import Callable
from dataclasses import asdict
from importlib import resources
from typing import TYPE_CHECKING, Any

import cv2

from ...runtime import schema
from ...runtime.errors import EdgePoseError, InputError, MissingExtraError
from ...runtime.types import Image
from ..sinks.http_access import Access, PageOptions
from .config_file import ConfigFile
from .shapes import Drawing, Tables, describe_fields, format_tables

if TYPE_CHECKING:
    from aiohttp import web

_ANY_ADDRESS = "0.0.0.0", "::"  # nosec B104
_JPEG_QUALITY = 90
_MAX_BODY_BYTES = 1 << 20
_PAGE_FILES = {
    "": ("editor.html", "text/html"),
    "editor.css": ("editor.css", "text/css"),
    "editor.js": ("editor.js", "text/javascript"),
    "geometry.js": ("geometry.js", "text/javascript"),
    "shapes.js": ("shapes.js", "text/javascript"),
}
_SHARED_FILES = {"base.css": ("base.css", "text/css"), "icon.svg": ("icon.svg", "image/svg+xml")}
"""Files of the page of the camera loop."""


class EditorServer:
    """Server for one image and one drawing. It is used once."""

    def __init__(self, image: Image, name: str, file: ConfigFile | None, host: str, port: int) -> None:
        """Prepare the page.

        Args:
            image: Image (height, width, 3), uint8, BGR.
            name: Name of the source, for the page.
            file: Configuration file that gets the zones and lines; None: they are only returned.
            host: Address to listen on.
            port: Port to listen on; 0 chooses a free one.

        Raises:
            InputError: The image cannot be encoded.
        """
        self._host, self._port, self._name, self._file = host, port, name, file
        self._token = secrets.token_urlsafe(24)
        height, width = image.shape[:2]
        self._size = width, height
        ok, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        if not ok:
            raise InputError(f"{name}: the image cannot be encoded as JPEG")
        own = resources.files(__package__ or "").joinpath("page")
        shared = resources.files(f"{(__package__ or '').rpartition('.')[0]}.sinks").joinpath("page")
        self._files = {
            **{path: (own.joinpath(name).read_bytes(), kind) for path, (name, kind) in _PAGE_FILES.items()},
            **{path: (shared.joinpath(name).read_bytes(), kind) for path, (name, kind) in _SHARED_FILES.items()},
            "image.jpg": (encoded.tobytes(), "image/jpeg"),
        }
        self._tables = Tables(file.document if file is not None else {}, self._size)
        self._access = Access(host, "", PageOptions(), "")
        self._done = asyncio.Event()
        self._toml = ""

    def run(self, on_listening: Callable[[str], None]) -> str:
        """Serve until the user is done.

        Args:
            on_listening: Called with the address of the page when the server listens.

        Returns:
            The zones and lines as TOML.

        Raises:
            MissingExtraError: aiohttp is not installed.
            InputError: The server cannot listen.
        """
        try:
            from ..sinks.http_server import HttpServer
        except ModuleNotFoundError as error:
            raise MissingExtraError("the page", "edit", error) from None

        def show_address(port: int) -> None:
            host = socket.gethostname() if self._host in _ANY_ADDRESS else self._host
            host = f"[{host}]" if ":" in host else host
            on_listening(f"http://{host}:{port}/{self._token}/")

        try:
            asyncio.run(HttpServer(self._answer).run(self._host, self._port, show_address, self._wait_until_done()))
        except OSError as error:
            raise InputError(f"{self._host}, port {self._port}: {error.strerror or error}") from None
        return self._toml

    async def _wait_until_done(self) -> None:
        await self._done.wait()
        # The browser reads the answer before the connection is closed.
        await asyncio.sleep(0.2)

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        access = self._access
        if (refusal := access.check_site(request)) is not None:
            return refusal
        _, token, *rest = [*request.path.split("/", 2), ""]
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            return access.refuse(404, "page not found; use the whole address that `edgepose events edit` has printed")
        path = rest[0]
        if request.method == "POST" and path in ("check", "done"):
            return await self._answer_drawing(request, is_done=path == "done")
        if request.method not in ("GET", "HEAD"):
            return access.refuse(405, "method not allowed")
        if path == "state":
            return self._make_json(self._describe_state())
        if path not in self._files:
            return access.refuse(404, "page not found")
        return self._serve_file(path)

    def _serve_file(self, path: str) -> web.Response:
        from aiohttp import web

        body, kind = self._files[path]
        charset = "utf-8" if kind.startswith("text/") else None
        return web.Response(body=body, content_type=kind, charset=charset, headers=self._access.headers)

    def _describe_state(self) -> dict[str, Any]:
        width, height = self._size
        return {
            "name": self._name,
            "width": width,
            "height": height,
            "config": None if self._file is None else str(self._file.path),
            "fields": describe_fields(),
            "shapes": [asdict(shape) for shape in self._tables.list_shapes()],
        }

    async def _answer_drawing(self, request: web.BaseRequest, *, is_done: bool) -> web.Response:
        """Check a drawing; if the user is done and it has no errors, write it and end the server."""
        drawing = await _read_drawing(request)
        if self._done.is_set():
            return self._access.refuse(409, "the drawing is finished; start `edgepose events edit` again")
        if drawing is None or not self._tables.has_origins(drawing):
            return self._access.refuse(400, f"expected JSON with shapes, at most {_MAX_BODY_BYTES} bytes")
        errors, problem = self._tables.find_errors(drawing)
        toml = format_tables([(shape.kind, self._tables.make_table(shape)) for shape in drawing.shapes])
        if is_done and not errors and not problem:
            try:
                if self._file is not None:
                    self._file.write(drawing, self._tables)
            except EdgePoseError as error:
                problem = str(error)
            else:
                self._toml = toml
                self._done.set()
        return self._make_json({"toml": toml, "errors": errors, "problem": problem, "done": self._done.is_set()})

    def _make_json(self, value: Any) -> web.Response:
        from aiohttp import web

        return web.Response(text=json.dumps(value), content_type="application/json", headers=self._access.headers)


async def _read_drawing(request: web.BaseRequest) -> Drawing | None:
    """Return the shapes of a request; None if its body is no drawing."""
    from aiohttp import web

    length = request.content_length
    if request.content_type != "application/json" or length is None or length > _MAX_BODY_BYTES:
        return None
    try:
        drawing = schema.build(Drawing, json.loads(await request.content.readexactly(length)), strict=True)
        drawing.check()
    except (ValueError, RecursionError, asyncio.IncompleteReadError, web.RequestPayloadError):
        return None
    return drawing
