"""The whole way from an image to poses: preprocess, infer, decode."""

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
from .model.interpreter import Network, TensorInfo
from .model.manifest import OUTPUT_DTYPES, ModelManifest, OutputSpec
from .model.registry import find_tflite
from .preprocess import Preprocessor
from .types import ChannelOrder, EstimateResult, Frame, GridToFrame, Image, Pose, PoseFields, Timings

Buffer = npt.NDArray[Any]
ImageLike = Image | str | PathLike[str] | Any
"""What `PoseEstimator.estimate` reads: an array, a path, or a PIL image."""


class PoseEstimator:
    """Finds the people in images with one model.

    >>> estimator = PoseEstimator("model.tflite", threads=2)
    >>> for pose in estimator.estimate(cv2.imread("photo.jpg")):
    ...     print(pose.score, pose.keypoints[0])

    Not for use by two threads at once; several estimators may run side by side.
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
            model: The path of a `.tflite` with a manifest, or a name as on the command line, such as `edgepose-small`.
                None is `edgepose-tiny`.
            threads: Threads of the interpreter; default: cores, at most four.
            options: Options of the decoder; default: the minimum pose score of the manifest.
            sha256: The SHA-256 that the network must have; None for any.

        Raises:
            ModelError: The file is missing or damaged, has no manifest or contradicts it, or has another hash.
        """
        path = find_tflite(None if model is None else str(model))
        self._in_use = threading.Lock()
        # What was checked is what is loaded: the file may change between the two.
        self.manifest, content = container.load(path, sha256)
        manifest = self.manifest
        self._network = network = Network(path, threads, content)
        self.interpreter_name = network.interpreter_name
        self._input = _find_input(path, network, manifest)
        self._heatmaps = _find_output(path, network, manifest, manifest.heatmaps)
        self._pafs = _find_output(path, network, manifest, manifest.pafs)
        spec = manifest.input
        self._preprocessor = Preprocessor(spec.width, spec.height, spec.resize, spec.channel_order, spec.value_range)
        if options is None and manifest.min_score is not None:
            options = DecoderOptions(min_score=manifest.min_score)
        self._decoder = Decoder(*manifest.grid, manifest.skeleton_table, options)
        self._geometry: tuple[tuple[int, ...], GridToFrame] = ((), GridToFrame(1, 1))

    def estimate(self, image: ImageLike, channel_order: ChannelOrder = "bgr") -> EstimateResult:
        """Find the people in an image.

        Args:
            image: (H, W, 3) uint8, gray (H, W) or BGRA (H, W, 4); the path of an image; or a PIL image.
            channel_order: Of an array, `bgr` as OpenCV has it, or `rgb`.

        Returns:
            Poses in pixels of the image, best first, the time each stage took, and the image itself (not a copy).

        Raises:
            InputError: The image cannot be read.
            ValueError: The array is no image.
            ModelError: The network's output is not finite.
            RuntimeError: Another thread is using this estimator.
        """
        if not isinstance(image, np.ndarray):
            source, image, channel_order = _read_image(image)
        else:
            source = "array"
        if not self._in_use.acquire(blocking=False):
            raise RuntimeError("this PoseEstimator is in use by another thread; make one for each thread")
        try:
            poses, timings = self._estimate(image, channel_order)
        finally:
            self._in_use.release()
        return EstimateResult(poses, timings, Frame(image, source, channel_order=channel_order))

    def _estimate(self, image: Image, channel_order: ChannelOrder) -> tuple[tuple[Pose, ...], Timings]:
        start = perf_counter_ns()
        self.prepare(image, channel_order)
        prepared = perf_counter_ns()
        self._network.invoke()
        inferred = perf_counter_ns()
        poses = self.decode(self.fields(), image)
        done = perf_counter_ns()
        return poses, Timings((prepared - start) / 1e6, (inferred - prepared) / 1e6, (done - inferred) / 1e6)

    def prepare(self, image: Image, channel_order: ChannelOrder = "bgr", into: Buffer | None = None) -> None:
        """Writes the image into the network's input, or into a buffer made by `input_buffer`."""
        self._preprocessor.prepare(image, channel_order, self._network.tensor(self._input)[0] if into is None else into)

    def input_buffer(self) -> Buffer:
        """Room for a prepared image (height, width, 3), so that one can be prepared while the network runs."""
        return np.empty(self._input.shape[1:], self._input.dtype)

    def infer_prepared(self, buffer: Buffer) -> PoseFields:
        """The network's maps for an image that `prepare` wrote into `buffer`; valid until the next call."""
        np.copyto(self._network.tensor(self._input)[0], buffer)
        self._network.invoke()
        return self.fields()

    def decode(self, fields: PoseFields, image: Image) -> tuple[Pose, ...]:
        """The people in maps that were made of `image`. May run in another thread than the network."""
        return self._decoder.decode(fields, self.grid_to_frame(image))

    def infer(self, image: Image, channel_order: ChannelOrder = "bgr") -> PoseFields:
        """The network's maps for an image; valid, and to be dropped, before the next call."""
        self.prepare(image, channel_order)
        self._network.invoke()
        return self.fields()

    def fields(self) -> PoseFields:
        """The maps of the last inference, as they lie in the interpreter's memory."""
        heatmaps, pafs, manifest = self._heatmaps, self._pafs, self.manifest
        return PoseFields(
            self._network.tensor(heatmaps)[0, :, :, manifest.heatmaps.start : manifest.heatmaps.stop],
            self._network.tensor(pafs)[0, :, :, manifest.pafs.start : manifest.pafs.stop],
            heatmaps.quantization,
            pafs.quantization,
        )

    def grid_to_frame(self, image: Image) -> GridToFrame:
        """Where the cells of the maps lie in `image`."""
        if self._geometry[0] != image.shape:
            height, width = image.shape[:2]
            self._geometry = (image.shape, self._preprocessor.grid_to_frame(width, height, self.manifest.stride))
        return self._geometry[1]


