"""Inputs named on the command line: images, folders, videos, the synthetic scene, cameras and network addresses.

Cameras are read by `device.camera.live_input`. It is imported by name when it is needed, like the subcommands, because
the runtime does not depend on the camera loop.
"""

from __future__ import annotations

import glob
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import InputError
from ..types import Frame
from .atomic import try_expand_home
from .images import IMAGE_SUFFIXES, MAX_PIXELS, VIDEO_SUFFIXES, FileKind, inspect_file, read_frames, scan_folder
from .redact import mask_credentials

SYNTHETIC = "synthetic"

_MULTI_FRAME_SUFFIXES = (*VIDEO_SUFFIXES, ".gif", ".webp", ".tif", ".tiff", ".png", ".apng", ".avif")
_MAX_NAMES_LISTED = 5
_SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps")
_CAMERA_NAME = re.compile(r"/dev/(video\d|v4l/).*|(v4l2|picamera2)(:.*)?")
_LIVE_INPUT_MODULE = "edgepose.device.camera.live_input"


@dataclass(frozen=True)
class Input:
    """One image, video, synthetic scene, camera, or network address.

    Attributes:
        name: The name for messages and results.
        path: The file; None for the scene and for an address.
        people: Number of people in the scene.
        folder: The folder in which the file was found; "" if the file itself was named.
        error: Message why the input cannot be read; "" if no error is known.
        address: Camera, network address with credentials, or `-` for standard input; "" for files and the scene.
    """

    name: str
    path: Path | None
    people: int = 0
    folder: str = ""
    error: str = ""
    address: str = ""

    @cached_property
    def kind(self) -> FileKind:
        """Kind of the file, detected from its content.

        Raises:
            InputError: The file cannot be read.
        """
        if self.error:
            raise InputError(self.error)
        if self.is_live:
            return "video"
        return "image" if self.path is None else inspect_file(self.path)

    @property
    def is_live(self) -> bool:
        """True for cameras, streams and standard input; False for an address of one image."""
        return bool(self.address) and not _is_image_address(self.address)

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
        return self.is_live or (self.path is not None and self.path.suffix.lower() in _MULTI_FRAME_SUFFIXES)


def find_inputs(name: str) -> list[Input]:
    """Return the inputs that one command-line argument stands for.

    Args:
        name: A file, a folder (all images directly in it), `synthetic`, or `synthetic:N` for a scene with N people (0
            to 100, default 2). A camera (`0`, `/dev/video0`, `v4l2:0`, `picamera2`), a network address, or `-` for a
            stream of JPEG images on standard input. `~` is expanded. The wildcards `*`, `?` and `[` are expanded if no
            file has this name.

    Raises:
        InputError: There is no such file, the folder has no images, or `name` is a device that is no camera.
    """
    kind, _, count = name.partition(":")
    if kind == SYNTHETIC and not Path(name).exists():
        if count and not (count.isascii() and count.isdigit() and int(count) <= 100):
            raise InputError(f"{name}: expected synthetic or synthetic:N with N from 0 to 100")
        return [Input(name, None, int(count or 2))]
    if not name:
        raise InputError("'': no such image, folder or video; the name is empty")
    path = Path(try_expand_home(name))
    if _is_live_name(name):
        return [Input(mask_credentials(name), None, address=name)]
    if path.is_dir():
        images = scan_folder(path).images
        if not images:
            raise InputError(f"{path}: no images in this folder{_describe_skipped(path)}")
        return [Input(str(image), image, folder=str(path)) for image in images]
    if path.is_char_device() or path.is_block_device():
        raise InputError(f"{name}: this is a device, not a file")
    if path.exists():
        return [Input(str(path), path)]
    if hint := _make_hint(name):
        raise InputError(f"{mask_credentials(name)}: {hint}")
    if any(character in name for character in "*?["):
        return [item for match in match_pattern(str(path), name) for item in find_inputs(match)]
    raise InputError(f"{name}: no such image, folder or video")


def match_pattern(pattern: str, name: str) -> list[str]:
    """Return the paths that match a pattern, sorted by name.

    Args:
        pattern: The pattern, which may be absolute.
        name: The pattern as the user wrote it, for the message.

    Raises:
        InputError: There are none.
    """
    try:
        found = sorted(glob.glob(pattern))  # noqa: PTH207 - patterns may be absolute
    except ValueError:  # a NUL character
        found = []
    if not found:
        raise InputError(f"{name}: no file matches this pattern")
    return found


def describe_skipped_files(inputs: list[Input]) -> list[str]:
    """Return one line per folder that lists the files in it that are not read."""
    folders = dict.fromkeys(item.folder for item in inputs if item.folder)
    return [f"{folder}{text}" for folder in folders if (text := _describe_skipped(Path(folder)))]


def read_input(source: Input, max_pixels: int = MAX_PIXELS, live_seconds: float | None = None) -> Iterator[Frame]:
    """Read the frames of one input: one frame of an image or scene, all frames of a video, animation or TIFF file.

    Args:
        source: The input.
        max_pixels: Maximum size of a frame, in pixels.
        live_seconds: Time after which a camera is no longer read; default: no limit.

    Raises:
        InputError: The file or camera cannot be read, or its frames are too large.
    """
    if source.error:
        raise InputError(source.error)
    if source.address:
        frames = (
            import_live_input().read_live(source.address, live_seconds)
            if source.is_live
            else import_live_input().read_image_at(source.address)
        )
        for frame in frames:
            height, width = frame.image.shape[:2]
            if width * height > max_pixels:
                limit = f"the limit of {max_pixels} pixels (--max-pixels)"
                raise InputError(f"{source.name}: {width}x{height} pixels is more than {limit}")
            yield frame
        return
    if source.path is None:
        from ..synthetic import Scene

        yield Frame(Scene(source.people).render_frame(0).image, source.name)
    else:
        yield from read_frames(source.path, max_pixels)


def import_live_input() -> Any:
    """Import the module that reads cameras."""
    return importlib.import_module(_LIVE_INPUT_MODULE)


def _is_live_name(name: str) -> bool:
    """Return True for a camera, a network address and standard input. A file with this name comes first."""
    if name in ("-", "/dev/stdin") or _CAMERA_NAME.fullmatch(name):
        return name.startswith(("/dev/", "-")) or not Path(name).exists()
    if name.isascii() and name.isdigit():
        return not Path(name).exists()
    scheme, separator, _ = name.partition("://")
    return bool(separator) and scheme.lower() in _SCHEMES


def _is_image_address(address: str) -> bool:
    """Return True for an HTTP address whose path ends like the name of an image."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme.lower() in ("http", "https") and parts.path.lower().endswith(IMAGE_SUFFIXES)


def _make_hint(name: str) -> str:
    """Return advice for a name that is no file but looks like an address; else ""."""
    scheme, separator, rest = name.partition("://")
    if not separator:
        return ""
    if scheme.lower() == "file":
        return f"expected a file name without file://: {rest}"
    return f"this scheme is not supported; expected {', '.join(f'{known}://' for known in _SCHEMES)} or a file name"


def _describe_skipped(folder: Path) -> str:
    names = scan_folder(folder).skipped
    if not names:
        return ""
    listed = ", ".join(names[:_MAX_NAMES_LISTED]) + (", ..." if len(names) > _MAX_NAMES_LISTED else "")
    subject = "1 file" if len(names) == 1 else f"{len(names)} files"
    if any(name.endswith("/") for name in names):
        subject += " or folders" if len(names) > 1 else " or folder"
    return f": {subject} skipped: {listed}"
