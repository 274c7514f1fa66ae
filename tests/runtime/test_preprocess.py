"""Preprocessing of frames, and the inverse transform of poses."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.runtime.preprocess import Preprocessor, Resize, is_byte_table, make_pixel_table
from edgepose.runtime.types import ChannelOrder, Layout, Quantization


def make_gradient(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack((x * 255 // max(1, width - 1), y * 255 // max(1, height - 1), (x + y) % 256), axis=2).astype(
        np.uint8
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_letterbox_keeps_the_aspect_ratio_on_black(dtype: type) -> None:
    destination = np.full((368, 432, 3), 7, dtype)
    image = np.full((480, 640, 3), 200, np.uint8)
    Preprocessor(432, 368, "letterbox", "bgr").prepare(image, "bgr", destination)
    assert (destination[:324] == 200).all()
    assert (destination[324:] == 0).all()


def test_stretch_fills_the_input() -> None:
    destination = np.zeros((368, 432, 3), np.float32)
    Preprocessor(432, 368, "stretch", "bgr").prepare(np.full((480, 640, 3), 200, np.uint8), "bgr", destination)
    assert (destination == 200).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_previous_frame_has_no_effect(dtype: type) -> None:
    """Frames with alternating shapes have different black borders."""
    preprocessor = Preprocessor(96, 64, "letterbox", "bgr")
    shared = np.zeros((64, 96, 3), dtype)
    for height, width in ((60, 40), (40, 300), (64, 96), (10, 10), (300, 40)):
        image = np.full((height, width, 3), 150, np.uint8)
        preprocessor.prepare(image, "bgr", shared)
        fresh = np.zeros((64, 96, 3), dtype)
        Preprocessor(96, 64, "letterbox", "bgr").prepare(image, "bgr", fresh)
        np.testing.assert_array_equal(shared, fresh)


def test_uint8_input_is_written_in_place_even_if_the_interpreter_overwrote_it() -> None:
    preprocessor = Preprocessor(96, 64, "letterbox", "bgr")
    destination = np.zeros((64, 96, 3), np.uint8)
    image = np.full((50, 50, 3), 99, np.uint8)
    preprocessor.prepare(image, "bgr", destination)
    expected = destination.copy()
    destination[:] = 255  # the interpreter reuses its memory arena during inference
    preprocessor.prepare(image, "bgr", destination)
    np.testing.assert_array_equal(destination, expected)


@pytest.mark.parametrize("order", ["bgr", "rgb"])
@pytest.mark.parametrize("shape", [(50, 70, 3), (300, 40, 3), (64, 96), (90, 10, 4)])
def test_an_int8_input_gets_the_bytes_minus_128(shape: tuple[int, ...], order: ChannelOrder) -> None:
    image = np.random.default_rng(5).integers(0, 256, shape, np.uint8)
    stored, pixels = np.full((64, 96, 3), 77, np.int8), np.full((64, 96, 3), 77, np.uint8)
    Preprocessor(96, 64, "letterbox", order).prepare(image, "bgr", stored)
    Preprocessor(96, 64, "letterbox", order).prepare(image, "bgr", pixels)
    np.testing.assert_array_equal(stored, pixels.astype(np.int16) - 128)


def test_only_a_table_of_the_bytes_can_be_left_out() -> None:
    assert is_byte_table(make_pixel_table([(0, 255)], "int8", Quantization(1.0, -128)))
    assert is_byte_table(make_pixel_table([(-1, 1)], "int8", Quantization(2 / 255, 0)))
    assert is_byte_table(make_pixel_table([(0, 255)], "uint8", Quantization(1.0, 0)))
    assert not is_byte_table(make_pixel_table([(0, 255)], "int8", Quantization(2.0, 0)))
    assert not is_byte_table(make_pixel_table([(0, 255)], "int16", Quantization(1.0, 0)))
    assert not is_byte_table(make_pixel_table([(0, 255)], "float32"))


def test_channel_order_is_converted() -> None:
    image = np.zeros((64, 96, 3), np.uint8)
    image[..., 0] = 200
    destination = np.zeros((64, 96, 3), np.float32)
    Preprocessor(96, 64, "stretch", "rgb").prepare(image, "bgr", destination)
    assert destination[0, 0].tolist() == [0, 0, 200]
    Preprocessor(96, 64, "stretch", "rgb").prepare(image, "rgb", destination)
    assert destination[0, 0].tolist() == [200, 0, 0]


def test_value_range_maps_0_and_255_to_its_ends() -> None:
    destination = np.zeros((8, 8, 3), np.float32)
    preprocessor = Preprocessor(8, 8, "stretch", "bgr", (-0.5, 0.5))
    preprocessor.prepare(np.full((8, 8, 3), 255, np.uint8), "bgr", destination)
    np.testing.assert_allclose(destination, 0.5, atol=1e-6)
    preprocessor.prepare(np.zeros((8, 8, 3), np.uint8), "bgr", destination)
    np.testing.assert_allclose(destination, -0.5, atol=1e-6)


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("ranges", [[(-1.0, 1.0)], [(-2.1, 2.2), (-2.0, 2.4), (-1.8, 2.6)]])
@pytest.mark.parametrize(
    ("dtype", "quantization"),
    [
        ("float32", None), ("int8", Quantization(0.02, -3)), ("uint8", Quantization(0.03, 80)),
        ("int16", Quantization(1e-4, 0)),
    ],
)  # fmt: skip
def test_pixels_become_the_values_that_the_network_expects(
    rng: np.random.Generator,
    layout: Layout,
    ranges: list[tuple[float, float]],
    dtype: str,
    quantization: Quantization | None,
) -> None:
    image = rng.integers(0, 256, (32, 32, 3), np.uint8)  # half of the input; the rest is black
    table = make_pixel_table(ranges, dtype, quantization)
    preprocessor = Preprocessor(64, 32, "letterbox", "rgb", table=table, layout=layout)
    destination = np.ones((32, 64, 3) if layout == "nhwc" else (3, 32, 64), dtype)
    preprocessor.prepare(image, "bgr", destination)
    pixels = np.zeros((32, 64, 3), np.float64)
    pixels[:, :32] = image[..., ::-1]
    low, high = np.array(ranges).T
    expected = low + pixels * (high - low) / 255
    if quantization is not None:
        limits = np.iinfo(dtype)
        stored = np.round(expected / quantization.scale) + quantization.zero_point
        expected = np.clip(stored, limits.min, limits.max)
    found = destination if layout == "nhwc" else destination.transpose(1, 2, 0)
    # The table is computed in float32, so a value between two integers can be rounded to the other one.
    np.testing.assert_allclose(found, expected, atol=1e-6 if quantization is None else 1)
    assert (np.abs(found - expected) > 1e-6).mean() < 0.02


def test_bytes_are_written_to_planes() -> None:
    image = np.arange(32 * 64 * 3, dtype=np.uint8).reshape(32, 64, 3)
    destination = np.zeros((3, 32, 64), np.uint8)
    Preprocessor(64, 32, "stretch", "bgr", layout="nchw").prepare(image, "bgr", destination)
    np.testing.assert_array_equal(destination, image.transpose(2, 0, 1))


def test_a_table_of_another_dtype_is_refused() -> None:
    preprocessor = Preprocessor(8, 8, "stretch", "bgr", table=make_pixel_table([(0, 1)], "float32"))
    with pytest.raises(ValueError, match="expected an array of float32, got int8"):
        preprocessor.prepare(np.zeros((8, 8, 3), np.uint8), "bgr", np.zeros((8, 8, 3), np.int8))


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 4)])
def test_gray_and_transparent_images_are_accepted(shape: tuple[int, ...]) -> None:
    image = np.full(shape, 120, np.uint8)
    destination = np.zeros((24, 32, 3), np.float32)
    Preprocessor(32, 24, "letterbox", "bgr").prepare(image, "bgr", destination)
    assert (destination == 120).all()


def test_a_frame_with_padded_rows_is_accepted() -> None:
    """Camera buffers often have padding at the end of their rows."""
    padded = np.zeros((48, 80, 3), np.uint8)
    padded[:, :64] = make_gradient(48, 64)
    first, second = np.zeros((2, 24, 32, 3), np.float32)
    Preprocessor(32, 24, "letterbox", "bgr").prepare(padded[:, :64], "bgr", first)
    Preprocessor(32, 24, "letterbox", "bgr").prepare(make_gradient(48, 64), "bgr", second)
    np.testing.assert_array_equal(first, second)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from(["letterbox", "stretch"]))
def test_the_transform_of_poses_is_the_inverse(width: int, height: int, resize: Resize) -> None:
    preprocessor = Preprocessor(432, 368, resize, "bgr")
    target_width, target_height = preprocessor.compute_target_size(width, height)
    assert 1 <= target_width <= 432
    assert 1 <= target_height <= 368
    back = preprocessor.compute_grid_to_frame(width, height, 8)
    # Right edge of the image inside the input, in cells from the center of the first cell.
    assert back.scale_x * ((target_width / 8 - 0.5) + 0.5) + back.offset_x == pytest.approx(width)
    assert back.scale_y * ((target_height / 8 - 0.5) + 0.5) + back.offset_y == pytest.approx(height)


def test_a_strong_reduction_averages() -> None:
    """If every second line is white, sampling would give stripes or a single color."""
    image = np.zeros((400, 400, 3), np.uint8)
    image[::2] = 255
    destination = np.zeros((40, 40, 3), np.float32)
    Preprocessor(40, 40, "stretch", "bgr").prepare(image, "bgr", destination)
    np.testing.assert_allclose(destination, 127.5, atol=1)


def test_a_resize_by_one_is_the_image_itself() -> None:
    image = make_gradient(24, 32)
    destination = np.zeros((24, 32, 3), np.uint8)
    Preprocessor(32, 24, "letterbox", "bgr").prepare(image, "bgr", destination)
    np.testing.assert_array_equal(destination, image)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((0, 10, 3), np.uint8),
        np.zeros((10, 10, 2), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((1, 2, 3, 3), np.uint8),
        "photo.jpg",
        None,
    ],
)
def test_what_is_no_image_is_refused(image: object) -> None:
    destination = np.zeros((24, 32, 3), np.float32)
    with pytest.raises(ValueError, match="expected an image"):
        Preprocessor(32, 24, "letterbox", "bgr").prepare(image, "bgr", destination)  # type: ignore[arg-type]


def test_bilinear_agrees_with_opencv() -> None:
    image = make_gradient(48, 64)
    destination = np.zeros((36, 48, 3), np.uint8)
    Preprocessor(48, 36, "letterbox", "bgr").prepare(image, "bgr", destination)
    np.testing.assert_array_equal(destination, cv2.resize(image, (48, 36), interpolation=cv2.INTER_LINEAR))


@pytest.mark.parametrize("size", [(10, 40_000), (33_000, 10), (1, 65_535), (65_535, 1), (1, 1), (1, 5000), (2, 32_768)])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_very_elongated_images_are_resized(size: tuple[int, int], channels: int, resize: Resize) -> None:
    shape = size if channels == 1 else (*size, channels)
    image = np.full(shape, 130, np.uint8)
    destination = np.empty((368, 432, 3), np.uint8)
    preprocessor = Preprocessor(432, 368, resize, "bgr")
    preprocessor.prepare(image, "bgr", destination)
    width, height = preprocessor.compute_target_size(size[1], size[0])
    assert (destination[:height, :width] == 130).all()
    assert not destination[height:].any()
    assert not destination[:, width:].any()


def test_an_edge_in_a_very_wide_image_keeps_its_position() -> None:
    image = np.zeros((10, 40_000, 3), np.uint8)
    image[:, 30_000:] = 200
    destination = np.empty((368, 432, 3), np.uint8)
    Preprocessor(432, 368, "stretch", "bgr").prepare(image, "bgr", destination)
    assert not destination[:, :323].any()
    assert (destination[:, 325:] == 200).all()
