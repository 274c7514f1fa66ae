"""TFLite interpreter: choice of the installed package, and a wrapper class for a loaded network."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import ModelError
from ..install_hint import make_install_command, make_package_install_command
from ..stderr import suppress_stderr
from ..types import Quantization

MAX_THREADS = 64
"""Interpreters crash with very many threads."""
PACKAGES = {"ai-edge-litert": "ai_edge_litert.interpreter", "tflite-runtime": "tflite_runtime.interpreter"}
"""Package and module names in order of preference: ai-edge-litert is the successor of tflite-runtime and faster."""

_VARIABLE = "EDGEPOSE_INTERPRETER"
_DELEGATE_NAMES = ("DELEGATE", "TfLiteXNNPackDelegate")
_LAYOUT_OPERATORS = ("TRANSPOSE", "QUANTIZE", "DEQUANTIZE")
"""Operators that keep the channels of a feature map."""


class TensorInfo(NamedTuple):
    """Input or output tensor of a network.

    Attributes:
        name: Name in the file.
        number: Index of the tensor in the interpreter.
        shape: Sizes of all dimensions, including the batch.
        dtype: Name of the NumPy dtype, such as `int8`.
        quantization: Scale and zero point; (1, 0) if the tensor is not quantized.
        is_quantized: True if the tensor has one scale and zero point.
        signature: Shape in the file, with -1 for dimensions that can change.
    """

    name: str
    number: int
    shape: tuple[int, ...]
    dtype: str
    quantization: Quantization
    is_quantized: bool = False
    signature: tuple[int, ...] = ()


class OutputOrigin(NamedTuple):
    """Where an output comes from in the network.

    Attributes:
        parts: Channels of each part if the output is a concatenation; empty otherwise.
        ancestors: Numbers of the other outputs that it is computed from.
    """

    parts: tuple[int, ...] = ()
    ancestors: tuple[int, ...] = ()


class OperatorTensor(NamedTuple):
    """Tensor that an operator reads or writes.

    Attributes:
        name: Name in the file.
        shape: Sizes of all dimensions.
        item_bytes: Size of an element in bytes.
        is_integer: True if the dtype is an integer type.
    """

    name: str
    shape: tuple[int, ...]
    item_bytes: int
    is_integer: bool


def choose_interpreter() -> tuple[str, Any]:
    """Return name and `Interpreter` class of the interpreter package to use.

    This is the package in the environment variable EDGEPOSE_INTERPRETER, or the first one of `PACKAGES` that is
    installed.

    Raises:
        ModelError: No interpreter is installed, or the one in EDGEPOSE_INTERPRETER is unknown or not installed.
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
    if forced == "tflite-runtime" and sys.version_info >= (3, 12):
        raise ModelError(
            f"{_VARIABLE}={forced}: this package exists only for Python 3.11, and this is Python "
            f"{sys.version_info.major}.{sys.version_info.minor}; unset the variable to use ai-edge-litert"
        )
    if forced:
        raise ModelError(
            f"{_VARIABLE}={forced}: this package is not installed; "
            f"install it with `{make_package_install_command(forced)}`"
        )
    raise ModelError(
        f"no TFLite interpreter is installed; install one with `{make_package_install_command('ai-edge-litert')}` "
        f"(on Python 3.11 also `{make_install_command('tflite')}`)"
    )


