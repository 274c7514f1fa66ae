"""Images and video frames for calibration, prepared as input of the network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ...runtime.errors import InputError
from ...runtime.io.images import Video, inspect_file, list_images, read_frames, read_image
from ...runtime.io.messages import show_progress
from ...runtime.model.manifest import InputSpec
from ...runtime.preprocess import Preprocessor
from ...runtime.types import Image

_BATCH_SIZE = 16
_MIN_IMAGES = 16
"""Statistics from fewer images are not reliable."""
_MAX_ZOOM = 1.5
_CROPS_PER_IMAGE = 3
_MAX_VIDEO_FRAMES = 64


class ImageFolder:
    """Images of a folder, uint8 (height, width, 3) BGR, read one at a time."""

    def __init__(self, folder: Path) -> None:
        """List the images of a folder.

        Raises:
            InputError: The folder contains no images.
        """
        self._paths = list_images(folder)

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[Image]:
        return map(read_image, self._paths)


class CalibrationImages:
    """Images of a folder or frames of a video. Every iteration gives the same images and batches."""

    def __init__(self, path: Path, spec: InputSpec) -> None:
        """List the images of a folder, or read evenly spaced frames (64) of a video, an animation or a TIFF with pages.

        Raises:
            InputError: There is no such file or folder, the folder contains no images, the file is a single image, or
                the video cannot be read.
        """
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; expected a folder of images or a video")
        self._frames = {} if path.is_dir() else _read_video_frames(path)
        self._paths = {file.name: file for file in list_images(path)} if path.is_dir() else {}
        self.names = [*self._paths, *self._frames]
        self.spec = spec
        self._preprocessor = Preprocessor(spec.width, spec.height, spec.resize, "bgr")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def has_too_few_images(self) -> bool:
        """True if there are fewer than 16 images, too few for reliable statistics."""
        return len(self.names) < _MIN_IMAGES

    def __iter__(self) -> Iterator[Image]:
        """Iterate over the images in their original size."""
        return (self.read_image(name) for name in self.names)

    def read_image(self, name: str) -> Image:
        """Read an image in its original size, uint8 (height, width, 3) BGR."""
        return self._frames[name] if name in self._frames else read_image(self._paths[name])

    def prepare_images(self, limit: int) -> npt.NDArray[np.uint8]:
        """Resize at most `limit` evenly chosen images to the network's input: (n, height, width, 3) uint8 BGR."""
        step = max(1, -(-len(self.names) // limit))
        return np.stack([self._prepare_view(name, 0) for name in self.names[::step]])

    def iterate_batches(self, description: str) -> Iterator[npt.NDArray[np.uint8]]:
        """Iterate over shuffled batches with five views of every image: original, mirrored, and three random crops.

        A crop fills the input and enlarges the image by up to 1.5 times. The networks were trained on cropped and
        mirrored images. Statistics of these views are worth about one point of AP (0.308 for `mobilenet_v2_small`,
        0.300 with the original images alone). The order is random but always the same, so that each batch is as varied
        as the whole set.

        Args:
            description: Label of the progress bar.

        Returns:
            Batches (n, height, width, 3), uint8 BGR.
        """
        views = [(name, view) for name in self.names for view in range(2 + _CROPS_PER_IMAGE)]
        views = [views[i] for i in np.random.default_rng(0).permutation(len(views))]
        count = -(-len(views) // _BATCH_SIZE)
        with show_progress(len(views), description, "view") as progress:
            for start in range(count):
                batch = [self._prepare_view(name, view) for name, view in views[start::count]]
                yield np.stack(batch)
                progress.update(len(batch))

    def _prepare_view(self, name: str, view: int) -> Image:
        """Prepare view 0 (original), 1 (mirrored), or 2 and higher (random crop) of an image."""
        image = self.read_image(name)
        if view >= 2:
            # Seeded by name and view, so that an added image does not change the crops of the others.
            rng = np.random.default_rng([view, *name.encode()])
            return _crop(image, self.spec.width, self.spec.height, rng)
        prepared = np.empty((self.spec.height, self.spec.width, 3), np.uint8)
        self._preprocessor.prepare(np.ascontiguousarray(image[:, ::-1]) if view else image, "bgr", prepared)
        return prepared


def _read_video_frames(path: Path) -> dict[str, Image]:
    """Read evenly spaced frames of a video, an animation or a TIFF with several pages, by a name for each frame."""
    kind = inspect_file(path)
    if kind == "image":
        raise InputError(f"{path}: expected a folder of images or a video, got a single image")
    interval = 1
    if kind == "video":
        with Video(path) as video:
            interval = max(1, video.frame_count // _MAX_VIDEO_FRAMES)
    frames: dict[int, Image] = {}
    for frame in read_frames(path):
        if frame.index % interval == 0:
            frames[frame.index] = frame.image
        if len(frames) == 2 * _MAX_VIDEO_FRAMES:  # the file states no number of frames, or too small a number
            interval *= 2
            frames = {index: image for index, image in frames.items() if index % interval == 0}
    return dict([(f"frame {index}", image) for index, image in frames.items()][:_MAX_VIDEO_FRAMES])


def _crop(image: Image, width: int, height: int, rng: np.random.Generator) -> Image:
    """Cut out a random part that fills the input, enlarged 1 to 1.5 times, mirrored with a probability of 0.5."""
    scale = max(width / image.shape[1], height / image.shape[0]) * rng.uniform(1, _MAX_ZOOM)
    size = max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale))
    enlarged = cv2.resize(image, size)
    x, y = int(rng.integers(size[0] - width + 1)), int(rng.integers(size[1] - height + 1))
    crop = enlarged[y : y + height, x : x + width]
    return np.asarray(crop[:, ::-1] if rng.random() < 0.5 else crop, np.uint8)
