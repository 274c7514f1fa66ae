"""The decoder on synthetic heatmaps and PAFs with known people, and compared with its reference implementation."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgepose.runtime import COCO18, Decoder, DecoderOptions, GridToFrame, ModelError, PoseFields, Quantization
from edgepose.runtime.synthetic.fields import Maps, place_people, render_fields

from . import decoder_twin as twin

CELLS = GridToFrame(1.0, 1.0, -0.5, -0.5)
"""Transform to grid cells relative to the center of the first cell, as in `decoder_twin`."""


def decode(heatmaps: Maps, pafs: Maps, options: DecoderOptions | None = None) -> list[tuple[float, Maps]]:
    decoder = Decoder(*heatmaps.shape[:2], COCO18, options)
    return [(pose.score, pose.keypoints) for pose in decoder.decode(PoseFields(heatmaps, pafs), CELLS)]


def assert_same(found: list[tuple[float, Maps]], expected: list[tuple[float, Maps]]) -> None:
    """Assert that the people are the same, best first. People with equal scores up to rounding may be swapped."""
    assert [score for score, _ in found] == pytest.approx([score for score, _ in expected], abs=1e-4)
    left = list(found)
    for score, keypoints in expected:
        near = [pose for pose in left if abs(pose[0] - score) < 1e-4]
        nearest = min(near, key=lambda pose: float(np.abs(pose[1] - keypoints).max()))
        np.testing.assert_allclose(nearest[1], keypoints, atol=2e-3)
        left = [pose for pose in left if pose is not nearest]
    assert left == []


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 12, 20, 30])
@pytest.mark.parametrize("size", [(46, 54), (46, 62)])
def test_finds_every_painted_person_once(count: int, size: tuple[int, int], rng: np.random.Generator) -> None:
    people = place_people(count, *size, rng)
    found = decode(*render_fields(people, *size))
    assert len(found) == count
    errors = []
    free = list(range(count))
    for _, keypoints in found:
        assert (keypoints[:, 2] > 0).all()
        distances = [np.hypot(*(keypoints[:, :2] - people[i]).T).mean() for i in free]
        errors.append(min(distances))
        free.pop(int(np.argmin(distances)))
    assert np.mean(errors) < 0.3
    assert max(errors) < 0.3


def test_refinement_improves_the_accuracy(rng: np.random.Generator) -> None:
    person = place_people(1, 46, 54, rng)
    [(_, keypoints)] = decode(*render_fields(person, 46, 54))
    refined = np.abs(keypoints[:, :2] - person[0]).mean()
    rounded = np.abs(np.round(person[0]) - person[0]).mean()
    assert refined < 0.06
    assert refined < 0.3 * rounded


def test_an_empty_image_has_no_people() -> None:
    assert decode(np.zeros((46, 54, 19), np.float32), np.zeros((46, 54, 38), np.float32)) == []


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 14), st.integers(3, 14), st.sampled_from([2, 5, 50]))
def test_agrees_with_the_reference_on_noise(seed: int, height: int, width: int, levels: int) -> None:
    """Few levels make many plateaus and ties. The reference implementation uses no shortcuts."""
    rng = np.random.default_rng(seed)
    heatmaps = np.round(rng.random((height, width, 19)) * levels).astype(np.float32) / levels
    pafs = rng.normal(0.2, 0.5, (height, width, 38)).astype(np.float32)
    options = DecoderOptions(max_peaks=400, peak_threshold=0.3)
    found = [score for score, _ in decode(heatmaps, pafs, options)]
    expected = [score for score, _ in twin.decode(heatmaps, pafs, COCO18, options)]
    if found != pytest.approx(expected, abs=1e-4):
        # The reference computes in double precision. Where rounding decides, both results are right: noise has a
        # sample that is exactly on the threshold, or two candidates of the same rank, about once in a thousand images.
        for name in ("paf_threshold", "peak_weight"):
            for shift in (-3e-6, 3e-6):
                shifted = replace(options, **{name: getattr(options, name) + shift})
                scores = [score for score, _ in twin.decode(heatmaps, pafs, COCO18, shifted)]
                assume(scores == pytest.approx(expected, abs=1e-4))
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("peaks", [(140, 150), (200, 5), (5, 200)])
def test_agrees_with_the_reference_on_many_peaks(peaks: tuple[int, int], rng: np.random.Generator) -> None:
    """Limbs with many candidates are scored in batches of 128. Only one limb, because the reference is slow."""
    limb = COCO18.limbs[0]
    heatmaps = np.zeros((50, 60, 19), np.float32)
    for part, count in zip((limb.a, limb.b), peaks, strict=True):
        # Every third cell in both directions, so that all of them are local maxima.
        chosen = rng.permutation(20 * 17)[:count]
        heatmaps[3 * (chosen // 20), 3 * (chosen % 20), part] = rng.uniform(0.2, 1, count)
    pafs = rng.normal(0.2, 0.5, (50, 60, 38)).astype(np.float32)
    options = DecoderOptions(max_peaks=200, min_keypoints=2)
    found = decode(heatmaps, pafs, options)
    assert len(found) > min(peaks) / 2
    assert_same(found, twin.decode(heatmaps, pafs, COCO18, options))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_agrees_with_the_reference_on_people(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    heatmaps, pafs = render_fields(place_people(count, 30, 40, rng), 30, 40)
    heatmaps = heatmaps + rng.normal(0, 0.01, heatmaps.shape).astype(np.float32)
    pafs = pafs + rng.normal(0, 0.02, pafs.shape).astype(np.float32)
    assert_same(decode(heatmaps, pafs), twin.decode(heatmaps, pafs, COCO18, DecoderOptions()))


@pytest.mark.parametrize(("dtype", "scale"), [(np.int8, 1 / 120), (np.uint8, 1 / 120), (np.int16, 1 / 30000)])
def test_reads_integer_maps_directly(dtype: type[np.signedinteger], scale: float, rng: np.random.Generator) -> None:
    """Integer maps give the same poses as the dequantized maps, with bit-identical peak positions."""
    heatmaps, pafs = render_fields(place_people(5, 46, 54, rng), 46, 54)
    limits = np.iinfo(dtype)
    zero = 100 if dtype == np.uint8 else -7
    quantization = Quantization(scale, zero)
    stored = [np.clip(np.round(m / scale) + zero, limits.min, limits.max).astype(dtype) for m in (heatmaps, pafs)]
    real = [((s.astype(np.float32) - zero) * scale).astype(np.float32) for s in stored]
    decoder = Decoder(46, 54)
    from_integers = decoder.decode(PoseFields(*stored, quantization, quantization), CELLS)
    from_floats = decode(real[0], real[1])
    assert len(from_integers) == 5
    assert_same([(pose.score, pose.keypoints) for pose in from_integers], from_floats)


def test_reads_integer_maps_with_many_peaks(rng: np.random.Generator) -> None:
    """A zero point that is not 0, in limbs that are scored in batches."""
    quantization = Quantization(1 / 128, -20)
    stored = [rng.integers(-120, 100, (30, 40, channels)).astype(np.int8) for channels in (19, 38)]
    real = [((values.astype(np.float32) + 20) / 128).astype(np.float32) for values in stored]
    from_integers = Decoder(30, 40).decode(PoseFields(*stored, quantization, quantization), CELLS)
    from_floats = decode(real[0], real[1])
    assert len(from_floats) > 100
    assert [pose.score for pose in from_integers] == pytest.approx([score for score, _ in from_floats], abs=1e-4)


def test_reads_slices_of_one_tensor(rng: np.random.Generator) -> None:
    heatmaps, pafs = render_fields(place_people(3, 46, 54, rng), 46, 54)
    both = np.concatenate((heatmaps, pafs), axis=2)
    assert_same(decode(both[:, :, :19], both[:, :, 19:]), decode(heatmaps, pafs))


def test_coordinates_refer_to_cell_centers() -> None:
    person = np.full((1, 18, 2), 10.0, np.float32)
    person[0, :, 0] += np.arange(18)
    heatmaps, pafs = render_fields(person, 24, 40)
    [pose] = Decoder(24, 40).decode(PoseFields(heatmaps, pafs), GridToFrame(8.0, 4.0, 100.0, 200.0))
    np.testing.assert_allclose(pose.keypoints[:, 0], 8 * (person[0, :, 0] + 0.5) + 100, atol=0.05)
    np.testing.assert_allclose(pose.keypoints[:, 1], 4 * 10.5 + 200, atol=0.05)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_maps_that_are_not_finite_are_an_error(bad: float, rng: np.random.Generator) -> None:
    heatmaps, pafs = render_fields(place_people(2, 46, 54, rng), 46, 54)
    for spoilt in ((np.full_like(heatmaps, bad), pafs), (heatmaps, np.full_like(pafs, bad))):
        with pytest.raises(ModelError, match="NaN or infinity"):
            decode(*spoilt)
    one = heatmaps.copy()
    one[20, 20, 3] = bad
    with pytest.raises(ModelError, match="NaN or infinity"):
        decode(one, pafs)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_found_among_many_peaks(bad: float, rng: np.random.Generator) -> None:
    heatmaps = rng.random((46, 54, 19), np.float32)
    pafs = np.full((46, 54, 38), 0.7, np.float32)
    assert decode(heatmaps, pafs)
    pafs[20, 20, 5] = bad
    with pytest.raises(ModelError, match="NaN or infinity"):
        decode(heatmaps, pafs)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_survives_any_bytes_as_maps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 12, 2))
    raw = [rng.integers(0, 256, height * width * c * 4, dtype=np.uint8).view(np.float32) for c in (19, 38)]
    heatmaps, pafs = raw[0].reshape(height, width, 19), raw[1].reshape(height, width, 38)
    with contextlib.suppress(ModelError):
        decode(heatmaps, pafs)
    stored = [m.view(np.uint8)[:, :, : m.shape[2]].astype(np.int8) for m in (heatmaps, pafs)]
    for pose in Decoder(height, width).decode(PoseFields(*stored, Quantization(0.01), Quantization(0.01)), CELLS):
        assert np.isfinite(pose.keypoints).all()


def test_keeps_the_highest_peaks_if_there_are_too_many() -> None:
    """With 400 necks with shoulders and a limit of 50, the people of the 50 highest necks are found."""
    heatmaps, pafs = np.zeros((80, 80, 19), np.float32), np.zeros((80, 80, 38), np.float32)
    heights = 0.1 + np.arange(400, dtype=np.float32).reshape(20, 20) / 500
    for part, (down, right) in {1: (0, 0), 2: (0, 2), 5: (2, 0)}.items():
        heatmaps[down::4, right::4, part] = heights
    for number, channel in ((0, "paf_x"), (1, "paf_y")):
        pafs[:, :, getattr(COCO18.limbs[number], channel)] = 1
    found = decode(heatmaps, pafs, DecoderOptions(max_peaks=50))
    assert sorted(keypoints[1, 2] for _, keypoints in found) == pytest.approx(sorted(heights.ravel())[350:])


def test_the_previous_frame_has_no_effect(rng: np.random.Generator) -> None:
    decoder = Decoder(46, 54)
    frames = [PoseFields(*render_fields(place_people(n, 46, 54, rng), 46, 54)) for n in (30, 1, 8)]
    first = [decoder.decode(frame, CELLS) for frame in frames]
    for _ in range(3):
        for frame, expected in zip(frames, first, strict=True):
            again = decoder.decode(frame, CELLS)
            assert [pose.score for pose in again] == [pose.score for pose in expected]


def test_threads_do_not_disturb_each_other(rng: np.random.Generator) -> None:
    """Decoders in several threads are independent (upstream stores its results in global variables)."""
    frames = [PoseFields(*render_fields(place_people(n, 46, 54, rng), 46, 54)) for n in (2, 9)]
    expected = [Decoder(46, 54).decode(frame, CELLS) for frame in frames]
    wrong: list[int] = []

    def work(which: int) -> None:
        decoder = Decoder(46, 54)
        for _ in range(200):
            poses = decoder.decode(frames[which], CELLS)
            if [pose.score for pose in poses] != [pose.score for pose in expected[which]]:
                wrong.append(which)

    threads = [threading.Thread(target=work, args=(i % 2,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("heatmaps", "pafs", "message"),
    [
        (np.zeros((5, 6, 18), np.float32), np.zeros((5, 6, 38), np.float32), "expected heatmaps of shape"),
        (np.zeros((5, 6, 19), np.float32), np.zeros((5, 7, 38), np.float32), "expected PAFs of shape"),
        (np.zeros((5, 6, 19), np.float64), np.zeros((5, 6, 38), np.float64), "float32, int8"),
        (np.zeros((19, 5, 6), np.float32).transpose(1, 2, 0), np.zeros((5, 6, 38), np.float32), "contiguous channels"),
    ],
)
def test_maps_of_the_wrong_kind_are_refused(heatmaps: Maps, pafs: Maps, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Decoder(5, 6).decode(PoseFields(heatmaps, pafs), CELLS)


@pytest.mark.parametrize("wrong", [{"samples": 1}, {"min_samples": 9}, {"max_peaks": 0}, {"min_keypoints": 1}])
def test_options_are_checked(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        DecoderOptions(**wrong)  # type: ignore[arg-type]
