"""Looks at a TFLite file nobody vouches for, in a child process.

The interpreters crash on damaged files. A child that loads the file and runs it once answers with its tensors, or
dies in our place. `python -m edgepose.runtime.probe FILE` is the child.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import ModelError
from .interpreter import Network, TensorInfo
from .model_file import check_tflite
from .types import Quantisation


@dataclass(frozen=True)
class ProbeResult:
    """Inputs and outputs of a model that loaded and ran."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


def probe(path: Path, timeout_s: float = 120) -> ProbeResult:
    """Loads `path` and runs it once on zeros, in a child process.

    Raises ModelError where the child says no, dies or takes too long.
    """
    check_tflite(path)
    command = [sys.executable, "-m", "edgepose.runtime.probe", str(path)]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise ModelError(f"{path}: the interpreter was not done with it after {timeout_s:.0f} s") from None
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        raise ModelError(f"{path}: damaged: the interpreter crashes on it ({name})")
    if child.returncode:
        lines = child.stderr.strip().splitlines() or ["no reason given"]
        raise ModelError(lines[-1])
    answer = json.loads(child.stdout.splitlines()[-1])
    return ProbeResult(*(tuple(_info(entry) for entry in answer[key]) for key in ("inputs", "outputs")))


def _info(entry: list[object]) -> TensorInfo:
    name, number, shape, dtype, quantisation = entry
    return TensorInfo(str(name), int(str(number)), tuple(shape), str(dtype), Quantisation(*quantisation))  # type: ignore[arg-type, misc]


def _main() -> int:
    try:
        network = Network(Path(sys.argv[1]), threads=1)
        for info in network.inputs:
            network.tensor(info)[...] = np.zeros((), info.dtype)
        network.invoke()
    except ModelError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps({"inputs": network.inputs, "outputs": network.outputs}))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
