"""Helper functions for the tests of sinks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from edgepose.device.sinks.base import Message
from edgepose.runtime.skeleton import COCO18
from edgepose.runtime.synthetic import Scene
from edgepose.runtime.types import EstimateResult, Frame, Pose, Timings


def make_message(index: int = 0, people: int = 2) -> Message:
    frame = Scene(people, 320, 240).render_frame(index)
    poses = tuple(
        Pose(np.column_stack((truth, np.ones(18))).astype(np.float32), 0.9, person)
        for person, truth in enumerate(frame.keypoints, 1)
    )
    return Message(Frame(frame.image, "scene", index), EstimateResult(poses, Timings(1, 2, 3)), COCO18)


def wait_until(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
    return found
