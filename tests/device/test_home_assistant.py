"""Discovery messages for Home Assistant, the state of the loop on MQTT, images, and the pause command, with a real
broker. `test_real_home_assistant.py` runs Home Assistant itself.
"""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgepose.device.camera.loop import Loop
from edgepose.device.config import LoopConfig
from edgepose.device.events.event import RuleInfo, RuleState
from edgepose.device.monitor.health import Health
from edgepose.device.monitor.stats import Stats
from edgepose.device.sinks.base import Sink
from edgepose.device.sinks.factory import open_sinks
from edgepose.device.sinks.home_assistant import Announcement, PageAddress
from edgepose.device.sinks.home_assistant_rules import find_stale_components, list_rule_components
from edgepose.device.sinks.mqtt import MqttOptions, MqttSink
from edgepose.device.sinks.mqtt_state import OccupancyDetector
from edgepose.device.sinks.mqtt_tls import Tls
from edgepose.device.sinks.mqtt_topics import Topics
from edgepose.device.sources.base import FrameSource, SyntheticCamera
from edgepose.runtime import PoseEstimator
from edgepose.runtime.errors import InputError
from edgepose.runtime.types import Frame

from ..conftest import HANG_S, measure_slowness
from .mqtt_helpers import end_with_the_test_process, free_port, needs_broker, run_broker, run_tls_broker, subscribe
from .sink_helpers import make_event_message, make_message, wait_until

pytestmark = pytest.mark.once
paho = pytest.importorskip("paho.mqtt.client")
DEVICE_TOPIC = "homeassistant/device/door/config"
OLD_TOPIC = "homeassistant/sensor/door/people/config"


