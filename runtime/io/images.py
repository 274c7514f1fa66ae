"""Reading of images and videos with a size limit, and writing of images.

The kind of a file is detected from its content. The suffix only decides which files of a folder are expected to be
images.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np

from ..errors import InputError, OutputError
from ..stderr import suppress_stderr
from ..types import Frame, Image
from . import file_kind
from .atomic import replace_file
from .image_header import ImageHeader, detect_image_kind, read_header
from .video_extent import find_missing_bytes

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".ppm", ".pgm",
    ".pbm", ".pnm", ".pam", ".pfm", ".gif", ".avif", ".jp2", ".j2k", ".hdr", ".sr", ".ras",
)  # fmt: skip
VIDEO_SUFFIXES = (
    ".avi", ".mp4", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".m2v", ".flv", ".f4v",
    ".h264", ".264", ".h265", ".265", ".hevc", ".3gp", ".3g2", ".wmv", ".asf", ".ogv", ".vob", ".mjpeg", ".mjpg",
    ".mxf",
)  # fmt: skip

MAX_PIXELS = 1 << 26
"""Default limit for an image or video frame: 67 megapixels, 200 MB in memory."""
OPENCV_MAX_PIXELS = 1 << 28
"""OpenCV's own limit and the maximum of `max_pixels`. `edgepose.runtime` sets it before OpenCV is imported."""

_JPEG_QUALITY = 92
_MAX_JPEG_SIDE_PX = 65500
_DEFAULT_FPS = 25.0

FileKind = Literal["image", "animation", "pages", "video"]
"""`animation`: an image file with several frames and their times; `page_indices`: a TIFF file with several images."""


class FolderContents(NamedTuple):
    """Content of a folder without its subfolders and hidden files.

    Attributes:
        images: The images, sorted by name.
        skipped: Names of the files and folders that are not read; a folder's name ends with `/`.
    """

    images: list[Path]
    skipped: list[str]


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> Image:
    """Read an image, or the first frame of an animation or of a file with several pages.

    Args:
        path: A file in any format that OpenCV decodes.
        max_pixels: Maximum number of pixels. It is compared with the size in the header before the image is decoded.

    Returns:
        (H, W, 3) uint8 BGR. Gray is repeated in all channels, alpha is dropped, the EXIF orientation is applied.

    Raises:
        InputError: The file is missing, empty, damaged, too large, or not an image.
    """
    header = _read_file_header(path, max_pixels)
    if header is None:
        raise InputError(
            f"{path}: expected an image ({', '.join(IMAGE_SUFFIXES)}), {_describe_content(path, 'decoded as one')}"
        )
    image = _decode(path, header, max_pixels)
    if image is None and header.kind == "GIF":  # OpenCV decodes GIF since version 4.11, FFmpeg in all versions.
        with Video(path, max_pixels) as video:
            return next(iter(video)).image
    if image is None:
        raise InputError(f"{path}: the image cannot be decoded: {header.kind}, damaged or not supported by this OpenCV")
    return image


def decode_image(content: bytes | bytearray, name: str, max_pixels: int = MAX_PIXELS) -> Image:
    """Decode an image from memory, for example from a network camera.

    Args:
        content: The encoded image.
        name: Name of the image in error messages.
        max_pixels: Maximum number of pixels.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        InputError: The content is empty, damaged, too large, or not an image.
    """
    try:
        header = read_header(bytes(content))
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None
    if header is None:
        raise InputError(f"{name}: expected an image, the {len(content)} bytes cannot be decoded as one")
    if header.width * header.height > max_pixels:
        raise InputError(_describe_size_limit(name, header.width, header.height, max_pixels))
    image = _decode_bytes(np.frombuffer(content, np.uint8), name, header, max_pixels)
    if image is None:
        raise InputError(f"{name}: the image cannot be decoded: {header.kind}, damaged or not supported by this OpenCV")
    return image


def inspect_file(path: Path) -> FileKind:
    """Detect the kind of a file from its content. Files that are no images are reported as videos.

    Raises:
        InputError: The file is missing, empty, not a regular file, or an image with a damaged header.
    """
    header = _read_file_header(path, None)
    if header is None or (header.kind == "JPEG" and header.frame_count > 1):
        return "video"
    if header.frame_count == 1:
        return "image"
    return "pages" if header.kind == "TIFF" else "animation"


