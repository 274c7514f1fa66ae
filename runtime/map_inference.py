"""One network at one input size: preprocessing, inference, and its heatmaps and PAFs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import ModelError
from .model.input_tensor import make_preprocessor
from .model.interpreter import Network, TensorInfo
from .model.manifest import OUTPUT_DTYPES, ModelManifest, OutputSpec
from .types import ChannelOrder, GridToFrame, Image, PoseFields

Buffer = npt.NDArray[Any]


class MapInference:
    """Inference of heatmaps and PAFs. Not thread-safe."""

    def __init__(self, path: Path, manifest: ModelManifest, content: bytes, threads: int | None = None) -> None:
        """Load a network.

        Args:
            path: The model file, for messages.
            manifest: Its manifest. With `input.dynamic`, the network is resized to the size in the manifest.
            content: The TFLite flatbuffer.
            threads: Number of interpreter threads. Default: number of CPU cores, at most 4.

        Raises:
            ModelError: The interpreter cannot load the network, or it does not match the manifest.
            ValueError: `threads` is out of range.
        """
        self.manifest = manifest
        input_shape = manifest.input.shape if manifest.input.dynamic else None
        self.network = network = Network(path, threads, content, input_shape)
        self._input = _find_input(path, network, manifest)
        self._heatmaps = _find_output(path, network, manifest, manifest.heatmaps)
        self._pafs = _find_output(path, network, manifest, manifest.pafs)
        self._preprocessor = make_preprocessor(manifest.input, self._input.quantization)
        self._heatmap_buffer = _make_buffer(self._heatmaps, manifest.heatmaps)
        self._paf_buffer = _make_buffer(self._pafs, manifest.pafs)
        self._geometry: tuple[tuple[int, ...], GridToFrame] = ((), GridToFrame(1, 1))

    def prepare(self, image: Image, channel_order: ChannelOrder = "bgr", into: Buffer | None = None) -> None:
        """Preprocess an image into the network's input tensor, or into a buffer.

        Args:
            image: Array (H, W, 3), gray (H, W), or with alpha (H, W, 4), all uint8.
            channel_order: `bgr` or `rgb`.
            into: Buffer from `create_input_buffer`. Default: the input tensor.
        """
        self._preprocessor.prepare(
            image, channel_order, self.network.get_tensor(self._input)[0] if into is None else into
        )

    def create_input_buffer(self) -> Buffer:
        """Create a buffer for `prepare`: shape (without the batch) and dtype of the network's input."""
        return np.empty(self._input.shape[1:], self._input.dtype)

    def infer_prepared(self, buffer: Buffer) -> PoseFields:
        """Run the network on a buffer that `prepare` has filled. The maps are valid until the next inference."""
        # A buffer of another dtype, such as uint8 for an int8 input, must not be converted silently.
        np.copyto(self.network.get_tensor(self._input)[0], buffer, casting="no")
        self.network.invoke()
        return self.get_fields()

    def infer(self, image: Image, channel_order: ChannelOrder = "bgr") -> PoseFields:
        """Run preprocessing and the network on an image. The maps are valid until the next inference."""
        self.prepare(image, channel_order)
        self.network.invoke()
        return self.get_fields()

    def get_fields(self) -> PoseFields:
        """Return the maps of the last inference: views of the interpreter's memory, not copies.

        The decoder reads all channels of a cell at once. Maps with channels first are therefore copied, into buffers
        that the next call uses again.
        """
        heatmaps, pafs, manifest = self._heatmaps, self._pafs, self.manifest
        return PoseFields(
            _take_maps(self.network.get_tensor(heatmaps), manifest.heatmaps, self._heatmap_buffer),
            _take_maps(self.network.get_tensor(pafs), manifest.pafs, self._paf_buffer),
            heatmaps.quantization,
            pafs.quantization,
        )

    def compute_grid_to_frame(self, image: Image) -> GridToFrame:
        """Return the transform from grid cells of the maps to pixels of `image`."""
        if self._geometry[0] != image.shape:
            height, width = image.shape[:2]
            self._geometry = (
                image.shape,
                self._preprocessor.compute_grid_to_frame(width, height, self.manifest.stride),
            )
        return self._geometry[1]


def _make_buffer(info: TensorInfo, spec: OutputSpec) -> Buffer | None:
    """Make the buffer for maps with channels first; None if the maps can be read in place."""
    if spec.layout == "nhwc":
        return None
    return np.empty((*info.shape[2:], spec.stop - spec.start), info.dtype)


def _take_maps(tensor: Buffer, spec: OutputSpec, buffer: Buffer | None) -> Buffer:
    """Return the channels of an output as (rows, columns, channels)."""
    if buffer is None:
        return tensor[0, :, :, spec.start : spec.stop]
    np.copyto(buffer, tensor[0, spec.start : spec.stop].transpose(1, 2, 0))
    return buffer


def _find_input(path: Path, network: Network, manifest: ModelManifest) -> TensorInfo:
    spec = manifest.input
    expected = (spec.tensor, spec.shape, spec.dtype)
    if len(network.inputs) != 1:
        raise ModelError(f"{path}: expected a network with one input, got {len(network.inputs)} inputs")
    info = network.inputs[0]
    if (info.name, info.shape, info.dtype) != expected:
        found = (info.name, info.shape, info.dtype)
        raise ModelError(
            f"{path}: the manifest does not match the network: input: the manifest says {expected}, "
            f"the network has {found}"
        )
    if spec.quantized and not info.is_quantized:
        raise ModelError(
            f"{path}: the manifest does not match the network: input: the manifest says quantized, the tensor has no "
            "scale"
        )
    return info


def _find_output(path: Path, network: Network, manifest: ModelManifest, spec: OutputSpec) -> TensorInfo:
    info = next((info for info in network.outputs if info.name == spec.tensor), None)
    if info is None:
        names = ", ".join(repr(info.name) for info in network.outputs)
        raise ModelError(
            f"{path}: the manifest does not match the network: no output {spec.tensor!r}; the network has {names}"
        )
    rows, columns = manifest.grid
    channels_last = (info.shape[0], *info.shape[2:], info.shape[1]) if spec.layout == "nchw" else info.shape
    fits = len(info.shape) == 4 and channels_last[:3] == (1, rows, columns) and channels_last[3] >= spec.stop
    if not fits or info.dtype not in OUTPUT_DTYPES:
        grid, channels = f"{rows}, {columns}", f"{spec.stop} or more"
        expected = f"(1, {channels}, {grid})" if spec.layout == "nchw" else f"(1, {grid}, {channels})"
        raise ModelError(
            f"{path}: the manifest does not match the network: output {spec.tensor!r}: expected shape {expected} of "
            f"{', '.join(OUTPUT_DTYPES)}, got {info.shape} of {info.dtype}"
        )
    return info
