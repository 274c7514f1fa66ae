"""Sinks: whole lines whatever happens, a real broker, and none that can slow the loop."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgepose.device.choose_sinks import open_sinks
from edgepose.device.privacy import shown
from edgepose.device.sinks.base import Message, Sink, SinkError
from edgepose.device.sinks.lines import FileSink
from edgepose.device.stats import Stats
from edgepose.runtime.errors import InputError
from edgepose.runtime.skeleton import COCO18
from edgepose.runtime.types import Estimate, Timings

from .sink_helpers import message, wait

pytestmark = pytest.mark.once


def free_port() -> int:
    with socket.socket() as link:
        link.bind(("127.0.0.1", 0))
        return int(link.getsockname()[1])


class Stuck(Sink):
    """A sink that never gets anything done."""

    name = "stuck"

    def __init__(self, works: bool = True) -> None:
        super().__init__()
        self.works = works
        self.free = False

    def write(self, message: Message) -> None:
        if not self.works:
            raise SinkError("away")
        wait(lambda: self.free)


def test_a_stuck_sink_costs_the_loop_nothing_and_is_counted() -> None:
    sink, some = Stuck(), message()
    sink.start()
    start = time.monotonic()
    for _ in range(1000):
        sink.send(some)
    assert time.monotonic() - start < 0.5
    assert sink.lost > 900
    sink.free = True
    sink.stop()
    assert sink.sent + sink.lost == 1000


def test_a_sink_that_fails_says_so_once_and_ends_when_told(caplog: pytest.LogCaptureFixture) -> None:
    sink = Stuck(works=False)
    sink.start()
    for _ in range(5):
        sink.send(message())
    wait(lambda: sink.problem)
    start = time.monotonic()
    sink.stop()
    assert time.monotonic() - start < 1.5
    assert [record.getMessage() for record in caplog.records] == ["stuck: away"]


def test_lines_are_rotated_by_size(tmp_path: Path) -> None:
    path, some = tmp_path / "poses.jsonl", message()
    size = len(some.line) + 1
    sink = FileSink(path, rotate_bytes=5 * size, keep=2)
    sink.start()
    for _ in range(23):
        wait(lambda: len(sink._queue) < 10)
        sink.send(some)
    sink.stop()
    counts = {name.name: len(name.read_text().splitlines()) for name in tmp_path.iterdir()}
    assert counts == {"poses.jsonl": 3, "poses.jsonl.1": 5, "poses.jsonl.2": 5}
    assert sink.sent == 23


def test_a_line_in_pieces_is_cut_off_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "poses.jsonl"
    path.write_text('{"a":1}\n{"b":2}\n{"c":')
    sink = FileSink(path)
    sink.start()
    sink.send(message())
    sink.stop()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [next(iter(line)) for line in lines] == ["a", "b", "version"]


def test_a_full_disk_loses_messages_but_never_half_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, some = tmp_path / "poses.jsonl", message()
    sink = FileSink(path, fsync="never")
    sink.open()
    sink.write(some)
    real = os.write

    def full(handle: int, content: bytes) -> int:
        return real(handle, content[:10])

    monkeypatch.setattr("edgepose.device.sinks.lines.os.write", full)
    with pytest.raises(SinkError, match="no space left"):
        sink.write(some)

    def none(handle: int, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("edgepose.device.sinks.lines.os.write", none)
    with pytest.raises(SinkError, match="No space left"):
        sink.write(some)
    monkeypatch.setattr("edgepose.device.sinks.lines.os.write", real)
    sink.write(some)
    sink.close()
    assert [json.loads(line)["index"] for line in path.read_text().splitlines()] == [0, 0]


def test_lines_survive_being_killed(tmp_path: Path) -> None:
    path = tmp_path / "poses.jsonl"
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from edgepose.device.sinks.lines import FileSink\n"
        "from tests.sink_helpers import message\n"
        "sink, some = FileSink(Path(sys.argv[1])), message()\n"
        "sink.open()\n"
        "while True: sink.write(some)\n"
    )
    root = Path(__file__).resolve().parent.parent
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", code, str(path), str(root)])
        before = path.stat().st_size if path.exists() else 0
        wait(lambda before=before: path.exists() and path.stat().st_size > before + 20_000)  # type: ignore[misc]
        child.send_signal(signal.SIGKILL)
        child.wait()
    lines = path.read_bytes().split(b"\n")
    assert all(json.loads(line) for line in lines[:-1])


def test_datagrams_arrive_and_need_nobody() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(5)
        (sink,) = open_sinks([f"udp://127.0.0.1:{listener.getsockname()[1]}"], Stats("x"), None)
        sink.start()
        sink.send(message())
        assert len(json.loads(listener.recv(65536))["poses"]) == 2
    sink.send(message())
    sink.stop()
    assert sink.lost == 0


@contextmanager
def broker(port: int, folder: Path, password_file: str = "") -> Iterator[subprocess.Popen[bytes]]:
    settings = f"listener {port} 127.0.0.1\npersistence false\n"
    settings += f"allow_anonymous false\npassword_file {password_file}\n" if password_file else "allow_anonymous true\n"
    (folder / "mosquitto.conf").write_text(settings + "user root\n")
    child = subprocess.Popen(
        [shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", str(folder / "mosquitto.conf")],
        stderr=subprocess.DEVNULL,
    )

    def listens() -> bool:
        with socket.socket() as link:
            return link.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait(listens)
        yield child
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


needs_broker = pytest.mark.skipif(
    shutil.which("mosquitto") is None and not Path("/usr/sbin/mosquitto").exists(),
    reason="mosquitto is not installed (Debian: mosquitto)",
)


@needs_broker
def test_mqtt_publishes_announces_itself_and_survives_a_restart_of_the_broker(tmp_path: Path) -> None:
    client_module = pytest.importorskip("paho.mqtt.client")
    port = free_port()
    heard: dict[str, list[str]] = {}
    with broker(port, tmp_path) as child:
        listener = client_module.Client(client_module.CallbackAPIVersion.VERSION2)
        listener.on_message = lambda _c, _u, m: heard.setdefault(m.topic, []).append(m.payload.decode())
        listener.on_connect = lambda c, *_: c.subscribe("#")
        listener.reconnect_delay_set(1, 1)
        listener.connect("127.0.0.1", port)
        listener.loop_start()
        (sink,) = open_sinks([f"mqtt://127.0.0.1:{port}/pose/door?qos=1"], Stats("x"), None, node="door")
        sink.start()
        wait(lambda: "pose/door/status" in heard)
        sink.send(message(people=2))
        wait(lambda: "pose/door/people" in heard and "pose/door/poses" in heard)
        sensor = json.loads(wait(lambda: heard.get("homeassistant/sensor/door/people/config"))[0])
        assert sensor["state_topic"] == "pose/door/people"
        assert heard["pose/door/people"] == ["2"]
        child.terminate()
        child.wait()
        sink.send(message())
        wait(lambda: sink.problem)
        heard.clear()
        with broker(port, tmp_path):
            wait(lambda: "pose/door/status" in heard, 20)
            sink.send(message(people=3))
            wait(lambda: "3" in heard.get("pose/door/people", []), 20)
            sink.stop()
            wait(lambda: heard["pose/door/status"][-1] == "offline")
        listener.loop_stop()
    assert sink.problem == ""


@needs_broker
def test_mqtt_a_refused_login_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("paho.mqtt.client")
    (tmp_path / "passwords").write_text("")
    port = free_port()
    monkeypatch.setenv("EDGEPOSE_MQTT_PASSWORD", "secret")
    with broker(port, tmp_path, str(tmp_path / "passwords")):
        (sink,) = open_sinks([f"mqtt://me@127.0.0.1:{port}/x"], Stats("x"), None)
        with pytest.raises(InputError, match="refuses") as error:
            sink.start()
        assert "secret" not in str(error.value)


@needs_broker
def test_mqtt_the_last_will_is_sent_when_the_process_dies(tmp_path: Path) -> None:
    client_module = pytest.importorskip("paho.mqtt.client")
    port = free_port()
    heard: list[str] = []
    code = (
        "import sys, time\nfrom edgepose.device.sinks.mqtt import MqttSink\n"
        "MqttSink('127.0.0.1', int(sys.argv[1]), 'x').open()\ntime.sleep(60)\n"
    )
    with broker(port, tmp_path):
        listener = client_module.Client(client_module.CallbackAPIVersion.VERSION2)
        listener.on_message = lambda _c, _u, m: heard.append(m.payload.decode())
        listener.on_connect = lambda c, *_: c.subscribe("x/status")
        listener.connect("127.0.0.1", port)
        listener.loop_start()
        child = subprocess.Popen([sys.executable, "-c", code, str(port)])
        wait(lambda: "online" in heard)
        child.kill()
        child.wait()
        wait(lambda: heard[-1] == "offline")
        listener.loop_stop()


def test_privacy_leaves_no_face() -> None:
    some = message()
    plain, blurred, dark = (shown(some.frame, some.estimate, COCO18, mode) for mode in ("none", "blur", "silhouette"))  # type: ignore[arg-type]
    nobody = Estimate((), Timings(0, 0, 0))
    assert np.array_equal(shown(some.frame, nobody, COCO18, "none"), some.frame.image)
    assert not shown(some.frame, nobody, COCO18, "silhouette").any()
    detail = [
        float(np.abs(cv2.Laplacian(shown(some.frame, nobody, COCO18, mode), cv2.CV_32F)).mean())
        for mode in ("none", "blur")
    ]  # type: ignore[arg-type]
    assert detail[1] < 0.3 * detail[0]
    assert plain.shape == blurred.shape == dark.shape
    assert dark.any()


def test_a_recording_plays_at_the_speed_of_life(tmp_path: Path) -> None:
    from edgepose.device.sinks.record import RecordSink

    sink = RecordSink(tmp_path / "out.avi", "blur", fps=20)
    sink.start()
    some = message()
    for _ in range(10):
        sink.send(some)
        time.sleep(0.1)
    sink.stop()
    video = cv2.VideoCapture(str(tmp_path / "out.avi"))
    assert 15 <= video.get(cv2.CAP_PROP_FRAME_COUNT) <= 25, "a second at twenty frames a second"
