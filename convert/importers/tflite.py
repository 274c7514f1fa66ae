"""Importer for TFLite files of other tools: reads their input, outputs and stride."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...runtime.errors import ModelError
from ...runtime.model.interpreter import Network, TensorInfo
from ...runtime.model.isolated_load import NetworkTensors
from ...runtime.model.manifest import INPUT_DTYPES, OUTPUT_DTYPES, InputSpec, ModelManifest, OutputSpec
from ...runtime.preprocess import Preprocessor, Resize
from ...runtime.skeleton import COCO18, Skeleton
from ...runtime.types import ChannelOrder, Image, PoseFields
from ..ir.skeleton_match import advise, match_background


def read_input_spec(
    path: Path, tensors: NetworkTensors, size: tuple[int, int] | None, channel_order: ChannelOrder, resize: Resize
) -> InputSpec:
    """Read the input specification of a network.

    Args:
        path: The file, for error messages.
        tensors: The inputs and outputs of the network.
        size: The width and height that the user asked for; None for those of the network.
        channel_order: The channel order of the input image.
        resize: How images are resized to the input.

    Raises:
        ModelError: The network has not one uint8 or float32 NHWC image as input, or `size` is not its input size.
    """
    if len(tensors.inputs) != 1:
        raise ModelError(f"{path}: expected one input, the network has {len(tensors.inputs)}")
    info = tensors.inputs[0]
    if len(info.shape) != 4 or info.shape[0] != 1 or info.shape[3] != 3 or info.dtype not in INPUT_DTYPES:
        expected = f"(1, height, width, 3) of {' or '.join(INPUT_DTYPES)}"
        raise ModelError(f"{path}: expected an input {expected}, got {info.shape} of {info.dtype}")
    height, width = info.shape[1:3]
    if size is not None and size != (width, height):
        raise ModelError(
            f"{path}: a TFLite file keeps its input size, {width}x{height}; convert the original network instead"
        )
    return InputSpec(info.name, width, height, info.dtype, channel_order, resize)


def find_outputs(
    path: Path, tensors: NetworkTensors, heatmaps: str | None, pafs: str | None, skeleton: Skeleton = COCO18
) -> tuple[OutputSpec, OutputSpec]:
    """Find the heatmaps and PAFs among the outputs.

    Args:
        path: The file, for error messages.
        tensors: The inputs and outputs of the network.
        heatmaps: The name of the output with the heatmaps. If one name is None, outputs are identified by channels.
        pafs: The name of the output with the PAFs.
        skeleton: The skeleton of the network. The heatmaps may have a background channel or none.

    Raises:
        ModelError: The outputs cannot be identified; the message lists all outputs.
    """
    maps = {info.name: info for info in tensors.outputs if len(info.shape) == 4 and info.dtype in OUTPUT_DTYPES}
    named = [maps[name] for name in (heatmaps, pafs) if name in maps] or maps.values()
    found_channels = {info.shape[3] for info in named}
    skeleton = match_background(skeleton, found_channels)
    heatmap_channels, paf_channels = skeleton.heatmap_channels, skeleton.paf_channels
    if heatmaps is not None and pafs is not None:
        for name, channels in ((heatmaps, heatmap_channels), (pafs, paf_channels)):
            if name not in maps or maps[name].shape[3] != channels:
                raise ModelError(
                    f"{path}: no output {name!r} with {channels} channels; {_format_outputs(tensors)}. "
                    f"{advise(skeleton, found_channels)}"
                )
        return OutputSpec(heatmaps, 0, heatmap_channels), OutputSpec(pafs, 0, paf_channels)
    found = {
        channels: [name for name in maps if maps[name].shape[3] == channels]
        for channels in (heatmap_channels, paf_channels, heatmap_channels + paf_channels)
    }
    if len(found[heatmap_channels]) == 1 and len(found[paf_channels]) == 1:
        return OutputSpec(found[heatmap_channels][0], 0, heatmap_channels), OutputSpec(
            found[paf_channels][0], 0, paf_channels
        )
    if len(found[heatmap_channels + paf_channels]) == 1:
        name = found[heatmap_channels + paf_channels][0]
        return OutputSpec(name, 0, heatmap_channels), OutputSpec(
            name, heatmap_channels, heatmap_channels + paf_channels
        )
    raise ModelError(
        f"{path}: expected NHWC outputs with {heatmap_channels} (heatmaps) and {paf_channels} channels (PAFs), "
        f"or one with {heatmap_channels + paf_channels}; {_format_outputs(tensors)}. "
        f"{advise(skeleton, found_channels)}"
    )


def compute_stride(path: Path, spec: InputSpec, tensors: NetworkTensors, heatmaps: OutputSpec) -> int:
    """Compute the stride: the number of input pixels per cell of the heatmaps.

    Raises:
        ModelError: The input size is not the size of the heatmaps times one stride.
    """
    info: TensorInfo = next(info for info in tensors.outputs if info.name == heatmaps.tensor)
    rows, columns = info.shape[1:3]
    result = spec.height // max(1, rows)
    if not result or (spec.height // result, spec.width // result) != (rows, columns):
        raise ModelError(
            f"{path}: heatmaps of {columns}x{rows} cells do not match the input size {spec.width}x{spec.height}; "
            "expected one stride for width and height"
        )
    return result


class TfliteReference:
    """Original TFLite file, run by the interpreter; the reference for verification."""

    def __init__(self, path: Path, manifest: ModelManifest, network: bytes) -> None:
        self._network = Network(path, content=network)
        self._manifest = manifest
        spec = manifest.input
        self._preprocessor = Preprocessor(spec.width, spec.height, spec.resize, spec.channel_order, spec.value_range)

    def infer(self, image: Image) -> PoseFields:
        """Compute the dequantized heatmaps and PAFs of a BGR image, uint8 (height, width, 3)."""
        self._preprocessor.prepare(image, "bgr", self._network.get_tensor(self._network.inputs[0])[0])
        self._network.invoke()
        real = {}
        for spec in (self._manifest.heatmaps, self._manifest.pafs):
            info = next(info for info in self._network.outputs if info.name == spec.tensor)
            values = self._network.get_tensor(info)[0, :, :, spec.start : spec.stop].astype(np.float32)
            real[spec] = (values - info.quantization.zero_point) * np.float32(info.quantization.scale)
        return PoseFields(real[self._manifest.heatmaps], real[self._manifest.pafs])


def _format_outputs(tensors: NetworkTensors) -> str:
    return "found " + ", ".join(f"{info.name!r} {info.shape} {info.dtype}" for info in tensors.outputs)
