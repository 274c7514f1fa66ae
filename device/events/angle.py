"""Rule for the angle between three keypoints, and the lookup of keypoints by names that may omit the side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from ...runtime.schema import Limits
from ...runtime.skeleton import COCO18, Skeleton
from ...runtime.skeleton_table import suggest_name
from .body import Points
from .condition import ConditionConfig, ConditionRule
from .event import Event
from .geometry import compute_angle
from .person import Person
from .rule import Share

Triple = tuple[int, int, int]

Angle = Annotated[float, Limits(0, 180, unit="degrees")]
"""An angle between two parts of the body."""


@dataclass(frozen=True, kw_only=True)
class AngleConfig(ConditionConfig):
    """Table `[[events.angle]]`.

    Attributes:
        keypoints: Three keypoints, the one at the vertex in the middle. Without a side, such as `elbow`: the rule holds
            for the right or the left side.
        below: The angle must be smaller; None: no limit. `below`, `above` or both are required.
        above: The angle must be larger; None: no limit. With `below` it must be between the two.
        hysteresis: By how much the angle must be outside again before the end.
    """

    keypoints: tuple[str, ...]
    below: Angle | None = None
    above: Angle | None = None
    hysteresis: Annotated[float, Limits(0, 90, unit="degrees")] = 5.0
    min_score: Share = 0.2

    def check(self) -> None:
        """Raise ValueError if a value is out of range; the message begins with the key."""
        super().check()
        if self.below is None and self.above is None:
            raise ValueError("below: expected `below`, `above` or both in degrees, got neither")
        if self.below is not None and self.above is not None and self.above >= self.below:
            raise ValueError(
                f"above: expected less than `below`, so that there are angles between them, got {self.above:g} and "
                f"{self.below:g}; for angles outside of a range, use two rules"
            )


class AngleRule(ConditionRule):
    """An angle of each person that is in a range."""

    kind = "angle"
    event = "angle"

    def __init__(self, config: AngleConfig, skeleton: Skeleton = COCO18) -> None:
        super().__init__(config, skeleton)
        self._triples = find_triples(config.keypoints, skeleton)
        self._hysteresis = config.hysteresis
        self._below = 360.0 if config.below is None else config.below
        self._above = -1.0 if config.above is None else config.above
        self._values: dict[int, float] = {}

    def evaluate(self, person: Person, is_active: bool) -> bool | None:
        """Return True if the angle of one side is in the range; None if none is known."""
        margin = self._hysteresis if is_active else 0.0
        low, high = self._above - margin, self._below + margin
        angles = measure_angles(person.points, self._triples)
        for angle in angles:
            if low < angle < high:
                self._values[person.number] = angle
                return True
        if not angles or (len(angles) < len(self._triples) and is_active):
            return None
        self._values[person.number] = angles[0]
        return False

    def measure(self, person: Person) -> float | None:
        """Return the angle in degrees."""
        return self._values.get(person.number)

    def forget(self, person: int, seen_s: float) -> list[Event]:
        """End the condition of a person who is gone."""
        self._values.pop(person, None)
        return super().forget(person, seen_s)

    def rename(self, old: int, new: int) -> None:
        """Give the state of a person to another number."""
        if old in self._values:
            self._values[new] = self._values.pop(old)
        super().rename(old, new)


def find_triples(names: Sequence[str], skeleton: Skeleton) -> tuple[Triple, ...]:
    """Return the indices of three keypoints; for names without a side those of the right and of the left side.

    Raises:
        ValueError: There are not three different names, or the skeleton does not have one of them.
    """
    if len(names) != 3 or len(set(names)) != 3:
        raise ValueError(
            f"keypoints: expected three different keypoints, the vertex in the middle, got {', '.join(names) or 'none'}"
        )
    known = set(skeleton.keypoints)
    sideless = [name[6:] for name in skeleton.keypoints if name.startswith("right_") and f"left_{name[6:]}" in known]
    is_sided = [name not in known and name in sideless for name in names]
    for name in names:
        if name not in known and name not in sideless:
            raise ValueError(
                f"keypoints: no keypoint {name[:64]!r}; {suggest_name(name, [*skeleton.keypoints, *sideless])}"
            )
    triples = []
    for side in ("right_", "left_") if any(is_sided) else ("",):
        indices = [skeleton.index(side + name if sided else name) for name, sided in zip(names, is_sided, strict=True)]
        triples.append((indices[0], indices[1], indices[2]))
    return tuple(triples)


def measure_angles(points: Points, triples: Sequence[Triple]) -> list[float]:
    """Return the angles in degrees of those triples whose keypoints were found."""
    angles = []
    for a, vertex, b in triples:
        one, middle, other = points[a], points[vertex], points[b]
        if one[2] > 0 and middle[2] > 0 and other[2] > 0:
            angle = compute_angle((one[0], one[1]), (middle[0], middle[1]), (other[0], other[1]))
            if angle is not None:
                angles.append(angle)
    return angles
