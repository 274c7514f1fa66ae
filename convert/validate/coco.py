"""COCO keypoint AP, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ...runtime.errors import InputError, MissingExtraError
from ...runtime.io.formats import make_coco_keypoints
from ...runtime.io.images import read_image
from ...runtime.io.messages import iterate_with_progress
from ...runtime.types import Image, Pose
from . import coco_annotations
from .coco_annotations import PERSON_CATEGORY_ID, ImageEntry


@dataclass(frozen=True)
class CocoScore:
    """COCO keypoint metrics, 0 to 1; -1 if no annotated person has the size that a metric is for.

    Attributes:
        images: Number of images that were scored.
        people: Number of annotated people in them, with at least one keypoint.
        ap: Average precision over OKS thresholds 0.5 to 0.95.
        ap50: Average precision at OKS 0.5.
        ap75: Average precision at OKS 0.75.
        ap_medium: AP of people of medium size (COCO's definition).
        ap_large: AP of large people.
        ar: Average recall over OKS thresholds 0.5 to 0.95.
    """

    images: int
    people: int
    ap: float
    ap50: float
    ap75: float
    ap_medium: float
    ap_large: float
    ar: float

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics by their COCO names: AP, AP50, AP75, APm, APl, AR."""
        names = ("AP", "AP50", "AP75", "APm", "APl", "AR")
        return dict(zip(names, (self.ap, self.ap50, self.ap75, self.ap_medium, self.ap_large, self.ar), strict=True))


class CocoDataset:
    """Folder of images with a COCO keypoint annotation file.

    Attributes:
        name: Name of the annotation file without the suffix.
        paths: Image files by the ids of the images.
        notes: What was derived from the annotations or assumed about the files, one sentence each.
        unreadable: Errors of images that could not be read by the last `score`; they are left out of the score.
    """

    def __init__(self, images: Path, annotations: Path, limit: int | None = None) -> None:
        """Read the annotations and find their images.

        Args:
            images: Folder of the images.
            annotations: Annotation file (JSON).
            limit: Use only the first `limit` images; None for all.

        Raises:
            InputError: The file contains no COCO keypoint annotations, or an image that it names is missing or
                ambiguous.
            MissingExtraError: pycocotools is not installed.
        """
        try:
            from pycocotools.coco import COCO
        except ModuleNotFoundError as error:
            raise MissingExtraError("scoring with COCO annotations", "eval", error) from None
        if not images.is_dir():
            raise InputError(f"{images}: not a folder; expected a folder of images")
        found = coco_annotations.read(annotations)
        self._truth: Any = COCO()
        self._truth.dataset = found.dataset
        with contextlib.redirect_stdout(io.StringIO()):
            self._truth.createIndex()
        self.name = annotations.stem
        self._entries = found.images[:limit]
        self.paths, by_name = _find_images(images, self._entries)
        self.notes = (*found.notes, *by_name)
        self.unreadable: list[str] = []

    def score(self, estimate: Callable[[Image], Iterable[Pose]], description: str) -> CocoScore:
        """Compute the AP of an estimator over all images.

        Args:
            estimate: Returns the poses of an image, uint8 (height, width, 3) BGR.
            description: Label of the progress bar.

        Raises:
            InputError: An image has another size than its annotation says, or no image can be read.
        """
        results: list[dict[str, Any]] = []
        scored: list[int] = []
        self.unreadable = []
        for entry in iterate_with_progress(self._entries, description, "image"):
            path = self.paths[entry.id]
            try:
                image = read_image(path)
            except InputError as error:
                self.unreadable.append(str(error))
                continue
            height, width = image.shape[:2]
            if entry.size is not None and entry.size != (width, height):
                raise InputError(
                    f"{path}: the image has {width}x{height} pixels, but its annotation says "
                    f"{entry.size[0]}x{entry.size[1]}; check that --images is the annotated folder"
                )
            scored.append(entry.id)
            for pose in estimate(image):
                keypoints = make_coco_keypoints(pose, pose.skeleton)
                results.append(
                    {
                        "image_id": entry.id,
                        "category_id": PERSON_CATEGORY_ID,
                        "keypoints": keypoints,
                        "score": pose.score,
                    }
                )
        if not scored:
            raise InputError(self.unreadable[0])
        return self._evaluate(results, scored)

    def _evaluate(self, results: list[dict[str, Any]], images: list[int]) -> CocoScore:
        from pycocotools.cocoeval import COCOeval

        annotations = [a for i in images for a in self._truth.imgToAnns[i] if a["num_keypoints"] > 0]
        if not results:
            return CocoScore(len(images), len(annotations), *[0.0] * 6)
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(self._truth, self._truth.loadRes(results), "keypoints")
            evaluation.params.imgIds = images
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        ap, ap50, ap75, medium, large, ar = (float(value) for value in evaluation.stats[:6])
        return CocoScore(len(images), len(annotations), ap, ap50, ap75, medium, large, ar)


def _find_images(folder: Path, entries: Sequence[ImageEntry]) -> tuple[dict[int, Path], list[str]]:
    """Find the files of all images.

    The path in `file_name` is used if it exists in `folder`. Otherwise the only file with the same name anywhere in
    `folder` is used. A file that belongs to another entry, or that two entries would share, is never used.

    Returns:
        File by image id, and notes about files that were found by their names.

    Raises:
        InputError: An image is missing or ambiguous.
    """
    found = {e.id: folder / e.file_name for e in entries if _is_inside(e.file_name)}
    found = {key: path for key, path in found.items() if path.is_file()}
    missing = [entry for entry in entries if entry.id not in found]
    if not missing:
        return found, []
    by_name: dict[str, list[Path]] = {PurePosixPath(entry.file_name).name: [] for entry in missing}
    used = set(found.values())
    for parent, _, names in os.walk(folder):
        for name in by_name.keys() & set(names):
            by_name[name].append(Path(parent) / name)
    absent = [e for e in missing if not set(by_name[PurePosixPath(e.file_name).name]) - used]
    if absent:
        raise InputError(
            f"{folder}: {len(absent)} of {len(entries)} annotated images not found: {absent[0].file_name}; "
            "check --images"
        )
    name_counts = Counter(PurePosixPath(entry.file_name).name for entry in missing)
    for entry in missing:
        name = PurePosixPath(entry.file_name).name
        if name_counts[name] > 1:
            candidates = " and ".join(e.file_name for e in missing if PurePosixPath(e.file_name).name == name)
            raise InputError(
                f"{folder}: {name} is ambiguous: {candidates}; --images must contain the folders of file_name"
            )
        if len(by_name[name]) > 1:
            candidates = " and ".join(str(path.relative_to(folder)) for path in sorted(by_name[name])[:3])
            raise InputError(
                f"{folder}: {entry.file_name} is ambiguous: {candidates}; "
                "--images must contain the folders of file_name"
            )
        found[entry.id] = by_name[name][0]
    return found, [
        f"{len(missing)} images were found by their names, because --images does not contain the folders of file_name"
    ]


def _is_inside(file_name: str) -> bool:
    """Return True if a path is relative and stays inside its folder; C:/ is absolute."""
    parts = PurePosixPath(file_name).parts
    return bool(parts) and ".." not in parts and not file_name.startswith("/") and not parts[0].endswith(":")
