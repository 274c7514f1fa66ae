"""Manifests are read back as they were written; invalid manifests are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.runtime.errors import ModelError
from edgepose.runtime.model.manifest import Accuracy, InputSpec, ModelManifest, OutputSpec, Verification

PLAIN = ModelManifest(
    network="net",
    flatbuffer_sha256="0" * 64,
    flatbuffer_bytes=10,
    input=InputSpec("image", 432, 368),
    heatmaps=OutputSpec("heatmaps", 0, 19),
    pafs=OutputSpec("pafs", 0, 38),
)
FULL = replace(
    PLAIN,
    precision="float32",
    parameters=5,
    macs=7,
    recipe=("folded", "exported"),
    accuracy=Accuracy(0.3, 0.5, 153, "coco", "ai-edge-litert"),
    verification=Verification(10, 1e-6, 1e-5, 1e-6, 1e-5, 1.0, 30, source_ap=0.3),
)


@pytest.mark.parametrize("manifest", [PLAIN, FULL])
def test_a_manifest_is_read_back_unchanged(manifest: ModelManifest) -> None:
    assert ModelManifest.from_json(manifest.to_json()) == manifest


def test_a_manifest_of_an_older_edgepose_is_read() -> None:
    document = json.loads(FULL.to_json())
    for key in ("channel_ranges", "layout", "quantized", "dynamic"):
        del document["input"][key]
    del document["heatmaps"]["layout"], document["pafs"]["layout"]
    assert ModelManifest.from_json(json.dumps(document)) == FULL


def changed(path: str, value: Any) -> str:
    document = json.loads(FULL.to_json())
    place = document
    *folders, last = path.split(".")
    for folder in folders:
        place = place[folder]
    if value is KeyError:
        del place[last]
    else:
        place[last] = value
    return json.dumps(document)


def test_the_old_key_of_the_license_is_read() -> None:
    document = json.loads(FULL.to_json())
    document["licence"] = document.pop("license")
    assert ModelManifest.from_json(json.dumps(document)) == FULL
    document["license"] = "both"
    assert ModelManifest.from_json(json.dumps(document)).license == "both"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format", "other", "not an edgepose-manifest"),
        ("version", 2, "version 2"),
        ("network", KeyError, "network"),
        ("network", 5, "manifest.network: expected a string"),
        ("input", [], "manifest.input: expected an object"),
        ("input.width", "432", "manifest.input.width: expected an integer"),
        ("input.width", True, "manifest.input.width: expected an integer"),
        ("input.width", 0, "out of range"),
        ("input.width", 10**9, "out of range"),
        ("input.dtype", "float64", "manifest.input.dtype"),
        ("input.channel_order", "hsv", "channel_order: expected one of bgr, rgb"),
        ("input.resize", "crop", "resize: expected one of"),
        ("input.value_range", [1], "value_range"),
        ("input.value_range", [1, 1], "value_range: expected a low and a higher value"),
        ("input.value_range", [0, 1e30], "value_range: expected a low and a higher value"),
        ("input.channel_ranges", [[0, 1]], "channel_ranges: expected 3 ranges, got 1"),
        ("input.layout", "hwc", "layout: expected one of nhwc, nchw"),
        ("input.quantized", True, "quantized: expected false for an input of float32"),
        ("input.dtype", "int8", "quantized: expected true for an input of int8"),
        ("pafs.layout", "chw", "layout: expected one of nhwc, nchw"),
        ("stride", 0, "stride"),
        ("skeleton", "body26", "manifest.skeleton: expected one of coco18"),
        ("skeleton", "body25", "manifest.heatmaps: expected 26 channels"),
        ("heatmaps.stop", 20, "expected 19 channels"),
        ("pafs.start", -1, "expected 38 channels"),
        ("accuracy.ap", "good", "accuracy.ap: expected a number"),
        ("surprise", 1, "manifest.surprise: there is no such key"),
    ],
)
def test_a_wrong_entry_is_named(path: str, value: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        ModelManifest.from_json(changed(path, value))


@pytest.mark.parametrize("text", ["", "[]", "5", "null", "{", '{"format": "edgepose-manifest"}', "[" * 100_000])
def test_invalid_manifests_are_refused(text: str) -> None:
    with pytest.raises(ModelError):
        ModelManifest.from_json(text)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_paths = st.sampled_from(["network", "input", "input.width", "input.value_range", "heatmaps", "pafs.stop", "stride",
                          "recipe", "accuracy", "accuracy.ap", "verification", "macs", "skeleton"])  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(_paths, _json)
def test_any_value_in_any_place_is_read_or_refused(path: str, value: Any) -> None:
    try:
        manifest = ModelManifest.from_json(changed(path, value))
    except ModelError as error:
        assert "\n" not in str(error)
    else:
        assert ModelManifest.from_json(manifest.to_json()) == manifest
