"""MQTT sink with Home Assistant discovery.

`mqtt_topics` lists the topics, `mqtt_state` what is published besides the poses, `home_assistant` the discovery
message. The sink uses MQTT 5, or MQTT 3.1.1 if the broker does not support MQTT 5.

The sink also reads: commands to pause the loop, and its own topics, to notice a second process with the same topics, a
late last will of an earlier process, and the discovery message of an earlier version. Without discovery and pause it
reads nothing, for brokers that do not allow it.

Thread ownership: the paho client is used by the sink's thread and by paho's network thread, which calls the methods
named `_on_...`. These methods only set attributes, publish, and wake the sink's thread. Only the sink's thread creates,
replaces and ends a client, and uses the `StateReporter`. The thread of the camera loop never uses them. A command only
sets or clears the event `pause`, which the loop reads.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import ssl
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from ...runtime.errors import InputError, MissingExtraError
from ...runtime.io.naming import get_device_name, make_slug
from ...runtime.io.printable import make_printable
from ..events.event import RuleInfo
from ..monitor.board import read_model
from ..monitor.stats import Stats
from .base import LOG, START_TIMEOUT_S, Message, Sink, SinkError
from .home_assistant import MIGRATE_MESSAGE, Announcement, PageAddress
from .home_assistant_rules import find_stale_components
from .mqtt_state import OFF, ON, STATE_CHECK_INTERVAL_S, Publication, StateReporter
from .mqtt_tls import Tls, describe_client_refusal, describe_connection_error, describe_untrusted
from .mqtt_topics import Topics
from .privacy import Privacy

PASSWORD_VARIABLE = "EDGEPOSE_MQTT_PASSWORD"  # nosec B105
_MAX_QUEUED_MESSAGES = 100
"""Maximum number of messages with QoS 1 or 2 that paho keeps until the broker confirms them."""
_KEEPALIVE_S = 15
_OFFLINE_MESSAGE_TIMEOUT_S = 0.4
_END_TIMEOUT_S = 0.3
_SHORT_CONNECTION_S = 5.0
_MAX_SHORT_CONNECTIONS = 3
"""After this number of connections in a row that a reachable broker closes without a reason, the sink assumes that
another client uses the same client id. With MQTT 5 a broker can report this; mosquitto 2.0 does not."""
_MAX_RECONNECT_DELAY_S = 30
_LOG_INTERVAL_S = 60.0
_MAX_UNANSWERED = 2
"""Number of connections in a row that the broker closes without an answer, before the other MQTT version is tried."""
_SESSION_TAKEN_OVER_CODE = 142
_CLIENT_ID_NOT_VALID_CODE = 133
_PERMANENT_REFUSAL_CODES = {134, 135, 138, 140}
"""MQTT 5 reason codes: bad user name or password, not authorized, banned, bad authentication method. Other refusals,
such as server busy, can be temporary."""
_MAX_PACKET_BYTES = 262_144
"""Largest message that the broker may send to the sink. MQTT 5 brokers know the limit; a larger message ends the
connection."""
_COLLISION_TIMEOUT_S = 60.0
_OFFLINE_PROBLEM_S = 3.0
"""While no frames come, a lost connection counts as a problem after this time."""


@dataclass(frozen=True)
class MqttOptions:
    """Options of the MQTT sink besides the address of the broker."""

    qos: int = 0
    """MQTT quality of service of the poses: 0, 1 or 2. Events have at least 1."""
    discovery: str = "homeassistant"
    """Discovery prefix of Home Assistant; empty turns discovery off."""
    remove_discovery: bool = False
    """True to remove the device from Home Assistant instead of announcing it."""
    image_interval_s: int = 0
    """Seconds between two images; 0 publishes none."""
    privacy: Privacy = "silhouette"
    """Privacy mode of the images."""
    pause: threading.Event | None = None
    """Set while a pause is requested; None: commands are not accepted."""
    page: PageAddress | None = None
    """The live page; None: there is none."""
    rules: tuple[RuleInfo, ...] = ()
    """Rules of the configuration, for Home Assistant."""


class MqttSink(Sink):
    """Sink that publishes with paho-mqtt, which connects and reconnects in the background."""

    name = "mqtt"
    max_retry_delay_s = 1.0
    wake_interval_s = STATE_CHECK_INTERVAL_S

    def __init__(
        self,
        host: str,
        port: int,
        stats: Stats,
        topic: str = "",
        *,
        user: str = "",
        device: str = "",
        tls: Tls | None = None,
        options: MqttOptions | None = None,
    ) -> None:
        """Check the settings; nothing is connected yet.

        Args:
            host: Host name of the broker.
            port: Port of the broker.
            stats: Statistics of the loop, published as its state.
            topic: Prefix of the topics; default: `edgepose/SLUG` with the slug of the device name.
            user: User name; the password is read from EDGEPOSE_MQTT_PASSWORD.
            device: Display name of this device; default: `naming.get_device_name()`.
            tls: Files for an encrypted connection; None connects without encryption.
            options: Quality of service, discovery, images, pause.

        Raises:
            ValueError: `qos`, `topic` or `discovery` is not valid.
        """
        self._options = options = options or MqttOptions()
        if options.qos not in (0, 1, 2):
            raise ValueError(f"mqtt: expected a qos of 0, 1 or 2, got {options.qos}")
        super().__init__()
        self._device = device or get_device_name()
        self._slug = make_slug(self._device)
        topic = topic.rstrip("/") or f"edgepose/{self._slug}"
        for text in (topic, options.discovery):
            if any(sign in text for sign in "+#\0") or text.startswith("/") or len(text) > 1000 or not _is_text(text):
                raise ValueError(f"mqtt: expected a topic without + and #, not starting with /, got {text!r}")
        self._host, self._port, self._topics = host, port, Topics(topic)
        self._address = f"mqtt{'s' if tls else ''}://{host}:{port}"
        self._user, self._tls, self._stats = user, tls, stats
        self._context: ssl.SSLContext | None = None
        self._client: Any = None
        self._mqtt5 = True
        self.client_id = self._make_client_id()
        """Up to 15 characters of the slug and 8 random ones; kept until another client takes over the session."""
        self._instance = secrets.token_hex(4)
        self._reporter = StateReporter(
            self._topics, stats, options.pause, self._instance, options.image_interval_s, options.privacy
        )
        self._answered = threading.Event()
        self._refusal = ""
        """Permanent error, which makes the start fail; empty if there is none."""
        self._offline_reason = "does not answer"
        """Why there is no connection, to be written after the address."""
        self._connected_s = 0.0
        self._was_connected = False
        self._unanswered_connections = self._short_connections = self._unexplained_closes = 0
        self._next_log_s = self._next_command_log_s = 0.0
        self._replace_requested = False
        """Request to the sink's thread to create a new client."""
        self._republish_requested = self._command_received = False
        """Requests to the sink's thread to publish all values again, or the state."""
        self._online_message_id: int | None = None
        self._announcement: Announcement | None = None
        self._announced = ""
        """Discovery message of this process."""
        self._has_old_announcement = False
        """True if the broker has the discovery message of an earlier version."""
        self._collision, self._collision_s = "", -_COLLISION_TIMEOUT_S
        self._offline_since_s: float | None = None
        """Time since which there is no connection; None while there is one."""

    def open(self) -> None:
        """Check that paho-mqtt is installed and load the TLS files; nothing is connected yet.

        Raises:
            MissingExtraError: paho-mqtt is not installed.
            InputError: A TLS file cannot be used.
        """
        try:
            import paho.mqtt.client  # noqa: F401 - checks only that it is installed
        except ModuleNotFoundError as error:
            raise MissingExtraError("mqtt", "camera", error) from None
        if self._tls is not None:
            self._context = self._tls.make_context(self._on_tls_error)

    def connect(self) -> None:
        """Start connecting in the background. Raises InputError if the broker refuses within `START_TIMEOUT_S`."""
        end_s = monotonic() + START_TIMEOUT_S
        self._make_client()
        while self._answered.wait(max(0.0, end_s - monotonic())) and self._replace_requested:
            self._answered.clear()
            self._make_client()
        if self._refusal:
            raise InputError(self._refusal)
        if not self._is_connected():
            self._set_problem(f"{self._address} {self._offline_reason}; trying again in the background")

    def write(self, message: Message) -> None:
        """Publish the poses, and what else is due.

        Raises:
            SinkError: There is no connection, or the broker does not confirm messages fast enough.
        """
        if not self._is_connected():
            raise SinkError(self._refusal or f"{self._address} {self._offline_reason}")
        self._handle_requests()
        self._publish(Publication(self._topics.poses, message.line, self._options.qos, False))
        self._publish_all(self._reporter.list_due_for_message(message))
        self._publish_all(self._reporter.list_due_for_time())

    def write_events(self, message: Message) -> None:
        """Publish the events, and the state of the rules at the end of the source.

        Raises:
            SinkError: There is no connection, or the broker does not confirm messages fast enough.
        """
        if not self._is_connected():
            raise SinkError(self._refusal or f"{self._address} {self._offline_reason}")
        for line in message.event_lines:
            self._publish(Publication(self._topics.events, line, max(self._options.qos, 1), False))
        # The state of an event that was kept is out of date; such a message has no image.
        if message.only_events and message.frame.image.size:
            self._publish_all(self._reporter.list_due_for_rules(message, now=True))

    def handle_wake(self) -> None:
        """Replace the client if a callback has requested it, log a permanent refusal once, and publish the state."""
        if self._replace_requested:
            self._make_client()
        if self._refusal and self.problem != self._refusal:
            LOG.error("mqtt: %s", self._refusal)
            self.problem = self._refusal
        if not self._is_connected():
            # While the loop is paused or the camera is lost, `write` is not called, which reports it otherwise.
            since_s = self._offline_since_s
            if since_s is not None and monotonic() - since_s > _OFFLINE_PROBLEM_S and not self.problem:
                self._set_problem(f"{self._address} {self._offline_reason}")
            return
        now = self._handle_requests()
        if self.problem and monotonic() - self._connected_s > _OFFLINE_PROBLEM_S:
            self._set_problem("")
        with contextlib.suppress(SinkError):
            self._publish_all(self._reporter.list_due_for_time(now=now))

    def close(self) -> None:
        """Publish `offline` and disconnect; takes less than a second, even if the broker does not answer."""
        client, self._client = self._client, None
        if client is None:
            return
        client.on_message = None
        if client.is_connected():
            # RuntimeError, ValueError: the connection was lost at this moment.
            with contextlib.suppress(RuntimeError, ValueError):
                status = client.publish(self._topics.status, "offline", qos=1, retain=True)
                status.wait_for_publish(_OFFLINE_MESSAGE_TIMEOUT_S)
        _end_client(client)

    def get_counts(self) -> dict[str, int | str]:
        """Return sent and lost messages and the current problem, also a second process with the same topics."""
        counts = super().get_counts()
        if not counts["problem"] and monotonic() - self._collision_s < _COLLISION_TIMEOUT_S:
            counts["problem"] = self._collision
        return counts

    def _handle_requests(self) -> bool:
        """Handle the requests of callbacks; return True if the state has to be published now."""
        now, self._command_received = self._command_received, False
        if self._republish_requested:
            self._republish_requested = False
            self._reporter.forget()
        return now

    def _is_connected(self) -> bool:
        return self._client is not None and bool(self._client.is_connected())

    def _publish_all(self, due: Iterable[Publication]) -> None:
        for publication in due:
            self._publish(publication)

    def _publish(self, publication: Publication) -> None:
        topic, payload, qos, retain = publication
        info = self._client.publish(topic, payload, qos=qos, retain=retain)
        if info.rc:
            is_connected = self._is_connected()
            reason = "does not confirm messages as fast as they come" if is_connected else "has closed the connection"
            self._republish_requested = True
            raise SinkError(f"{self._address} {reason}")

    def _make_client_id(self) -> str:
        """Return at most 23 ASCII letters and digits, which every MQTT 3.1.1 broker must accept."""
        return "".join(sign for sign in self._slug if sign.isalnum())[:15] + secrets.token_hex(4)

    def _make_client(self) -> None:
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        if self._client is not None:
            _end_client(self._client)
        self._replace_requested = False
        self._offline_since_s = self._offline_since_s or monotonic()
        self._client = client = _make_client_class(self._address)(
            CallbackAPIVersion.VERSION2,
            client_id=self.client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if self._mqtt5 else MQTTProtocolVersion.MQTTv311,
        )
        if self._user:
            client.username_pw_set(self._user, os.environ.get(PASSWORD_VARIABLE))
        if self._context is not None:
            client.tls_set_context(self._context)
        client.will_set(self._topics.status, "offline", qos=1, retain=True)
        client.max_queued_messages_set(_MAX_QUEUED_MESSAGES)
        client.reconnect_delay_set(self._compute_reconnect_delay_s(), _MAX_RECONNECT_DELAY_S)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_connect_fail = self._on_connect_fail
        client.on_message, client.on_publish, client.on_subscribe = (
            self._on_message,
            self._on_publish,
            self._on_subscribe,
        )
        properties = None
        if self._mqtt5:
            properties = Properties(PacketTypes.CONNECT)
            properties.MaximumPacketSize = _MAX_PACKET_BYTES
        client.connect_async(self._host, self._port, keepalive=_KEEPALIVE_S, properties=properties)
        client.loop_start()

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if client is not self._client:
            return
        self._unanswered_connections = 0
        if not reason.is_failure:
            self._refusal, self._offline_reason = "", "is disconnected"
            self._connected_s, self._offline_since_s = monotonic(), None
            if not self._was_connected:
                self._was_connected = True
                LOG.info("mqtt: connected to %s as %s, topic %s", self._address, self._device, self._topics.base)
            self._begin_session(client)
        elif self._mqtt5 and str(reason) == "Unsupported protocol version":
            self._mqtt5 = False
            self._request_new_client(client)
        elif reason.value == _CLIENT_ID_NOT_VALID_CODE:
            self.client_id = self._make_client_id()
            self._request_new_client(client)
        else:
            self._offline_reason = f"refuses: {reason}"
            if reason.value in _PERMANENT_REFUSAL_CODES:
                user = self._user or "none"
                self._refusal = (
                    f"{self._address}: the broker refuses: {reason} (user {user}, password from {PASSWORD_VARIABLE})"
                )
        self._answered.set()
        self.wake()

    def _on_connect_fail(self, client: Any, userdata: Any) -> None:
        """Note why connecting failed. paho calls this inside its `except OSError`, so that the error is available."""
        if client is not self._client:
            return
        self._unexplained_closes = 0  # the broker cannot be reached, so no other client is the reason
        error = sys.exc_info()[1]
        self._offline_reason, self._refusal = f"cannot be reached: {describe_connection_error(error)}", ""
        if (reason := describe_untrusted(error)) or (reason := describe_client_refusal(error)):
            self._refusal = f"{self._address}: {reason}"
        self._answered.set()
        self.wake()

    def _on_tls_error(self, error: ssl.SSLError) -> None:
        """Note that the broker has refused the client certificate after the handshake; `_on_disconnect` follows."""
        if reason := describe_client_refusal(error):
            self._refusal = f"{self._address}: {reason}"
            self._answered.set()
            self.wake()

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if client is not self._client:
            return
        self._offline_since_s = self._offline_since_s or monotonic()
        connected_s, self._connected_s = self._connected_s, 0.0
        if not connected_s:
            self._handle_unanswered_close(client)
            return
        from_server = flags.is_disconnect_packet_from_server
        taken_over = from_server and reason.value == _SESSION_TAKEN_OVER_CODE
        if monotonic() - connected_s > _SHORT_CONNECTION_S:
            self._short_connections = self._unexplained_closes = 0
        else:
            self._short_connections += 1
            self._unexplained_closes = 0 if from_server else self._unexplained_closes + 1
        client.reconnect_delay_set(self._compute_reconnect_delay_s(), _MAX_RECONNECT_DELAY_S)
        if taken_over or self._unexplained_closes >= _MAX_SHORT_CONNECTIONS:
            self._change_client_id(client, taken_over)
        else:
            self._offline_reason = (
                f"has closed the connection: {reason}" if from_server else "has closed the connection"
            )

    def _change_client_id(self, client: Any, taken_over: bool) -> None:
        old_id, self.client_id = self.client_id, self._make_client_id()
        self._offline_reason = "has given the session to another client"
        cause = (
            "session taken over: another client has connected with the client id"
            if taken_over
            else f"{self._unexplained_closes} connections were closed right after their start: probably a session "
            "takeover by another client with the same client id"
        )
        if monotonic() >= self._next_log_s:
            self._next_log_s = monotonic() + _LOG_INTERVAL_S
            LOG.warning("mqtt: %s: %s %s; connecting again as %s", self._address, cause, old_id, self.client_id)
        self._unexplained_closes = 0
        self._request_new_client(client)

    def _compute_reconnect_delay_s(self) -> int:
        failures = min(max(self._short_connections, self._unanswered_connections, 1), 10)
        return min(int(2 ** (failures - 1)), _MAX_RECONNECT_DELAY_S)

    def _handle_unanswered_close(self, client: Any) -> None:
        """Note that the broker closed the connection without an answer; an old broker may not support MQTT 5."""
        if self._refusal:
            return  # it has answered with a refusal before it closed the connection
        self._offline_reason = "closes the connection without an answer" + (
            " (it may require a client certificate: ?cert=FILE&key=FILE)"
            if self._tls
            else " (it may require TLS: mqtts://)"
        )
        self._unanswered_connections += 1
        if self._unanswered_connections % _MAX_UNANSWERED == 0:
            self._mqtt5 = not self._mqtt5
            self._request_new_client(client)
        self._answered.set()

    def _request_new_client(self, client: Any) -> None:
        """Request the sink's thread to replace `client`, and disconnect it."""
        self._replace_requested = True
        client.disconnect()
        self.wake()

    def _begin_session(self, client: Any) -> None:
        """Subscribe, report `online`, and request that all values are published again.

        The discovery message follows in `_on_publish`: until the broker confirms `online`, it has sent the retained
        messages of the subscriptions.
        """
        topics, options = self._topics, self._options
        self._announcement = self._make_announcement(client) if options.discovery else None
        self._announced = self._announcement.format_message() if self._announcement else ""
        self._has_old_announcement = False
        subscriptions = []
        if self._announcement is not None and not options.remove_discovery:
            subscriptions = [self._announcement.old_topic, self._announcement.topic, topics.status, topics.state]
        if options.pause is not None:
            subscriptions.append(topics.pause_command)
        if subscriptions:
            client.subscribe([(topic, 1) for topic in subscriptions])
        # The broker may have restarted and lost its retained messages.
        self._republish_requested = True
        self._online_message_id = client.publish(topics.status, "online", qos=1, retain=True).mid

    def _make_announcement(self, client: Any) -> Announcement:
        options, health = self._options, self._stats.get_health()
        own_address = ""
        # The connection may be lost again.
        with contextlib.suppress(OSError, AttributeError):
            own_address = client.socket().getsockname()[0]
        return Announcement(
            options.discovery,
            self._device,
            self._slug,
            self._topics,
            has_temperature=health.temperature_c is not None,
            has_firmware_flags=health.flags is not None,
            has_pause=options.pause is not None,
            has_image=options.image_interval_s > 0,
            board_model=read_model(),
            page_url=options.page.make_url(own_address) if options.page and own_address else "",
            rules=options.rules,
        )

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason: Any, properties: Any) -> None:
        if client is not self._client or mid != self._online_message_id:
            return
        self._online_message_id = None
        announcement = self._announcement
        if announcement is None:
            return
        if self._options.remove_discovery:
            for topic in (announcement.topic, announcement.old_topic):
                client.publish(topic, "", qos=1, retain=True)
        else:
            self._announce(client, announcement)

    def _announce(self, client: Any, announcement: Announcement) -> None:
        """Publish the discovery message; before it, end the one of an earlier version."""
        has_old, self._has_old_announcement = self._has_old_announcement, False
        if has_old:
            client.publish(announcement.old_topic, MIGRATE_MESSAGE, qos=1)
            client.publish(announcement.old_topic, "", qos=1, retain=True)
        client.publish(announcement.topic, self._announced, qos=1, retain=True)

    def _on_subscribe(self, client: Any, userdata: Any, mid: int, reasons: Any, properties: Any) -> None:
        if any(reason.is_failure for reason in reasons):
            LOG.warning(
                "mqtt: %s: the broker does not allow reading topics below %s: the pause switch may not work",
                self._address,
                self._topics.base,
            )

    def _on_message(self, client: Any, userdata: Any, message: Any) -> None:
        """Handle a message; its content is not trusted."""
        if client is not self._client:
            return
        topic, payload, announcement = message.topic, message.payload, self._announcement
        if topic == self._topics.pause_command:
            self._handle_command(payload, message.retain)
        elif topic == self._topics.status:
            if payload == b"offline" and not message.retain:
                # The last will of an earlier process arrives when the broker notices that it has died.
                client.publish(topic, "online", qos=1, retain=True)
        elif topic == self._topics.state:
            if not message.retain and _read_instance(payload) not in ("", self._instance):
                self._record_collision(f"the topic {self._topics.base}")
        elif announcement is not None and topic == announcement.old_topic:
            if message.retain and payload:
                self._has_old_announcement = True
                if self._online_message_id is None:  # the broker sends retained messages late
                    self._announce(client, announcement)
        elif announcement is not None and topic == announcement.topic:
            self._handle_announcement(client, announcement, payload, message.retain)

    def _handle_announcement(self, client: Any, announcement: Announcement, payload: bytes, retained: bool) -> None:
        """Notice the discovery message of an earlier process, whose rules may be gone, or of a second one."""
        if not payload or payload == self._announced.encode():
            return
        if not retained:
            self._record_collision(f"the discovery topic {announcement.topic}")
        elif stale := find_stale_components(payload, announcement.list_components()):
            self._announced = announcement.format_message(stale)
            if self._online_message_id is None:  # the broker sends retained messages late
                self._announce(client, announcement)

    def _handle_command(self, payload: bytes, retained: bool) -> None:
        pause = self._options.pause
        if pause is None or not payload:  # empty: a retained command was deleted
            return
        command = payload[:20].decode("utf-8", "replace").strip().upper()
        if retained:
            # It is older than this process: a board that restarts must not stay paused without a new command.
            LOG.warning("mqtt: %s: a retained command is ignored", self._topics.pause_command)
        elif command == ON:
            pause.set()
        elif command == OFF:
            pause.clear()
        else:
            self._log_wrong_command(command)
        self._command_received = True
        self.wake()

    def _log_wrong_command(self, command: str) -> None:
        # The filter of the log does not limit these lines if each command is different.
        if monotonic() >= self._next_command_log_s:
            self._next_command_log_s = monotonic() + _LOG_INTERVAL_S
            topic = self._topics.pause_command
            LOG.warning("mqtt: %s: expected %s or %s, got %s", topic, ON, OFF, make_printable(command))

    def _record_collision(self, shared: str) -> None:
        now = monotonic()
        self._collision = (
            f"{self._address}: another process uses {shared}; give each camera its own name (--name or EDGEPOSE_NAME)"
        )
        if now - self._collision_s >= _COLLISION_TIMEOUT_S:
            LOG.warning("mqtt: %s", self._collision)
        self._collision_s = now


