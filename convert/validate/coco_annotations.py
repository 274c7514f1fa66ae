"""Reads COCO keypoint annotations as people write them, and gives them the form that pycocotools needs.

Files from labeling tools and converters leave out `area`, `num_keypoints` or `iscrowd`, use text as ids, number their
categories from 0, or put folders into `file_name`. What can be derived is derived and noted; what cannot is an error.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from ...runtime.errors import InputError
from ...runtime.io import file_kind
from ...runtime.io.read_file import read_bytes

KEYPOINT_NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
"""COCO's keypoints in COCO's order."""
KEYPOINTS = len(KEYPOINT_NAMES)
PERSON = 1
"""Id of the category person in what `read` returns."""

_AREA_PER_BOX = 0.53
"""Area of a person's outline as a share of the bounding box, as other datasets estimate it."""
_MAX_BYTES = 2 << 30
_PERSON_NAMES = ("person", "people", "human", "persons", "pedestrian")


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
        document = json.loads(read_bytes(path, _MAX_BYTES))
    except OSError as error:
        raise InputError(f"{path}: cannot read the annotations: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected COCO annotations, {_describe_damage(path, error)}") from None
    try:
        return normalize(document)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _describe_damage(path: Path, error: Exception) -> str:
    """Say why a file is not JSON: it is something else, or it is incomplete."""
    found = file_kind.describe(path)
    if found is None or found.startswith(("a text file", "a JSON document")):
        return f"this is not JSON: {error}"
    return f"this is {found}"


def normalize(document: object) -> Annotations:
    """Normalize a parsed annotation file. Raises InputError naming what is wrong."""
    if isinstance(document, list):
        raise InputError(
            "expected COCO annotations (an object), this is a list, as detection results are; "
            "give the ground truth, such as person_keypoints_val2017.json"
        )
    if not isinstance(document, dict):
        raise InputError(f"expected COCO annotations (an object), got {type(document).__name__}")
    missing = [name for name in ("images", "annotations") if not isinstance(document.get(name), list)]
    if missing:
        raise InputError(f"expected COCO annotations with lists images and annotations; no {' and no '.join(missing)}")
    if not document["images"]:
        raise InputError("the annotations name no images")
    notes: Counter[str] = Counter()
    images, image_ids = _images(document["images"])
    annotations = _without_copies(document["annotations"], notes)
    category = _person_category(document.get("categories"), annotations, notes)
    people = list(_people(annotations, category, image_ids, notes))
    if not any(person["num_keypoints"] for person in people):
        raise InputError(_explain_missing_people(annotations, category, image_ids))
    _check_pixels(people)
    dataset = {
        "images": [{"id": entry.id, "file_name": entry.file_name} for entry in images],
        "annotations": people,
        "categories": [{"id": PERSON, "name": "person"}],
    }
    return Annotations(tuple(images), dataset, tuple(f"{count} {note}" for note, count in notes.items()))


def _images(entries: list[Any]) -> tuple[list[ImageEntry], dict[str, int]]:
    """The images, and their ids by the text of the ids in the file."""
    numbers = all(isinstance(entry, dict) and _is_whole(entry.get("id")) for entry in entries)
    images: dict[str, ImageEntry] = {}
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise InputError(f"image {position}: expected an object, got {_shown(entry)}")
        key = _id(entry.get("id"), f"image {position}")
        # pycocotools takes whole numbers only; those of the file are kept if all are.
        number = int(entry["id"]) if numbers else position + 1
        image = ImageEntry(number, _file_name(entry, position), _size(entry))
        if key in images:
            names = f"{images[key].file_name} and {image.file_name}"
            raise InputError(f"two images have the id {_shown(entry['id'])}: {_shown(names)}")
        images[key] = image
    found = sorted(images.values(), key=lambda image: image.id) if numbers else list(images.values())
    return found, {key: image.id for key, image in images.items()}


def _file_name(entry: dict[str, Any], position: int) -> str:
    name = entry.get("file_name")
    if name is None and isinstance(entry.get("coco_url"), str):
        try:
            name = PurePosixPath(unquote(urlsplit(entry["coco_url"]).path)).name
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


@dataclass(frozen=True)
class _Category:
    """The category of people: its ids as text, None if every annotation is a person.

    `order[i]` is where COCO's keypoint i is in the file's keypoints.
    """

    ids: frozenset[str] | None
    order: tuple[int, ...]

    def has(self, annotation: dict[str, Any]) -> bool:
        return self.ids is None or _text(annotation.get("category_id")) in self.ids


