"""Images for calibration, prepared as the network will see them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from ...runtime.errors import InputError
from ...runtime.io.images import Video, inspect_file, list_images, read_frames, read_image
from ...runtime.model.manifest import InputSpec
from ...runtime.preprocess import Preprocessor
from ...runtime.types import Image

_BATCH = 16
_ENOUGH = 16
_LARGEST_ZOOM = 1.5
_CROPS = 3


_FRAMES = 64
"""Taken from a video, evenly spaced."""


class ImageFolder:
    """The images of a folder, (H, W, 3) BGR, read one after the other."""

    def __init__(self, folder: Path) -> None:
        """Raises InputError where the folder holds no images."""
        self._paths = list_images(folder)

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[Image]:
        return map(read_image, self._paths)


class CalibrationImages:
    """The images of a folder, or frames of a video. Iterated anew, it gives the same batches again."""

    def __init__(self, place: Path, spec: InputSpec) -> None:
        """Raises InputError where the folder holds no images or the video cannot be read."""
        if not place.exists():
            raise InputError(f"{place}: expected a folder of images or a video, there is nothing")
        self._frames = {} if place.is_dir() else _frames(place)
        self._paths = {path.name: path for path in list_images(place)} if place.is_dir() else {}
        self.names = [*self._paths, *self._frames]
        self.spec = spec
        self._preprocessor = Preprocessor(spec.width, spec.height, spec.resize, "bgr")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def too_few(self) -> bool:
        """Whether statistics from so few images are to be distrusted."""
        return len(self.names) < _ENOUGH

    def __iter__(self) -> Iterator[Image]:
        """The images as they are, one after the other."""
        return (self.image(name) for name in self.names)

    def image(self, name: str) -> Image:
        """An image as it is, (H, W, 3) BGR."""
        return self._frames[name] if name in self._frames else read_image(self._paths[name])

    def prepared(self, limit: int) -> npt.NDArray[np.uint8]:
        """At most `limit` images, evenly chosen, as the network sees them: (n, height, width, 3) BGR."""
        step = max(1, -(-len(self.names) // limit))
        return np.stack([self._view(name, 0) for name in self.names[::step]])

    def batches(self, description: str) -> Iterator[npt.NDArray[np.uint8]]:
        """Batches (n, height, width, 3) uint8 BGR with five views of every image: as it is, mirrored, three crops.

        A crop fills the input and zooms in by up to half: the images these networks were trained on were cropped
        and mirrored too. That is worth a point of AP over the plain images (0.308 against 0.300 for
        `mobilenet_v2_small`). The views are shuffled, always in the same way, so that each batch is as varied as the
        whole.
        """
        views = [(name, view) for name in self.names for view in range(2 + _CROPS)]
        views = [views[i] for i in np.random.default_rng(0).permutation(len(views))]
        count = -(-len(views) // _BATCH)
        with tqdm(total=len(views), desc=description, unit="view", disable=None) as progress:
            for start in range(count):
                batch = [self._view(name, view) for name, view in views[start::count]]
                yield np.stack(batch)
                progress.update(len(batch))

    def _view(self, name: str, view: int) -> Image:
        image = self.image(name)
        if view >= 2:
            # Seeded by name and number, so that one image more does not change the crops of the others.
            rng = np.random.default_rng([view, *name.encode()])
            return _crop(image, self.spec.width, self.spec.height, rng)
        prepared = np.empty((self.spec.height, self.spec.width, 3), np.uint8)
        self._preprocessor.prepare(np.ascontiguousarray(image[:, ::-1]) if view else image, "bgr", prepared)
        return prepared


def _frames(path: Path) -> dict[str, Image]:
    """Evenly spaced frames of a video, an animation or a TIFF of several pages, by a name."""
    kind = inspect_file(path)
    if kind == "image":
        raise InputError(f"{path}: expected a folder of images or a video, this is one image")
    every = 1
    if kind == "video":
        with Video(path) as video:
            every = max(1, video.count // _FRAMES)
    found: dict[int, Image] = {}
    for frame in read_frames(path):
        if frame.index % every == 0:
            found[frame.index] = frame.image
        if len(found) == 2 * _FRAMES:  # the file did not say how many frames it has, or too few
            every *= 2
            found = {index: image for index, image in found.items() if index % every == 0}
    return dict([(f"frame {index}", image) for index, image in found.items()][:_FRAMES])


def _crop(image: Image, width: int, height: int, rng: np.random.Generator) -> Image:
    """A part of the image that fills the input, mirrored in half of the cases."""
    scale = max(width / image.shape[1], height / image.shape[0]) * rng.uniform(1, _LARGEST_ZOOM)
    size = max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale))
    enlarged = cv2.resize(image, size)
    x, y = int(rng.integers(size[0] - width + 1)), int(rng.integers(size[1] - height + 1))
    crop = enlarged[y : y + height, x : x + width]
    return np.asarray(crop[:, ::-1] if rng.random() < 0.5 else crop, np.uint8)
