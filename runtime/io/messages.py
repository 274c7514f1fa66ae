"""Messages and progress bars on standard error."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Sized
from contextlib import suppress
from enum import IntEnum
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from .printable import make_printable
from .redact import mask_credentials

_LOG_INTERVAL_S = 10.0
"""Interval of progress lines without a terminal."""

_MIN_BAR_UNITS = 4
"""No bar for tasks with fewer units: they are too short."""

_MAX_TRACEBACK_CHARACTERS = 100_000

Item = TypeVar("Item")


class Verbosity(IntEnum):
    """How much is shown on standard error."""

    QUIET = 0
    """Errors and warnings only."""
    NORMAL = 1
    VERBOSE = 2
    """Also details, and the traceback of errors."""


_verbosity = Verbosity.NORMAL


def get_verbosity() -> Verbosity:
    """Return the verbosity of this process."""
    return _verbosity


def set_verbosity(level: Verbosity) -> None:
    """Set the verbosity of this process. Call it before other threads show messages."""
    global _verbosity
    _verbosity = level


def show_note(message: str) -> None:
    """Tell the user what is being done; not shown with `--quiet`. Control characters are escaped."""
    if _verbosity >= Verbosity.NORMAL:
        _write(message)


def show_detail(message: str) -> None:
    """Show a message only with `--verbose`. Control characters are escaped."""
    if _verbosity >= Verbosity.VERBOSE:
        _write(message)


def show_warning(message: str) -> None:
    """Show a warning or an error, also with `--quiet`. Control characters are escaped."""
    _write(message)


def show_traceback() -> None:
    """Show the traceback of the current exception, only with `--verbose`."""
    if _verbosity >= Verbosity.VERBOSE:
        with suppress(OSError):
            text = mask_credentials(traceback.format_exc())
            print(make_printable(text, limit=_MAX_TRACEBACK_CHARACTERS, keep="\n"), file=sys.stderr)


def _write(message: str) -> None:
    with suppress(OSError):  # there is no standard error to write to
        print(f"edgepose: {make_printable(message)}", file=sys.stderr, flush=True)


class Progress(Protocol):
    """Progress of a task; a context manager."""

    def update(self, count: float = 1, /) -> object:
        """Count `count` more units as done."""

    def __enter__(self) -> Any: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> object: ...


def show_progress(total: float | None, description: str, unit: str, *, is_bytes: bool = False) -> Progress:
    """Show how far a long task is: a bar on a terminal, otherwise a line every ten seconds, nothing with `--quiet`.

    Args:
        total: Number of units; None if it is not known.
        description: What is being done, such as "fitting weights".
        unit: One unit of `total`, singular, such as "layer".
        is_bytes: Show kilobytes and megabytes.

    Returns:
        A context manager with a method `update(count)`.
    """
    if _verbosity < Verbosity.NORMAL or not _has_terminal() or (total is not None and total < _MIN_BAR_UNITS):
        return _LoggedProgress(total, description, unit, is_bytes)
    from tqdm import tqdm

    bar: Progress = tqdm(total=total, desc=description or None, unit="B" if is_bytes else unit, unit_scale=is_bytes)
    return bar


def iterate_with_progress(
    items: Iterable[Item], description: str, unit: str, total: int | None = None
) -> Iterator[Item]:
    """Iterate over `items` and show progress as `show_progress` does; `total` defaults to `len(items)`."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with show_progress(total, description, unit) as progress:
        for item in items:
            yield item
            progress.update()


def _has_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # closed
        return False


class _LoggedProgress:
    """Progress as lines of a log."""

    def __init__(self, total: float | None, description: str, unit: str, is_bytes: bool) -> None:
        self._description = description
        self._unit, self._scale = ("MB", 1e-6) if is_bytes else (unit, 1.0)
        self._total = total
        self._done = 0.0
        self._start_s = self._shown_s = time.monotonic()

    def update(self, count: float = 1) -> None:
        """Count `count` more units as done, and show a line if it is time for one."""
        self._done += count
        now_s = time.monotonic()
        if now_s - self._shown_s < _LOG_INTERVAL_S or not self._done:
            return
        self._shown_s = now_s
        text = f"{self._description}: {self._unit} {self._done * self._scale:.0f}"
        if self._total:
            left_s = (now_s - self._start_s) * max(0.0, self._total / self._done - 1)
            text += f" of {self._total * self._scale:.0f}, about {left_s:.0f} s left"
        show_note(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return
