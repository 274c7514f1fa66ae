"""MQTT discovery of Home Assistant: one message describes the board as a device with all its entities.

Described at https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload (Home Assistant 2024.11 or
later). Earlier versions of edgepose announced only the number of people, on a topic of its own. Its entity keeps its
name and history: `migrate_discovery` on the old topic, then the old message is cleared, then the new one is published.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from ...runtime.version import get_version
from ..events.event import RuleInfo
from .home_assistant_rules import list_rule_components
from .mqtt_topics import Topics

MIGRATE_MESSAGE = json.dumps({"migrate_discovery": True})
_LOOP_STATES = ("starting", "running", "paused", "camera lost", "stopping")


@dataclass(frozen=True)
class PageAddress:
    """Address that the live page listens on."""

    scheme: str
    host: str
    port: int

    def make_url(self, own_address: str) -> str:
        """Return the address for other computers; empty if only this board can open the page.

        Args:
            own_address: IP address of this board, used if the page listens on all addresses.
        """
        host = own_address if _has_property(self.host, "is_unspecified") else self.host
        if _has_property(host, "is_loopback") or host == "localhost":
            if host == self.host:
                return ""
            host = f"{socket.gethostname().partition('.')[0]}.local"
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"


def _has_property(host: str, name: str) -> bool:
    try:
        return bool(getattr(ip_address(host), name))
    except ValueError:
        return False


@dataclass(frozen=True)
class Announcement:
    """Description of this board for Home Assistant."""

    prefix: str
    """Discovery prefix, usually `homeassistant`."""
    name: str
    """Display name of the board."""
    slug: str
    """Slug of the name; makes the ids unique."""
    topics: Topics
    has_temperature: bool
    has_firmware_flags: bool
    """True on a Raspberry Pi."""
    has_pause: bool
    has_image: bool
    board_model: str = ""
    page_url: str = ""
    """Address of the live page; empty: there is none that other computers can open."""
    rules: tuple[RuleInfo, ...] = ()
    """Rules of the configuration."""

    @property
    def topic(self) -> str:
        """Topic of the message."""
        return f"{self.prefix}/device/{self.slug}/config"

    @property
    def old_topic(self) -> str:
        """Topic of the message of earlier versions."""
        return f"{self.prefix}/sensor/{self.slug}/people/config"

    def format_message(self, stale: Mapping[str, Mapping[str, str]] | None = None) -> str:
        """Format the message as JSON.

        Args:
            stale: Components of an earlier message that have to be removed from Home Assistant.
        """
        identifier, version = f"edgepose_{self.slug}", get_version()
        device = {"ids": [identifier], "name": self.name, "mf": "edgepose", "mdl": self.board_model, "sw": version,
                  "cu": self.page_url}  # fmt: skip
        origin = {"name": "edgepose", "sw": version}
        components = {
            key: {**component, "unique_id": f"{identifier}_{key}"} if len(component) > 1 else component
            for key, component in {**(stale or {}), **self.list_components()}.items()
        }
        message = {
            "dev": {key: value for key, value in device.items() if value},
            "o": {key: value for key, value in origin.items() if value},
            "availability": [{"topic": self.topics.status}],
            "cmps": components,
        }
        return json.dumps(message, ensure_ascii=False)

    def list_components(self) -> dict[str, dict[str, Any]]:
        """List the entities. One that consists only of its platform is removed by Home Assistant."""
        topics = self.topics
        state = {"state_topic": topics.state}
        measured = {"state_class": "measurement"}
        diagnostic = {"entity_category": "diagnostic"}
        # What the camera sees is unknown while the loop is paused or the camera is lost.
        while_running = {
            "availability_mode": "all",
            "availability": [
                {"topic": topics.status},
                {
                    "topic": topics.state,
                    "value_template": "{{ 'online' if value_json.state == 'running' else 'offline' }}",
                },
            ],
        }
        components: dict[str, dict[str, Any]] = {
            "occupancy": {"p": "binary_sensor", "name": "Occupancy", "device_class": "occupancy",
                          "state_topic": topics.occupancy, **while_running},
            "image": {"p": "image", "name": "Image", "image_topic": topics.image, "content_type": "image/jpeg",
                      **while_running},
            "pause": {"p": "switch", "name": "Pause", "icon": "mdi:pause", "command_topic": topics.pause_command,
                      "value_template": "{{ value_json.pause }}", **state},
            "state": {"p": "sensor", "name": "State", "device_class": "enum", "options": list(_LOOP_STATES),
                      "icon": "mdi:cctv", "value_template": "{{ value_json.state }}",
                      "json_attributes_topic": topics.state,
                      "json_attributes_template": "{{ {'problem': value_json.problem} | tojson }}",
                      **state, **diagnostic},
            "fps": {"p": "sensor", "name": "FPS", "unit_of_measurement": "FPS", "icon": "mdi:speedometer",
                    "value_template": "{{ value_json.fps }}", "suggested_display_precision": 1,
                    **state, **measured, **diagnostic, **while_running},
            "latency": {"p": "sensor", "name": "Latency", "device_class": "duration", "unit_of_measurement": "ms",
                        "value_template": "{{ value_json.latency_ms }}", "suggested_display_precision": 0,
                        **state, **measured, **diagnostic, **while_running},
            "temperature": {"p": "sensor", "name": "Temperature", "device_class": "temperature",
                            "unit_of_measurement": "°C", "value_template": "{{ value_json.temperature_c }}",
                            **state, **measured, **diagnostic},
            "throttled": {"p": "binary_sensor", "name": "Throttled", "device_class": "problem",
                          "value_template": "{{ value_json.throttled }}", "json_attributes_topic": topics.state,
                          "json_attributes_template": "{{ {'flags': value_json.flags} | tojson }}",
                          **state, **diagnostic},
            "model": {"p": "sensor", "name": "Model", "icon": "mdi:brain", "value_template": "{{ value_json.model }}",
                      **state, **diagnostic},
            # The last one: while Home Assistant migrates it from the old topic, it ignores the components after it.
            "people": {"p": "sensor", "name": "People", "icon": "mdi:account-group", "state_topic": topics.people,
                       **measured, **while_running},
        }  # fmt: skip
        exists = {
            "image": self.has_image,
            "pause": self.has_pause,
            "temperature": self.has_temperature,
            "throttled": self.has_firmware_flags,
        }
        own = {
            key: component if exists.get(key, True) else {"p": component["p"]} for key, component in components.items()
        }
        # `people` has to stay the last one.
        return {**list_rule_components(self.rules, topics, while_running), **own}
