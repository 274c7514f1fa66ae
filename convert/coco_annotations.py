"""Reads COCO keypoint annotations as people write them, and gives them the form that pycocotools needs.

Files from labeling tools and converters leave out `area`, `num_keypoints` or `iscrowd`, use text as ids, number their
categories from 0, or put folders into `file_name`. What can be derived is derived and noted; what cannot is an error.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from edgepose.runtime.errors import InputError

KEYPOINTS = 17
PERSON = 1
"""Id of the category person in what `read` returns."""

_AREA_PER_BOX = 0.53
"""Area of a person's outline as a share of the bounding box, as other datasets estimate it."""
_MAX_BYTES = 2 << 30


@dataclass(frozen=True)
class ImageEntry:
    """An annotated image: `file_name` relative with `/`, width and height in pixels or None where not given."""

    id: int
    file_name: str
    size: tuple[int, int] | None


@dataclass(frozen=True)
class Annotations:
    """Normalized annotations.

    `dataset` is what `pycocotools.coco.COCO.dataset` needs: whole numbers as ids, one category with id `PERSON`,
    `area`, `bbox`, `iscrowd` and `num_keypoints` in every annotation. `notes`: what was derived, a sentence each.
    """

    images: tuple[ImageEntry, ...]
    dataset: dict[str, Any]
    notes: tuple[str, ...]