class BoardStats(Stats):
    """Statistics of a Raspberry Pi that is too hot."""

    def get_health(self, max_age_s: float = 2.0) -> Health:
        return Health(81.26, 1500.0, ("throttled", "undervoltage since boot"))


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of a broker that all tests share; each test uses a device name of its own where messages are retained."""
    port = free_port()
    with run_broker(port, tmp_path_factory.mktemp("broker")):
        yield port


@contextmanager
def run_sink(address: str, *, stats: Stats | None = None, **options: Any) -> Iterator[Sink]:
    options.setdefault("name", "door")
    (sink,) = open_sinks([address], stats or Stats("tiny int8"), options.pop("privacy", None), **options)
    sink.start()
    try:
        yield sink
    finally:
        sink.stop()


def publish(port: int, topic: str, payload: bytes | str, retain: bool = False) -> None:
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(HANG_S)
    client.disconnect()
    client.loop_stop()


def read_states(heard: dict[str, list[str]], topic: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in heard.get(topic, [])]


def get_retained(port: int, topics: str) -> dict[str, list[str]]:
    """Return the retained messages of a broker."""
    end = "end/of/retained/messages"
    with subscribe(port) as heard:
        publish(port, end, "x")
        wait_until(lambda: end in heard)
        return {topic: texts for topic, texts in heard.items() if topic.startswith(topics)}


@needs_broker
def test_one_message_announces_the_device_with_all_entities(broker: int) -> None:
    pause = threading.Event()
    with (
        subscribe(broker) as heard,
        run_sink(
            f"mqtt://127.0.0.1:{broker}?image=5", stats=BoardStats("x"), pause=pause, privacy="blur", name="Haustür"
        ),
    ):
        text = wait_until(lambda: heard.get("homeassistant/device/haustuer/config"))[0]
    message = json.loads(text)
    assert message["dev"]["ids"] == ["edgepose_haustuer"]
    assert message["dev"]["name"] == "Haustür"
    assert "cu" not in message["dev"], "there is no page"
    assert message["o"]["name"] == "edgepose"
    assert message["availability"] == [{"topic": "edgepose/haustuer/status"}]
    platforms = {key: component["p"] for key, component in message["cmps"].items()}
    assert platforms == {
        "occupancy": "binary_sensor", "people": "sensor", "fps": "sensor", "latency": "sensor", "state": "sensor",
        "temperature": "sensor", "throttled": "binary_sensor", "model": "sensor", "image": "image", "pause": "switch",
    }  # fmt: skip
    assert list(platforms)[-1] == "people", "Home Assistant ignores what follows a component that it migrates"
    ids = {component["unique_id"] for component in message["cmps"].values()}
    assert len(ids) == len(platforms)
    assert "edgepose_haustuer_people" in ids, "the id of earlier versions"
    assert len(get_retained(broker, "homeassistant/device/haustuer")) == 1


def test_entities_that_do_not_exist_are_removed() -> None:
    message = json.loads(
        Announcement(
            "ha", "door", "door", Topics("x"), has_temperature=False, has_firmware_flags=False, has_pause=False,
            has_image=False,
        ).format_message()
    )  # fmt: skip
    removed = {key for key, component in message["cmps"].items() if len(component) == 1}
    assert removed == {"temperature", "throttled", "pause", "image"}
    assert all("unique_id" in component for key, component in message["cmps"].items() if key not in removed)


@needs_broker
def test_the_message_of_an_earlier_version_is_migrated_once(broker: int) -> None:
    old = json.dumps({"name": "People", "unique_id": "edgepose_door_people", "state_topic": "x/people"})
    publish(broker, OLD_TOPIC, old, retain=True)
    with subscribe(broker, "homeassistant/#") as heard:
        wait_until(lambda: OLD_TOPIC in heard)
        order: list[str] = []
        for _ in range(2):
            heard.pop(DEVICE_TOPIC, None)
            with run_sink(f"mqtt://127.0.0.1:{broker}"):
                wait_until(lambda: DEVICE_TOPIC in heard)
            order = heard[OLD_TOPIC]
    assert order == [old, '{"migrate_discovery": true}', ""]
    retained = get_retained(broker, "homeassistant/")
    assert DEVICE_TOPIC in retained
    assert OLD_TOPIC not in retained


@needs_broker
def test_the_device_is_removed_on_request(broker: int) -> None:
    with subscribe(broker, "homeassistant/#") as heard:
        with run_sink(f"mqtt://127.0.0.1:{broker}", name="gone"):
            wait_until(lambda: "homeassistant/device/gone/config" in heard)
        with run_sink(f"mqtt://127.0.0.1:{broker}?discovery=remove", name="gone"):
            wait_until(lambda: heard["homeassistant/device/gone/config"][-1] == "")
            wait_until(lambda: "homeassistant/sensor/gone/people/config" in heard)
        with run_sink(f"mqtt://127.0.0.1:{broker}?discovery=remove:other", name="gone"), subscribe(broker) as others:
            publish(broker, "other/device/gone/config", "x", retain=True)
        del others
    assert "homeassistant/device/gone/config" not in get_retained(broker, "homeassistant/")


@needs_broker
def test_without_discovery_and_pause_the_sink_only_publishes(tmp_path: Path) -> None:
    """Some brokers close the connection of a client that subscribes without permission."""
    port, log = free_port(), tmp_path / "log"
    with run_broker(port, tmp_path, more=f"log_dest file {log}\nlog_type all\n"):
        with run_sink(f"mqtt://127.0.0.1:{port}?discovery=&pause=off", pause=threading.Event()) as sink:
            sink.send(make_message())
            wait_until(lambda: sink.sent == 1)
        assert "SUBSCRIBE" not in log.read_text()
        with run_sink(f"mqtt://127.0.0.1:{port}?discovery="):
            pass
        with run_sink(f"mqtt://127.0.0.1:{port}"):
            wait_until(lambda: "SUBSCRIBE" in log.read_text())
    assert "homeassistant/device" in log.read_text()


def test_a_broker_that_forbids_reading_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """mosquitto accepts every subscription, so the broker is written here."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            link, _ = server.accept()
            link.recv(1000)
            link.sendall(b"\x20\x03\x00\x00\x00")
            subscribe_packet = link.recv(1000)
            message_id = subscribe_packet[2:4] if subscribe_packet[1] < 128 else subscribe_packet[3:5]
            link.sendall(b"\x90\x08" + message_id + b"\x00" + 5 * b"\x87")
            links.append(link)

        links: list[socket.socket] = []
        threading.Thread(target=serve, daemon=True).start()
        with run_sink(f"mqtt://127.0.0.1:{server.getsockname()[1]}", pause=threading.Event()) as sink:
            wait_until(lambda: "does not allow reading topics below edgepose/door" in caplog.text)
            sink.send(make_message())
            wait_until(lambda: sink.sent == 1)
    for link in links:
        link.close()
    assert len(caplog.records) == 1


