"""Manifest: the description of a model that is stored inside its .tflite file (see `container`)."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from typing import Literal

from .. import schema
from ..errors import ModelError
from ..preprocess import Resize
from ..skeleton import Skeleton, get_skeleton, list_skeletons
from ..types import ChannelOrder, Layout

FORMAT = "edgepose-manifest"
VERSION = 1

INPUT_DTYPES = ("float32", "uint8", "int8", "int16")
OUTPUT_DTYPES = ("float32", "int8", "uint8", "int16")

_MAX_INPUT_VALUE = 1e6

Precision = Literal["float32", "float16", "dynamic", "int8", "int16x8", "auto", "unknown"]


@dataclass(frozen=True)
class InputSpec:
    """Input of the network: one image.

    Attributes:
        tensor: Name of the input tensor.
        width: Width of the input in pixels.
        height: Height of the input in pixels.
        dtype: Type of the values.
        channel_order: Order of the color channels.
        resize: How a frame is fitted into the input. `letterbox`: aspect ratio kept, image at the top left, the rest
            black. `stretch`: resized to the shape of the input.
        value_range: Values of the input for the bytes 0 and 255 of the image.
        layout: `nhwc`: channels last; `nchw`: channels first.
    """

    tensor: str
    width: int
    height: int
    dtype: str = "float32"
    channel_order: ChannelOrder = "bgr"
    resize: Resize = "letterbox"
    value_range: tuple[float, float] = (0.0, 255.0)
    channel_ranges: tuple[tuple[float, float], ...] | None = None
    """Value range of each channel, in the channel order of the network, if they differ; replaces `value_range`."""
    layout: Layout = "nhwc"
    quantized: bool = False
    """True if pixel values are quantized with scale and zero point of the tensor. False for float inputs, and for uint8
    inputs that take the bytes of the image unchanged."""
    dynamic: bool = False
    """True if the file has no fixed size or batch: the interpreter is resized to one image of this size."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the input tensor."""
        return (1, self.height, self.width, 3) if self.layout == "nhwc" else (1, 3, self.height, self.width)


@dataclass(frozen=True)
class OutputSpec:
    """Heatmaps or PAFs: some channels of an output tensor.

    Attributes:
        tensor: Name of the output tensor.
        start: First channel, from 0.
        stop: Channel after the last one.
        layout: `nhwc`: channels last; `nchw`: channels first.
    """

    tensor: str
    start: int
    stop: int
    layout: Layout = "nhwc"


@dataclass(frozen=True)
class Accuracy:
    """COCO keypoint AP and how it was measured.

    Attributes:
        ap: AP, 0 to 1.
        ap50: AP at OKS 0.5, 0 to 1.
        images: Number of images.
        dataset: Name of the data set.
        interpreter: Name of the interpreter.
    """

    ap: float
    ap50: float
    images: int
    dataset: str
    interpreter: str


@dataclass(frozen=True)
class Verification:
    """Differences between the outputs of the file and those of its float source.

    Attributes:
        images: Number of images.
        heatmaps_rmse: Root mean square of the differences of the heatmaps.
        heatmaps_max: Largest difference of the heatmaps.
        pafs_rmse: Root mean square of the differences of the PAFs.
        pafs_max: Largest difference of the PAFs.
        people: Number of poses of the source that were compared.
        pafs_sqnr_db: Signal-to-noise ratio of the PAFs, dB; None if there is no difference.
    """

    images: int
    heatmaps_rmse: float
    heatmaps_max: float
    pafs_rmse: float
    pafs_max: float
    pose_agreement: float
    """Share of the poses of the source (five keypoints or more) that were found with OKS >= 0.85."""
    people: int
    heatmaps_sqnr_db: float | None = None
    """Signal-to-noise ratio of the heatmaps of keypoints, dB; None if there is no difference."""
    pafs_sqnr_db: float | None = None
    source_ap: float | None = None
    """AP of the float source; for a network published in training mode, after its statistics were repaired."""
    published_ap: float | None = None
    """AP of the network as it was published, if the converter had to repair it."""
    pose_ap: float | None = None
    """AP of the poses with those of the source as ground truth, weighted by score; None if it found no people."""
    pose_weight: float | None = None
    """Sum of the scores of the source's poses in all images; a clear person adds about 0.5 to 0.8."""


