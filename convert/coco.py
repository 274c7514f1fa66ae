"""COCO keypoint AP through pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from edgepose.runtime.errors import InputError, MissingExtraError
from edgepose.runtime.formats import coco_keypoints
from edgepose.runtime.images import read_picture
from edgepose.runtime.skeleton import COCO18
from edgepose.runtime.types import Image, Pose


@dataclass(frozen=True)
class CocoScore:
    """COCO's keypoint figures; -1 where the pictures hold nobody of that size."""

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
    """A folder of pictures and the annotation file that belongs to it."""

    def __init__(self, images: Path, annotations: Path, limit: int | None = None) -> None:
        """Raises InputError where the file is no COCO keypoint annotation, or a picture it names is missing."""
        try:
            from pycocotools.coco import COCO
        except ModuleNotFoundError as error:
            raise MissingExtraError("scoring with COCO annotations", "eval", error) from None
        if not images.is_dir():
            raise InputError(f"{images}: expected a folder of pictures")
        self._truth: Any = COCO()
        self._truth.dataset = _read(annotations)
        with contextlib.redirect_stdout(io.StringIO()):
            self._truth.createIndex()
        self.name = annotations.stem
        entries = sorted(self._truth.dataset["images"], key=lambda entry: entry["id"])[:limit]
        self.paths = {int(entry["id"]): images / Path(entry["file_name"]).name for entry in entries}
        missing = [path.name for path in self.paths.values() if not path.is_file()]
        if missing:
            raise InputError(
                f"{images}: {len(missing)} of {len(self.paths)} annotated pictures are not here: {missing[0]}"
            )

    def score(self, estimate: Callable[[Image], Iterable[Pose]], description: str) -> CocoScore:
        """AP of an estimator over all pictures."""
        results: list[dict[str, Any]] = []
        for image_id, path in tqdm(self.paths.items(), desc=description, unit="picture", disable=None):
            for pose in estimate(read_picture(path)):
                keypoints = coco_keypoints(pose, COCO18)
                results.append({"image_id": image_id, "category_id": 1, "keypoints": keypoints, "score": pose.score})
        return self._evaluate(results)

    def _evaluate(self, results: list[dict[str, Any]]) -> CocoScore:
        from pycocotools.cocoeval import COCOeval

        annotations = [a for i in self.paths for a in self._truth.imgToAnns[i] if a.get("num_keypoints", 0) > 0]
        if not results:
            return CocoScore(len(self.paths), len(annotations), *[0.0] * 6)
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(self._truth, self._truth.loadRes(results), "keypoints")
            evaluation.params.imgIds = list(self.paths)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        ap, ap50, ap75, medium, large, ar = (float(value) for value in evaluation.stats[:6])
        return CocoScore(len(self.paths), len(annotations), ap, ap50, ap75, medium, large, ar)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot read the annotations: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected COCO annotations, this is not JSON: {error}") from None
    if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= content.keys():
        raise InputError(f"{path}: expected COCO annotations with images, annotations and categories")
    try:
        if not content["images"]:
            raise InputError(f"{path}: the annotations name no pictures")
        for entry in content["images"]:
            int(entry["id"]), str(entry["file_name"])
        for entry in content["annotations"]:
            if entry["category_id"] == 1 and len(entry["keypoints"]) != 51:
                raise InputError(f"{path}: annotation {entry.get('id')} does not have 17 keypoints")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged COCO annotations: {type(error).__name__}: {error}") from None
    return content
