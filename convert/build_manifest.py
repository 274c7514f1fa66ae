"""Creation of the manifest for a converted network."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from ..runtime.model import container
from ..runtime.model.isolated_load import NetworkTensors, load_in_child_process
from ..runtime.model.manifest import InputSpec, ModelManifest
from ..runtime.skeleton import COCO18, Skeleton, is_shipped
from ..runtime.version import get_version
from .importers import tflite
from .importers.detect import Source


def build_manifest(
    source: Source,
    network: str,
    flatbuffer: bytes,
    spec: InputSpec,
    outputs: tuple[str | None, str | None] = (None, None),
    skeleton: Skeleton = COCO18,
    tensors: NetworkTensors | None = None,
) -> ModelManifest:
    """Build the manifest of a network.

    Args:
        source: The source of the network.
        network: The name of the network.
        flatbuffer: The TFLite file without a manifest.
        spec: The input. The name of the tensor is read from the network.
        outputs: The names of the tensors with the heatmaps and the PAFs. None: identified by the number of channels.
        skeleton: The skeleton. Whether it has a background channel is decided by the network.
        tensors: The inputs and outputs of the network, if it was loaded in a child process before.

    Raises:
        ModelError: The outputs cannot be identified, or do not match the input size.
    """
    tensors = tensors or probe_flatbuffer(flatbuffer)
    digest, length = container.compute_identity(flatbuffer)
    heatmaps, pafs = tflite.find_outputs(source.path, tensors, *outputs, skeleton)
    skeleton = skeleton.with_background(heatmaps.stop - heatmaps.start > len(skeleton.keypoints))
    if skeleton.background:
        heatmaps, pafs = tflite.settle_order(source.path, flatbuffer, spec, (heatmaps, pafs), tensors)
    return ModelManifest(
        network=network,
        flatbuffer_sha256=digest,
        flatbuffer_bytes=length,
        input=replace(spec, tensor=tensors.inputs[0].name),
        heatmaps=heatmaps,
        pafs=pafs,
        skeleton=skeleton.name,
        skeleton_definition=None if is_shipped(skeleton) else skeleton,
        stride=tflite.compute_stride(source.path, spec, tensors, heatmaps),
        source=source.path.name,
        source_sha256=source.sha256,
        license=source.known.license if source.known else "",
        edgepose_version=get_version(),
    )


def probe_flatbuffer(flatbuffer: bytes) -> NetworkTensors:
    """Read the inputs and outputs of a network in a child process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(flatbuffer)
        return load_in_child_process(path)
