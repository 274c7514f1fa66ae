"""Writing of videos: H.264 with PyAV (extra `video`), else with the writer of OpenCV.

An MP4 file is fragmented while it is written, so that the part before a power cut plays. When it is closed, it becomes
a plain MP4 file: players know its length and can seek.
"""

from __future__ import annotations

import io
import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import OutputError
from ..install_hint import make_install_command
from ..stderr import suppress_stderr
from ..types import Image

_H264_FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
_OPENCV_CODECS = {".avi": "MJPG", ".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v"}
WRITABLE_SUFFIXES = tuple(_OPENCV_CODECS)
"""Suffixes of videos that can be written."""
_ENCODERS = ("libx264", "libopenh264", "h264_v4l2m2m")
"""H.264 encoders of FFmpeg, the best first. The last one is the hardware of a Raspberry Pi 4 or older."""
_ENCODER_OPTIONS = {"libx264": {"preset": "veryfast", "tune": "zerolatency", "crf": "23"}}
"""Without a look-ahead, a frame is in the file as soon as the next one arrives, and little memory is needed."""
_FAST_ENCODER_OPTIONS = {"libx264": {"preset": "ultrafast", "tune": "zerolatency", "crf": "25"}}
"""A third of the CPU time and 3 MB less memory for files of the same size, at 0.6 dB less PSNR."""
_MIN_PYAV_VERSION = 14
"""Older ones, such as 10.0 of Debian bookworm, on which python3-picamera2 depends, cannot set durations of packets."""
_BITS_PER_PIXEL = 0.1
"""Bit rate of the encoders that have no constant quality, per pixel of a frame, at 30 FPS."""
_TICKS_PER_S = 90_000
_KEYFRAME_INTERVAL_S = 2.0
"""Interval of the keyframes, each of which begins a fragment: at most this much is lost in a power cut."""
_MAX_STEP_S = 3600.0
"""A longer pause between two frames is shortened to this: MP4 has 32 bits for the duration of a frame."""
_MAX_REPEAT_S = 10.0
"""A longer pause between two frames is shortened to this where a frame is repeated during the pause."""


