"""A place for one thing between two threads: whoever is slower never makes a queue."""

from __future__ import annotations

from threading import Condition
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Closed(Exception):  # noqa: N818 - like StopIteration, an end and not a fault
    """The other side has gone."""


class Mailbox(Generic[Item]):
    """Holds at most one item. `replaced` counts those that were overwritten before anybody took them."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._item: Item | None = None
        self._closed = False
        self.replaced = 0

    def put(self, item: Item) -> Item | None:
        """Leaves an item; gives back the older one that nobody took. Raises Closed."""
        with self._condition:
            if self._closed:
                raise Closed
            older, self._item = self._item, item
            if older is not None:
                self.replaced += 1
            self._condition.notify_all()
            return older

    def put_when_empty(self, item: Item) -> None:
        """Waits until the last item was taken, then leaves this one. Raises Closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._item is None or self._closed)
            if self._closed:
                raise Closed
            self._item = item
            self._condition.notify_all()

    def take(self, timeout_s: float | None = None) -> Item:
        """Waits for an item. Raises Closed once the box is closed and empty, TimeoutError where nothing comes."""
        with self._condition:
            if not self._condition.wait_for(lambda: self._item is not None or self._closed, timeout_s):
                raise TimeoutError
            if self._item is None:
                raise Closed
            item, self._item = self._item, None
            self._condition.notify_all()
            return item

    def close(self) -> None:
        """Nothing more will come; what is inside can still be taken."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def discard(self) -> None:
        """Nobody will take anything any more."""
        with self._condition:
            self._closed, self._item = True, None
            self._condition.notify_all()
