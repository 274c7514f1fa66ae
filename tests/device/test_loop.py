"""The camera loop: lost cameras, heat, frame rate limits, systemd, configuration, and the command."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.device import config
from edgepose.device.camera.loop import Loop
from edgepose.device.camera.thermal import ThermalController
from edgepose.device.config import CameraConfig, LoopConfig
from edgepose.device.monitor.health import Health
from edgepose.device.monitor.stats import Stats
from edgepose.device.monitor.systemd import SystemdNotifier
from edgepose.device.sinks.base import Message, Sink
from edgepose.device.sinks.factory import open_sinks
from edgepose.device.sources.base import FrameSource, SyntheticCamera
from edgepose.device.sources.factory import open_source
from edgepose.device.sources.rate_limit import RateLimitedSource
from edgepose.runtime import PoseEstimator
from edgepose.runtime.errors import EdgePoseError, InputError
from edgepose.runtime.types import Frame

from ..conftest import HANG_S, call_edgepose, measure_slowness, run_edgepose


class CollectingSink(Sink):
    """Sink that stores its messages."""

    name = "collected"

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Message] = []

    def write(self, message: Message) -> None:
        self.messages.append(message)


class FragileCamera(SyntheticCamera):
    """Camera that is lost after some frames."""

    def __init__(self, frames: int) -> None:
        super().__init__(2, 320, 240, 200.0, distinct_frames=2)
        self._left = frames

    def frames(self) -> Iterator[Frame]:
        for frame in super().frames():
            if self._left == 0:
                raise InputError("the cable is out")
            self._left -= 1
            yield frame


@pytest.fixture(scope="module")
def estimator() -> PoseEstimator:
    return PoseEstimator(threads=1)


def run_loop(
    open_source: Callable[[], FrameSource],
    estimator: PoseEstimator,
    settings: LoopConfig | None = None,
    seconds: float = 2.0,
    **options: Any,
) -> tuple[CollectingSink, Stats]:
    sink, stats = CollectingSink(), Stats("test")
    Loop(open_source, [lambda: estimator], [sink], settings or LoopConfig(), stats, **options).run(seconds)
    return sink, stats


def test_a_lost_camera_is_opened_again(estimator: PoseEstimator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepose.device.camera.loop._RECONNECT_DELAYS_S", (0.01,))
    opened = []

    def open_fragile() -> FrameSource:
        opened.append(1)
        if len(opened) == 3:
            raise InputError("not there yet")
        return FragileCamera(5)

    sink, stats = run_loop(open_fragile, estimator, seconds=5.0)
    assert stats.camera_losses >= 2
    assert len(opened) > 3
    numbers = [pose.person for message in sink.messages for pose in message.estimate]
    assert max(numbers[-4:]) <= 8, "who is still there keeps the number, or gets a new one, over a loss"
    assert len(set(numbers)) == max(numbers), "no number is given twice"
    assert len(sink.messages) == stats.processed > 4


def test_a_camera_that_is_not_there_at_the_start_is_an_error(estimator: PoseEstimator) -> None:
    def missing() -> FrameSource:
        raise InputError("no camera")

    with pytest.raises(InputError, match="no camera"):
        run_loop(missing, estimator)


def test_people_are_tracked_and_every_frame_is_counted(estimator: PoseEstimator) -> None:
    delivered = []

    class CountingSource(SyntheticCamera):
        """Live source, so that late frames are dropped. It ends by itself, so that no frame is in the pipeline."""

        def frames(self) -> Iterator[Frame]:
            for frame in super().frames():
                delivered.append(frame.index)
                yield frame
                if len(delivered) == 150:
                    return

    sink, stats = run_loop(
        lambda: CountingSource(2, fps=100, distinct_frames=10), estimator, LoopConfig(every_nth=2), seconds=600
    )
    assert len(sink.messages) == stats.processed
    assert stats.processed + stats.dropped + stats.skipped == len(delivered) == 150
    assert stats.skipped == 75
    assert {pose.person for message in sink.messages[-5:] for pose in message.estimate} >= {1, 2}
    line = json.loads(sink.messages[-1].line)
    assert line["poses"][0]["person"] in (1, 2)


def test_the_frame_rate_limit_is_met() -> None:
    images = np.zeros((2, 2, 3), np.uint8)

    class FastSource(FrameSource):
        def frames(self) -> Iterator[Frame]:
            for index in range(300):
                yield Frame(images, "", index, captured_ns=int(index * 1e7))

    thinned = RateLimitedSource(FastSource(), max_fps=30)
    assert len(list(thinned.frames())) == pytest.approx(90, abs=2), "three seconds at a hundred frames a second"
    assert thinned.skipped == pytest.approx(210, abs=2)
    assert [frame.index for frame in RateLimitedSource(FastSource(), every_nth=100).frames()] == [0, 100, 200]


def test_a_low_frame_rate_is_no_lost_camera(estimator: PoseEstimator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepose.device.camera.loop._STALL_TIMEOUT_S", 0.6)
    _, stats = run_loop(
        lambda: SyntheticCamera(1, 320, 240, 50, distinct_frames=2), estimator, LoopConfig(max_fps=0.5), 2.5
    )
    assert stats.camera_losses == 0
    assert 1 <= stats.processed <= 3


def test_a_camera_that_gives_nothing_is_lost(estimator: PoseEstimator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepose.device.camera.loop._STALL_TIMEOUT_S", 0.5)

    class SilentSource(SyntheticCamera):
        def frames(self) -> Iterator[Frame]:
            while not self._stop_requested.is_set():
                time.sleep(0.05)
            yield from ()

    _, stats = run_loop(
        lambda: SilentSource(1, 320, 240, 50, distinct_frames=2), estimator, seconds=2.5 * measure_slowness()
    )
    assert stats.camera_losses >= 2
    assert "no frame for" in stats.problem


def test_levels_change_step_by_step_with_the_temperature() -> None:
    adaptation = ThermalController(2, 80, 70)
    hot, warm, cool = Health(85, None, None), Health(75, None, None), Health(60, None, None)
    assert adaptation.update(hot, 0.0)
    assert (adaptation.model_index, adaptation.every_nth) == (1, 1), "first the cheaper model"
    assert not adaptation.update(hot, 5.0), "not again at once"
    assert adaptation.update(hot, 20.0)
    assert (adaptation.model_index, adaptation.every_nth) == (1, 2)
    assert adaptation.update(hot, 40.0)
    assert not adaptation.update(hot, 60.0), "there is nothing cheaper"
    assert not adaptation.update(warm, 200.0), "neither hot nor cool: as it is"
    levels = []
    for second in range(200, 500, 10):
        adaptation.update(cool, float(second))
        levels.append(adaptation.level)
    assert levels[0] == 2
    assert levels[-1] == 0
    throttled = ThermalController(1, 80, 70)
    assert throttled.update(Health(50, None, ("throttled",)), 0.0), "the firmware knows better"


def test_a_hot_board_runs_the_cheaper_model(estimator: PoseEstimator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepose.device.monitor.health.read", lambda **_: Health(90.0, None, None))
    loaded: list[str] = []

    def load(name: str) -> PoseEstimator:
        loaded.append(name)
        return estimator

    stats = Stats("test")
    loop = Loop(
        lambda: SyntheticCamera(1, 320, 240, 100, distinct_frames=2),
        [lambda: load("normal"), lambda: load("cheap")], [CollectingSink()], LoopConfig(), stats,
    )  # fmt: skip
    loop.run(2.0)
    assert loaded == ["normal", "cheap"]
    assert stats.level == 1


def test_systemd_gets_ready_watchdog_and_stopping(estimator: PoseEstimator, tmp_path: Path) -> None:
    address, heard = tmp_path / "notify", list[str]()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(address))

        def listen() -> None:
            while not heard or heard[-1] != "STOPPING=1":
                heard.append(listener.recv(1000).decode())

        # A socket holds ten messages, so they must be read while the loop runs, as systemd does.
        reader = threading.Thread(target=listen, daemon=True)
        reader.start()
        notifier = SystemdNotifier({"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "400000"})
        run_loop(lambda: SyntheticCamera(1, 320, 240, 50, distinct_frames=2), estimator, seconds=1.0, notifier=notifier)
        reader.join(5.0)
    assert heard[0] == "READY=1"
    assert heard[-1] == "STOPPING=1"
    assert 2 <= heard.count("WATCHDOG=1") <= 14
    SystemdNotifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).notify_ready()
    SystemdNotifier({}).notify_alive()


def test_a_busy_systemd_does_not_stop_the_loop(tmp_path: Path) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(address))
        listener.setblocking(False)
        other = SystemdNotifier({"NOTIFY_SOCKET": str(address)})
        for _ in range(1000):  # more than the size of every queue
            other.notify_status("busy")
        notifier = SystemdNotifier({"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "4"})
        notifier.notify_ready()
        notifier.notify_alive()
        with contextlib.suppress(BlockingIOError):
            while True:
                assert listener.recv(1000) == b"STATUS=busy"
        notifier.notify_alive()
        assert listener.recv(1000) == b"READY=1", "it is said again until systemd has heard it"
        assert listener.recv(1000) == b"WATCHDOG=1"
        notifier.notify_alive()
        assert listener.recv(1000) == b"WATCHDOG=1", "ready is said once"


def test_the_example_configuration_contains_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(config.EXAMPLE)
    found = config.read(tmp_path / "c.toml")
    default = config.Config()
    assert (found.camera, found.loop) == (default.camera, default.loop)
    found.check()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[loop]\nevry_nth = 2", "loop.evry_nth: there is no such key; did you mean every_nth?"),
        ("[lop]", "lop: there is no such key; did you mean loop?"),
        ("[loop]\nevery_nth = 'two'", "loop.every_nth: expected an integer, got 'two'"),
        ("[output]\nprivacy = 'some'", "output.privacy: expected one of none, blur, silhouette"),
        ("[loop\n", "not valid TOML"),
        ("[output]\nsinks = '-'", "output.sinks: expected a list"),
    ],
)
def test_wrong_settings_are_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(InputError) as error:
        config.read(tmp_path / "c.toml")
    assert message in str(error.value)
    with pytest.raises(InputError, match="cannot read"):
        config.read(tmp_path / "none.toml")


@given(st.text(max_size=40))
def test_any_text_is_a_source_or_refused(text: str) -> None:
    try:
        open_source(CameraConfig(text)).close()
    except EdgePoseError:
        return


@given(st.text(max_size=40) | st.from_regex(r"(jsonl|mqtt|udp|http):(//)?[a-z@:/?=&0-9]{0,20}", fullmatch=True))
def test_any_text_is_a_sink_or_refused(text: str) -> None:
    try:
        open_sinks([text], Stats("x"), "blur")
    except (EdgePoseError, ValueError):
        return


def test_a_folder_and_a_video_are_sources(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((16, 16, 3), np.uint8))
    assert len(list(open_source(CameraConfig(str(tmp_path))).frames())) == 2
    video = tmp_path / "v.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 50.0, (64, 64))
    for _ in range(10):
        writer.write(np.zeros((64, 64, 3), np.uint8))
    writer.release()
    assert len(list(open_source(CameraConfig(str(video), real_time=False)).frames())) == 10
    start = time.monotonic()
    live = open_source(CameraConfig(str(video), loop=True))
    frames = live.frames()
    for _ in range(20):
        next(frames)
    assert live.live
    assert 0.3 < time.monotonic() - start < 2 * measure_slowness(), "twenty frames at fifty a second"
    live.stop()
    assert list(frames) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "at least one --sink"),
        (("-m", "none.tflite", "--sink", "-"), "none.tflite"),
        (("-m", "MODEL", "--sink", "-", "--source", "v4l3:0"), "did you mean v4l2?"),
        (("-m", "MODEL", "--sink", "-", "--source", "synthetic:x"), "expected a number"),
        (("-m", "MODEL", "--sink", "htp://localhost"), "did you mean http?"),
        (("-m", "MODEL", "--sink", "http://127.0.0.1:1"), "choose with --privacy"),
        (("-m", "MODEL", "--sink", "http://0.0.0.0:8080", "--privacy", "blur"), "can be reached by others"),
        (("-m", "MODEL", "--sink", "mqtt://user:secret@host/x"), "put the password into EDGEPOSE_MQTT_PASSWORD"),
        (("-m", "MODEL", "--sink", "jsonl:/nowhere/x.jsonl", "--source", "synthetic:1"), "cannot be written"),
        (("-m", "MODEL", "--sink", "jsonl:x?rotat=3"), "did you mean rotate?"),
        (("-m", "MODEL", "--record", "x.gif", "--privacy", "none"), "unknown video format"),
        (("-m", "MODEL", "--record", "x.avi"), "choose with --privacy"),
        (("-m", "MODEL", "--sink", "-", "--every-nth", "0"), "every_nth: expected 1 or more"),
        (("-m", "MODEL", "--sink", "-", "--seconds", "0"), "--seconds: expected more than 0"),
        (("--config", "none.toml"), "cannot read the configuration"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    result = call_edgepose(capfd, "camera", *("edgepose-tiny" if part == "MODEL" else part for part in arguments))
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_the_command_prints_lines_and_ends_at_sigterm() -> None:
    command = [
        sys.executable, "-m", "edgepose.runtime.cli", "camera", "-m", "edgepose-tiny", "--source", "synthetic:2",
        "--sink", "-", "--threads", "1",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        lines = [json.loads(child.stdout.readline()) for _ in range(5)]
        start = time.monotonic()
        child.send_signal(signal.SIGTERM)
        rest, errors = child.communicate(timeout=HANG_S)
        assert time.monotonic() - start < 2 * measure_slowness()
    assert child.returncode == 0
    assert [line["index"] for line in lines] == sorted(line["index"] for line in lines)
    assert all(json.loads(line) for line in rest.splitlines()), "every line is whole"
    assert "frames" in errors


def test_the_loop_ends_if_the_reader_of_stdout_ends() -> None:
    command = (
        f"{sys.executable} -m edgepose.runtime.cli camera -m edgepose-tiny --source synthetic:2 --sink - | head -n 2"
    )
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=HANG_S, check=True)
    assert len(done.stdout.splitlines()) == 2
    assert "Traceback" not in done.stderr


def test_the_configuration_is_printed() -> None:
    assert run_edgepose("camera", "--print-config").stdout == config.EXAMPLE