@dataclass(frozen=True)
class Golden:
    """A reproducible synthetic image and the poses that the network found in it at conversion."""

    people: int
    """Number of people in the synthetic scene (640x480, frame 0)."""
    seed: int
    """Seed of the scene."""
    poses: tuple[tuple[float, ...], ...]
    """Poses that must be found again: x, y (pixels of the image) and score of every keypoint."""


@dataclass(frozen=True)
class ModelManifest:
    """Description of a model. `flatbuffer_sha256` and `flatbuffer_bytes` tie it to the network in the same file.

    Attributes:
        network: Name of the network.
        flatbuffer_sha256: SHA-256 of the network: of the bytes before the archive.
        flatbuffer_bytes: Length of the network.
        input: Input of the network.
        heatmaps: Where the heatmaps are.
        pafs: Where the PAFs are.
        stride: Input pixels per cell of the heatmaps and PAFs.
        precision: Number format of weights and activations; `dynamic`: int8 weights; `auto`: int8 with some float
            layers; `unknown`: a file that edgepose did not convert.
        parameters: Number of parameters; None if unknown.
        macs: Multiply-accumulates per frame; None if unknown.
        stages: Number of stages; None if unknown.
        source: Name of the file that was converted.
        source_sha256: SHA-256 of this file.
        license: License of the weights.
        accuracy: Result of `--verify --annotations`; None if it was not measured.
        verification: Result of `--verify`; None if it was not measured.
        golden: Reference poses, which `edgepose deploy` compares with those on the board; None if there are none.
        edgepose_version: Version of edgepose that wrote the file.
        format: Kind of the document.
        version: Version of the schema.
    """

    network: str
    flatbuffer_sha256: str
    flatbuffer_bytes: int
    input: InputSpec
    heatmaps: OutputSpec
    pafs: OutputSpec
    stride: int = 8
    skeleton: str = "coco18"
    """Name of the skeleton."""
    skeleton_definition: Skeleton | None = None
    """The whole skeleton, if it is not a shipped one."""
    precision: Precision = "unknown"
    parameters: int | None = None
    macs: int | None = None
    stages: int | None = None
    untrained: bool = False
    """True if the weights are random: good for measuring speed, useless for finding people."""
    recipe: tuple[str, ...] = ()
    """What the converter did, one sentence per step."""
    source: str = ""
    source_sha256: str = ""
    license: str = ""
    accuracy: Accuracy | None = None
    verification: Verification | None = None
    golden: Golden | None = None
    min_score: float | None = None
    """Default minimum pose score, chosen on images without people; None if there is none."""
    edgepose_version: str = ""
    format: str = field(default=FORMAT)
    version: int = field(default=VERSION)

    @property
    def skeleton_table(self) -> Skeleton:
        """Skeleton of the model."""
        return self.skeleton_definition or get_skeleton(self.skeleton)

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of heatmaps and PAFs, in grid cells."""
        return self.input.height // self.stride, self.input.width // self.stride

    def to_json(self) -> str:
        """Return indented JSON; equal manifests give equal text."""
        values = asdict(self)
        if self.skeleton_definition is not None:
            values["skeleton_definition"]["limbs"] = [limb._asdict() for limb in self.skeleton_definition.limbs]
        return json.dumps(values, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> ModelManifest:
        """Read and validate a manifest.

        Raises:
            ModelError: An entry is missing, unknown, of the wrong type or out of range; the message names it.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"the manifest is not JSON: {' '.join(str(error).split())[:160]}") from None
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise ModelError(f"the manifest is not an {FORMAT}")
        if values.get("version") != VERSION:
            raise ModelError(
                f"the manifest has version {values.get('version')!r}, this edgepose reads {VERSION}; upgrade edgepose"
            )
        if "licence" in values:  # as `convert` wrote it before the first release
            values.setdefault("license", values.pop("licence"))
        try:
            manifest = schema.build(cls, values, "manifest", strict=True)
        except ValueError as error:
            raise ModelError(str(error)) from None
        _validate(manifest)
        return manifest


