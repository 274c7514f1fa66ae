"""What the runtime must know of a model and cannot guess. Travels inside the model file, see `model_file`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar, get_args

from ..errors import ModelError
from ..preprocess import Resize
from ..skeleton import SKELETONS, Skeleton
from ..types import ChannelOrder

FORMAT = "edgepose-manifest"
VERSION = 1

INPUT_DTYPES = ("float32", "uint8")
OUTPUT_DTYPES = ("float32", "int8", "uint8", "int16")

Precision = Literal["float32", "float16", "dynamic", "int8", "int16x8", "auto", "unknown"]


@dataclass(frozen=True)
class InputSpec:
    """The image the network takes: `(1, height, width, 3)`; bytes 0 and 255 become the ends of `value_range`."""

    tensor: str
    width: int
    height: int
    dtype: str = "float32"
    channel_order: ChannelOrder = "bgr"
    resize: Resize = "letterbox"
    value_range: tuple[float, float] = (0.0, 255.0)


@dataclass(frozen=True)
class OutputSpec:
    """Maps in channels `start` to `stop` of an output tensor."""

    tensor: str
    start: int
    stop: int


@dataclass(frozen=True)
class Accuracy:
    """COCO keypoint AP and how it was measured."""

    ap: float
    ap50: float
    images: int
    dataset: str
    interpreter: str


@dataclass(frozen=True)
class Verification:
    """How far the file's outputs are from its float source's."""

    images: int
    heatmaps_rmse: float
    heatmaps_max: float
    pafs_rmse: float
    pafs_max: float
    pose_agreement: float
    """Share of the source's people (five keypoints or more) found with OKS >= 0.85."""
    people: int
    heatmaps_sqnr_db: float | None = None
    """Signal to noise of the keypoints' heatmaps, decibels; None where there is no difference."""
    pafs_sqnr_db: float | None = None
    source_ap: float | None = None
    """AP of the float source; of a network published in training mode, with the repaired statistics."""
    published_ap: float | None = None
    """AP of the network as it was published, where the converter had to repair it."""


@dataclass(frozen=True)
class Golden:
    """An image that can be painted anywhere, and whom the network saw in it where it was converted; see `golden`."""

    people: int
    """Of the synthetic scene, 640x480, frame 0."""
    seed: int
    poses: tuple[tuple[float, ...], ...]
    """Those that must be found again: x, y and score of every keypoint, in the image's pixels."""


