"""Data types from frame to pose: frames, network output, poses and results."""

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
Layout = Literal["nhwc", "nchw"]
"""Order of the dimensions of a tensor: channels last (TensorFlow) or channels first (PyTorch)."""
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """Image with its source and time.

    Attributes:
        image: (H, W, 3) uint8 in `channel_order`.
        source: Name of the file or camera.
        index: Number of the frame in `source`, from 0.
        timestamp_ns: Monotonic clock at exposure in nanoseconds. For a file, the time in the video, or 0.
        channel_order: Order of the color channels.
        captured_ns: Monotonic clock in nanoseconds at exposure, or when the frame was read from a file; 0 if unknown.
            Latency and wall-clock time are computed from it.
    """

    image: Image
    source: str
    index: int = 0
    timestamp_ns: int = 0
    channel_order: ChannelOrder = "bgr"
    captured_ns: int = 0


class Quantization(NamedTuple):
    """Scale and zero point of a tensor: real = scale * (stored - zero_point); (1, 0) for float tensors."""

    scale: float = 1.0
    zero_point: int = 0

    def dequantize(self, stored: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return a float32 copy of stored values as real values."""
        return np.asarray((np.asarray(stored, np.float32) - self.zero_point) * np.float32(self.scale), np.float32)


class PoseFields(NamedTuple):
    """Output of a network, as returned by the interpreter: float32, int8, uint8 or int16.

    The arrays may be views of one tensor of the interpreter. They are valid until the next inference.

    Attributes:
        heatmaps: (rows, columns, channels): one channel per keypoint, then the background if the skeleton has one.
        pafs: (rows, columns, channels): two channels per limb.
        heatmap_quantization: Scale and zero point of the heatmaps.
        paf_quantization: Scale and zero point of the PAFs.
    """

    heatmaps: npt.NDArray[Any]
    pafs: npt.NDArray[Any]
    heatmap_quantization: Quantization = Quantization()
    paf_quantization: Quantization = Quantization()


class GridToFrame(NamedTuple):
    """Transform from grid cells to frame pixels: x_frame = scale_x * (x_grid + 0.5) + offset_x, and the same for y.

    x_grid is the index of a cell, so x_grid + 0.5 is its center.
    """

    scale_x: float
    scale_y: float
    offset_x: float = 0.0
    offset_y: float = 0.0


class Box(NamedTuple):
    """Rectangle in pixels of the frame.

    Attributes:
        x: Left border.
        y: Upper border.
        width: Width.
        height: Height.
    """

    x: float
    y: float
    width: float
    height: float


class Keypoint(NamedTuple):
    """Keypoint of a person in pixels of the frame; all values are 0 if it was not found.

    Attributes:
        x: Distance from the left border of the frame.
        y: Distance from the upper border of the frame.
        score: Height of the heatmap's peak, about 0 to 1.
    """

    x: float
    y: float
    score: float

    @property
    def found(self) -> bool:
        """True if the keypoint was found."""
        return self.score > 0


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Pose:
    """Pose of one person.

    >>> pose["right_wrist"].x, pose.angle("right_elbow"), pose.bbox

    Attributes:
        keypoints: (18, 3) float32, with another skeleton (keypoints, 3): x, y in pixels of the frame, score; all zero
            if the keypoint was not found. The score is the height of the heatmap's peak, about 0 to 1.
        score: Mean agreement with the PAFs over all limbs, 0 to 1. Missing limbs count as 0.
        person: Number of the person from tracking, from 1, the same in all frames; 0 without tracking.
        skeleton: Names and order of the keypoints.
    """

    keypoints: npt.NDArray[np.float32]
    score: float
    person: int = 0
    skeleton: Skeleton = COCO18

    def __repr__(self) -> str:
        found = int((self.keypoints[:, 2] > 0).sum())
        person = f"person {self.person}, " if self.person else ""
        return f"Pose({person}score {self.score:.2f}, {found} of {len(self.keypoints)} keypoints)"

    def __iter__(self) -> Iterator[Keypoint]:
        """Iterate over the keypoints, in the order of the skeleton."""
        return (Keypoint(*point) for point in self.keypoints.tolist())

    def __getitem__(self, name: str) -> Keypoint:
        """Return a keypoint by its name.

        Raises:
            UnknownNameError: There is no such keypoint; the message suggests the most similar name.
        """
        x, y, score = self.keypoints[self.skeleton.index(name)].tolist()
        return Keypoint(x, y, score)

    @property
    def xy(self) -> npt.NDArray[np.float32]:
        """Coordinates of all keypoints: (18, 2) float32, with another skeleton (keypoints, 2); pixels of the frame."""
        return self.keypoints[:, :2]

    @property
    def confidence(self) -> npt.NDArray[np.float32]:
        """Scores of all keypoints: (18,) float32, with another skeleton (keypoints,); 0 if it was not found."""
        return self.keypoints[:, 2]

    def angle(self, joint: str, start: str | None = None, end: str | None = None) -> float | None:
        """Compute the angle at a joint in the image plane.

        Args:
            joint: The keypoint at the vertex, such as `right_elbow`. A straight arm or leg has 180 degrees.
            start: The keypoint at one end. Not needed for elbows, knees, shoulders and hips.
            end: The keypoint at the other end. Not needed for elbows, knees, shoulders and hips.

        Returns:
            Degrees, 0 to 180; None if one of the three keypoints was not found or two of them coincide.

        Raises:
            UnknownNameError: The skeleton has no keypoint of that name.
            ValueError: Only one of `start` and `end` was given, or neither for a joint that needs them.
        """
        if (start is None) != (end is None):
            raise ValueError("angle: expected both start and end, or neither")
        if start is None or end is None:
            start, end = _get_angle_ends(joint, self.skeleton)
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
        """The smallest box around the keypoints that were found.

        Raises:
            ValueError: No keypoint was found.
        """
        found = self.keypoints[self.keypoints[:, 2] > 0, :2]
        if not len(found):
            raise ValueError("bbox: expected a pose with at least one keypoint, got one without any")
        (x, y), (right, bottom) = found.min(axis=0), found.max(axis=0)
        return Box(float(x), float(y), float(right - x), float(bottom - y))


class Timings(NamedTuple):
    """Time of each stage for one frame, in milliseconds.

    Attributes:
        preprocess: Resize the image and write it into the input tensor.
        inference: Run the network.
        decode: Find the poses in heatmaps and PAFs.
    """

    preprocess: float
    inference: float
    decode: float

    @property
    def total(self) -> float:
        """Sum of all stages, in milliseconds."""
        return self.preprocess + self.inference + self.decode


_ANGLE_ENDS = {"elbow": ("shoulder", "wrist"), "knee": ("hip", "ankle"), "shoulder": ("hip", "elbow"),
               "hip": ("shoulder", "knee")}  # fmt: skip


def _get_angle_ends(joint: str, skeleton: Skeleton) -> tuple[str, str]:
    skeleton.index(joint)
    side, _, part = joint.partition("_")
    if part not in _ANGLE_ENDS:
        raise ValueError(f"angle: {joint!r} needs start and end; give the keypoints at both sides of the joint")
    first, second = _ANGLE_ENDS[part]
    return f"{side}_{first}", f"{side}_{second}"


@dataclass(frozen=True, repr=False)
class EstimateResult:
    """Poses of one frame and the time of each stage. Iterating over it yields the poses, `result[0]` is the best.

    >>> result = estimator.estimate("photo.jpg")
    >>> len(result), result.poses[0].score
    >>> result.save("drawn.jpg")

    Attributes:
        poses: The poses, the one with the highest score first.
        timings_ms: Time of each stage in milliseconds.
        frame: The frame; None if only the poses are passed on, as in the camera loop.
        skeleton: Skeleton of the model, and so of all poses.
    """

    poses: tuple[Pose, ...]
    timings_ms: Timings
    frame: Frame | None = None
    skeleton: Skeleton = COCO18

    def __iter__(self) -> Iterator[Pose]:
        return iter(self.poses)

    def __len__(self) -> int:
        return len(self.poses)

    def __getitem__(self, number: int) -> Pose:
        return self.poses[number]

    def __repr__(self) -> str:
        people = f"{len(self.poses)} {'person' if len(self.poses) == 1 else 'people'}"
        size = "" if self.frame is None else f", {self.frame.image.shape[1]}x{self.frame.image.shape[0]}"
        return f"EstimateResult({people}{size}, {self.timings_ms.total:.1f} ms)"

    def plot(self) -> Image:
        """Draw the poses on a copy of the image: (H, W, 3) uint8, in the frame's channel order.

        Raises:
            InputError: The result has no frame.
        """
        image = self._draw()
        return np.ascontiguousarray(image[..., ::-1]) if self._require_frame().channel_order == "rgb" else image

    def save(self, path: str | PathLike[str]) -> None:
        """Write the image with the drawn poses, in the format given by the suffix of `path`.

        Raises:
            InputError: The result has no frame.
            OutputError: The file cannot be written.
        """
        from pathlib import Path

        from .io.images import write_image

        write_image(Path(path), self._draw())

    def to_json(self) -> str:
        """Return one JSON line in the format of `edgepose run` (docs/reference/output.md).

        Raises:
            InputError: The result has no frame.
        """
        from .io.formats import format_edgepose_line

        return format_edgepose_line(self._require_frame(), self)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `to_json` as a dictionary.

        Raises:
            InputError: The result has no frame.
        """
        import json

        document: dict[str, Any] = json.loads(self.to_json())
        return document

    def to_coco(self, image_id: int = 1) -> list[dict[str, Any]]:
        """Return COCO keypoint results: one entry per person, with 17 keypoints.

        Raises:
            InputError: The result has no frame, or the skeleton does not have COCO's keypoints.
        """
        from .io.formats import make_coco_results

        return make_coco_results(self._require_frame(), self, self.skeleton, image_id)

    def to_openpose(self) -> dict[str, Any]:
        """Return the JSON document of OpenPose for this frame: the keypoints of the skeleton for each person."""
        from .io.formats import make_openpose_document

        return make_openpose_document(self)

    def to_supervision(self) -> Any:
        """Return `supervision.KeyPoints` with COCO's 17 keypoints, for the annotators of supervision.

        With a skeleton that does not have COCO's keypoints: all keypoints, in the order of the skeleton.

        Raises:
            MissingExtraError: supervision is not installed.
        """
        try:
            import supervision
        except ModuleNotFoundError as error:
            raise MissingExtraError("to_supervision", "supervision", error) from None
        if not self.poses:
            return supervision.KeyPoints.empty()
        order = list(self.skeleton.coco_order or range(len(self.skeleton.keypoints)))
        keypoints = np.stack([pose.keypoints[order] for pose in self.poses])
        return supervision.KeyPoints(xy=keypoints[..., :2], keypoint_confidence=keypoints[..., 2])

    def _repr_png_(self) -> bytes:
        """Return the image with the drawn poses as PNG, for notebooks."""
        import cv2

        return bytes(cv2.imencode(".png", self._draw())[1])

    def _draw(self) -> Image:
        """Draw the poses on a copy of the image; return BGR."""
        from .visualize.draw import draw_poses

        return draw_poses(_convert_to_bgr(self._require_frame()), self.poses, self.skeleton)

    def _require_frame(self) -> Frame:
        if self.frame is None:
            raise InputError("this result has no image; use a result of PoseEstimator.estimate")
        return self.frame


def _convert_to_bgr(frame: Frame) -> Image:
    """Return the image of a frame as (H, W, 3) BGR; gray is repeated in all channels, alpha is dropped."""
    image = frame.image
    if image.ndim == 2:
        return np.repeat(image[..., None], 3, axis=2)
    return np.ascontiguousarray(image[..., 2::-1] if frame.channel_order == "rgb" else image[..., :3])
