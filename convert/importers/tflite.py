"""Importer for TFLite files of other tools: reads their input, outputs and stride."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

from ...runtime.errors import ModelError
from ...runtime.model.input_tensor import choose_image_shape, make_preprocessor
from ...runtime.model.interpreter import Network, OutputOrigin, TensorInfo
from ...runtime.model.isolated_load import NetworkTensors
from ...runtime.model.manifest import INPUT_DTYPES, OUTPUT_DTYPES, InputSpec, ModelManifest, OutputSpec
from ...runtime.preprocess import Resize, make_pixel_table
from ...runtime.skeleton import COCO18, Skeleton
from ...runtime.types import ChannelOrder, Image, Layout, PoseFields
from ..ir.skeleton_match import advise, match_background

_KNOWN_RANGES = ((0.0, 255.0), (0.0, 1.0), (-1.0, 1.0), (-0.5, 0.5), (-128.0, 127.0))
"""Value ranges of images that networks expect."""
_RANGE_TOLERANCE = 0.03
"""Largest difference of a quantized range from a known one, as a share of it: calibration images seldom reach both."""
_MIN_BACKGROUND = 0.5
"""Mean of the background heatmap of an image without people is above this value, that of other channels below."""


@dataclass(frozen=True)
class _Maps:
    """Output with the number of channels of heatmaps, PAFs, or both."""

    info: TensorInfo
    origin: OutputOrigin
    layout: Layout
    channels: int

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.info.shape[1:3] if self.layout == "nhwc" else self.info.shape[2:4]
        return rows, columns

    def slice(self, start: int, stop: int) -> OutputSpec:
        return OutputSpec(self.info.name, start, stop, self.layout)


def read_input_spec(
    path: Path,
    tensors: NetworkTensors,
    size: tuple[int, int] | None,
    channel_order: ChannelOrder,
    resize: Resize,
    ranges: tuple[tuple[float, float], ...] | None = None,
) -> InputSpec:
    """Read the input specification of a network.

    Args:
        path: The file, for error messages.
        tensors: The inputs and outputs of the network.
        size: The width and height that the user asked for; None for those of the network.
        channel_order: The channel order of the input image.
        resize: How images are resized to the input.
        ranges: The input values for the pixel values 0 and 255: one range, or one per channel in `channel_order`.
            Default: the range of a quantized input, otherwise 0 to 255.

    Raises:
        ModelError: The network does not have one image as input, or `size` is not its input size.
    """
    if len(tensors.inputs) != 1:
        raise ModelError(f"{path}: expected one input, the network has {len(tensors.inputs)}")
    info = tensors.inputs[0]
    if info.dtype not in INPUT_DTYPES:
        raise ModelError(
            f"{path}: expected an input of {', '.join(INPUT_DTYPES)}, got {info.shape} of {info.dtype}; export the "
            "network with one of these types"
        )
    if info.dtype not in ("float32", "uint8") and not info.is_quantized:
        raise ModelError(
            f"{path}: the input of {info.dtype} has no scale and zero point; export the network with a quantized, "
            "float32 or uint8 input"
        )
    try:
        # The interpreter was resized: the shape is the one that the network was run with.
        shape = choose_image_shape(info._replace(signature=info.shape), size)
    except ValueError as error:
        raise ModelError(f"{path}: {error}") from None
    if shape.batch != 1:
        raise ModelError(f"{path}: expected one image per inference, got {info.shape}; export it with a batch of 1")
    spec = InputSpec(
        info.name, shape.width, shape.height, info.dtype, channel_order, resize,
        layout=shape.layout, quantized=info.is_quantized, dynamic=tensors.is_resized,
    )  # fmt: skip
    if ranges is not None and info.dtype == "uint8" and not info.is_quantized:
        raise ModelError(
            f"{path}: the input is uint8 without scale and zero point: it gets the bytes of the image, so a value "
            "range, a mean or a scale cannot be used"
        )
    if ranges is None and info.is_quantized:
        ranges = (_guess_range(info),)
    if ranges is not None and len(ranges) > 1:
        spec = replace(spec, channel_ranges=ranges)
    elif ranges:
        spec = replace(spec, value_range=ranges[0])
    return replace(spec, quantized=False) if _takes_bytes(spec, info) else spec


def _guess_range(info: TensorInfo) -> tuple[float, float]:
    """Return the value range of a quantized input: a known one if the quantization is close to it.

    Otherwise it is the range of the quantization: TFLite's tools make it the range of the calibration images.
    """
    limits = np.iinfo(info.dtype)
    scale, zero_point = info.quantization
    low, high = scale * (limits.min - zero_point), scale * (limits.max - zero_point)
    if info.dtype == "int16" and high > 2:
        # The range of int16 is symmetric even if the image has no negative values.
        low = 0.0
    return next((known for known in _KNOWN_RANGES if _is_close((low, high), known)), (low, high))


def _is_close(found: tuple[float, float], known: tuple[float, float]) -> bool:
    allowed = _RANGE_TOLERANCE * (known[1] - known[0])
    return abs(found[0] - known[0]) <= allowed and abs(found[1] - known[1]) <= allowed


def _takes_bytes(spec: InputSpec, info: TensorInfo) -> bool:
    """Return True if a quantized uint8 input gets the pixel values unchanged."""
    if spec.dtype != "uint8" or not spec.quantized or spec.channel_ranges is not None:
        return False
    table = make_pixel_table([spec.value_range], spec.dtype, info.quantization)
    return bool(np.array_equal(table[0], np.arange(256)))


def find_outputs(
    path: Path, tensors: NetworkTensors, heatmaps: str | None, pafs: str | None, skeleton: Skeleton = COCO18
) -> tuple[OutputSpec, OutputSpec]:
    """Find the heatmaps and PAFs among the outputs.

    If there are outputs of several stages, those of the last stage are used: they are computed from the others. If one
    output has both, their order is read from the concatenation; without one, the heatmaps come first.

    Args:
        path: The file, for error messages.
        tensors: The inputs and outputs of the network.
        heatmaps: The name of the output with the heatmaps. If one name is None, outputs are identified by channels.
        pafs: The name of the output with the PAFs.
        skeleton: The skeleton of the network. The heatmaps may have a background channel or none.

    Raises:
        ModelError: The outputs cannot be identified; the message lists all outputs.
    """
    found = _list_maps(tensors)
    found_channels = {one.channels for one in found if one.info.name in (heatmaps, pafs) or heatmaps is None}
    skeleton = match_background(skeleton, found_channels)
    heatmap_count, paf_count = skeleton.heatmap_channels, skeleton.paf_channels
    counts = (heatmap_count, paf_count, heatmap_count + paf_count)
    advice = advise(skeleton, found_channels)
    if heatmaps is not None and pafs is not None and heatmaps != pafs:
        wanted = ((heatmaps, heatmap_count), (pafs, paf_count))
        found = [one for one in found if (one.info.name, one.channels) in wanted]
        for name, count in wanted:
            if not any(one.info.name == name for one in found):
                text = f"{path}: no output {name!r} with {count} channels; {_format_outputs(tensors)}. {advice}"
                raise ModelError(text)
    elif heatmaps is not None:
        found = [one for one in found if one.info.name == heatmaps and one.channels == heatmap_count + paf_count]
    by_channels = {count: _choose_last([one for one in found if one.channels == count]) for count in counts}
    first, second, joined = (by_channels[count] for count in counts)
    if first is not None and second is not None:
        result = first.slice(0, heatmap_count), second.slice(0, paf_count)
    elif joined is not None:
        result = _split(joined, heatmap_count, paf_count)
    else:
        raise ModelError(
            f"{path}: expected outputs with {heatmap_count} (heatmaps) and {paf_count} channels (PAFs), or one with "
            f"{heatmap_count + paf_count}; {_format_outputs(tensors)}. {advice}"
        )
    for spec in result:
        info = next(info for info in tensors.outputs if info.name == spec.tensor)
        if info.dtype != "float32" and not info.is_quantized:
            raise ModelError(
                f"{path}: output {info.name!r} of {info.dtype} has no scale and zero point; export the network with "
                "quantized or float32 outputs"
            )
    return result


def _list_maps(tensors: NetworkTensors) -> list[_Maps]:
    """List the outputs that can be maps, in each layout in which their grid matches the input.

    If both layouts match, the one of the input is first. If none does, both are listed: the error names the sizes.
    """
    origins = tensors.origins or (OutputOrigin(),) * len(tensors.outputs)
    layouts, size = get_args(Layout), None
    if len(tensors.inputs) == 1:
        image = choose_image_shape(tensors.inputs[0]._replace(signature=()))
        layouts, size = (layouts if image.layout == "nhwc" else layouts[::-1]), (image.width, image.height)
    result = []
    for info, origin in zip(tensors.outputs, origins, strict=True):
        if len(info.shape) == 4 and info.dtype in OUTPUT_DTYPES and info.shape[0] == 1:
            possible = [_Maps(info, origin, layout, info.shape[3 if layout == "nhwc" else 1]) for layout in layouts]
            result += [maps for maps in possible if size is None or _find_stride(size, maps.grid)] or possible
    return result


def _choose_last(maps: list[_Maps]) -> _Maps | None:
    """Return the output of the last stage: the one that depends on all others; None if there is none."""
    numbers = {one.info.number for one in maps}
    return next((one for one in maps if numbers - {one.info.number} <= set(one.origin.ancestors)), None)


def _split(maps: _Maps, heatmap_count: int, paf_count: int) -> tuple[OutputSpec, OutputSpec]:
    ends = set(np.cumsum(maps.origin.parts).tolist())
    if paf_count in ends and heatmap_count not in ends:
        return maps.slice(paf_count, paf_count + heatmap_count), maps.slice(0, paf_count)
    return maps.slice(0, heatmap_count), maps.slice(heatmap_count, heatmap_count + paf_count)


def settle_order(
    path: Path, network: bytes, spec: InputSpec, outputs: tuple[OutputSpec, OutputSpec], tensors: NetworkTensors
) -> tuple[OutputSpec, OutputSpec]:
    """Settle the order of heatmaps and PAFs in one output that is not a concatenation.

    In an image without people, the background heatmap is near 1 everywhere and all other channels are near 0.

    Args:
        path: The file, for error messages.
        network: The TFLite flatbuffer, which was loaded in a child process before.
        spec: The input.
        outputs: Heatmaps and PAFs from `find_outputs`.
        tensors: The inputs and outputs of the network.

    Returns:
        Heatmaps and PAFs; those of `outputs` if the order is known or no channel looks like the background.
    """
    heatmaps, pafs = outputs
    origin = next(o for info, o in zip(tensors.outputs, tensors.origins, strict=True) if info.name == heatmaps.tensor)
    if heatmaps.tensor != pafs.tensor or len(origin.parts) > 1:
        return outputs
    heatmap_count, paf_count = heatmaps.stop - heatmaps.start, pafs.stop - pafs.start
    both = replace(heatmaps, start=0, stop=heatmap_count + paf_count)
    (values,) = _Runner(path, spec, network).infer(np.zeros((spec.height, spec.width, 3), np.uint8), both)
    means = values.mean(axis=(0, 1))
    if means[-1] > _MIN_BACKGROUND > means[heatmap_count - 1]:
        return (
            replace(heatmaps, start=paf_count, stop=paf_count + heatmap_count),
            replace(pafs, start=0, stop=paf_count),
        )
    return outputs


def compute_stride(path: Path, spec: InputSpec, tensors: NetworkTensors, heatmaps: OutputSpec) -> int:
    """Compute the stride: the number of input pixels per cell of the heatmaps.

    Raises:
        ModelError: The input size is not the size of the heatmaps times one stride.
    """
    info: TensorInfo = next(info for info in tensors.outputs if info.name == heatmaps.tensor)
    rows, columns = info.shape[1:3] if heatmaps.layout == "nhwc" else info.shape[2:4]
    stride = _find_stride((spec.width, spec.height), (rows, columns))
    if not stride:
        raise ModelError(
            f"{path}: heatmaps of {columns}x{rows} cells do not match the input size {spec.width}x{spec.height}; "
            "expected one stride for width and height. Export the network with an input size in multiples of its stride"
        )
    return stride


def _find_stride(size: tuple[int, int], grid: tuple[int, int]) -> int:
    """Return the stride for an input of (width, height) and maps of (rows, columns); 0 if there is none."""
    stride = size[1] // max(1, grid[0])
    return stride if stride and (size[1] // stride, size[0] // stride) == grid else 0


def describe_decisions(manifest: ModelManifest) -> list[str]:
    """Describe what was read from the file and could be wrong, one sentence each."""
    spec, sentences = manifest.input, []
    if spec.dynamic:
        sentences.append(f"the interpreter is resized to one image of {spec.width}x{spec.height}")
    if spec.dtype != "float32" and spec.value_range not in _KNOWN_RANGES and spec.channel_ranges is None:
        low, high = spec.value_range
        sentences.append(f"pixel values are mapped to the range of the quantized input, {low:.4g} to {high:.4g}")
    if manifest.pafs.start < manifest.heatmaps.start:
        sentences.append("the output has the PAFs first, then the heatmaps")
    return sentences


class _Runner:
    """Network in the interpreter, run without the estimator, so that verification does not depend on it."""

    def __init__(self, path: Path, spec: InputSpec, network: bytes) -> None:
        self._network = Network(path, content=network, input_shape=spec.shape if spec.dynamic else None)
        self._preprocessor = make_preprocessor(spec, self._network.inputs[0].quantization)

    def infer(self, image: Image, *outputs: OutputSpec) -> list[npt.NDArray[np.float32]]:
        self._preprocessor.prepare(image, "bgr", self._network.get_tensor(self._network.inputs[0])[0])
        self._network.invoke()
        return [self._read_maps(spec) for spec in outputs]

    def _read_maps(self, spec: OutputSpec) -> npt.NDArray[np.float32]:
        info = next(info for info in self._network.outputs if info.name == spec.tensor)
        stored = self._network.get_tensor(info)[0]
        stored = stored if spec.layout == "nhwc" else np.moveaxis(stored, 0, 2)
        return np.ascontiguousarray(info.quantization.dequantize(stored[:, :, spec.start : spec.stop]))


class TfliteReference:
    """Original TFLite file, run by the interpreter; the reference for verification."""

    def __init__(self, path: Path, manifest: ModelManifest, network: bytes) -> None:
        self._runner = _Runner(path, manifest.input, network)
        self._manifest = manifest

    def infer(self, image: Image) -> PoseFields:
        """Compute the dequantized heatmaps and PAFs of a BGR image, uint8 (height, width, 3)."""
        heatmaps, pafs = self._runner.infer(image, self._manifest.heatmaps, self._manifest.pafs)
        return PoseFields(heatmaps, pafs)


def _format_outputs(tensors: NetworkTensors) -> str:
    return "found " + ", ".join(f"{info.name!r} {info.shape} {info.dtype}" for info in tensors.outputs)