_COCO_ORDER = tuple(range(KEYPOINTS))


def _without_copies(entries: list[Any], notes: Counter[str]) -> list[Any]:
    """The annotations without those that are listed twice with the same id, image and keypoints."""
    found, seen = [], set()
    for entry in entries:
        if isinstance(entry, dict) and entry.get("id") is not None and entry.get("keypoints"):
            content = repr([entry.get(key) for key in ("id", "image_id", "category_id", "keypoints")])
            if content in seen:
                notes["annotations are listed more than once: the copies were left out"] += 1
                continue
            seen.add(content)
        found.append(entry)
    return found


def _person_category(categories: object, annotations: list[Any], notes: Counter[str]) -> _Category:
    """The category of people. Raises InputError if it cannot be told."""
    used = {_text(a.get("category_id")) for a in annotations if isinstance(a, dict) and a.get("keypoints")}
    if not isinstance(categories, list) or not categories:
        everything = {str(entry.get("category_id")) for entry in annotations if isinstance(entry, dict)}
        if len(used) > 1 or (not used and len(everything) > 1):
            raise InputError(
                f"no categories, but annotations of {len(used or everything)} categories: which is person?"
            )
        return _Category(frozenset(key for key in used if key is not None) or None, _COCO_ORDER)
    entries = [entry for entry in categories if isinstance(entry, dict) and "id" in entry]
    if len(entries) != len(categories):
        raise InputError("categories: expected objects with an id and a name")
    chosen = _choose_category(entries)
    ids = frozenset(_id(entry["id"], "a category") for entry in chosen)
    listed = {_text(entry["id"]) for entry in entries}
    if used and not used & listed and len(used) == 1:
        (other,) = used
        if other is None:
            notes["annotations without category_id: taken as person"] += len(annotations)
            return _Category(None, _order(chosen[0]))
        count = sum(isinstance(a, dict) and _text(a.get("category_id")) == other for a in annotations)
        notes[f"annotations have the category_id {_shown(other)}, which is not listed: taken as person"] += count
        ids = frozenset((other,))
    orders = {_order(entry) for entry in chosen}
    if len(orders) > 1:
        raise InputError("categories: those that are named person have different orders of keypoints")
    (order,) = orders
    if order != _COCO_ORDER:
        notes["keypoints are in another order than COCO's: sorted by the names in categories"] += KEYPOINTS
    return _Category(ids, order)


