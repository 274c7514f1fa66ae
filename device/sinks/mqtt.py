"""MQTT sink with Home Assistant discovery.

Topics: `TOPIC/poses` for every frame; `TOPIC/people` (retained) when the number of people changes; `TOPIC/status`
(retained) `online` or `offline`, also as last will. Home Assistant finds the number of people as a sensor. The sink
uses MQTT 5, or MQTT 3.1.1 if the broker does not support MQTT 5.

Thread ownership: the paho client is used by the sink's thread and by paho's network thread, which calls the methods
named `_on_...`. These methods only set attributes, publish, and wake the sink's thread. Only the sink's thread creates,
replaces and ends a client. The thread of the camera loop never uses it.
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
from ...runtime.io.naming import get_device_name, make_slug
from ...runtime.version import get_version
from .base import LOG, START_TIMEOUT_S, Message, Sink, SinkError

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
_CLOCK_ERROR_CODES = {9, 10}
"""OpenSSL codes: certificate not yet valid, certificate expired. Temporary on a board whose clock is not set."""


@dataclass(frozen=True)
class Tls:
    """PEM files for mqtts://."""

    ca: Path | None = None
    """Certificates of the trusted authorities; None trusts those of the system."""
    cert: Path | None = None
    """Client certificate; None sends none."""
    key: Path | None = None
    """Key of the client certificate; None: the key is in `cert`."""

    def make_context(self) -> ssl.SSLContext:
        """Create a context that verifies the certificate and the host name of the broker.

        Raises:
            InputError: A file cannot be read or used; the message names it.
        """
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
                # Without this, OpenSSL asks for the password of an encrypted key on the terminal.
                context.load_cert_chain(self.cert, self.key, password=lambda: b"")
            except (ssl.SSLError, OSError, ValueError) as error:
                raise InputError(
                    f"{self.cert}: expected a certificate as PEM and its key, not encrypted ({self.key or self.cert}): "
                    f"{error}"
                ) from None
        return context


