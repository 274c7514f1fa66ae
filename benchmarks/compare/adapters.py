"""Output formats of other pose networks. An adapter converts the outputs of one network to poses."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ...runtime.errors import InputError
from ...runtime.model.interpreter import TensorInfo
from ...runtime.skeleton import COCO18
from ...runtime.types import ChannelOrder, Pose

COCO_KEYPOINTS = 17


class InputToFrame(NamedTuple):
    """Transform from the input of a network to the frame.

    Attributes:
        width: Width of the input in pixels.
        height: Height of the input in pixels.
        scale_x: Frame pixels per input pixel.
        scale_y: The same for y. The image is at the top left of the input, so there is no offset.
    """

    width: int
    height: int
    scale_x: float
    scale_y: float


@runtime_checkable
class Adapter(Protocol):
    """What the comparison must know about the networks of one kind.

    Attributes:
        name: Name of the kind, shown in the legend of the plot.
        channel_order: Channel order of the input, `bgr` or `rgb`.
        value_range: Input values for the pixel values 0 and 255, for a float input. An int32 input always gets 0 to
            255, and a quantized input these values with the scale and zero point of its tensor.
    """

    name: str
    channel_order: ChannelOrder
    value_range: tuple[float, float]

    def accepts(self, outputs: Sequence[TensorInfo]) -> bool:
        """Return True if a network with these outputs is of this kind."""
        ...

    def decode(self, outputs: Sequence[npt.NDArray[Any]], to_frame: InputToFrame) -> list[Pose]:
        """Convert the outputs of one image to poses in pixels of the frame.

        Args:
            outputs: Outputs in the order of the file, float32 (quantized outputs are dequantized).
            to_frame: Size of the input, and its scale.
        """
        ...


class MoveNetMultiPose:
    """Adapter for MoveNet MultiPose: one output (1, people, 56).

    Each person has 17 times y, x and score in COCO's order, then the box (ymin, xmin, ymax, xmax) and the score of the
    person. Coordinates are 0 to 1 in the input. All keypoints of a person with a score above 0 are used.
    """

    name = "MoveNet MultiPose"
    channel_order: ChannelOrder = "rgb"
    value_range = (0.0, 255.0)
    values_per_person = 3 * COCO_KEYPOINTS + 5

    def accepts(self, outputs: Sequence[TensorInfo]) -> bool:
        """Return True if there is one output with 56 values per person."""
        return len(outputs) == 1 and len(outputs[0].shape) == 3 and outputs[0].shape[2] == self.values_per_person

    def decode(self, outputs: Sequence[npt.NDArray[Any]], to_frame: InputToFrame) -> list[Pose]:
        """Convert the output to poses."""
        people = outputs[0][0]
        people = people[people[:, -1] > 0]
        keypoints = people[:, : 3 * COCO_KEYPOINTS].reshape(-1, COCO_KEYPOINTS, 3)[:, :, (1, 0, 2)]
        keypoints = keypoints * (to_frame.width * to_frame.scale_x, to_frame.height * to_frame.scale_y, 1.0)
        return [make_pose(*person) for person in zip(keypoints, people[:, -1], strict=True)]


def make_pose(keypoints: npt.NDArray[Any], score: float) -> Pose:
    """Make a pose of COCO's 17 keypoints.

    Args:
        keypoints: (17, 3): x and y in pixels of the frame, score.
        score: Score of the person; AP ranks people by it.
    """
    found = np.zeros((len(COCO18.keypoints), 3), np.float32)
    found[list(COCO18.coco_order)] = keypoints
    # A keypoint with score 0 counts as not found. These networks place all keypoints, so each one gets a score.
    found[list(COCO18.coco_order), 2] = np.maximum(keypoints[:, 2], 1e-6)
    return Pose(found, float(score))


BUILT_IN: tuple[Adapter, ...] = (MoveNetMultiPose(),)


def load_adapter(text: str) -> Adapter:
    """Load an adapter from a Python file. The code of the file is executed.

    Args:
        text: `FILE.py:CLASS`.

    Raises:
        InputError: The file cannot be read or executed, or there is no such class, or it is not an adapter.
    """
    name, _, class_name = text.rpartition(":")
    path = Path(name)
    if path.suffix != ".py" or not class_name.isidentifier():
        raise InputError(f"--adapter {text}: expected FILE.py:CLASS")
    if not path.is_file():
        raise InputError(f"--adapter {text}: there is no file {path}")
    spec = importlib.util.spec_from_file_location(f"edgepose_adapter_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        adapter = getattr(module, class_name)()
    except (Exception, SystemExit) as error:
        raise InputError(f"--adapter {text}: {type(error).__name__}: {' '.join(str(error).split())}") from None
    if not isinstance(adapter, Adapter):
        raise InputError(
            f"--adapter {text}: expected a class with name, channel_order, value_range, accepts() and decode()"
        )
    if not isinstance(adapter.name, str) or adapter.channel_order not in ("bgr", "rgb"):
        raise InputError(f"--adapter {text}: expected a name, and 'bgr' or 'rgb' as channel_order")
    try:
        low, high = map(float, adapter.value_range)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"--adapter {text}: expected two numbers as value_range, the smaller one first")
    return adapter


def choose_adapter(path: Path, outputs: Sequence[TensorInfo], adapters: Sequence[Adapter]) -> Adapter:
    """Choose the first adapter that accepts the outputs of a network.

    Raises:
        InputError: There is none, or the code of an adapter fails.
    """
    for adapter in adapters:
        try:
            if adapter.accepts(outputs):
                return adapter
        except (Exception, SystemExit) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError(f"{path}: accepts() of the adapter {adapter.name} failed: {reason}") from error
    shapes = ", ".join(str(info.shape) for info in outputs)
    raise InputError(
        f"{path}: no adapter for a network with the outputs {shapes}; expected a model with a manifest, an output "
        f"(1, people, {MoveNetMultiPose.values_per_person}) as of MoveNet MultiPose, or --adapter FILE.py:CLASS"
    )
