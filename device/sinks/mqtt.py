"""Poses to an MQTT broker, with a last will, and the number of people as a sensor that Home Assistant finds by itself.

Topics: `TOPIC/poses` every frame, `TOPIC/people` (retained) when the number changes, `TOPIC/status` (retained) `online`
or `offline`. MQTT 5, or 3.1.1 if the broker does not know 5.

Thread ownership: the paho client is used by the sink's thread and by paho's own network thread, whose callbacks are the
methods named `_on_...`. They only set fields, publish, and wake the sink's thread; a client is made, replaced and ended
by the sink's thread alone. The loop's thread never touches it.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import ssl
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from ...runtime.errors import InputError, MissingExtraError
from ...runtime.io.naming import device_name, make_slug
from ...runtime.version import version
from .base import LOG, START_TIMEOUT_S, Message, Sink, SinkError

PASSWORD = "EDGEPOSE_MQTT_PASSWORD"  # nosec B105
_MAX_QUEUED = 100
"""Messages with qos 1 or 2 that paho keeps until the broker has confirmed them."""
_KEEPALIVE_S = 15
_GOODBYE_TIMEOUT_S = 0.4
_END_TIMEOUT_S = 0.3
_SHORT_CONNECTION_S = 5.0
_MAX_SHORT_CONNECTIONS = 3
"""So many in a row that a broker closes without a reason while it is there, and another client has probably the same
client id. With MQTT 5 a broker can say so; mosquitto 2.0 does not."""
_MAX_RECONNECT_DELAY_S = 30
_LOG_INTERVAL_S = 60.0
_MAX_UNANSWERED = 2
"""Connections in a row that the broker closes without an answer, before the other protocol version is tried."""
_TAKEN_OVER = 142
_CLIENT_ID_NOT_VALID = 133
_PERMANENT_REFUSALS = {134, 135, 138, 140}
"""Bad user name or password, not authorized, banned, bad authentication method. Others may pass: server busy."""
_CLOCK_ERRORS = {9, 10}
"""OpenSSL: certificate not yet valid, expired. A board whose clock is not set yet sees them, and they pass."""


@dataclass(frozen=True)
class Tls:
    """Files for mqtts://, as PEM: the authority to trust instead of the system's, client certificate, its key."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return a context that verifies the broker's certificate and host name. Raises InputError naming the file."""
        for path in (self.ca, self.cert, self.key):
            if path is not None:
                try:
                    path.open("rb").close()
                except OSError as error:
                    raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        try:
            context = ssl.create_default_context(cafile=self.ca)
            context.sslsocket_class = _TlsSocket
        except (ssl.SSLError, OSError) as error:
            raise InputError(f"{self.ca}: expected certificates as PEM: {error}") from None
        if self.cert is not None:
            try:
                # An encrypted key would ask for its password on the terminal.
                context.load_cert_chain(self.cert, self.key, password=lambda: b"")
            except (ssl.SSLError, OSError, ValueError) as error:
                raise InputError(
                    f"{self.cert}: expected a certificate as PEM and its key, not encrypted ({self.key or self.cert}): "
                    f"{error}"
                ) from None
        return context


