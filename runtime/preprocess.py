"""Preprocessing: resize a frame into the input of the network.

`letterbox` keeps the aspect ratio; the image is at the top left and the rest of the input is black. `stretch` fills the
whole input. Letterboxing gives four to five points more AP with the same weights. The frame is resized once, into a
buffer that lives as long as the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from .types import ChannelOrder, GridToFrame, Image, Layout, Quantization

Resize = Literal["letterbox", "stretch"]
PixelTable = npt.NDArray[Any]
"""Input value for each pixel value, in the dtype of the input: (1, 256), or (1, 256, 3) with one row per channel."""

_CHANNEL_ORDERS = ("bgr", "rgb")
_SIGN_BIT = np.uint8(0x80)
"""Byte XOR this value is, read as int8, the byte minus 128."""
_MAX_SIDE_PX = (1 << 15) - 1  # cv2.resize fails if a side is longer


class Preprocessor:
    """Preprocessor for one network: resize, channel order, values, layout, and the transform back to the frame.

    Args:
        width: Width of the network's input in pixels.
        height: Height of the network's input in pixels.
        resize: `letterbox` or `stretch`.
        channel_order: Channel order of the network's input, `bgr` or `rgb`.
        value_range: Input values for the pixel values 0 and 255. Not used for 8-bit inputs without a table.
        table: Input value for each pixel value, from `make_pixel_table`. Default: float inputs get values in
            `value_range`, uint8 inputs the pixel values, int8 inputs the pixel values minus 128.
        layout: `nhwc` or `nchw`.
    """

    def __init__(
        self, width: int, height: int, resize: Resize, channel_order: ChannelOrder,
        value_range: tuple[float, float] = (0.0, 255.0), *, table: PixelTable | None = None, layout: Layout = "nhwc",
    ) -> None:  # fmt: skip
        self.width, self.height, self.resize, self.channel_order = width, height, resize, channel_order
        self._layout = layout
        if table is None and value_range != (0.0, 255.0):
            table = make_pixel_table([value_range], "float32")
        self._table = table
        self._buffer: Image = np.zeros((height, width, 3), np.uint8)

    def compute_target_size(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height in pixels of the resized frame inside the input, for a frame of the given size."""
        if self.resize == "stretch":
            return self.width, self.height
        scale = min(self.width / width, self.height / height)
        return max(1, round(width * scale)), max(1, round(height * scale))

    def compute_grid_to_frame(self, width: int, height: int, stride: int) -> GridToFrame:
        """Return the transform from grid cells to frame pixels, for a frame of the given size."""
        target_width, target_height = self.compute_target_size(width, height)
        return GridToFrame(stride * width / target_width, stride * height / target_height)

    def prepare(self, image: Image, channel_order: ChannelOrder, destination: npt.NDArray[Any]) -> None:
        """Resize an image, convert it to the network's channel order and value range, and write it to a buffer.

        Args:
            image: (H, W, 3), gray (H, W), or with alpha (H, W, 4), all uint8.
            channel_order: Channel order of `image`.
            destination: The input tensor without its batch dimension, or a buffer of the same shape and dtype.

        Raises:
            ValueError: `image` is not an image, or there is no such channel order.
        """
        check_image(image)
        if channel_order not in _CHANNEL_ORDERS:
            raise ValueError(f"channel_order: expected bgr or rgb, got {channel_order!r}")
        width, height = self.compute_target_size(image.shape[1], image.shape[0])
        table = self._find_table(destination)
        # Codes of dtypes: comparing dtypes with types takes several times as long.
        is_int8 = destination.dtype.char == "b"
        in_place = table is None and self._layout == "nhwc" and (is_int8 or destination.dtype.char == "B")
        pixels: Image = destination.view(np.uint8) if is_int8 else destination
        region = (pixels if in_place else self._buffer)[:height, :width]
        if image.ndim == 3 and image.shape[2] == 3:
            _resize(image, region)
        else:
            small = np.empty((height, width, *image.shape[2:]), np.uint8)
            _resize(image, small)
            cv2.cvtColor(small, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_BGRA2BGR, dst=region)
        if channel_order != self.channel_order:
            cv2.cvtColor(region, cv2.COLOR_BGR2RGB, dst=region)
        if self._layout == "nhwc":
            _fill_border(destination, width, height, table)
            if not in_place:
                _write_values(region, destination[:height, :width], table)
            elif is_int8:
                np.bitwise_xor(region, _SIGN_BIT, out=region)
            return
        for channel, plane in enumerate(destination):
            row = table if table is None or table.ndim == 2 else table[:, :, channel].copy()
            _fill_border(plane, width, height, row)
            values: Any = cv2.extractChannel(region, channel)
            _write_values(values, plane[:height, :width], row)

    def _find_table(self, destination: npt.NDArray[Any]) -> PixelTable | None:
        """Return the table for a destination; None if it gets the pixel values unchanged."""
        if self._table is None or self._table.dtype == destination.dtype:
            return self._table
        if destination.dtype != np.uint8:
            raise ValueError(f"destination: expected an array of {self._table.dtype}, got {destination.dtype}")
        return None