def read_frames(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[Frame]:
    """Read all frames of a video or an animation (GIF, WebP, PNG, AVIF), all pages of a TIFF file, or one image.

    Yields:
        Frames in BGR. `index` counts frames or pages from 0. `timestamp_ns` is the time in the video or animation; 0
        for images and pages.

    Raises:
        InputError: The file is missing, empty, damaged, too large, or in an unknown format.
    """
    kind = inspect_file(path)
    if kind == "image":
        yield Frame(read_image(path, max_pixels), str(path))
        return
    header = _read_file_header(path, max_pixels)
    by_ffmpeg = ("GIF", "JPEG") if hasattr(cv2, "imdecodeanimation") else ("GIF", "JPEG", "PNG")
    if header is None or header.kind in by_ffmpeg:
        with Video(path, max_pixels) as video:
            yield from video
        if truncation := _describe_truncation(path):
            raise InputError(f"{path}: {truncation}; the frames before the end are used")
        return
    count = 0
    for image, timestamp_ms in _decode_sequence(path, header, max_pixels):
        yield Frame(image, str(path), count, round(timestamp_ms * 1e6))
        count += 1
    if count < header.frame_count:
        raise InputError(
            f"{path}: {count} of {header.frame_count} frames can be decoded; "
            "the file is damaged or this OpenCV is too old"
        )


def write_image(path: Path, image: Image) -> None:
    """Write an image atomically, in the format given by the suffix of `path`.

    Args:
        path: The file. JPEG is written with quality 92.
        image: (H, W, 3) uint8 BGR.

    Raises:
        OutputError: The image cannot be encoded or written.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if path.suffix == ".jpg" else []
    try:
        with suppress_stderr(show_on_error=False):
            ok, encoded = cv2.imencode(path.suffix, image, options)
    except cv2.error:
        if path.suffix.lower() in IMAGE_SUFFIXES:
            raise
        raise OutputError(f"{path}: expected the name of an image file, such as drawn.jpg or drawn.png") from None
    if not ok:
        raise OutputError(f"{path}: an image of {image.shape[1]}x{image.shape[0]} pixels cannot be encoded")
    with replace_file(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def fits_in_jpeg(image: Image) -> bool:
    """Return True if no side of the image is longer than JPEG's limit of 65500 pixels."""
    return int(max(image.shape[:2])) <= _MAX_JPEG_SIDE_PX


def scan_folder(folder: Path) -> FolderContents:
    """Find the images directly in a folder, by suffix or content. Hidden files are skipped.

    A file with the suffix of an image is included whatever its content is, so that damaged images are reported when
    they are read.

    Raises:
        InputError: The folder cannot be read.
    """
    images, left_out = [], []
    try:
        for path in sorted(folder.iterdir()):
            if path.name.startswith("."):
                continue
            if path.is_dir():
                left_out.append(f"{path.name}/")
            elif path.suffix.lower() in IMAGE_SUFFIXES or _is_decodable(path):
                images.append(path)
            else:
                left_out.append(path.name)
    except OSError as error:
        raise InputError(f"{folder}: cannot read the folder: {error.strerror}") from None
    return FolderContents(images, left_out)


def list_images(folder: Path) -> list[Path]:
    """Return the images directly in a folder, sorted by name. Hidden files are skipped.

    Raises:
        InputError: The folder cannot be read or contains no images.
    """
    found = scan_folder(folder).images
    if not found:
        raise InputError(f"{folder}: no images in this folder (expected {', '.join(IMAGE_SUFFIXES)})")
    return found


class Video:
    """Reader of the frames of a video file or an animated GIF; iterate over it once.

    Attributes:
        path: The file.
        frame_count: Number of frames according to the file; 0 if unknown.
        fps: Frames per second according to the file; 25 if unknown.
    """

    def __init__(self, path: Path, max_pixels: int = MAX_PIXELS) -> None:
        """Open a video.

        Raises:
            InputError: The file cannot be opened as a video, or its frames have more than `max_pixels` pixels.
        """
        if not path.is_file():
            raise InputError(f"{path}: no such video")
        self.path, self._max_pixels = path, max_pixels
        with suppress_stderr(show_on_error=False):  # The libraries used by OpenCV print messages.
            self._capture = open_capture(path)
        if not self._capture.isOpened():
            if truncation := _describe_truncation(path):
                raise InputError(
                    f"{path}: {truncation}; no frame can be read, because the index at the end of the file is missing"
                )
            raise InputError(f"{path}: expected an image or a video, {_describe_content(path, 'opened as either')}")
        width, height = (self._capture.get(p) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        try:
            self._check_size(int(width), int(height))
        except InputError:
            self._capture.release()
            raise
        self.frame_count = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if 0 < fps <= 1000 else _DEFAULT_FPS

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self._capture.release()

    def __iter__(self) -> Iterator[Frame]:
        index, timestamp_ms = 0, 0.0
        while True:
            try:
                ok, image = self._capture.read()
            except cv2.error as error:
                raise InputError(f"{self.path}: frame {index} cannot be decoded: {error.err}") from None
            if not ok:
                break
            self._check_size(image.shape[1], image.shape[0])
            # This is the position of the frame that was read last. Some containers report 0 for their last frame.
            reported_ms = float(self._capture.get(cv2.CAP_PROP_POS_MSEC))
            if index and not reported_ms > timestamp_ms:
                reported_ms = timestamp_ms + 1000 / self.fps
            timestamp_ms = max(0.0, reported_ms)
            yield Frame(np.asarray(image, np.uint8), str(self.path), index, round(timestamp_ms * 1e6))
            index += 1
        if not index:
            raise InputError(
                f"{self.path}: expected an image or a video, {_describe_content(self.path, 'decoded as either')}"
            )

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self._max_pixels:
            raise InputError(_describe_size_limit(self.path, width, height, self._max_pixels))


def open_capture(path: Path) -> cv2.VideoCapture:
    """Open a video file with OpenCV, also if its name has a special meaning for FFmpeg.

    FFmpeg interprets `NAME:` at the start of a relative path as a protocol, and `%d` or the suffix of an image as a
    sequence of image files. Such files are opened through an absolute path or a temporary symbolic link.

    Returns:
        The capture. Check `isOpened()`: it is False if the file is not a video.
    """
    place = path.absolute()
    ffmpeg = cv2.CAP_FFMPEG if cv2.CAP_FFMPEG in cv2.videoio_registry.getBackends() else cv2.CAP_ANY
    if "%" not in str(place) and place.suffix.lower() not in IMAGE_SUFFIXES:
        return cv2.VideoCapture(str(place), ffmpeg)
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "video"
        with place.open("rb") as file:
            if detect_image_kind(file.read(32)) == "JPEG":
                link = link.with_suffix(".mjpeg")
        link.symlink_to(place.resolve())
        return cv2.VideoCapture(str(link), ffmpeg)


def _read_file_header(path: Path, max_pixels: int | None) -> ImageHeader | None:
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: expected a file, this is a folder or a device")
        with path.open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise InputError(f"{path}: expected an image or a video, the file is empty")
            if detect_image_kind(file.read(32)) is None:
                return None
            with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
                header = read_header(content)
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror or error}") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    if header is not None and max_pixels is not None and header.width * header.height > max_pixels:
        raise InputError(_describe_size_limit(path, header.width, header.height, max_pixels))
    return header


def _describe_truncation(path: Path) -> str:
    """Return the text of an error for a video that is cut off; "" if it is not."""
    missing = find_missing_bytes(path)
    if not missing:
        return ""
    return (
        f"the video is cut off: it has {path.stat().st_size} bytes, {missing} more are expected; "
        "copy or download it again"
    )


def _describe_content(path: Path, purpose: str) -> str:
    """Return the end of an error message: what the file is, or that it cannot be `purpose`."""
    found = file_kind.describe(path)
    if found is None or found.endswith((" image", " or an image")):
        return f"this cannot be {purpose}"
    return f"this is {found}"


def _describe_size_limit(path: Path | str, width: int, height: int, max_pixels: int) -> str:
    return f"{path}: {width}x{height} pixels is more than the limit of {max_pixels} pixels (--max-pixels)"


def _decode(path: Path, header: ImageHeader, max_pixels: int) -> Image | None:
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot read the image: {error.strerror or error}") from None
    return _decode_bytes(content, str(path), header, max_pixels)


def _decode_bytes(
    content: np.typing.NDArray[np.uint8], name: str, header: ImageHeader, max_pixels: int
) -> Image | None:
    if not header.is_complete:
        # OpenCV would decode the existing part and fill the rest with gray.
        raise InputError(f"{name}: the {header.kind} is cut off; copy or download it again")
    try:
        with suppress_stderr(show_on_error=False):  # The libraries used by OpenCV print messages.
            image = cv2.imdecode(content, cv2.IMREAD_COLOR)
    except cv2.error as error:
        if "MAX_IMAGE" in str(error):
            raise InputError(
                f"{name}: {header.width}x{header.height} pixels is more than OpenCV's limit; "
                "set the environment variable OPENCV_IO_MAX_IMAGE_PIXELS to a larger value"
            ) from None
        raise InputError(f"{name}: the image cannot be decoded: {error.err}") from None
    except MemoryError:
        raise InputError(f"{name}: not enough memory for {header.width}x{header.height} pixels") from None
    if image is None:
        return None
    if image.shape[0] * image.shape[1] > max_pixels:
        raise InputError(_describe_size_limit(name, image.shape[1], image.shape[0], max_pixels))
    return np.asarray(image, np.uint8)


def _decode_sequence(path: Path, header: ImageHeader, max_pixels: int) -> Iterator[tuple[Image, float]]:
    """Decode the frames of an animation or the pages of a TIFF file, each with its time in milliseconds.

    Frames are decoded in chunks of at most `max_pixels` pixels, because all of them may not fit into memory. TIFF pages
    are decoded one at a time.
    """
    content = np.fromfile(path, np.uint8)
    animated = header.kind != "TIFF" and hasattr(cv2, "imdecodeanimation")  # OpenCV 4.12 or later
    chunk = max(1, max_pixels // (header.width * header.height)) if header.kind != "TIFF" else 1
    numbers = header.page_indices or range(header.frame_count)
    time_ms = 0.0
    for start in range(0, header.frame_count, chunk):
        size = min(chunk, header.frame_count - start)
        durations = [0.0] * size
        images: list[Image] = []
        with suppress_stderr(show_on_error=False):
            try:
                if animated:
                    _, animation = cv2.imdecodeanimation(content, start=start, count=size)
                    images = [np.asarray(image, np.uint8) for image in animation.frames]
                    durations = [float(value) for value in animation.durations]
                elif hasattr(cv2, "imdecodemulti"):
                    first = numbers[start]
                    _, decoded = cv2.imdecodemulti(content, cv2.IMREAD_COLOR, range=(first, first + size))
                    images = [np.asarray(image, np.uint8) for image in decoded]
                else:  # OpenCV before 4.7
                    _, decoded = cv2.imreadmulti(str(path), numbers[start], size, flags=cv2.IMREAD_COLOR)
                    images = [np.asarray(image, np.uint8) for image in decoded]
            except cv2.error as error:
                raise InputError(f"{path}: frame {start} cannot be decoded: {error.err}") from None
        for image, duration in zip(images, durations, strict=False):
            if image.shape[0] * image.shape[1] > max_pixels:
                raise InputError(_describe_size_limit(path, image.shape[1], image.shape[0], max_pixels))
            yield np.ascontiguousarray(image[:, :, :3], np.uint8), time_ms
            time_ms += duration
        if len(images) < size:
            return


def _is_decodable(path: Path) -> bool:
    """Return True if the first bytes are those of an image format that this OpenCV decodes."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            kind = detect_image_kind(file.read(32))
        return kind is not None and (kind == "GIF" or bool(cv2.haveImageReader(str(path.absolute()))))
    except (OSError, cv2.error):
        return False