@dataclass(frozen=True)
class ModelManifest:
    """A model's description. `flatbuffer_sha256` and `flatbuffer_bytes` tie it to the network it lies beside."""

    network: str
    flatbuffer_sha256: str
    flatbuffer_bytes: int
    input: InputSpec
    heatmaps: OutputSpec
    pafs: OutputSpec
    stride: int = 8
    skeleton: str = "coco18"
    precision: Precision = "unknown"
    parameters: int | None = None
    macs: int | None = None
    stages: int | None = None
    untrained: bool = False
    """Whether the weights are random: good for measuring speed, finds nobody."""
    recipe: tuple[str, ...] = ()
    """What the converter did, a sentence each."""
    source: str = ""
    source_sha256: str = ""
    licence: str = ""
    accuracy: Accuracy | None = None
    verification: Verification | None = None
    golden: Golden | None = None
    min_score: float | None = None
    """Pose score below which people are dropped by default, chosen on images without people; None for none."""
    edgepose_version: str = ""
    format: str = field(default=FORMAT)
    version: int = field(default=VERSION)

    @property
    def skeleton_table(self) -> Skeleton:
        """The skeleton by its name."""
        return SKELETONS[self.skeleton]

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the maps."""
        return self.input.height // self.stride, self.input.width // self.stride

    def to_json(self) -> str:
        """Readable JSON, the same text for the same manifest."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> ModelManifest:
        """Reads and validates a manifest.

        Raises ModelError naming the first entry that is missing, unknown, of the wrong type or out of range.
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
        manifest = _read(cls, values, "manifest")
        _validate(manifest)
        return manifest


_T = TypeVar("_T")

_NESTED: dict[str, type[Any]] = {
    "InputSpec": InputSpec,
    "OutputSpec": OutputSpec,
    "Accuracy | None": Accuracy,
    "Verification | None": Verification,
    "Golden | None": Golden,
}
_LISTS = {
    "tuple[str, ...]": "str", "tuple[float, ...]": "float", "tuple[tuple[float, ...], ...]": "tuple[float, ...]"
}  # fmt: skip
_CHOICES: dict[str, tuple[str, ...]] = {
    "Precision": get_args(Precision),
    "Resize": get_args(Resize),
    "ChannelOrder": get_args(ChannelOrder),
}


def _read(kind: type[_T], values: Any, where: str) -> _T:
    """Builds a dataclass from a JSON object by the annotations of its fields."""
    if not isinstance(values, Mapping):
        raise ModelError(f"{where}: expected an object, got {type(values).__name__}")
    known = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise ModelError(f"{where}: unknown entry {str(name)[:40]!r}")
    arguments = {}
    for name, entry in known.items():
        if name in values:
            arguments[name] = _value(str(entry.type), values[name], f"{where}.{name}")
    try:
        return kind(**arguments)
    except TypeError as error:
        raise ModelError(f"{where}: {error}".replace("__init__() ", "")) from None


def _value(kind: str, value: Any, where: str) -> Any:
    if value is None and kind.endswith("| None"):
        return None
    if kind in _NESTED:
        return _read(_NESTED[kind], value, where)
    if kind in _CHOICES:
        if value not in _CHOICES[kind]:
            raise ModelError(f"{where}: expected one of {', '.join(_CHOICES[kind])}, got {value!r}")
        return value
    simple = kind.removesuffix(" | None")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if (simple, type(value)) in (("str", str), ("bool", bool)):
        return value
    if simple == "int" and number and isinstance(value, int):
        return value
    if simple == "float" and isinstance(value, int | float) and number and abs(value) < 1e300:
        return float(value)
    if simple == "tuple[float, float]" and isinstance(value, list) and len(value) == 2:
        return (_value("float", value[0], where), _value("float", value[1], where))
    if (inner := _LISTS.get(simple)) and isinstance(value, list):
        return tuple(_value(inner, entry, where) for entry in value)
    raise ModelError(f"{where}: expected {simple}, got {str(value)[:40]!r}")


def _validate(manifest: ModelManifest) -> None:
    spec, stride = manifest.input, manifest.stride
    if not 8 <= manifest.flatbuffer_bytes < 1 << 31:
        raise ModelError(f"manifest.flatbuffer_bytes: expected 8 to {(1 << 31) - 1}, got {manifest.flatbuffer_bytes}")
    if not re.fullmatch("[0-9a-f]{64}", manifest.flatbuffer_sha256):
        raise ModelError(
            f"manifest.flatbuffer_sha256: expected 64 hexadecimal digits, got {manifest.flatbuffer_sha256[:80]!r}"
        )
    if manifest.skeleton not in SKELETONS:
        raise ModelError(f"manifest.skeleton: expected one of {', '.join(SKELETONS)}, got {manifest.skeleton!r}")
    if not 1 <= stride <= 64:
        raise ModelError(f"manifest.stride: expected 1 to 64, got {stride}")
    if not (stride <= spec.width <= 8192 and stride <= spec.height <= 8192):
        raise ModelError(f"manifest.input: a size of {spec.width}x{spec.height} is out of range")
    if spec.dtype not in INPUT_DTYPES:
        raise ModelError(f"manifest.input.dtype: expected {' or '.join(INPUT_DTYPES)}, got {spec.dtype!r}")
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


def _validate_golden(golden: Golden, skeleton: Skeleton) -> None:
    numbers = 3 * len(skeleton.keypoints)
    if not (0 <= golden.people <= 100 and 0 <= golden.seed < 1 << 32):
        raise ModelError(f"manifest.golden: {golden.people} people, seed {golden.seed} are out of range")
    if wrong := [len(pose) for pose in golden.poses if len(pose) != numbers]:
        raise ModelError(f"manifest.golden.poses: expected {numbers} numbers each, got {wrong[0]}")
