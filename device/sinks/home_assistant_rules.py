"""Entities and device triggers of Home Assistant for the rules of the configuration.

Per rule: a binary sensor if the rule has a state, a sensor per count, an `event` entity, and a device trigger per type
of event. Their ids are made from the name of the rule, so that they stay the same if rules are added or moved.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...runtime.io.naming import make_slug
from ..events.event import RuleInfo, RuleKind
from ..events.format import list_event_types
from .mqtt_topics import Topics

_KEY_PATTERN = re.compile(r"rule_[a-z0-9_-]{1,200}", re.ASCII)
_PLATFORMS = ("binary_sensor", "sensor", "event", "device_automation")
_DEVICE_CLASSES: dict[RuleKind, str] = {"zone": "occupancy", "fall": "safety"}
_ICONS: dict[RuleKind, str] = {
    "line": "mdi:arrow-left-right", "posture": "mdi:human-handsup", "gesture": "mdi:hand-wave",
    "angle": "mdi:angle-acute", "repetitions": "mdi:counter", "expression": "mdi:function-variant",
}  # fmt: skip
_COUNT_OF_NOW = "people"
"""The count that goes up and down; all others are totals since the start."""
_LEFT_OUT = (
    "['version', 'event', 'type', 'rule', 'kind', 'pose', 'source', 'index', 'timestamp_ns', 'device', 'camera']"
)
"""Entries of an event that are no attributes of its entity: Home Assistant stores attributes in its database."""


def list_rule_components(
    rules: Sequence[RuleInfo], topics: Topics, availability: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """List the components of the discovery message.

    Args:
        rules: The rules.
        topics: Topics of the sink.
        availability: Keys for entities that are unknown while no frames come.

    Returns:
        The components by their key, in the order of the rules.
    """
    components: dict[str, dict[str, Any]] = {}
    keys: set[str] = set()
    for rule in rules:
        key = _make_key(rule.name, keys)
        components |= {f"{key}{end}": one for end, one in _list_components(rule, topics, availability).items()}
    return components


def find_stale_components(payload: bytes, current: Mapping[str, object]) -> dict[str, dict[str, str]]:
    """Return the components of rules that an earlier discovery message has and the current one has not.

    Args:
        payload: The earlier message; its content is not trusted.
        current: Components of the current message by their key.

    Returns:
        The components reduced to their platform, which removes them from Home Assistant.
    """
    try:
        components = json.loads(payload)["cmps"]
        found = {key: component["p"] for key, component in components.items() if len(component) > 1}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return {
        key: {"p": platform}
        for key, platform in found.items()
        if _KEY_PATTERN.fullmatch(key) and key not in current and platform in _PLATFORMS
    }


def _make_key(name: str, keys: set[str]) -> str:
    """Return a key that no other rule has."""
    slug = make_slug(name)
    key, number = f"rule_{slug}", 1
    while key in keys:
        number += 1
        key = f"rule_{slug}_{number}"
    keys.add(key)
    return key


def _list_components(rule: RuleInfo, topics: Topics, availability: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    name = json.dumps(rule.name, ensure_ascii=False)  # also a string of a template
    state = f"value_json[{name}]"
    components: dict[str, dict[str, Any]] = {}
    if rule.has_duration:
        labels = "" if rule.kind == "angle" else f", 'labels': {state}.labels"  # an angle changes all the time
        components[""] = {
            "p": "binary_sensor", "name": rule.name, "state_topic": topics.rules,
            "value_template": f"{{{{ 'ON' if {state}.active else 'OFF' }}}}",
            "json_attributes_topic": topics.rules,
            "json_attributes_template": f"{{{{ {{'people': {state}.people{labels}}} | tojson }}}}",
            **_choose_look(rule.kind), **availability,
        }  # fmt: skip
    for count in rule.counts:
        is_total = count != _COUNT_OF_NOW
        components[f"_count_{make_slug(count)}"] = {
            "p": "sensor", "name": f"{rule.name} {count}", "state_topic": topics.rules,
            "value_template": f"{{{{ {state}.counts[{json.dumps(count, ensure_ascii=False)}] }}}}",
            "state_class": "total_increasing" if is_total else "measurement",
            "icon": "mdi:counter" if is_total else "mdi:account-group", **availability,
        }  # fmt: skip
    types = list_event_types(rule)
    is_own = f"value_json.rule == {name} and value_json.type in {json.dumps(types)}"
    components["_event"] = {
        "p": "event", "name": rule.name, "state_topic": topics.events, "event_types": types,
        # An empty text is ignored.
        "value_template": f"{{% if {is_own} %}}{{{{ dict(value_json.items() | rejectattr('0', 'in', {_LEFT_OUT}), "
                          "event_type=value_json.type) | tojson }}{% endif %}",
        **{key: value for key, value in _choose_look(rule.kind).items() if key == "icon"},
    }  # fmt: skip
    for kind in types:
        components[f"_on_{kind}"] = {
            "p": "device_automation", "automation_type": "trigger", "topic": topics.events, "payload": kind,
            "value_template": f"{{{{ value_json.type if value_json.rule == {name} }}}}",
            "type": kind.replace("_", " "), "subtype": rule.name,
        }  # fmt: skip
    return components


def _choose_look(kind: RuleKind) -> dict[str, str]:
    if kind in _DEVICE_CLASSES:
        return {"device_class": _DEVICE_CLASSES[kind]}
    return {"icon": _ICONS[kind]} if kind in _ICONS else {}
