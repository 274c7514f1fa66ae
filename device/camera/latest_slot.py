"""Slot for one item between two threads, so that a slow reader never causes a queue."""

from __future__ import annotations

from threading import Condition
from typing import Generic, TypeVar

Item = TypeVar("Item")


class SlotClosed(Exception):  # noqa: N818 - like StopIteration, an end and not an error
    """The slot was closed by the other thread."""


class LatestSlot(Generic[Item]):
    """Slot that holds at most one item.

    `replaced_count` is the number of items that were overwritten before they were taken.
    """

    def __init__(self) -> None:
        self._condition = Condition()
        self._item: Item | None = None
        self._closed = False
        self.replaced_count = 0

    def put(self, item: Item) -> Item | None:
        """Store an item at once, in place of an item that was not taken yet.

        Returns:
            The replaced item, or None if the slot was empty.

        Raises:
            SlotClosed: The slot is closed.
        """
        with self._condition:
            if self._closed:
                raise SlotClosed
            older, self._item = self._item, item
            if older is not None:
                self.replaced_count += 1
            self._condition.notify_all()
            return older

    def put_when_empty(self, item: Item) -> None:
        """Wait until the slot is empty, then store an item.

        Raises:
            SlotClosed: The slot is closed.
        """
        with self._condition:
            self._condition.wait_for(lambda: self._item is None or self._closed)
            if self._closed:
                raise SlotClosed
            self._item = item
            self._condition.notify_all()

    def take(self, timeout_s: float | None = None) -> Item:
        """Wait for an item and remove it from the slot.

        Args:
            timeout_s: Maximum time to wait in seconds; default: no limit.

        Raises:
            SlotClosed: The slot is closed and empty.
            TimeoutError: No item was stored in time.
        """
        with self._condition:
            if not self._condition.wait_for(lambda: self._item is not None or self._closed, timeout_s):
                raise TimeoutError
            if self._item is None:
                raise SlotClosed
            item, self._item = self._item, None
            self._condition.notify_all()
            return item

    def close(self) -> None:
        """Refuse further items. An item in the slot can still be taken."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def discard(self) -> None:
        """Refuse further items and remove the item in the slot."""
        with self._condition:
            self._closed, self._item = True, None
            self._condition.notify_all()
