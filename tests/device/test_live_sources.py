"""`run` and `camera` take the same sources: pipes, patterns, addresses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgepose.device.config import CameraConfig
from edgepose.device.sources.factory import open_source
from edgepose.device.sources.pipe import JpegPipe
from edgepose.runtime.errors import InputError
from edgepose.runtime.synthetic import Scene

from ..conftest import HANG_S
from .camera_server import Camera, camera_server

pytestmark = pytest.mark.once

JPEGS = [cv2.imencode(".jpg", Scene(2, 320, 240).render_frame(index).image)[1].tobytes() for index in range(5)]


def start(command: str, *arguments: str) -> subprocess.Popen[bytes]:
    model = ("--threads", "1", "--sink", "-") if command == "camera" else ("--threads", "1")
    # A test run that was started in the background ignores Ctrl-C, and would hand that on.
    return subprocess.Popen(
        [sys.executable, "-m", "edgepose.runtime.cli", command, *arguments, *model],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def run_with_input(content: bytes, command: str, *arguments: str) -> tuple[int, list[int], str]:
    """Return the exit code, the indices of the frames and stderr."""
    with start(command, *arguments) as child:
        output, errors = child.communicate(content, timeout=HANG_S)
    return child.returncode, [json.loads(line)["index"] for line in output.splitlines()], errors.decode()


def test_run_reads_every_image_of_a_pipe() -> None:
    code, indices, errors = run_with_input(b"".join(JPEGS), "run", "-")
    assert (code, indices) == (0, [0, 1, 2, 3, 4]), errors


def test_run_reads_one_image_in_another_format() -> None:
    png = cv2.imencode(".png", cv2.imdecode(np.frombuffer(JPEGS[0], np.uint8), cv2.IMREAD_COLOR))[1].tobytes()
    code, indices, errors = run_with_input(png, "run", "-")
    assert (code, indices) == (0, [0]), errors


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no complete image; expected JPEG images, for example from"),
        (b"hello world", "cannot be decoded as one"),
        (b"\0\0\0\1abc", "standard input is H.264, which is not supported"),
        (JPEGS[0][:500], "no complete image"),
    ],
)
def test_wrong_data_is_one_line(content: bytes, words: str) -> None:
    code, indices, errors = run_with_input(content, "run", "-")
    assert (code, indices) == (2, [])
    assert words in errors
    assert errors.count("\n") == 1, errors


def test_a_damaged_image_of_a_pipe_is_named_and_the_others_are_read() -> None:
    damaged = bytearray(JPEGS[1])
    damaged[damaged.find(b"\xff\xc0") + 9] = 9  # number of components
    code, indices, errors = run_with_input(JPEGS[0] + bytes(damaged) + JPEGS[2] + JPEGS[3][:900], "run", "-")
    assert (code, indices) == (1, [0, 1]), errors
    assert "edgepose: -: the last image of the stream is incomplete" in errors
    assert "edgepose: -: 1 images could not be read (see above)" in errors
    assert all(line.startswith("edgepose: ") for line in errors.splitlines()), errors


def test_camera_reads_the_newest_image_and_ends_with_the_pipe() -> None:
    with start("camera", "--source", "-") as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(JPEGS[0] + b"junk" + JPEGS[1])
        child.stdin.flush()
        first = json.loads(child.stdout.readline())
        child.stdin.write(JPEGS[2])
        output, errors = child.communicate(timeout=HANG_S)
    assert child.returncode == 0, errors
    assert (first["source"], first["width"]) == ("-", 320)
    assert len(output.splitlines()) == 1


@pytest.mark.parametrize("command", ["run", "camera"])
def test_a_silent_pipe_does_not_keep_the_process(command: str) -> None:
    with start(command, *(("--source", "-") if command == "camera" else ("-",))) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(JPEGS[0])
        child.stdin.flush()
        assert child.stdout.readline()
        child.send_signal(signal.SIGTERM)
        assert child.wait(HANG_S) == (0 if command == "camera" else 143)


def test_a_live_pipe_drops_old_images() -> None:
    reading, writing = os.pipe()
    small = [cv2.imencode(".jpg", np.full((48, 64, 3), 50 * index, np.uint8))[1].tobytes() for index in range(4)]
    os.write(writing, b"".join(small[:3]))
    source = JpegPipe(live=True, descriptor=reading)
    frames = source.frames()
    first = next(frames)
    assert abs(int(first.image.mean()) - 100) < 5, "the third image"
    os.write(writing, b"\xff\xd8\xff\xe0\0\4xx\xff\xd9" + small[3])
    assert next(frames).index == 1
    waiting = threading.Thread(target=lambda: list(frames))
    waiting.start()
    source.stop()
    waiting.join(HANG_S)
    assert not waiting.is_alive()
    for descriptor in (reading, writing):
        os.close(descriptor)


def test_patterns_of_images_and_of_videos(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.jpg"):
        (tmp_path / name).write_bytes(JPEGS[0])
    frames = list(open_source(CameraConfig(str(tmp_path / "*.jpg"))).frames())
    assert [Path(frame.source).name for frame in frames] == ["a.jpg", "b.jpg"]
    for name in ("b.avi", "a.avi"):
        writer = cv2.VideoWriter(str(tmp_path / name), cv2.VideoWriter.fourcc(*"MJPG"), 50, (64, 64))
        for _ in range(2):
            writer.write(np.zeros((64, 64, 3), np.uint8))
        writer.release()
    videos = open_source(CameraConfig(str(tmp_path / "*.avi"), real_time=False))
    assert [(Path(frame.source).name, frame.index) for frame in videos.frames()] == [
        ("a.avi", 0), ("a.avi", 1), ("b.avi", 0), ("b.avi", 1)
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"expected only images or only videos, got .*a\.jpg besides videos"):
        open_source(CameraConfig(str(tmp_path / "*.???")))


def test_run_takes_addresses(tmp_path: Path) -> None:
    """A stream until --seconds, drawn as a video; an address with the name of an image is one image."""
    with camera_server() as server:
        done = subprocess.run(
            [sys.executable, "-m", "edgepose.runtime.cli", "run", server.url("stream/50"), server.url("snapshot/x.jpg"),
             "--seconds", "0.5", "--threads", "1", "--draw", str(tmp_path)],
            capture_output=True, text=True, timeout=HANG_S, check=False,
        )  # fmt: skip
        port = server.server_address[1]
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert records[0]["source"].endswith("stream/50")
    assert records[0]["time"], "the time of a camera is known"
    assert [record["index"] for record in records if record["source"].endswith("x.jpg")] == [0]
    assert {path.name for path in tmp_path.iterdir()} == {
        f"127-0-0-1-{port}-stream-50.mp4", f"127-0-0-1-{port}-snapshot-x-jpg.jpg"
    }  # fmt: skip


def test_ctrl_c_ends_a_camera_and_keeps_its_video(tmp_path: Path) -> None:
    with camera_server() as server, start("run", server.url("stream/30"), "--draw", str(tmp_path)) as child:
        assert child.stdout is not None
        for _ in range(3):
            assert json.loads(child.stdout.readline())
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=HANG_S)
    assert child.returncode == 130, errors
    [path] = tmp_path.iterdir()
    assert cv2.VideoCapture(str(path)).read()[0]


def test_a_stream_that_ends_is_an_error_of_its_input() -> None:
    with camera_server() as server, start("run", server.url("flapping/3")) as child:
        output, errors = child.communicate(timeout=HANG_S)
    assert child.returncode == 1
    assert output
    assert b"the camera stopped delivering frames" in errors


def test_run_reads_a_camera_that_never_answers_until_ctrl_c() -> None:
    with camera_server() as server:
        connected: Camera = server
        with start("run", server.url("silent")) as child:
            while not connected.connections:
                assert child.poll() is None
            child.send_signal(signal.SIGTERM)
            assert child.wait(HANG_S) == 143
