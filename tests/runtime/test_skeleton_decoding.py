"""The decoder finds every keypoint of known people, for the shipped skeletons and for random ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.runtime import Decoder, DecoderOptions, GridToFrame, Limb, PoseFields, Skeleton
from edgepose.runtime.skeleton import list_skeletons, load_skeleton
from edgepose.runtime.synthetic.fields import place_people, render_fields

from . import decoder_twin as twin

CELLS = GridToFrame(1.0, 1.0, -0.5, -0.5)
_SLOT, _GAP, _MARGIN = 16, 8, 3
"""Cells of one person, between people and at the border. The gap keeps limbs of two people from being confused."""
_ANY_LENGTH = DecoderOptions(max_limb_length=1.5, length_penalty_start=1.5)
"""Options that accept limbs across the whole slot."""

People = npt.NDArray[np.float32]


def place_randomly(skeleton: Skeleton, count: int, rng: np.random.Generator) -> tuple[People, tuple[int, int]]:
    """Return people with keypoints anywhere in their slot, at least 1.5 cells apart, and the size of the maps."""
    people = np.zeros((count, len(skeleton.keypoints), 2), np.float32)
    for i in range(count):
        for k in range(len(skeleton.keypoints)):
            while True:
                point = rng.uniform(0, _SLOT, 2)
                if not k or np.hypot(*(people[i, :k] - point).T).min() > 1.5:
                    break
            people[i, k] = point
    people += np.array((_MARGIN, _MARGIN), np.float32)
    people[:, :, 0] += (np.arange(count) * (_SLOT + _GAP))[:, None]
    return people, (_SLOT + 2 * _MARGIN, count * (_SLOT + _GAP) - _GAP + 2 * _MARGIN)


def make_random_skeleton(rng: np.random.Generator, keypoints: int, extra: int, background: bool) -> Skeleton:
    """Return a tree over all keypoints with extra limbs, in random order, with random directions and PAF channels."""
    order = rng.permutation(keypoints)
    pairs = [(int(order[i]), int(order[rng.integers(i)])) for i in range(1, keypoints)]
    known = {frozenset(pair) for pair in pairs}
    for _ in range(extra):
        a, b = (int(i) for i in rng.choice(keypoints, 2, replace=False))
        if frozenset((a, b)) not in known:
            known.add(frozenset((a, b)))
            pairs.append((a, b))
    channels = rng.permutation(2 * len(pairs)).tolist()
    limbs = [
        Limb(a, b, channels.pop(), channels.pop(), can_seed=i < keypoints - 1 or bool(rng.integers(2)))
        for i, (a, b) in enumerate(pairs)
    ]
    shuffled = tuple(limbs[i] for i in rng.permutation(len(limbs)))
    return Skeleton("random", tuple(f"k{i}" for i in range(keypoints)), shuffled, background=background)


def assert_found(
    skeleton: Skeleton, people: People, size: tuple[int, int], max_error: float, options: DecoderOptions
) -> None:
    """Assert that the decoder finds every person with every keypoint, like the reference implementation."""
    heatmaps, pafs = render_fields(people, *size, skeleton)
    assert heatmaps.shape == (*size, skeleton.heatmap_channels)
    assert pafs.shape == (*size, skeleton.paf_channels)
    poses = Decoder(*size, skeleton, options).decode(PoseFields(heatmaps, pafs), CELLS)
    assert len(poses) == len(people)
    found = np.stack([pose.keypoints for pose in poses])
    assert (found[:, :, 2] > 0).all()
    errors = np.abs(found[:, None, :, :2] - people[None]).max(axis=(2, 3))
    assert (errors.min(axis=1) < max_error).all()
    assert sorted(errors.argmin(axis=1)) == list(range(len(people)))
    expected = twin.decode(heatmaps, pafs, skeleton, options)
    assert sorted(pose.score for pose in poses) == pytest.approx(sorted(score for score, _ in expected), abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 24), st.integers(0, 6), st.booleans(), st.integers(1, 3))
def test_random_skeletons(seed: int, keypoints: int, extra: int, background: bool, count: int) -> None:
    rng = np.random.default_rng(seed)
    skeleton = make_random_skeleton(rng, keypoints, extra, background)
    assert_found(skeleton, *place_randomly(skeleton, count, rng), max_error=0.3, options=_ANY_LENGTH)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(list_skeletons()), st.booleans(), st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_shipped_skeletons_in_any_pose(name: str, background: bool, seed: int, count: int) -> None:
    skeleton = load_skeleton(name).with_background(background)
    assert_found(
        skeleton, *place_randomly(skeleton, count, np.random.default_rng(seed)), max_error=0.3, options=_ANY_LENGTH
    )


@pytest.mark.parametrize("name", ["body25", "mpi15", "trt_pose18"])
@pytest.mark.parametrize("count", [1, 4, 12])
def test_synthetic_people(name: str, count: int, rng: np.random.Generator) -> None:
    skeleton = load_skeleton(name)
    assert_found(
        skeleton, place_people(count, 46, 62, rng, skeleton), (46, 62), max_error=0.55, options=DecoderOptions()
    )


def test_swapped_paf_components_find_nobody(rng: np.random.Generator) -> None:
    """A table with x and y exchanged must fail, or the tests above would prove nothing about it."""
    skeleton = load_skeleton("trt_pose18")
    people, size = place_people(2, 46, 62, rng, skeleton), (46, 62)
    heatmaps, pafs = render_fields(people, *size, skeleton)
    limbs = tuple(limb._replace(paf_x=limb.paf_y, paf_y=limb.paf_x) for limb in skeleton.limbs)
    swapped = Skeleton("swapped", skeleton.keypoints, limbs, background=False)
    poses = Decoder(*size, swapped).decode(PoseFields(heatmaps, pafs), CELLS)
    assert all((pose.keypoints[:, 2] > 0).sum() < 18 for pose in poses)
