"""COCO keypoint annotations: reading and normalization to the form that pycocotools needs.

Files from labeling tools and converters often have no `area`, `num_keypoints` or `iscrowd`, use text as ids, number
their categories from 0, or have folders in `file_name`. Missing values are derived and noted if that is possible;
otherwise the file is rejected with an error.
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
"""Keypoints of COCO in COCO's order."""
KEYPOINT_COUNT = len(KEYPOINT_NAMES)
PERSON_CATEGORY_ID = 1
"""Id of the category person in normalized annotations."""

_AREA_PER_BOX = 0.53
"""Typical area of a person's outline as a share of the bounding box; other datasets use the same estimate."""
_MAX_BYTES = 2 << 30
_PERSON_CATEGORY_NAMES = ("person", "people", "human", "persons", "pedestrian")


@dataclass(frozen=True)
class ImageEntry:
    """Annotated image.

    Attributes:
        id: Id in the normalized annotations.
        file_name: Relative path with `/`.
        size: Width and height in pixels, None if the file does not contain them.
    """

    id: int
    file_name: str
    size: tuple[int, int] | None


@dataclass(frozen=True)
class Annotations:
    """Normalized annotations.

    Attributes:
        images: Annotated images.
        dataset: Document for `pycocotools.coco.COCO.dataset`: integer ids, one category with the id
            `PERSON_CATEGORY_ID`, and `area`, `bbox`, `iscrowd` and `num_keypoints` in every annotation.
        notes: What was derived or ignored, one sentence each.
    """

    images: tuple[ImageEntry, ...]
    dataset: dict[str, Any]
    notes: tuple[str, ...]


def read(path: Path) -> Annotations:
    """Read and normalize an annotation file.

    Raises:
        InputError: The file cannot be read, contains no COCO annotations, or contradicts itself.
    """
    try:
        document = json.loads(read_bytes(path, _MAX_BYTES))
    except OSError as error:
        raise InputError(f"{path}: cannot read the annotations: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected COCO annotations, got {_describe_damage(path, error)}") from None
    try:
        return normalize(document)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _describe_damage(path: Path, error: Exception) -> str:
    """Describe a file that is not JSON: its actual format, or where the JSON is damaged."""
    found = file_kind.describe(path)
    if found is None or found.startswith(("a text file", "a JSON document")):
        return f"a file that is not JSON: {error}"
    return found


def normalize(document: object) -> Annotations:
    """Normalize a parsed annotation file.

    Raises:
        InputError: The document contains no usable COCO keypoint annotations.
    """
    if isinstance(document, list):
        raise InputError(
            "expected COCO annotations (a JSON object), got a list, which is the format of detection results; "
            "use a file with the ground truth, such as person_keypoints_val2017.json"
        )
    if not isinstance(document, dict):
        raise InputError(f"expected COCO annotations (a JSON object), got {type(document).__name__}")
    missing = [name for name in ("images", "annotations") if not isinstance(document.get(name), list)]
    if missing:
        raise InputError(
            f'expected COCO annotations with the lists "images" and "annotations"; missing: {", ".join(missing)}'
        )
    if not document["images"]:
        raise InputError('the list "images" of the annotations is empty')
    notes: Counter[str] = Counter()
    images, image_ids = _normalize_images(document["images"])
    annotations = _remove_duplicates(document["annotations"], notes)
    category = _find_person_category(document.get("categories"), annotations, notes)
    people = list(_normalize_people(annotations, category, image_ids, notes))
    if not any(person["num_keypoints"] for person in people):
        raise InputError(_explain_missing_people(annotations, category, image_ids))
    _check_pixels(people)
    dataset = {
        "images": [{"id": entry.id, "file_name": entry.file_name} for entry in images],
        "annotations": people,
        "categories": [{"id": PERSON_CATEGORY_ID, "name": "person"}],
    }
    return Annotations(tuple(images), dataset, tuple(f"{count} {note}" for note, count in notes.items()))


