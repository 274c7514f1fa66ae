"""Frames of a camera, a stream or standard input for a program that reads them one after the other."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator, Iterator
from time import monotonic

from ...runtime.errors import InputError
from ...runtime.io.messages import show_warning
from ...runtime.io.redact import mask_credentials
from ...runtime.types import Frame
from ..config import CameraConfig
from ..sources.base import FrameSource
from ..sources.credentials import add_credentials
from ..sources.factory import open_source
from ..sources.opening import SourceOpener
from ..sources.pipe import JpegPipe
from ..sources.snapshot import fetch_image
from .latest_slot import LatestSlot, SlotClosed
from .shutdown import end_process

__all__ = ["end_process", "list_remaining_threads", "read_image_at", "read_live"]

LOG = logging.getLogger("edgepose")

_POLL_S = 0.1
"""Interval at which a signal can end the wait for a frame."""
_JOIN_TIMEOUT_S = 1.0
_remaining_threads: list[threading.Thread] = []
"""Threads that are still inside a driver; only the thread of the command uses the list."""


class _MessageHandler(logging.Handler):
    """Handler that shows warnings of a source like those of the command."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show one line."""
        show_warning(record.getMessage())


def read_live(address: str, seconds: float | None = None) -> Iterator[Frame]:
    """Iterate over the frames of a source. A frame that is not read before the next one arrives is dropped.

    Standard input is read without dropping frames: the program that writes waits.

    Args:
        address: Source as for `edgepose camera --source`.
        seconds: Time after which to stop, from the first frame; default: no limit.

    Raises:
        InputError: The source cannot be opened, or the camera is lost.
    """
    handler = _MessageHandler(logging.WARNING)
    LOG.addHandler(handler)
    try:
        yield from _read(_open(address), address, seconds)
    finally:
        LOG.removeHandler(handler)


def _read(source: FrameSource, address: str, seconds: float | None) -> Iterator[Frame]:
    slot: LatestSlot[Frame] = LatestSlot()
    errors: list[BaseException] = []
    thread = threading.Thread(target=_capture, args=(source, slot, errors), name="edgepose-capture", daemon=True)
    thread.start()  # it owns the source from now on
    end_s: float | None = None
    try:
        while end_s is None or monotonic() < end_s:
            try:
                frame = slot.take(_POLL_S)
            except TimeoutError:
                continue
            except SlotClosed:
                break
            if end_s is None and seconds is not None:
                end_s = monotonic() + seconds
            yield frame
    finally:
        source.stop()
        slot.discard()
        thread.join(_JOIN_TIMEOUT_S)
        if thread.is_alive():
            _remaining_threads.append(thread)
    if errors:
        raise errors[0]
    if source.unreadable_count:
        raise InputError(f"{mask_credentials(address)}: {source.unreadable_count} images could not be read (see above)")


def read_image_at(address: str) -> Iterator[Frame]:
    """Request one image from an HTTP or HTTPS address.

    Raises:
        InputError: There is no image at this address.
    """
    yield Frame(fetch_image(add_credentials(address)), mask_credentials(address))


def list_remaining_threads() -> list[threading.Thread]:
    """Return the threads that are still inside a driver: the process has to end with `os._exit`."""
    return [thread for thread in _remaining_threads if thread.is_alive()]


def _open(address: str) -> FrameSource:
    if address in ("-", "/dev/stdin"):
        return JpegPipe(live=False)
    opening = SourceOpener(lambda: open_source(CameraConfig(source=address)))
    try:
        while not opening.wait(_POLL_S):
            continue
    except BaseException:
        opening.abandon()
        _remaining_threads.append(opening.thread)
        raise
    return opening.take()


def _capture(source: FrameSource, slot: LatestSlot[Frame], errors: list[BaseException]) -> None:
    """Pass on the frames; the thread that runs this function owns the source."""
    frames = source.frames()
    try:
        for frame in frames:
            if source.live:
                slot.put(frame)
            else:
                slot.put_when_empty(frame)
    except SlotClosed:
        pass
    except BaseException as error:
        errors.append(error)
    finally:
        if isinstance(frames, Generator):
            frames.close()
        source.close()
        slot.close()
