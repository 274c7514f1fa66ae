"""The point of a person that a zone or a line looks at: feet, center, or a keypoint."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

from ...runtime.errors import UnknownNameError
from ...runtime.skeleton import Skeleton
from .geometry import Point
from .person import Person

ANCHORS = ("feet", "center")


def make_locator(anchor: str, skeleton: Skeleton) -> Callable[[Person], Point | None]:
    """Return a function that returns the point of a person; None if it was not found.

    Args:
        anchor: `feet`, `center`, or the name of a keypoint.
        skeleton: Skeleton of the poses.

    Raises:
        ValueError: There is no such keypoint.
    """
    if anchor in ANCHORS:
        return attrgetter(anchor)
    index = find_keypoint("anchor", anchor, skeleton, ANCHORS)

    def locate(person: Person) -> Point | None:
        return person.get_point(index)

    return locate


def find_keypoint(key: str, name: str, skeleton: Skeleton, others: tuple[str, ...] = ()) -> int:
    """Return the index of a keypoint.

    Args:
        key: Key of the configuration, for the message.
        name: Name of the keypoint.
        skeleton: Skeleton of the poses.
        others: Further values that the key can have.

    Raises:
        ValueError: There is no such keypoint; the message begins with the key and names the most similar one.
    """
    try:
        return skeleton.index(name)
    except UnknownNameError as error:
        extra = f" (or {', '.join(others)})" if others else ""
        raise ValueError(f"{key}: {error}{extra}") from None
