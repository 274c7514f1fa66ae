"""Input tensor of a network that reads one image: its layout, its size and the values it expects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..preprocess import Preprocessor, is_byte_table, make_pixel_table
from ..types import Layout, Quantization
from .interpreter import TensorInfo
from .manifest import InputSpec, ModelManifest

DEFAULT_SIZE = (432, 368)
"""Width and height in pixels for networks that accept any size: the one of the networks of tf-pose-estimation."""
MIN_SIDE_PX, MAX_SIDE_PX, SIDE_MULTIPLE_PX = 64, 4096, 8
"""Limits for the size that a network is resized to."""
MAX_FIXED_SIDE_PX = 8192
"""Limit for the size of a network that is not resized."""


@dataclass(frozen=True)
class ImageShape:
    """Shape of an input that reads images.

    Attributes:
        layout: Order of the dimensions.
        batch: Images per inference; 1 if the file leaves it open.
        width: Width in pixels.
        height: Height in pixels.
        is_resized: True if the interpreter must be resized to one image of this size.
    """

    layout: Layout
    batch: int
    width: int
    height: int
    is_resized: bool

    @property
    def tensor_shape(self) -> tuple[int, int, int, int]:
        """Shape of the input for one image."""
        sides = (self.height, self.width)
        return (1, *sides, 3) if self.layout == "nhwc" else (1, 3, *sides)


def choose_image_shape(
    info: TensorInfo, size: tuple[int, int] | None = None, default: tuple[int, int] = DEFAULT_SIZE
) -> ImageShape:
    """Choose the shape for one image.

    Args:
        info: The input, as it is in the file.
        size: Width and height that the user asked for, or None.
        default: Width and height for the sides that the file leaves open, if `size` is None.

    Raises:
        ValueError: The input is not a color image, or `size` contradicts the file or is out of range.
    """
    sides = [None if fixed < 0 else side for side, fixed in zip(info.shape, info.signature or info.shape, strict=False)]
    layout = _find_layout(info.shape, sides)
    height, width = sides[1:3] if layout == "nhwc" else sides[2:4]
    if size is not None and ((width or size[0]), (height or size[1])) != size:
        raise ValueError(
            f"a TFLite file keeps its input {_describe_fixed(width, height)}, and {size[0]}x{size[1]} was asked for; "
            "leave out the size, or convert the original network instead"
        )
    chosen_width, chosen_height = size or default
    chosen_width, chosen_height = width or chosen_width, height or chosen_height
    if width is None or height is None:
        check_size(chosen_width, chosen_height)
    elif not (1 <= width <= MAX_FIXED_SIDE_PX and 1 <= height <= MAX_FIXED_SIDE_PX):
        raise ValueError(f"expected an input of 1 to {MAX_FIXED_SIDE_PX} pixels, got {info.shape}")
    shape = ImageShape(layout, 1 if sides[0] is None else sides[0], chosen_width, chosen_height, is_resized=False)
    return replace(shape, is_resized=shape.tensor_shape != info.shape)


def find_open_shape(inputs: Sequence[TensorInfo], manifest: ModelManifest | None = None) -> tuple[int, ...] | None:
    """Return the shape to resize a network to that has no fixed input size; None for other networks.

    Args:
        inputs: The inputs, as they are in the file.
        manifest: The manifest; without one, the network is resized to `DEFAULT_SIZE`.
    """
    if manifest is not None:
        return manifest.input.shape if manifest.input.dynamic else None
    if len(inputs) != 1 or min(inputs[0].signature, default=0) >= 0:
        return None
    try:
        shape = choose_image_shape(inputs[0])
    except ValueError:
        return None
    return shape.tensor_shape if shape.is_resized else None


def check_size(width: int, height: int) -> None:
    """Check a size that a network is resized to.

    Raises:
        ValueError: It is out of range.
    """
    if any(side % SIDE_MULTIPLE_PX or not MIN_SIDE_PX <= side <= MAX_SIDE_PX for side in (width, height)):
        limits = f"multiples of {SIDE_MULTIPLE_PX} from {MIN_SIDE_PX} to {MAX_SIDE_PX}"
        raise ValueError(f"input size {width}x{height}: expected {limits}")


def _find_layout(shape: tuple[int, ...], sides: list[int | None]) -> Layout:
    if len(sides) == 4 and len(shape) == 4:
        if sides[3] == 3 or (sides[3] is None and sides[1] != 3):
            return "nhwc"
        if sides[1] in (3, None):
            return "nchw"
        if 1 in (sides[1], sides[3]):
            raise ValueError(
                f"expected an input with three color channels, got {shape} (gray); export the network with a color "
                "image as input"
            )
    raise ValueError(
        f"expected an input (1, height, width, 3) or (1, 3, height, width), got {shape}; export the network with one "
        "color image as input"
    )


def _describe_fixed(width: int | None, height: int | None) -> str:
    if width is not None and height is not None:
        return f"size, {width}x{height}"
    return f"width, {width}" if width is not None else f"height, {height}"


def make_preprocessor(spec: InputSpec, quantization: Quantization) -> Preprocessor:
    """Make the preprocessor for an input.

    Args:
        spec: The input in the manifest.
        quantization: Scale and zero point of the tensor.
    """
    table, value_range = None, spec.value_range
    if spec.quantized or spec.channel_ranges is not None:
        ranges = spec.channel_ranges or [spec.value_range]
        table = make_pixel_table(ranges, spec.dtype, quantization if spec.quantized else None)
        if spec.layout == "nhwc" and is_byte_table(table):
            table, value_range = None, (0.0, 255.0)
    return Preprocessor(
        spec.width, spec.height, spec.resize, spec.channel_order, value_range, table=table, layout=spec.layout
    )
