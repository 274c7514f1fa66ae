"""The JSON Schemas in docs/reference/schemas accept what edgepose writes, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.benchmarks.profile import results
from edgepose.device.events.event import Event, EventName, EventState, RuleKind
from edgepose.device.events.format import format_event_line
from edgepose.device.monitor.board import read_board
from edgepose.device.monitor.health import Health
from edgepose.runtime.errors import ModelError
from edgepose.runtime.io.formats import format_edgepose_line
from edgepose.runtime.model import container, registry
from edgepose.runtime.model.manifest import Golden, ModelManifest
from edgepose.runtime.skeleton import get_skeleton, list_skeletons
from edgepose.runtime.synthetic import Scene
from edgepose.runtime.types import EstimateResult, Frame, Pose, Timings

from .conftest import call_edgepose

jsonschema = pytest.importorskip("jsonschema", reason="the JSON Schemas need jsonschema, of the extra `dev`")
ROOT = Path(__file__).resolve().parent.parent
SCHEMAS = {
    path.name.removesuffix(".schema.json"): json.loads(path.read_text())
    for path in sorted((ROOT / "docs/reference/schemas").glob("*.schema.json"))
}
EXAMPLES = ROOT / "docs/reference_pages/examples"
RULES = """
[camera]
real_time = false

[output]
name = "Test"

[[events.zone]]
name = "all"
polygon = [[0, 0], [1, 0], [1, 1], [0, 1]]
for_s = 0
dwell_s = 0
capacity = 1

[[events.posture]]
name = "posture"
for_s = 0

[[events.expression]]
name = "up"
expression = "nose.y < left_knee.y"
for_s = 0

[[events.angle]]
name = "straight"
keypoints = ["hip", "knee", "ankle"]
above = 1
for_s = 0
"""

numbers = st.floats(-1e5, 1e5, width=32)
texts = st.text(max_size=20)


def close(schema: Any) -> Any:
    """Return a schema that refuses unknown entries: those are not described in the reference."""
    if isinstance(schema, list):
        return [close(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: close(value) for key, value in schema.items()}
    if "properties" in schema and isinstance(schema.get("type"), str):
        closed.setdefault("additionalProperties", False)
    return closed


VALIDATORS = {name: jsonschema.Draft202012Validator(close(schema)) for name, schema in SCHEMAS.items()}


def validate_lines(text: str) -> tuple[list[Any], list[Any]]:
    """Validate JSON lines; return the frames and the events."""
    documents = [json.loads(line) for line in text.splitlines()]
    for document in documents:
        VALIDATORS["event" if "event" in document else "frame"].validate(document)
    return [one for one in documents if "event" not in one], [one for one in documents if "event" in one]


@st.composite
def make_poses(draw: st.DrawFn) -> EstimateResult:
    skeleton = get_skeleton(draw(st.sampled_from(list_skeletons())))
    count, rows = len(skeleton.keypoints), st.tuples(numbers, numbers, st.floats(0, 2, width=32))
    poses = tuple(
        Pose(
            np.array(draw(st.lists(rows, min_size=count, max_size=count)), np.float32),
            draw(st.floats(-1, 2)), draw(st.integers(0, 1000)), skeleton,
        )
        for _ in range(draw(st.integers(0, 2)))
    )  # fmt: skip
    times = [draw(st.floats(0, 1e6)) for _ in range(3)]
    return EstimateResult(poses, Timings(*times), skeleton=skeleton)


frames = st.builds(
    Frame,
    st.just(np.zeros((4, 6, 3), np.uint8)),
    st.one_of(texts, st.just("rtsp://user:word@10.0.0.9/1")),
    st.integers(0, 2**40),
    st.integers(0, 2**62),
    captured_ns=st.integers(0, 2**62),
)
moments = st.none() | st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=st.just(UTC)).map(
    lambda moment: moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
)


def test_the_schemas_are_valid_and_describe_every_entry() -> None:
    assert set(SCHEMAS) == {"frame", "event", "manifest", "profile"}
    for name, schema in SCHEMAS.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        for kind, inner in {"": schema, **schema.get("$defs", {})}.items():
            for key, entry in inner["properties"].items():
                assert entry.get("description"), f"{name}: {kind}.{key} has no description"


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_the_recorded_examples_are_valid(name: str) -> None:
    VALIDATORS[name].validate(json.loads((EXAMPLES / f"{name}.json").read_text()))


@settings(deadline=None, max_examples=30)
@given(make_poses(), frames, texts)
def test_every_frame_is_valid(estimate: EstimateResult, frame: Frame, camera: str) -> None:
    VALIDATORS["frame"].validate(json.loads(format_edgepose_line(frame, estimate, camera=camera)))


@settings(deadline=None, max_examples=30)
@given(make_poses(), frames, moments, st.data())
def test_every_event_is_valid(estimate: EstimateResult, frame: Frame, time: str | None, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(get_args(EventName)))
    states = ("once",) if name in ("cross", "repetition") else [one for one in get_args(EventState) if one != "once"]
    seconds = st.floats(0, 1e4)
    time_s, length_s = data.draw(seconds), data.draw(seconds)
    state = data.draw(st.sampled_from(states))
    event = Event(
        name, state, data.draw(texts), data.draw(st.sampled_from(get_args(RuleKind))), data.draw(texts),
        data.draw(st.integers(0, 100)), time_s, time_s - length_s, length_s if state == "ended" else None,
        zone=data.draw(texts), direction=data.draw(st.sampled_from(("in", "out"))) if name == "cross" else "",
        label=data.draw(texts), count=data.draw(st.none() | st.integers(0, 9)), value=data.draw(st.none() | numbers),
        pose=estimate[0] if estimate.poses else None, reported_s=time_s + data.draw(st.sampled_from((0, 1.5))),
        clip=data.draw(texts), snapshot=data.draw(texts),
    )  # fmt: skip
    line = format_event_line(event, frame, device="Door", captured_at=time, camera=data.draw(texts))
    VALIDATORS["event"].validate(json.loads(line))


def list_places(schema: Any, document: Any, inner: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Return the objects of a document that have a fixed set of entries, and their required entries."""
    inner = schema["$defs"][inner["$ref"].rpartition("/")[2]] if "$ref" in inner else inner
    inner = next((one for one in inner.get("anyOf", ()) if "$ref" in one), inner)
    if "$ref" in inner:
        yield from list_places(schema, document, inner)
    elif isinstance(document, dict) and "properties" in inner:
        for key in inner["required"]:
            yield document, key
        for key, value in document.items():
            yield from list_places(schema, value, inner["properties"][key])
    elif isinstance(document, list) and "items" in inner and isinstance(inner["items"], dict):
        for one in document:
            yield from list_places(schema, one, inner["items"])


