"""Page of the JSON documents, and their JSON Schemas, from the types that the writers use."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any, NamedTuple, get_args

from edgepose.benchmarks.profile import results
from edgepose.device.events.document import EventDocument
from edgepose.device.events.event import EventName, EventState
from edgepose.device.events.format import make_event_type
from edgepose.runtime.io.documents import FrameDocument
from edgepose.runtime.io.formats import FORMAT_VERSION
from edgepose.runtime.model import manifest

from .json_schema import make_document
from .markdown import WIDTH, link_pages, make_code, make_notice, make_table, mark_code, wrap

PAGE = "reference/message.md"
_FOLDER = "reference/schemas"
_EXAMPLES = Path(__file__).parent / "examples"
"""Recorded output of the commands."""
_EVENT_CONFIG = """\
[output]
name = "Front door"

[[events.zone]]
name = "yard"
polygon = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]"""
_CHECK = """\
import json
from pathlib import Path

from jsonschema import Draft202012Validator

frame = Draft202012Validator(json.loads(Path("frame.schema.json").read_text()))
event = Draft202012Validator(json.loads(Path("event.schema.json").read_text()))
for line in Path("poses.jsonl").read_text().splitlines():
    document = json.loads(line)
    (event if "event" in document else frame).validate(document)"""
_EVENTS_WITHOUT_DURATION = ("cross", "repetition")


class _Part(NamedTuple):
    """Part of the page: one document."""

    name: str
    title: str
    text: str
    writers: str
    command: str
    later: str


_OPEN = (
    "**Later versions** may add entries, and `version` stays the same: ignore entries that you do not know. If an "
    "entry is removed or changes its meaning, `version` increases."
)
_PARTS = (
    _Part(
        "frame",
        "Frame",
        "One line per image or video frame: `edgepose run`, and the sinks `-`, `jsonl:`, `mqtt://`, `udp://` and the "
        "page's `/poses` of `edgepose camera`. [Output formats](output.md) explains sources, time and keypoints.",
        "`edgepose run`, `edgepose camera`",
        "edgepose camera --source synthetic:1 --name 'Front door' --sink -",
        _OPEN,
    ),
    _Part(
        "event",
        "Event",
        "One line per event of a rule: the same sinks, `webhook:` and `exec:`, and `edgepose events test --json`. Only "
        "events have the key `event`, so that a program can tell them from frames.",
        "`edgepose camera`, `edgepose events test --json`",
        "edgepose camera --source synthetic:2 --config camera.toml --sink '-?only=events'",
        f"{_OPEN} New kinds of rules bring new values of `event`, `type` and `kind`.",
    ),
    _Part(
        "manifest",
        "Manifest of a model file",
        "The file `manifest.json` in the archive at the end of a `.tflite` file; `edgepose info --json` prints it. "
        "[The model file](model-file.md) explains the archive.",
        "`edgepose convert`, `edgepose info --json`",
        "edgepose info --json",
        "**Later versions** may add entries. edgepose refuses a file with an entry that it does not know, because it "
        "could decode the network wrongly: update edgepose to read files of a later version. Optional entries "
        "may be missing in files of older versions.",
    ),
    _Part(
        "profile",
        "Profile",
        "What `edgepose profile --json` writes. [Measure models](../guides/profile.md) explains the figures.",
        "`edgepose profile --json`",
        "edgepose profile --seconds 2 --threads 1 --json -",
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
    model["$defs"]["InputSpec"]["properties"]["dtype"] = {
        "enum": list(manifest.INPUT_DTYPES),
        "description": model["$defs"]["InputSpec"]["properties"]["dtype"]["description"],
    }
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
        "type": ["number", "null"],
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
        if (state == "once") == (event in _EVENTS_WITHOUT_DURATION)
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
    parts = [
        make_notice("the types of the documents"),
        "# Messages and JSON Schemas\n",
        wrap(
            "The JSON documents that edgepose writes, with a [JSON Schema](https://json-schema.org) of each (draft "
            "2020-12). A test validates the real output of the commands against these schemas. The schemas in the "
            "main branch belong to the newest version; those of a release are in its tag."
        )
        + "\n",
        make_table(
            ("document", "schema", "written by"),
            [(f"[{one.title}](#{_make_anchor(one.title)})", f"[{one.name}.schema.json](schemas/{one.name}.schema.json)",
              one.writers) for one in _PARTS],
        ),
        "To check a file of messages in Python (`pip install jsonschema`):\n",
        make_code(_CHECK, "python"),
    ]  # fmt: skip
    for part in _PARTS:
        schema = schemas[part.name]
        example = json.loads((_EXAMPLES / f"{part.name}.json").read_text())
        parts += [
            f"## {part.title}\n",
            wrap(part.text) + "\n",
            *(["With this `camera.toml`:\n", make_code(_EVENT_CONFIG, "toml")] if part.name == "event" else []),
            f"`{part.command}` prints, for example:\n",
            make_code(format_json(example), "json"),
            _make_entries(schema),
        ]
        for name, inner in schema.get("$defs", {}).items():
            parts += [f"### {part.title}: `{name}`\n", wrap(mark_code(inner["description"])) + "\n",
                      _make_entries(inner)]  # fmt: skip
        parts += [f"**Later versions.** {part.later}\n"] if len(part.later) < 80 else [wrap(part.later) + "\n"]
    return "\n".join(parts)


def _make_anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _make_entries(schema: dict[str, Any]) -> str:
    required = schema["required"]
    rows = []
    for name, entry in schema["properties"].items():
        kind = _name_type(entry) + ("" if name in required else "; optional")
        rows.append((f"`{name}`", f"*{kind}.* {_polish(entry['description'])}"))
    return make_table(("entry", "meaning"), rows)


def _name_type(entry: dict[str, Any]) -> str:
    """Return the type of an entry in words."""
    if "const" in entry:
        return f"`{json.dumps(entry['const'])}`"
    if "enum" in entry:
        return "one of " + ", ".join(f"`{json.dumps(word)}`" for word in entry["enum"])
    if "$ref" in entry:
        return f"`{entry['$ref'].rpartition('/')[2]}`"
    if "anyOf" in entry:
        return " or ".join(_name_type(one) for one in entry["anyOf"])
    kinds = entry["type"] if isinstance(entry["type"], list) else [entry["type"]]
    return " or ".join(_name_plain_type(kind, entry) for kind in kinds)


def _name_plain_type(kind: str, entry: dict[str, Any]) -> str:
    if kind == "array":
        if "prefixItems" in entry:
            return f"list of {len(entry['prefixItems'])} {_name_type(entry['prefixItems'][0])}s"
        inner = _name_type(entry["items"])
        return f"list of {inner}" if inner.startswith("`") else f"list of {_make_plural(inner)}"
    if kind == "string" and entry.get("format") == "date-time":
        return "time"
    if kind == "object" and isinstance(entry.get("additionalProperties"), dict):
        return f"object of {_name_type(entry['additionalProperties'])}s"
    least = entry.get("minimum")
    return f"{kind}, {least} or more" if kind in ("integer", "number") and least is not None else kind


def _make_plural(kind: str) -> str:
    return f"lists{kind.removeprefix('list')}" if kind.startswith("list") else f"{kind}s"


def format_json(value: Any, indent: str = "") -> str:
    """Format JSON for a page: what fits into a line stays in a line."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(flat) <= WIDTH - 4 or not isinstance(value, list | dict):
        return flat
    inner = indent + "  "
    if isinstance(value, list) and all(isinstance(one, int | float) for one in value):
        return textwrap.fill(flat, WIDTH - 4, subsequent_indent=f"{indent} ", initial_indent=indent).lstrip()
    if isinstance(value, list):
        entries = [f"{inner}{format_json(one, inner)}" for one in value]
        return "[\n" + ",\n".join(entries) + f"\n{indent}]"
    entries = [f"{inner}{json.dumps(name)}: {format_json(one, inner)}" for name, one in value.items()]
    return "{\n" + ",\n".join(entries) + f"\n{indent}}}"


def _polish(text: str) -> str:
    return link_pages(mark_code(text), PAGE)