class VideoWriter:
    """Video file with frames of one size. One thread owns it.

    Attributes:
        path: The file.
        description: Codec and encoder, for the log.
        drawback: Why H.264 is not used and what that means; empty for H.264.
    """

    def __init__(self, path: Path, description: str, drawback: str = "") -> None:
        self.path, self.description, self.drawback = path, description, drawback

    def write(self, image: Image, time_s: float) -> None:
        """Append a frame.

        Args:
            image: (H, W, 3) uint8 BGR, of the size of the video.
            time_s: Time of the frame in seconds. The time of the first frame is arbitrary; later ones must increase.

        Raises:
            OutputError: The file cannot be written.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Write what is missing and close the file.

        Raises:
            OutputError: The file cannot be written completely.
        """
        raise NotImplementedError

    def measure_size_bytes(self) -> int:
        """Return the current size of the file."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0


def open_video_writer(
    path: Path, width: int, height: int, fps: float, *, threads: int = 1, fast: bool = False
) -> VideoWriter:
    """Create a video file.

    Args:
        path: The file; one of `WRITABLE_SUFFIXES` decides the container. `.avi` is always written by OpenCV.
        width: Width of the frames in pixels.
        height: Height of the frames in pixels.
        fps: Usual frame rate. H.264 keeps the time of every frame; OpenCV repeats and skips frames to get this rate.
        threads: Threads of the H.264 encoder; 0: as many as there are cores.
        fast: True to encode with less CPU time and memory, at a slightly lower quality.

    Raises:
        OutputError: The file cannot be created, or frames of this size cannot be encoded.
    """
    reason = ".avi files are always written so"
    if path.suffix.lower() in _H264_FORMATS:
        try:
            import av
        except ImportError as error:
            reason = f"PyAV cannot be used ({error}); install it with `{make_install_command('video')}`"
        else:
            if int(av.__version__.partition(".")[0]) < _MIN_PYAV_VERSION:
                reason = (
                    f"PyAV {av.__version__} is too old; install {_MIN_PYAV_VERSION} or later with "
                    f"`{make_install_command('video')}`"
                )
            elif (writer := _try_h264(path, width, height, fps, threads, fast)) is not None:
                return writer
            else:
                reason = f"this PyAV has no H.264 encoder that takes {width}x{height} pixels"
    return _OpenCvWriter(path, width, height, fps, reason)


def _try_h264(path: Path, width: int, height: int, fps: float, threads: int, fast: bool) -> VideoWriter | None:
    """Open the first H.264 encoder that accepts these frames; None if there is none.

    Raises:
        OutputError: The file cannot be created.
    """
    import av

    for encoder in _ENCODERS:
        if encoder not in av.codecs_available:
            continue
        try:
            return _H264Writer(path, encoder, width, height, fps, threads, fast)
        except av.FFmpegError:
            # A hardware encoder of which this board has no device, or a size that the encoder does not support.
            path.unlink(missing_ok=True)
    return None


class _WholeFile(io.FileIO):
    """File without a buffer of its own, that writes all bytes or raises OSError: FFmpeg has a buffer already."""

    def write(self, content: Any) -> int:
        """Write all bytes."""
        rest = memoryview(content)
        while rest:
            rest = rest[super().write(rest) or 0 :]
        return len(content)


class _H264Writer(VideoWriter):
    """H.264 video that keeps the time of every frame."""

    def __init__(self, path: Path, encoder: str, width: int, height: int, fps: float, threads: int, fast: bool) -> None:
        """Open the encoder and create the file. Raises OutputError for the file, av.FFmpegError for the encoder."""
        import av

        super().__init__(path, f"H.264 ({encoder})")
        self._width, self._height = width, height
        # 4:2:0 has one color sample for 2x2 pixels.
        self._right, self._bottom = width % 2, height % 2
        try:
            self._file = _WholeFile(path, "wb")
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror}") from None
        try:
            self._container: Any = av.open(
                self._file, "w", format=_H264_FORMATS[path.suffix.lower()], options=_make_container_options(path)
            )
            self._stream = self._add_stream(encoder, fps, threads, fast)
        except BaseException:
            self._close_file()
            raise
        self._pending: Any = None
        """The last packet: its duration is known when the next one arrives."""
        self._size_bytes = 0
        self._has_failed = False
        self._first_s: float | None = None
        self._last_s = 0.0
        self._ticks = -1
        self._keyframe_ticks = 0
        self._buffer = np.empty(((height + self._bottom) * 3 // 2, width + self._right), np.uint8)

    def _add_stream(self, encoder: str, fps: float, threads: int, fast: bool) -> Any:
        stream: Any = self._container.add_stream(encoder, rate=max(1, round(fps)))
        context = stream.codec_context
        stream.width, stream.height = self._width + self._right, self._height + self._bottom
        stream.pix_fmt = "yuv420p"
        stream.time_base = context.time_base = Fraction(1, _TICKS_PER_S)
        stream.options = (_FAST_ENCODER_OPTIONS if fast else _ENCODER_OPTIONS).get(encoder, {})
        if not stream.options:
            context.bit_rate = round(stream.width * stream.height * _BITS_PER_PIXEL * 30)
        context.gop_size = 10 * max(1, round(fps))  # keyframes are requested by time
        context.max_b_frames = 0
        context.thread_count = threads
        # OpenCV converts to the colors of BT.601 with 16 to 235. Without these values, players guess by the size.
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = 1, 6, 6, 6
        context.open()
        return stream

    def write(self, image: Image, time_s: float) -> None:
        """Encode a frame; see the base class."""
        import av
        from av.video.frame import PictureType

        picture = av.VideoFrame.from_ndarray(self._convert_to_yuv(image), format="yuv420p")
        picture.pts, picture.time_base = self._compute_ticks(time_s), Fraction(1, _TICKS_PER_S)
        if self._ticks == 0 or self._ticks - self._keyframe_ticks >= _KEYFRAME_INTERVAL_S * _TICKS_PER_S:
            self._keyframe_ticks = self._ticks
            picture.pict_type = PictureType.I
        self._mux(picture)

    def _convert_to_yuv(self, image: Image) -> Image:
        if self._right or self._bottom:
            image = np.asarray(
                cv2.copyMakeBorder(image, 0, self._bottom, 0, self._right, cv2.BORDER_REPLICATE), np.uint8
            )
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420, dst=self._buffer), np.uint8)

    def _compute_ticks(self, time_s: float) -> int:
        """Return the time of a frame since the first one; longer than that of the frame before in every case."""
        step_s = 0.0 if self._first_s is None else min(time_s - self._last_s, _MAX_STEP_S)
        if self._first_s is None:
            self._first_s, self._last_s, self._ticks = time_s, time_s, 0
            return 0
        # Sum up the exact times, so that rounding errors do not add up.
        self._first_s += time_s - self._last_s - step_s
        self._last_s = time_s
        self._ticks = max(self._ticks + 1, round((time_s - self._first_s) * _TICKS_PER_S))
        return self._ticks

    def _mux(self, picture: Any) -> None:
        """Encode a frame, or the end (None), and write the packets whose duration is known."""
        import av

        try:
            for packet in self._stream.encode(picture):
                self._write_pending(packet.pts)
                self._pending = packet
        except (av.FFmpegError, OSError) as error:
            self._has_failed = True
            raise OutputError(f"{self.path}: {_describe(error)}") from None

    def _write_pending(self, next_pts: int | None) -> None:
        packet, self._pending = self._pending, None
        if packet is None:
            return
        if next_pts is not None and packet.pts is not None:
            packet.duration = next_pts - packet.pts
        is_keyframe = packet.is_keyframe
        self._size_bytes += packet.size
        self._container.mux(packet)
        if is_keyframe:
            # A power cut also loses what the operating system has not written yet.
            os.fdatasync(self._file.fileno())

    def close(self) -> None:
        """Write the last frame and the index; after an error, only close the file. See the base class."""
        import av

        try:
            if self._has_failed:
                return
            self._mux(None)
            last = self._pending
            self._write_pending(None if last is None or last.pts is None else last.pts + self._get_usual_step())
            self._container.close()
            os.fdatasync(self._file.fileno())
        except (av.FFmpegError, OSError) as error:
            raise OutputError(f"{self.path}: {_describe(error)}") from None
        finally:
            self._close_file()

    def measure_size_bytes(self) -> int:
        """Return the size of all frames, also of those that are not in the file yet."""
        return self._size_bytes

    def _close_file(self) -> None:
        """Close container and file after an error, or again."""
        with suppress(Exception):
            self._container.close()  # not at the end of the process, when the file is closed already
        self._file.close()

    def _get_usual_step(self) -> int:
        rate = self._stream.codec_context.framerate
        return round(_TICKS_PER_S / rate) if rate else _TICKS_PER_S // 25


def _make_container_options(path: Path) -> dict[str, str]:
    import av

    if _H264_FORMATS[path.suffix.lower()] == "matroska":
        return {}
    flags = "+frag_keyframe+empty_moov+default_base_moof"
    # FFmpeg 7.1 or later hides the fragments when the file is complete.
    return {"movflags": flags + "+hybrid_fragmented" * (av.library_versions["libavformat"] >= (61, 7))}


def _describe(error: Exception) -> str:
    return str(getattr(error, "strerror", "") or error or type(error).__name__)


class _OpenCvWriter(VideoWriter):
    """Video with a constant frame rate: frames are repeated and skipped, so that the video plays in real time."""

    def __init__(self, path: Path, width: int, height: int, fps: float, reason: str) -> None:
        """Create the file. Raises OutputError if it cannot be created."""
        codec = _OPENCV_CODECS[path.suffix.lower()]
        name = "Motion JPEG" if codec == "MJPG" else "MPEG-4"
        super().__init__(path, f"{name} (OpenCV)", f"{reason}; {name} does not play in browsers")
        self._fps = fps
        with suppress_stderr(show_on_error=False):
            # FFmpeg interprets `NAME:` in a relative path as a protocol.
            self._writer = cv2.VideoWriter(str(path.absolute()), cv2.VideoWriter.fourcc(*codec), fps, (width, height))
        if not self._writer.isOpened():
            if os.access(path.parent, os.W_OK):
                raise OutputError(f"{path}: {width}x{height} pixels cannot be encoded as a video")
            raise OutputError(f"{path}: cannot create a video in this folder")
        self._first_s: float | None = None
        self._written = 0

    def write(self, image: Image, time_s: float) -> None:
        """Write the frame as often as the time since the last one requires; see the base class."""
        if self._first_s is None:
            self._first_s = time_s
        due = int((time_s - self._first_s) * self._fps + 0.5) + 1
        too_many = due - self._written - int(_MAX_REPEAT_S * self._fps) - 1
        if too_many > 0:
            self._first_s += too_many / self._fps
            due -= too_many
        while self._written < due:
            self._writer.write(image)
            self._written += 1

    def close(self) -> None:
        """Finish the file and check that all frames are in it; see the base class."""
        self._writer.release()
        # OpenCV reports no error if the disk is full, so the frames in the file are counted.
        if self._written and self._count_frames() != self._written:
            raise OutputError(f"{self.path}: the video cannot be written completely; the disk may be full")

    def _count_frames(self) -> int:
        with suppress_stderr(show_on_error=False):
            capture = cv2.VideoCapture(str(self.path.absolute()))
            count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            capture.release()
        return count
