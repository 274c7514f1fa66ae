"""Networks that are compared: models of edgepose, and TFLite files of others through an adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ...runtime.decode import DecoderOptions
from ...runtime.errors import InputError, NoManifestError
from ...runtime.estimator import PoseEstimator
from ...runtime.io.formats import check_coco_order
from ...runtime.model import container, isolated_load, registry
from ...runtime.model.input_tensor import choose_image_shape, make_preprocessor
from ...runtime.model.interpreter import Network, read_inputs
from ...runtime.model.manifest import InputSpec
from ...runtime.types import EstimateResult, Image, Pose, Timings
from ..profile.macs import compute_operator_costs
from .adapters import Adapter, InputToFrame, choose_adapter
from .results import Row

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_INPUT_DTYPES = ("float32", "uint8", "int8", "int32")


class Estimator(Protocol):
    """Anything that estimates the poses of an image and reports the times of its stages."""

    def estimate(self, image: Image, /) -> EstimateResult:
        """Estimate all poses in a BGR image."""
        ...


class ModelSource(NamedTuple):
    """A model as the user named it, found and checked.

    Attributes:
        name: Name in the table: the file name without its suffix.
        path: The file.
        sha256: Hash of the network that was checked.
        size: Width and height that the user asked for, or None.
        adapter: Adapter of the network; None for a model with a manifest.
    """

    name: str
    path: Path
    sha256: str
    size: tuple[int, int] | None
    adapter: Adapter | None


def find_model(text: str, adapters: Sequence[Adapter]) -> ModelSource:
    """Find a model, and run it once in a child process.

    Args:
        text: Name of a model, or `FILE.tflite`, or `FILE.tflite@WIDTHxHEIGHT` for a network that accepts any size.
        adapters: Adapters for files without a manifest, the preferred ones first.

    Raises:
        ModelError: There is no such model, or it is damaged.
        InputError: No adapter accepts the network, the size does not fit, or the model lacks COCO's keypoints.
    """
    name, size = _split_size(text)
    path = registry.find_model_file(name)
    try:
        manifest = container.read(path)
    except NoManifestError:
        flatbuffer = container.read_flatbuffer(path)
        tensors = isolated_load.load_in_child_process(path, network=flatbuffer, size=size)
        dtype = tensors.inputs[0].dtype if len(tensors.inputs) == 1 else ""
        if dtype not in _INPUT_DTYPES:
            raise InputError(f"{path}: expected one image input of {', '.join(_INPUT_DTYPES)}") from None
        adapter = choose_adapter(path, tensors.outputs, adapters)
        return ModelSource(path.stem, path, container.compute_identity(flatbuffer)[0], size, adapter)
    if size is not None:
        raise InputError(f"{text}: the input size of a model with a manifest is fixed; leave out @{size[0]}x{size[1]}")
    check_coco_order(manifest.skeleton_table)
    return ModelSource(path.stem, path, isolated_load.check_model(path, None), None, None)


def load_estimator(source: ModelSource, threads: int) -> Estimator:
    """Load a model for a number of threads. All detections are kept, also those with low scores."""
    if source.adapter is None:
        options = DecoderOptions(min_score=0.0)
        return PoseEstimator(source.path, threads=threads, sha256=source.sha256, options=options)
    return AdaptedNetwork(source, source.adapter, threads)


def describe_model(source: ModelSource) -> Row:
    """Return the row of a model without times and accuracy."""
    megabytes = source.path.stat().st_size / 1e6
    if source.adapter is not None:
        adapted = AdaptedNetwork(source, source.adapter, 1)
        return Row(
            source.name, source.adapter.name, adapted.find_precision(), (adapted.spec.width, adapted.spec.height),
            adapted.compute_macs(), megabytes, source.sha256,
        )  # fmt: skip
    manifest = container.read(source.path)
    packaged = source.path.resolve() in {path.resolve() for path in registry.list_packaged_models()}
    group = "edgepose" if packaged or source.name.startswith("edgepose-") else "converted with edgepose"
    size, precision, macs = (manifest.input.width, manifest.input.height), str(manifest.precision), manifest.macs
    if not manifest.input.dynamic and (macs is None or precision == "unknown"):  # a TFLite file of another tool
        network = Network(source.path, 1, container.load(source.path, source.sha256)[1])
        macs, precision = macs or _compute_macs(network), _find_precision(network)
    return Row(source.name, group, precision, size, macs, megabytes, source.sha256)


class AdaptedNetwork:
    """TFLite network of another project, with the preprocessing of edgepose (letterbox) and an adapter.

    Attributes:
        spec: The input.
    """

    def __init__(self, source: ModelSource, adapter: Adapter, threads: int) -> None:
        content = container.read_flatbuffer(source.path)
        if container.compute_identity(content)[0] != source.sha256:
            raise InputError(f"{source.path}: the file changed while it was used; run the comparison again")
        first = read_inputs(source.path, content)[0]
        try:
            shape = choose_image_shape(first, source.size)
        except ValueError as error:
            raise InputError(f"{source.path}: {error}") from None
        self._is_resized = shape.is_resized
        self._network = Network(source.path, threads, content, shape.tensor_shape if shape.is_resized else None)
        self._input = self._network.inputs[0]
        self._adapter = adapter
        self._path = source.path
        quantized = self._input.is_quantized and self._input.dtype in ("uint8", "int8")
        self.spec = InputSpec(
            self._input.name, shape.width, shape.height, self._input.dtype, adapter.channel_order, "letterbox",
            adapter.value_range if quantized or self._input.dtype == "float32" else (0.0, 255.0),
            layout=shape.layout, quantized=quantized,
        )  # fmt: skip
        self._preprocessor = make_preprocessor(self.spec, self._input.quantization)

    def estimate(self, image: Image, /) -> EstimateResult:
        """Estimate all poses in a BGR image."""
        start = perf_counter_ns()
        self._preprocessor.prepare(image, "bgr", self._network.get_tensor(self._input)[0])
        prepared = perf_counter_ns()
        self._network.invoke()
        inferred = perf_counter_ns()
        height, width = image.shape[:2]
        scale_x, scale_y, *_ = self._preprocessor.compute_grid_to_frame(width, height, 1)
        outputs = [info.quantization.dequantize(self._network.get_tensor(info)) for info in self._network.outputs]
        to_frame = InputToFrame(self.spec.width, self.spec.height, scale_x, scale_y)
        poses = self._decode(outputs, to_frame)
        end = perf_counter_ns()
        times = Timings((prepared - start) / 1e6, (inferred - prepared) / 1e6, (end - inferred) / 1e6)
        if not all(np.isfinite(pose.score) and np.isfinite(pose.keypoints).all() for pose in poses):
            raise InputError(f"{self._path}: the poses have values that are NaN or infinite")
        return EstimateResult(tuple(poses), times)

    def _decode(self, outputs: Sequence[npt.NDArray[Any]], to_frame: InputToFrame) -> list[Pose]:
        """Decode with the adapter, whose code may be of another project, and sort the poses by score."""
        try:
            return sorted(self._adapter.decode(outputs, to_frame), key=lambda pose: -pose.score)
        except (Exception, SystemExit) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError(f"{self._path}: the adapter {self._adapter.name} cannot decode it: {reason}") from error

    def compute_macs(self) -> int | None:
        """Compute the multiply-accumulates from the shapes of the operators; None after a resize of the input."""
        return None if self._is_resized else _compute_macs(self._network)

    def find_precision(self) -> str:
        """Return the precision in which the convolutions compute."""
        return _find_precision(self._network)


def _compute_macs(network: Network) -> int | None:
    return sum(operator.macs for operator in compute_operator_costs(network)) or None


def _find_precision(network: Network) -> str:
    """Return the precision of the convolutions: `dynamic` and `float16` are float32 with smaller weights."""
    operators = network.list_operators()
    convolutions = [inputs for kind, inputs, _ in operators if kind in _CONVOLUTIONS]
    if all(image.is_integer for image, *_ in convolutions) and convolutions:
        return "int8" if convolutions[0][0].item_bytes == 1 else "int16x8"
    if any(image.is_integer for image, *_ in convolutions):
        return "mixed"
    if any(weights.is_integer for _, weights, *_ in convolutions):
        return "dynamic"
    half_bytes = np.dtype(np.float16).itemsize
    if any(kind == "DEQUANTIZE" and inputs[0].item_bytes == half_bytes for kind, inputs, _ in operators):
        return "float16"
    return "float32"


def _split_size(text: str) -> tuple[str, tuple[int, int] | None]:
    name, at, size = text.rpartition("@")
    width, x, height = size.partition("x")
    if not (at and x):
        return text, None
    if not (width.isdecimal() and height.isdecimal() and name):
        raise InputError(f"{text}: expected FILE.tflite@WIDTHxHEIGHT, such as net.tflite@320x256")
    return name, (int(width), int(height))
