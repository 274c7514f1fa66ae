"""Augmented views of images, the input of teacher and student."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, exp, log, radians, sin
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ...runtime.io.images import read_image
from ...runtime.skeleton import COCO18
from ...runtime.synthetic import Scene
from ...runtime.types import Image
from .images import Keypoints, Sample

LONG_SIDE_PX = 432
"""Long side of an image at a zoom of 1, a typical size of the network's input."""
_MAX_ROTATION_DEGREES = 30.0


@dataclass(frozen=True)
class Augmentation:
    """Strength of the augmentation.

    Attributes:
        zoom: Smallest and largest zoom; at 1 the long side of the image has 432 pixels.
        rotation_degrees: Standard deviation of the rotation, which is at most 30 degrees.
        degraded_share: Share of views with strong color changes, blur, noise, JPEG artifacts and occlusions; the others
            only have mild changes of color.
        blended_share: Share of views that are blended with a second image.
        synthetic_share: Share of views that are synthetic scenes.
    """

    zoom: tuple[float, float] = (0.5, 2.0)
    rotation_degrees: float = 15.0
    degraded_share: float = 1.0
    blended_share: float = 0.1
    synthetic_share: float = 0.06


AUGMENTATIONS = {
    "strong": Augmentation(),
    "mild": Augmentation((0.65, 1.35), 8.0, degraded_share=0.25, blended_share=0.03, synthetic_share=0.0),
}


@dataclass(frozen=True)
class Transform:
    """Position of a view in its image: `linear @ (x, y) + shift` are the pixels of the view.

    Attributes:
        linear: Matrix (2, 2).
        shift: (2,), in pixels of the view.
        is_mirrored: True if `linear` mirrors the image.
        image_size: Width and height of the image in pixels.
    """

    linear: npt.NDArray[np.float64]
    shift: npt.NDArray[np.float64]
    is_mirrored: bool
    image_size: tuple[int, int]


class View(NamedTuple):
    """View of a sample.

    Attributes:
        image: uint8 BGR (size, size, 3).
        people: Annotated people (n, 18, 2), in pixels of the view, NaN for unknown keypoints.
        transform: Position of the view in the image.
    """

    image: Image
    people: Keypoints
    transform: Transform


def get_mirror_order() -> list[int]:
    """Return, for every keypoint, the index of the keypoint on the other side of the body."""
    return list(COCO18.mirror_order)


_MIRROR_ORDER = get_mirror_order()