def read(path: Path) -> Annotations:
    """Read and normalize an annotation file.

    Raises:
        InputError: The file cannot be read, is no COCO annotation file, or contradicts itself.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path}: expected COCO annotations, the file has more than {_MAX_BYTES >> 30} GiB")
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot read the annotations: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected COCO annotations, this is not JSON: {error}") from None
    try:
        return normalize(document)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def normalize(document: object) -> Annotations:
    """Normalize a parsed annotation file. Raises InputError naming what is wrong."""
    if isinstance(document, list):
        raise InputError("expected COCO annotations (an object), this is a list, as detection results are")
    if not isinstance(document, dict):
        raise InputError(f"expected COCO annotations (an object), got {type(document).__name__}")
    missing = [name for name in ("images", "annotations") if not isinstance(document.get(name), list)]
    if missing:
        raise InputError(f"expected COCO annotations with lists images and annotations; no {' and no '.join(missing)}")
    if not document["images"]:
        raise InputError("the annotations name no images")
    images, image_ids = _images(document["images"])
    notes: Counter[str] = Counter()
    chosen = _person_category(document.get("categories"), document["annotations"])
    people = list(_people(document["annotations"], chosen, image_ids, notes))
    if not any(person["num_keypoints"] for person in people):
        raise InputError("no person with keypoints is annotated")
    dataset = {
        "images": [{"id": entry.id, "file_name": entry.file_name} for entry in images],
        "annotations": people,
        "categories": [{"id": PERSON, "name": "person"}],
    }
    return Annotations(tuple(images), dataset, tuple(f"{count} {note}" for note, count in notes.items()))


def _images(entries: list[Any]) -> tuple[list[ImageEntry], dict[str, int]]:
    """The images, and their ids by the text of the ids in the file."""
    numbers = all(isinstance(entry, dict) and _is_whole(entry.get("id")) for entry in entries)
    images, ids = [], {}
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise InputError(f"image {position}: expected an object, got {_shown(entry)}")
        key = _id(entry.get("id"), f"image {position}")
        if key in ids:
            raise InputError(f"two images have the id {_shown(entry['id'])}")
        # pycocotools takes whole numbers only; those of the file are kept where all are.
        ids[key] = int(entry["id"]) if numbers else position + 1
        images.append(ImageEntry(ids[key], _file_name(entry, position), _size(entry)))
    if numbers:
        images.sort(key=lambda image: image.id)
    return images, ids


def _file_name(entry: dict[str, Any], position: int) -> str:
    name = entry.get("file_name")
    if name is None and isinstance(entry.get("coco_url"), str):
        try:
            name = PurePosixPath(urlsplit(entry["coco_url"]).path).name
        except ValueError:
            name = None
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise InputError(f"image {position} (id {_shown(entry.get('id'))}): expected a file_name, got {_shown(name)}")
    return name.replace("\\", "/")


def _size(entry: dict[str, Any]) -> tuple[int, int] | None:
    width: Any = entry.get("width")
    height: Any = entry.get("height")
    if _is_whole(width) and _is_whole(height) and width > 0 and height > 0:
        return int(width), int(height)
    return None


def _person_category(categories: object, annotations: list[Any]) -> str | None:
    """The id, as text, of the category that people have; None where there is only one kind of annotation."""
    if not isinstance(categories, list) or not categories:
        found = {str(entry.get("category_id")) for entry in annotations if isinstance(entry, dict)}
        if len(found) > 1:
            raise InputError(f"no categories, but annotations of {len(found)} categories: which one is person?")
        return None
    entries = [entry for entry in categories if isinstance(entry, dict) and "id" in entry]
    if len(entries) != len(categories):
        raise InputError("categories: expected objects with an id and a name")
    named = [entry for entry in entries if str(entry.get("name", "")).strip().lower() in ("person", "people", "human")]
    lists = [entry for entry in entries if isinstance(entry.get("keypoints"), list)]
    fitting = [entry for entry in lists if len(entry["keypoints"]) == KEYPOINTS]
    for group in (named, fitting, entries):
        if len(group) == 1:
            return _id(group[0]["id"], "a category")
    names = ", ".join(_shown(entry.get("name")) for entry in entries[:8])
    raise InputError(f"categories: expected one that is named person, got {names}")


def _people(
    entries: list[Any], category: str | None, image_ids: dict[str, int], notes: Counter[str]
) -> Iterable[dict[str, Any]]:
    number = 0
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise InputError(f"annotation {position}: expected an object, got {_shown(entry)}")
        name = f"annotation {_shown(entry.get('id', position))}"
        if category is not None and _text(entry.get("category_id")) != category:
            continue
        image = image_ids.get(_id(entry.get("image_id"), f"{name}: image_id"))
        if image is None:
            notes["annotations of images that are not listed were left out"] += 1
            continue
        # Not the file's own ids: they may be text, or 0, which pycocotools takes for "not matched".
        number += 1
        yield {"id": number, "image_id": image, "category_id": PERSON, **_person(entry, name, notes)}


def _person(entry: dict[str, Any], name: str, notes: Counter[str]) -> dict[str, Any]:
    keypoints = entry.get("keypoints")
    if keypoints is None or keypoints == []:
        if _is_whole(entry.get("num_keypoints")) and entry["num_keypoints"] > 0:
            raise InputError(f"{name}: num_keypoints is {entry['num_keypoints']}, but there are no keypoints")
        keypoints = [0] * (3 * KEYPOINTS)
    if isinstance(keypoints, list) and len(keypoints) == KEYPOINTS and isinstance(keypoints[0], list):
        keypoints = [value for point in keypoints for value in (point if isinstance(point, list) else [point])]
    if not isinstance(keypoints, list) or len(keypoints) != 3 * KEYPOINTS:
        count = len(keypoints) if isinstance(keypoints, list) else 0
        raise InputError(f"{name}: expected {KEYPOINTS} keypoints ({3 * KEYPOINTS} numbers), got {count} numbers")
    values = [_number(value, f"{name}: keypoints") for value in keypoints]
    there = [(values[i], values[i + 1]) for i in range(0, len(values), 3) if values[i + 2] > 0]
    visible: Any = entry.get("num_keypoints")
    if not _is_whole(visible) or not 0 <= visible <= KEYPOINTS:
        notes["annotations without num_keypoints: counted from the keypoints"] += 1
        visible = len(there)
    box = _box(entry.get("bbox"), name)
    if box is None:
        notes["annotations without bbox: taken from the keypoints"] += 1
        box = _box_around(there)
    area = entry.get("area")
    if area is None or (area == 0 and there):
        notes["annotations without area: estimated from the outline or the bounding box"] += 1
        area = _outline_area(entry.get("segmentation")) or _AREA_PER_BOX * box[2] * box[3]
    crowd = entry.get("iscrowd", 0)
    return {
        "keypoints": values,
        "num_keypoints": int(visible),
        "bbox": box,
        "area": _number(area, f"{name}: area"),
        "iscrowd": int(bool(crowd)) if isinstance(crowd, int | float | bool) else 0,
    }


def _box(box: object, name: str) -> list[float] | None:
    if box is None or box == []:
        return None
    if not isinstance(box, list) or len(box) != 4:
        raise InputError(f"{name}: expected a bbox of x, y, width and height, got {_shown(box)}")
    return [_number(value, f"{name}: bbox") for value in box]


def _box_around(points: list[tuple[float, float]]) -> list[float]:
    if not points:
        return [0.0, 0.0, 0.0, 0.0]
    columns, rows = zip(*points, strict=True)
    left, top = min(columns), min(rows)
    return [left, top, max(columns) - left, max(rows) - top]


def _outline_area(segmentation: object) -> float:
    """Area of polygons [[x, y, x, y, ...], ...] in square pixels; 0 for other forms."""
    if not isinstance(segmentation, list):
        return 0.0
    total = 0.0
    for polygon in segmentation:
        if not isinstance(polygon, list) or len(polygon) < 6 or not all(map(_is_finite, polygon)):
            return 0.0
        columns, rows = polygon[0::2], polygon[1::2]
        shifted = zip(columns, rows, columns[1:] + columns[:1], rows[1:] + rows[:1], strict=False)
        total += abs(sum(x * next_y - next_x * y for x, y, next_x, next_y in shifted)) / 2
    return total if math.isfinite(total) else 0.0


def _id(value: object, name: str) -> str:
    text = _text(value)
    if text is None:
        raise InputError(f"{name}: expected an id (a number or text), got {_shown(value)}")
    return text


def _text(value: object) -> str | None:
    """An id as text: 7, 7.0 and "7" are the same."""
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        value = int(value)
    return str(value).strip() if isinstance(value, str) or _is_whole(value) else None


def _number(value: object, name: str) -> float:
    if not _is_finite(value):
        raise InputError(f"{name}: expected a number, got {_shown(value)}")
    return float(value)  # type: ignore[arg-type]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 62


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
