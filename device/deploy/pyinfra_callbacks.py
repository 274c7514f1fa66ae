"""What pyinfra tells while it works. Imports pyinfra, and is imported only where it is used."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import gevent
from pyinfra import logger
from pyinfra.api.state import BaseStateCallback

_COLOR = re.compile(r"\x1b\[[\d;]*m")


class Watcher(BaseStateCallback):
    """Hands on why a board could not be connected to, which step begins on which, and what pyinfra says of it."""

    def __init__(self, problems: dict[str, str]) -> None:
        self._problems = problems
        self.errors: dict[str, list[str]] = {}
        """What pyinfra logged in a step, by board."""
        self._boards: dict[int, str] = {}
        handler = logging.Handler(logging.WARNING)
        handler.emit = self._logged  # type: ignore[method-assign]
        logger.addHandler(handler)
        self.note: Callable[[str, str], None] = lambda board, step: None

    def host_connect_error(self, state: Any, host: Any, error: Exception) -> None:
        """The connection failed."""
        self._problems[host.name] = " ".join(str(error.args[0] if error.args else error).split())

    def operation_host_start(self, state: Any, host: Any, op_hash: str) -> None:
        """A step begins."""
        self._boards[id(gevent.getcurrent())] = host.name
        if op_hash in state.ops[host]:
            self.errors[host.name] = []
            self.note(host.name, ", ".join(state.get_op_meta(op_hash).names))

    def _logged(self, record: logging.LogRecord) -> None:
        """A board's steps run in a greenlet of its own."""
        name = self._boards.get(id(gevent.getcurrent()))
        if name is not None:
            self.errors.setdefault(name, []).append(_COLOR.sub("", record.getMessage()).strip())
