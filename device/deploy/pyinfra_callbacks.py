"""Callbacks and log handler for pyinfra. Imports pyinfra, so import this module only where pyinfra is used."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

from pyinfra import logger
from pyinfra.api.state import BaseStateCallback
from pyinfra.context import ctx_host

_COLOR_CODE = re.compile(r"\x1b\[[\d;]*m")


class PyinfraCallbacks(BaseStateCallback):
    """Receiver of the events and log messages of pyinfra.

    It stores why a connection failed in the `problems` of the fleet, calls `note` with board and step when a step
    begins, and collects the warnings and errors that pyinfra logs during a step.
    """

    def __init__(self, problems: dict[str, str], explain: Callable[[str, Exception], str]) -> None:
        """Start to listen.

        Args:
            problems: Receives the reasons of failed connections, by board.
            explain: Returns the reason in one line from the name of the board and the error.
        """
        self._problems, self._explain = problems, explain
        self.errors: dict[str, list[str]] = {}
        """Messages that pyinfra logged during the current step, by board."""
        self._handler = _LogHandler(self._store_log_message)
        logger.addHandler(self._handler)
        self.note: Callable[[str, str], None] = lambda board, step: None

    def close(self) -> None:
        """Stop collecting log messages."""
        logger.removeHandler(self._handler)

    def host_connect_error(self, state: Any, host: Any, error: Exception) -> None:
        """Store why the connection to a board failed."""
        self._problems[host.name] = self._explain(host.name, error)

    def operation_host_start(self, state: Any, host: Any, op_hash: str) -> None:
        """Note that a step begins on a board."""
        if op_hash in state.ops[host]:
            self.errors[host.name] = []
            self.note(host.name, ", ".join(state.get_op_meta(op_hash).names))

    def _store_log_message(self, message: str) -> None:
        # pyinfra runs the steps of each board in a separate greenlet, in which `ctx_host` is the board.
        host = ctx_host.get()
        if host is not None and host.name in self.errors:
            self.errors[host.name].append(_COLOR_CODE.sub("", message).strip())


class _LogHandler(logging.Handler):
    """Log handler that passes warnings and errors to a function."""

    def __init__(self, receive: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._receive = receive

    def emit(self, record: logging.LogRecord) -> None:
        """Pass the message of a log record on."""
        self._receive(record.getMessage())
