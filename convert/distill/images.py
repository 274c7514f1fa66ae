"""Training images with annotated keypoints, and the archive for their transfer to another machine."""

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

from ...runtime.errors import InputError
from ...runtime.io import atomic
from ...runtime.io.images import read_image
from ...runtime.io.messages import iterate_with_progress
from ...runtime.skeleton import COCO18

Keypoints = npt.NDArray[np.float32]

_PACKED_SIDE_PX, _JPEG_QUALITY = 320, 80
_COCO_KEYPOINTS = 17
_NECK, _SHOULDERS = 1, (2, 5)


@dataclass(frozen=True)
class Sample:
    """Training image.

    Attributes:
        path: Image file.
        people: Annotated people, float32 (n, 18, 2): x and y as shares of width and height, NaN for missing keypoints.
    """

    path: Path
    people: Keypoints


def read_samples(images: Path, labels: Path, ids: Path | None = None) -> list[Sample]:
    """Read images with YOLO pose labels.

    Args:
        images: Folder of JPEG images (`.jpg`), searched with its subfolders.
        labels: Folder of label files `NAME.txt`, one row per person: class, box (4 numbers), then x, y and visibility
            of the 17 COCO keypoints. An image without a file or rows has no annotated people.
        ids: File with the COCO ids of the images to use, separated by spaces or newlines; None for all images.

    Raises:
        InputError: A label file has another format, or there are no images to use.
    """
    allowed_ids = None if ids is None else {int(line) for line in ids.read_text().split()}
    samples = []
    for path in sorted(images.rglob("*.jpg")):
        if allowed_ids is None or (path.stem.isdigit() and int(path.stem) in allowed_ids):
            samples.append(Sample(path, _read_people(labels / f"{path.stem}.txt")))
    if not samples:
        raise InputError(
            f"{images}: no training images found; expected .jpg files, with ids of the file --ids if it is given"
        )
    return samples


def pack_samples(samples: Sequence[Sample], path: Path, max_side_px: int = _PACKED_SIDE_PX) -> None:
    """Write images as JPEG and their people into one ZIP file, about 20 kB per image.

    Args:
        samples: Images and people.
        path: File to write.
        max_side_px: Longer images are shrunk to this width or height.

    Raises:
        InputError: An image cannot be read or encoded.
    """
    with atomic.replace_file(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for number, sample in enumerate(iterate_with_progress(samples, "packing", "image")):
            image = read_image(sample.path)
            shrink = max_side_px / max(image.shape[:2])
            if shrink < 1:
                image = np.asarray(
                    cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA), np.uint8
                )
            succeeded, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            if not succeeded:
                raise InputError(f"{sample.path}: cannot encode the image as JPEG")
            archive.writestr(f"{number:06}.jpg", encoded.tobytes())
            people = io.BytesIO()
            np.save(people, sample.people)
            archive.writestr(f"{number:06}.npy", people.getvalue())


def unpack_samples(path: Path, folder: Path) -> list[Sample]:
    """Extract the samples of an archive that `pack_samples` wrote.

    Images that are already in `folder` are not written again.

    Raises:
        InputError: The file is not such an archive.
    """
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
        raise InputError(f"{path}: not an archive of images packed for training: {error}") from None
    return samples


def _read_people(path: Path) -> Keypoints:
    people = []
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            values = np.array(line.split(), np.float32)
        except ValueError:
            raise InputError(f"{path}: expected rows of numbers, got {line[:40]!r}") from None
        if len(values) != 5 + 3 * _COCO_KEYPOINTS:
            raise InputError(f"{path}: expected rows of {5 + 3 * _COCO_KEYPOINTS} numbers, got {len(values)}")
        coco = values[5:].reshape(_COCO_KEYPOINTS, 3)
        person = np.full((18, 2), np.nan, np.float32)
        visible = coco[:, 2] > 0
        person[np.array(COCO18.coco_order)[visible]] = coco[visible, :2]
        person[_NECK] = person[list(_SHOULDERS)].mean(axis=0)
        people.append(person)
    return np.array(people, np.float32).reshape(-1, 18, 2)
