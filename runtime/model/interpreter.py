"""The TFLite interpreter: which of the two packages runs, and a loaded model behind one small class."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import ModelError
from ..stderr import suppress_stderr
from ..types import Quantization

PACKAGES = {"ai-edge-litert": "ai_edge_litert.interpreter", "tflite-runtime": "tflite_runtime.interpreter"}
"""Interpreters in order of preference: ai-edge-litert is TFLite's successor and the faster of the two."""

_VARIABLE = "EDGEPOSE_INTERPRETER"
_DELEGATES = ("DELEGATE", "TfLiteXNNPackDelegate")


class TensorInfo(NamedTuple):
    """An input or output of a model."""

    name: str
    number: int
    shape: tuple[int, ...]
    dtype: str
    quantization: Quantization


class OperatorTensor(NamedTuple):
    """A tensor that an operator reads or writes."""

    name: str
    shape: tuple[int, ...]
    item_bytes: int
    whole: bool
    """Whether it holds whole numbers."""


def choose() -> tuple[str, Any]:
    """Name and `Interpreter` class of the interpreter to use: the one EDGEPOSE_INTERPRETER names, else the first found.

    Raises ModelError where there is none, or the one named is unknown or missing.
    """
    forced = os.environ.get(_VARIABLE)
    if forced and forced not in PACKAGES:
        raise ModelError(f"{_VARIABLE}={forced}: expected one of {', '.join(PACKAGES)}")
    for name in [forced] if forced else PACKAGES:
        try:
            return name, importlib.import_module(PACKAGES[name]).Interpreter
        except ModuleNotFoundError as error:
            if error.name not in (PACKAGES[name], PACKAGES[name].partition(".")[0]):
                raise
    if forced:
        raise ModelError(f"{_VARIABLE}={forced}, but it is not installed: pip install {forced}")
    raise ModelError("no TFLite interpreter: pip install ai-edge-litert (or 'edgepose[tflite]' on Python 3.11)")


class Network:
    """A model loaded into the interpreter, ready to run.

    Loads whatever it is given: the interpreter **crashes the process** on some damaged files, so the caller checks
    the file's hash first (`model_file.read`) or has looked at it in a child process (`probe`).
    """

    def __init__(self, path: Path, threads: int | None = None, content: bytes | None = None) -> None:
        """Load a model. `content` is loaded if it is given, and `path` only names it in messages."""
        if threads is not None and threads < 1:
            raise ValueError(f"expected at least one thread, got {threads}")
        self.interpreter_name, interpreter_class = choose()
        source = {"model_path": str(path)} if content is None else {"model_content": content}
        try:
            # The interpreters announce their delegate, and a failure twice, on stderr; the exception says it all.
            with suppress_stderr(show_on_error=False):
                self._interpreter = interpreter_class(**source, num_threads=threads or default_threads())
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ModelError(f"{path}: {self.interpreter_name} cannot load it: {reason}") from None
        self.inputs = [_info(details) for details in self._interpreter.get_input_details()]
        self.outputs = [_info(details) for details in self._interpreter.get_output_details()]
        self._views: dict[int, Callable[[], npt.NDArray[Any]]] = {
            info.number: self._interpreter.tensor(info.number) for info in (*self.inputs, *self.outputs)
        }

    def tensor(self, info: TensorInfo) -> npt.NDArray[Any]:
        """The memory of an input or output. Drop it before `invoke`, which refuses to run while it is held."""
        return self._views[info.number]()

    def invoke(self) -> None:
        """Runs the network once; releases the GIL."""
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"inference failed: {' '.join(str(error).split())}") from None

    def operators(self) -> list[tuple[str, list[OperatorTensor], list[OperatorTensor]]]:
        """Kind, inputs and outputs of every operator, as they are in the file, in order."""
        found = []
        for details in self._interpreter._get_ops_details():
            if details["op_name"] not in _DELEGATES:
                inputs, outputs = (
                    [self._about(int(t)) for t in details[end] if t >= 0] for end in ("inputs", "outputs")
                )
                found.append((str(details["op_name"]), inputs, outputs))
        return found

    @property
    def delegated(self) -> bool:
        """Whether a delegate, which on processors is XNNPACK, runs the network or a part of it."""
        return any(details["op_name"] in _DELEGATES for details in self._interpreter._get_ops_details())

    def _about(self, number: int) -> OperatorTensor:
        details = self._interpreter._get_tensor_details(number, subgraph_index=0)
        dtype = np.dtype(details["dtype"])
        shape = tuple(int(side) for side in details["shape"])
        return OperatorTensor(details["name"], shape, dtype.itemsize, dtype.kind in "iu")


def default_threads() -> int:
    """As many as this process may use cores, at most four: these networks gain little beyond."""
    return min(4, len(os.sched_getaffinity(0)))


def _info(details: dict[str, Any]) -> TensorInfo:
    scale, zero_point = details["quantization"]
    quantization = Quantization(float(scale), int(zero_point)) if scale else Quantization()
    shape = tuple(int(side) for side in details["shape"])
    return TensorInfo(details["name"], int(details["index"]), shape, np.dtype(details["dtype"]).name, quantization)
