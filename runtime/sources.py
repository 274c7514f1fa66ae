"""Frames from what a user names: a picture, a folder, a video, or the synthetic scene."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .errors import InputError
from .images import VIDEOS, Video, list_pictures, read_picture
from .types import Frame

SYNTHETIC = "synthetic"


class Input(NamedTuple):
    """One picture, video or scene; `path` is None for the scene."""

    name: str
    path: Path | None
    people: int = 0

    @property
    def is_video(self) -> bool:
        """Whether it has many frames."""
        return self.path is not None and self.path.suffix.lower() in VIDEOS


def expand(name: str) -> list[Input]:
    """The inputs behind one argument: a folder becomes its pictures, `synthetic:N` a scene of N people.

    Raises InputError for what does not exist.
    """
    kind, _, count = name.partition(":")
    if kind == SYNTHETIC and not Path(name).exists():
        if count and not (count.isascii() and count.isdigit() and int(count) <= 100):
            raise InputError(f"{name}: expected synthetic or synthetic:N with N from 0 to 100")
        return [Input(name, None, int(count or 2))]
    path = Path(name)
    if path.is_dir():
        return [Input(str(picture), picture) for picture in list_pictures(path)]
    if not path.exists():
        raise InputError(f"{name}: no such picture, folder or video")
    return [Input(name, path)]


def frames(source: Input) -> Iterator[Frame]:
    """The frames of one input: one for a picture or the scene, all of a video."""
    if source.path is None:
        from .scene import Scene

        yield Frame(Scene(source.people).frame(0).image, source.name)
    elif source.is_video:
        with Video(source.path) as video:
            yield from video
    else:
        yield Frame(read_picture(source.path), source.name)
