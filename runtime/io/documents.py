"""Types of the JSON documents that edgepose writes; docs/reference/message.md and its schemas are made from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NotRequired, TypedDict

from ..schema import Limits


@dataclass(frozen=True)
class TextFormat:
    """Form of a text, for `Annotated`.

    Attributes:
        pattern: Regular expression that the text matches.
        name: Format of JSON Schema, such as `date-time`; "" if there is none.
    """

    pattern: str
    name: str = ""


Time = Annotated[str, TextFormat(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", "date-time")]
"""Time as RFC 3339, UTC, with milliseconds."""
Count = Annotated[int, Limits(0)]
Milliseconds = Annotated[float, Limits(0, unit="ms")]


class PoseDocument(TypedDict):
    """One person.

    Attributes:
        person: Number of the person, the same in all frames; only with person tracking (`edgepose camera`).
        score: Pose score: agreement of the part affinity fields (PAFs) with the limbs, mean over all limbs. A missing
            limb counts as 0. About 0 to 1.
        keypoints: For each keypoint of the skeleton x and y in pixels of the frame, from its top left corner, and the
            score, about 0 to 1. `[0, 0, 0]` if the keypoint was not found.
    """

    person: NotRequired[Annotated[int, Limits(1)]]
    score: float
    keypoints: list[tuple[float, float, float]]


class TimingsDocument(TypedDict):
    """Milliseconds per stage.

    Attributes:
        preprocess: Resizing and conversion of the image.
        inference: The network.
        decode: From heatmaps and PAFs to poses.
    """

    preprocess: Milliseconds
    inference: Milliseconds
    decode: Milliseconds


class CameraDocument(TypedDict, total=False):
    """Entry that only messages of named cameras have."""

    camera: str


class SkeletonNameDocument(TypedDict, total=False):
    """Entry that only messages with another skeleton than coco18 have."""

    skeleton: str


class FrameDocument(TypedDict):
    """An image or video frame and the people in it: a line of `edgepose run`, a message of `edgepose camera`.

    Attributes:
        version: Version of this schema. It increases if an entry is removed or changes its meaning.
        device: Display name of the device: `--name` or `output.name`, else `EDGEPOSE_NAME`, else the host name.
        camera: Name of the camera (`--source NAME=SOURCE`); absent if the process has only one camera without a name.
        source: The image, video or camera as given on the command line, without user name and password.
        index: Number of the frame in its source, from 0.
        time: Wall-clock time of the exposure, RFC 3339, UTC, milliseconds; null if it is unknown, as for files.
        timestamp_ns: Nanoseconds of a clock that never goes back: the system's monotonic clock for a camera, the time
            in the video for a video; 0 for an image.
        width: Width of the frame in pixels.
        height: Height of the frame in pixels.
        skeleton: Name of the skeleton of the model; absent if it is `coco18`.
        poses: The people, best first; empty if no person was found.
        timings_ms: Milliseconds per stage.
    """

    version: int
    device: str
    camera: NotRequired[str]
    source: str
    index: Count
    time: Time | None
    timestamp_ns: Count
    width: Annotated[int, Limits(1)]
    height: Annotated[int, Limits(1)]
    skeleton: NotRequired[str]
    poses: list[PoseDocument]
    timings_ms: TimingsDocument
