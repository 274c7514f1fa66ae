"""Home Assistant itself, with a real broker and a real camera loop.

Skipped unless EDGEPOSE_HASS is the program `hass` (`pip install homeassistant paho-mqtt` in an environment of its own;
current releases need a newer Python than this project). Takes a minute or two.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgepose.device.events.event import RuleInfo, RuleState

from .mqtt_helpers import end_with_the_test_process, free_port, needs_broker, run_broker
from .sink_helpers import make_event, make_message, wait_until
from .test_home_assistant import BoardStats, get_retained, publish, run_sink

HASS = os.environ.get("EDGEPOSE_HASS", "")
pytestmark = [
    pytest.mark.once,
    needs_broker,
    pytest.mark.skipif(not HASS, reason="EDGEPOSE_HASS is not set: no Home Assistant"),
]
START_TIMEOUT_S = 400
TIMEOUT_S = 120
OLD_TOPIC = "homeassistant/sensor/front-door/people/config"
OLD_MESSAGE = {
    "name": "People", "unique_id": "edgepose_front-door_people", "state_topic": "edgepose/front-door/people",
    "availability_topic": "edgepose/front-door/status", "icon": "mdi:account-group", "state_class": "measurement",
    "device": {"identifiers": ["edgepose_front-door"], "name": "Front door", "manufacturer": "edgepose",
               "sw_version": "0.1.0"},
    "origin": {"name": "edgepose", "sw_version": "0.1.0"},
}  # fmt: skip
"""Discovery message of earlier versions."""


class HomeAssistant:
    """A running Home Assistant with a user, and its REST API."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self._token, self._refresh_token = "", ""
        self.log = folder / "log"
        (folder / "automations.yaml").write_text("[]\n")
        (folder / "configuration.yaml").write_text(
            f"http:\n  server_host: 127.0.0.1\n  server_port: {self._port}\napi:\nconfig:\nonboarding:\n"
            "logger:\n  default: info\n"
        )
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*HASS.split(), "-c", str(self._folder)],
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_the_test_process,
            )
        wait_until(self._answers, START_TIMEOUT_S)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.log.read_text()[-3000:]
        try:
            self.request("/api/onboarding")
        except urllib.error.HTTPError as error:
            error.close()
            return error.code == 401
        except OSError:
            return False
        return True

    def request(self, path: str, data: bytes | None = None, kind: str = "application/json") -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", data, {"Content-Type": kind})
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return bytes(answer.read())

    def call(self, path: str, **data: Any) -> Any:
        return json.loads(self.request(path, json.dumps(data).encode()))

    def create_user(self) -> None:
        client = f"http://127.0.0.1:{self._port}/"
        user = {"name": "me", "username": "me", "password": "correct horse", "language": "en"}
        code = self.call("/api/onboarding/users", client_id=client, **user)["auth_code"]
        form = urllib.parse.urlencode({"grant_type": "authorization_code", "code": code, "client_id": client})
        answer = self.request("/auth/token", form.encode(), "application/x-www-form-urlencoded")
        self._token = json.loads(answer)["access_token"]

    def add_mqtt(self, port: int) -> None:
        flow = self.call("/api/config/config_entries/flow", handler="mqtt")
        assert flow["step_id"] == "broker", flow
        data: dict[str, Any] = {"broker": "127.0.0.1", "port": port}
        if any(entry["name"] == "other_settings" for entry in flow["data_schema"]):
            data["other_settings"] = {"set_client_cert": False, "set_ca_cert": "off"}
        flow = self.call(f"/api/config/config_entries/flow/{flow['flow_id']}", **data)
        assert flow["type"] == "create_entry", flow

    def get_states(self) -> dict[str, str]:
        """Return the states of the entities of the front door, by entity id."""
        states = json.loads(self.request("/api/states"))
        return {entry["entity_id"]: entry["state"] for entry in states if "front_door" in entry["entity_id"]}

    def render(self, template: str) -> str:
        return self.request("/api/template", json.dumps({"template": template}).encode()).decode()

    def wait_for(self, **expected: str) -> dict[str, str]:
        """Wait until entities have these states; returns all states."""

        def matches() -> dict[str, str] | None:
            states = self.get_states()
            named = {
                entity.partition("front_door_")[2]: state
                for entity, state in states.items()
                if not entity.startswith("event.")
            }
            return states if all(named.get(name) == state for name, state in expected.items()) else None

        return dict(wait_until(matches, TIMEOUT_S))


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = free_port()
    with run_broker(port, tmp_path_factory.mktemp("broker")):
        publish(port, OLD_TOPIC, json.dumps(OLD_MESSAGE), retain=True)
        yield port


