"""Variants of COCO annotations give the same score, or a one-line error."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.convert.validate import coco_annotations
from edgepose.convert.validate.coco import CocoDataset
from edgepose.runtime import PoseEstimator
from edgepose.runtime.decode import DecoderOptions
from edgepose.runtime.errors import InputError
from edgepose.runtime.io.images import write_image

from ..conftest import call_edgepose
from ..scene_dataset import write_dataset

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four synthetic images with three people each, and their exact annotations."""
    return write_dataset(tmp_path_factory.mktemp("coco") / "set")


@pytest.fixture(scope="module")
def estimator() -> PoseEstimator:
    return PoseEstimator(threads=1, options=DecoderOptions(min_score=0))


@pytest.fixture(scope="module")
def base_ap(folder: Path, estimator: PoseEstimator) -> float:
    ap = CocoDataset(folder / "images", folder / "annotations.json").score(estimator.estimate, "base").ap
    assert ap > 0.2
    return ap


def changed(folder: Path, change: Change) -> Path:
    document = json.loads((folder / "annotations.json").read_text())
    change(document)
    (folder / "changed.json").write_text(json.dumps(document))
    return folder / "changed.json"


def without(key: str) -> Change:
    def change(document: dict[str, Any]) -> None:
        for person in document["annotations"]:
            del person[key]

    return change


def set_all(key: str, value: object) -> Change:
    def change(document: dict[str, Any]) -> None:
        for person in document["annotations"]:
            person[key] = value

    return change


def other_category(number: object, name: str = "person") -> Change:
    def change(document: dict[str, Any]) -> None:
        document["categories"] = [{"id": number, "name": name, "keypoints": ["x"] * 17}]
        for person in document["annotations"]:
            person["category_id"] = number

    return change


def text_ids(document: dict[str, Any]) -> None:
    for entry in document["images"]:
        entry["id"] = f"image-{entry['id']}"
    for person in document["annotations"]:
        person["image_id"], person["id"] = f"image-{person['image_id']}", f"a{person['id']}"


def digits_as_text(document: dict[str, Any]) -> None:
    for person in document["annotations"]:
        person["image_id"] = str(person["image_id"])


def ids_from_zero(document: dict[str, Any]) -> None:
    for number, person in enumerate(document["annotations"]):
        person["id"] = number


def same_ids(document: dict[str, Any]) -> None:
    for person in document["annotations"]:
        person["id"] = 1


def other_things(document: dict[str, Any]) -> None:
    document["categories"].append({"id": 2, "name": "dog"})
    document["annotations"].append({"id": 99, "image_id": 1, "category_id": 2, "bbox": [0, 0, 9, 9]})


def copies(document: dict[str, Any]) -> None:
    document["annotations"] += copy.deepcopy(document["annotations"])


def two_person_categories(document: dict[str, Any]) -> None:
    document["categories"].append({"id": 5, "name": "Person"})
    for person in document["annotations"][::2]:
        person["category_id"] = 5


def reversed_order(document: dict[str, Any]) -> None:
    document["categories"][0]["keypoints"] = [*reversed(coco_annotations.KEYPOINT_NAMES)]
    for person in document["annotations"]:
        person["keypoints"] = np.reshape(person["keypoints"], (-1, 3))[::-1].ravel().tolist()


def booleans(document: dict[str, Any]) -> None:
    for person in document["annotations"]:
        person["keypoints"][2::3] = [value > 0 for value in person["keypoints"][2::3]]


def some_prefixed(document: dict[str, Any]) -> None:
    for entry in document["images"][:2]:
        entry["file_name"] = "val2017/" + entry["file_name"]


def prefixed(prefix: str) -> Change:
    def change(document: dict[str, Any]) -> None:
        for entry in document["images"]:
            entry["file_name"] = prefix + entry["file_name"]

    return change


def only_urls(document: dict[str, Any]) -> None:
    for entry in document["images"]:
        entry["coco_url"] = f"http://images.example.org/val/{entry.pop('file_name')}"


def nested(document: dict[str, Any]) -> None:
    for person in document["annotations"]:
        person["keypoints"] = np.reshape(person["keypoints"], (-1, 3)).tolist()


