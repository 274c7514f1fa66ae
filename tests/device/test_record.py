"""Recordings: rotation by time and size, bounded disk use, files that are never overwritten, privacy."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgepose.device.events.event import Event, RuleState
from edgepose.device.sinks import record
from edgepose.device.sinks.base import Message, SinkError
from edgepose.device.sinks.factory import open_recording
from edgepose.device.sinks.record import RecordSink, Rotation
from edgepose.runtime.errors import InputError

from ..conftest import read_times_s
from .sink_helpers import make_message, wait_until

pytestmark = pytest.mark.once


def make_frames(times_s: list[float], people: int = 2) -> list[Message]:
    """Messages of a live camera with frames at these times."""
    found = []
    for index, time_s in enumerate(times_s):
        message, now = make_message(index, people), round((1000 + time_s) * 1e9)
        found.append(
            Message(replace(message.frame, timestamp_ns=now, captured_ns=now), message.estimate, message.skeleton)
        )
    return found


def write_all(sink: RecordSink, messages: list[Message]) -> None:
    sink.open()
    for message in messages:
        sink.write(message)
    sink.close()


def test_a_recording_keeps_the_times_of_the_frames(tmp_path: Path) -> None:
    pytest.importorskip("av")
    times_s = [0, 0.1, 0.25, 1.0, 1.05]
    write_all(RecordSink(tmp_path / "out.mp4", "none"), make_frames(times_s))
    np.testing.assert_allclose(read_times_s(tmp_path / "out.mp4"), times_s, atol=0.0015)


def test_rules_are_drawn_on_the_recording(tmp_path: Path) -> None:
    """A zone is filled while somebody is in it; the event stays for three seconds."""
    shape = ((20.0, 20.0), (300.0, 20.0), (300.0, 180.0), (20.0, 180.0))
    event = Event("enter", "started", "yard", "zone", "1", 1, 1000.0, 1000.0, zone="yard")
    messages = [
        replace(message, rules=(RuleState("yard", "zone", index < 1, (1,), {"people": 1}, shape=shape),),
                events=(event,) if index == 0 else ())
        for index, message in enumerate(make_frames([0, 1.0, 4.0], people=0))
    ]  # fmt: skip
    write_all(RecordSink(tmp_path / "out.avi", "silhouette"), messages)
    capture = cv2.VideoCapture(str(tmp_path / "out.avi"))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1].astype(int))
    banner = np.s_[215:235, 10:100]
    assert frames[0][100, 160].max() > 40
    assert frames[5][100, 160].max() < 20
    assert frames[5][banner].max() > 150
    assert frames[-1][banner].max() < 20


def test_opencv_repeats_frames_to_play_at_real_speed(tmp_path: Path) -> None:
    write_all(RecordSink(tmp_path / "out.avi", "blur"), make_frames([0, 0.1, 0.25, 1.0, 1.05]))
    times_s = read_times_s(tmp_path / "out.avi")
    assert len(times_s) == 12
    assert times_s[-1] == pytest.approx(1.1, abs=0.01)


def test_a_repeated_video_and_images_follow_the_time_of_reading(tmp_path: Path) -> None:
    pytest.importorskip("av")
    messages = [
        Message(replace(make_message().frame, timestamp_ns=media, captured_ns=read), make_message().estimate,
                make_message().skeleton)
        for media, read in ((0, 10**9), (10**9, 2 * 10**9), (0, 5 * 10**9), (0, 6 * 10**9))
    ]  # fmt: skip
    write_all(RecordSink(tmp_path / "out.mp4", "none"), messages)
    np.testing.assert_allclose(read_times_s(tmp_path / "out.mp4"), [0, 1, 4, 5], atol=0.0015)


def test_a_new_file_begins_after_some_minutes_and_nothing_is_overwritten(tmp_path: Path) -> None:
    pytest.importorskip("av")
    path = tmp_path / "out.mp4"
    for _ in range(2):
        write_all(RecordSink(path, "none", Rotation(minutes=1)), make_frames([0, 30, 59, 60, 119.5, 121]))
    assert len(list(tmp_path.iterdir())) == 6
    assert len(read_times_s(path)) == 3
    assert len(list(tmp_path.glob("out-????????T??????Z*.mp4"))) == 5


def test_a_frame_of_another_size_begins_a_new_file(tmp_path: Path) -> None:
    messages = make_frames([0, 0.5, 1, 1.5])
    for number in (2, 3):
        frame = messages[number].frame
        half = replace(frame, image=np.ascontiguousarray(frame.image[::2, ::2]))
        messages[number] = replace(messages[number], frame=half)
    write_all(RecordSink(tmp_path / "out.mp4", "none"), messages)
    sizes = set()
    for path in tmp_path.iterdir():
        ok, image = cv2.VideoCapture(str(path)).read()
        assert ok
        sizes.add(image.shape[:2])
    assert sizes == {(240, 320), (120, 160)}


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_the_disk_use_is_bounded(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise, so that the files reach their size soon; files of somebody else in the folder are not touched."""
    if suffix == ".mp4":
        pytest.importorskip("av")
    others = [tmp_path / f"out-of-town{suffix}", tmp_path / f"out{suffix}"]
    for path in others:
        path.write_bytes(b"x" * 2_500_000)
    rotation = Rotation(size_bytes=1_000_000, limit_bytes=3_000_000)
    sink = RecordSink(tmp_path / f"out{suffix}", "none", rotation)
    noise, largest, opened = np.random.default_rng(0), 0, []
    find = sink._find_unused_path
    monkeypatch.setattr(sink, "_find_unused_path", lambda: opened.append(find()) or opened[-1])
    sink.open()
    for message in make_frames([index / 10 for index in range(150)]):
        image = noise.integers(0, 255, message.frame.image.shape, np.uint8)
        sink.write(replace(message, frame=replace(message.frame, image=image)))
        files = [path for path in tmp_path.iterdir() if path not in others]
        largest = max(largest, sum(path.stat().st_size for path in files))
    sink.close()
    assert len(opened) > 5
    assert 1_500_000 < largest < 3_300_000, "the last file is noticed as too large after a fragment"
    assert all(path.exists() for path in others)
    assert all(read_times_s(path) for path in tmp_path.iterdir() if path not in others)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("out.mp4?minutes=0", "minutes: expected 1 to 360, got 0"),
        ("out.mp4?minutes=1h", "record 'out.mp4?minutes=1h': expected a number up to 1000000, got '1h'"),
        ("out.mp4?size=5", "size: expected 1MB or more, got 5 bytes"),
        ("out.mp4?size=20MB&limit=30MB", "limit: expected at least twice the size of a file"),
        ("out.mp4?sizes=30MB", "unknown option 'sizes'; did you mean size?"),
        ("out.webm", "unknown video format; use one of .avi, .mp4"),
    ],
)
def test_wrong_options_are_one_line(text: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        open_recording(text, "none", "door", "synthetic")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_recording_needs_a_privacy_mode_and_obeys_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no privacy mode"):
        open_recording(str(tmp_path / "out.mp4"), None, "door", "synthetic")
    sink = open_recording(str(tmp_path / "{name}.mp4?minutes=5"), "silhouette", "Front door", "synthetic")
    assert isinstance(sink, RecordSink)
    write_all(sink, make_frames([0, 0.1]))
    ok, image = cv2.VideoCapture(str(tmp_path / "front-door.mp4")).read()
    assert ok
    assert 0.01 < (image.max(axis=2) > 40).mean() < 0.5, "skeletons on black"


def test_a_full_disk_loses_messages_until_there_is_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    path, messages = tmp_path / "out.mp4", make_frames([index / 10 for index in range(50)])
    sink = RecordSink(path, "none")
    sink.open()
    with monkeypatch.context() as patch, pytest.raises(SinkError, match="No space left on device"):
        # The file that the sink finds free is a device without space.
        patch.setattr(sink, "_find_unused_path", lambda: full)
        full = tmp_path / "full.mp4"
        full.symlink_to("/dev/full")
        for message in messages:
            sink.write(message)
    sink.write(messages[-1])
    sink.close()
    assert len(read_times_s(path)) == 1
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(record.shutil, "disk_usage", lambda _: usage._replace(free=10**8))
    with pytest.raises(SinkError, match="less than 200 MB free"):
        sink.write(messages[0])


def test_the_writer_belongs_to_the_thread_of_the_sink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[tuple[str, str]] = []
    real = record.open_video_writer

    class Spy:
        def __init__(self, *arguments: Any) -> None:
            self.writer = real(*arguments)
            threads.append(("open", threading.current_thread().name))

        def __getattr__(self, name: str) -> Any:
            if name in ("write", "close"):
                threads.append((name, threading.current_thread().name))
            return getattr(self.writer, name)

    monkeypatch.setattr(record, "open_video_writer", Spy)
    sink = RecordSink(tmp_path / "out.mp4", "blur")
    sink.start()
    sink.send(make_message())
    wait_until(lambda: sink.sent)
    sink.stop()
    assert threads == [(name, "edgepose-record") for name in ("open", "write", "close")]


def test_a_killed_camera_leaves_a_playable_recording(tmp_path: Path) -> None:
    """SIGKILL, then a second run: the first recording is kept."""
    pytest.importorskip("av")
    path = tmp_path / "out.mp4"
    command = [
        sys.executable, "-m", "edgepose.runtime.cli", "camera", "--source", "synthetic:2", "--record", str(path),
        "--privacy", "none", "--sink", "-", "--threads", "1",
    ]  # fmt: skip
    for number in (1, 2):
        sizes: set[int] = set()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
            try:
                assert child.stdout is not None
                while len(sizes) < 4:  # empty, header, fragments
                    assert child.stdout.readline(), "it ended"
                    files = sorted(tmp_path.iterdir(), key=lambda file: file.stat().st_mtime)
                    if len(files) == number:
                        sizes.add(files[-1].stat().st_size)
            finally:
                child.send_signal(signal.SIGKILL)
    assert len(list(tmp_path.iterdir())) == 2
    assert all(len(read_times_s(file)) > 3 for file in tmp_path.iterdir())