@pytest.fixture(scope="module")
def home_assistant(broker: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HomeAssistant]:
    program = HASS.split()[0]
    assert shutil.which(program), f"EDGEPOSE_HASS: {program} is not a program"
    running = HomeAssistant(tmp_path_factory.mktemp("home-assistant"))
    try:
        running.create_user()
        running.add_mqtt(broker)
        wait_until(lambda: "sensor.front_door_people" in running.get_states(), TIMEOUT_S)
        yield running
    finally:
        running.stop()


@contextmanager
def run_camera(broker: int, options: str = "?image=2", more: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        sys.executable, "-m", "edgepose.runtime.cli", "camera", "--source", "synthetic:3", "--fps", "5", "--name",
        "Front door", "--privacy", "silhouette", "--insecure", "--sink", f"mqtt://127.0.0.1:{broker}{options}",
        "--sink", f"http://0.0.0.0:{free_port()}", *more,
    ]  # fmt: skip
    child = subprocess.Popen(command, stderr=subprocess.PIPE, preexec_fn=end_with_the_test_process)
    try:
        yield child
    finally:
        child.terminate()
        child.communicate(timeout=TIMEOUT_S)


def test_the_device_has_all_entities(home_assistant: HomeAssistant, broker: int) -> None:
    with run_camera(broker):
        states = home_assistant.wait_for(occupancy="on", people="3", state="running", pause="off")
        assert set(states) >= {
            "binary_sensor.front_door_occupancy", "sensor.front_door_people", "sensor.front_door_fps",
            "sensor.front_door_latency", "sensor.front_door_model", "sensor.front_door_state",
            "switch.front_door_pause", "image.front_door_image",
        }  # fmt: skip
        assert sum("people" in entity for entity in states) == 1, "the old entity was migrated"
        assert OLD_TOPIC not in get_retained(broker, "homeassistant/")
        wait_until(lambda: float(home_assistant.get_states()["sensor.front_door_fps"]) > 0, TIMEOUT_S)
        device = home_assistant.render(
            "{% set d = device_id('switch.front_door_pause') %}{{ device_attr(d, 'name') }}, "
            "{{ device_attr(d, 'manufacturer') }}, {{ device_attr(d, 'configuration_url') }}, "
            "{{ device_entities(d) | count }}"
        )
        assert device.startswith("Front door, edgepose, http://")
        assert device.endswith(f", {len(states)}")
        wait_until(
            lambda: home_assistant.get_states()["image.front_door_image"] not in ("unknown", "unavailable"), TIMEOUT_S
        )
        encoded = home_assistant.request("/api/image_proxy/image.front_door_image")
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
        assert float((image.max(axis=2) < 20).mean()) > 0.8, "a silhouette"
    home_assistant.wait_for(occupancy="unavailable", pause="unavailable")


def test_the_switch_pauses_the_loop(home_assistant: HomeAssistant, broker: int) -> None:
    with run_camera(broker) as child:
        home_assistant.wait_for(state="running", people="3")
        home_assistant.call("/api/services/switch/turn_on", entity_id="switch.front_door_pause")
        home_assistant.wait_for(pause="on", state="paused", people="unavailable", occupancy="unavailable")
        home_assistant.call("/api/services/switch/turn_off", entity_id="switch.front_door_pause")
        home_assistant.wait_for(pause="off", state="running", people="3", occupancy="on")
        child.kill()
        home_assistant.wait_for(people="unavailable", pause="unavailable", state="unavailable")


