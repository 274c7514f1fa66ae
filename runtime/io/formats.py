"""What `edgepose run` writes: edgepose's own JSON Lines, OpenPose's JSON, COCO results. See docs/output.md."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ..skeleton import Skeleton
from ..types import EstimateResult, Frame, Pose
from . import atomic
from .images import VIDEOS
from .naming import device_name
from .redact import mask_credentials

Format = Literal["edgepose", "openpose", "coco"]
VERSION = 2
"""Of edgepose's own lines; goes up when an entry changes its meaning or goes."""

_MAX_ID_DIGITS = 15
"""Larger numbers are not exact in every JSON reader."""


def edgepose_line(
    frame: Frame, estimate: EstimateResult, *, device: str | None = None, taken: str | None = None
) -> str:
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


def openpose_line(frame: Frame, estimate: EstimateResult) -> str:
    """Format one frame for stdout: the OpenPose document with `source` and `index`."""
    return _compact({**openpose_document(estimate), "source": frame.source, "index": frame.index})


def openpose_text(estimate: EstimateResult) -> str:
    """Format one frame as OpenPose writes it to a file (version 1.3, COCO model of 18 keypoints)."""
    return _compact(openpose_document(estimate))


def openpose_document(estimate: EstimateResult) -> dict[str, Any]:
    """Return the document that OpenPose writes per frame (version 1.3, COCO model of 18 keypoints)."""
    people = [
        {"person_id": [pose.person or -1], "pose_keypoints_2d": [number for row in _keypoints(pose) for number in row]}
        for pose in estimate
    ]
    return {"version": 1.3, "people": people}


class OpenPoseFolder:
    """Writes one `NAME_%012d_keypoints.json` per frame into a folder, as OpenPose's --write_json does.

    NAME is the stem of the image or video. The number is the index of a frame in its video, and of an image its
    position among all inputs of the run, so that an image that cannot be read does not shift the others.
    """

    def __init__(self, folder: Path, images: Mapping[str, int] | None = None) -> None:
        """Make the folder.

        Args:
            folder: where the files are written.
            images: the position of every single image of the run by its name.

        Raises:
            OutputError: the folder cannot be made.
        """
        atomic.make_folder(folder)
        self.folder = folder
        self._positions = dict(images or {})
        # The position makes images unique; videos all start at 0.
        self._stems = {name: _file_stem(name) for name in self._positions}
        self._written: set[Path] = set()

    def write(self, frame: Frame, estimate: EstimateResult) -> None:
        """Write one frame. Raises OutputError if it cannot be written."""
        number = self._positions.get(frame.source, frame.index)
        path = self.folder / f"{self._stem(frame.source)}_{number:012d}_keypoints.json"
        if path in self._written:  # an input that is named twice
            return
        atomic.write_text(path, openpose_text(estimate) + "\n")
        self._written.add(path)

    def _stem(self, source: str) -> str:
        """The stem of a source, for a video one that no other input of the run has."""
        if source not in self._stems:
            stem = unique = _file_stem(source)
            used, number = set(self._stems.values()), 1
            while unique in used:
                number += 1
                unique = f"{stem}-{number}"
            self._stems[source] = unique
        return self._stems[source]


class CocoImageIds:
    """Gives every frame an `image_id` that no other frame of the run has.

    An image has the trailing number of its stem (COCO_val2014_000000000042.jpg: 42). Images without one and frames of
    videos have running numbers from 1 that no image has. If two images end with the same number, all have running
    numbers and `warning` says so.
    """

    def __init__(self, images: Iterable[str] | None = None) -> None:
        """Number the images.

        Args:
            images: the names of all single images of the run, in order. If None, they are numbered as they come: the
                first with a trailing number gets it, whatever has the same number later a running one.
        """
        self._ahead = images is not None
        names = list(dict.fromkeys(images or ()))
        numbers = {name: number for name in names if (number := _trailing_number(name)) is not None}
        self.warning = ""
        first: dict[int, str] = {}
        for name, number in numbers.items():
            if number in first:
                self.warning = (
                    f"{first[number]} and {name} end with the same number; image_id is a running number, "
                    "file_name says which image it is"
                )
                numbers = {}
                break
            first[number] = name
        self._ids: dict[tuple[str, int], int] = {(name, 0): number for name, number in numbers.items()}
        self._used = set(self._ids.values())
        self._next = 1
        for name in names:
            self(name, 0)

    def __call__(self, source: str, index: int) -> int:
        """The id of one frame."""
        key = source, index
        if key not in self._ids:
            number = None if self._ahead or Path(source).suffix.lower() in VIDEOS else _trailing_number(source)
            if number is not None and number not in self._used:
                self._ids[key] = number
                self._used.add(number)
                return number
            while self._next in self._used:
                self._next += 1
            self._ids[key] = self._next
            self._used.add(self._next)
        return self._ids[key]


def _file_stem(source: str) -> str:
    return Path(source).stem.replace(":", "_")


def _trailing_number(name: str) -> int | None:
    matched = re.search(r"[0-9]+$", Path(name).stem)
    if matched is None or len(matched[0].lstrip("0")) > _MAX_ID_DIGITS:
        return None
    return int(matched[0])


def coco_results(frame: Frame, estimate: EstimateResult, skeleton: Skeleton, image_id: int) -> list[dict[str, Any]]:
    """Format one frame as COCO keypoint results: 17 keypoints per person.

    `file_name` is the source as it was named, `frame` the index of the frame in it.
    """
    return [
        {
            "image_id": image_id,
            "category_id": 1,
            "keypoints": coco_keypoints(pose, skeleton),
            "score": round(pose.score, 5),
            "file_name": frame.source,
            "frame": frame.index,
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


def document(
    kind: Format,
    results: Iterable[tuple[Frame, EstimateResult]],
    skeleton: Skeleton,
    write: Callable[[str], Any],
    image_ids: CocoImageIds | None = None,
) -> None:
    """Write all results as they come: lines, or for `coco` one JSON array that pycocotools loads.

    The array is closed even if `results` raises, so that what was written before can be loaded.
    """
    if kind != "coco":
        line = edgepose_line if kind == "edgepose" else openpose_line
        for frame, estimate in results:
            write(line(frame, estimate) + "\n")
        return
    ids = image_ids or CocoImageIds()
    separator = "[\n"
    try:
        for frame, estimate in results:
            for result in coco_results(frame, estimate, skeleton, ids(frame.source, frame.index)):
                write(separator + _compact(result))
                separator = ",\n"
    finally:
        write("[]\n" if separator == "[\n" else "\n]\n")


def _keypoints(pose: Pose) -> list[list[float]]:
    return [[round(x, 2), round(y, 2), round(score, 4)] for x, y, score in pose.keypoints.tolist()]


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
