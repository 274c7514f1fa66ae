"""Events in the sinks: kept while a sink fails, in their order; files, datagrams, callbacks, programs."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest

import edgepose
from edgepose.device.events.event import Event, RuleInfo
from edgepose.device.events.format import list_event_types
from edgepose.device.monitor.stats import Stats
from edgepose.device.sinks import base, http_events
from edgepose.device.sinks.base import Message, Sink, SinkError, stop_all
from edgepose.device.sinks.callback import CallbackSink
from edgepose.device.sinks.factory import open_sinks
from edgepose.device.sinks.metrics import format_metrics
from edgepose.device.sinks.program import ProgramSink
from edgepose.runtime.errors import InputError
from edgepose.runtime.synthetic import Scene

from .sink_helpers import make_event, make_event_message, make_message, wait_until

pytestmark = pytest.mark.once
RULES = (RuleInfo("yard", "zone", ("enter", "leave"), has_duration=True, counts=("people",)),)


class RecordingSink(Sink):
    """Sink that can fail, and remembers what it was given."""

    name = "recording"
    max_retry_delay_s = 0.01

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[int] = []
        self.events: list[str] = []
        self.write_error: Exception | None = None
        self.event_error: Callable[[Event], Exception | None] = lambda event: None

    def write(self, message: Message) -> None:
        if self.write_error:
            raise self.write_error
        self.frames.append(message.frame.index)

    def write_events(self, message: Message) -> None:
        [event] = message.events
        if error := self.event_error(event):
            raise error
        self.events.append(event.id)


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordingSink]:
    monkeypatch.setattr(base, "_FIRST_RETRY_DELAY_S", 0.01)
    recording = RecordingSink()
    recording.start()
    yield recording
    recording.stop()


def names(start: int, end: int) -> list[str]:
    return [f"e{number}" for number in range(start, end)]


def test_events_of_dropped_frames_are_kept_in_order(sink: RecordingSink) -> None:
    blocked, free = threading.Event(), threading.Event()
    original = sink.write

    def write(message: Message) -> None:
        blocked.set()
        assert free.wait(20)
        original(message)

    sink.write = write  # type: ignore[method-assign]
    for number in range(100):
        sink.send(make_event_message(f"e{number}", index=number))
    assert blocked.wait(20)
    free.set()
    wait_until(lambda: len(sink.events) == 100)
    assert sink.events == names(0, 100)
    wait_until(lambda: sink.sent == 100)
    assert sink.lost == 100 - len(sink.frames) >= 80
    assert sink.lost_events == 0


def test_a_frame_that_cannot_be_written_does_not_lose_or_block_its_events(sink: RecordingSink) -> None:
    sink.write_error = SinkError("the frame is too large")
    for number in range(5):
        sink.send(make_event_message(f"e{number}"))
    wait_until(lambda: len(sink.events) == 5)
    assert (sink.events, sink.frames, sink.lost, sink.lost_events) == (names(0, 5), [], 5, 0)


def test_events_that_fail_are_tried_again_and_the_oldest_are_dropped(
    sink: RecordingSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_MAX_KEPT_EVENTS", 20)
    sink.event_error = lambda event: SinkError("away")
    for number in range(50):
        sink.send(make_event_message(f"e{number}", index=number))
    wait_until(lambda: sink.problem and sink.lost_events)
    assert all(message.frame.image.size == 0 for message in tuple(sink._kept)), "images would need the memory"
    sink.event_error = lambda event: None
    wait_until(lambda: sink.events and sink.events[-1] == "e49")
    assert sink.events == names(50 - len(sink.events), 50)
    assert len(sink.events) + sink.lost_events == 50
    assert len(sink.events) >= 20
    wait_until(lambda: not sink.problem)


@pytest.mark.parametrize("needs_images", [False, True])
def test_kept_events_have_images_only_if_the_sink_needs_them(sink: RecordingSink, needs_images: bool) -> None:
    sink.needs_images = needs_images
    sink.event_error = lambda event: SinkError("away")
    for number in range(60):
        sink.send(make_event_message(f"e{number}", "x"))
    wait_until(lambda: sink.problem)
    with sink._condition:
        with_image = [message for message in sink._kept if message.frame.image.size]
    assert 0 < len(with_image) <= 18 if needs_images else not with_image


def test_only_the_rest_of_several_events_is_repeated(sink: RecordingSink) -> None:
    failures = iter([None, SinkError("away"), None, None])
    sink.event_error = lambda event: next(failures)
    sink.send(make_event_message("e0", "e1", "e2"))
    wait_until(lambda: sink.events == names(0, 3))


def test_an_event_that_makes_a_library_fail_is_dropped(sink: RecordingSink) -> None:
    sink.event_error = lambda event: ValueError("bad") if event.id == "e1" else None
    sink.send(make_event_message("e0", "e1", "e2"))
    sink.send(make_event_message("e3"))
    wait_until(lambda: sink.events == ["e0", "e2", "e3"])
    assert sink.lost_events == 1
    stats = Stats("x")
    stats.sinks = [sink]
    assert 'edgepose_sink_lost_events_total{sink="0-recording"} 1.0' in format_metrics(stats.take_snapshot())


def test_a_failing_sink_with_events_stops_and_counts_them() -> None:
    failing = RecordingSink()
    failing.max_retry_delay_s = 30.0
    failing.event_error = lambda event: SinkError("away")
    failing.start()
    for number in range(30):
        failing.send(make_event_message(f"e{number}"))
    wait_until(lambda: failing.problem)
    start = time.monotonic()
    assert stop_all([failing]) == []
    assert time.monotonic() - start < 20
    assert failing.lost_events == 30


def test_a_copy_keeps_its_time() -> None:
    message = make_event_message("e0", captured_ns=time.monotonic_ns())
    [copy] = message.split_events()
    time.sleep(0.01)
    assert copy.capture_time == replace(message, events=()).capture_time == message.capture_time is not None


@pytest.mark.parametrize(
    ("options", "kinds"), [("", ["pose", "event"]), ("?only=events", ["event"]), ("?only=poses", ["pose"])]
)
def test_lines_of_events_have_the_key_event(tmp_path: Path, options: str, kinds: list[str]) -> None:
    (sink,) = open_sinks([f"jsonl:{tmp_path}/x.jsonl{options}"], Stats("x"), None, rules=RULES)
    sink.start()
    sink.send(make_event_message("e0"))
    sink.send(make_message())
    wait_until(lambda: sink.sent == (1 if kinds == ["event"] else 2))
    sink.stop()
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    found = ["event" if "event" in line else "pose" for line in lines]
    assert found == ([*kinds, "pose"] if "pose" in kinds else kinds)


def test_what_does_not_apply_to_an_event_is_absent() -> None:
    message = make_event_message("e0")
    entry = json.loads(message.event_lines[0])
    assert (entry["event"], entry["state"], entry["type"], entry["person"]) == ("enter", "started", "enter", 1)
    assert not {"direction", "label", "value", "ended", "duration_s", "camera"} & set(entry)
    crossing = replace(make_event("e1"), event="cross", state="once", direction="in", zone="", person=0, count=0)
    entry = json.loads(replace(message, events=(crossing,)).event_lines[0])
    assert (entry["type"], entry["count"], entry["direction"]) == ("cross_in", 0, "in")
    assert not {"zone", "person"} & set(entry)
    rules = [
        RuleInfo("a", "zone", ("enter", "leave", "dwell"), has_duration=True),
        RuleInfo("b", "line", ("cross",), has_duration=False),
        RuleInfo("c", "repetitions", ("repetition",), has_duration=False),
    ]
    assert [list_event_types(rule) for rule in rules] == [
        ["enter", "leave", "dwell_started", "dwell_ended"], ["cross_in", "cross_out"], ["repetition"],
    ]  # fmt: skip


def test_the_page_misses_no_event_that_is_added_while_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    recent, seen = http_events.LastEvents(), []
    dump = json.dumps

    def dump_while_read(*arguments: Any, **options: Any) -> str:
        seen.append([recent.number, *(number for number, _ in recent.list_after(0))])
        return dump(*arguments, **options)

    monkeypatch.setattr(http_events.json, "dumps", dump_while_read)
    for number in range(3):
        recent.add(make_event_message(f"e{number}"))
    assert seen == [[0], [1, 1], [2, 1, 2]]


def test_an_event_is_one_datagram() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(20)
        (sink,) = open_sinks([f"udp://127.0.0.1:{listener.getsockname()[1]}"], Stats("x"), None)
        sink.start()
        sink.send(make_event_message("e0", "e1"))
        received = [json.loads(listener.recv(65536)) for _ in range(3)]
        sink.stop()
    assert [entry.get("id") for entry in received] == [None, "e0", "e1"]


def test_callbacks_get_events(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []

    def on_event(event: Event) -> None:
        seen.append(event.id)
        if event.id == "e0":
            raise RuntimeError("of the user")

    sink = CallbackSink(on_event=on_event)
    sink.start()
    sink.send(make_message())
    sink.send(make_event_message("e0", "e1"))
    wait_until(lambda: seen == ["e0", "e1"])
    sink.stop()
    assert (sink.sent, sink.lost) == (1, 0), "frames are not waited for"
    assert "of the user" in caplog.text


def make_video(folder: Path) -> Path:
    """Write a video of three seconds with two people."""
    video = cv2.VideoWriter(str(folder / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (640, 480))
    for index in range(30):
        video.write(Scene(2, 640, 480).render_frame(index).image)
    video.release()
    return folder / "clip.avi"


def test_run_camera_calls_a_function_with_events(tmp_path: Path) -> None:
    config = tmp_path / "camera.toml"
    config.write_text(
        '[camera]\nreal_time = false\n[[events.zone]]\nname = "all"\npolygon = [[0, 0], [1, 0], [1, 1], [0, 1]]\n'
        f'[output]\nsinks = ["jsonl:{tmp_path}/events.jsonl?only=events", "exec:{make_program(tmp_path, "cat")}"]\n'
    )
    events: list[Event] = []
    edgepose.run_camera(on_event=events.append, config=config, source=make_video(tmp_path))
    assert [event.state for event in events] == ["started", "started", "ended", "ended"]
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [event.id for event in events]


def test_cameras_of_one_process_share_a_webhook_and_a_program(tmp_path: Path) -> None:
    config = tmp_path / "camera.toml"
    config.write_text(
        f'[camera]\nsources = ["door={make_video(tmp_path)}", "yard={tmp_path}/clip.avi"]\nreal_time = false\n'
        '[[events.zone]]\nname = "all"\npolygon = [[0, 0], [1, 0], [1, 1], [0, 1]]\n'
        f'[output]\nsinks = ["exec:{make_program(tmp_path, f"cat >> {tmp_path}/in")}"]\n'
    )
    edgepose.run_camera(config=config)
    lines = [json.loads(line) for line in (tmp_path / "in").read_text().splitlines()]
    assert sorted((line["camera"], line["event"]) for line in lines) == [
        ("door", "enter"), ("door", "enter"), ("door", "leave"), ("door", "leave"),
        ("yard", "enter"), ("yard", "enter"), ("yard", "leave"), ("yard", "leave"),
    ]  # fmt: skip
    assert len({line["id"] for line in lines}) == 4


def make_program(folder: Path, script: str) -> Path:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_program_gets_the_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_MQTT_PASSWORD", "secret")
    program = make_program(tmp_path, f"cat >> {tmp_path}/in; env >> {tmp_path}/env")
    (sink,) = open_sinks([f"exec:{program}?timeout=60"], Stats("x"), None, rules=RULES)
    sink.start()
    sink.send(make_message())
    for number in range(3):
        sink.send(make_event_message(f"e{number}"))
    wait_until(lambda: sink.sent == 3)
    sink.stop()
    assert [json.loads(line)["id"] for line in (tmp_path / "in").read_text().splitlines()] == names(0, 3)
    environment = (tmp_path / "env").read_text().splitlines()
    assert {"EDGEPOSE_EVENT=enter", "EDGEPOSE_RULE=yard", "EDGEPOSE_PERSON=1", "EDGEPOSE_STATE=started"} <= set(
        environment
    )
    assert "secret" not in "".join(environment)
    assert sink.get_counts() == {"sent": 3, "lost": 0, "lost_events": 0, "problem": ""}


def test_a_failed_program_is_logged_with_its_first_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    script = "echo 'no \033[31mspeaker' >&2; echo more >&2; yes >&2 & sleep 0.2; kill $!; exit 3"
    sink = ProgramSink(make_program(tmp_path, script))
    sink.start()
    sink.send(make_event_message("e0"))
    wait_until(lambda: sink.lost_events)
    assert "exit code 3: no \\x1b[31mspeaker" in caplog.text
    assert "more" not in caplog.text
    assert "exit code 3" in str(sink.get_counts()["problem"])
    sink.stop()
    program = make_program(tmp_path, "kill -SEGV $$")
    sink = ProgramSink(program)
    sink.start()
    sink.send(make_event_message("e0"))
    wait_until(lambda: "was ended by signal 11" in caplog.text)
    program.unlink()
    sink.send(make_event_message("e1"))
    wait_until(lambda: "cannot be started: No such file" in caplog.text)
    sink.stop()


@pytest.mark.parametrize("stops", [False, True])
def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path, stops: bool) -> None:
    script = (
        f"trap '' TERM; sleep 1000 & echo $! > {tmp_path}/child.part; mv {tmp_path}/child.part {tmp_path}/child; wait"
    )
    sink = ProgramSink(make_program(tmp_path, script), 100 if stops else 0.5)
    sink.start()
    sink.send(make_event_message("e0"))
    wait_until((tmp_path / "child").exists)
    number = int((tmp_path / "child").read_text())
    if stops:
        assert stop_all([sink], 60) == []
    wait_until(lambda: sink.lost_events == 1)
    wait_until(lambda: not is_running(number))
    sink.stop()


def test_a_program_of_another_user_that_cannot_be_ended_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged once; the next program starts when it has ended by itself."""
    real = os.killpg

    def refuse(*_: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "killpg", refuse)
    program = make_program(tmp_path, f"echo $$ >> {tmp_path}/child; test -e {tmp_path}/quick || exec sleep 600")
    sink = ProgramSink(program, 0.3)
    sink.start()
    for number in range(3):
        sink.send(make_event_message(f"e{number}"))
    wait_until(lambda: sink.lost_events == 3)
    (child,) = map(int, (tmp_path / "child").read_text().split())
    assert caplog.text.count("cannot be killed") == 1
    assert str(sink.get_counts()["problem"]).startswith(f"process {child} did not end in time")
    (tmp_path / "quick").touch()
    real(child, signal.SIGKILL)
    wait_until(lambda: not is_running(child))
    sink.send(make_event_message("e3"))
    wait_until(lambda: sink.get_counts()["problem"] == "")
    (tmp_path / "quick").unlink()
    sink.send(make_event_message("e4"))
    wait_until(lambda: len((tmp_path / "child").read_text().split()) == 3)
    try:
        assert stop_all([sink], 60) == []
    finally:
        real(int((tmp_path / "child").read_text().split()[-1]), signal.SIGKILL)
        remaining = sink._remaining
        assert remaining is not None
        remaining.wait(60)