def _choose_category(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    named = [entry for entry in entries if str(entry.get("name", "")).strip().lower() in _PERSON_NAMES]
    if named:
        return named
    lists = [entry for entry in entries if len(_names(entry)) == KEYPOINTS]
    for group in (lists, entries):
        if len(group) == 1:
            return group
    names = ", ".join(_shown(entry.get("name")) for entry in entries[:8])
    raise InputError(f"categories: expected one that is named person, got {names}")


def _names(category: dict[str, Any]) -> list[Any]:
    names = category.get("keypoints")
    return names if isinstance(names, list) else []


def _order(category: dict[str, Any]) -> tuple[int, ...]:
    """Where COCO's keypoints are in the file's; COCO's order if the names are none or others."""
    names = ["_".join(re.findall("[a-z]+", str(name).lower())) for name in _names(category)]
    if len(names) == KEYPOINTS and set(names) == set(KEYPOINT_NAMES):
        return tuple(names.index(name) for name in KEYPOINT_NAMES)
    return _COCO_ORDER


def _explain_missing_people(annotations: list[Any], category: _Category, image_ids: dict[str, int]) -> str:
    """Why no person is left, as a message."""
    entries = [entry for entry in annotations if isinstance(entry, dict) and entry.get("keypoints")]
    if entries and not any(category.has(entry) for entry in entries):
        other = ", ".join(sorted({_shown(entry.get("category_id")) for entry in entries})[:4])
        return f"no person with keypoints is annotated; annotations with keypoints have the category_id {other}"
    lost = [entry for entry in entries if category.has(entry) and _text(entry.get("image_id")) not in image_ids]
    if lost:
        ids = f"image_id {_shown(lost[0].get('image_id'))}, listed is {_shown(next(iter(image_ids)))}"
        return f"no annotation belongs to a listed image: {ids}"
    return "no person with keypoints is annotated; give annotations of keypoints, such as person_keypoints_val2017.json"


def _check_pixels(people: list[dict[str, Any]]) -> None:
    """Raise InputError for coordinates from 0 to 1, which would score 0."""
    values = [(p["keypoints"][i], p["keypoints"][i + 1]) for p in people for i in range(0, 3 * KEYPOINTS, 3)]
    largest = max((abs(value) for point in values for value in point), default=0.0)
    if 0 < largest <= 1:
        raise InputError(f"expected keypoints in pixels, all are from 0 to 1 (the largest is {largest:g})")


def _people(
    entries: list[Any], category: _Category, image_ids: dict[str, int], notes: Counter[str]
) -> Iterable[dict[str, Any]]:
    number = 0
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise InputError(f"annotation {position}: expected an object, got {_shown(entry)}")
        name = f"annotation {_shown(entry.get('id', position))}"
        if not category.has(entry):
            continue
        image = image_ids.get(_id(entry.get("image_id"), f"{name}: image_id"))
        if image is None:
            notes["annotations of images that are not listed were left out"] += 1
            continue
        # Not the file's own ids: they may be text, or 0, which pycocotools takes for "not matched".
        number += 1
        person = _person(entry, name, category.order, notes)
        yield {"id": number, "image_id": image, "category_id": PERSON, **person}


def _person(entry: dict[str, Any], name: str, order: tuple[int, ...], notes: Counter[str]) -> dict[str, Any]:
    given: Any = entry.get("num_keypoints")
    if entry.get("keypoints") in (None, []) and _is_whole(given) and given > 0:
        raise InputError(f"{name}: num_keypoints is {given}, but there are no keypoints")
    values = _keypoints(entry.get("keypoints"), name, order)
    visible = [(values[i], values[i + 1]) for i in range(0, len(values), 3) if values[i + 2] > 0]
    if given is None:
        notes["annotations without num_keypoints: counted from the keypoints"] += 1
    elif not (_is_finite(given) and given == len(visible)):
        notes["annotations with another num_keypoints than their keypoints: counted from the keypoints"] += 1
    box = _box(entry.get("bbox"), name)
    if box is None or (visible and (box[2] <= 0 or box[3] <= 0)):
        notes["annotations without bbox: taken from the keypoints"] += 1
        box = _box_around(visible)
    area: Any = entry.get("area")
    if area is None or (visible and _number(area, f"{name}: area") <= 0):
        notes["annotations without area: estimated from the outline or the bounding box"] += 1
        area = _outline_area(entry.get("segmentation")) or _AREA_PER_BOX * box[2] * box[3]
    area = _number(area, f"{name}: area")
    crowd = entry.get("iscrowd", 0)
    return {
        "keypoints": values,
        "num_keypoints": len(visible),
        "bbox": box,
        # One visible keypoint has a box without area, and a scale of 0 overflows.
        "area": max(1.0, area) if visible else max(0.0, area),
        "iscrowd": int(bool(crowd)) if isinstance(crowd, int | float | bool) else int(crowd in ("1", "true")),
    }


def _keypoints(keypoints: object, name: str, order: tuple[int, ...]) -> list[float]:
    """51 numbers in COCO's order; zeros if there are no keypoints."""
    if keypoints is None or keypoints == []:
        return [0.0] * (3 * KEYPOINTS)
    if isinstance(keypoints, list) and len(keypoints) == KEYPOINTS and isinstance(keypoints[0], list):
        keypoints = [value for point in keypoints for value in (point if isinstance(point, list) else [point])]
    if not isinstance(keypoints, list) or len(keypoints) != 3 * KEYPOINTS:
        got = f"{len(keypoints)} numbers" if isinstance(keypoints, list) else _shown(keypoints)
        raise InputError(f"{name}: expected {KEYPOINTS} keypoints ({3 * KEYPOINTS} numbers), got {got}")
    for index in range(2, len(keypoints), 3):
        if isinstance(keypoints[index], bool):  # some tools write visibility as true or false
            keypoints = [*keypoints[:index], 2 * keypoints[index], *keypoints[index + 1 :]]
    values = [_number(value, f"{name}: keypoints") for value in keypoints]
    return [value for i in order for value in values[3 * i : 3 * i + 3]]


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
