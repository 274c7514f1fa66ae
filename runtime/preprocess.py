"""A frame made fit for the network: one resize into a buffer that lives as long as the model.

`letterbox` keeps the aspect ratio and leaves the rest of the input black, image at the top left; `stretch` fills
the input. Letterboxing is worth four to five points of AP on the same weights.
"""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from .types import ChannelOrder, GridToFrame, Image

Resize = Literal["letterbox", "stretch"]

_MAX_SIDE_PX = (1 << 15) - 1  # OpenCV's resize fails with a longer side


class Preprocessor:
    """Resizes frames to one network's input and knows the way back.

    `width`, `height`: input of the network in pixels. `value_range`: what the bytes 0 and 255 become.
    """

    def __init__(
        self, width: int, height: int, resize: Resize, channel_order: ChannelOrder,
        value_range: tuple[float, float] = (0.0, 255.0),
    ) -> None:  # fmt: skip
        self.width, self.height, self.resize, self.channel_order = width, height, resize, channel_order
        low, high = value_range
        self._gain, self._bar = (high - low) / 255.0, low
        self._buffer: Image = np.zeros((height, width, 3), np.uint8)

    def target_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height that a frame of the given size takes inside the input."""
        if self.resize == "stretch":
            return self.width, self.height
        scale = min(self.width / width, self.height / height)
        return max(1, round(width * scale)), max(1, round(height * scale))

    def grid_to_frame(self, width: int, height: int, stride: int) -> GridToFrame:
        """Where the cells of the network's maps lie in a frame of the given size."""
        target_width, target_height = self.target_size(width, height)
        return GridToFrame(stride * width / target_width, stride * height / target_height)

    def prepare(self, image: Image, channel_order: ChannelOrder, destination: npt.NDArray[Any]) -> None:
        """Writes `image` (H, W, 3) uint8, resized, into `destination` (height, width, 3), uint8 or float32.

        A gray image (H, W) and one with alpha (H, W, 4) are taken as well. Raises ValueError for anything else.
        """
        check_image(image)
        width, height = self.target_size(image.shape[1], image.shape[0])
        # The bars are painted every time: the interpreter may use its input's memory for something else meanwhile.
        in_place = destination.dtype == np.uint8
        destination[height:] = destination[:height, width:] = 0 if in_place else self._bar
        target = destination[:height, :width]
        region = target if in_place else self._buffer[:height, :width]
        if image.ndim == 3 and image.shape[2] == 3:
            _resize(image, region)
        else:
            small = np.empty((height, width, *image.shape[2:]), np.uint8)
            _resize(image, small)
            cv2.cvtColor(small, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_BGRA2BGR, dst=region)
        if channel_order != self.channel_order:
            cv2.cvtColor(region, cv2.COLOR_BGR2RGB, dst=region)
        if in_place:
            return
        np.copyto(target, region)
        if self._gain != 1.0:
            target *= self._gain
        if self._bar != 0.0:
            target += self._bar


def check_image(image: Image) -> None:
    """Raises ValueError, saying what came, for what is not an image that can be resized."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        came = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"expected an image (H, W, 3) of uint8, got {came}")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (3, 4)):
        raise ValueError(f"expected an image (H, W, 3) of uint8, got shape {image.shape}")
    if image.shape[0] < 1 or image.shape[1] < 1:
        raise ValueError(f"expected an image of at least 1x1 pixels, got {image.shape[1]}x{image.shape[0]}")


def _resize(image: Image, destination: Image) -> None:
    """Bilinear; averaging where the image shrinks more than twice, which bilinear sampling would alias."""
    height, width = destination.shape[:2]
    image = _shorten(image)
    shrinks = max(image.shape[0] / height, image.shape[1] / width)
    cv2.resize(
        image, (width, height), dst=destination, interpolation=cv2.INTER_AREA if shrinks > 2 else cv2.INTER_LINEAR
    )


def _shorten(image: Image) -> Image:
    """Average neighboring pixels along a side that is too long for OpenCV's resize, to less than half of its limit."""
    for axis in (0, 1):
        length = image.shape[axis]
        if length > _MAX_SIDE_PX:
            factor = -(-length // (_MAX_SIDE_PX // 2))
            # The average of a last, shorter group counts for a whole one: less than one pixel of the shortened side.
            starts = np.arange(0, length, factor)
            sums = np.add.reduceat(image, starts, axis=axis, dtype=np.uint32)
            sizes = np.diff([*starts.tolist(), length]).astype(np.uint32)
            sizes = sizes.reshape((-1, *[1] * (image.ndim - axis - 1)))
            image = ((sums + sizes // 2) // sizes).astype(np.uint8)
    return image