def make_pixel_table(
    ranges: Sequence[tuple[float, float]], dtype: str, quantization: Quantization | None = None
) -> PixelTable:
    """Make the table from pixel values to input values.

    Args:
        ranges: Input values for the pixel values 0 and 255: one range, or one for each of the three channels.
        dtype: Dtype of the input.
        quantization: Scale and zero point of an integer input.

    Returns:
        Array (1, 256) for one range, (1, 256, 3) for three.
    """
    rows = []
    for low, high in ranges:
        row = np.arange(256, dtype=np.float32)
        row *= (high - low) / 255.0
        row += low
        rows.append(row.astype(dtype) if quantization is None else _quantize(row, dtype, quantization))
    table: PixelTable = np.stack(rows, axis=-1)[None] if len(rows) > 1 else rows[0][None]
    return table


def is_byte_table(table: PixelTable) -> bool:
    """Return True if the values are the pixel values, or for int8 these minus 128: `Preprocessor` needs no table."""
    return table.dtype.itemsize == 1 and np.array_equal(table[0], np.arange(256) + np.iinfo(table.dtype).min)


def _quantize(row: npt.NDArray[np.float32], dtype: str, quantization: Quantization) -> npt.NDArray[Any]:
    """Quantize the values for all pixel values.

    Tools choose scale and zero point so that 8-bit inputs are the pixel values, or these minus 128. The zero point is
    rounded, so each value can be off by one, up or down as the rounding error falls. Then the pixel values are used.
    """
    limits = np.iinfo(dtype)
    # In float64: a tiny scale must not overflow before the limits are applied.
    stored = np.rint(row.astype(np.float64) / quantization.scale) + quantization.zero_point
    stored = np.clip(stored, limits.min, limits.max)
    pixels = np.arange(256) + limits.min
    return (pixels if np.abs(stored - pixels).max() <= 1 else stored).astype(dtype)


def _fill_border(destination: npt.NDArray[Any], width: int, height: int, table: PixelTable | None) -> None:
    """Fill the part outside the image with black.

    This is needed for every image: the interpreter may use the memory of its input for other data in between.
    """
    black = table[0, 0] if table is not None else -128 if destination.dtype.char == "b" else 0
    destination[height:] = destination[:height, width:] = black


def _write_values(region: Image, target: npt.NDArray[Any], table: PixelTable | None) -> None:
    if table is None:
        np.copyto(target, region)
    else:
        cv2.LUT(region, table, dst=target)


def check_image(image: Image) -> None:
    """Raise ValueError if `image` is not (H, W), (H, W, 3) or (H, W, 4) uint8 with at least one pixel."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        got = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"expected an image of shape (H, W, 3) and dtype uint8, got {got}")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (3, 4)):
        raise ValueError(f"expected an image of shape (H, W, 3), (H, W) or (H, W, 4), got shape {image.shape}")
    if image.shape[0] < 1 or image.shape[1] < 1:
        raise ValueError(f"expected an image of at least 1x1 pixels, got {image.shape[1]}x{image.shape[0]}")


def _resize(image: Image, destination: Image) -> None:
    """Resize with bilinear interpolation. If a side shrinks more than 2x, average areas instead to avoid aliasing."""
    height, width = destination.shape[:2]
    image = _shorten(image)
    shrink_factor = max(image.shape[0] / height, image.shape[1] / width)
    interpolation = cv2.INTER_AREA if shrink_factor > 2 else cv2.INTER_LINEAR
    cv2.resize(image, (width, height), dst=destination, interpolation=interpolation)


def _shorten(image: Image) -> Image:
    """Average neighboring pixels along a side that is too long for OpenCV's resize, to less than half of its limit."""
    for axis in (0, 1):
        length = image.shape[axis]
        if length > _MAX_SIDE_PX:
            factor = -(-length // (_MAX_SIDE_PX // 2))
            # The last group can be smaller than the others. The shift this causes is less than one shortened pixel.
            starts = np.arange(0, length, factor)
            sums = np.add.reduceat(image, starts, axis=axis, dtype=np.uint32)
            sizes = np.diff([*starts.tolist(), length]).astype(np.uint32)
            sizes = sizes.reshape((-1, *[1] * (image.ndim - axis - 1)))
            image = ((sums + sizes // 2) // sizes).astype(np.uint8)
    return image
