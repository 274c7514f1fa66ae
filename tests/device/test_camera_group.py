"""Several cameras in one process: names in messages, sinks, failures, and the end in every state."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgepose.device.camera import build_group as build_module
from edgepose.device.camera.build_group import build_group
from edgepose.device.camera.group import CameraGroup, GroupMember, GroupStats, Pulse
from edgepose.device.camera.loop import Loop
from edgepose.device.config import CameraConfig, Config, LoopConfig, OutputConfig
from edgepose.device.events.event import RuleInfo
from edgepose.device.monitor.stats import Stats
from edgepose.device.monitor.status_file import StatusFile
from edgepose.device.monitor.systemd import SystemdNotifier
from edgepose.device.sinks.callback import CallbackSink
from edgepose.device.sources.base import FrameSource, SyntheticCamera
from edgepose.device.sources.names import has_name, parse_sources
from edgepose.runtime import PoseEstimator
from edgepose.runtime.errors import EdgePoseError, InputError
from edgepose.runtime.types import Frame

from ..conftest import HANG_S
from .camera_server import camera_server
from .sink_helpers import wait_until

pytestmark = pytest.mark.once


def make_settings(*sources: str, **output: Any) -> Config:
    return Config(camera=CameraConfig(sources=sources), output=OutputConfig(name="Hall", **output))


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-m", "edgepose.runtime.cli", "camera", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_names_of_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_sources(["Front door=rtsp://u:p@cam/1?a=b", "v4l2:0", "rtsp://10.0.0.9/x=y"]) == {
        "Front door": "rtsp://u:p@cam/1?a=b", "v4l2-0": "v4l2:0", "10-0-0-9-x-y": "rtsp://10.0.0.9/x=y",
    }  # fmt: skip
    with pytest.raises(InputError, match="the name 'DOOR' is given twice"):
        parse_sources(["door=v4l2:0", "DOOR=v4l2:1"])
    with pytest.raises(InputError, match="at most 16 cameras"):
        parse_sources([f"c{number}=v4l2:{number}" for number in range(17)])
    monkeypatch.chdir(tmp_path)
    assert has_name("a=b.mp4")
    (tmp_path / "a=b.mp4").touch()
    assert not has_name("a=b.mp4")


def test_every_message_has_the_name_of_its_camera(tmp_path: Path) -> None:
    """One file for all cameras, one file per camera, one recording per camera."""
    with start("--source", "door=synthetic:1", "--source", "yard=synthetic:2", "--name", "Hall", "--sink", "-",
               "--sink", f"jsonl:{tmp_path}/{{name}}-{{camera}}.jsonl", "--record", f"{tmp_path}/{{camera}}.mp4",
               "--privacy", "silhouette") as child:  # fmt: skip
        assert child.stdout is not None
        seen: dict[str, dict[str, Any]] = {}
        while len(seen) < 2:
            message = json.loads(child.stdout.readline())
            seen[message["camera"]] = message
        child.send_signal(signal.SIGTERM)
        _, errors = child.communicate(timeout=HANG_S)
    assert child.returncode == 0, errors
    assert {name: message["device"] for name, message in seen.items()} == {"door": "Hall", "yard": "Hall"}
    assert "door: " in errors
    assert "yard: " in errors
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"hall-door-door.jsonl", "hall-yard-yard.jsonl", "door.mp4", "yard.mp4"}
    for name in ("door", "yard"):
        lines = (tmp_path / f"hall-{name}-{name}.jsonl").read_text().splitlines()
        assert {json.loads(line)["camera"] for line in lines} == {name}


def test_sinks_with_a_state_of_their_own_are_made_for_each_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[str, ...]] = []

    pauses: list[threading.Event] = []

    def fake(settings: Config, stats: Stats, pause: threading.Event, rules: list[RuleInfo]) -> list[Any]:
        assert rules == []
        opened.append((settings.output.name, *settings.output.sinks))
        pauses.append(pause)
        return []

    monkeypatch.setattr(build_module, "open_configured_sinks", fake)
    sinks = ("-", "mqtt://h", "http://127.0.0.1:8080?path=a", "https://[::1]?cert=c", "http://127.0.0.1:0", "udp://h:1")
    build_group(make_settings("door=synthetic", "yard=synthetic", sinks=sinks, privacy="blur"))
    assert opened == [
        ("Hall door", "mqtt://h", "http://127.0.0.1:8080?path=a", "https://[::1]:8443?cert=c", "http://127.0.0.1:0"),
        ("Hall yard", "mqtt://h", "http://127.0.0.1:8081?path=a", "https://[::1]:8444?cert=c", "http://127.0.0.1:0"),
    ]
    assert pauses[0] is not pauses[1], "each camera is paused on its own"
    neighbors = ("http://127.0.0.1:8080", "http://127.0.0.1:8081")
    with pytest.raises(InputError, match="two pages would use port 8081, because each of the 2 cameras"):
        build_group(make_settings("door=synthetic", "yard=synthetic", sinks=neighbors, privacy="blur"))
    with pytest.raises(InputError, match=r"expected \{camera\} in the name: there are several cameras"):
        build_group(make_settings("door=synthetic", "yard=synthetic", record="a.mp4", privacy="blur"))


def test_each_camera_has_its_own_topic_and_switch() -> None:
    with pytest.raises(InputError, match=r"sink 'mqtt://h/hall': expected \{camera\} or \{name\} in the topic"):
        build_group(make_settings("door=synthetic", "yard=synthetic", sinks=("mqtt://h/hall",)))
    for address, expected in {
        "mqtt://h": ["edgepose/hall-door", "edgepose/hall-yard"],
        "mqtt://h/": ["edgepose/hall-door", "edgepose/hall-yard"],
        "mqtt://u@h:1/a/{camera}?qos=1": ["a/door", "a/yard"],
        "MQTT://h/{name}": ["hall-door", "hall-yard"],
    }.items():
        group = build_group(make_settings("door=synthetic", "yard=synthetic", sinks=(address,)))
        sinks: list[Any] = [sink for member in group.members for sink in member.loop._sinks]
        assert [sink._topics.base for sink in sinks] == expected
        assert [sink._options.pause for sink in sinks] == [member.loop._pause for member in group.members]


def test_standard_input_is_one_camera() -> None:
    assert parse_sources(("a=-", "b=synthetic")) == {"a": "-", "b": "synthetic"}
    with pytest.raises(InputError, match="at most one camera that reads standard input"):
        parse_sources(("a=-", "b=-"))


@pytest.mark.parametrize("sources", [("a=synthetic", "b=v4l2:63"), ("b=v4l2:63", "a=synthetic")])
def test_a_camera_that_is_missing_at_the_start_is_one_line(sources: tuple[str, ...]) -> None:
    with start(*(f"--source={source}" for source in sources), "--sink", "-") as child:
        _, errors = child.communicate(timeout=HANG_S)
    assert child.returncode == 2
    assert "b: /dev/video63: there is no such camera" in errors
    assert "Traceback" not in errors


def test_a_lost_camera_does_not_affect_the_others() -> None:
    with camera_server() as server, start(
        "--source", "good=synthetic:1", "--source", f"bad={server.url('flapping/3')}", "--sink", "-"
    ) as child:  # fmt: skip
        assert child.stdout is not None
        bad, good = 0, 0
        while bad < 5 or good < 20:  # the bad camera is opened again
            name = json.loads(child.stdout.readline())["camera"]
            bad, good = bad + (name == "bad"), good + (name == "good")
        child.send_signal(signal.SIGTERM)
        _, errors = child.communicate(timeout=HANG_S)
    assert child.returncode == 0, errors
    assert "bad: camera lost: " in errors


@pytest.mark.parametrize("path", ["stall/4", "silent", "headers", "stream/100"])
def test_the_process_ends_on_sigterm_in_every_state(path: str) -> None:
    with camera_server() as server, start(
        "--source", "good=synthetic:1", "--source", f"bad={server.url(path)}", "--sink", "-"
    ) as child:  # fmt: skip
        # A camera that does not answer is an error at the start after five seconds: do not wait for the other one.
        while not server.connections:
            assert child.poll() is None
            time.sleep(0.05)
        if path in ("stall/4", "stream/100"):
            assert child.stdout is not None
            assert json.loads(child.stdout.readline())["index"] >= 0
        child.send_signal(signal.SIGTERM)
        try:
            _, errors = child.communicate(timeout=HANG_S)
        finally:
            child.kill()
    assert child.returncode == 0, errors
    assert "good: " in errors, "the last line of the log is written"


class Stalling(SyntheticCamera):
    """Camera that delivers some frames and then waits for `release`, whatever it is asked."""

    def __init__(self) -> None:
        super().__init__(1, 320, 240, 50, distinct_frames=2)
        self.release = threading.Event()
        self.closed_by = ""

    def frames(self) -> Iterator[Frame]:
        for number, frame in enumerate(super().frames()):
            if number == 3:
                self.release.wait()
            yield frame

    def close(self) -> None:
        self.closed_by = threading.current_thread().name


def make_member(name: str, source: FrameSource, sinks: list[Any]) -> GroupMember:
    stats, pulse = Stats("test"), Pulse()
    loop = Loop(
        lambda: source, [lambda: PoseEstimator(threads=1)], [], LoopConfig(), stats, pulse, shared_sinks=sinks,
        camera=name,
    )  # fmt: skip
    return GroupMember(name, loop, stats, pulse)


def test_a_stuck_driver_keeps_its_objects_and_the_group_ends(tmp_path: Path) -> None:
    frames: list[str] = []
    sink = CallbackSink(lambda frame, poses: frames.append(frame.source))
    stalling, good = Stalling(), SyntheticCamera(1, 320, 240, 50, distinct_frames=2)
    members = [make_member("bad", stalling, [sink]), make_member("good", good, [sink])]
    group = CameraGroup(members, [sink], status=StatusFile(str(tmp_path)))
    running = threading.Thread(target=group.run)
    running.start()
    wait_until(lambda: members[1].stats.processed > 10 and members[0].stats.processed, HANG_S)
    wait_until(lambda: (tmp_path / "status.json").exists())
    status = json.loads((tmp_path / "status.json").read_text())
    assert set(status) >= {"fps", "processed", "state"}
    group.stop()
    running.join(HANG_S)
    assert not running.is_alive()
    assert "edgepose-capture" in [thread.name for thread in group.list_remaining_threads()]
    assert stalling.closed_by == "", "nobody else may close it"
    assert not sink.thread.is_alive()
    stalling.release.set()
    wait_until(lambda: not group.list_remaining_threads())
    assert stalling.closed_by == "edgepose-capture"


def test_systemd_hears_of_the_group_and_not_of_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    notifier = SystemdNotifier({})
    for name in ("ready", "alive", "stopping"):
        monkeypatch.setattr(notifier, f"notify_{name}", lambda name=name: sent.append(name))
    members = [make_member(name, SyntheticCamera(1, 320, 240, 50, distinct_frames=2), []) for name in ("a", "b")]
    group = CameraGroup(members, notifier=notifier)
    running = threading.Thread(target=group.run)
    running.start()
    wait_until(lambda: "ready" in sent, HANG_S)
    assert all(member.stats.processed for member in members), "ready when all cameras work"
    group.stop()
    running.join(HANG_S)
    assert sent.count("ready") == 1
    assert "alive" in sent
    assert sent[-1] == "stopping"
    group = CameraGroup(members, notifier=notifier)
    group._threads = [threading.Thread(target=time.sleep, args=(1,)) for _ in members]
    for thread in group._threads:
        thread.start()
    members[0].pulse.notify_alive()
    members[1].pulse.alive_s = time.monotonic() - 60
    assert not group._are_alive(), "one loop hangs: the watchdog of systemd must see it"
    members[1].pulse.notify_alive()
    assert group._are_alive()


def test_a_paused_camera_does_not_affect_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each camera has its own switch; the status file shows `paused` only if all cameras are paused."""
    caplog.set_level("INFO")
    members, switches = [], [threading.Event(), threading.Event()]
    for name, pause in zip(("door", "yard"), switches, strict=True):
        stats, pulse = Stats("test"), Pulse()
        loop = Loop(
            lambda: SyntheticCamera(1, 320, 240, 50, distinct_frames=2), [lambda: PoseEstimator(threads=1)], [],
            LoopConfig(), stats, pulse, pause=pause, camera=name,
        )  # fmt: skip
        members.append(GroupMember(name, loop, stats, pulse))
    group = CameraGroup(members, status=StatusFile(str(tmp_path)))
    running = threading.Thread(target=group.run)
    running.start()

    def read_state() -> str:
        return str(json.loads((tmp_path / "status.json").read_text())["state"])

    try:
        wait_until(lambda: all(member.stats.processed for member in members), HANG_S)
        switches[1].set()
        wait_until(lambda: members[1].stats.state == "paused", HANG_S)
        before = members[0].stats.processed
        wait_until(lambda: members[0].stats.processed > before and read_state() == "running", HANG_S)
        assert "yard: paused" in caplog.messages
        switches[0].set()
        wait_until(lambda: read_state() == "paused", HANG_S)
        switches[1].clear()
        wait_until(lambda: read_state() == "running", HANG_S)
        assert members[0].stats.state == "paused"
        assert "yard: resumed" in caplog.messages
        assert group._are_alive()
    finally:
        group.stop()
        running.join(HANG_S)
    assert not running.is_alive()


def test_the_status_of_a_group_has_the_modes_of_all_cameras() -> None:
    members = [make_member(name, SyntheticCamera(1, 320, 240, 50), []) for name in ("a", "b", "c")]
    members[0].stats.camera, members[2].stats.camera = "mode 1", "mode 2"
    assert GroupStats(members).take_snapshot().camera == "a: mode 1; c: mode 2"


def test_the_first_error_of_a_loop_stops_the_group_and_names_the_camera() -> None:
    good = make_member("good", SyntheticCamera(1, 320, 240, 50, distinct_frames=2), [])

    def fail() -> FrameSource:
        raise InputError("no such camera")

    bad = replace(good, name="bad", loop=Loop(fail, [], [], LoopConfig(), Stats("x"), camera="bad"))
    with pytest.raises(EdgePoseError, match="bad: no such camera"):
        CameraGroup([good, bad]).run(HANG_S)
    snapshot = GroupStats([good, replace(bad, stats=Stats("y"))]).take_snapshot()
    assert snapshot.processed == good.stats.processed
