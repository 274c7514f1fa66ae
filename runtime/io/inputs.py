"""Inputs named on the command line: images, folders, videos, and the synthetic scene."""

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
from .images import MAX_PIXELS, VIDEO_SUFFIXES, FileKind, inspect_file, read_frames, scan_folder
from .redact import mask_credentials

SYNTHETIC = "synthetic"

_MULTI_FRAME_SUFFIXES = (*VIDEO_SUFFIXES, ".gif", ".webp", ".tif", ".tiff", ".png", ".apng", ".avif")
_MAX_NAMES_LISTED = 5


@dataclass(frozen=True)
class Input:
    """One image, video or synthetic scene.

    Attributes:
        name: The name for messages and results.
        path: The file; None for the scene.
        people: Number of people in the scene.
        folder: The folder in which the file was found; "" if the file itself was named.
        error: Message why the input cannot be read; "" if no error is known.
    """

    name: str
    path: Path | None
    people: int = 0
    folder: str = ""
    error: str = ""

    @cached_property
    def kind(self) -> FileKind:
        """Kind of the file, detected from its content.

        Raises:
            InputError: The file cannot be read.
        """
        if self.error:
            raise InputError(self.error)
        return "image" if self.path is None else inspect_file(self.path)

    @property
    def is_video(self) -> bool:
        """True for videos and animations; False for a file that cannot be read."""
        try:
            return self.kind in ("video", "animation")
        except InputError:
            return False

    @property
    def may_have_many_frames(self) -> bool:
        """True if files with this suffix can have more than one frame. Does not open the file."""
        return self.path is not None and self.path.suffix.lower() in _MULTI_FRAME_SUFFIXES


def find_inputs(name: str) -> list[Input]:
    """Return the inputs that one command-line argument stands for.

    Args:
        name: A file, a folder (all images directly in it), `synthetic`, or `synthetic:N` for a scene with N people (0
            to 100, default 2). `~` is expanded. The wildcards `*`, `?` and `[` are expanded if no file has this name.

    Raises:
        InputError: There is no such file, the folder has no images, or `name` is a device, a camera or a network
            address.
    """
    kind, _, count = name.partition(":")
    if kind == SYNTHETIC and not Path(name).exists():
        if count and not (count.isascii() and count.isdigit() and int(count) <= 100):
            raise InputError(f"{name}: expected synthetic or synthetic:N with N from 0 to 100")
        return [Input(name, None, int(count or 2))]
    if not name:
        raise InputError("'': no such image, folder or video; the name is empty")
    path = Path(try_expand_home(name))
    if path.is_dir():
        images = scan_folder(path).images
        if not images:
            raise InputError(f"{path}: no images in this folder{_describe_skipped(path)}")
        return [Input(str(image), image, folder=str(path)) for image in images]
    if path.is_char_device() or path.is_block_device():
        raise InputError(f"{name}: {_CAMERA_HINT if name.startswith('/dev/v') else _DEVICE_HINT}")
    if path.exists():
        return [Input(str(path), path)]
    if hint := _make_hint(name):
        raise InputError(f"{mask_credentials(name)}: {hint}")
    if any(character in name for character in "*?["):
        found = sorted(glob.glob(str(path)))  # noqa: PTH207 - patterns may be absolute
        if not found:
            raise InputError(f"{name}: no file matches this pattern")
        return [item for match in found for item in find_inputs(match)]
    raise InputError(f"{name}: no such image, folder or video")


def describe_skipped_files(inputs: list[Input]) -> list[str]:
    """Return one line per folder that lists the files in it that are not read."""
    folders = dict.fromkeys(item.folder for item in inputs if item.folder)
    return [f"{folder}{text}" for folder in folders if (text := _describe_skipped(Path(folder)))]


def read_input(source: Input, max_pixels: int = MAX_PIXELS) -> Iterator[Frame]:
    """Read the frames of one input: one frame of an image or scene, all frames of a video, animation or TIFF file.

    Args:
        source: The input.
        max_pixels: Maximum size of a frame, in pixels.

    Raises:
        InputError: The file cannot be read, or its frames are too large.
    """
    if source.error:
        raise InputError(source.error)
    if source.path is None:
        from ..synthetic import Scene

        yield Frame(Scene(source.people).render_frame(0).image, source.name)
    else:
        yield from read_frames(source.path, max_pixels)


_DEVICE_HINT = "this is a device, not a file"
_CAMERA_HINT = "this is a camera; use `edgepose camera --source v4l2:N`"


def _make_hint(name: str) -> str:
    """Return advice for a name that is no file but looks like a camera, an address or standard input; else ""."""
    if name in ("-", "/dev/stdin"):
        return "standard input is not supported; save the data to a file and give the file name"
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
        return "files are not downloaded; download the file first, for example with curl -O, and give the file name"
    return "this is a network address; for a network camera use `edgepose camera --source ADDRESS`"


def _describe_skipped(folder: Path) -> str:
    names = scan_folder(folder).skipped
    if not names:
        return ""
    listed = ", ".join(names[:_MAX_NAMES_LISTED]) + (", ..." if len(names) > _MAX_NAMES_LISTED else "")
    subject = "1 file" if len(names) == 1 else f"{len(names)} files"
    if any(name.endswith("/") for name in names):
        subject += " or folders" if len(names) > 1 else " or folder"
    return f": {subject} skipped: {listed}"