def _normalize_images(entries: list[Any]) -> tuple[list[ImageEntry], dict[str, int]]:
    """Return the images, and their ids by the text of the ids in the file."""
    has_integer_ids = all(isinstance(entry, dict) and _is_integer(entry.get("id")) for entry in entries)
    images: dict[str, ImageEntry] = {}
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise InputError(f"image {position}: expected an object, got {_format_value(entry)}")
        key = _parse_id(entry.get("id"), f"image {position}")
        # pycocotools only allows integers: the ids of the file are kept if all of them are integers.
        number = int(entry["id"]) if has_integer_ids else position + 1
        image = ImageEntry(number, _get_file_name(entry, position), _get_size(entry))
        if key in images:
            names = f"{images[key].file_name} and {image.file_name}"
            raise InputError(f"two images have the id {_format_value(entry['id'])}: {_format_value(names)}")
        images[key] = image
    found = sorted(images.values(), key=lambda image: image.id) if has_integer_ids else list(images.values())
    return found, {key: image.id for key, image in images.items()}


def _get_file_name(entry: dict[str, Any], position: int) -> str:
    name = entry.get("file_name")
    if name is None and isinstance(entry.get("coco_url"), str):
        try:
            name = PurePosixPath(unquote(urlsplit(entry["coco_url"]).path)).name
        except ValueError:
            name = None
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise InputError(
            f"image {position} (id {_format_value(entry.get('id'))}): expected a file_name, got {_format_value(name)}"
        )
    return name.replace("\\", "/")


def _get_size(entry: dict[str, Any]) -> tuple[int, int] | None:
    width: Any = entry.get("width")
    height: Any = entry.get("height")
    if _is_integer(width) and _is_integer(height) and width > 0 and height > 0:
        return int(width), int(height)
    return None


@dataclass(frozen=True)
class _Category:
    """Category of people in the file.

    Attributes:
        ids: Its ids as text; None if every annotation is a person.
        order: Position of each COCO keypoint in the keypoints of the file.
    """

    ids: frozenset[str] | None
    order: tuple[int, ...]

    def contains(self, annotation: dict[str, Any]) -> bool:
        return self.ids is None or _convert_id_to_text(annotation.get("category_id")) in self.ids


_COCO_ORDER = tuple(range(KEYPOINT_COUNT))


def _remove_duplicates(entries: list[Any], notes: Counter[str]) -> list[Any]:
    """Remove annotations that are listed again with the same id, image, category and keypoints."""
    unique, seen = [], set()
    for entry in entries:
        if isinstance(entry, dict) and entry.get("id") is not None and entry.get("keypoints"):
            content = repr([entry.get(key) for key in ("id", "image_id", "category_id", "keypoints")])
            if content in seen:
                notes["annotations are listed more than once: duplicates were ignored"] += 1
                continue
            seen.add(content)
        unique.append(entry)
    return unique


def _find_person_category(categories: object, annotations: list[Any], notes: Counter[str]) -> _Category:
    """Find the category of people. Raises InputError if it is not clear."""
    used = {
        _convert_id_to_text(a.get("category_id")) for a in annotations if isinstance(a, dict) and a.get("keypoints")
    }
    if not isinstance(categories, list) or not categories:
        all_ids = {str(entry.get("category_id")) for entry in annotations if isinstance(entry, dict)}
        if len(used) > 1 or (not used and len(all_ids) > 1):
            raise InputError(
                f"categories are missing, but the annotations have {len(used or all_ids)} different category_id; "
                "add categories with the name person"
            )
        return _Category(frozenset(key for key in used if key is not None) or None, _COCO_ORDER)
    entries = [entry for entry in categories if isinstance(entry, dict) and "id" in entry]
    if len(entries) != len(categories):
        raise InputError("categories: expected objects with an id and a name")
    chosen = _choose_category(entries)
    ids = frozenset(_parse_id(entry["id"], "a category") for entry in chosen)
    listed_ids = {_convert_id_to_text(entry["id"]) for entry in entries}
    if used and not used & listed_ids and len(used) == 1:
        (other,) = used
        if other is None:
            notes["annotations without category_id: treated as person"] += len(annotations)
            return _Category(None, _find_keypoint_order(chosen[0]))
        count = sum(isinstance(a, dict) and _convert_id_to_text(a.get("category_id")) == other for a in annotations)
        notes[f"annotations have the category_id {_format_value(other)}, which is not listed: treated as person"] += (
            count
        )
        ids = frozenset((other,))
    orders = {_find_keypoint_order(entry) for entry in chosen}
    if len(orders) > 1:
        raise InputError(
            "categories: several categories of people, with different orders of keypoints; use the same order"
        )
    (order,) = orders
    if order != _COCO_ORDER:
        notes["keypoints have another order than COCO's: sorted by the names in categories"] += KEYPOINT_COUNT
    return _Category(ids, order)