def _read_image(image: str | PathLike[str] | Any) -> tuple[str, Image, ChannelOrder]:
    """Name, content and channel order of a path or a PIL image."""
    if isinstance(image, str | PathLike):
        from .io.images import read_image

        return str(image), read_image(Path(image)), "bgr"
    if hasattr(image, "getexif") and hasattr(image, "convert"):
        from PIL import ImageOps

        upright = ImageOps.exif_transpose(image)
        return str(getattr(image, "filename", "") or "PIL image"), np.asarray(upright.convert("RGB")), "rgb"
    raise TypeError(f"image: expected an array, a path or a PIL image, got {type(image).__name__}")


def _find_input(path: Path, network: Network, manifest: ModelManifest) -> TensorInfo:
    spec = manifest.input
    expected = (spec.tensor, (1, spec.height, spec.width, 3), spec.dtype)
    if len(network.inputs) != 1:
        raise ModelError(f"{path}: expected one input, the network has {len(network.inputs)}")
    info = network.inputs[0]
    if (info.name, info.shape, info.dtype) != expected:
        came = (info.name, info.shape, info.dtype)
        raise ModelError(f"{path}: the manifest contradicts the network: input {expected} against {came}")
    return info


def _find_output(path: Path, network: Network, manifest: ModelManifest, spec: OutputSpec) -> TensorInfo:
    info = next((info for info in network.outputs if info.name == spec.tensor), None)
    if info is None:
        names = ", ".join(repr(info.name) for info in network.outputs)
        raise ModelError(f"{path}: the manifest contradicts the network: no output {spec.tensor!r} among {names}")
    fits = info.shape[:3] == (1, *manifest.grid) and len(info.shape) == 4 and info.shape[3] >= spec.stop
    if not fits or info.dtype not in OUTPUT_DTYPES:
        wanted = f"(1, {manifest.grid[0]}, {manifest.grid[1]}, {spec.stop} or more)"
        raise ModelError(
            f"{path}: the manifest contradicts the network: output {spec.tensor!r} should be {wanted}, "
            f"is {info.shape} of {info.dtype}"
        )
    return info
