"""Reader of skeleton files (TOML): names become indices, and errors name the line. See docs/reference/skeletons.md."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import schema
from .errors import InputError
from .io.read_file import read_text
from .skeleton_table import (
    Limb,
    Skeleton,
    SkeletonError,
    find_count_problems,
    find_keypoint_problems,
    get_default_sigma,
)
from .toml_lines import find_line

_MAX_BYTES = 1 << 18
"""Larger than any skeleton with all keypoints and limbs that are allowed. Some steps take quadratic time."""


@dataclass(frozen=True)
class LimbEntry:
    """A limb.

    Attributes:
        a: First keypoint: its name, or its index from 0.
        b: Second keypoint. The PAF points from `a` to `b`.
        paf: The two PAF channels of the limb: x first, then y. Each channel belongs to one limb.
        can_seed: `false`: the limb starts no new person and is not drawn, such as shoulder to ear.
    """

    a: Any
    b: Any
    paf: tuple[int, int]
    can_seed: bool = True


@dataclass(frozen=True)
class SkeletonEntry:
    """Content of a file. The keypoints in all entries but `keypoints` are names, or indices from 0.

    Attributes:
        name: Name of the skeleton, shown in messages.
        keypoints: Names of the keypoints, in the order of the heatmaps.
        limbs: The limbs, in the order in which they are connected.
        background: The network has one more heatmap, the last one, for the background.
        left_right: Pairs of the same keypoint on the left and on the right.
        coco_order: COCO's 17 keypoints in COCO's order. `--format coco`, `eval` and `--annotations` need it; (): the
            skeleton does not have them.
        sigmas: OKS sigma of a keypoint by its name, for tracking and verification. Default: COCO's sigma of the same
            part (`left_knee`: that of knees), otherwise 0.079.
    """

    name: str
    keypoints: tuple[str, ...]
    limbs: tuple[LimbEntry, ...]
    background: bool = True
    left_right: tuple[tuple[Any, Any], ...] = ()
    coco_order: tuple[Any, ...] = ()
    sigmas: Mapping[str, float] = field(default_factory=dict)


def read_skeleton(path: Path) -> Skeleton:
    """Read a skeleton from a TOML file.

    Raises:
        InputError: The file cannot be read or is invalid; the message names the line.
    """
    try:
        text = read_text(path, _MAX_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot read the skeleton: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: expected a TOML file with a skeleton, this is not UTF-8 text") from None
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(_describe_syntax_error(path, text, str(error))) from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: expected a TOML file with a skeleton; a number or a list is too large") from None
    entry: SkeletonEntry | None = None
    try:
        entry = schema.build(SkeletonEntry, document, strict=True)
        return _make_skeleton(entry)
    except SkeletonError as error:
        place, problem = error.place, error.problem
        if entry is not None and (number := re.fullmatch(r"sigmas\[(\d+)\]", place)):
            place = f"sigmas.{entry.keypoints[int(number[1])]}"
    except ValueError as error:
        place, _, problem = str(error).partition(": ")
    raise InputError(f"{path}:{find_line(text, place)}: {_format_place(place)}{problem}")


def _make_skeleton(entry: SkeletonEntry) -> Skeleton:
    # The search for the keypoint of an entry takes time in proportion to their number.
    for place, problem in (
        *find_count_problems(len(entry.keypoints), len(entry.limbs)),
        *find_keypoint_problems(entry.keypoints),
    ):
        raise SkeletonError(entry.name, place, problem)

    def find(keypoint: Any, place: str) -> int:
        return _find_keypoint(keypoint, entry.keypoints, place)

    limbs = tuple(
        Limb(find(limb.a, f"limbs[{i}].a"), find(limb.b, f"limbs[{i}].b"), *limb.paf, limb.can_seed)
        for i, limb in enumerate(entry.limbs)
    )
    for keypoint in entry.sigmas:
        find(keypoint, f"sigmas.{keypoint}" if keypoint.isidentifier() else "sigmas")
    return Skeleton(
        entry.name,
        entry.keypoints,
        limbs,
        coco_order=tuple(find(keypoint, f"coco_order[{i}]") for i, keypoint in enumerate(entry.coco_order)),
        background=entry.background,
        left_right=tuple(
            (find(left, f"left_right[{i}][0]"), find(right, f"left_right[{i}][1]"))
            for i, (left, right) in enumerate(entry.left_right)
        ),
        sigmas=tuple(entry.sigmas.get(keypoint, get_default_sigma(keypoint)) for keypoint in entry.keypoints),
    )


def _find_keypoint(keypoint: Any, names: Sequence[str], place: str) -> int:
    """Return the index of a keypoint that the file gives as a name or as an index."""
    if isinstance(keypoint, str) and keypoint in names:
        return names.index(keypoint)
    if isinstance(keypoint, str):
        near = difflib.get_close_matches(keypoint, names, n=1)
        hint = f'; did you mean "{near[0]}"?' if near else ""
        raise SkeletonError("", place, f'keypoint "{keypoint[:64]}" is not in keypoints{hint}')
    if type(keypoint) is not int or not 0 <= keypoint < len(names):
        expected = f"the name of a keypoint, or its index from 0 to {len(names) - 1}"
        raise SkeletonError("", place, f"expected {expected}, got {str(keypoint)[:80]}")
    return keypoint


def _describe_syntax_error(path: Path, text: str, message: str) -> str:
    """Return the message of the TOML parser with the line in front, as in the other messages."""
    found = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    if found is None:
        return f"{path}: not valid TOML: {message}"
    line = found[1] or str(text.rstrip().count("\n") + 1)
    return f"{path}:{line}: not valid TOML: {message[: found.start()]}"


def _format_place(place: str) -> str:
    """Return the place as a reader of the file counts: `limbs[2].paf_x` is "limb 3: "."""
    if found := re.match(r"limbs\[(\d+)\](?:\.(\w+))?", place):
        key = {"paf_x": "paf", "paf_y": "paf", "a": None, "b": None}.get(found[2], found[2])
        return f"limb {int(found[1]) + 1}: " + (f"{key}: " if key else "")
    return "" if place == "document" else f"{place}: "