def _make_client_class(address: str) -> type[Any]:
    from paho.mqtt.client import Client

    class LimitedClient(Client):  # type: ignore[misc]
        """Client that ends the connection at a message that is too large: paho would store up to 256 MB of it."""

        def _sock_recv(self, bufsize: int) -> bytes:
            # paho asks for one byte at a time in the header of a message, then for all bytes that are missing.
            if bufsize > _MAX_PACKET_BYTES:
                LOG.warning(
                    "mqtt: %s: a message of %d bytes was received, expected at most %d; the connection is closed",
                    address, bufsize, _MAX_PACKET_BYTES,
                )  # fmt: skip
                raise ConnectionError("message too large")
            content: bytes = super()._sock_recv(bufsize)
            return content

    return LimitedClient


def _end_client(client: Any) -> None:
    """End a client without waiting for a broker that does not answer; its thread is a daemon."""
    client.on_connect = client.on_disconnect = client.on_connect_fail = None
    client.on_message = client.on_publish = client.on_subscribe = None
    client.disconnect()
    # loop_stop joins paho's thread without a time limit.
    stop = threading.Thread(target=client.loop_stop, name="edgepose-mqtt-end", daemon=True)
    stop.start()
    stop.join(_END_TIMEOUT_S)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_instance(payload: bytes) -> str:
    """Return the name of the process that has published a state; empty if the message is not valid."""
    try:
        state = json.loads(payload)
    except (ValueError, RecursionError):
        return ""
    return str(state.get("instance", "")) if isinstance(state, dict) else ""
