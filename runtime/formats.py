"""What `edgepose run` writes: edgepose's own JSON Lines, OpenPose's JSON, COCO results. See docs/output.md."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from .naming import device_name
from .redact import mask_credentials
from .skeleton import Skeleton
from .types import Estimate, Frame, Pose

Format = Literal["edgepose", "openpose", "coco"]
VERSION = 2
"""Of edgepose's own lines; goes up when an entry changes its meaning or goes."""


def edgepose_line(frame: Frame, estimate: Estimate, *, device: str | None = None, taken: str | None = None) -> str:
    """Return one frame as a line of JSON: device, source, time, people in pixels of the frame, stage times.

    Args:
        frame: The frame. Credentials in the address of its source are removed.
        estimate: The people in it.
        device: Display name of the device; default: `naming.device_name()`.
        taken: Time of the exposure as RFC 3339 (`capture_time`); None if it is unknown, as for files.
    """
    height, width = frame.image.shape[:2]
    return _compact(
        {
            "version": VERSION,
            "device": device_name() if device is None else device,
            "source": mask_credentials(frame.source) if "://" in frame.source else frame.source,
            "index": frame.index,
            "time": taken,
            "timestamp_ns": frame.timestamp_ns,
            "width": width,
            "height": height,
            "poses": [pose_entry(pose) for pose in estimate],
            "timings_ms": {name: round(value, 3) for name, value in estimate.timings_ms._asdict().items()},
        }
    )


def capture_time(captured_ns: int) -> str | None:
    """Return the wall-clock time of a moment of the monotonic clock: RFC 3339, UTC, milliseconds; None for 0.

    It is computed from the wall clock at the moment of the call, minus the age of the capture. A wall clock that has
    been set since the program started is therefore followed at once.

    Args:
        captured_ns: `Frame.captured_ns`; 0 if unknown.
    """
    if captured_ns == 0:
        return None
    milliseconds = (time.time_ns() - (time.monotonic_ns() - captured_ns)) // 1_000_000
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def pose_entry(pose: Pose) -> dict[str, Any]:
    """A person as edgepose's lines have them; `person` only where somebody keeps track."""
    known = {"person": pose.person} if pose.person else {}
    return {**known, "score": round(pose.score, 4), "keypoints": _keypoints(pose)}


def openpose_line(frame: Frame, estimate: Estimate) -> str:
    """One frame as OpenPose writes it (version 1.3, COCO model of 18 keypoints)."""
    people = [
        {"person_id": [pose.person or -1], "pose_keypoints_2d": [number for row in _keypoints(pose) for number in row]}
        for pose in estimate
    ]
    return _compact({"version": 1.3, "people": people})


def coco_results(frame: Frame, estimate: Estimate, skeleton: Skeleton) -> list[dict[str, Any]]:
    """One frame as COCO keypoint results: 17 keypoints a person; the image id is the number in the file's name."""
    return [
        {
            "image_id": image_id(frame),
            "category_id": 1,
            "keypoints": coco_keypoints(pose, skeleton),
            "score": round(pose.score, 5),
        }
        for pose in estimate
    ]


def coco_keypoints(pose: Pose, skeleton: Skeleton) -> list[float]:
    """17 times x, y, 1, or 0, 0, 0 where absent, in COCO's order."""
    ordered = pose.keypoints[list(skeleton.coco_order)]
    return [
        value
        for x, y, score in ordered.tolist()
        for value in ((round(x, 2), round(y, 2), 1) if score > 0 else (0.0, 0.0, 0))
    ]


def image_id(frame: Frame) -> int:
    """COCO names its pictures by number; anything else gets the frame's index."""
    stem = Path(frame.source).stem
    return int(stem) if stem.isascii() and stem.isdigit() else frame.index


def document(
    kind: Format, results: Iterable[tuple[Frame, Estimate]], skeleton: Skeleton, write: Callable[[str], Any]
) -> None:
    """Writes all results as they come: lines, or for `coco` one JSON array that pycocotools loads."""
    if kind != "coco":
        line = edgepose_line if kind == "edgepose" else openpose_line
        for frame, estimate in results:
            write(line(frame, estimate) + "\n")
        return
    separator = "[\n"
    for frame, estimate in results:
        for result in coco_results(frame, estimate, skeleton):
            write(separator + _compact(result))
            separator = ",\n"
    write("[]\n" if separator == "[\n" else "\n]\n")


def _keypoints(pose: Pose) -> list[list[float]]:
    return [[round(x, 2), round(y, 2), round(score, 4)] for x, y, score in pose.keypoints.tolist()]


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
