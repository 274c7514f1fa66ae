"""Ownership of the camera and end of the process, with drivers that hang and folders with damaged images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgepose.device.camera import loop as loop_module
from edgepose.device.camera.loop import CameraStuckError, Loop
from edgepose.device.camera.pipeline import Pipeline
from edgepose.device.config import CameraConfig, LoopConfig
from edgepose.device.monitor.stats import Stats
from edgepose.device.sources.base import FrameSource, SyntheticCamera
from edgepose.device.sources.factory import open_source
from edgepose.device.sources.opening import SourceOpener
from edgepose.runtime import PoseEstimator
from edgepose.runtime.errors import InputError
from edgepose.runtime.stderr import suppress_stderr
from edgepose.runtime.types import Frame

from ..conftest import HANG_S, call_edgepose, run_edgepose


class Hanging(SyntheticCamera):
    """Source whose driver hangs after some frames until `release` is set. It records the threads that use it."""

    def __init__(self, frames: int = 2, fps: float = 100.0) -> None:
        super().__init__(1, 320, 240, fps, distinct_frames=2)
        self._left = frames
        self.release = threading.Event()
        self.closed_by: list[str] = []

    def frames(self) -> Iterator[Frame]:
        for frame in super().frames():
            if self._left == 0:
                self.release.wait()
            self._left -= 1
            yield frame

    def close(self) -> None:
        self.closed_by.append(threading.current_thread().name)


@pytest.fixture(scope="module")
def estimator() -> PoseEstimator:
    return PoseEstimator(threads=1)


def wait_until(condition: object) -> None:
    end = time.monotonic() + HANG_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


def test_only_the_capture_thread_closes_a_camera(estimator: PoseEstimator) -> None:
    camera = Hanging(frames=1000)
    with Pipeline(camera, estimator) as results:
        next(results)
    assert camera.closed_by == ["edgepose-capture"]


def test_a_driver_that_hangs_is_closed_when_it_returns(estimator: PoseEstimator) -> None:
    camera = Hanging()
    pipeline = Pipeline(camera, estimator)
    with pipeline as results:
        next(results)
        with pytest.raises(TimeoutError):
            while True:
                results.wait_for_result(0.3)
    assert [thread.name for thread in pipeline.remaining_threads] == ["edgepose-capture"]
    assert camera.closed_by == [], "nobody else may close it"
    camera.release.set()
    wait_until(lambda: not pipeline.remaining_threads[0].is_alive())
    assert camera.closed_by == ["edgepose-capture"]


def test_a_driver_that_hangs_does_not_keep_the_loop(estimator: PoseEstimator) -> None:
    camera, stats = Hanging(), Stats("test")
    loop = Loop(lambda: camera, [lambda: estimator], [], LoopConfig(), stats)
    loop.run(0.6)
    assert [thread.name for thread in loop.list_remaining_threads()] == ["edgepose-capture"]
    camera.release.set()
    wait_until(lambda: not loop.list_remaining_threads())


def test_a_driver_that_never_returns_ends_the_loop_for_the_service_manager(
    estimator: PoseEstimator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "_STALL_TIMEOUT_S", 0.3)
    monkeypatch.setattr(loop_module, "_STUCK_TIMEOUT_S", 0.8)
    monkeypatch.setattr(loop_module, "_RECONNECT_DELAYS_S", (0.2,))
    cameras = []

    def open_hanging() -> FrameSource:
        if cameras:
            raise InputError("in use by another program")
        cameras.append(Hanging())
        return cameras[0]

    loop = Loop(open_hanging, [lambda: estimator], [], LoopConfig(), Stats("test"))
    with pytest.raises(CameraStuckError, match="does not return"):
        loop.run(30)
    cameras[0].release.set()


def test_an_opening_that_hangs_is_abandoned_and_closed_later() -> None:
    gate, camera = threading.Event(), Hanging()

    def open_slowly() -> FrameSource:
        gate.wait()
        return camera

    opening = SourceOpener(open_slowly)
    assert not opening.wait(0.05)
    opening.abandon()
    gate.set()
    opening.thread.join(20)
    assert camera.closed_by == ["edgepose-open"]
    opened = SourceOpener(lambda: camera)
    assert opened.wait(20)
    assert opened.take() is camera
    failed = SourceOpener(lambda: open_source(CameraConfig("v4l3:0")))
    assert failed.wait(20)
    with pytest.raises(InputError, match="did you mean v4l2"):
        failed.take()


def test_two_pipelines_never_run_one_network_at_once(estimator: PoseEstimator, monkeypatch: pytest.MonkeyPatch) -> None:
    """If inference takes longer than the pipeline waits, the next pipeline starts only after it has ended."""
    monkeypatch.setattr(loop_module, "_RECONNECT_DELAYS_S", (0.01,))
    monkeypatch.setattr("edgepose.device.camera.pipeline._JOIN_TIMEOUT_S", 0.01)
    inside, most, original = [0], [0], estimator.infer_prepared

    def infer_slowly(buffer: object) -> object:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.2)
        try:
            return original(buffer)  # type: ignore[arg-type]
        finally:
            inside[0] -= 1

    monkeypatch.setattr(estimator, "infer_prepared", infer_slowly)

    class Short(SyntheticCamera):
        def frames(self) -> Iterator[Frame]:
            for frame in super().frames():
                if frame.index > 4:
                    raise InputError("the cable is out")
                yield frame

    stats = Stats("test")
    Loop(lambda: Short(1, 320, 240, 50, distinct_frames=2), [lambda: estimator], [], LoopConfig(), stats).run(2.5)
    assert stats.camera_losses > 1
    assert most[0] == 1


_STUCK = """
import signal, sys, threading
from edgepose.device.camera.shutdown import Shutdown
with Shutdown(lambda: print("asked", flush=True), limit_s=0.3):
    print("ready", flush=True)
    threading.Event().wait()
