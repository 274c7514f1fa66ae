"""Output formats of `edgepose run` (docs/reference/output.md): JSON Lines, JSON of OpenPose, COCO results."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ..errors import InputError
from ..skeleton import COCO18, Skeleton
from ..types import EstimateResult, Frame, Pose
from . import atomic
from .images import VIDEO_SUFFIXES
from .naming import get_device_name
from .redact import mask_credentials

Format = Literal["edgepose", "openpose", "coco"]
FORMAT_VERSION = 2
"""Version of edgepose's JSON Lines; increased if an entry is removed or changes its meaning."""

_MAX_ID_DIGITS = 15
"""Integers with more digits lose precision in some JSON readers."""


def format_edgepose_line(
    frame: Frame,
    estimate: EstimateResult,
    *,
    device: str | None = None,
    captured_at: str | None = None,
    camera: str = "",
) -> str:
    """Format one frame as a JSON line: device, source, time, poses in pixels of the frame, time per stage.

    The name of the skeleton is only in it if it is not coco18.

    Args:
        frame: The frame. Credentials in the address of its source are removed.
        estimate: The poses in the frame.
        device: Display name of the device; default: `naming.get_device_name()`.
        captured_at: Time of the exposure as RFC 3339; default: `format_capture_time` of the frame, None for files.
        camera: Name of the camera; empty if the device has only one.

    Returns:
        The line without a line end.
    """
    height, width = frame.image.shape[:2]
    skeleton = estimate.skeleton
    return _to_compact_json(
        {
            "version": FORMAT_VERSION,
            "device": get_device_name() if device is None else device,
            **({"camera": camera} if camera else {}),
            "source": mask_credentials(frame.source) if "://" in frame.source else frame.source,
            "index": frame.index,
            "time": captured_at or format_capture_time(frame.captured_ns),
            "timestamp_ns": frame.timestamp_ns,
            "width": width,
            "height": height,
            **({} if skeleton.name == COCO18.name else {"skeleton": skeleton.name}),
            "poses": [make_pose_entry(pose) for pose in estimate],
            "timings_ms": {name: round(value, 3) for name, value in estimate.timings_ms._asdict().items()},
        }
    )


def format_capture_time(captured_ns: int) -> str | None:
    """Convert a time of the monotonic clock to wall-clock time.

    The result is the current wall-clock time minus the age of the capture. If the system clock is set while the program
    runs, later results use the new time.

    Args:
        captured_ns: `Frame.captured_ns`; 0 if unknown.

    Returns:
        RFC 3339, UTC, with milliseconds; None if `captured_ns` is 0.
    """
    if captured_ns == 0:
        return None
    milliseconds = (time.time_ns() - (time.monotonic_ns() - captured_ns)) // 1_000_000
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def make_pose_entry(pose: Pose) -> dict[str, Any]:
    """Return a pose as a dictionary for edgepose's JSON lines; `person` is only present with tracking."""
    person = {"person": pose.person} if pose.person else {}
    return {**person, "score": round(pose.score, 4), "keypoints": _round_keypoints(pose)}


def format_openpose_line(frame: Frame, estimate: EstimateResult) -> str:
    """Format one frame as a JSON line for stdout: the OpenPose document plus `source` and `index`."""
    return _to_compact_json({**make_openpose_document(estimate), "source": frame.source, "index": frame.index})


def format_openpose_file(estimate: EstimateResult) -> str:
    """Format one frame as the JSON text of an OpenPose file (version 1.3), with the keypoints of the skeleton."""
    return _to_compact_json(make_openpose_document(estimate))


def make_openpose_document(estimate: EstimateResult) -> dict[str, Any]:
    """Return the OpenPose document of one frame (version 1.3), with the keypoints of the skeleton."""
    people = [
        {
            "person_id": [pose.person or -1],
            "pose_keypoints_2d": [number for row in _round_keypoints(pose) for number in row],
        }
        for pose in estimate
    ]
    return {"version": 1.3, "people": people}


class OpenPoseFolder:
    """Folder with one file `NAME_%012d_keypoints.json` per frame, as written by OpenPose's --write_json.

    NAME is the stem of the image or video. For a video, the number is the index of the frame. For an image, it is the
    position among all inputs of the run, so that an unreadable image does not change the numbers of the others.
    """

    def __init__(self, folder: Path, images: Mapping[str, int] | None = None) -> None:
        """Create the folder.

        Args:
            folder: Where the files are written.
            images: Position of every single image of the run by its name.

        Raises:
            OutputError: The folder cannot be created.
        """
        atomic.make_folder(folder)
        self.folder = folder
        self._positions = dict(images or {})
        # Files of images differ in their position. Videos all start at 0, so each needs a stem of its own.
        self._stems = {name: _make_file_stem(name) for name in self._positions}
        self._written: set[Path] = set()

    def write(self, frame: Frame, estimate: EstimateResult) -> None:
        """Write the file of one frame.

        Raises:
            OutputError: The file cannot be written.
        """
        number = self._positions.get(frame.source, frame.index)
        path = self.folder / f"{self._get_unique_stem(frame.source)}_{number:012d}_keypoints.json"
        if path in self._written:  # The input was given twice.
            return
        atomic.write_text(path, format_openpose_file(estimate) + "\n")
        self._written.add(path)

    def _get_unique_stem(self, source: str) -> str:
        """Return the stem of a source; for a video, one that no other input of the run has."""
        if source not in self._stems:
            stem = unique = _make_file_stem(source)
            used, number = set(self._stems.values()), 1
            while unique in used:
                number += 1
                unique = f"{stem}-{number}"
            self._stems[source] = unique
        return self._stems[source]