def no_categories(document: dict[str, Any]) -> None:
    del document["categories"]


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (without("area"), "without area"), (set_all("area", 0), "without area"),
        (without("num_keypoints"), "without num_keypoints"), (set_all("area", -5), "without area"),
        (set_all("num_keypoints", 0), "wrong num_keypoints"), (set_all("bbox", [0, 0, 0, 0]), "without bbox"),
        (copies, "listed more than once"), (without("category_id"), "without category_id"),
        (set_all("category_id", 0), "category_id '0', which is not listed"), (two_person_categories, ""),
        (reversed_order, "another order than COCO's"), (booleans, ""), (some_prefixed, "2 images were found by"),
        (without("iscrowd"), ""), (without("bbox"), "without bbox"), (without("id"), ""),
        (other_category(0), ""), (other_category(7), ""), (other_category("p"), ""), (other_category(3, "pose"), ""),
        (text_ids, ""), (digits_as_text, ""), (ids_from_zero, ""), (same_ids, ""), (other_things, ""),
        (nested, ""), (no_categories, ""), (only_urls, ""),
        (prefixed("val2017/"), "found by their names"), (prefixed("C:\\data\\"), "found by their names"),
        (prefixed("./"), ""),
    ],
)  # fmt: skip
def test_variants_of_annotations_give_the_same_score(
    change: Change, note: str, folder: Path, estimator: PoseEstimator, base_ap: float
) -> None:
    dataset = CocoDataset(folder / "images", changed(folder, change))
    score = dataset.score(estimator.estimate, "changed")
    assert score.ap == pytest.approx(base_ap, abs=1e-6)
    assert (score.images, score.people) == (4, 12)
    assert any(note in text for text in dataset.notes) if note else not dataset.notes


def test_folders_in_file_names_are_respected(folder: Path, estimator: PoseEstimator, base_ap: float) -> None:
    """Regression test: a file with the same name in another folder gave a wrong score."""
    root = folder / "root"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
    for number in range(1, 5):
        content = (folder / f"images/{number}.png").read_bytes()
        (root / "a" / f"{number}.png").write_bytes(content)
        (root / "b" / f"{number}.png").write_bytes((folder / "images/1.png").read_bytes())
        (root / f"{number}.png").write_bytes((folder / "images/2.png").read_bytes())
    dataset = CocoDataset(root, changed(folder, prefixed("a/")))
    assert dataset.score(estimator.estimate, "a").ap == pytest.approx(base_ap, abs=1e-6)

    def two_of_one_name(document: dict[str, Any]) -> None:
        for entry, name in zip(document["images"], ("x/1.png", "y/1.png", "x/2.png", "x/3.png"), strict=True):
            entry["file_name"] = name

    with pytest.raises(InputError, match=r"1\.png is ambiguous: x/1\.png and y/1\.png"):
        CocoDataset(root, changed(folder, two_of_one_name))


def test_an_image_is_found_by_its_name_only_if_unique(folder: Path) -> None:
    """Files outside of --images are never read, and no image is used in place of another."""
    root = folder / "certain"
    for number in range(1, 5):
        (root / "sub").mkdir(parents=True, exist_ok=True)
        (root / "sub" / f"{number}.png").write_bytes((folder / f"images/{number}.png").read_bytes())
    dataset = CocoDataset(root, folder / "annotations.json")
    assert dataset.paths[3] == root / "sub/3.png"
    assert "4 images were found by their names" in dataset.notes[0]
    outside = CocoDataset(root, changed(folder, prefixed(f"{folder}/images/")))
    assert outside.paths[3] == root / "sub/3.png"
    outside = CocoDataset(root, changed(folder, prefixed("../images/")))
    assert outside.paths[3] == root / "sub/3.png"

    def one_stands_for_another(document: dict[str, Any]) -> None:
        for entry, name in zip(document["images"], ("sub/1.png", "sub/2.png", "sub/3.png", "x/3.png"), strict=True):
            entry["file_name"] = name

    with pytest.raises(InputError, match=r"1 of 4 annotated images not found: x/3\.png"):
        CocoDataset(root, changed(folder, one_stands_for_another))
    (root / "other").mkdir()
    (root / "other/2.png").write_bytes((folder / "images/1.png").read_bytes())
    with pytest.raises(InputError, match=r"2\.png is ambiguous: other/2\.png and sub/2\.png"):
        CocoDataset(root, folder / "annotations.json")


def test_other_images_of_the_same_name_are_refused(folder: Path, estimator: PoseEstimator) -> None:
    place = folder / "small"
    place.mkdir()
    for number in range(1, 5):
        write_image(place / f"{number}.png", np.zeros((100, 100, 3), np.uint8))
    with pytest.raises(InputError, match="the image has 100x100 pixels, but its annotation says 640x480"):
        CocoDataset(place, folder / "annotations.json").score(estimator.estimate, "small")