class ViewGenerator:
    """Generator of random views.

    Args:
        samples: Training images.
        size: Width and height of a view in pixels.
        seed: Seed of the augmentation.
        augmentation: Strength of the augmentation.
    """

    def __init__(
        self, samples: list[Sample], size: int, seed: int, augmentation: Augmentation = AUGMENTATIONS["strong"]
    ) -> None:
        self._samples, self._size, self._augmentation = samples, size, augmentation
        self._rng = np.random.default_rng(seed)

    def generate(self, number: int) -> View:
        """Make a random view of a sample, or at random of a synthetic scene.

        Args:
            number: Index of the sample.
        """
        rng, augmentation = self._rng, self._augmentation
        if rng.random() < augmentation.synthetic_share:
            scene = Scene(int(rng.integers(1, 6)), 640, 480, seed=int(rng.integers(1 << 30)))
            frame = scene.render_frame(int(rng.integers(100)))
            image, people = frame.image, frame.keypoints
        else:
            image, people = self._load(number)
        view = self._transform_randomly(image, people)
        image = view.image
        if rng.random() < augmentation.blended_share:
            other = self._transform_randomly(*self._load(int(rng.integers(len(self._samples)))))
            share = rng.uniform(0.05, 0.3)
            image = cv2.addWeighted(image, 1 - share, other.image, share, 0).astype(np.uint8)
        is_degraded = augmentation.degraded_share == 1 or rng.random() < augmentation.degraded_share
        return view._replace(image=self._degrade(image) if is_degraded else self._change_color_mildly(image))

    def _load(self, number: int) -> tuple[Image, Keypoints]:
        sample = self._samples[number]
        image = read_image(sample.path)
        height, width = image.shape[:2]
        return image, sample.people * np.array((width, height), np.float32)

    def _transform_randomly(self, image: Image, people: Keypoints) -> View:
        """Zoom, rotate and shift an image and its people, and mirror them with a probability of 0.5."""
        rng, size = self._rng, self._size
        height, width = image.shape[:2]
        low, high = (log(limit) for limit in self._augmentation.zoom)
        zoom = LONG_SIDE_PX / max(height, width) * exp(rng.uniform(low, high))
        degrees = rng.normal(0, self._augmentation.rotation_degrees)
        angle = radians(float(np.clip(degrees, -_MAX_ROTATION_DEGREES, _MAX_ROTATION_DEGREES)))
        linear = zoom * np.array(((cos(angle), -sin(angle)), (sin(angle), cos(angle))))
        if mirror := rng.random() < 0.5:
            linear = linear @ np.diag((-1.0, 1.0))
        # Mostly centered on an annotated person, because background alone teaches little.
        center = np.array((rng.uniform(0, width), rng.uniform(0, height)))
        if len(people) and rng.random() < 0.8:
            person = people[rng.integers(len(people))]
            if not np.isnan(person).all():
                center = np.nanmean(person, axis=0)
        if zoom * max(height, width) < size:
            center = np.array((width, height)) / 2
        target = size / 2 + rng.uniform(-0.3, 0.3, 2) * size
        shift = target - linear @ center
        matrix = np.concatenate((linear, shift[:, None]), axis=1)
        border = tuple(int(v) for v in rng.integers(0, 256, 3)) if rng.random() < 0.5 else (0, 0, 0)
        method = cv2.INTER_AREA if zoom < 0.6 else cv2.INTER_LINEAR
        if zoom < 0.6:
            # A warp only reads four pixels per output pixel, so images are shrunk before to avoid aliasing.
            factor = zoom / 0.8
            image = np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=method), np.uint8)
            matrix = matrix.copy()
            matrix[:, :2] /= factor
        view = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=border)
        moved = people @ linear.T.astype(np.float32) + shift.astype(np.float32)
        if mirror:
            moved = moved[:, _MIRROR_ORDER]
        outside = ((moved < 0) | (moved >= size)).any(axis=-1)
        moved[outside] = np.nan
        return View(
            np.asarray(view, np.uint8), moved.astype(np.float32), Transform(linear, shift, mirror, (width, height))
        )

    def _change_color_mildly(self, view: Image) -> Image:
        rng = self._rng
        if rng.random() >= 0.6:
            return view
        gain = rng.uniform(0.8, 1.2) * rng.uniform(0.93, 1.07, 3)
        ramp = (np.arange(256)[:, None] / 255) ** exp(rng.uniform(-0.2, 0.2)) * 255 * gain + rng.uniform(-12, 12)
        return np.asarray(cv2.LUT(view, np.clip(ramp, 0, 255).astype(np.uint8)[None]), np.uint8)

    def _degrade(self, view: Image) -> Image:
        """Change color and brightness, and add blur, noise, JPEG artifacts and occlusions, each at random."""
        rng = self._rng
        if rng.random() < 0.8:
            gain = rng.uniform(0.6, 1.4) * rng.uniform(0.85, 1.15, 3)
            ramp = (np.arange(256)[:, None] / 255) ** exp(rng.uniform(-0.4, 0.4)) * 255 * gain + rng.uniform(-25, 25)
            view = np.asarray(cv2.LUT(view, np.clip(ramp, 0, 255).astype(np.uint8)[None]), np.uint8)
        if rng.random() < 0.1:
            view = np.repeat(cv2.cvtColor(view, cv2.COLOR_BGR2GRAY)[:, :, None], 3, axis=2).astype(np.uint8)
        if rng.random() < 0.2:
            view = np.asarray(cv2.GaussianBlur(view, (0, 0), rng.uniform(0.4, 1.6)), np.uint8)
        if rng.random() < 0.3:
            noise = rng.normal(0, rng.uniform(2, 12), view.shape)
            view = np.clip(view + noise, 0, 255).astype(np.uint8)
        if rng.random() < 0.2:
            _, packed = cv2.imencode(".jpg", view, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 80))])
            view = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
        if rng.random() < 0.3:
            view = view.copy()
            for _ in range(int(rng.integers(1, 4))):
                w, h = rng.integers(self._size // 20, self._size // 5, 2)
                x, y = rng.integers(0, self._size - w), rng.integers(0, self._size - h)
                view[y : y + h, x : x + w] = rng.integers(0, 256, 3)
        return view


def draw_annotated_maps(
    people: Keypoints, cells: int, stride: int, sigma: float
) -> tuple[npt.NDArray[np.float32], ...]:
    """Draw heatmaps (cells, cells, 19) and PAFs (cells, cells, 38) of the annotated people.

    Args:
        people: (n, 18, 2), in pixels of the view, NaN for missing keypoints.
        cells: Width and height of the maps.
        stride: Pixels per cell.
        sigma: Standard deviation of a peak, in cells.
    """
    from ...runtime.synthetic.fields import render_fields

    return render_fields((people / stride - 0.5).astype(np.float32), cells, cells, sigma=sigma)