class _TlsSocket(ssl.SSLSocket):
    """TLS socket that is closed if the handshake fails; paho leaves this to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


class MqttSink(Sink):
    """Sink that publishes with paho-mqtt, which connects and reconnects in the background."""

    name = "mqtt"
    max_retry_delay_s = 1.0

    def __init__(
        self, host: str, port: int, topic: str = "", *, user: str = "", qos: int = 0, discovery: str = "homeassistant",
        device: str = "", tls: Tls | None = None,
    ) -> None:  # fmt: skip
        """Check the settings; nothing is connected yet.

        Args:
            host: Host name of the broker.
            port: Port of the broker.
            topic: Prefix of the topics; default: `edgepose/SLUG` with the slug of the device name.
            user: User name; the password is read from EDGEPOSE_MQTT_PASSWORD.
            qos: MQTT quality of service of the poses: 0, 1 or 2.
            discovery: Discovery prefix of Home Assistant; empty turns discovery off.
            device: Display name of this device; default: `naming.get_device_name()`.
            tls: Files for an encrypted connection; None connects without encryption.

        Raises:
            ValueError: `qos`, `topic` or `discovery` is not valid.
        """
        if qos not in (0, 1, 2):
            raise ValueError(f"mqtt: expected a qos of 0, 1 or 2, got {qos}")
        super().__init__()
        self._device = device or get_device_name()
        self._slug = make_slug(self._device)
        topic = topic.rstrip("/") or f"edgepose/{self._slug}"
        for text in (topic, discovery):
            if any(sign in text for sign in "+#\0") or text.startswith("/") or len(text) > 1000 or not _is_text(text):
                raise ValueError(f"mqtt: expected a topic without + and #, not starting with /, got {text!r}")
        self._host, self._port, self._topic, self._qos = host, port, topic, qos
        self._address = f"mqtt{'s' if tls else ''}://{host}:{port}"
        self._user, self._discovery, self._tls = user, discovery, tls
        self._context: ssl.SSLContext | None = None
        self._client: Any = None
        self._mqtt5 = True
        self.client_id = self._make_client_id()
        """Up to 15 characters of the slug and 8 random ones; kept until another client takes over the session."""
        self._answered = threading.Event()
        self._refusal = ""
        """Permanent error, which makes the start fail; empty if there is none."""
        self._offline_reason = "does not answer"
        """Why there is no connection, to be written after the address."""
        self._connected_s = 0.0
        self._was_connected = False
        self._unanswered_connections = self._short_connections = self._unexplained_closes = 0
        self._next_log_s = 0.0
        self._replace_requested = False
        """Request to the sink's thread to create a new client."""
        self._published_people: int | None = None

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
            self._context = self._tls.make_context()

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
        """Publish the poses, and the number of people if it has changed.

        Raises:
            SinkError: There is no connection, or the broker does not confirm messages fast enough.
        """
        if not self._is_connected():
            raise SinkError(self._refusal or f"{self._address} {self._offline_reason}")
        self._publish(f"{self._topic}/poses", message.line, self._qos)
        people = len(message.estimate)
        if people != self._published_people:
            self._publish(f"{self._topic}/people", str(people), 1, retain=True)
            self._published_people = people

    def handle_wake(self) -> None:
        """Replace the client if a callback has requested it, and log a permanent refusal once."""
        if self._replace_requested:
            self._make_client()
        if self._refusal and self.problem != self._refusal:
            LOG.error("mqtt: %s", self._refusal)
            self.problem = self._refusal

    def close(self) -> None:
        """Publish `offline` and disconnect; takes less than a second, even if the broker does not answer."""
        client, self._client = self._client, None
        if client is None:
            return
        if client.is_connected():
            # RuntimeError, ValueError: the connection was lost at this moment.
            with contextlib.suppress(RuntimeError, ValueError):
                status = client.publish(f"{self._topic}/status", "offline", qos=1, retain=True)
                status.wait_for_publish(_OFFLINE_MESSAGE_TIMEOUT_S)
        _end_client(client)

    def _is_connected(self) -> bool:
        return self._client is not None and bool(self._client.is_connected())

    def _publish(self, topic: str, payload: str, qos: int, *, retain: bool = False) -> None:
        info = self._client.publish(topic, payload, qos=qos, retain=retain)
        if info.rc:
            is_connected = self._is_connected()
            reason = "does not confirm messages as fast as they come" if is_connected else "has closed the connection"
            raise SinkError(f"{self._address} {reason}")

    def _make_client_id(self) -> str:
        """Return at most 23 ASCII letters and digits, which every MQTT 3.1.1 broker must accept."""
        return "".join(sign for sign in self._slug if sign.isalnum())[:15] + secrets.token_hex(4)

    def _make_client(self) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        if self._client is not None:
            _end_client(self._client)
        self._replace_requested = False
        self._client = client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if self._mqtt5 else MQTTProtocolVersion.MQTTv311,
        )
        if self._user:
            client.username_pw_set(self._user, os.environ.get(PASSWORD_VARIABLE))
        if self._context is not None:
            client.tls_set_context(self._context)
        client.will_set(f"{self._topic}/status", "offline", qos=1, retain=True)
        client.max_queued_messages_set(_MAX_QUEUED_MESSAGES)
        client.reconnect_delay_set(self._compute_reconnect_delay_s(), _MAX_RECONNECT_DELAY_S)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_connect_fail = self._on_connect_fail
        client.connect_async(self._host, self._port, keepalive=_KEEPALIVE_S)
        client.loop_start()

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if client is not self._client:
            return
        self._unanswered_connections = 0
        if not reason.is_failure:
            self._refusal, self._offline_reason = "", "is disconnected"
            self._connected_s = monotonic()
            if not self._was_connected:
                self._was_connected = True
                LOG.info("mqtt: connected to %s as %s, topic %s", self._address, self._device, self._topic)
            client.publish(f"{self._topic}/status", "online", qos=1, retain=True)
            # The broker may have restarted and lost its retained messages.
            self._published_people = None
            if self._discovery:
                self._publish_discovery(client)
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
        self._offline_reason, self._refusal = f"cannot be reached: {_describe_error(error)}", ""
        if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code not in _CLOCK_ERROR_CODES:
            self._refusal = (
                f"{self._address}: the broker's certificate is not trusted: {error.verify_message}; give the "
                "certificate of its authority with mqtts://...?ca=FILE"
            )
        self._answered.set()
        self.wake()

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if client is not self._client:
            return
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

    def _publish_discovery(self, client: Any) -> None:
        """Publish device and sensor for the MQTT discovery of Home Assistant."""
        identifier = f"edgepose_{self._slug}"
        sensor = {
            "name": "People", "unique_id": f"{identifier}_people", "state_topic": f"{self._topic}/people",
            "availability_topic": f"{self._topic}/status", "icon": "mdi:account-group", "state_class": "measurement",
            "device": {"identifiers": [identifier], "name": self._device, "manufacturer": "edgepose",
                       "sw_version": get_version()},
            "origin": {"name": "edgepose", "sw_version": get_version()},
        }  # fmt: skip
        client.publish(f"{self._discovery}/sensor/{self._slug}/people/config", json.dumps(sensor), qos=1, retain=True)


def _end_client(client: Any) -> None:
    """End a client without waiting for a broker that does not answer; its thread is a daemon."""
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


def _describe_error(error: BaseException | None) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, TimeoutError):
        return "no answer"
    return getattr(error, "strerror", None) or str(error) or "unknown error"
