"""COCO keypoint AP through pycocotools."""

from __future__ import annotations

import contextlib
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from ...runtime.errors import InputError, MissingExtraError
from ...runtime.io.formats import coco_keypoints
from ...runtime.io.images import read_image
from ...runtime.skeleton import COCO18
from ...runtime.types import Image, Pose
from . import coco_annotations
from .coco_annotations import PERSON, ImageEntry


@dataclass(frozen=True)
class CocoScore:
    """COCO's keypoint figures; -1 where no annotated person has that size."""

    images: int
    people: int
    ap: float
    ap50: float
    ap75: float
    ap_medium: float
    ap_large: float
    ar: float

    @property
    def figures(self) -> dict[str, float]:
        """The figures by the names COCO gives them."""
        names = ("AP", "AP50", "AP75", "APm", "APl", "AR")
        return dict(zip(names, (self.ap, self.ap50, self.ap75, self.ap_medium, self.ap_large, self.ar), strict=True))


class CocoDataset:
    """A folder of images and the annotation file that belongs to it."""

    def __init__(self, images: Path, annotations: Path, limit: int | None = None) -> None:
        """Read the annotations and find their images.

        Raises:
            InputError: The file is no COCO keypoint annotation, or an image that it names is missing or ambiguous.
        """
        try:
            from pycocotools.coco import COCO
        except ModuleNotFoundError as error:
            raise MissingExtraError("scoring with COCO annotations", "eval", error) from None
        if not images.is_dir():
            raise InputError(f"{images}: expected a folder of images")
        found = coco_annotations.read(annotations)
        self._truth: Any = COCO()
        self._truth.dataset = found.dataset
        with contextlib.redirect_stdout(io.StringIO()):
            self._truth.createIndex()
        self.name = annotations.stem
        self._entries = found.images[:limit]
        self.paths, by_name = _find_images(images, self._entries)
        self.notes = (*found.notes, *by_name)
        """What was derived from the annotations, or guessed about the files; a sentence each."""
        self.unreadable: list[str] = []
        """Images that could not be read, and why; they are left out of the score."""

    def score(self, estimate: Callable[[Image], Iterable[Pose]], description: str) -> CocoScore:
        """Compute the AP of an estimator over all images.

        Raises:
            InputError: An image is not the one that was annotated (another size), or none can be read.
        """
        results: list[dict[str, Any]] = []
        scored: list[int] = []
        self.unreadable = []
        for entry in tqdm(self._entries, desc=description, unit="image", disable=None):
            path = self.paths[entry.id]
            try:
                image = read_image(path)
            except InputError as error:
                self.unreadable.append(str(error))
                continue
            height, width = image.shape[:2]
            if entry.size is not None and entry.size != (width, height):
                raise InputError(
                    f"{path}: expected the annotated image of {entry.size[0]}x{entry.size[1]} pixels, "
                    f"this one has {width}x{height}; check --images"
                )
            scored.append(entry.id)
            for pose in estimate(image):
                keypoints = coco_keypoints(pose, COCO18)
                results.append(
                    {"image_id": entry.id, "category_id": PERSON, "keypoints": keypoints, "score": pose.score}
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
    """Return the file of every image id, and notes on how they were found.

    `file_name` is taken as it is under `folder`. If there is no such file, it is the only file anywhere in `folder`
    that has the same name. A file that another entry names, or that two entries would share, is never taken.

    Raises:
        InputError: An image is missing, or several files may be meant.
    """
    found = {e.id: folder / e.file_name for e in entries if _is_inside(e.file_name)}
    found = {key: path for key, path in found.items() if path.is_file()}
    lost = [entry for entry in entries if entry.id not in found]
    if not lost:
        return found, []
    by_name: dict[str, list[Path]] = {PurePosixPath(entry.file_name).name: [] for entry in lost}
    taken = set(found.values())
    for parent, _, names in os.walk(folder):
        for name in by_name.keys() & set(names):
            by_name[name].append(Path(parent) / name)
    absent = [e for e in lost if not set(by_name[PurePosixPath(e.file_name).name]) - taken]
    if absent:
        raise InputError(
            f"{folder}: {len(absent)} of {len(entries)} annotated images are not here: {absent[0].file_name}"
        )
    users = Counter(PurePosixPath(entry.file_name).name for entry in lost)
    for entry in lost:
        name = PurePosixPath(entry.file_name).name
        if users[name] > 1:
            several = " and ".join(e.file_name for e in lost if PurePosixPath(e.file_name).name == name)
            raise InputError(f"{folder}: {name} may be {several}; --images must hold the folders of file_name")
        if len(by_name[name]) > 1:
            several = " and ".join(str(path.relative_to(folder)) for path in sorted(by_name[name])[:3])
            raise InputError(
                f"{folder}: {entry.file_name} may be {several}; --images must hold the folders of file_name"
            )
        found[entry.id] = by_name[name][0]
    return found, [f"{len(lost)} images were found by their names; the folders of file_name are not here"]


def _is_inside(file_name: str) -> bool:
    """Whether a path is relative and stays inside its folder; C:/ is absolute."""
    parts = PurePosixPath(file_name).parts
    return bool(parts) and ".." not in parts and not file_name.startswith("/") and not parts[0].endswith(":")
