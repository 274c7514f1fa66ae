"""Conversion of ONNX Resize and Upsample to a bilinear or nearest-neighbor resize.

The graph resizes to a multiple of the size of a feature map, so that the network also works for other input sizes. If
the file has a fixed size instead, a feature map of this size is searched.
"""

from __future__ import annotations

from ..ir import graph as g
from .onnx_file import Operator
from .onnx_values import FeatureMap, Values

_HALF_PIXEL = ("half_pixel", "pytorch_half_pixel")
_USE_BILINEAR = "export the network with bilinear interpolation"
_USE_FACTOR = "resize to the size of another feature map, or by a whole factor"
_MAX_FACTOR = 64
_MOVED_PIXELS = (
    "warning: up to opset 10, PyTorch exports a bilinear resize that is half a pixel off from its own; "
    "export the model with opset_version=17"
)


def convert_resize(values: Values, operator: Operator) -> list[FeatureMap]:
    """Convert Resize or Upsample."""
    source = values.get_map(operator, 0)
    _check_mode(operator)
    size, is_scaled = _read_size(values, operator, source)
    if size == values.sizes[source.node]:
        return [source]
    coordinates = _read_coordinates(operator)
    if operator.opset < 11 and values.file.producer == "pytorch" and operator.get_text("mode") == "linear":
        values.notes[_MOVED_PIXELS] = None
    is_nearest = operator.get_text("mode", "nearest") == "nearest"
    if is_nearest:
        _check_nearest(operator, coordinates, values.sizes[source.node], size)
    like, factor = _find_target(values, operator, source, size, is_scaled)
    node = g.ResizeLike(
        name=operator.outputs[0], inputs=(source.node, like), factor=factor, nearest=is_nearest,
        half_pixel_centers=coordinates in _HALF_PIXEL, align_corners=coordinates == "align_corners",
    )  # fmt: skip
    return [values.add_node(operator, node, source.layout)]


def _check_mode(operator: Operator) -> None:
    mode = operator.get_text("mode", "nearest")
    if mode not in ("linear", "bilinear", "nearest"):
        raise operator.refuse(f"its interpolation is {mode}; expected linear or nearest", _USE_BILINEAR)
    if operator.get_int("antialias"):
        raise operator.refuse("it uses antialias", "export the network with antialias=False")
    if operator.get_text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise operator.refuse("it keeps the aspect ratio; expected a fixed scale", _USE_FACTOR)


def _read_coordinates(operator: Operator) -> str:
    # Upsample, and Resize before opset 11, have no attribute: x / scale.
    default = "asymmetric" if operator.kind == "Upsample" or operator.opset < 11 else "half_pixel"
    coordinates = operator.get_text("coordinate_transformation_mode", default)
    if coordinates not in (*_HALF_PIXEL, "asymmetric", "align_corners"):
        raise operator.refuse(
            f"its coordinates are {coordinates}; expected half_pixel, asymmetric or align_corners", _USE_BILINEAR
        )
    return coordinates


def _check_nearest(operator: Operator, coordinates: str, source: tuple[int, int], size: tuple[int, int]) -> None:
    """Check that a nearest-neighbor resize repeats every pixel equally often, as TensorFlow does."""
    default = "floor" if operator.kind == "Upsample" or operator.opset < 11 else "round_prefer_floor"
    rounding = operator.get_text("nearest_mode", default)
    factor = size[0] // source[0]
    is_whole = size == (source[0] * factor, source[1] * factor)
    if coordinates == "asymmetric":
        repeats = rounding == "floor" or (rounding == "round_prefer_floor" and factor <= 2)
    else:
        repeats = coordinates in _HALF_PIXEL and rounding.startswith("round")
    if not is_whole or not repeats:
        raise operator.refuse(
            f"nearest neighbor with {coordinates} and {rounding} does not repeat every pixel equally often",
            "export the network with a whole factor and asymmetric coordinates, or with bilinear interpolation",
        )


def _read_size(values: Values, operator: Operator, source: FeatureMap) -> tuple[tuple[int, int], bool]:
    """Return the height and width of the result, and True if the file gives a scale instead of a size."""
    shape = values.get_shape(source)
    axes = [axis % 4 for axis in operator.get_ints("axes", (0, 1, 2, 3))]
    has_sizes = operator.kind == "Resize" and operator.opset >= 11
    sizes = values.get_integers(operator, 3) if has_sizes else []
    result = dict(zip(axes, sizes, strict=True)) if sizes else _apply_scales(values, operator, shape, axes, has_sizes)
    by_axis = dict(zip(source.layout, (result.get(axis, side) for axis, side in enumerate(shape)), strict=True))
    if by_axis["C"] != values.channels[source.node] or by_axis["N"] != values.batch:
        raise operator.refuse("it resizes the batch or the channels; expected height and width only", _USE_FACTOR)
    return (by_axis["H"], by_axis["W"]), not sizes


def _apply_scales(
    values: Values, operator: Operator, shape: list[int], axes: list[int], has_sizes: bool
) -> dict[int, int]:
    """Return the sides of the result by axis, computed from the scales."""
    scales = values.get_constant(operator, 2 if has_sizes else 1)
    if scales is None or not scales.size:
        raise operator.refuse("it has neither scales nor sizes", "export the model again")
    for scale in scales.ravel().tolist():
        if not float(scale).is_integer() or not 1 <= scale <= _MAX_FACTOR:
            raise operator.refuse(f"its scale is {scale:g}; expected a whole number", _USE_FACTOR)
    return {axis: shape[axis] * int(scale) for axis, scale in zip(axes, scales.ravel().tolist(), strict=True)}


def _find_target(
    values: Values, operator: Operator, source: FeatureMap, size: tuple[int, int], is_scaled: bool
) -> tuple[str, int]:
    """Find the feature map whose size, times a factor, is the size of the result.

    Candidates are the maps whose Shape the size was computed from, then an earlier map of exactly this size (a file
    with a fixed size does not say which), then the source itself. A constant scale always belongs to the source.
    """
    origins = [name for value in operator.inputs[1:] for name in values.origins.get(value, ())]
    candidates = [name for name in origins if name != source.node]
    if not is_scaled and not origins:
        candidates = [name for name in reversed(values.nodes) if values.sizes[name] == size]
    candidates.append(source.node)
    for name in candidates:
        height, width = values.sizes[name]
        factor = size[0] // height
        if 1 <= factor <= _MAX_FACTOR and size == (height * factor, width * factor):
            return name, factor
    (height, width), (rows, columns) = values.sizes[source.node], size
    raise operator.refuse(
        f"it resizes {height}x{width} to {rows}x{columns}, a size that no other feature map has", _USE_FACTOR
    )