"""


def test_a_process_that_does_not_end_is_ended_by_force() -> None:
    with subprocess.Popen([sys.executable, "-c", _STUCK], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        child.terminate()
        output, errors = child.communicate(timeout=HANG_S)
    assert (child.returncode, output) == (1, b"asked\n")
    assert errors == b"edgepose: a thread did not stop in time; ending the process by force\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    image = np.full((64, 64, 3), 90, np.uint8)
    for name in ("a.png", "c.png", "e.png"):
        cv2.imwrite(str(images / name), image)
    (images / "b.png").write_bytes(b"this is no image")
    (images / "d.png").write_bytes((images / "a.png").read_bytes()[:40])
    return images


def test_damaged_images_of_a_folder_are_named_and_skipped(folder: Path) -> None:
    """Regression test: a damaged image counted as a lost camera, so the folder was restarted without end."""
    done = run_edgepose("camera", "--source", folder, "--sink", "-", timeout_s=HANG_S)
    sources = [json.loads(line)["source"] for line in done.stdout.splitlines()]
    assert sources == [str(folder / name) for name in ("a.png", "c.png", "e.png")]
    assert done.returncode == 1
    assert "b.png" in done.stderr
    assert "d.png" in done.stderr
    assert "2 of the files could not be read" in done.stderr
    assert "camera lost" not in done.stderr


def test_one_image_is_a_source(folder: Path) -> None:
    done = run_edgepose("camera", "--source", folder / "a.png", "--sink", "-")
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)


def make_video(path: Path, frames: int, fps: float) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (64, 64))
    for index in range(frames):
        writer.write(np.full((64, 64, 3), index * 20, np.uint8))
    writer.release()


@pytest.mark.parametrize("real_time", [True, False])
def test_frames_of_a_video_have_the_time_in_the_video(tmp_path: Path, real_time: bool) -> None:
    make_video(tmp_path / "v.avi", 6, 25.0)
    source = open_source(CameraConfig(str(tmp_path / "v.avi"), real_time=real_time, loop=True))
    frames = source.frames()
    found = [next(frames) for _ in range(12)]
    assert [frame.timestamp_ns / 1e6 for frame in found[:6]] == pytest.approx([0, 40, 80, 120, 160, 200], abs=0.1)
    assert [frame.timestamp_ns for frame in found[6:]] == [frame.timestamp_ns for frame in found[:6]], "it is repeated"
    assert [frame.index for frame in found] == list(range(12))
    clock = [frame.captured_ns for frame in found]
    assert clock == sorted(clock)
    assert clock[0] > 0


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("7", "/dev/video7: there is no such camera"),
        ("/dev/video7", "/dev/video7: there is no such camera"),
        ("/dev/v4l/by-id/usb-none-index0", "usb-none-index0: there is no such camera"),
        ("/dev/null", "cannot be opened"),
        ("nowhere/clip.mp4", "no such file, folder or device"),
        ("~/nowhere.mp4", "no such file, folder or device"),
    ],
)
def test_other_ways_to_name_a_camera(source: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        open_source(CameraConfig(source))
    assert message in str(error.value)


def test_the_home_folder_is_expanded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert next(open_source(CameraConfig("~/images")).frames()).image.shape == (64, 64, 3)


def test_an_option_that_is_given_twice_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    done = call_edgepose(capfd, "camera", "--fps", "5", "--sink", "-", "--fps", "6")
    assert done.returncode == 2
    assert "--fps: given twice, the last time as 6" in done.stderr
    done = call_edgepose(capfd, "run", "a.jpg", "-m", "x.tflite", "b.jpg", "--model", "y.tflite")
    assert "given twice" in done.stderr


def test_stderr_is_restored_if_two_threads_suppress_it() -> None:
    code = """
    import os, threading
    from edgepose.runtime.stderr import suppress_stderr
    first, second = threading.Event(), threading.Event()
    def other():
        with suppress_stderr(show_on_error=False):
            second.set()
            first.wait()
            os.write(2, b"swallowed")
    with suppress_stderr(show_on_error=False):
        thread = threading.Thread(target=other)
        thread.start()
        second.wait()
    first.set()
    thread.join()
    os.write(2, b"shown")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, timeout=HANG_S, check=True
    )
    assert done.stderr == b"shown"


def test_suppressed_output_is_shown_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), suppress_stderr(show_on_error=True):
        os.write(2, b"the reason")
        raise KeyError
    assert "the reason" in capfd.readouterr().err
