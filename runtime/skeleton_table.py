"""Types of a skeleton: keypoints, limbs, and the PAF channels of each limb. All indices are checked."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from .errors import UnknownNameError

MAX_KEYPOINTS = 256
MAX_LIMBS = 1024
COCO_KEYPOINT_COUNT = 17

_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+ -]{0,63}")
_MAX_KEYPOINT_NAME_LENGTH = 64
_SIGMA_BY_PART = {
    "nose": 0.026, "eye": 0.025, "ear": 0.035, "shoulder": 0.079, "elbow": 0.072, "wrist": 0.062, "hip": 0.107,
    "knee": 0.087, "ankle": 0.089,
}  # fmt: skip
"""OKS sigmas of COCO. Source: cocodataset.org/#keypoints-eval."""
_DEFAULT_SIGMA = 0.079
"""Sigma of COCO's shoulders, for the neck and all other keypoints that COCO does not have."""


_USUAL_WORDS = {" ": "_", "foot": "ankle", "feet": "ankle", "hand": "wrist", "head": "nose"}
"""What users write instead of the names of keypoints."""


class SkeletonError(ValueError):
    """A skeleton is invalid.

    Attributes:
        place: The wrong entry, such as `limbs[2].paf_x`.
        problem: What was expected, and what was found.
    """

    def __init__(self, skeleton: str, place: str, problem: str) -> None:
        super().__init__(f"skeleton {str(skeleton)[:64]!r}: {place}: {problem}")
        self.place, self.problem = place, problem


def suggest_name(name: str, known: Sequence[str]) -> str:
    """Return the end of a message about an unknown keypoint: the most similar name, or all names."""
    wanted = name[:64].lower()
    for word, replacement in _USUAL_WORDS.items():
        if word == " " or not any(word in one for one in known):
            wanted = wanted.replace(word, replacement)
    near = difflib.get_close_matches(wanted, known, n=1)
    return f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"


class Limb(NamedTuple):
    """Two connected keypoints and their PAF channels.

    Attributes:
        a: Index of the first keypoint.
        b: Index of the second keypoint.
        paf_x: Index of the PAF channel with the x component of the unit vector from a to b.
        paf_y: Index of the PAF channel with the y component.
        can_seed: True if this limb can start a new person. If False, it only joins keypoints to a person that already
            exists, and it is not drawn.
    """

    a: int
    b: int
    paf_x: int
    paf_y: int
    can_seed: bool = True


@dataclass(frozen=True, repr=False)
class Skeleton:
    """Keypoints and limbs of a network family.

    Attributes:
        name: Name of the skeleton.
        keypoints: Names of the keypoints, in the order of the heatmap channels.
        limbs: The limbs, in the order in which the decoder connects them.
        coco_order: Index of each of COCO's 17 keypoints in `keypoints`; empty if the skeleton does not have them all.
        background: True if the heatmaps have one more channel, the last one, for the background.
        left_right: Pairs of indices: the same keypoint on the left and on the right side of the body.
        sigmas: OKS sigma of each keypoint: the standard deviation of its position between annotators, as a share of the
            size of the person. Default: COCO's sigma of the same body part, otherwise 0.079.

    Raises:
        SkeletonError: An index or a number is out of range, or an entry contradicts another.
    """

    name: str
    keypoints: tuple[str, ...]
    limbs: tuple[Limb, ...]
    coco_order: tuple[int, ...] = ()
    background: bool = True
    left_right: tuple[tuple[int, int], ...] = ()
    sigmas: tuple[float, ...] = ()

    def __repr__(self) -> str:
        return f"Skeleton({self.name!r}, {len(self.keypoints)} keypoints, {len(self.limbs)} limbs)"

    def __post_init__(self) -> None:
        """Check all indices, because the decoder's kernel uses them to access memory without bounds checks."""
        for place, problem in _find_problems(self):
            raise SkeletonError(self.name, place, problem)
        if not self.sigmas:
            object.__setattr__(self, "sigmas", tuple(map(get_default_sigma, self.keypoints)))

    def index(self, name: str) -> int:
        """Return the index of a keypoint, which is also its heatmap channel.

        Raises:
            UnknownNameError: There is no such keypoint; the message suggests the most similar name.
        """
        try:
            return self.keypoints.index(name)
        except ValueError:
            raise UnknownNameError(f"no keypoint {name!r}; {suggest_name(str(name), self.keypoints)}") from None

    @property
    def heatmap_channels(self) -> int:
        """Number of heatmap channels: one per keypoint, and with `background` one more as the last one."""
        return len(self.keypoints) + self.background

    @property
    def paf_channels(self) -> int:
        """Number of PAF channels: two per limb."""
        return 2 * len(self.limbs)

    @cached_property
    def mirror_order(self) -> tuple[int, ...]:
        """For each keypoint the index of the same keypoint on the other side of the body."""
        order = list(range(len(self.keypoints)))
        for left, right in self.left_right:
            order[left], order[right] = right, left
        return tuple(order)

    def with_background(self, background: bool) -> Skeleton:
        """Return the skeleton of a network that has, or does not have, a background channel."""
        return self if background == self.background else replace(self, background=background)


def get_default_sigma(keypoint: str) -> float:
    """Return COCO's OKS sigma of a body part such as `left_knee`, otherwise 0.079."""
    return _SIGMA_BY_PART.get(keypoint.rpartition("_")[2], _DEFAULT_SIGMA)


