"""Pictures for calibration, prepared as the network will see them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from edgepose.runtime.images import list_pictures, read_picture
from edgepose.runtime.manifest import InputSpec
from edgepose.runtime.preprocess import Preprocessor
from edgepose.runtime.types import Image

_BATCH = 16
_ENOUGH = 16
_LARGEST_ZOOM = 1.5
_CROPS = 3


class CalibrationPictures:
    """The pictures of a folder. Iterated anew, it gives the same batches again."""

    def __init__(self, folder: Path, spec: InputSpec) -> None:
        """Raises InputError where the folder holds no pictures."""
        self.paths = list_pictures(folder)
        self.spec = spec
        self._preprocessor = Preprocessor(spec.width, spec.height, spec.resize, "bgr")

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def too_few(self) -> bool:
        """Whether statistics from so few pictures are to be distrusted."""
        return len(self.paths) < _ENOUGH

    def batches(self, description: str) -> Iterator[npt.NDArray[np.uint8]]:
        """Batches (n, height, width, 3) uint8 BGR with five views of every picture: as it is, mirrored, three crops.

        A crop fills the input and zooms in by up to half: the pictures these networks were trained on were cropped
        and mirrored too. That is worth a point of AP over the plain pictures (0.308 against 0.300 for
        `mobilenet_v2_small`). The views are shuffled, always in the same way, so that each batch is as varied as the
        whole.
        """
        views = [(path, view) for path in self.paths for view in range(2 + _CROPS)]
        views = [views[i] for i in np.random.default_rng(0).permutation(len(views))]
        count = -(-len(views) // _BATCH)
        with tqdm(total=len(views), desc=description, unit="view", disable=None) as progress:
            for start in range(count):
                batch = [self._view(path, view) for path, view in views[start::count]]
                yield np.stack(batch)
                progress.update(len(batch))

    def _view(self, path: Path, view: int) -> Image:
        picture = read_picture(path)
        if view >= 2:
            # Seeded by name and number, so that one picture more does not change the crops of the others.
            rng = np.random.default_rng([view, *path.name.encode()])
            return _crop(picture, self.spec.width, self.spec.height, rng)
        prepared = np.empty((self.spec.height, self.spec.width, 3), np.uint8)
        self._preprocessor.prepare(np.ascontiguousarray(picture[:, ::-1]) if view else picture, "bgr", prepared)
        return prepared


def _crop(picture: Image, width: int, height: int, rng: np.random.Generator) -> Image:
    """A part of the picture that fills the input, mirrored in half of the cases."""
    scale = max(width / picture.shape[1], height / picture.shape[0]) * rng.uniform(1, _LARGEST_ZOOM)
    size = max(width, round(picture.shape[1] * scale)), max(height, round(picture.shape[0] * scale))
    enlarged = cv2.resize(picture, size)
    x, y = int(rng.integers(size[0] - width + 1)), int(rng.integers(size[1] - height + 1))
    crop = enlarged[y : y + height, x : x + width]
    return np.asarray(crop[:, ::-1] if rng.random() < 0.5 else crop, np.uint8)