def test_an_unreadable_image_is_named_and_the_others_are_scored(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = folder / "damaged"
    place.mkdir()
    for number in range(1, 5):
        content = (folder / f"images/{number}.png").read_bytes()
        (place / f"{number}.png").write_bytes(content if number != 2 else b"<html>")
    done = call_edgepose(
        capfd, "eval", "--images", place, "--annotations", folder / "annotations.json", "--threads", "1"
    )
    assert done.returncode == 1
    assert "3 " in done.stdout
    assert "2.png" in done.stderr.splitlines()[-1]


def drop_images(document: dict[str, Any]) -> None:
    document["images"] = []


def set_first(key: str, value: object) -> Change:
    def change(document: dict[str, Any]) -> None:
        document["annotations"][0][key] = value

    return change


def two_categories(document: dict[str, Any]) -> None:
    document["categories"] = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]


def duplicate_image(document: dict[str, Any]) -> None:
    document["images"].append(copy.deepcopy(document["images"][0]))


def shares_of_the_image(document: dict[str, Any]) -> None:
    for person in document["annotations"]:
        person["keypoints"] = (np.reshape(person["keypoints"], (-1, 3)) / (640, 640, 2)).ravel().tolist()


def nobody(document: dict[str, Any]) -> None:
    document["annotations"] = []


def no_name(document: dict[str, Any]) -> None:
    del document["images"][0]["file_name"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_images, "annotations is empty"), (nobody, "no person with keypoints"), (no_name, "expected a file_name"),
        (set_first("keypoints", [1, 2, 3]), "expected 17 keypoints (51 numbers), got 3 numbers"),
        (set_first("keypoints", ["x"] * 51), "expected a number, got 'x'"),
        (set_first("keypoints", [float("nan")] * 51), "expected a number, got nan"),
        (set_first("bbox", [1, 2]), "expected a bbox"), (set_first("image_id", [1]), "expected an id"),
        (set_all("keypoints", None), "but there are no keypoints"),
        (two_categories, "expected one that is named person, got 'cat', 'dog'"),
        (duplicate_image, "two images have the id 1"), (shares_of_the_image, "expected keypoints in pixels"),
        (set_all("image_id", 77), "no annotation belongs to a listed image: image_id 77"),
        (prefixed("nowhere-"), "4 of 4 annotated images not found: nowhere-1.png"),
    ],
)  # fmt: skip
def test_wrong_annotations_are_one_line(
    change: Change, message: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = changed(folder, change)
    done = call_edgepose(capfd, "eval", "--images", folder / "images", "--annotations", path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "an empty file"), ("version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        ("<!DOCTYPE html><html>", "an HTML page"), ("\x1f\x8b\x08\0", "a gzip archive"), ('{"images": [', "not JSON"),
        ("[]", "got a list, which is the format of detection results"), ("3", "expected COCO annotations"),
        ('{"images": {}, "annotations": []}', "missing: images"), ("[" * 100000, "not JSON"), ("\xff", "not JSON"),
    ],
)  # fmt: skip
def test_other_files_are_named(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=message):
        coco_annotations.read(tmp_path / "a.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
KEYS = ("id", "image_id", "category_id", "keypoints", "bbox", "area", "iscrowd", "num_keypoints", "segmentation")


@given(st.data())
def test_any_document_is_read_or_refused(data: st.DataObject) -> None:
    person: dict[str, Any] = {"id": 1, "image_id": 1, "category_id": 1, "keypoints": [1.0, 2.0, 2] * 17}
    image: dict[str, Any] = {"id": 1, "file_name": "a.jpg"}
    category: dict[str, Any] = {"id": 1, "name": "person"}
    document: dict[str, Any] = {"images": [image], "annotations": [person], "categories": [category]}
    for _ in range(data.draw(st.integers(1, 3))):
        part = data.draw(st.sampled_from((document, image, person, category)))
        part[data.draw(st.sampled_from((*part, *KEYS)))] = data.draw(JSON)
    try:
        found = coco_annotations.normalize(document)
    except InputError:
        return
    assert found.images
    for entry in found.dataset["annotations"]:
        assert len(entry["keypoints"]) == 51
        assert all(np.isfinite([*entry["keypoints"], *entry["bbox"], entry["area"]]))
