"""Cameras on a real RTSP server (GStreamer): TCP and UDP, passwords, a server that returns, latency.

Debian: gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-base gstreamer1.0-plugins-good, and
gstreamer1.0-plugins-ugly for H.264.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgepose.device.camera.pipeline import Pipeline
from edgepose.device.config import CameraConfig
from edgepose.device.sources.factory import open_source
from edgepose.runtime import PoseEstimator
from edgepose.runtime.errors import InputError
from edgepose.runtime.types import Frame

from ..conftest import HANG_S

pytestmark = pytest.mark.once

_SERVER = Path(__file__).with_name("gstreamer_rtsp_server.py")
_SYSTEM_PYTHON = "/usr/bin/python3"
_CHECK = (
    "import gi; gi.require_version('GstRtspServer', '1.0')\n"
    "from gi.repository import Gst, GstRtspServer; Gst.init(None)\n"
    "assert Gst.ElementFactory.find('appsrc') and Gst.ElementFactory.find('jpegenc')"
)


@pytest.fixture(scope="module", autouse=True)
def require_server() -> None:
    try:
        done = subprocess.run([_SYSTEM_PYTHON, "-c", _CHECK], capture_output=True, timeout=HANG_S, check=False)
    except FileNotFoundError:
        pytest.skip("there is no /usr/bin/python3")
    if done.returncode:
        pytest.skip("GStreamer's RTSP server is not installed (Debian: gir1.2-gst-rtsp-server-1.0 python3-gi)")


@contextmanager
def rtsp_server(protocol: str = "tcp", port: int = 0, fps: int = 10, *login: str) -> Iterator[int]:
    """Run a server; yield its port."""
    command = [_SYSTEM_PYTHON, str(_SERVER), str(port), protocol, str(fps), *login]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            ready = child.stdout.readline().split()
            assert ready, child.stderr.read() if child.stderr else ""
            yield int(ready[1])
        finally:
            child.kill()


def read_clock_ms(frame: Frame) -> int:
    """Return the time that the server painted into the frame."""
    bars = frame.image[:, :, 1].mean(axis=0).reshape(32, -1)[:, 2:8].mean(axis=1) > 128
    return int("".join("1" if bar else "0" for bar in bars), 2)


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_frames_arrive_over_tcp_and_udp(protocol: str) -> None:
    with rtsp_server(protocol) as port:
        camera = open_source(CameraConfig(f"rtsp://127.0.0.1:{port}/door"))
        frames = camera.frames()
        clocks_ms = [read_clock_ms(next(frames)) for _ in range(10)]
        assert camera.live
        camera.close()
    assert clocks_ms == sorted(clocks_ms)
    assert 0 <= time.monotonic() * 1000 - clocks_ms[-1] < 60_000


@pytest.mark.parametrize("method", ["basic", "digest"])
def test_the_password_is_checked_and_never_shown(method: str) -> None:
    with rtsp_server("tcp", 0, 10, "me", "se/cr@et", method) as port:
        camera = open_source(CameraConfig(f"rtsp://me:se%2Fcr%40et@127.0.0.1:{port}/door"))
        frame = next(camera.frames())
        assert frame.source == f"rtsp://127.0.0.1:{port}/door"
        camera.close()
        with pytest.raises(InputError, match=r"refuses this user and password \(401\)") as error:
            open_source(CameraConfig(f"rtsp://me:wr0ng@127.0.0.1:{port}/door"))
        assert "wr0ng" not in str(error.value)
        assert "\n" not in str(error.value)
        with pytest.raises(InputError, match=r"requires a user and password .* EDGEPOSE_CAMERA_USER"):
            open_source(CameraConfig(f"rtsp://127.0.0.1:{port}/door"))


def test_a_wrong_password_ends_the_command_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_CAMERA_USER", "me")
    monkeypatch.setenv("EDGEPOSE_CAMERA_PASSWORD", "wr0ng")
    with rtsp_server("tcp", 0, 10, "me", "secret") as port:
        for command in (["run", f"rtsp://127.0.0.1:{port}/door"],
                        ["camera", "--sink", "-", "--source", f"rtsp://127.0.0.1:{port}/door"]):  # fmt: skip
            done = subprocess.run(
                [sys.executable, "-m", "edgepose.runtime.cli", *command],
                capture_output=True, text=True, timeout=HANG_S, check=False,
            )  # fmt: skip
            assert done.returncode == 2
            assert done.stderr.count("\n") == 1, done.stderr
            assert "refuses this user and password" in done.stderr
            assert "wr0ng" not in done.stderr


def test_a_wrong_path_or_server_is_named() -> None:
    with rtsp_server() as port, pytest.raises(InputError, match=r"no such path \(404\)"):
        open_source(CameraConfig(f"rtsp://127.0.0.1:{port}/window"))
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.close()
        with pytest.raises(InputError, match="connection refused"):
            open_source(CameraConfig(f"rtsp://127.0.0.1:{find_free_port()}/door"))


def test_a_server_that_stops_and_returns() -> None:
    """The camera is lost when the server is killed, and is opened again when it is there."""
    port = find_free_port()
    command = [
        sys.executable, "-m", "edgepose.runtime.cli", "camera", "--source", f"rtsp://127.0.0.1:{port}/door", "--sink",
        "-", "--threads", "1",
    ]  # fmt: skip
    with rtsp_server("tcp", port):
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert json.loads(child.stdout.readline())["source"] == f"rtsp://127.0.0.1:{port}/door"
    try:
        time.sleep(1)
        with rtsp_server("tcp", port):
            # The index of the frames begins again with the new connection.
            last = 1
            while (index := json.loads(child.stdout.readline())["index"]) >= last:
                last = index
            child.terminate()
            _, errors = child.communicate(timeout=HANG_S)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 0
    assert "camera lost: " in errors
    assert re.search("[1-9][0-9]* camera losses", errors), errors  # on a busy machine it is lost more than once


def test_a_slow_reader_gets_new_frames() -> None:
    """The reader takes ten times as long as a frame. If frames waited, their clock would advance by 33 ms per frame."""
    estimator = PoseEstimator(threads=1)
    with rtsp_server(fps=30) as port:
        camera = open_source(CameraConfig(f"rtsp://127.0.0.1:{port}/door"))
        shown_ms, seen_ms = [], []
        with Pipeline(camera, estimator) as results:
            for _ in range(20):
                shown_ms.append(read_clock_ms(next(results).frame))
                seen_ms.append(time.monotonic() * 1000)
                time.sleep(0.3)
            dropped = results.dropped
    assert shown_ms[-1] - shown_ms[5] > 0.7 * (seen_ms[-1] - seen_ms[5]), (shown_ms, seen_ms)
    assert dropped > 10
