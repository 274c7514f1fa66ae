"""Sinks: complete lines in all cases, a real MQTT broker, no effect on the speed of the loop."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgepose.device.monitor.stats import Stats
from edgepose.device.sinks import base, mqtt
from edgepose.device.sinks.base import Message, Sink, SinkError, stop_all
from edgepose.device.sinks.factory import open_sinks
from edgepose.device.sinks.jsonl import FileSink
from edgepose.device.sinks.privacy import apply_privacy
from edgepose.runtime.errors import InputError
from edgepose.runtime.skeleton import COCO18
from edgepose.runtime.types import EstimateResult, Timings

from ..conftest import HANG_S, measure_slowness
from .mqtt_helpers import (
    end_with_the_test_process,
    free_port,
    needs_broker,
    run_broker,
    run_tls_broker,
    subscribe,
)
from .sink_helpers import make_message, wait_until

pytestmark = pytest.mark.once
_TEST_TIMEOUT_S = 60


@pytest.fixture(autouse=True)
def time_limit() -> Iterator[None]:
    """Limit the time of each test, also inside `Thread.join`."""

    def expire(number: int, frame: object) -> None:
        raise TimeoutError(f"the test did not end within {_TEST_TIMEOUT_S} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.alarm(_TEST_TIMEOUT_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


class StuckSink(Sink):
    """Sink that never finishes a message."""

    name = "stuck"

    def __init__(self, works: bool = True) -> None:
        super().__init__()
        self.works = works
        self.free = False

    def write(self, message: Message) -> None:
        if not self.works:
            raise SinkError("away")
        wait_until(lambda: self.free)


@contextmanager
def run_child(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a child process that is always killed at the end."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=end_with_the_test_process)
    try:
        yield child
    finally:
        child.kill()
        child.wait(10)


def test_a_stuck_sink_does_not_delay_the_loop_and_is_counted() -> None:
    sink, some = StuckSink(), make_message()
    sink.start()
    start = time.monotonic()
    for _ in range(1000):
        sink.send(some)
    assert time.monotonic() - start < 0.5 * measure_slowness()
    assert sink.lost > 900
    sink.free = True
    sink.stop()
    assert sink.sent + sink.lost == 1000


def test_a_failing_sink_is_logged_once_and_can_be_stopped(caplog: pytest.LogCaptureFixture) -> None:
    sink = StuckSink(works=False)
    sink.start()
    for _ in range(5):
        sink.send(make_message())
    wait_until(lambda: sink.problem)
    start = time.monotonic()
    sink.stop()
    assert time.monotonic() - start < 1.5 * measure_slowness()
    assert [record.getMessage() for record in caplog.records] == ["stuck: away"]


class BlockedSink(Sink):
    """Sink whose thread is inside a call that does not return."""

    name = "blocked"

    def __init__(self) -> None:
        super().__init__()
        self.inside = threading.Event()
        self.free = threading.Event()
        self.closed_by: list[str] = []

    def write(self, message: Message) -> None:
        self.inside.set()
        self.free.wait(20)

    def close(self) -> None:
        self.closed_by.append(threading.current_thread().name)


def test_a_sink_is_closed_by_its_own_thread_only() -> None:
    sink = BlockedSink()
    sink.start()
    for _ in range(3):
        sink.send(make_message())
    assert sink.inside.wait(5)
    sink.stop()
    assert sink.closed_by == [], "its thread is still inside"
    assert sink.lost == 2, "what waited in the queue"
    sink.free.set()
    wait_until(lambda: sink.closed_by == ["edgepose-blocked"])


def test_many_blocked_sinks_end_together_in_time() -> None:
    blocked = [BlockedSink() for _ in range(5)]
    for sink in blocked:
        sink.start()
        sink.send(make_message())
        assert sink.inside.wait(5)
    idle, new = StuckSink(), StuckSink()
    idle.start()
    start = time.monotonic()
    assert stop_all([*blocked, idle, new]) == blocked
    assert time.monotonic() - start < 1.6 * measure_slowness()
    for sink in blocked:
        sink.free.set()


def test_a_failed_stop_does_not_prevent_other_stops(caplog: pytest.LogCaptureFixture) -> None:
    class FailingSink(StuckSink):
        def stop(self) -> None:
            raise RuntimeError("cannot")

    sink = BlockedSink()
    sink.start()
    assert stop_all([FailingSink(), sink]) == []
    assert sink.closed_by == ["edgepose-blocked"]
    assert "cannot be stopped: RuntimeError: cannot" in caplog.text


def test_a_fault_of_a_library_is_a_problem_of_the_sink_and_not_its_end(caplog: pytest.LogCaptureFixture) -> None:
    class FaultySink(Sink):
        calls = 0

        def write(self, message: Message) -> None:
            self.calls += 1
            if self.calls == 1:
                raise cv2.error("bad image")

    sink = FaultySink()
    sink.start()
    sink.send(make_message())
    wait_until(lambda: "bad image" in sink.problem)
    sink.send(make_message())
    wait_until(lambda: sink.sent == 1)
    sink.stop()
    assert (sink.lost, sink.problem) == (1, "")


def test_a_slow_connection_does_not_delay_the_start(caplog: pytest.LogCaptureFixture) -> None:
    class SlowSink(StuckSink):
        def connect(self) -> None:
            wait_until(lambda: self.free)
            raise InputError("refused")

    sink = SlowSink()
    start = time.monotonic()
    sink.start()
    assert time.monotonic() - start < 1 * measure_slowness()
    sink.free = True
    wait_until(lambda: sink.problem == "refused")
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    sink.stop()


def test_a_reader_of_stdout_that_has_stopped_does_not_keep_the_process() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from edgepose.device.sinks.base import stop_all\n"
        "from edgepose.device.sinks.jsonl import StdoutSink\n"
        "from tests.device.sink_helpers import make_message, wait_until\n"
        "sink, some = StdoutSink(), make_message()\n"
        "sink.start()\n"
        "import time\n"
        "for _ in range(200): sink.send(some); time.sleep(0.005)\n"
        "stop_all([sink]); print('ended', file=sys.stderr)\n"
    )
    root = Path(__file__).resolve().parent.parent.parent
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert child.stderr is not None
        assert child.wait(20) == 0
        assert child.stderr.read().splitlines()[-1] == "ended"
    finally:
        child.kill()
        child.communicate()


def test_lines_are_rotated_by_size(tmp_path: Path) -> None:
    path, some = tmp_path / "poses.jsonl", make_message()
    size = len(some.line) + 1
    sink = FileSink(path, rotate_bytes=5 * size, keep=2)
    sink.start()
    for _ in range(23):
        wait_until(lambda: len(sink._queue) < 10)
        sink.send(some)
    sink.stop()
    counts = {name.name: len(name.read_text().splitlines()) for name in tmp_path.iterdir()}
    assert counts == {"poses.jsonl": 3, "poses.jsonl.1": 5, "poses.jsonl.2": 5}
    assert sink.sent == 23


def test_an_incomplete_line_is_removed_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "poses.jsonl"
    path.write_text('{"a":1}\n{"b":2}\n{"c":')
    sink = FileSink(path)
    sink.start()
    sink.send(make_message())
    sink.stop()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [next(iter(line)) for line in lines] == ["a", "b", "version"]


def test_a_full_disk_loses_messages_but_never_half_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, some = tmp_path / "poses.jsonl", make_message()
    sink = FileSink(path, fsync="never")
    sink.open()
    sink.write(some)
    real = os.write

    def full(handle: int, content: bytes) -> int:
        return real(handle, content[:10])

    monkeypatch.setattr("edgepose.device.sinks.jsonl.os.write", full)
    with pytest.raises(SinkError, match="no space left"):
        sink.write(some)

    def none(handle: int, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("edgepose.device.sinks.jsonl.os.write", none)
    with pytest.raises(SinkError, match="No space left"):
        sink.write(some)
    monkeypatch.setattr("edgepose.device.sinks.jsonl.os.write", real)
    sink.write(some)
    sink.close()
    assert [json.loads(line)["index"] for line in path.read_text().splitlines()] == [0, 0]


def test_lines_go_to_devices_and_pipes_too(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    sinks = open_sinks([f"jsonl:{tmp_path}/pipe?rotate=1kB", "jsonl:/dev/null?rotate=1kB"], Stats("x"), None)
    for sink in sinks:
        sink.start()
        for _ in range(3):
            sink.send(make_message())
    wait_until(lambda: all(sink.sent == 3 for sink in sinks))
    assert stop_all(sinks) == []
    assert len(os.read(reader, 65536).splitlines()) == 3
    os.close(reader)
    assert Path("/dev/null").is_char_device()


def test_lines_are_complete_after_sigkill(tmp_path: Path) -> None:
    path = tmp_path / "poses.jsonl"
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from edgepose.device.sinks.jsonl import FileSink\n"
        "from tests.device.sink_helpers import make_message\n"
        "sink, some = FileSink(Path(sys.argv[1])), make_message()\n"
        "sink.open()\n"
        "while True: sink.write(some)\n"
    )
    root = Path(__file__).resolve().parent.parent.parent
    for _ in range(3):
        before = path.stat().st_size if path.exists() else 0
        with run_child([sys.executable, "-c", code, str(path), str(root)]):
            wait_until(lambda before=before: path.exists() and path.stat().st_size > before + 20_000)  # type: ignore[misc]
    lines = path.read_bytes().split(b"\n")
    assert all(json.loads(line) for line in lines[:-1])


def test_datagrams_need_no_receiver() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(5)
        (sink,) = open_sinks([f"udp://127.0.0.1:{listener.getsockname()[1]}"], Stats("x"), None)
        sink.start()
        sink.send(make_message())
        assert len(json.loads(listener.recv(65536))["poses"]) == 2
    sink.send(make_message())
    sink.stop()
    assert sink.lost == 0


@needs_broker
def test_mqtt_publishes_announces_itself_and_survives_a_restart_of_the_broker(tmp_path: Path) -> None:
    port = free_port()
    with run_broker(port, tmp_path) as child, subscribe(port) as heard:
        (sink,) = open_sinks([f"mqtt://127.0.0.1:{port}/pose/door?qos=1"], Stats("x"), None, name="door")
        sink.start()
        wait_until(lambda: "pose/door/status" in heard)
        sink.send(make_message(people=2))
        wait_until(lambda: "pose/door/people" in heard and "pose/door/poses" in heard)
        device = json.loads(wait_until(lambda: heard.get("homeassistant/device/door/config"))[0])
        assert device["cmps"]["people"]["state_topic"] == "pose/door/people"
        assert heard["pose/door/people"] == ["2"]
        child.terminate()
        child.wait(10)
        sink.send(make_message())
        wait_until(lambda: sink.problem)
        heard.clear()
        with run_broker(port, tmp_path):
            wait_until(lambda: "pose/door/status" in heard, 20)
            sink.send(make_message(people=3))
            wait_until(lambda: "3" in heard.get("pose/door/people", []), 20)
            sink.stop()
            wait_until(lambda: heard["pose/door/status"][-1] == "offline")
    assert sink.problem == ""


@needs_broker
def test_mqtt_a_refused_login_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("paho.mqtt.client")
    (tmp_path / "passwords").write_text("")
    port = free_port()
    monkeypatch.setenv("EDGEPOSE_MQTT_PASSWORD", "secret")
    for module in (base, mqtt):  # a busy broker answers late
        monkeypatch.setattr(module, "START_TIMEOUT_S", HANG_S)
    with run_broker(port, tmp_path, str(tmp_path / "passwords")):
        (sink,) = open_sinks([f"mqtt://me@127.0.0.1:{port}/x"], Stats("x"), None)
        with pytest.raises(InputError, match="refuses") as error:
            sink.start()
        assert "secret" not in str(error.value)


@needs_broker
def test_mqtt_the_last_will_is_sent_when_the_process_dies(tmp_path: Path) -> None:
    pytest.importorskip("paho.mqtt.client")
    port = free_port()
    code = (
        "import sys, time\nfrom edgepose.device.sinks.mqtt import MqttSink\n"
        "from edgepose.device.monitor.stats import Stats\n"
        "MqttSink('127.0.0.1', int(sys.argv[1]), Stats('x'), 'x').start()\ntime.sleep(60)\n"
    )
    with run_broker(port, tmp_path), subscribe(port, "x/status") as topics:
        heard = topics.setdefault("x/status", [])
        with run_child([sys.executable, "-c", code, str(port)]):
            wait_until(lambda: "online" in heard)
        wait_until(lambda: heard[-1] == "offline")


@needs_broker
def test_mqtt_boards_with_the_same_configuration_have_different_topics(tmp_path: Path) -> None:
    port = free_port()
    with run_broker(port, tmp_path), subscribe(port) as heard:
        wanted = [f"mqtt://127.0.0.1:{port}"]
        sinks = [open_sinks(wanted, Stats("x"), None, name=name)[0] for name in ("Küche", "Front door", "玄関")]
        for sink, people in zip(sinks, (1, 2, 3), strict=True):
            sink.start()
            sink.send(make_message(people=people))
        wait_until(lambda: sum(topic.endswith("/people") for topic in heard) == 3)
        assert heard["edgepose/kueche/people"] == ["1"]
        assert heard["edgepose/front-door/people"] == ["2"]
        wait_until(lambda: sum(topic.startswith("homeassistant/device/") for topic in heard) == 3)
        devices = [json.loads(text[0]) for topic, text in heard.items() if topic.startswith("homeassistant/device/")]
        assert {device["dev"]["name"] for device in devices} == {"Küche", "Front door", "玄関"}
        sensors = [sensor for device in devices for sensor in device["cmps"].values() if len(sensor) > 1]
        assert len({sensor["unique_id"] for sensor in sensors}) == len(sensors)
        people = [device["cmps"]["people"] for device in devices]
        assert len({sensor["state_topic"] for sensor in people}) == 3
        line = json.loads(wait_until(lambda: heard.get("edgepose/kueche/poses"))[0])
        assert line["version"] == 2
        assert stop_all(sinks) == []


def test_mqtt_client_ids_are_unique_and_plain() -> None:
    pytest.importorskip("paho.mqtt.client")
    from edgepose.device.sinks.mqtt import MqttSink

    names = ("Küche", "Küche", "玄関", "x" * 60)
    ids = [MqttSink("h", 1, Stats("x"), device=name).client_id for name in names for _ in range(20)]
    assert len(set(ids)) == len(ids), "two containers have the same process id and name"
    assert all(re.fullmatch(r"[a-z0-9]{9,23}", name) for name in ids)


def test_placeholders_name_topics_and_files(tmp_path: Path) -> None:
    wanted = [f"jsonl:{tmp_path}/{{name}}-{{source}}.jsonl?keep=1", "mqtt://h/pose/{name}/{source}?discovery=ha/{name}"]
    file, mqtt = open_sinks(wanted, Stats("x"), None, name="Küche", source="rtsp://me:secret@cam/1")
    assert file._path == tmp_path / "kueche-cam-1.jsonl"  # type: ignore[attr-defined]
    assert mqtt._topics.base == "pose/kueche/cam-1"  # type: ignore[attr-defined]
    for text in ("jsonl:{nam}.jsonl", "mqtt://h/{nam}"):
        with pytest.raises(InputError, match=r"unknown placeholder \{nam\}; did you mean \{name\}\?"):
            open_sinks([text], Stats("x"), None)


@pytest.mark.parametrize("mqtt5", [True, False])
@needs_broker
def test_mqtt_a_takeover_is_named_and_ended_by_a_new_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mqtt5: bool
) -> None:
    client_module = pytest.importorskip("paho.mqtt.client")
    port = free_port()
    with run_broker(port, tmp_path), subscribe(port) as heard:
        (sink,) = open_sinks([f"mqtt://127.0.0.1:{port}/x"], Stats("x"), None)
        sink._mqtt5 = mqtt5  # type: ignore[attr-defined]
        sink.start()
        old = sink.client_id  # type: ignore[attr-defined]
        wait_until(lambda: heard.get("x/status") == ["online"])
        other = client_module.Client(client_module.CallbackAPIVersion.VERSION2, client_id=old)
        other.reconnect_delay_set(1, 1)
        other.connect("127.0.0.1", port)
        other.loop_start()
        wait_until(lambda: sink.client_id != old, 30)  # type: ignore[attr-defined]
        wait_until(lambda: sink._is_connected() and heard["x/status"][-1] == "online")  # type: ignore[attr-defined]
        sink.send(make_message())
        wait_until(lambda: sink.sent)
        sink.stop()
        other.disconnect()
        other.loop_stop()
    said = [record.getMessage() for record in caplog.records if "takeover" in record.getMessage()]
    said += [record.getMessage() for record in caplog.records if "taken over" in record.getMessage()]
    assert len(said) == 1
    assert old in said[0]
    assert not any(record.levelname == "ERROR" for record in caplog.records)


def test_mqtt_a_takeover_that_the_broker_names_is_recognized_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """MQTT 5 has the reason code 142 for this. mosquitto 2.0 does not send it."""
    pytest.importorskip("paho.mqtt.client")
    ids: list[bytes] = []
    links: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    link, _ = server.accept()
                except OSError:
                    return
                packet = link.recv(1000)
                start = 15 + packet[12]  # after the properties
                ids.append(packet[start : start + packet[start - 1]])
                link.sendall(b"\x20\x03\x00\x00\x00")
                links.append(link)
                if len(ids) == 1:
                    link.sendall(b"\xe0\x01\x8e")

        threading.Thread(target=serve, daemon=True).start()
        (sink,) = open_sinks([f"mqtt://127.0.0.1:{server.getsockname()[1]}/x"], Stats("x"), None)
        sink.start()
        wait_until(lambda: len(ids) == 2 and sink._is_connected())  # type: ignore[attr-defined]
        sink.stop()
    for link in links:
        link.close()
    assert ids[0] != ids[1]
    (said,) = [record.getMessage() for record in caplog.records]
    assert f"session taken over: another client has connected with the client id {ids[0].decode()};" in said


@needs_broker
def test_mqtt_frequent_broker_restarts_are_no_takeover(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("paho.mqtt.client")
    port = free_port()
    (sink,) = open_sinks([f"mqtt://127.0.0.1:{port}/x"], Stats("x"), None)
    for _ in range(3):
        with run_broker(port, tmp_path):
            if not sink.thread.ident:
                sink.start()
            wait_until(lambda: sink._is_connected(), 20)  # type: ignore[attr-defined]
        sink.send(make_message())
        wait_until(lambda: sink.problem)
        time.sleep(1.2)
    sink.stop()
    assert "takeover" not in caplog.text


class OldBroker:
    """Broker for MQTT 3.1.1 only. It refuses or drops connections of version 5 and answers only CONNECT."""

    def __init__(self, refusal: bytes) -> None:
        self.refusal = refusal
        self.levels: list[int] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.links: list[socket.socket] = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                link, _ = self.socket.accept()
            except OSError:
                return
            self.levels.append(link.recv(1000)[8])
            if self.levels[-1] == 4:
                link.sendall(b"\x20\x02\x00\x00")
                self.links.append(link)
            else:
                link.sendall(self.refusal)
                link.close()

    def close(self) -> None:
        for link in (self.socket, *self.links):
            link.close()


@pytest.mark.parametrize("refusal", [b"\x20\x02\x00\x01", b""], ids=["refused", "dropped"])
def test_mqtt_falls_back_to_version_3(refusal: bytes) -> None:
    pytest.importorskip("paho.mqtt.client")
    old = OldBroker(refusal)
    (sink,) = open_sinks([f"mqtt://127.0.0.1:{old.port}/x"], Stats("x"), None)
    sink.start()
    wait_until(lambda: sink._is_connected())  # type: ignore[attr-defined]
    assert old.levels == ([5, 4] if refusal else [5, 5, 4])
    sink.send(make_message())
    wait_until(lambda: sink.sent == 1)
    start = time.monotonic()
    sink.stop()  # the broker never confirms the last message
    assert time.monotonic() - start < 1.2 * measure_slowness()
    old.close()


def test_mqtt_a_broker_that_drops_all_clients_is_retried_slowly(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("paho.mqtt.client")
    tried: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drop() -> None:
            while True:
                try:
                    link, _ = server.accept()
                except OSError:
                    return
                tried.append(time.monotonic())
                link.close()

        threading.Thread(target=drop, daemon=True).start()
        (sink,) = open_sinks([f"mqtt://127.0.0.1:{server.getsockname()[1]}/x"], Stats("x"), None)
        sink.start()
        end = time.monotonic() + 5
        while time.monotonic() < end:
            sink.send(make_message())
            time.sleep(0.1)
        sink.stop()
    assert len(tried) <= 5
    assert len(caplog.records) == 1
    assert "closes the connection without an answer" in caplog.text


@contextmanager
def unreachable() -> Iterator[int]:
    """Provide a port whose connections hang, as for a host that is turned off. Its queue is full."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            link = stack.enter_context(socket.socket())
            link.setblocking(False)
            link.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def test_mqtt_a_dead_broker_delays_neither_start_nor_end(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("paho.mqtt.client")
    with socket.create_server(("127.0.0.1", 0)) as silent, unreachable() as port:
        # A broker that never answers, a closed port, an address whose packets are dropped, an unknown host name.
        wanted = [
            f"mqtt://127.0.0.1:{silent.getsockname()[1]}/a",
            f"mqtt://127.0.0.1:{free_port()}/b",
            f"mqtt://127.0.0.1:{port}/c",
            "mqtt://no-such-host.invalid/d",
        ]
        for text in wanted:
            (sink,) = open_sinks([text], Stats("x"), None)
            start = time.monotonic()
            sink.start()
            assert time.monotonic() - start < 0.8 * measure_slowness(), text
            sink.send(make_message())
            wait_until(lambda sink=sink: sink.problem)  # type: ignore[misc]
            start = time.monotonic()
            assert stop_all([sink]) == [], text
            assert time.monotonic() - start < 1.3 * measure_slowness(), text
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == len(wanted)
    assert "Connection refused" in said[1]


def test_mqtt_a_dead_broker_does_not_delay_the_end_of_the_process() -> None:
    pytest.importorskip("paho.mqtt.client")
    code = (
        "import sys, time\nfrom edgepose.device.monitor.stats import Stats\n"
        "from edgepose.device.sinks.factory import open_sinks\n"
        "from edgepose.device.sinks.base import stop_all\n"
        "sinks = open_sinks([f'mqtt://127.0.0.1:{port}/x' for port in (sys.argv[1], 9)], Stats('x'), None)\n"
        "start = time.monotonic()\n"
        "[sink.start() for sink in sinks]\nstop_all(sinks)\nprint(start)\n"
    )
    with unreachable() as port:
        command = [sys.executable, "-c", code, str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=True)
    assert time.monotonic() - float(done.stdout) < 3.0 * measure_slowness()


@contextmanager
def sink_of_hanging_broker(folder: Path) -> Iterator[Sink]:
    """Connect a sink and then stop its broker."""
    pytest.importorskip("paho.mqtt.client")
    port = free_port()
    with run_broker(port, folder) as child:
        (sink,) = open_sinks([f"mqtt://127.0.0.1:{port}/x?qos=1"], Stats("x"), None)
        sink.start()
        wait_until(lambda: sink._is_connected())  # type: ignore[attr-defined]
        child.send_signal(signal.SIGSTOP)
        try:
            yield sink
        finally:
            child.send_signal(signal.SIGCONT)


@needs_broker
def test_mqtt_a_broker_that_hangs_does_not_delay_the_end(tmp_path: Path) -> None:
    with sink_of_hanging_broker(tmp_path) as sink:
        for _ in range(30):
            sink.send(make_message())
        start = time.monotonic()
        assert stop_all([sink]) == []
        assert time.monotonic() - start < 1.4 * measure_slowness()


@needs_broker
def test_mqtt_messages_that_a_broker_does_not_confirm_count_as_lost(tmp_path: Path) -> None:
    with sink_of_hanging_broker(tmp_path) as sink:
        some = make_message()
        end = time.monotonic() + 10
        while "confirm" not in sink.problem and time.monotonic() < end:
            sink.send(some)
            time.sleep(0.002)
        assert "does not confirm messages as fast as they come" in sink.problem
        assert sink.lost > 0
        assert stop_all([sink]) == []


@needs_broker
def test_mqtt_a_login_refused_after_the_start_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("paho.mqtt.client")
    (tmp_path / "passwords").write_text("")
    monkeypatch.setenv("EDGEPOSE_MQTT_PASSWORD", "secret")
    port = free_port()
    (sink,) = open_sinks([f"mqtt://me@127.0.0.1:{port}/x"], Stats("x"), None)
    sink.start()
    with run_broker(port, tmp_path, str(tmp_path / "passwords")):
        wait_until(lambda: "refuses" in sink.problem)
        for _ in range(20):
            sink.send(make_message())
            time.sleep(0.1)
    sink.stop()
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert "the broker refuses: Not authorized (user me, password from EDGEPOSE_MQTT_PASSWORD)" in errors[0]
    assert "secret" not in caplog.text


@needs_broker
def test_mqtts_verifies_the_broker(tmp_path: Path, authority: Path) -> None:
    pytest.importorskip("paho.mqtt.client")
    port = free_port()
    address = f"mqtts://localhost:{port}/x"
    with run_tls_broker(port, tmp_path, authority):
        (sink,) = open_sinks([f"{address}?ca={authority}/ca.pem"], Stats("x"), None)
        sink.start()
        sink.send(make_message())
        wait_until(lambda: sink.sent == 1)
        sink.stop()
        for text in (address, f"{address}?ca={authority}/other.pem"):
            (sink,) = open_sinks([text], Stats("x"), None)
            with pytest.raises(
                InputError, match=r"certificate is not trusted: .*; give the certificate of its authority"
            ):
                sink.start()
    port = free_port()
    with run_tls_broker(port, tmp_path, authority, "elsewhere"):
        (sink,) = open_sinks([f"mqtts://localhost:{port}/x?ca={authority}/ca.pem"], Stats("x"), None)
        with pytest.raises(InputError, match=r"not trusted: Hostname mismatch, .*; if this is the right broker"):
            sink.start()
        address = f"mqtts://127.0.0.1:{port}/x?ca={authority}/ca.pem"
        (sink,) = open_sinks([address], Stats("x"), None)
        with pytest.raises(InputError, match=r"not trusted: IP address mismatch, .*server_name=NAME$"):
            sink.start()
        (sink,) = open_sinks([f"{address}&server_name=elsewhere.invalid"], Stats("x"), None)
        sink.start()
        sink.send(make_message())
        wait_until(lambda: sink.sent == 1)
        sink.stop()


@needs_broker
def test_mqtts_shows_a_client_certificate(tmp_path: Path, authority: Path) -> None:
    pytest.importorskip("paho.mqtt.client")
    port = free_port()
    address = f"mqtts://127.0.0.1:{port}/x?ca={authority}/ca.pem"
    with run_tls_broker(port, tmp_path, authority, client=True):
        (sink,) = open_sinks([f"{address}&cert={authority}/client.pem&key={authority}/client.key"], Stats("x"), None)
        sink.start()
        sink.send(make_message())
        wait_until(lambda: sink.sent == 1)
        sink.stop()
        for options, reason in (
            ("", "required"),
            (f"&cert={authority}/expired.pem&key={authority}/client.key", "expired"),
            (f"&cert={authority}/other.pem&key={authority}/other.key", "unknown ca"),
        ):
            (sink,) = open_sinks([address + options], Stats("x"), None)
            # The start is refused, or if the broker is slow, the sink tries again.
            with suppress(InputError):
                sink.start()
            wait_until(lambda sink=sink: sink.problem or sink._refusal)  # type: ignore[misc]
            said = sink._refusal or sink.problem  # type: ignore[attr-defined]
            assert (
                f"the broker refuses the client certificate: certificate {reason}; check the options cert and key"
                in said.replace(": unknown", ": certificate unknown")
            )
            assert "\n" not in said
            sink.stop()


@needs_broker
def test_mqtt_without_tls_to_a_tls_broker_is_reported(tmp_path: Path, authority: Path) -> None:
    pytest.importorskip("paho.mqtt.client")
    port = free_port()
    with run_tls_broker(port, tmp_path, authority):
        (sink,) = open_sinks([f"mqtt://127.0.0.1:{port}/x"], Stats("x"), None)
        sink.start()
        wait_until(lambda: "TLS: mqtts://" in sink.problem)
        sink.stop()


def test_tls_files_are_checked_at_the_start(tmp_path: Path, authority: Path) -> None:
    pytest.importorskip("paho.mqtt.client")
    (tmp_path / "bad.pem").write_text("no certificate")
    for options, expected in (
        (f"ca={tmp_path}/missing.pem", "missing.pem: cannot be read"),
        (f"ca={tmp_path}/bad.pem", "bad.pem: expected certificates as PEM"),
        (
            f"cert={authority}/client.pem&key={authority}/ca.key",
            "client.pem: expected a certificate as PEM and its key",
        ),
    ):
        (sink,) = open_sinks([f"mqtts://127.0.0.1/x?{options}"], Stats("x"), None)
        with pytest.raises(InputError, match=expected):
            sink.start()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("jsonl:door#1.jsonl", "door#1.jsonl"),
        ("jsonl:a?b.jsonl", "a?b.jsonl"),
        ("jsonl:a?b.jsonl?fsync=never", "a?b.jsonl"),
        ("jsonl:a?b=c.jsonl?keep=1", "a?b=c.jsonl"),
        ("jsonl:100%20 a+b:c.jsonl", "100%20 a+b:c.jsonl"),
        ("jsonl:what?", "what?"),
        ("JSONL:x", "x"),
        ("jsonl:{{x}}", "{x}"),
        ("jsonl:///tmp/x.jsonl", "/tmp/x.jsonl"),
        ("jsonl:~/x.jsonl", "/home/somebody/x.jsonl"),
        ("jsonl:./~/x.jsonl", "~/x.jsonl"),
    ],
)
def test_file_names_are_used_unchanged(monkeypatch: pytest.MonkeyPatch, text: str, name: str) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    (sink,) = open_sinks([text], Stats("x"), None)
    assert sink._path == Path(name)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jsonl:x?rotat=5MB", "unknown option 'rotat'; did you mean rotate?"),
        ("jsonl:x?keep=1&keep=2", "option 'keep' is given twice"),
        ("jsonl:~nobody-of-that-name/x", "write ./~nobody-of-that-name"),
        ("jsonl:", "expected the name of a file"),
        ("poses.jsonl", "did you mean jsonl:poses.jsonl?"),
        ("mqtt://h/a#b", "expected no '#'"),
        ("mqtt://h/a?b", "unknown option 'b'"),
        ("mqtt://h/a?ca=x", "option 'ca' needs mqtts://"),
        ("mqtts://h/a?key=x", "option 'key' needs 'cert'"),
        ("mqtts://me:secret@h/a", "put the password into EDGEPOSE_MQTT_PASSWORD"),
        ("mqtts://me:secret@/a", "expected a host"),
        ("ssl://h/a", "did you mean mqtts?"),
        ("mqttss://me:secret@h/a", "did you mean mqtts?"),
        ("mqtt://[::1/a", "Invalid IPv6"),
        ("udp://h:1/x", "without a path"),
    ],
)
def test_wrong_sinks_are_named_without_their_passwords(text: str, expected: str) -> None:
    with pytest.raises(InputError) as error:
        open_sinks([text], Stats("x"), None)
    assert expected in str(error.value)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_privacy_modes_hide_faces() -> None:
    some = make_message()
    plain, blurred, dark = (
        apply_privacy(some.frame, some.estimate, COCO18, mode) for mode in ("none", "blur", "silhouette")
    )  # type: ignore[arg-type]
    nobody = EstimateResult((), Timings(0, 0, 0))
    assert np.array_equal(apply_privacy(some.frame, nobody, COCO18, "none"), some.frame.image)
    assert not apply_privacy(some.frame, nobody, COCO18, "silhouette").any()
    detail = [
        float(np.abs(cv2.Laplacian(apply_privacy(some.frame, nobody, COCO18, mode), cv2.CV_32F)).mean())
        for mode in ("none", "blur")
    ]  # type: ignore[arg-type]
    assert detail[1] < 0.3 * detail[0]
    assert plain.shape == blurred.shape == dark.shape
    assert dark.any()
