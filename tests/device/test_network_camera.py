"""Network cameras that end, reconnect, stall or return snapshots: no crash, no hang, no fast retries."""

from __future__ import annotations

import http.server
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgepose.device.config import CameraConfig
from edgepose.device.sources import snapshot
from edgepose.device.sources.factory import open_source
from edgepose.device.sources.opencv import NetworkCamera
from edgepose.runtime.errors import InputError

from ..conftest import HANG_S, measure_slowness
from .camera_server import Camera, camera_server


@pytest.fixture
def server() -> Iterator[Camera]:
    with camera_server() as running:
        yield running


def make_command(source: str, *options: str) -> list[str]:
    return [
        sys.executable, "-X", "faulthandler", "-m", "edgepose.runtime.cli", "camera", "--source", source, "--threads",
        "1", "--sink", "-", *options,
    ]  # fmt: skip


def run_camera(source: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(make_command(source, *options), capture_output=True, text=True, timeout=HANG_S, check=False)


def test_a_fast_stream_can_be_stopped_at_any_moment(server: Camera) -> None:
    """Regression test: most runs crashed, because one thread closed the device while another read from it."""
    for _ in range(4):
        done = run_camera(server.url("stream/200"), "--seconds", "0.5")
        assert done.returncode == 0, done.stderr
        assert "frames" in done.stderr, "the last line of the log is written"


_RACE = """
import random, sys, threading, time
from edgepose.device.sources.opencv import NetworkCamera
from edgepose.device.camera.pipeline import Pipeline
from edgepose.runtime import PoseEstimator
estimator = PoseEstimator(threads=1)
for _ in range(15):
    with Pipeline(NetworkCamera(sys.argv[1]), estimator) as results:
        next(results)
        time.sleep(random.random() * 0.03)
    assert not [thread for thread in threading.enumerate() if thread.name == "edgepose-capture"]
print("survived")
"""


@pytest.mark.parametrize("path", ["stream/300", "stream/50"])
def test_a_pipeline_ends_while_its_camera_is_read(server: Camera, path: str) -> None:
    """Run in a separate process, because the fault was a crash."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", _RACE, server.url(path)],
        capture_output=True, text=True, timeout=HANG_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, "survived"), done.stderr


@pytest.mark.parametrize("path", ["stream/100", "stall/4", "flapping/2", "snapshot", "slow"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_ends_on_sigterm_in_every_state(server: Camera, path: str, number: int) -> None:
    """Regression test: some runs ignored SIGTERM and continued for twenty minutes."""
    with subprocess.Popen(
        make_command(server.url(path)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert json.loads(child.stdout.readline())["index"] >= 0
        time.sleep(0.6)
        child.send_signal(number)
        try:
            _, errors = child.communicate(timeout=HANG_S)
        finally:
            child.kill()
    assert child.returncode == 0, errors
    assert "frames" in errors, "the last line of the log is written"


@pytest.mark.parametrize("path", ["silent", "headers"])
def test_the_process_ends_while_the_camera_is_being_opened(server: Camera, path: str) -> None:
    with subprocess.Popen(make_command(server.url(path)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as child:
        while not server.connections:
            assert child.poll() is None
            time.sleep(0.05)
        time.sleep(0.3)
        started = time.monotonic()
        child.send_signal(signal.SIGTERM)
        try:
            child.communicate(timeout=HANG_S)
        finally:
            child.kill()
        assert time.monotonic() - started < 4 * measure_slowness(), "OpenCV's own five seconds were waited for"
    assert child.returncode == 0


@pytest.mark.parametrize("frames", [1, 3])
def test_a_camera_that_ends_at_once_is_reopened_with_delays(server: Camera, frames: int) -> None:
    """Regression test: it was opened up to fifty times per second, with two log lines each."""
    done = run_camera(server.url(f"flapping/{frames}"), "--seconds", "5")
    # Opened at the start and after 0.5, 1 and 2 seconds; each time one more request checks for snapshots.
    assert 2 <= server.connections <= (8 if frames == 1 else 4)
    assert done.stderr.count("camera lost") == 1, done.stderr
    assert done.returncode == 0


def test_a_snapshot_address_is_requested_at_the_frame_rate(server: Camera) -> None:
    camera = NetworkCamera(server.url("snapshot"), snapshot_fps=10)
    frames, start = camera.frames(), time.monotonic()
    found = [next(frames) for _ in range(8)]
    assert time.monotonic() - start > 0.5, "six requests wait for their time"
    assert [frame.index for frame in found] == list(range(8))
    assert all(frame.image.shape == (240, 320, 3) and frame.captured_ns for frame in found)
    assert server.connections <= 10
    camera.stop()
    assert list(frames) == []
    camera.close()


def test_a_snapshot_address_with_credentials(server: Camera) -> None:
    address = server.url("locked").replace("//", "//me:secret@")
    assert snapshot.is_snapshot(address)
    assert snapshot.fetch_image(address).shape == (240, 320, 3)
    with pytest.raises(InputError, match="refuses") as error:
        snapshot.fetch_image(server.url("locked").replace("//", "//me:wrong@"))
    assert "wrong" not in str(error.value)


def test_answers_that_are_no_snapshot(server: Camera) -> None:
    assert not snapshot.is_snapshot(server.url("stream/100"))
    assert not snapshot.is_snapshot("rtsp://127.0.0.1:1/x")
    with pytest.raises(InputError, match="connection refused"):
        snapshot.fetch_image("http://127.0.0.1:1/x")
    with pytest.raises(InputError):
        open_source(CameraConfig("http://127.0.0.1:1/x"))


def test_a_scheme_in_capitals_is_a_network_camera(server: Camera, tmp_path: Path) -> None:
    camera = open_source(CameraConfig(server.url("stream/50").replace("http", "HTTP")))
    assert next(camera.frames()).image.shape == (240, 320, 3)
    camera.close()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("http://127.0.0.1:1/x", "connection refused: no server listens on this port"),
        ("rtsp://me:secret@127.0.0.1:1/x", "connection refused: no server listens on this port"),
        ("http://no-such-host.invalid/x", "unknown host; check the name"),
        ("ftp://host/x", "expected an address that begins with rtsp://"),
        ("*.nothing", "no file matches this pattern"),
    ],
)
def test_errors_in_an_address_are_named(source: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        open_source(CameraConfig(source))
    assert words in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, "text/plain", "the camera refuses access (401"),
        (403, "text/plain", "the camera refuses access (403"),
        (404, "text/plain", "the camera has no such path (404"),
        (500, "text/plain", "the request failed: 500"),
        (200, "text/html", "this is a web page; look for the address of the stream"),
        (200, "application/json", "no video at this address: the server sends application/json"),
    ],
)
def test_error_answers_of_a_server_are_reported(status: int, kind: str, words: str) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(b"<!DOCTYPE html>")

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with pytest.raises(InputError) as error:
            open_source(CameraConfig(f"http://me:secret@127.0.0.1:{server.server_address[1]}/video"))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert words in str(error.value)
    assert "secret" not in str(error.value)