def _find_problems(skeleton: Skeleton) -> Iterator[tuple[str, str]]:
    """Find invalid entries. Later checks rely on earlier ones, so only the first problem is certain."""
    if not (isinstance(skeleton.name, str) and _NAME_PATTERN.fullmatch(skeleton.name)):
        yield "name", f"expected 1 to 64 letters, digits or one of _.+-, got {str(skeleton.name)[:80]!r}"
    keypoint_count, limb_count = len(skeleton.keypoints), len(skeleton.limbs)
    yield from find_count_problems(keypoint_count, limb_count)
    yield from find_keypoint_problems(skeleton.keypoints)
    for number, limb in enumerate(skeleton.limbs):
        for name, limit in (("a", keypoint_count), ("b", keypoint_count), ("paf_x", 2 * limb_count),
                            ("paf_y", 2 * limb_count)):  # fmt: skip
            value = getattr(limb, name)
            if not _is_index(value, limit):
                yield f"limbs[{number}].{name}", f"expected 0 to {limit - 1}, got {value!r}"
    yield from _find_limb_conflicts(skeleton.limbs)
    yield from _find_order_problems(skeleton)
    yield from _find_sigma_problems(skeleton.sigmas, keypoint_count)


def find_count_problems(keypoint_count: int, limb_count: int) -> Iterator[tuple[str, str]]:
    """Find numbers of keypoints and limbs that are not allowed: pairs of place and problem."""
    if not 2 <= keypoint_count <= MAX_KEYPOINTS:
        yield "keypoints", f"expected 2 to {MAX_KEYPOINTS} keypoints, got {keypoint_count}"
    if not 1 <= limb_count <= MAX_LIMBS:
        yield "limbs", f"expected 1 to {MAX_LIMBS} limbs, got {limb_count}"


def find_keypoint_problems(keypoints: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Find names that are not printable or not unique: pairs of place and problem."""
    seen: set[str] = set()
    for number, name in enumerate(keypoints):
        if not (isinstance(name, str) and name.isprintable() and 1 <= len(name) <= _MAX_KEYPOINT_NAME_LENGTH):
            yield f"keypoints[{number}]", f"expected a name of 1 to 64 printable characters, got {str(name)[:80]!r}"
        if name in seen:
            yield f"keypoints[{number}]", f"{name!r} is listed twice"
        seen.add(name)


def _find_limb_conflicts(limbs: Sequence[Limb]) -> Iterator[tuple[str, str]]:
    ends: dict[frozenset[int], int] = {}
    channels: dict[int, int] = {}
    for number, limb in enumerate(limbs):
        if limb.a == limb.b or limb.paf_x == limb.paf_y:
            yield (
                f"limbs[{number}]",
                f"expected two different keypoints and two different PAF channels, got {tuple(limb)}",
            )
        if (earlier := ends.setdefault(frozenset((limb.a, limb.b)), number)) != number:
            yield f"limbs[{number}]", f"limb {earlier + 1} connects the same keypoints"
        for channel in (limb.paf_x, limb.paf_y):
            if (earlier := channels.setdefault(channel, number)) != number:
                yield f"limbs[{number}].paf_x", f"channel {channel} belongs to limb {earlier + 1} already"
    if not any(limb.can_seed for limb in limbs):
        yield "limbs", "expected at least one limb with can_seed, otherwise nobody is found"


def _find_order_problems(skeleton: Skeleton) -> Iterator[tuple[str, str]]:
    count = len(skeleton.keypoints)
    for number, value in enumerate(skeleton.coco_order):
        if not _is_index(value, count):
            yield f"coco_order[{number}]", f"expected 0 to {count - 1}, got {value!r}"
    if skeleton.coco_order and len(set(skeleton.coco_order)) != COCO_KEYPOINT_COUNT:
        yield "coco_order", f"expected {COCO_KEYPOINT_COUNT} different keypoints, got {len(set(skeleton.coco_order))}"
    if skeleton.coco_order and len(skeleton.coco_order) != COCO_KEYPOINT_COUNT:
        yield "coco_order", f"expected {COCO_KEYPOINT_COUNT} keypoints, got {len(skeleton.coco_order)}"
    seen: set[int] = set()
    for number, pair in enumerate(skeleton.left_right):
        for side in (0, 1):
            if not _is_index(pair[side], count):
                yield f"left_right[{number}][{side}]", f"expected 0 to {count - 1}, got {pair[side]!r}"
            if pair[side] in seen:
                yield f"left_right[{number}][{side}]", f"keypoint {pair[side]} is in a pair already"
            seen.add(pair[side])


def _find_sigma_problems(sigmas: Sequence[float], keypoint_count: int) -> Iterator[tuple[str, str]]:
    if sigmas and len(sigmas) != keypoint_count:
        yield "sigmas", f"expected one number per keypoint ({keypoint_count}), got {len(sigmas)}"
    for number, sigma in enumerate(sigmas):
        if type(sigma) not in (int, float) or not 0 < sigma < 1:  # NaN is refused too
            yield f"sigmas[{number}]", f"expected a number above 0 and below 1, got {sigma!r}"


def _is_index(value: object, count: int) -> bool:
    return type(value) is int and 0 <= value < count