@pytest.mark.parametrize("name", sorted(SCHEMAS))
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_a_document_with_a_missing_unknown_or_wrong_entry_is_refused(name: str, data: st.DataObject) -> None:
    document = json.loads((EXAMPLES / f"{name}.json").read_text())
    places = list(list_places(SCHEMAS[name], document, SCHEMAS[name]))
    place, key = places[data.draw(st.integers(0, len(places) - 1))]
    change = data.draw(st.sampled_from(("missing", "unknown", "wrong")))
    if change == "missing":
        del place[key]
    elif change == "unknown":
        place[f"{key}_2"] = place[key]
    else:
        place[key] = [[{}]]
    assert not VALIDATORS[name].is_valid(document), (change, key)


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_what_is_read_as_a_manifest_is_valid(data: st.DataObject) -> None:
    document = json.loads((EXAMPLES / "manifest.json").read_text())
    place = data.draw(st.sampled_from([document, document["input"], document["heatmaps"], document["accuracy"]]))
    key = data.draw(st.sampled_from(sorted(place)))
    if data.draw(st.booleans()):
        del place[key]
    else:
        place[key] = data.draw(
            st.none()
            | st.booleans()
            | st.integers(-1, 10)
            | st.floats(-1, 2)
            | st.sampled_from(("nchw", "float32", "", "x"))
        )
    try:
        ModelManifest.from_json(json.dumps(document))
    except ModelError:
        return
    assert VALIDATORS["manifest"].is_valid(document)


def test_the_manifest_of_every_skeleton_is_valid() -> None:
    manifest = container.read_manifest(registry.find_model_file(None))
    assert manifest is not None
    for name in list_skeletons():
        skeleton = get_skeleton(name)
        own = replace(
            manifest,
            skeleton=name,
            skeleton_definition=skeleton,
            golden=Golden(1, 0, ((0.5,) * 3 * len(skeleton.keypoints),)),
        )
        VALIDATORS["manifest"].validate(json.loads(own.to_json()))


def test_the_commands_write_valid_documents(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "image.png"
    cv2.imwrite(str(image), Scene(2, 320, 240).render_frame(0).image)
    done = call_edgepose(capfd, "run", image, "synthetic:3", "--augment", "--scales", "1,1.3")
    found, _ = validate_lines(done.stdout)
    assert len(found) == 2
    assert found[1]["poses"]
    done = call_edgepose(capfd, "info", "--json")
    VALIDATORS["manifest"].validate(json.loads(done.stdout))


def test_the_camera_loop_writes_valid_documents(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings, images, lines = tmp_path / "camera.toml", tmp_path / "images", tmp_path / "lines.jsonl"
    settings.write_text(RULES)
    images.mkdir()
    scene = Scene(2, 320, 240)
    for number in range(12):
        cv2.imwrite(str(images / f"{number:02d}.jpg"), scene.render_frame(3 * number).image)
    done = call_edgepose(
        capfd, "camera", "--source", f"door={images}", "--config", settings, "--sink", f"jsonl:{lines}", "-q"
    )
    assert done.returncode == 0, done.stderr
    found, events = validate_lines(lines.read_text())
    assert len(found) == 12
    assert {one["camera"] for one in [*found, *events]} == {"door"}
    assert any("person" in pose for one in found for pose in one["poses"])
    assert {"enter", "leave", "dwell", "capacity", "posture", "expression", "angle"} == {one["event"] for one in events}
    assert any("pose" in one for one in events)
    done = call_edgepose(capfd, "events", "test", images, "--config", settings, "--json", "-q")
    _, printed = validate_lines(done.stdout)
    assert printed


def test_a_profile_is_valid(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "profile.json"
    done = call_edgepose(capfd, "profile", "--seconds", "0.2", "--threads", "1", "--json", out)
    assert done.returncode == 0, done.stderr
    VALIDATORS["profile"].validate(json.loads(out.read_text()))
    full = results.Row(
        "m.tflite", 1, latency_ms=results.Latency(1, 2, 3), accuracy=results.Accuracy(0.3, 5), input_size=(64, 48),
        health=(Health(50.0, 1500.0, ("undervoltage",)), Health(None, None, None)),
        operators=(results.Operator(0, "CONV_2D", "conv", 0.1, 1000, True),),
        by_people=(results.PeoplePoint(3, 2.5, {"inference": 1.0}),),
    )  # fmt: skip
    failed = results.Row("m.tflite", 1, error="no memory")
    VALIDATORS["profile"].validate(json.loads(results.Profile(read_board(), "x", "now", (full, failed)).to_json()))