class _TlsSocket(ssl.SSLSocket):
    """Closed if the handshake fails; paho leaves that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


class MqttSink(Sink):
    """Publishes through paho-mqtt, which connects and reconnects in the background."""

    name = "mqtt"
    max_retry_delay_s = 1.0

    def __init__(
        self, host: str, port: int, topic: str = "", *, user: str = "", qos: int = 0, discovery: str = "homeassistant",
        device: str = "", tls: Tls | None = None,
    ) -> None:  # fmt: skip
        """Prepare; nothing is connected yet.

        Args:
            host: Of the broker.
            port: Of the broker.
            topic: Prefix of the topics; default: `edgepose/SLUG` with the slug of the device's name.
            user: User name; the password comes from EDGEPOSE_MQTT_PASSWORD.
            qos: Of the poses: 0, 1 or 2.
            discovery: Prefix under which Home Assistant looks for devices; empty for none.
            device: Display name of this device; default: `naming.device_name()`.
            tls: Files for an encrypted connection; None connects without encryption.

        Raises:
            ValueError: `qos` or `topic` makes no sense.
        """
        if qos not in (0, 1, 2):
            raise ValueError(f"mqtt: expected a qos of 0, 1 or 2, got {qos}")
        super().__init__()
        self._device = device or device_name()
        self._slug = make_slug(self._device)
        topic = topic.rstrip("/") or f"edgepose/{self._slug}"
        for text in (topic, discovery):
            if any(sign in text for sign in "+#\0") or text.startswith("/") or len(text) > 1000 or not _is_text(text):
                raise ValueError(f"mqtt: {text!r} is no topic to publish to")
        self._host, self._port, self._topic, self._qos = host, port, topic, qos
        self._address = f"mqtt{'s' if tls else ''}://{host}:{port}"
        self._user, self._discovery, self._tls = user, discovery, tls
        self._context: ssl.SSLContext | None = None
        self._client: Any = None
        self._mqtt5 = True
        self.client_id = self._make_client_id()
        """Unique: 15 characters of the slug and 8 random ones; kept until another client takes the session over."""
        self._answer = threading.Event()
        self._refusal = ""
        """Why the start shall fail; empty for reasons that may pass."""
        self._away = "does not answer"
        """Why there is no connection."""
        self._connected_s = 0.0
        self._connected_once = False
        self._unanswered = self._short_connections = self._unexplained = 0
        self._log_again_s = 0.0
        self._replace = False
        """Whether the sink's thread shall make a new client."""
        self._people: int | None = None

    def open(self) -> None:
        """Check the installation and the TLS files; nothing is connected yet."""
        try:
            import paho.mqtt.client  # noqa: F401 - only whether it is there
        except ModuleNotFoundError as error:
            raise MissingExtraError("mqtt", "camera", error) from None
        if self._tls is not None:
            self._context = self._tls.context()

    def connect(self) -> None:
        """Begin to connect in the background. Raises InputError if the broker refuses at once."""
        end_s = monotonic() + START_TIMEOUT_S
        self._make_client()
        while self._answer.wait(max(0.0, end_s - monotonic())) and self._replace:
            self._answer.clear()
            self._make_client()
        if self._refusal:
            raise InputError(self._refusal)
        if not self._is_connected():
            self._troubled(f"{self._address} {self._away}; trying again in the background")

    def write(self, message: Message) -> None:
        """Publish the poses, and the number of people if it has changed."""
        if not self._is_connected():
            raise SinkError(self._refusal or f"{self._address} {self._away}")
        self._publish(f"{self._topic}/poses", message.line, self._qos)
        people = len(message.estimate)
        if people != self._people:
            self._publish(f"{self._topic}/people", str(people), 1, retain=True)
            self._people = people

    def attend(self) -> None:
        """Replace the client if a callback has asked for it, and log a refusal once."""
        if self._replace:
            self._make_client()
        if self._refusal and self.problem != self._refusal:
            LOG.error("mqtt: %s", self._refusal)
            self.problem = self._refusal

    def close(self) -> None:
        """Say goodbye, so that the last will is not needed; takes less than a second whatever the broker does."""
        client, self._client = self._client, None
        if client is None:
            return
        if client.is_connected():
            # RuntimeError, ValueError: the connection was lost in this very moment.
            with contextlib.suppress(RuntimeError, ValueError):
                status = client.publish(f"{self._topic}/status", "offline", qos=1, retain=True)
                status.wait_for_publish(_GOODBYE_TIMEOUT_S)
        _end(client)

    def _is_connected(self) -> bool:
        return self._client is not None and bool(self._client.is_connected())

    def _publish(self, topic: str, payload: str, qos: int, *, retain: bool = False) -> None:
        info = self._client.publish(topic, payload, qos=qos, retain=retain)
        if info.rc:
            full = self._is_connected()
            what = "does not confirm messages as fast as they come" if full else "has closed the connection"
            raise SinkError(f"{self._address} {what}")

    def _make_client_id(self) -> str:
        """Return 23 ASCII letters and digits at most: what every broker of MQTT 3.1.1 must accept."""
        return "".join(sign for sign in self._slug if sign.isalnum())[:15] + secrets.token_hex(4)

    def _make_client(self) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        if self._client is not None:
            _end(self._client)
        self._replace = False
        self._client = client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if self._mqtt5 else MQTTProtocolVersion.MQTTv311,
        )
        if self._user:
            client.username_pw_set(self._user, os.environ.get(PASSWORD))
        if self._context is not None:
            client.tls_set_context(self._context)
        client.will_set(f"{self._topic}/status", "offline", qos=1, retain=True)
        client.max_queued_messages_set(_MAX_QUEUED)
        client.reconnect_delay_set(self._reconnect_delay_s(), _MAX_RECONNECT_DELAY_S)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_connect_fail = self._on_connect_fail
        client.connect_async(self._host, self._port, keepalive=_KEEPALIVE_S)
        client.loop_start()

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if client is not self._client:
            return
        self._unanswered = 0
        if not reason.is_failure:
            self._refusal, self._away = "", "is away"
            self._connected_s = monotonic()
            if not self._connected_once:
                self._connected_once = True
                LOG.info("mqtt: connected to %s as %s, topic %s", self._address, self._device, self._topic)
            client.publish(f"{self._topic}/status", "online", qos=1, retain=True)
            # The broker may have been restarted without its memory.
            self._people = None
            if self._discovery:
                self._announce(client)
        elif self._mqtt5 and str(reason) == "Unsupported protocol version":
            self._mqtt5 = False
            self._ask_for_new_client(client)
        elif reason.value == _CLIENT_ID_NOT_VALID:
            self.client_id = self._make_client_id()
            self._ask_for_new_client(client)
        else:
            self._away = f"refuses: {reason}"
            if reason.value in _PERMANENT_REFUSALS:
                user = self._user or "none"
                self._refusal = f"{self._address}: the broker refuses: {reason} (user {user}, password from {PASSWORD})"
        self._answer.set()
        self.poke()

    def _on_connect_fail(self, client: Any, userdata: Any) -> None:
        """Called inside paho's `except OSError`, so that the reason can be had."""
        if client is not self._client:
            return
        self._unexplained = 0  # the broker is away, and no other client has to do with it
        error = sys.exc_info()[1]
        self._away, self._refusal = f"is away: {_reason(error)}", ""
        if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code not in _CLOCK_ERRORS:
            self._refusal = (
                f"{self._address}: the broker's certificate is not trusted: {error.verify_message}; give the "
                "certificate of its authority: mqtts://...?ca=FILE"
            )
        self._answer.set()
        self.poke()

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if client is not self._client:
            return
        connected_s, self._connected_s = self._connected_s, 0.0
        if not connected_s:
            self._closed_unanswered(client)
            return
        from_server = flags.is_disconnect_packet_from_server
        taken_over = from_server and reason.value == _TAKEN_OVER
        if monotonic() - connected_s > _SHORT_CONNECTION_S:
            self._short_connections = self._unexplained = 0
        else:
            self._short_connections += 1
            self._unexplained = 0 if from_server else self._unexplained + 1
        client.reconnect_delay_set(self._reconnect_delay_s(), _MAX_RECONNECT_DELAY_S)
        if taken_over or self._unexplained >= _MAX_SHORT_CONNECTIONS:
            self._give_up_client_id(client, taken_over)
        else:
            self._away = f"is away: {reason}" if from_server else "has closed the connection"

    def _give_up_client_id(self, client: Any, taken_over: bool) -> None:
        old, self.client_id = self.client_id, self._make_client_id()
        self._away = "has given the session to another client"
        what = (
            "session taken over: another client has connected with the client id"
            if taken_over
            else f"{self._unexplained} connections were closed right after their start: probably a session "
            "takeover by another client with the client id"
        )
        if monotonic() >= self._log_again_s:
            self._log_again_s = monotonic() + _LOG_INTERVAL_S
            LOG.warning("mqtt: %s: %s %s; connecting again as %s", self._address, what, old, self.client_id)
        self._unexplained = 0
        self._ask_for_new_client(client)

    def _reconnect_delay_s(self) -> int:
        failures = min(max(self._short_connections, self._unanswered, 1), 10)
        return min(int(2 ** (failures - 1)), _MAX_RECONNECT_DELAY_S)

    def _closed_unanswered(self, client: Any) -> None:
        """The broker has closed the connection before it answered: an old one may not know MQTT 5."""
        if self._refusal:
            return  # it has answered, and closes after that
        self._away = "closes the connection without an answer" + (
            " (it may ask for a client certificate: ?cert=FILE&key=FILE)" if self._tls else " (with TLS: mqtts://)"
        )
        self._unanswered += 1
        if self._unanswered % _MAX_UNANSWERED == 0:
            self._mqtt5 = not self._mqtt5
            self._ask_for_new_client(client)
        self._answer.set()

    def _ask_for_new_client(self, client: Any) -> None:
        """Have the sink's thread replace `client`, which ends in the meantime."""
        self._replace = True
        client.disconnect()
        self.poke()

    def _announce(self, client: Any) -> None:
        """Tell Home Assistant about the device and its sensor."""
        identifier = f"edgepose_{self._slug}"
        sensor = {
            "name": "People", "unique_id": f"{identifier}_people", "state_topic": f"{self._topic}/people",
            "availability_topic": f"{self._topic}/status", "icon": "mdi:account-group", "state_class": "measurement",
            "device": {"identifiers": [identifier], "name": self._device, "manufacturer": "edgepose",
                       "sw_version": version()},
            "origin": {"name": "edgepose", "sw_version": version()},
        }  # fmt: skip
        client.publish(f"{self._discovery}/sensor/{self._slug}/people/config", json.dumps(sensor), qos=1, retain=True)


def _end(client: Any) -> None:
    """End a client without waiting for a broker that does not answer; what is left of it is a daemon."""
    client.on_connect = client.on_disconnect = client.on_connect_fail = None
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


def _reason(error: BaseException | None) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, TimeoutError):
        return "no answer"
    return getattr(error, "strerror", None) or str(error) or "cannot be reached"
