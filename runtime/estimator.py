"""Pose estimation: image to poses, in the three stages preprocess, inference, decode."""

from __future__ import annotations

import threading
from os import PathLike
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
import numpy.typing as npt

from .decode import Decoder, DecoderOptions
from .errors import ModelError
from .model import container
from .model.input_tensor import make_preprocessor
from .model.interpreter import Network, TensorInfo
from .model.manifest import OUTPUT_DTYPES, ModelManifest, OutputSpec
from .model.registry import find_model_file
from .types import ChannelOrder, EstimateResult, Frame, GridToFrame, Image, Pose, PoseFields, Timings

Buffer = npt.NDArray[Any]
ImageLike = Image | str | PathLike[str] | Any
"""Image types that `PoseEstimator.estimate` accepts: an array, a path, or a PIL image."""


class PoseEstimator:
    """Pose estimator for one model.

    >>> estimator = PoseEstimator("model.tflite", threads=2)
    >>> for pose in estimator.estimate(cv2.imread("photo.jpg")):
    ...     print(pose.score, pose.keypoints[0])

    Not thread-safe: use one estimator per thread. Several estimators can run in parallel.
    """

    def __init__(
        self,
        model: str | PathLike[str] | None = None,
        *,
        threads: int | None = None,
        options: DecoderOptions | None = None,
        sha256: str | None = None,
    ) -> None:
        """Load a model.

        Args:
            model: Path of a `.tflite` file with a manifest, or name of a model, such as `edgepose-small`. Default:
                `edgepose-tiny`.
            threads: Number of interpreter threads. Default: number of CPU cores, at most 4.
            options: Decoder options. Default: `DecoderOptions()` with the minimum pose score from the manifest.
            sha256: Expected SHA-256 of the network. Default: not checked.

        Raises:
            ModelError: The file is missing or damaged, has no manifest, does not match its manifest, or has another
                SHA-256.
            TypeError: `model` is neither a name nor a path.
            ValueError: `model` is empty, or `threads` is out of range.
        """
        if not (model is None or isinstance(model, str | PathLike)):
            raise TypeError(f"PoseEstimator: expected the name or path of a model, got {type(model).__name__}")
        if model is not None and not str(model):
            raise ValueError("PoseEstimator: expected the name or path of a model, got an empty text")
        path = find_model_file(None if model is None else str(model))
        self._in_use = threading.Lock()
        # Load the bytes whose hash was checked: the file could change between check and load.
        self.manifest, content = container.load(path, sha256)
        manifest = self.manifest
        input_shape = manifest.input.shape if manifest.input.dynamic else None
        self._network = network = Network(path, threads, content, input_shape)
        self.interpreter_name = network.interpreter_name
        self._input = _find_input(path, network, manifest)
        self._heatmaps = _find_output(path, network, manifest, manifest.heatmaps)
        self._pafs = _find_output(path, network, manifest, manifest.pafs)
        self._preprocessor = make_preprocessor(manifest.input, self._input.quantization)
        self._heatmap_buffer = _make_buffer(self._heatmaps, manifest.heatmaps)
        self._paf_buffer = _make_buffer(self._pafs, manifest.pafs)
        if options is None and manifest.min_score is not None:
            options = DecoderOptions(min_score=manifest.min_score)
        self._decoder = Decoder(*manifest.grid, manifest.skeleton_table, options)
        self._geometry: tuple[tuple[int, ...], GridToFrame] = ((), GridToFrame(1, 1))

    def estimate(self, image: ImageLike, channel_order: ChannelOrder = "bgr") -> EstimateResult:
        """Estimate the poses of all people in an image.

        Args:
            image: Array (H, W, 3), gray (H, W), or with alpha (H, W, 4), all uint8; path of an image; or PIL image.
            channel_order: Channel order if `image` is an array: `bgr` (OpenCV) or `rgb`.

        Returns:
            Poses in image pixels, highest score first, the time of each stage, and the image itself (not a copy).

        Raises:
            InputError: The image file cannot be read.
            TypeError: `image` is neither an array nor a path nor a PIL image.
            ValueError: The array is not an image.
            ModelError: The network's output contains NaN or infinity.
            RuntimeError: Another thread or a running stream uses this estimator.
        """
        if not isinstance(image, np.ndarray):
            source, image, channel_order = _read_image(image)
        else:
            source = "array"
        self.acquire()
        try:
            poses, timings = self._estimate(image, channel_order)
        finally:
            self.release()
        frame = Frame(image, source, channel_order=channel_order)
        return EstimateResult(poses, timings, frame, self.manifest.skeleton_table)

    def acquire(self) -> None:
        """Reserve the estimator, as `estimate` does for one image and a `Pipeline` for all its frames.

        Raises:
            RuntimeError: It is reserved already.
        """
        if not self._in_use.acquire(blocking=False):
            raise RuntimeError(
                "this PoseEstimator is in use by another thread or a running stream; create one estimator for each"
            )

    def release(self) -> None:
        """End the reservation by `acquire`; may be called from another thread."""
        self._in_use.release()

    def _estimate(self, image: Image, channel_order: ChannelOrder) -> tuple[tuple[Pose, ...], Timings]:
        start = perf_counter_ns()
        self.prepare(image, channel_order)
        prepared = perf_counter_ns()
        self._network.invoke()
        inferred = perf_counter_ns()
        poses = self.decode(self.get_fields(), image)
        done = perf_counter_ns()
        return poses, Timings((prepared - start) / 1e6, (inferred - prepared) / 1e6, (done - inferred) / 1e6)

    def prepare(self, image: Image, channel_order: ChannelOrder = "bgr", into: Buffer | None = None) -> None:
        """Preprocess an image into the network's input tensor, or into a buffer.

        Args:
            image: As for `estimate`, but arrays only.
            channel_order: `bgr` or `rgb`.
            into: Buffer from `create_input_buffer`. Default: the input tensor.
        """
        self._preprocessor.prepare(
            image, channel_order, self._network.get_tensor(self._input)[0] if into is None else into
        )

    def create_input_buffer(self) -> Buffer:
        """Create a buffer for `prepare`: shape (without the batch) and dtype of the network's input.

        With it, the next image can be preprocessed while the network runs.
        """
        return np.empty(self._input.shape[1:], self._input.dtype)

    def infer_prepared(self, buffer: Buffer) -> PoseFields:
        """Run the network on a buffer that `prepare` has filled. The maps are valid until the next inference."""
        # A buffer of another dtype, such as uint8 for an int8 input, must not be converted silently.
        np.copyto(self._network.get_tensor(self._input)[0], buffer, casting="no")
        self._network.invoke()
        return self.get_fields()

    def decode(self, fields: PoseFields, image: Image) -> tuple[Pose, ...]:
        """Decode the maps of `image` into poses in its pixels. Can run in another thread than the network."""
        return self._decoder.decode(fields, self.compute_grid_to_frame(image))

    def infer(self, image: Image, channel_order: ChannelOrder = "bgr") -> PoseFields:
        """Run preprocessing and the network on an image.

        Returns:
            Heatmaps and PAFs, usually in the interpreter's memory. They are valid until the next inference. Delete all
            references to them before it: the interpreter refuses to run while its memory is referenced.
        """
        self.prepare(image, channel_order)
        self._network.invoke()
        return self.get_fields()

    def get_fields(self) -> PoseFields:
        """Return the maps of the last inference: views of the interpreter's memory, not copies.

        The decoder reads all channels of a cell at once. Maps with channels first are therefore copied, into buffers
        of the estimator that the next call uses again.
        """
        heatmaps, pafs, manifest = self._heatmaps, self._pafs, self.manifest
        return PoseFields(
            _take_maps(self._network.get_tensor(heatmaps), manifest.heatmaps, self._heatmap_buffer),
            _take_maps(self._network.get_tensor(pafs), manifest.pafs, self._paf_buffer),
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


def _read_image(image: str | PathLike[str] | Any) -> tuple[str, Image, ChannelOrder]:
    """Return name, pixels and channel order of an image file or a PIL image."""
    if isinstance(image, str | PathLike):
        from .io.images import read_image

        return str(image), read_image(Path(image)), "bgr"
    if hasattr(image, "getexif") and hasattr(image, "convert"):
        from PIL import ImageOps

        upright = ImageOps.exif_transpose(image)
        return str(getattr(image, "filename", "") or "PIL image"), np.asarray(upright.convert("RGB")), "rgb"
    raise TypeError(f"image: expected an array, a path or a PIL image, got {type(image).__name__}")


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