RULES = (
    RuleInfo("Yard", "zone", ("enter", "leave"), has_duration=True, counts=("people",)),
    RuleInfo("Door", "line", ("cross",), has_duration=False, counts=("in", "out")),
)


def make_state(active: bool, people: tuple[int, ...], labels: dict[int, str] | None = None) -> RuleState:
    return RuleState("Yard", "zone", active, people, {"people": len(people)}, labels or {}, ((0, 0), (9, 0), (9, 9)))


@needs_broker
def test_events_and_the_state_of_rules_are_published(broker: int) -> None:
    with (
        subscribe(broker, "edgepose/rules/#") as heard,
        run_sink(f"mqtt://127.0.0.1:{broker}", name="rules", rules=RULES) as sink,
    ):
        sink.send(replace(make_event_message("e0"), rules=(make_state(True, (1,)),)))
        sink.send(replace(make_message(), rules=(make_state(True, (1,), {1: "12"}),)))
        sink.send(replace(make_message(), rules=(make_state(False, ()),)))
        wait_until(lambda: len(heard.get("edgepose/rules/rules", [])) == 2)
        # The source ends: its last frame was written before.
        sink.send(replace(make_event_message("e1"), rules=(make_state(True, (2,)),), only_events=True))
        wait_until(lambda: len(heard["edgepose/rules/rules"]) == 3)
    assert [json.loads(text)["id"] for text in heard["edgepose/rules/events"]] == ["e0", "e1"]
    states = [json.loads(text)["Yard"] for text in heard["edgepose/rules/rules"]]
    assert [state["active"] for state in states] == [True, False, True]
    assert states[0] == {"kind": "zone", "active": True, "people": [1], "counts": {"people": 1}, "labels": {}}
    retained = get_retained(broker, "edgepose/rules/")
    assert "edgepose/rules/events" not in retained
    assert len(retained["edgepose/rules/rules"]) == 1


@needs_broker
def test_events_are_kept_while_the_broker_is_away(tmp_path: Path) -> None:
    port = free_port()
    with run_broker(port, tmp_path) as child, subscribe(port, "edgepose/door/events") as heard:
        with run_sink(f"mqtt://127.0.0.1:{port}", rules=RULES) as sink:
            sink.send(make_event_message("e0"))
            wait_until(lambda: heard)
            child.terminate()
            child.wait(HANG_S)
            wait_until(lambda: not sink._is_connected())  # type: ignore[attr-defined]
            for number in range(1, 101):
                sink.send(make_event_message(f"e{number}"))
            wait_until(lambda: sink.problem)
            heard.clear()
            with run_broker(port, tmp_path):
                wait_until(lambda: len(heard.get("edgepose/door/events", [])) == 100)
        ids = [json.loads(text)["id"] for text in heard["edgepose/door/events"]]
    assert ids == [f"e{number}" for number in range(1, 101)]
    assert sink.lost_events == 0


@needs_broker
def test_rules_are_announced_and_removed(broker: int) -> None:
    topic = "homeassistant/device/ruled/config"
    expected = {
        "rule_yard": "binary_sensor", "rule_yard_count_people": "sensor", "rule_yard_event": "event",
        "rule_yard_on_enter": "device_automation", "rule_yard_on_leave": "device_automation",
        "rule_door_count_in": "sensor", "rule_door_count_out": "sensor", "rule_door_event": "event",
        "rule_door_on_cross_in": "device_automation", "rule_door_on_cross_out": "device_automation",
    }  # fmt: skip
    with subscribe(broker, topic) as heard:
        with run_sink(f"mqtt://127.0.0.1:{broker}", name="ruled", rules=RULES):
            first = json.loads(wait_until(lambda: heard.get(topic))[-1])["cmps"]
        assert {key: one["p"] for key, one in first.items() if key.startswith("rule_")} == expected
        assert list(first)[-1] == "people"
        with run_sink(f"mqtt://127.0.0.1:{broker}", name="ruled", rules=RULES[1:]):
            second = json.loads(wait_until(lambda: len(heard[topic]) > 1 and heard[topic])[-1])["cmps"]
        removed = {key: one for key, one in second.items() if key.startswith("rule_yard")}
        assert removed == {key: {"p": kind} for key, kind in expected.items() if key.startswith("rule_yard")}
        with run_sink(f"mqtt://127.0.0.1:{broker}", name="ruled", rules=RULES[1:]):
            third = json.loads(wait_until(lambda: len(heard[topic]) > 2 and heard[topic])[-1])["cmps"]
    assert not any(key.startswith("rule_yard") for key in third)