class CocoImageIds:
    """Unique COCO `image_id` for every frame of a run.

    The ID of an image is the number at the end of its stem (COCO_val2014_000000000042.jpg: 42). Images without a number
    and frames of videos get consecutive numbers from 1 that are not used by an image. If two images end with the same
    number, all images get consecutive numbers.

    Attributes:
        warning: Message for the user if two images end with the same number; otherwise "".
    """

    def __init__(self, images: Iterable[str] | None = None) -> None:
        """Assign IDs to the images.

        Args:
            images: Names of all single images of the run, in order. If None, images are numbered when they are used:
                the first image with a number gets this number, later ones with the same number get consecutive numbers.
        """
        self._images_known = images is not None
        names = list(dict.fromkeys(images or ()))
        numbers = {name: number for name in names if (number := _parse_trailing_number(name)) is not None}
        self.warning = ""
        first: dict[int, str] = {}
        for name, number in numbers.items():
            if number in first:
                self.warning = (
                    f"{first[number]} and {name} end with the same number; image_id is a consecutive number, "
                    "use file_name to identify the image"
                )
                numbers = {}
                break
            first[number] = name
        self._ids: dict[tuple[str, int], int] = {(name, 0): number for name, number in numbers.items()}
        self._used = set(self._ids.values())
        self._next_id = 1
        for name in names:
            self(name, 0)

    def __call__(self, source: str, index: int) -> int:
        """Return the ID of one frame."""
        key = source, index
        if key not in self._ids:
            number = (
                None
                if self._images_known or Path(source).suffix.lower() in VIDEO_SUFFIXES
                else _parse_trailing_number(source)
            )
            if number is not None and number not in self._used:
                self._ids[key] = number
                self._used.add(number)
                return number
            while self._next_id in self._used:
                self._next_id += 1
            self._ids[key] = self._next_id
            self._used.add(self._next_id)
        return self._ids[key]


def _make_file_stem(source: str) -> str:
    return Path(source).stem.replace(":", "_")


def _parse_trailing_number(name: str) -> int | None:
    matched = re.search(r"[0-9]+$", Path(name).stem)
    if matched is None or len(matched[0].lstrip("0")) > _MAX_ID_DIGITS:
        return None
    return int(matched[0])


def make_coco_results(
    frame: Frame, estimate: EstimateResult, skeleton: Skeleton, image_id: int
) -> list[dict[str, Any]]:
    """Convert the poses of one frame to COCO keypoint results, with 17 keypoints per person.

    Each result also contains `file_name`, the source as it was given, and `frame`, the index of the frame in it.

    Raises:
        InputError: The skeleton does not have COCO's keypoints.
    """
    return [
        {
            "image_id": image_id,
            "category_id": 1,
            "keypoints": make_coco_keypoints(pose, skeleton),
            "score": round(pose.score, 5),
            "file_name": frame.source,
            "frame": frame.index,
        }
        for pose in estimate
    ]


def check_coco_order(skeleton: Skeleton) -> None:
    """Raise InputError if a skeleton does not have COCO's keypoints."""
    if not skeleton.coco_order:
        raise InputError(
            f"COCO results need COCO's 17 keypoints, which the skeleton {skeleton.name} does not have; "
            "use another output format, or a skeleton with coco_order"
        )


def make_coco_keypoints(pose: Pose, skeleton: Skeleton) -> list[float]:
    """Return 17 times x, y, 1 in COCO's order, in pixels of the frame; 0, 0, 0 for a keypoint that was not found.

    Raises:
        InputError: The skeleton does not have COCO's keypoints.
    """
    check_coco_order(skeleton)
    ordered = pose.keypoints[list(skeleton.coco_order)]
    return [
        value
        for x, y, score in ordered.tolist()
        for value in ((round(x, 2), round(y, 2), 1) if score > 0 else (0.0, 0.0, 0))
    ]


def write_results(
    kind: Format,
    results: Iterable[tuple[Frame, EstimateResult]],
    skeleton: Skeleton,
    write: Callable[[str], Any],
    image_ids: CocoImageIds | None = None,
) -> None:
    """Write results one by one: as lines, or for `coco` as one JSON array that pycocotools can load.

    The array is closed even if `results` raises, so that the results before the error can be loaded.

    Args:
        kind: The output format.
        results: Frames and their poses.
        skeleton: Keypoint order of the poses.
        write: Function that writes a text, such as `file.write`.
        image_ids: IDs of the images, for `coco`; if None, images are numbered when they are used.
    """
    if kind != "coco":
        line = format_edgepose_line if kind == "edgepose" else format_openpose_line
        for frame, estimate in results:
            write(line(frame, estimate) + "\n")
        return
    ids = image_ids or CocoImageIds()
    separator = "[\n"
    try:
        for frame, estimate in results:
            for result in make_coco_results(frame, estimate, skeleton, ids(frame.source, frame.index)):
                write(separator + _to_compact_json(result))
                separator = ",\n"
    finally:
        write("[]\n" if separator == "[\n" else "\n]\n")


def _round_keypoints(pose: Pose) -> list[list[float]]:
    return [[round(x, 2), round(y, 2), round(score, 4)] for x, y, score in pose.keypoints.tolist()]


def _to_compact_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
