"""Skeletons: the shipped ones, which are the files in `skeletons/`, and those of users."""

from __future__ import annotations

import difflib
from functools import cache
from os import PathLike
from pathlib import Path

from .errors import UnknownNameError
from .skeleton_file import read_skeleton
from .skeleton_table import Limb, Skeleton, SkeletonError

__all__ = [
    "COCO18", "Limb", "Skeleton", "SkeletonError", "get_skeleton", "is_shipped", "list_skeletons", "load_skeleton",
]  # fmt: skip

_SHIPPED_FOLDER = Path(__file__).parent / "skeletons"
_SHIPPED_NAMES = ("coco18", "body25", "mpi15", "trt_pose18", "hand21")


def list_skeletons() -> tuple[str, ...]:
    """Return the names of the shipped skeletons."""
    return _SHIPPED_NAMES


@cache
def get_skeleton(name: str) -> Skeleton:
    """Return a shipped skeleton.

    Raises:
        UnknownNameError: There is no such skeleton; the message suggests the most similar name.
    """
    if name not in _SHIPPED_NAMES:
        near = difflib.get_close_matches(name, _SHIPPED_NAMES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(_SHIPPED_NAMES)}, or a .toml file"
        raise UnknownNameError(f"no skeleton {name!r}; {hint}")
    return read_skeleton(_SHIPPED_FOLDER / f"{name}.toml")


def is_shipped(skeleton: Skeleton) -> bool:
    """Return True if a skeleton is equal to the shipped one of this name."""
    return skeleton.name in _SHIPPED_NAMES and get_skeleton(skeleton.name) == skeleton


def load_skeleton(source: str | PathLike[str]) -> Skeleton:
    """Return a shipped skeleton, or read one from a TOML file (docs/reference/skeletons.md).

    >>> edgepose.load_skeleton("body25").keypoints
    >>> edgepose.load_skeleton("my.toml").index("left_wrist")

    Args:
        source: Name of a shipped skeleton (`list_skeletons`), or path of a file that ends in `.toml`.

    Raises:
        InputError: The file cannot be read or is invalid; the message names the line.
        UnknownNameError: There is no skeleton of this name.
    """
    path = Path(source)
    if str(source) in _SHIPPED_NAMES or not (path.suffix.lower() == ".toml" or path.is_file()):
        return get_skeleton(str(source))
    return read_skeleton(path)


COCO18 = get_skeleton("coco18")
"""The 18 keypoints and 19 limbs of OpenPose's COCO model, as used by tf-pose-estimation and Open Model Zoo."""