def test_rules_with_the_same_slug_have_different_ids() -> None:
    rules = [
        RuleInfo(name, "fall", ("fall",), has_duration=True) for name in ("Front door", "front-door", "玄関", "居間")
    ]
    components = list_rule_components(rules, Topics("x"), {})
    assert sum(one["p"] == "binary_sensor" for one in components.values()) == 4
    assert "rule_front-door" in components
    assert components["rule_front-door_2_on_fall_started"]["subtype"] == "front-door"
    assert components["rule_front-door_on_fall_ended"]["type"] == "fall ended"


def test_a_forged_discovery_message_cannot_remove_other_components() -> None:
    forged = {"rule_x": {"p": "binary_sensor", "a": 1}, "people": {"p": "sensor", "a": 1},
              "rule_y": {"p": "lock", "a": 1}, "rule_/": {"p": "event", "a": 1}, "rule_z": {"p": "event"}}  # fmt: skip
    assert find_stale_components(json.dumps({"cmps": forged}).encode(), {}) == {"rule_x": {"p": "binary_sensor"}}
    for payload in (
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"cmps": [1]}',
        b'{"cmps": {"a": 1}}',
        b'{"cmps": {"a": {"b":1,"c":2}}}',
    ):
        assert find_stale_components(payload, {}) == {}


@needs_broker
def test_the_state_is_published_at_changes(broker: int) -> None:
    stats = BoardStats("tiny int8")
    with subscribe(broker, "states/#") as heard, run_sink(f"mqtt://127.0.0.1:{broker}/states", stats=stats):
        first = wait_until(lambda: read_states(heard, "states/state"))[0]
        assert first["state"] == "starting"
        assert first["model"] == "tiny int8"
        assert first["temperature_c"] == 81.3
        assert first["throttled"] == "ON"
        assert first["flags"] == ["throttled", "undervoltage since boot"]
        assert first["pause"] == "OFF"
        stats.state, stats.problem = "camera lost", "the cable is out"
        changed = wait_until(lambda: read_states(heard, "states/state")[1:])[0]
        assert (changed["state"], changed["problem"]) == ("camera lost", "the cable is out")


@needs_broker
def test_numbers_of_people_are_published_at_most_once_per_second(broker: int) -> None:
    with subscribe(broker, "count/#") as heard, run_sink(f"mqtt://127.0.0.1:{broker}/count") as sink:
        start = time.monotonic()
        for index in range(60):
            sink.send(make_message(people=1 + index % 2))
            wait_until(lambda index=index: sink.sent == index + 1)  # type: ignore[misc]
        elapsed_s = time.monotonic() - start
        wait_until(lambda: len(heard.get("count/poses", [])) == 60)
        assert 1 <= len(heard["count/people"]) <= 1 + elapsed_s
        # A single frame is not enough.
        wait_until(lambda: heard.get("count/occupancy") == ["OFF", "ON"])


def test_occupancy_ignores_single_detections_and_short_gaps() -> None:
    detector = OccupancyDetector()
    states = [detector.update(people, now_s) for now_s, people in ((0.0, 1), (0.1, 0), (0.2, 1), (0.3, 2))]
    assert states == [False, False, False, True]
    assert detector.update(0, 5.2)
    assert not detector.update(0, 5.4)
    assert not detector.update(1, 5.5)


