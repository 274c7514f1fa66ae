"""COCO keypoint AP through pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from edgepose.runtime.errors import InputError, MissingExtraError
from edgepose.runtime.formats import coco_keypoints
from edgepose.runtime.images import read_picture
from edgepose.runtime.skeleton import COCO18
from edgepose.runtime.types import Image, Pose

from . import coco_annotations
from .coco_annotations import PERSON, ImageEntry


@dataclass(frozen=True)
class CocoScore:
    """COCO's keypoint figures; -1 where the images hold nobody of that size."""

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
                image = read_picture(path)
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
    """The file of every image id, and what is to be said of it.

    `file_name` is taken as it is under `folder`. Where no file has its folders, as with `val2017/1.jpg` in the folder
    val2017, images are taken by their name alone, if all names differ.
    """
    whole = {entry.id: folder / entry.file_name for entry in entries}
    there = {key: path for key, path in whole.items() if path.is_file()}
    if len(there) == len(whole):
        return whole, []
    names = Counter(PurePosixPath(entry.file_name).name for entry in entries)
    by_name = {entry.id: folder / PurePosixPath(entry.file_name).name for entry in entries}
    lost = [entry.file_name for entry in entries if entry.id not in there]
    with_folder = [name for name in lost if "/" in name]
    if not there and with_folder and all(path.is_file() for path in by_name.values()):
        twice = next((name for name, count in names.items() if count > 1), None)
        if twice is not None:
            several = " and ".join(e.file_name for e in entries if PurePosixPath(e.file_name).name == twice)
            raise InputError(f"{folder}: {twice} may be {several}; --images must hold the folders of file_name")
        return by_name, [f"{len(by_name)} images were found by their names; file_name has folders that are not here"]
    raise InputError(f"{folder}: {len(lost)} of {len(whole)} annotated images are not here: {lost[0]}")
