"""The manifest of a network that was just made."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from edgepose.runtime import model_file
from edgepose.runtime.manifest import InputSpec, ModelManifest
from edgepose.runtime.probe import ProbeResult, probe
from edgepose.runtime.version import version

from . import adopt
from .sources import Source


def describe(
    source: Source,
    network: str,
    flatbuffer: bytes,
    spec: InputSpec,
    outputs: tuple[str | None, str | None] = (None, None),
) -> ModelManifest:
    """The manifest of a network, whose outputs are recognised by their channels where they are not named."""
    tensors = probe_bytes(flatbuffer)
    digest, length = model_file.identity(flatbuffer)
    heatmaps, pafs = adopt.outputs(source.path, tensors, *outputs)
    return ModelManifest(
        network=network,
        flatbuffer_sha256=digest,
        flatbuffer_bytes=length,
        input=replace(spec, tensor=tensors.inputs[0].name),
        heatmaps=heatmaps,
        pafs=pafs,
        stride=adopt.stride(source.path, spec, tensors, heatmaps),
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