@needs_broker
@pytest.mark.parametrize("privacy", ["none", "silhouette"])
def test_images_are_published_as_privacy_allows_and_are_not_kept(broker: int, privacy: str) -> None:
    images: list[bytes] = []
    listener = paho.Client(paho.CallbackAPIVersion.VERSION2)
    listener.on_message = lambda _c, _u, message: images.append(message.payload)
    subscribed = threading.Event()
    listener.on_subscribe = lambda *_: subscribed.set()
    listener.connect("127.0.0.1", broker)
    listener.subscribe(f"{privacy}/image")
    listener.loop_start()
    assert subscribed.wait(HANG_S)
    with run_sink(f"mqtt://127.0.0.1:{broker}/{privacy}?image=3600", privacy=privacy) as sink:
        for _ in range(5):
            sink.send(make_message())
        wait_until(lambda: sink.sent == 5)
        wait_until(lambda: images)
    listener.disconnect()
    listener.loop_stop()
    assert len(images) == 1, "one per interval"
    image = cv2.imdecode(np.frombuffer(images[0], np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (240, 320, 3)
    black = float((image.max(axis=2) < 20).mean())
    assert black > 0.8 if privacy == "silhouette" else black < 0.5
    assert f"{privacy}/image" not in get_retained(broker, privacy)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mqtt://h?image=5", "option 'image' publishes camera images; choose with --privacy"),
        ("mqtt://h?image=often", "expected a number up to 86400, got 'often'"),
        ("mqtt://h?pause=maybe", "expected pause=on or pause=off, got 'maybe'"),
        ("mqtt://h?discovery=a/%23", "expected a topic without + and #"),
        ("mqtt://h?discovry=x", "did you mean discovery?"),
    ],
)
def test_wrong_options_are_one_line(text: str, expected: str) -> None:
    with pytest.raises((InputError, ValueError)) as error:
        open_sinks([text], Stats("x"), None)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


@needs_broker
def test_a_late_last_will_does_not_take_the_device_offline(broker: int) -> None:
    with subscribe(broker, "will/status") as heard, run_sink(f"mqtt://127.0.0.1:{broker}/will"):
        wait_until(lambda: heard.get("will/status") == ["online"])
        publish(broker, "will/status", "offline", retain=True)  # the will of a process that has died before
        wait_until(lambda: heard["will/status"] == ["online", "offline", "online"])
    assert get_retained(broker, "will/")["will/status"] == ["offline"]


@needs_broker
def test_two_processes_with_one_name_are_noticed(broker: int, caplog: pytest.LogCaptureFixture) -> None:
    with run_sink(f"mqtt://127.0.0.1:{broker}/same", name="same") as first:
        wait_until(lambda: first._announced and first._online_message_id is None)  # type: ignore[attr-defined]
        with run_sink(f"mqtt://127.0.0.1:{broker}/same", name="same"):
            wait_until(lambda: first.get_counts()["problem"])
        assert "another process uses the topic same; give each camera its own name" in str(
            first.get_counts()["problem"]
        )
        first._collision_s = -1e9  # type: ignore[attr-defined]
        assert first.get_counts()["problem"] == "", "it is over after a minute"
        with run_sink(f"mqtt://127.0.0.1:{broker}/elsewhere", name="same"):
            wait_until(
                lambda: "another process uses the discovery topic homeassistant/device/same/config" in caplog.text
            )


@pytest.mark.parametrize(
    ("page", "url"),
    [
        (PageAddress("http", "0.0.0.0", 8080), "http://10.0.0.7:8080"),
        (PageAddress("https", "::", 8443), "https://10.0.0.7:8443"),
        (PageAddress("http", "192.168.1.4", 80), "http://192.168.1.4:80"),
        (PageAddress("http", "fe80::1", 80), "http://[fe80::1]:80"),
        (PageAddress("http", "door.lan", 80), "http://door.lan:80"),
        (PageAddress("http", "127.0.0.1", 8080), ""),
        (PageAddress("http", "::1", 8080), ""),
        (PageAddress("http", "localhost", 8080), ""),
    ],
)
def test_the_page_is_linked_if_others_can_open_it(page: PageAddress, url: str) -> None:
    assert page.make_url("10.0.0.7") == url


@needs_broker
def test_the_link_to_the_page_is_in_the_message(broker: int) -> None:
    addresses = [f"mqtt://127.0.0.1:{broker}", "http://0.0.0.0:8099"]
    mqtt, _ = open_sinks(addresses, Stats("x"), "blur", insecure=True, name="linked")
    with subscribe(broker, "homeassistant/#") as heard:
        mqtt.start()
        message = json.loads(wait_until(lambda: heard.get("homeassistant/device/linked/config"))[0])
        mqtt.stop()
    # The broker runs on this machine, so that its address is the loopback address.
    assert message["dev"]["cu"].startswith("http://")
    assert message["dev"]["cu"].endswith(".local:8099")