ODD_NAME = 'Sofa "left" }} {% x'
RULES = """
[[events.zone]]
name = "Yard"
polygon = [[0, 0], [1, 0], [1, 1], [0, 1]]

[[events.zone]]
name = 'Sofa "left" }} {% x'
polygon = [[0, 0], [0.345, 0], [0.345, 1], [0, 1]]
"""


def ask(home_assistant: HomeAssistant, *requests: dict[str, Any], events: int = 0) -> list[Any]:
    """Send requests over the WebSocket API; return the answers and the events that follow the last request."""
    aiohttp = pytest.importorskip("aiohttp")

    async def talk() -> list[Any]:
        answers: list[Any] = []
        url = f"ws://127.0.0.1:{home_assistant._port}/api/websocket"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as link:
            await link.receive_json()
            await link.send_json({"type": "auth", "access_token": home_assistant._token})
            await link.receive_json()
            for number, request in enumerate(requests, 1):
                await link.send_json({"id": number, **request})
                answer = await link.receive_json()
                assert answer["success"], answer
                answers.append(answer["result"])
            while len(answers) < len(requests) + events:
                answers.append((await link.receive_json(timeout=TIMEOUT_S))["event"])
        return answers

    return asyncio.run(talk())


def test_rules_are_entities_and_triggers(home_assistant: HomeAssistant, broker: int, tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(RULES)
    with run_camera(broker, more=("--config", str(tmp_path / "rules.toml"))):
        states = home_assistant.wait_for(yard="on", yard_people="3", state="running")
        odd = next(entity for entity in states if entity.startswith("binary_sensor.front_door_sofa"))
        wait_until(lambda: home_assistant.get_states()[odd] in ("on", "off"), TIMEOUT_S)
        assert {"event.front_door_yard", odd.replace("binary_sensor.", "event.")} <= set(states)
        people = home_assistant.render("{{ state_attr('binary_sensor.front_door_yard', 'people') | count }}")
        assert people == "3"
    home_assistant.wait_for(yard="unavailable")
    (tmp_path / "rules.toml").write_text(RULES.partition("[[events.zone]]\nname = 'Sofa")[0])
    with run_camera(broker, more=("--config", str(tmp_path / "rules.toml"))):
        home_assistant.wait_for(yard="on", state="running")
        wait_until(lambda: odd not in home_assistant.get_states(), TIMEOUT_S)
        assert odd.replace("binary_sensor.", "event.") not in home_assistant.get_states()


@contextmanager
def repeat(action: Callable[[], object]) -> Iterator[None]:
    """Repeat an action in a thread: Home Assistant must have subscribed before it gets an event."""
    end = threading.Event()

    def run() -> None:
        while not end.wait(0.5):
            action()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def test_events_reach_event_entities_and_triggers(home_assistant: HomeAssistant, broker: int) -> None:
    rules = (
        RuleInfo(ODD_NAME, "fall", ("fall",), has_duration=True),
        RuleInfo("Door", "line", ("cross",), has_duration=False, counts=("in", "out")),
    )
    fall = make_event("e0", event="fall", kind="fall", rule=ODD_NAME, label="lying", zone="")
    crossing = make_event("e1", event="cross", kind="line", state="once", rule="Door", direction="out", zone="")
    states = (
        RuleState(ODD_NAME, "fall", True, (1,), {}, {1: "lying"}),
        RuleState("Door", "line", False, (), {"in": 3, "out": 5}),
    )
    message = replace(make_message(), events=(fall, crossing), rules=states)
    stats = BoardStats("x")
    stats.state = "running"
    with (
        run_sink(f"mqtt://127.0.0.1:{broker}", name="Front door", stats=stats, rules=rules) as sink,
        repeat(lambda: sink.send(message)),
    ):
        home_assistant.wait_for(door_in="3", door_out="5", state="running")
        odd = next(entity for entity in home_assistant.get_states() if entity.startswith("event.front_door_sofa"))
        for entity in ("event.front_door_door", odd):
            wait_until(
                lambda entity=entity: home_assistant.get_states()[entity] not in ("unknown", "unavailable"), TIMEOUT_S
            )  # type: ignore[misc]
        event = json.loads(home_assistant.render(f"{{{{ states['{odd}'].attributes | tojson }}}}"))
        assert (event["event_type"], event["label"], event["person"]) == ("fall_started", "lying", 1)
        assert event["event_types"] == ["fall_started", "fall_ended"]
        assert not {"pose", "timestamp_ns", "rule"} & set(event)
        crossed = "{{ state_attr('event.front_door_door', 'event_type') }}"
        assert home_assistant.render(crossed) == "cross_out"
        sensor = odd.replace("event.", "binary_sensor.")
        labels = f"{{{{ state_attr('{sensor}', 'labels')['1'] }}}}, {{{{ states('{sensor}') }}}}"
        assert home_assistant.render(labels) == "lying, on"
        device = home_assistant.render("{{ device_id('event.front_door_door') }}")
        [triggers] = ask(home_assistant, {"type": "device_automation/trigger/list", "device_id": device})
        found = {(one["subtype"], one["type"]): one for one in triggers if one["domain"] == "mqtt"}
        assert set(found) == {
            (ODD_NAME, "fall started"), (ODD_NAME, "fall ended"), ("Door", "cross in"), ("Door", "cross out"),
        }  # fmt: skip
        trigger = found[ODD_NAME, "fall started"]
        trigger.pop("metadata")
        _, event = ask(home_assistant, {"type": "subscribe_trigger", "trigger": trigger}, events=1)
        assert event["variables"]["trigger"]["payload_json"]["rule"] == ODD_NAME
    with run_sink(f"mqtt://127.0.0.1:{broker}", name="Front door", stats=stats, rules=rules[1:]):
        wait_until(lambda: odd not in home_assistant.get_states(), TIMEOUT_S)
        [triggers] = ask(home_assistant, {"type": "device_automation/trigger/list", "device_id": device})
        assert {one["subtype"] for one in triggers if one["domain"] == "mqtt"} == {"Door"}


def test_a_raspberry_pi_reports_its_health(home_assistant: HomeAssistant, broker: int) -> None:
    with run_sink(f"mqtt://127.0.0.1:{broker}", stats=BoardStats("x"), name="Front door"):
        home_assistant.wait_for(temperature="81.3", throttled="on", state="starting", people="unavailable")
        flags = home_assistant.render("{{ state_attr('binary_sensor.front_door_throttled', 'flags') }}")
        assert "undervoltage since boot" in flags


def test_entities_survive_a_restart_and_are_removed_on_request(home_assistant: HomeAssistant, broker: int) -> None:
    with run_camera(broker):
        home_assistant.wait_for(state="running")
        home_assistant.stop()
        home_assistant.start()
        home_assistant.wait_for(state="running", people="3", occupancy="on", pause="off")
    with run_camera(broker, "?pause=off"):
        wait_until(lambda: "switch.front_door_pause" not in home_assistant.get_states(), TIMEOUT_S)
        home_assistant.wait_for(state="running")
        assert "image.front_door_image" not in home_assistant.get_states()
    with run_camera(broker, "?discovery=remove"):
        wait_until(lambda: not home_assistant.get_states(), TIMEOUT_S)
    time.sleep(1)
    complaints = [
        line for line in home_assistant.log.read_text().splitlines()
        if "components.mqtt" in line and ("WARNING" in line or "ERROR" in line)
    ]  # fmt: skip
    assert complaints == []
