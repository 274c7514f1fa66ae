"""The values that travel from frame to pose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from .errors import InputError, MissingExtraError
from .skeleton import COCO18, Skeleton

if TYPE_CHECKING:
    from os import PathLike

ChannelOrder = Literal["bgr", "rgb"]
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """An image and when it was taken.

    `image`: (H, W, 3) uint8 in `channel_order`. `timestamp_ns`: monotonic clock at exposure; for a file, its time in
    the video or 0. `index`: counts the frames of `source` from 0. `captured_ns`: monotonic clock at exposure, or when
    the frame was read from a file; 0 if unknown. Latency and wall-clock time are computed from it.
    """

    image: Image
    source: str
    index: int = 0
    timestamp_ns: int = 0
    channel_order: ChannelOrder = "bgr"
    captured_ns: int = 0


class Quantization(NamedTuple):
    """real = scale * (stored - zero_point); (1, 0) for float tensors."""

    scale: float = 1.0
    zero_point: int = 0


class PoseFields(NamedTuple):
    """A network's maps as the interpreter returned them: float32, int8, uint8 or int16.

    `heatmaps`: (h, w, 19), `pafs`: (h, w, 38); both may be views of one tensor. Valid until the next inference.
    """

    heatmaps: npt.NDArray[Any]
    pafs: npt.NDArray[Any]
    heatmap_quantization: Quantization = Quantization()
    paf_quantization: Quantization = Quantization()


class GridToFrame(NamedTuple):
    """x_frame = scale_x * (x_grid + 0.5) + offset_x, the same for y: cells and pixels are measured at their centers."""

    scale_x: float
    scale_y: float
    offset_x: float = 0.0
    offset_y: float = 0.0


class Box(NamedTuple):
    """A rectangle in frame pixels."""

    x: float
    y: float
    width: float
    height: float


class Keypoint(NamedTuple):
    """A keypoint of a person in pixels of the frame. All zero if it was not found."""

    x: float
    y: float
    score: float

    @property
    def found(self) -> bool:
        """True if the keypoint was found."""
        return self.score > 0


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """One person.

    >>> pose["right_wrist"].x, pose.angle("right_elbow"), pose.bbox

    Attributes:
        keypoints: (18, 3) float32: x, y in pixels of the frame, score; all zero if the keypoint was not found. The
            score is the height of the heatmap's peak, about 0 to 1.
        score: Mean PAF agreement over all limbs, 0 to 1.
        person: Number of the person across frames, from 1; 0 without tracking.
        skeleton: Names and order of the keypoints.
    """

    keypoints: npt.NDArray[np.float32]
    score: float
    person: int = 0
    skeleton: Skeleton = COCO18

    def __getitem__(self, name: str) -> Keypoint:
        """Return a keypoint by its name. Raises UnknownNameError with the nearest name."""
        x, y, score = self.keypoints[self.skeleton.index(name)].tolist()
        return Keypoint(x, y, score)

    @property
    def xy(self) -> npt.NDArray[np.float32]:
        """Coordinates of all keypoints: (18, 2) float32, in pixels of the frame."""
        return self.keypoints[:, :2]

    @property
    def confidence(self) -> npt.NDArray[np.float32]:
        """Scores of all keypoints: (18,) float32, 0 if the keypoint was not found."""
        return self.keypoints[:, 2]

    def angle(self, joint: str, start: str | None = None, end: str | None = None) -> float | None:
        """Return the angle at a joint in the image.

        Args:
            joint: A keypoint. Elbows, knees, shoulders and hips need no more: an arm or leg that is straight has 180.
            start: The keypoint at one end; needed for other joints.
            end: The keypoint at the other end.

        Returns:
            Degrees, 0 to 180; None if one of the three keypoints was not found.

        Raises:
            UnknownNameError: The skeleton has no keypoint of that name.
            ValueError: Only one of `start` and `end` was given, or none for a joint that needs them.
        """
        if (start is None) != (end is None):
            raise ValueError("angle: expected both start and end, or neither")
        if start is None or end is None:
            start, end = _limb_ends(joint, self.skeleton)
        middle, *others = (self[name] for name in (joint, start, end))
        if not (middle.found and all(other.found for other in others)):
            return None
        a, b = (np.array((other.x - middle.x, other.y - middle.y)) for other in others)
        length = float(np.hypot(*a) * np.hypot(*b))
        if length == 0:
            return None
        return float(np.degrees(np.arccos(np.clip(float(a @ b) / length, -1.0, 1.0))))

    @property
    def bbox(self) -> Box:
        """The smallest box around the keypoints that are present."""
        present = self.keypoints[self.keypoints[:, 2] > 0, :2]
        (x, y), (right, bottom) = present.min(axis=0), present.max(axis=0)
        return Box(float(x), float(y), float(right - x), float(bottom - y))


class Timings(NamedTuple):
    """Milliseconds spent in each stage of one frame."""

    preprocess: float
    inference: float
    decode: float

    @property
    def total(self) -> float:
        """Sum of the stages."""
        return self.preprocess + self.inference + self.decode


_ANGLE_ENDS = {"elbow": ("shoulder", "wrist"), "knee": ("hip", "ankle"), "shoulder": ("hip", "elbow"),
               "hip": ("shoulder", "knee")}  # fmt: skip


def _limb_ends(joint: str, skeleton: Skeleton) -> tuple[str, str]:
    skeleton.index(joint)
    side, _, part = joint.partition("_")
    if part not in _ANGLE_ENDS:
        raise ValueError(f"angle: {joint!r} needs start and end, the keypoints at both sides of it")
    first, second = _ANGLE_ENDS[part]
    return f"{side}_{first}", f"{side}_{second}"


@dataclass(frozen=True)
class EstimateResult:
    """The people of one frame, best first, and the time each stage took. Iterates over the poses.

    >>> result = estimator.estimate("photo.jpg")
    >>> len(result), result.poses[0].score
    >>> result.save("drawn.jpg")
    """

    poses: tuple[Pose, ...]
    timings_ms: Timings
    frame: Frame | None = None
    """The frame; None where only poses are passed on, as in the camera loop."""

    def __iter__(self) -> Iterator[Pose]:
        return iter(self.poses)

    def __len__(self) -> int:
        return len(self.poses)

    def plot(self) -> Image:
        """Draw the poses on a copy of the image: (H, W, 3) uint8, in the frame's channel order.

        Raises:
            InputError: The result has no frame.
        """
        image = self._drawn()
        return np.ascontiguousarray(image[..., ::-1]) if self._frame().channel_order == "rgb" else image

    def save(self, path: str | PathLike[str]) -> None:
        """Write the drawn image; the suffix names the format.

        Raises:
            InputError: The result has no frame.
            OutputError: The file cannot be written.
        """
        from pathlib import Path

        from .io.images import write_image

        write_image(Path(path), self._drawn())

    def to_json(self) -> str:
        """Return one line of JSON, as `edgepose run` writes it (docs/output.md)."""
        from .io.formats import edgepose_line

        return edgepose_line(self._frame(), self)

    def to_dict(self) -> dict[str, Any]:
        """Return what `to_json` writes as a dictionary."""
        import json

        document: dict[str, Any] = json.loads(self.to_json())
        return document

    def to_coco(self, image_id: int = 1) -> list[dict[str, Any]]:
        """Return COCO keypoint results: an entry per person, 17 keypoints."""
        from .io.formats import coco_results

        return coco_results(self._frame(), self, self._skeleton(), image_id)

    def to_openpose(self) -> dict[str, Any]:
        """Return the document that OpenPose writes per frame: 18 keypoints per person."""
        from .io.formats import openpose_document

        return openpose_document(self)

    def to_supervision(self) -> Any:
        """Return `supervision.KeyPoints` in COCO's order of 17 keypoints, for its annotators.

        Raises:
            MissingExtraError: supervision is not installed.
        """
        try:
            import supervision
        except ModuleNotFoundError as error:
            raise MissingExtraError("to_supervision", "supervision", error) from None
        if not self.poses:
            return supervision.KeyPoints.empty()
        order = list(self._skeleton().coco_order)
        keypoints = np.stack([pose.keypoints[order] for pose in self.poses])
        return supervision.KeyPoints(xy=keypoints[..., :2], keypoint_confidence=keypoints[..., 2])

    def _repr_png_(self) -> bytes:
        """The drawn image, for notebooks."""
        import cv2

        return bytes(cv2.imencode(".png", self._drawn())[1])

    def _drawn(self) -> Image:
        """The poses on the image, BGR."""
        from .visualize.draw import draw_poses

        return draw_poses(_as_bgr(self._frame()), self.poses)

    def _frame(self) -> Frame:
        if self.frame is None:
            raise InputError("this result has no image; use the result of PoseEstimator.estimate")
        return self.frame

    def _skeleton(self) -> Skeleton:
        return self.poses[0].skeleton if self.poses else COCO18


def _as_bgr(frame: Frame) -> Image:
    """The frame's image as (H, W, 3) BGR."""
    image = frame.image
    if image.ndim == 2:
        return np.repeat(image[..., None], 3, axis=2)
    return np.ascontiguousarray(image[..., 2::-1] if frame.channel_order == "rgb" else image[..., :3])
