"""Skeletons: keypoints, limbs, and the PAF channels of each limb."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import NamedTuple

from .errors import UnknownNameError

MAX_KEYPOINTS = 256
MAX_LIMBS = 1024


class Limb(NamedTuple):
    """Two connected keypoints and their PAF channels.

    Attributes:
        a: Index of the first keypoint.
        b: Index of the second keypoint.
        paf_x: Index of the PAF channel with the x component of the unit vector from a to b.
        paf_y: Index of the PAF channel with the y component.
        can_seed: True if this limb can start a new person. If False, it only joins keypoints to a person that already
            exists.
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
        coco_order: Index of each of COCO's 17 keypoints in `keypoints`.
    """

    name: str
    keypoints: tuple[str, ...]
    limbs: tuple[Limb, ...]
    coco_order: tuple[int, ...]

    def __repr__(self) -> str:
        return f"Skeleton({self.name!r}, {len(self.keypoints)} keypoints, {len(self.limbs)} limbs)"

    def __post_init__(self) -> None:
        """Check all indices, because the decoder's kernel uses them to access memory without bounds checks."""
        parts, channels = len(self.keypoints), self.paf_channels
        if not (2 <= parts <= MAX_KEYPOINTS and 1 <= len(self.limbs) <= MAX_LIMBS):
            raise ValueError(
                f"skeleton {self.name!r}: expected 2 to {MAX_KEYPOINTS} keypoints and 1 to {MAX_LIMBS} limbs, "
                f"got {parts} and {len(self.limbs)}"
            )
        for number, limb in enumerate(self.limbs):
            where = f"skeleton {self.name!r}: limb {number}"
            for name, limit in (("a", parts), ("b", parts), ("paf_x", channels), ("paf_y", channels)):
                value = getattr(limb, name)
                if type(value) is not int or not 0 <= value < limit:
                    raise ValueError(f"{where}: {name}: expected 0 to {limit - 1}, got {value!r}")
            if limb.a == limb.b or limb.paf_x == limb.paf_y:
                raise ValueError(
                    f"{where}: expected two different keypoints and two different PAF channels, got {tuple(limb)}"
                )
        if len({frozenset((limb.a, limb.b)) for limb in self.limbs}) != len(self.limbs):
            raise ValueError(f"skeleton {self.name!r}: two limbs connect the same keypoints")
        for value in self.coco_order:
            if type(value) is not int or not 0 <= value < parts:
                raise ValueError(f"skeleton {self.name!r}: coco_order: expected 0 to {parts - 1}, got {value!r}")

    def index(self, name: str) -> int:
        """Return the index of a keypoint, which is also its heatmap channel.

        Raises:
            UnknownNameError: There is no such keypoint; the message suggests the most similar name.
        """
        try:
            return self.keypoints.index(name)
        except ValueError:
            near = difflib.get_close_matches(str(name), self.keypoints, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(self.keypoints)}"
            raise UnknownNameError(f"no keypoint {name!r}; {hint}") from None

    @property
    def heatmap_channels(self) -> int:
        """Number of heatmap channels: one per keypoint, and the background as the last one."""
        return len(self.keypoints) + 1

    @property
    def paf_channels(self) -> int:
        """Number of PAF channels: two per limb."""
        return 2 * len(self.limbs)


COCO18 = Skeleton(
    name="coco18",
    keypoints=(
        "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
        "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye",
        "right_ear", "left_ear",
    ),
    limbs=(
        Limb(1, 2, 12, 13), Limb(1, 5, 20, 21), Limb(2, 3, 14, 15), Limb(3, 4, 16, 17), Limb(5, 6, 22, 23),
        Limb(6, 7, 24, 25), Limb(1, 8, 0, 1), Limb(8, 9, 2, 3), Limb(9, 10, 4, 5), Limb(1, 11, 6, 7),
        Limb(11, 12, 8, 9), Limb(12, 13, 10, 11), Limb(1, 0, 28, 29), Limb(0, 14, 30, 31), Limb(14, 16, 34, 35),
        Limb(0, 15, 32, 33), Limb(15, 17, 36, 37),
        # Limbs from shoulder to ear only add keypoints to people that were started by limbs of the neck and the head.
        Limb(2, 16, 18, 19, can_seed=False), Limb(5, 17, 26, 27, can_seed=False),
    ),
    coco_order=(0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10),
)  # fmt: skip
"""The 18 keypoints and 19 limbs of OpenPose's COCO model, as used by tf-pose-estimation and Open Model Zoo."""

SKELETONS = {skeleton.name: skeleton for skeleton in (COCO18,)}