class Network:
    """Network loaded into the interpreter.

    The file is loaded without checks. The interpreter **crashes the process** on some damaged files, so the caller must
    check the hash of the file first (`container.load`) or load it in a child process
    (`isolated_load.load_in_child_process`).

    Attributes:
        interpreter_name: Name of the interpreter package.
        inputs: The input tensors.
        outputs: The output tensors.
    """

    def __init__(
        self,
        path: Path,
        threads: int | None = None,
        content: bytes | None = None,
        input_shape: tuple[int, ...] | None = None,
    ) -> None:
        """Load a network.

        Args:
            path: The TFLite file; only used in messages if `content` is given.
            threads: Number of threads; default: `get_default_threads()`.
            content: The TFLite flatbuffer; None reads it from `path`.
            input_shape: Shape to resize the only input to; None for the shape in the file.

        Raises:
            ModelError: The interpreter cannot load the network, or no interpreter is installed.
            ValueError: `threads` is not an integer from 1 to 64.
        """
        if threads is not None and not (type(threads) is int and 1 <= threads <= MAX_THREADS):
            raise ValueError(f"threads: expected an integer from 1 to {MAX_THREADS}, got {threads!r}")
        self.interpreter_name, interpreter_class = choose_interpreter()
        try:
            # The interpreters print their delegate and each error to stderr. The exception has the same information.
            with suppress_stderr(show_on_error=False):
                self._interpreter = interpreter_class(
                    **_make_source(path, content), num_threads=threads or get_default_threads()
                )
                if input_shape is not None:
                    number = self._interpreter.get_input_details()[0]["index"]
                    self._interpreter.resize_tensor_input(number, input_shape)
                self._interpreter.allocate_tensors()
                if input_shape is not None:
                    # Some output shapes are known only after an inference.
                    self._interpreter.invoke()
        except (ValueError, RuntimeError, IndexError) as error:
            raise _make_load_error(path, self.interpreter_name, error) from None
        self.inputs = [_make_tensor_info(details) for details in self._interpreter.get_input_details()]
        self.outputs = [_make_tensor_info(details) for details in self._interpreter.get_output_details()]
        self._views: dict[int, Callable[[], npt.NDArray[Any]]] = {
            info.number: self._interpreter.tensor(info.number) for info in (*self.inputs, *self.outputs)
        }

    def get_tensor(self, info: TensorInfo) -> npt.NDArray[Any]:
        """Return the memory of an input or output as an array, without a copy.

        Release the array before `invoke`: the interpreter does not run while references to its memory exist.
        """
        return self._views[info.number]()

    def invoke(self) -> None:
        """Run the network once. The GIL is released meanwhile.

        Raises:
            ModelError: The inference failed.
        """
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"inference failed: {' '.join(str(error).split())}") from None

    def list_operators(self) -> list[tuple[str, list[OperatorTensor], list[OperatorTensor]]]:
        """Return kind, inputs and outputs of every operator, in the order of the file. Delegates are left out."""
        operators = []
        for details in self._interpreter._get_ops_details():
            if details["op_name"] not in _DELEGATE_NAMES:
                inputs, outputs = (
                    [self._describe_tensor(int(t)) for t in details[end] if t >= 0] for end in ("inputs", "outputs")
                )
                operators.append((str(details["op_name"]), inputs, outputs))
        return operators

    def trace_output(self, output: TensorInfo) -> OutputOrigin:
        """Find out where an output comes from."""
        sources: dict[int, tuple[str, list[int]]] = {}
        for details in self._interpreter._get_ops_details():
            if details["op_name"] not in _DELEGATE_NAMES:
                inputs = [int(number) for number in details["inputs"] if number >= 0]
                sources.update({int(number): (str(details["op_name"]), inputs) for number in details["outputs"]})
        ancestors, pending = set[int](), [output.number]
        while pending:
            new = set(sources.get(pending.pop(), ("", []))[1]) - ancestors
            ancestors |= new
            pending += new
        kind, inputs = sources.get(output.number, ("", []))
        while kind in _LAYOUT_OPERATORS and inputs:
            kind, inputs = sources.get(inputs[0], ("", []))
        parts: tuple[int, ...] = ()
        if kind == "CONCATENATION":
            shapes = np.array([self._describe_tensor(number).shape for number in inputs])
            varying = [axis for axis in range(shapes.shape[1]) if len(set(shapes[:, axis])) > 1]
            parts = tuple(shapes[:, varying[0]].tolist()) if varying else ()
        others = (info.number for info in self.outputs if info.number != output.number)
        return OutputOrigin(parts, tuple(number for number in others if number in ancestors))

    @property
    def is_delegated(self) -> bool:
        """True if a delegate runs the network or a part of it. On a CPU, the delegate is XNNPACK."""
        return any(details["op_name"] in _DELEGATE_NAMES for details in self._interpreter._get_ops_details())

    def _describe_tensor(self, number: int) -> OperatorTensor:
        details = self._interpreter._get_tensor_details(number, subgraph_index=0)
        dtype = np.dtype(details["dtype"])
        shape = tuple(int(side) for side in details["shape"])
        return OperatorTensor(details["name"], shape, dtype.itemsize, dtype.kind in "iu")


def read_inputs(path: Path, content: bytes) -> list[TensorInfo]:
    """Read the inputs of a network without allocating its tensors. Can crash on damaged files, like `Network`.

    Raises:
        ModelError: The interpreter cannot read the network, or no interpreter is installed.
    """
    name, interpreter_class = choose_interpreter()
    try:
        with suppress_stderr(show_on_error=False):
            interpreter = interpreter_class(**_make_source(path, content))
        return [_make_tensor_info(details) for details in interpreter.get_input_details()]
    except (ValueError, RuntimeError, IndexError) as error:
        raise _make_load_error(path, name, error) from None


def _make_source(path: Path, content: bytes | None) -> dict[str, Any]:
    return {"model_path": str(path)} if content is None else {"model_content": content}


def _make_load_error(path: Path, interpreter_name: str, error: Exception) -> ModelError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return ModelError(f"{path}: {interpreter_name} cannot load the network: {reason}")


def get_default_threads() -> int:
    """Return the default number of threads: the CPU cores this process may use, at most 4.

    More threads make these networks hardly faster.
    """
    return min(4, len(os.sched_getaffinity(0)))


def _make_tensor_info(details: dict[str, Any]) -> TensorInfo:
    scale, zero_point = details["quantization"]
    quantization = Quantization(float(scale), int(zero_point)) if scale else Quantization()
    shape, signature = (tuple(int(side) for side in details[key]) for key in ("shape", "shape_signature"))
    return TensorInfo(
        details["name"],
        int(details["index"]),
        shape,
        np.dtype(details["dtype"]).name,
        quantization,
        bool(scale),
        signature,
    )
