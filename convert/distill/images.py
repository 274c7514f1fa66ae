"""What is trained on: images with the keypoints of some of their people, packed into one archive to travel."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from ...runtime.errors import InputError
from ...runtime.io import atomic
from ...runtime.io.images import read_image
from ...runtime.skeleton import COCO18

Points = npt.NDArray[np.float32]

_PACKED_SIDE, _QUALITY = 320, 80
_COCO = 17
_NECK, _SHOULDERS = 1, (2, 5)


@dataclass(frozen=True)
class Sample:
    """An image and its annotated people (n, 18, 2) as shares of width and height, NaN where a keypoint is not."""

    path: Path
    people: Points


def read_samples(images: Path, labels: Path, ids: Path | None = None) -> list[Sample]:
    """The images of a folder with the rows of `labels/NAME.txt`: class, box, then x, y and visibility of COCO's 17.

    `ids`: a file of COCO numbers, one a line; only those are taken. An image without rows has nobody annotated. Raises
    InputError where a file is not of that form or nothing is left.
    """
    wanted = None if ids is None else {int(line) for line in ids.read_text().split()}
    samples = []
    for path in sorted(images.rglob("*.jpg")):
        if wanted is None or (path.stem.isdigit() and int(path.stem) in wanted):
            samples.append(Sample(path, _people(labels / f"{path.stem}.txt")))
    if not samples:
        raise InputError(f"{images}: expected images (.jpg) to train on, there are none that may be used")
    return samples


def pack(samples: Sequence[Sample], path: Path, side: int = _PACKED_SIDE) -> None:
    """Images no longer than `side`, as JPEG, and their people, in one ZIP: some 20 kB each."""
    with atomic.atomic(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for number, sample in enumerate(tqdm(samples, desc="packing", unit="image", disable=None)):
            image = read_image(sample.path)
            shrink = side / max(image.shape[:2])
            if shrink < 1:
                image = np.asarray(
                    cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA), np.uint8
                )
            done, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
            if not done:
                raise InputError(f"{sample.path}: cannot be packed")
            archive.writestr(f"{number:06}.jpg", encoded.tobytes())
            people = io.BytesIO()
            np.save(people, sample.people)
            archive.writestr(f"{number:06}.npy", people.getvalue())


def unpack(path: Path, folder: Path) -> list[Sample]:
    """The samples of an archive that `pack` wrote, their images in `folder`. Raises InputError for another file."""
    atomic.make_folder(folder)
    samples = []
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(name for name in archive.namelist() if re.fullmatch(r"\d{6}\.jpg", name)):
                image = folder / name
                if not image.is_file():
                    image.write_bytes(archive.read(name))
                people = np.load(io.BytesIO(archive.read(name.replace(".jpg", ".npy"))), allow_pickle=False)
                samples.append(Sample(image, np.asarray(people, np.float32).reshape(-1, 18, 2)))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: expected images packed for training: {error}") from None
    return samples


def _people(path: Path) -> Points:
    people = []
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            values = np.array(line.split(), np.float32)
        except ValueError:
            raise InputError(f"{path}: expected rows of numbers, got {line[:40]!r}") from None
        if len(values) != 5 + 3 * _COCO:
            raise InputError(f"{path}: expected rows of {5 + 3 * _COCO} numbers, got {len(values)}")
        coco = values[5:].reshape(_COCO, 3)
        person = np.full((18, 2), np.nan, np.float32)
        there = coco[:, 2] > 0
        person[np.array(COCO18.coco_order)[there]] = coco[there, :2]
        person[_NECK] = person[list(_SHOULDERS)].mean(axis=0)
        people.append(person)
    return np.array(people, np.float32).reshape(-1, 18, 2)
