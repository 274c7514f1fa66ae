"""Poses to an MQTT broker, with a last will, and the number of people as a sensor that Home Assistant finds by itself.

Topics: `TOPIC/poses` every frame, `TOPIC/people` (retained) when the number changes, `TOPIC/status` (retained) `online`
or `offline`.
"""

from __future__ import annotations

import json
import os
import threading
from typing import Any

from edgepose.runtime.errors import InputError, MissingExtraError

from .base import LOG, Message, Sink, SinkError

PASSWORD = "EDGEPOSE_MQTT_PASSWORD"
_PATIENCE_S = 5.0
_WAITING = 100
"""Messages that paho keeps while the broker is away."""


class MqttSink(Sink):
    """Through paho-mqtt, which reconnects by itself."""

    name = "mqtt"

    def __init__(
        self, host: str, port: int, topic: str, *, user: str = "", qos: int = 0, discovery: str = "homeassistant",
        node: str = "edgepose",
    ) -> None:  # fmt: skip
        """`discovery`: prefix under which Home Assistant looks for devices; empty for none. `node`: this device."""
        if qos not in (0, 1, 2):
            raise ValueError(f"mqtt: expected a qos of 0, 1 or 2, got {qos}")
        if not topic or any(sign in topic for sign in "+#\0") or topic.startswith("/"):
            raise ValueError(f"mqtt: {topic!r} is no topic to publish to")
        super().__init__()
        self._host, self._port, self._topic, self._qos = host, port, topic.rstrip("/"), qos
        self._user, self._discovery, self._node = user, discovery, node
        self._client: Any = None
        self._answer = threading.Event()
        self._refused = ""
        self._people: int | None = None

    def open(self) -> None:
        """Connects. Raises InputError where the broker refuses; one that is away is waited for in the background."""
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ModuleNotFoundError as error:
            raise MissingExtraError("mqtt", "camera", error) from None
        self._client = client = Client(CallbackAPIVersion.VERSION2, client_id=f"{self._node}-{os.getpid()}")
        if self._user:
            client.username_pw_set(self._user, os.environ.get(PASSWORD))
        client.will_set(f"{self._topic}/status", "offline", qos=1, retain=True)
        client.max_queued_messages_set(_WAITING)
        client.reconnect_delay_set(1, 30)
        client.on_connect, client.on_disconnect = self._connected, self._disconnected
        client.connect_async(self._host, self._port, keepalive=15)
        client.loop_start()
        if not self._answer.wait(_PATIENCE_S):
            self._troubled(f"{self._host}:{self._port} does not answer; trying on")
        if self._refused:
            client.loop_stop()
            raise InputError(
                f"mqtt://{self._host}:{self._port}: the broker refuses: {self._refused} (user {self._user or 'none'}, "
                f"password from {PASSWORD})"
            )

    def write(self, message: Message) -> None:
        """Publishes the poses, and the number of people where it has changed."""
        if not self._client.is_connected():
            raise SinkError(f"{self._host}:{self._port} is away")
        self._client.publish(f"{self._topic}/poses", message.line, qos=self._qos)
        if len(message.estimate) != self._people:
            self._people = len(message.estimate)
            self._client.publish(f"{self._topic}/people", str(self._people), qos=1, retain=True)

    def close(self) -> None:
        """Says goodbye, so that the last will is not needed."""
        if self._client is None:
            return
        if self._client.is_connected():
            self._client.publish(f"{self._topic}/status", "offline", qos=1, retain=True).wait_for_publish(0.5)
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._refused = str(reason)
        else:
            client.publish(f"{self._topic}/status", "online", qos=1, retain=True)
            # The broker may have been restarted without its memory.
            self._people = None
            if self._discovery:
                self._announce(client)
        self._answer.set()

    def _disconnected(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            LOG.info("mqtt: connection lost: %s", reason)

    def _announce(self, client: Any) -> None:
        sensor = {
            "name": "People", "unique_id": f"{self._node}_people", "state_topic": f"{self._topic}/people",
            "availability_topic": f"{self._topic}/status", "icon": "mdi:account-group", "state_class": "measurement",
            "device": {"identifiers": [self._node], "name": self._node, "manufacturer": "edgepose"},
        }  # fmt: skip
        client.publish(f"{self._discovery}/sensor/{self._node}/people/config", json.dumps(sensor), qos=1, retain=True)