class CountingCamera(SyntheticCamera):
    """Camera that records how often it was opened and closed."""

    opened = closed = 0

    def __init__(self) -> None:
        super().__init__(1, 320, 240, 50.0, distinct_frames=2)
        CountingCamera.opened += 1

    def close(self) -> None:
        CountingCamera.closed += 1
        super().close()


class Film(SyntheticCamera):
    """Video of 40 frames."""

    live, finite = False, True

    def __init__(self) -> None:
        super().__init__(1, 320, 240, None, distinct_frames=2)
        self.live = False

    def frames(self) -> Iterator[Frame]:
        for index, frame in enumerate(super().frames()):
            if index == 40:
                return
            yield frame


@pytest.fixture(scope="module")
def estimator() -> PoseEstimator:
    return PoseEstimator(threads=1)


@contextmanager
def run_loop(address: str, open_source: type[FrameSource], estimator: PoseEstimator, stats: Stats) -> Iterator[Loop]:
    pause = threading.Event()
    sinks = open_sinks([address], stats, None, name="loop", pause=pause)
    loop = Loop(open_source, [lambda: estimator], sinks, LoopConfig(), stats, pause=pause)
    thread = threading.Thread(target=loop.run, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.stop()
        thread.join(HANG_S)
        assert not thread.is_alive()


@needs_broker
def test_a_command_pauses_the_loop_and_closes_the_camera(
    broker: int, estimator: PoseEstimator, caplog: pytest.LogCaptureFixture
) -> None:
    CountingCamera.opened = CountingCamera.closed = 0
    stats, command = Stats("x"), "paused/pause/set"
    publish(broker, command, "ON", retain=True)  # older than the loop
    with (
        subscribe(broker, "paused/state") as heard,
        run_loop(f"mqtt://127.0.0.1:{broker}/paused", CountingCamera, estimator, stats),
    ):
        wait_until(lambda: stats.state == "running")
        wait_until(lambda: "a retained command is ignored" in caplog.text)
        publish(broker, command, "perhaps \x1b[2J\n")
        wait_until(lambda: "paused/pause/set: expected ON or OFF, got" in caplog.text)
        assert "\x1b" not in caplog.text
        assert CountingCamera.closed == 0
        publish(broker, command, "ON")
        wait_until(lambda: stats.state == "paused" and CountingCamera.closed == 1)
        paused = wait_until(
            lambda: [state for state in read_states(heard, "paused/state") if state["state"] == "paused"]
        )
        assert paused[0]["pause"] == "ON"
        processed = stats.processed
        time.sleep(0.3)
        assert stats.processed == processed
        assert stats.take_snapshot().people == 0, "nobody is seen"
        publish(broker, command, "off")
        wait_until(lambda: stats.state == "running" and stats.processed > processed)
        wait_until(lambda: read_states(heard, "paused/state")[-1]["pause"] == "OFF")
    assert CountingCamera.opened == CountingCamera.closed == 2
    publish(broker, command, "", retain=True)


@needs_broker
def test_a_paused_video_continues_where_it_was(broker: int, estimator: PoseEstimator) -> None:
    stats = Stats("x")
    pause = threading.Event()
    (sink,) = open_sinks([f"mqtt://127.0.0.1:{broker}/film"], stats, None, name="film", pause=pause)

    class PausingFilm(Film):
        def frames(self) -> Iterator[Frame]:
            for frame in super().frames():
                if frame.index == 20:
                    pause.set()
                    threading.Timer(0.5, pause.clear).start()
                yield frame

    loop = Loop(PausingFilm, [lambda: estimator], [sink], LoopConfig(), stats, pause=pause)
    loop.run(HANG_S)
    assert stats.processed == 40


def test_a_pause_while_the_camera_is_lost_opens_it_only_afterwards(
    estimator: PoseEstimator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgepose.device.camera.loop._RECONNECT_DELAYS_S", (0.05,))
    stats, pause, attempts = Stats("x"), threading.Event(), []

    def open_source() -> FrameSource:
        attempts.append(pause.is_set())
        if len(attempts) == 3:
            pause.set()
        if 1 < len(attempts) < 4:
            raise InputError("the cable is out")
        return Film() if len(attempts) == 4 else Broken()

    class Broken(CountingCamera):
        def frames(self) -> Iterator[Frame]:
            raise InputError("the cable is out")
            yield

    loop = Loop(open_source, [lambda: estimator], [], LoopConfig(), stats, pause=pause)
    thread = threading.Thread(target=loop.run, daemon=True)
    thread.start()
    wait_until(lambda: stats.state == "paused")
    assert len(attempts) == 3
    pause.clear()
    thread.join(HANG_S)
    assert attempts == [False] * 4
    assert stats.processed == 40


@needs_broker
def test_a_paused_process_ends_in_time(broker: int, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "edgepose.runtime.cli", "camera", "--source", "synthetic:1", "--name", "ending",
        "--sink", f"mqtt://127.0.0.1:{broker}",
    ]  # fmt: skip
    with subscribe(broker, "edgepose/ending/#") as heard:
        child = subprocess.Popen(command, stderr=subprocess.PIPE, preexec_fn=end_with_the_test_process)
        try:
            topic = "edgepose/ending/state"
            wait_until(lambda: any(state["state"] == "running" for state in read_states(heard, topic)))
            publish(broker, "edgepose/ending/pause/set", "ON")
            wait_until(lambda: read_states(heard, topic)[-1]["state"] == "paused")
            start = time.monotonic()
            child.send_signal(signal.SIGTERM)
            assert child.wait(HANG_S) == 0
            assert time.monotonic() - start < 2.0 * measure_slowness()
        finally:
            child.kill()
            _, said = child.communicate()
        wait_until(lambda: heard["edgepose/ending/status"][-1] == "offline")
    assert b"edgepose: paused" in said


def read_health(port: int) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=HANG_S) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@needs_broker
def test_tls_errors_are_retried_and_shown_by_healthz(
    tmp_path: Path, authority: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("aiohttp")
    stats, port = Stats("x"), free_port()
    mqtt, page = open_sinks(
        [f"mqtts://127.0.0.1:{port}/x?ca={authority}/ca.pem", "http://127.0.0.1:0"], stats, "silhouette", name="door"
    )
    stats.sinks = [mqtt, page]
    page.start()
    try:
        with run_tls_broker(port, tmp_path, authority, "late"):
            mqtt.start()
            problem = wait_until(lambda: read_health(page.port)[1]["sinks"]["0-mqtt"]["problem"])  # type: ignore[attr-defined]
            assert problem.startswith(f"mqtts://127.0.0.1:{port} cannot be reached: certificate has expired")
            assert "\n" not in problem
        stats.state = "paused"
        with run_tls_broker(port, tmp_path, authority):
            # No frames come, and still the problem ends.
            wait_until(lambda: not read_health(page.port)[1]["sinks"]["0-mqtt"]["problem"])  # type: ignore[attr-defined]
        assert read_health(page.port)[0] == 200, "a pause is no fault"  # type: ignore[attr-defined]
        wait_until(lambda: read_health(page.port)[1]["sinks"]["0-mqtt"]["problem"])  # type: ignore[attr-defined]
    finally:
        mqtt.stop()
        page.stop()
    assert all("\n" not in record.getMessage() for record in caplog.records)


def test_an_authority_of_a_home_network_is_accepted(authority: Path) -> None:
    context = Tls(ca=authority / "ca.pem").make_context(lambda error: None)
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_a_flood_of_wrong_commands_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    sink = MqttSink("127.0.0.1", 1, Stats("x"), "flood", options=MqttOptions(pause=threading.Event()))
    for number in range(100):
        sink._handle_command(b"\xff" * (number % 20) + chr(97 + number % 26).encode(), False)
    assert caplog.text.count("expected ON or OFF, got") == 1


def test_a_large_message_is_not_stored(broker: int, caplog: pytest.LogCaptureFixture) -> None:
    """A broker without MQTT 5 does not know the limit; here it is hidden from the broker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MqttSink, "_mqtt5", property(lambda sink: False, lambda sink, value: None), raising=False)
        sink = MqttSink("127.0.0.1", broker, Stats("x"), "large", options=MqttOptions(pause=threading.Event()))
        sink.start()
        try:
            wait_until(lambda: sink._is_connected())
            publish(broker, "large/pause/set", b"A" * 300_000)
            wait_until(lambda: "expected at most 262144; the connection is closed" in caplog.text)
            wait_until(lambda: sink._is_connected())
        finally:
            sink.stop()
    assert "expected ON or OFF" not in caplog.text
