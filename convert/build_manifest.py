"""The manifest of a network that was just made."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from ..runtime.model import container
from ..runtime.model.isolated_load import ProbeResult, probe
from ..runtime.model.manifest import InputSpec, ModelManifest
from ..runtime.version import version
from .importers import tflite
from .importers.detect import Source


def describe(
    source: Source,
    network: str,
    flatbuffer: bytes,
    spec: InputSpec,
    outputs: tuple[str | None, str | None] = (None, None),
) -> ModelManifest:
    """The manifest of a network, whose outputs are recognized by their channels where they are not named."""
    tensors = probe_bytes(flatbuffer)
    digest, length = container.identity(flatbuffer)
    heatmaps, pafs = tflite.outputs(source.path, tensors, *outputs)
    return ModelManifest(
        network=network,
        flatbuffer_sha256=digest,
        flatbuffer_bytes=length,
        input=replace(spec, tensor=tensors.inputs[0].name),
        heatmaps=heatmaps,
        pafs=pafs,
        stride=tflite.stride(source.path, spec, tensors, heatmaps),
        source=source.path.name,
        source_sha256=source.sha256,
        licence=source.known.licence if source.known else "",
        edgepose_version=version(),
    )


def probe_bytes(flatbuffer: bytes) -> ProbeResult:
    """Inputs and outputs of a network, learnt in a child process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(flatbuffer)
        return probe(path)