def _validate(manifest: ModelManifest) -> None:
    spec, stride = manifest.input, manifest.stride
    if not 8 <= manifest.flatbuffer_bytes < 1 << 31:
        raise ModelError(f"manifest.flatbuffer_bytes: expected 8 to {(1 << 31) - 1}, got {manifest.flatbuffer_bytes}")
    if not re.fullmatch("[0-9a-f]{64}", manifest.flatbuffer_sha256):
        raise ModelError(
            f"manifest.flatbuffer_sha256: expected 64 hexadecimal digits, got {manifest.flatbuffer_sha256[:80]!r}"
        )
    _validate_skeleton(manifest)
    if not 1 <= stride <= 64:
        raise ModelError(f"manifest.stride: expected 1 to 64, got {stride}")
    if not (stride <= spec.width <= 8192 and stride <= spec.height <= 8192):
        raise ModelError(f"manifest.input: a size of {spec.width}x{spec.height} is out of range")
    _validate_input(spec)
    skeleton = manifest.skeleton_table
    if manifest.min_score is not None and not 0 <= manifest.min_score <= 1:
        raise ModelError(f"manifest.min_score: expected 0 to 1, got {manifest.min_score}")
    if manifest.golden is not None:
        _validate_golden(manifest.golden, skeleton)
    expected = {"heatmaps": skeleton.heatmap_channels, "pafs": skeleton.paf_channels}
    for name, channels in expected.items():
        output: OutputSpec = getattr(manifest, name)
        if output.start < 0 or output.stop - output.start != channels:
            raise ModelError(f"manifest.{name}: expected {channels} channels, got {output.start}..{output.stop}")


def _validate_input(spec: InputSpec) -> None:
    if spec.dtype not in INPUT_DTYPES:
        raise ModelError(f"manifest.input.dtype: expected {' or '.join(INPUT_DTYPES)}, got {spec.dtype!r}")
    if spec.quantized == (spec.dtype == "float32") and spec.dtype != "uint8":
        expected = "false" if spec.quantized else "true"
        raise ModelError(f"manifest.input.quantized: expected {expected} for an input of {spec.dtype}")
    if spec.channel_ranges is not None and len(spec.channel_ranges) != 3:
        raise ModelError(f"manifest.input.channel_ranges: expected 3 ranges, got {len(spec.channel_ranges)}")
    for low, high in spec.channel_ranges or [spec.value_range]:
        if not -_MAX_INPUT_VALUE <= low < high <= _MAX_INPUT_VALUE:
            raise ModelError(f"manifest.input.value_range: expected a low and a higher value, got {low} and {high}")


def _validate_skeleton(manifest: ModelManifest) -> None:
    name, definition = manifest.skeleton, manifest.skeleton_definition
    if definition is None and name not in list_skeletons():
        raise ModelError(f"manifest.skeleton: expected one of {', '.join(list_skeletons())}, got {name[:80]!r}")
    if definition is not None and definition.name != name:
        raise ModelError(f"manifest.skeleton_definition.name: expected {name[:80]!r}, got {definition.name!r}")


def _validate_golden(golden: Golden, skeleton: Skeleton) -> None:
    numbers = 3 * len(skeleton.keypoints)
    if not (0 <= golden.people <= 100 and 0 <= golden.seed < 1 << 32):
        raise ModelError(f"manifest.golden: {golden.people} people, seed {golden.seed} are out of range")
    if wrong := [len(pose) for pose in golden.poses if len(pose) != numbers]:
        raise ModelError(f"manifest.golden.poses: expected {numbers} numbers each, got {wrong[0]}")
