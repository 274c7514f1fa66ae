"""Folder of clips: names of files, complete files only, removal of the oldest.

A clip has up to three kinds of files with one stem: `2026-05-04T073109Z-door-fall.mp4`, `.jpg` (further snapshots:
`.2.jpg`, `.3.jpg`) and `.json`. A file is written under a hidden name and gets its own name when it is complete. It
never replaces a file of somebody else. Only files whose names have exactly this form are ever removed; links and
folders are not touched.

Several cameras and processes may share a folder: its limits hold for all clips in it. A video that is being written is
locked, so that another process does not take it for one that was interrupted.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import cv2

from ...runtime.errors import OutputError
from ...runtime.stderr import suppress_stderr
from ..sinks.base import LOG
from .config import ClipsConfig
from .sidecar import VideoMeasures, complete_sidecar

FILE_MODE = 0o640
"""Only the owner and the group may read a clip; the umask can restrict it further."""
_FOLDER_MODE = 0o750
_STEM = r"\d{4}-\d{2}-\d{2}T\d{6}Z-[a-z0-9_-]+"
_FILE = re.compile(rf"({_STEM})(\.\d+)?\.(mp4|jpg|json)", re.ASCII)
_PART = re.compile(rf"\.({_STEM})(\.\d+)?\.part\.(mp4|jpg|json)", re.ASCII)
_TIME_FORMAT = "%Y-%m-%dT%H%M%SZ"
_TIME_LENGTH = len("2026-05-04T073109Z")
_MIN_PART_AGE_S = 60.0
"""A younger part of an image or sidecar may be one that another process is writing."""
_MAX_NUMBER = 100
_MAX_SIDECAR_BYTES = 64 << 20
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


@dataclass(frozen=True)
class StoredClip:
    """The files of one clip.

    Attributes:
        stem: Name without suffix.
        files: Names of the files.
        size_bytes: Size of all files.
    """

    stem: str
    files: tuple[str, ...]
    size_bytes: int

    def compute_age_s(self) -> float:
        """Return the age by the time in the name; 0 if that is not a time."""
        try:
            begin = datetime.strptime(self.stem[:_TIME_LENGTH], _TIME_FORMAT).replace(tzinfo=UTC)
        except ValueError:
            return 0.0
        return (datetime.now(UTC) - begin).total_seconds()


class PartFile:
    """A video that is being written, locked until `close`."""

    def __init__(self, path: Path) -> None:
        """Create the file.

        Raises:
            OSError: It cannot be created.
        """
        self.path = path
        self._handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        _lock(self._handle)

    def measure_size_bytes(self) -> int:
        """Return the size of the file."""
        return os.fstat(self._handle).st_size

    def close(self) -> None:
        """Release the lock."""
        os.close(self._handle)


class ClipFolder:
    """The folder of the clips. One thread per camera uses it; the functions can be called for one folder in several."""

    def __init__(self, path: Path, config: ClipsConfig) -> None:
        """Use a folder; `prepare` creates it."""
        self.path = path
        self._config = config
        self._limit_bytes, self._free_bytes = config.limit_bytes, config.free_bytes

    def prepare(self) -> None:
        """Create the folder if only it is missing, and check that files can be written.

        Raises:
            OutputError: It cannot be used.
        """
        try:
            if not self.path.is_dir():
                self.path.mkdir(_FOLDER_MODE)
        except FileNotFoundError:
            raise OutputError(f"{self.path}: cannot store clips: there is no folder {self.path.parent}") from None
        except FileExistsError:
            raise OutputError(f"{self.path}: cannot store clips: expected a folder, this is a file") from None
        except OSError as error:
            raise OutputError(f"{self.path}: cannot store clips: {error.strerror}") from None
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise OutputError(f"{self.path}: cannot store clips: no permission to write here")

    def list_clips(self) -> list[StoredClip]:
        """Return all clips in the folder, oldest first.

        Raises:
            OSError: The folder cannot be read.
        """
        names: dict[str, list[str]] = {}
        sizes: dict[str, int] = {}
        with os.scandir(self.path) as entries:
            for entry in entries:
                if (matched := _FILE.fullmatch(entry.name)) is None or not entry.is_file(follow_symlinks=False):
                    continue
                with suppress(FileNotFoundError):
                    sizes[matched[1]] = sizes.get(matched[1], 0) + entry.stat(follow_symlinks=False).st_size
                    names.setdefault(matched[1], []).append(entry.name)
        return [StoredClip(stem, tuple(names[stem]), sizes[stem]) for stem in sorted(names)]

    def make_space(self, *, growing_bytes: int = 0, keep: Collection[str] = ()) -> None:
        """Remove the oldest clips until number, age, size and free disk space are within the limits.

        Args:
            growing_bytes: Size of files that are being written, which counts too.
            keep: Stems that are not removed.

        Raises:
            OutputError: There is no space, or the folder cannot be used.
        """
        if growing_bytes > self._limit_bytes:
            raise OutputError(f"{self.path}: cannot store clips: this one is larger than clips.limit")
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            reason = "no permission to write here" if self.path.is_dir() else "there is no such folder any more"
            raise OutputError(f"{self.path}: cannot store clips: {reason}")
        try:
            self._remove_oldest(growing_bytes, keep)
            free = self.measure_free_bytes()
        except OSError as error:
            raise OutputError(f"{self.path}: cannot store clips: {error.strerror}") from None
        if free < self._free_bytes:
            raise OutputError(
                f"{self.path}: cannot store clips: {free / 1e6:.0f} MB free on the disk, expected at least "
                f"{self._free_bytes / 1e6:.0f} MB (clips.free)"
            )

    def measure_free_bytes(self) -> int:
        """Return the free space on the disk. Raises OSError if the folder cannot be used."""
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    def _remove_oldest(self, growing_bytes: int, keep: Collection[str]) -> None:
        clips = self.list_clips()
        total, count = growing_bytes + sum(clip.size_bytes for clip in clips), len(clips)
        config = self._config
        max_age_s = float("inf") if config.days is None else config.days * 86400
        for clip in clips:
            if clip.stem in keep:
                continue
            if not (
                (config.keep is not None and count > config.keep)
                or total > self._limit_bytes
                or clip.compute_age_s() > max_age_s
                or self.measure_free_bytes() < self._free_bytes
            ):
                continue  # a later one can be older: the clock may have been set
            for name in clip.files:
                with suppress(FileNotFoundError):
                    (self.path / name).unlink()
            total -= clip.size_bytes
            count -= 1

    def create_part(self, stem: str) -> PartFile:
        """Create the hidden file of a video.

        Raises:
            OutputError: It cannot be created.
        """
        try:
            for number in range(_MAX_NUMBER):
                extra = f".{number}" if number else ""
                with suppress(FileExistsError):
                    return PartFile(self.path / f".{stem}{extra}.part.mp4")
        except OSError as error:
            raise OutputError(f"{self.path}: cannot store clips: {error.strerror}") from None
        raise OutputError(f"{self.path}: cannot store clips: too many unfinished files of {stem}")

    def publish(self, part: Path, name: str) -> str:
        """Give a complete file its name; an existing file is never replaced.

        Returns:
            The name that the file got: another one if there is such a file already.

        Raises:
            OSError: The file cannot be renamed.
        """
        stem, dot, suffix = name.partition(".")
        for number in range(1, _MAX_NUMBER):
            used = name if number == 1 else f"{stem}-{number}{dot}{suffix}"
            try:
                _move_without_replacing(part, self.path / used)
            except FileExistsError:
                continue
            return used
        raise FileExistsError(errno.EEXIST, "there are too many files with this name", str(self.path / name))

    def write_file(self, name: str, content: bytes, *, replace: bool = False) -> str:
        """Write a whole file, or nothing.

        Args:
            name: Name of the file.
            content: Its content.
            replace: True if this process has written the file before.

        Returns:
            The name that the file got.

        Raises:
            OutputError: It cannot be written.
        """
        base, _, suffix = name.rpartition(".")
        part = self.path / f".{base}.part.{suffix}"
        try:
            with suppress(FileNotFoundError):
                part.unlink()
            handle = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                if replace:
                    part.replace(self.path / name)
                    return name
                return self.publish(part, name)
            except OSError:
                with suppress(OSError):
                    part.unlink()
                raise
        except OSError as error:
            raise OutputError(f"{self.path / name}: cannot be written: {error.strerror}") from None

    def recover(self) -> None:
        """Finish what an earlier process has left: rename videos that play, remove other parts, complete sidecars.

        Raises:
            OSError: The folder cannot be used.
        """
        with os.scandir(self.path) as entries:
            found = [
                (entry.name, matched)
                for entry in entries
                if (matched := _PART.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False)
            ]
        for name, matched in found:
            with suppress(FileNotFoundError):
                self._recover_part(self.path / name, matched[1], matched[3])

    def _recover_part(self, part: Path, stem: str, suffix: str) -> None:
        if suffix != "mp4":
            if time.time() - part.lstat().st_mtime > _MIN_PART_AGE_S:
                part.unlink()
            return
        handle = os.open(part, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode) or not _lock(handle):
                return  # another process is writing it
            measures, name = None, ""
            if not is_playable(part):
                part.unlink()
            else:
                measures = measure_video(part)
                name = self.publish(part, f"{stem}.mp4")
                LOG.info("clips: %s: recovered an interrupted clip", self.path / name)
        finally:
            os.close(handle)
        try:
            self._recover_sidecar(f"{stem}.json", name, measures)
        except (OSError, OutputError, ValueError, RecursionError) as error:
            LOG.warning("clips: %s: cannot be completed: %s", self.path / f"{stem}.json", error)

    def _recover_sidecar(self, name: str, clip: str, measures: VideoMeasures | None) -> None:
        try:
            handle = os.open(self.path / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return  # the process was interrupted before it was written
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return
            content = file.read(_MAX_SIDECAR_BYTES)
        completed = complete_sidecar(content, clip, measures)
        if completed is not None:
            self.write_file(name, completed, replace=True)


def is_playable(path: Path) -> bool:
    """Return True if a video has at least one frame."""
    with suppress_stderr(show_on_error=False):
        capture = cv2.VideoCapture(str(path.absolute()))
        try:
            return capture.isOpened() and capture.read()[0]
        finally:
            capture.release()


def measure_video(path: Path) -> VideoMeasures:
    """Read a whole video that plays, and measure it."""
    with suppress_stderr(show_on_error=False):
        capture = cv2.VideoCapture(str(path.absolute()))
        try:
            width, height = (capture.get(key) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
            frames, last_ms = 0, 0.0
            while capture.grab():
                frames, last_ms = frames + 1, capture.get(cv2.CAP_PROP_POS_MSEC)
            return VideoMeasures(frames, round(last_ms / 1000, 3), round(width), round(height))
        finally:
            capture.release()


def _lock(handle: int) -> bool:
    """Lock an open file; return False if another process has locked it. Without locks, everything counts as locked."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _move_without_replacing(source: Path, target: Path) -> None:
    """Rename a file. Raises FileExistsError if there is already something with the name."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # FAT and exFAT have no hard links.
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        source.rename(target)
    else:
        source.unlink()