def _choose_category(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    named = [entry for entry in entries if str(entry.get("name", "")).strip().lower() in _PERSON_CATEGORY_NAMES]
    if named:
        return named
    with_keypoints = [entry for entry in entries if len(_get_keypoint_names(entry)) == KEYPOINT_COUNT]
    for group in (with_keypoints, entries):
        if len(group) == 1:
            return group
    names = ", ".join(_format_value(entry.get("name")) for entry in entries[:8])
    raise InputError(f"categories: expected one that is named person, got {names}")


def _get_keypoint_names(category: dict[str, Any]) -> list[Any]:
    names = category.get("keypoints")
    return names if isinstance(names, list) else []


def _find_keypoint_order(category: dict[str, Any]) -> tuple[int, ...]:
    """Find the position of each COCO keypoint in the file; COCO's order if names are missing or unknown."""
    names = ["_".join(re.findall("[a-z]+", str(name).lower())) for name in _get_keypoint_names(category)]
    if len(names) == KEYPOINT_COUNT and set(names) == set(KEYPOINT_NAMES):
        return tuple(names.index(name) for name in KEYPOINT_NAMES)
    return _COCO_ORDER


def _explain_missing_people(annotations: list[Any], category: _Category, image_ids: dict[str, int]) -> str:
    """Explain in a message why no annotation of a person is left."""
    entries = [entry for entry in annotations if isinstance(entry, dict) and entry.get("keypoints")]
    if entries and not any(category.contains(entry) for entry in entries):
        other = ", ".join(sorted({_format_value(entry.get("category_id")) for entry in entries})[:4])
        return f"no person with keypoints is annotated; annotations with keypoints have the category_id {other}"
    unlisted = [
        entry
        for entry in entries
        if category.contains(entry) and _convert_id_to_text(entry.get("image_id")) not in image_ids
    ]
    if unlisted:
        image_id, example = _format_value(unlisted[0].get("image_id")), _format_value(next(iter(image_ids)))
        return (
            f"no annotation belongs to a listed image: image_id {image_id} is not the id of an image, such as {example}"
        )
    return "no person with keypoints is annotated; use keypoint annotations, such as person_keypoints_val2017.json"


def _check_pixels(people: list[dict[str, Any]]) -> None:
    """Raise InputError if the coordinates are relative (0 to 1): the score of any model would be 0."""
    values = [(p["keypoints"][i], p["keypoints"][i + 1]) for p in people for i in range(0, 3 * KEYPOINT_COUNT, 3)]
    largest = max((abs(value) for point in values for value in point), default=0.0)
    if 0 < largest <= 1:
        raise InputError(
            f"expected keypoints in pixels, got relative coordinates from 0 to 1 (the largest is {largest:g})"
        )


def _normalize_people(
    entries: list[Any], category: _Category, image_ids: dict[str, int], notes: Counter[str]
) -> Iterable[dict[str, Any]]:
    number = 0
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise InputError(f"annotation {position}: expected an object, got {_format_value(entry)}")
        name = f"annotation {_format_value(entry.get('id', position))}"
        if not category.contains(entry):
            continue
        image = image_ids.get(_parse_id(entry.get("image_id"), f"{name}: image_id"))
        if image is None:
            notes["annotations of images that are not listed were ignored"] += 1
            continue
        # The ids of the file are not used: they can be text, or 0, which means "not matched" in pycocotools.
        number += 1
        person = _normalize_person(entry, name, category.order, notes)
        yield {"id": number, "image_id": image, "category_id": PERSON_CATEGORY_ID, **person}


def _normalize_person(entry: dict[str, Any], name: str, order: tuple[int, ...], notes: Counter[str]) -> dict[str, Any]:
    given_count: Any = entry.get("num_keypoints")
    if entry.get("keypoints") in (None, []) and _is_integer(given_count) and given_count > 0:
        raise InputError(f"{name}: num_keypoints is {given_count}, but there are no keypoints")
    values = _normalize_keypoints(entry.get("keypoints"), name, order)
    visible = [(values[i], values[i + 1]) for i in range(0, len(values), 3) if values[i + 2] > 0]
    if given_count is None:
        notes["annotations without num_keypoints: counted from the keypoints"] += 1
    elif not (_is_finite(given_count) and given_count == len(visible)):
        notes["annotations with a wrong num_keypoints: counted from the keypoints"] += 1
    box = _parse_box(entry.get("bbox"), name)
    if box is None or (visible and (box[2] <= 0 or box[3] <= 0)):
        notes["annotations without bbox: computed from the keypoints"] += 1
        box = _compute_box(visible)
    area: Any = entry.get("area")
    if area is None or (visible and _parse_number(area, f"{name}: area") <= 0):
        notes["annotations without area: estimated from the outline or the bounding box"] += 1
        area = _compute_outline_area(entry.get("segmentation")) or _AREA_PER_BOX * box[2] * box[3]
    area = _parse_number(area, f"{name}: area")
    crowd = entry.get("iscrowd", 0)
    return {
        "keypoints": values,
        "num_keypoints": len(visible),
        "bbox": box,
        # The box of a single visible keypoint has no area, and an area of 0 overflows in the OKS.
        "area": max(1.0, area) if visible else max(0.0, area),
        "iscrowd": int(bool(crowd)) if isinstance(crowd, int | float | bool) else int(crowd in ("1", "true")),
    }


def _normalize_keypoints(keypoints: object, name: str, order: tuple[int, ...]) -> list[float]:
    """Return 51 numbers (x, y, visibility) in COCO's order; zeros if there are no keypoints."""
    if keypoints is None or keypoints == []:
        return [0.0] * (3 * KEYPOINT_COUNT)
    if isinstance(keypoints, list) and len(keypoints) == KEYPOINT_COUNT and isinstance(keypoints[0], list):
        keypoints = [value for point in keypoints for value in (point if isinstance(point, list) else [point])]
    if not isinstance(keypoints, list) or len(keypoints) != 3 * KEYPOINT_COUNT:
        got = f"{len(keypoints)} numbers" if isinstance(keypoints, list) else _format_value(keypoints)
        raise InputError(f"{name}: expected {KEYPOINT_COUNT} keypoints ({3 * KEYPOINT_COUNT} numbers), got {got}")
    for index in range(2, len(keypoints), 3):
        if isinstance(keypoints[index], bool):  # some tools write visibility as true or false
            keypoints = [*keypoints[:index], 2 * keypoints[index], *keypoints[index + 1 :]]
    values = [_parse_number(value, f"{name}: keypoints") for value in keypoints]
    return [value for i in order for value in values[3 * i : 3 * i + 3]]


def _parse_box(box: object, name: str) -> list[float] | None:
    if box is None or box == []:
        return None
    if not isinstance(box, list) or len(box) != 4:
        raise InputError(f"{name}: expected a bbox of x, y, width and height, got {_format_value(box)}")
    return [_parse_number(value, f"{name}: bbox") for value in box]


def _compute_box(points: list[tuple[float, float]]) -> list[float]:
    if not points:
        return [0.0, 0.0, 0.0, 0.0]
    columns, rows = zip(*points, strict=True)
    left, top = min(columns), min(rows)
    return [left, top, max(columns) - left, max(rows) - top]


def _compute_outline_area(segmentation: object) -> float:
    """Compute the area of polygons [[x, y, x, y, ...], ...] in square pixels; 0 for other formats."""
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


def _parse_id(value: object, name: str) -> str:
    text = _convert_id_to_text(value)
    if text is None:
        raise InputError(f"{name}: expected an id (a number or text), got {_format_value(value)}")
    return text


def _convert_id_to_text(value: object) -> str | None:
    """Convert an id to text: 7, 7.0 and "7" become the same; None if it is not an id."""
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        value = int(value)
    return str(value).strip() if isinstance(value, str) or _is_integer(value) else None


def _parse_number(value: object, name: str) -> float:
    if not _is_finite(value):
        raise InputError(f"{name}: expected a number, got {_format_value(value)}")
    return float(value)  # type: ignore[arg-type]


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 62


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _format_value(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
