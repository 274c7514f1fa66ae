"""Frames from what a user names: an image, a folder, a video, or the synthetic scene."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import InputError
from ..types import Frame
from .atomic import try_expand_home
from .images import MAX_PIXELS, VIDEOS, FileKind, inspect_file, read_frames, survey_folder
from .redact import mask_credentials

SYNTHETIC = "synthetic"

_SUFFIXES_OF_SEQUENCES = (*VIDEOS, ".gif", ".webp", ".tif", ".tiff", ".png", ".apng", ".avif")
_MAX_NAMES_LISTED = 5


@dataclass(frozen=True)
class Input:
    """One image, video or scene.

    `path` is None for the scene. `folder` is the folder it was found in, "" if it was named itself. `error` says why
    it cannot be read, "" if that is not known yet.
    """

    name: str
    path: Path | None
    people: int = 0
    folder: str = ""
    error: str = ""

    @cached_property
    def kind(self) -> FileKind:
        """What the file holds, by its content. Raises InputError if it cannot be read."""
        if self.error:
            raise InputError(self.error)
        return "image" if self.path is None else inspect_file(self.path)

    @property
    def is_video(self) -> bool:
        """Whether its frames follow each other in time; False if it cannot be read."""
        try:
            return self.kind in ("video", "animation")
        except InputError:
            return False

    @property
    def may_have_many_frames(self) -> bool:
        """Whether the suffix is that of a format with more than one frame. Does not open the file."""
        return self.path is not None and self.path.suffix.lower() in _SUFFIXES_OF_SEQUENCES


def expand(name: str) -> list[Input]:
    """Find the inputs behind one argument: a folder becomes its images, `synthetic:N` a scene of N people.

    `~` and, if no such file exists, the wildcards `*`, `?` and `[` are expanded.

    Raises:
        InputError: nothing there, or something that another command reads.
    """
    kind, _, count = name.partition(":")
    if kind == SYNTHETIC and not Path(name).exists():
        if count and not (count.isascii() and count.isdigit() and int(count) <= 100):
            raise InputError(f"{name}: expected synthetic or synthetic:N with N from 0 to 100")
        return [Input(name, None, int(count or 2))]
    if not name:
        raise InputError("'': no such image, folder or video: the name is empty")
    path = Path(try_expand_home(name))
    if path.is_dir():
        images = survey_folder(path).images
        if not images:
            raise InputError(f"{path}: no images in this folder{_describe_left_out(path)}")
        return [Input(str(image), image, folder=str(path)) for image in images]
    if path.is_char_device() or path.is_block_device():
        raise InputError(f"{name}: {_CAMERA_HINT if name.startswith('/dev/v') else _DEVICE_HINT}")
    if path.exists():
        return [Input(str(path), path)]
    if hint := _hint(name):
        raise InputError(f"{mask_credentials(name)}: {hint}")
    if any(character in name for character in "*?["):
        found = sorted(glob.glob(str(path)))  # noqa: PTH207 - patterns may be absolute
        if not found:
            raise InputError(f"{name}: no file matches this pattern")
        return [item for match in found for item in expand(match)]
    raise InputError(f"{name}: no such image, folder or video")


def describe_left_out(inputs: list[Input]) -> list[str]:
    """Say for every folder among the inputs which of its files are not read: one line per folder."""
    folders = dict.fromkeys(item.folder for item in inputs if item.folder)
    return [f"{folder}{text}" for folder in folders if (text := _describe_left_out(Path(folder)))]


def frames(source: Input, max_pixels: int = MAX_PIXELS) -> Iterator[Frame]:
    """Read the frames of one input: one for an image or the scene, all of a video, an animation or a TIFF file."""
    if source.error:
        raise InputError(source.error)
    if source.path is None:
        from ..synthetic import Scene

        yield Frame(Scene(source.people).frame(0).image, source.name)
    else:
        yield from read_frames(source.path, max_pixels)


_DEVICE_HINT = "this is a device, no file"
_CAMERA_HINT = "this is a camera; use `edgepose camera --source v4l2:N`"


def _hint(name: str) -> str:
    """What to do with an argument that is not a file but looks like something known; "" if it does not."""
    if name in ("-", "/dev/stdin"):
        return "standard input is not read; save it to a file and name the file"
    if (name.isascii() and name.isdigit()) or re.fullmatch(r"/dev/v.*|v4l2(:.*)?|picamera2(:.*)?", name):
        source = f"v4l2:{name}" if name.isdigit() else name
        return f"no such file; for a camera use `edgepose camera --source {source}`"
    scheme, separator, rest = name.partition("://")
    if not separator:
        return ""
    if scheme.lower() == "file":
        return f"expected a file name without file://: {rest}"
    suffix = Path(re.split(r"[?#]", rest)[0]).suffix.lower()
    if scheme.lower() in ("http", "https", "ftp") and re.fullmatch(r"\.[a-z0-9]{2,5}", suffix) and "/" in rest:
        return "addresses are not downloaded; download the file first, for example with curl -O, and name the file"
    return "this is an address; for a network camera use `edgepose camera --source ADDRESS`"


def _describe_left_out(folder: Path) -> str:
    names = survey_folder(folder).left_out
    if not names:
        return ""
    listed = ", ".join(names[:_MAX_NAMES_LISTED]) + (", ..." if len(names) > _MAX_NAMES_LISTED else "")
    subject = "1 file" if len(names) == 1 else f"{len(names)} files"
    if any(name.endswith("/") for name in names):
        subject += " or folders" if len(names) > 1 else " or folder"
    return f": {subject} left out: {listed}"