def is_running(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    # A zombie whose parent has not read its exit code yet.
    return ") Z " not in Path(f"/proc/{number}/stat").read_text()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("exec:alarm", "expected the path of a program"),
        ("exec:/opt/hook.sh fall", "arguments are not supported: write a small script"),
        ("exec:/x?timeout=0", "expected timeout of 1 to 3600"),
        ("exec:/x?tmeout=1", "did you mean timeout?"),
        ("-?only=event", "expected only=poses or only=events"),
        ("-?onli=events", "did you mean only?"),
        ("webhook:hooks.example.org/x", "expected webhook:https://HOST/PATH"),
        (
            "webhook:127.0.0.1:1/hidden",
            "'webhook:127.0.0.1:1/***': expected webhook:https://HOST/PATH or webhook:http:",
        ),
        ("webhook:localhost:80", "sink 'webhook:localhost:80': expected webhook:https://HOST/PATH"),
        ("webhook:me:hid/den@hidden@host/hidden", "sink 'webhook:***': expected"),
        (
            "webhook:ftp://hooks.example.org/hidden",
            "'webhook:ftp://hooks.example.org/***': expected webhook:https:",
        ),
        ("webhook:host?hidden", "sink 'webhook:***': expected"),
        ("webhook:https:///hidden", "sink 'webhook:https:///***': expected webhook:https://HOST/PATH"),
        ("webhook:https://me:hidden@hooks.example.org/x", "user names and passwords are not allowed"),
        ("webhook:https://hooks.example.org/hidden#foldr=x", "did you mean folder?"),
        ("webhook:http://hooks.example.org/hidden#ca=x", "unknown option 'ca'"),
        ("webhook:https://hooks.example.org/hidden?a=b c", "printable ASCII"),
        ("webhook:https://hooks.example.org/hidden#secret=/does/not/exist", "cannot read the secret"),
        ("webhook:https://hooks.example.org/hidden#ca=/does/not/exist", "/does/not/exist: cannot be read"),
        ("webhook:https://hooks.example.org:99999/hidden", "expected a port"),
    ],
)
def test_wrong_addresses(address: str, expected: str) -> None:
    with pytest.raises(InputError) as error:
        open_sinks([address], Stats("x"), None, rules=RULES)
    assert expected in str(error.value)
    assert "hidden" not in str(error.value)


def test_sinks_for_events_need_rules(tmp_path: Path) -> None:
    for address in ("exec:/bin/true", "webhook:https://example.org/x", "-?only=events", "jsonl:x?only=events"):
        with pytest.raises(InputError, match=r"there are no rules .* add \[events\]"):
            open_sinks([address], Stats("x"), None)
    for program, expected in (
        (tmp_path / "no", "no such file"),
        (tmp_path, "no such file"),
        (Path("/etc/passwd"), "not executable"),
    ):
        with pytest.raises(InputError, match=expected):
            ProgramSink(program).start()
