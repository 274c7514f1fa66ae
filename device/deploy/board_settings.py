"""Checks of a configuration for boards, before anything is sent: rules, outputs, paths, and the codec of videos.

A sink that reads files or secrets of the board, or needs an extra that the workstation may not have, is checked by the
board when the loop starts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from posixpath import normpath

from ...runtime.errors import InputError
from ...runtime.skeleton import Skeleton
from ...runtime.toml_lines import find_line
from ..camera.build_loop import list_rules
from ..camera.release import VideoCodec
from ..clips.factory import open_clips
from ..config import Config
from ..events.engine import EventEngine
from ..monitor.stats import Stats
from ..sinks.factory import open_recording, open_sinks
from .check import Check
from .facts import Facts
from .units import STATE_FOLDER

_CHECKED_HERE = re.compile(r"-|(-\?|jsonl:|udp:|exec:).*|webhook:(?!.*[#&](ca|secret)=).*", re.DOTALL)
"""Sinks that can be checked without files of the board."""
_CAMERA_PLACEHOLDER = "{camera}"
_HIDDEN_FOLDERS = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # nosec B108
"""Folders that the service does not see (ProtectHome), or of which it has its own that is emptied (PrivateTmp)."""
_PLAIN_VIDEO_SUFFIX = ".avi"
"""Videos that OpenCV always writes."""


def choose_video_codec(settings: Config, tag: str) -> VideoCodec:
    """Return the codec of clips and recordings on a board; "" if the configuration has none.

    Args:
        settings: The configuration.
        tag: Platform tag of the board. PyAV's wheels for 32-bit Arm have no H.264 encoder that works on every board.
    """
    record = settings.output.record.partition("?")[0]
    has_record = bool(record) and PurePosixPath(record).suffix.lower() != _PLAIN_VIDEO_SUFFIX
    if not (has_record or (settings.clips.folder and settings.clips.video)):
        return ""
    return "mpeg4" if tag.startswith("armv") else "h264"


def check_settings(settings: Config, skeleton: Skeleton, text: str, path: Path) -> None:
    """Check rules, sinks, recording and clips as the loop does when it starts.

    Args:
        settings: Settings that passed `Config.check`.
        skeleton: Skeleton of the model.
        text: Text of the configuration.
        path: Its file, for messages.

    Raises:
        InputError: A rule does not fit the skeleton, or an output cannot be used.
    """
    try:
        EventEngine(settings.events, skeleton)
    except ValueError as error:
        line = find_line(text, str(error).partition(": ")[0])
        raise InputError(f"{path}: line {line}: {error}") from None
    try:
        _check_outputs(settings, skeleton)
    except (InputError, ValueError) as error:
        raise InputError(f"{path}: {error}") from None


def _check_outputs(settings: Config, skeleton: Skeleton) -> None:
    output, clips = settings.output, settings.clips
    camera = "camera" if settings.camera.sources else _CAMERA_PLACEHOLDER
    sinks = [one.replace(_CAMERA_PLACEHOLDER, camera) for one in output.sinks if _CHECKED_HERE.fullmatch(one)]
    open_sinks(sinks, Stats("model"), output.privacy, rules=list_rules(settings, skeleton))
    if output.record:
        open_recording(output.record.replace(_CAMERA_PLACEHOLDER, camera), output.privacy, "board", "camera")
    if clips.folder:
        clips = replace(clips, folder=clips.folder.replace(_CAMERA_PLACEHOLDER, camera))
        open_clips(clips, settings.events, output.privacy, "board", "camera")


def check_paths(settings: Config, facts: Facts) -> Iterator[Check]:
    """Check that the sandbox of the service allows the paths of the configuration. Nothing for those it allows."""
    allowed = [STATE_FOLDER, *(word.lstrip("+-") for word in facts.service.get("ReadWritePaths", "").split())]
    for key, path, is_written in _list_paths(settings):
        if _is_below(path, _HIDDEN_FOLDERS) and not _is_below(path, allowed):
            fix = (
                f"use a folder below {STATE_FOLDER}, such as {PurePosixPath(path).name}"
                if is_written
                else "put it into another folder, such as /usr/local/lib/edgepose"
            )
            yield Check(key, "failed", f"the service does not see {path}", fix, blocks=True)
        elif is_written and not _is_below(path, allowed):
            folder = path if key == "clips.folder" else PurePosixPath(path).parent
            fix = (
                f"use a path below {STATE_FOLDER}, or run `sudo systemctl edit edgepose` on the board and add "
                f"[Service] ReadWritePaths={folder}; it must exist, and the user edgepose must be able to write there"
            )
            yield Check(key, "warning", f"the service may not write to {path}", fix)


def _list_paths(settings: Config) -> Iterator[tuple[str, str, bool]]:
    """Yield key, absolute path on the board, and whether it is written, for each path in the configuration."""
    if settings.clips.folder:
        yield "clips.folder", _resolve(settings.clips.folder), True
    if settings.output.record:
        yield "output.record", _resolve(settings.output.record.partition("?")[0]), True
    for address in settings.output.sinks:
        kind, _, rest = address.partition(":")
        if kind in ("jsonl", "exec"):
            yield f"sink {kind}", _resolve(rest.removeprefix("//").partition("?")[0]), kind == "jsonl"


def _resolve(path: str) -> str:
    """Return the absolute path on the board: the state folder is the working folder and the home of the service."""
    return normpath(PurePosixPath(STATE_FOLDER, path.removeprefix("~/")))


def _is_below(path: str, folders: Sequence[str]) -> bool:
    return any(PurePosixPath(path).is_relative_to(folder) for folder in folders)
