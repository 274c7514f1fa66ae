"""Pose estimation: image to poses, in the three stages preprocess, inference, decode."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np

from .averaging import MapAverager, check_scales, make_scaled_size
from .decode import Decoder, DecoderOptions
from .errors import ModelError
from .map_inference import Buffer, MapInference
from .model import container
from .model.manifest import ModelManifest
from .model.registry import find_model_file
from .model.resized_network import scale_resize_operators
from .types import ChannelOrder, EstimateResult, Frame, GridToFrame, Image, Pose, PoseFields, Timings

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
        augment: bool = False,
        scales: Sequence[float] = (1.0,),
    ) -> None:
        """Load a model.

        Args:
            model: Path of a `.tflite` file with a manifest, or name of a model, such as `edgepose-small`. Default:
                `edgepose-tiny`.
            threads: Number of interpreter threads. Default: number of CPU cores, at most 4.
            options: Decoder options. Default: `DecoderOptions()` with the minimum pose score from the manifest.
            sha256: Expected SHA-256 of the network. Default: not checked.
            augment: Also run the mirror image and average the maps: more accurate, twice the time. For images and
                recordings; a camera pipeline does not accept it.
            scales: Input sizes to run, as factors of the size of the model, 0.25 to 4; the maps are averaged. For
                example `(1, 1.3)`: the second pass takes 1.7 times the time of the first. The first factor sets the
                size of the maps.

        Raises:
            ModelError: The file is missing or damaged, has no manifest, does not match its manifest, or has another
                SHA-256.
            TypeError: `model` is neither a name nor a path.
            ValueError: `model` is empty, or `threads` or `scales` is out of range.
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
        sizes = [_load_scaled(path, manifest, content, threads, scale) for scale in check_scales(scales)]
        self._inference = sizes[0]
        self._averager = MapAverager(sizes, mirror=augment) if augment or len(sizes) > 1 else None
        self.interpreter_name = self._inference.network.interpreter_name
        if options is None and manifest.min_score is not None:
            options = DecoderOptions(min_score=manifest.min_score)
        self._decoder = Decoder(*self._inference.manifest.grid, manifest.skeleton_table, options)

    @property
    def passes(self) -> int:
        """Number of inferences per image: 1, or more with `augment` and `scales`."""
        return 1 if self._averager is None else self._averager.passes

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
        if self._averager is not None:
            fields = self._averager.infer(image, channel_order)
            prepared = start  # each pass prepares its own input; its time counts as inference
        else:
            self.prepare(image, channel_order)
            prepared = perf_counter_ns()
            self._inference.network.invoke()
            fields = self.get_fields()
        inferred = perf_counter_ns()
        poses = self.decode(fields, image)
        done = perf_counter_ns()
        return poses, Timings((prepared - start) / 1e6, (inferred - prepared) / 1e6, (done - inferred) / 1e6)

    def prepare(self, image: Image, channel_order: ChannelOrder = "bgr", into: Buffer | None = None) -> None:
        """Preprocess an image into the network's input tensor, or into a buffer.

        Args:
            image: As for `estimate`, but arrays only.
            channel_order: `bgr` or `rgb`.
            into: Buffer from `create_input_buffer`. Default: the input tensor.
        """
        self._inference.prepare(image, channel_order, into)

    def create_input_buffer(self) -> Buffer:
        """Create a buffer for `prepare`: shape (without the batch) and dtype of the network's input.

        With it, the next image can be preprocessed while the network runs.
        """
        return self._inference.create_input_buffer()

    def infer_prepared(self, buffer: Buffer) -> PoseFields:
        """Run the network on a buffer that `prepare` has filled. The maps are valid until the next inference."""
        return self._inference.infer_prepared(buffer)

    def decode(self, fields: PoseFields, image: Image) -> tuple[Pose, ...]:
        """Decode the maps of `image` into poses in its pixels. Can run in another thread than the network."""
        return self._decoder.decode(fields, self.compute_grid_to_frame(image))

    def infer(self, image: Image, channel_order: ChannelOrder = "bgr") -> PoseFields:
        """Run preprocessing and the network on an image.

        Returns:
            Heatmaps and PAFs, usually in the interpreter's memory. They are valid until the next inference. Delete all
            references to them before it: the interpreter refuses to run while its memory is referenced. With `augment`
            or several `scales`: the average of all passes, float32, in memory of its own.
        """
        if self._averager is not None:
            return self._averager.infer(image, channel_order)
        return self._inference.infer(image, channel_order)

    def get_fields(self) -> PoseFields:
        """Return the maps of the last inference of one pass, as `MapInference.get_fields`."""
        return self._inference.get_fields()

    def compute_grid_to_frame(self, image: Image) -> GridToFrame:
        """Return the transform from grid cells of the maps to pixels of `image`."""
        return self._inference.compute_grid_to_frame(image)


def _load_scaled(
    path: Path, manifest: ModelManifest, content: bytes, threads: int | None, scale: float
) -> MapInference:
    """Load the network for `scale` times the input size of the model."""
    spec = manifest.input
    width, height = make_scaled_size(spec.width, spec.height, scale) if scale != 1 else (spec.width, spec.height)
    if (width, height) == (spec.width, spec.height):
        return MapInference(path, manifest, content, threads)
    content = scale_resize_operators(content, (spec.width, spec.height), (width, height))
    scaled = replace(manifest, input=replace(spec, width=width, height=height, dynamic=True))
    try:
        return MapInference(path, scaled, content, threads)
    except ModelError as error:
        raise ModelError(f"scale {scale:g}, {width}x{height}: {error}") from None


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
