"""Page of the JSON documents, and their JSON Schemas, from the types that the writers use."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, get_args

from edgepose.benchmarks.profile import results
from edgepose.device.events.document import EventDocument
from edgepose.device.events.event import EventName, EventState
from edgepose.device.events.format import make_event_type
from edgepose.runtime.io.documents import FrameDocument
from edgepose.runtime.io.formats import FORMAT_VERSION
from edgepose.runtime.model import manifest

from .json_schema import make_document

PAGE = "reference/message.md"
_FOLDER = "reference/schemas"


class _Part(NamedTuple):
    """Part of the page: one document."""

    name: str
    title: str
    text: str
    example: str
    later: str


_OPEN = (
    "Later versions may add entries, and then the version stays the same: ignore entries that you do not know. If an "
    "entry is removed or changes its meaning, `version` increases."
)
_PARTS = (
    _Part(
        "frame",
        "Frame",
        "One line per image or video frame: `edgepose run`, and the sinks `-`, `jsonl:`, `mqtt://`, `udp://` and the "
        "page's `/poses` of `edgepose camera`. [Output formats](output.md) explains sources, time and keypoints.",
        "edgepose camera --source synthetic:1 --sink -",
        _OPEN,
    ),
    _Part(
        "event",
        "Event",
        "One line per event of a rule: the same sinks, `webhook:` and `exec:`, and `edgepose events test --json`. Only "
        "events have the key `event`, so that a program can tell them from frames.",
        "edgepose events test clip.mp4 --config camera.toml --json",
        f"{_OPEN} New kinds of rules bring new values of `event`, `type` and `kind`.",
    ),
    _Part(
        "manifest",
        "Manifest of a model file",
        "The file `manifest.json` in the archive at the end of a `.tflite` file; `edgepose info --json` prints it. "
        "[The model file](model-file.md) explains the archive.",
        "edgepose info --json",
        "Entries with a default may be missing in files of older versions. An entry that this version does not know is "
        "an error, because the network could be decoded wrongly: files of a later version can need a later edgepose.",
    ),
    _Part(
        "profile",
        "Profile",
        "What `edgepose profile --json` writes. [Measure models](../guides/profile.md) explains the figures.",
        "edgepose profile --json -",
        _OPEN,
    ),
)


def make_schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schemas by name."""
    frame = make_document("frame", "Frame", FrameDocument, written=True, is_open=True)
    event = make_document("event", "Event", EventDocument, written=True, is_open=True)
    for schema in (frame, event):
        schema["properties"]["version"] = {"const": FORMAT_VERSION, **_describe(schema, "version")}
    event["properties"]["type"] = {"enum": _list_event_types(), **_describe(event, "type")}
    model = make_document("manifest", "Manifest", manifest.ModelManifest, written=False, is_open=False)
    for name, value in (("format", manifest.FORMAT), ("version", manifest.VERSION)):
        model["properties"][name] = {"const": value, **_describe(model, name)}
        model["required"].append(name)
    for name, dtypes in (("input", manifest.INPUT_DTYPES),):
        model["$defs"]["InputSpec"]["properties"]["dtype"] |= {"enum": list(dtypes)}
        del name
    return {"frame": frame, "event": event, "manifest": model, "profile": _make_profile_schema()}


def _make_profile_schema() -> dict[str, Any]:
    schema = make_document("profile", "Profile", results.Profile, written=True, is_open=True)
    schema["properties"] = {
        "version": {"const": results.VERSION, "description": "Version of this schema."},
        **schema["properties"],
    }
    schema["required"].insert(0, "version")
    row = schema["$defs"]["Row"]
    row["properties"]["gmacs_per_s"] = {
        "anyOf": [{"type": "number"}, {"type": "null"}],
        "description": results.Row.gmacs_per_s.__doc__,
    }
    row["required"].append("gmacs_per_s")
    return schema


def _describe(schema: dict[str, Any], name: str) -> dict[str, Any]:
    text = schema["properties"][name].get("description")
    return {} if text is None else {"description": text}


def _list_event_types() -> list[str]:
    """Return the types of all events, in the order of their names."""
    types = [
        make_event_type(event, state, direction)
        for event in get_args(EventName)
        for state in get_args(EventState)
        for direction in (("in", "out") if event == "cross" else ("",))
    ]
    return list(dict.fromkeys(types))


def make_files() -> dict[str, str]:
    """Return the text of the page and of the schemas by their path in docs/."""
    schemas = make_schemas()
    files = {f"{_FOLDER}/{name}.schema.json": _dump(schema) for name, schema in schemas.items()}
    return {PAGE: _make_page(schemas), **files}


def _dump(schema: Any) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _make_page(schemas: dict[str, dict[str, Any]]) -> str:
    return ""
