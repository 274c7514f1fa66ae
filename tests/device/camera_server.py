"""HTTP cameras for tests: streams, snapshots, and typical faults of cheap cameras."""

from __future__ import annotations

import http.server
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np

JPEG = cv2.imencode(".jpg", np.random.default_rng(1).integers(0, 255, (240, 320, 3), np.uint8))[1].tobytes()
_AUTHORIZATION = "Basic " + b64encode(b"me:secret").decode()


class Camera(http.server.ThreadingHTTPServer):
    """HTTP camera that counts its connections. The requested path selects its behavior."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.connections = 0
        self.ending = threading.Event()

    def url(self, path: str) -> str:
        """Return the URL for a behavior: `stream/200` (FPS), `flapping/3` (frames), `snapshot`, `silent`, ..."""
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors of clients that disconnect, because the tests provoke them."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Camera

    def do_GET(self) -> None:
        self.server.connections += 1
        kind, _, number = self.path.strip("/").partition("/")
        getattr(self, f"give_{kind}")(number)

    def give_stream(self, fps: str) -> None:
        self.multipart()
        while not self.server.ending.wait(1 / float(fps)):
            self.part()

    def give_flapping(self, frames: str) -> None:
        self.multipart()
        for _ in range(int(frames)):
            self.part()

    def give_stall(self, frames: str) -> None:
        self.give_flapping(frames)
        self.server.ending.wait(60)

    def give_headers(self, _: str) -> None:
        self.multipart()
        self.server.ending.wait(60)

    def give_silent(self, _: str) -> None:
        self.server.ending.wait(60)

    def give_snapshot(self, _: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(JPEG)))
        self.end_headers()
        self.wfile.write(JPEG)

    def give_slow(self, _: str) -> None:
        """Send the snapshot at once to the first three connections, and one byte at a time to all later ones."""
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(JPEG)))
        self.end_headers()
        if self.server.connections > 3:
            for byte in JPEG:
                self.wfile.write(bytes([byte]))
                time.sleep(0.2)
        self.wfile.write(JPEG)

    def give_locked(self, _: str) -> None:
        if self.headers.get("Authorization") != _AUTHORIZATION:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.give_snapshot("")

    def multipart(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()

    def part(self) -> None:
        head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(JPEG)
        self.wfile.write(head + JPEG + b"\r\n")

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def camera_server() -> Iterator[Camera]:
    """Run a camera server."""
    with Camera() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.ending.set()
            server.shutdown()
            thread.join()
