"""Loading of untrusted TFLite files in a child process with limits on memory and time.

The interpreters crash on damaged files. The child process loads the network, runs it once and prints its input and
output tensors as JSON. If the interpreter crashes, only the child process ends. The child is
`python -m edgepose.runtime.model.isolated_load FILE SECONDS`; it reads the network from stdin.
"""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ModelError
from ..types import Quantization
from . import container
from .interpreter import Network, TensorInfo
from .registry import get_cache_folder, list_packaged_models


@dataclass(frozen=True)
class NetworkTensors:
    """Input and output tensors of a network that was loaded and run successfully."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


MAX_MEMORY_BYTES = 6 << 30
"""Limit for the address space of the child process, which contains libraries, network and tensors."""


def load_in_child_process(path: Path, timeout_s: float = 120, network: bytes | None = None) -> NetworkTensors:
    """Load a network and run it once on zeros, in a child process.

    Args:
        path: The TFLite file; only used in messages if `network` is given.
        timeout_s: Limit for the wall-clock time in seconds. The CPU time is limited to one second more.
        network: The TFLite flatbuffer; None reads it from `path`.

    Raises:
        ModelError: The network cannot be loaded or run, or the child process crashes, needs too much memory or does not
            finish in time.
    """
    if network is None:
        network = container.read_flatbuffer(path)
    command = [sys.executable, "-P", "-m", "edgepose.runtime.model.isolated_load", str(path), str(int(timeout_s) + 1)]
    try:
        child = subprocess.run(command, input=network, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise ModelError(f"{path}: the interpreter did not finish within {timeout_s:.0f} s") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot start a child process to load the file: {error.strerror}") from None
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        raise ModelError(f"{path}: damaged: the interpreter crashes while it loads or runs the network ({name})")
    if child.returncode:
        lines = child.stderr.decode(errors="replace").strip().splitlines() or ["no error message"]
        message = lines[-1][:400]
        raise ModelError(message if message.startswith(str(path)) else f"{path}: cannot be loaded: {message}")
    try:
        answer = json.loads(child.stdout.splitlines()[-1])
        return NetworkTensors(
            *(tuple(_parse_tensor_info(entry) for entry in answer[key]) for key in ("inputs", "outputs"))
        )
    except (ValueError, KeyError, IndexError, TypeError):
        raise ModelError(f"{path}: damaged: the child process returned no valid list of inputs and outputs") from None


def check_first_load(path: Path) -> str:
    """Probe a network, unless it has passed before on this machine or is part of the package.

    The hashes of networks that passed are stored in the cache folder.

    Returns:
        SHA-256 of the network. The caller must pass it to `container.load` when it loads the file, because the file may
        have changed since the probe.

    Raises:
        ModelError: As for `load_in_child_process`, or the model file is damaged.
    """
    digest = container.read_manifest(path).flatbuffer_sha256
    passed_file = get_cache_folder() / "probed" / digest
    if not passed_file.is_file() and path.resolve() not in {
        packaged_path.resolve() for packaged_path in list_packaged_models()
    }:
        load_in_child_process(path, network=container.load(path, digest).network)
        with suppress(OSError):
            passed_file.parent.mkdir(parents=True, exist_ok=True)
            passed_file.touch()
    return digest


def check_model(path: Path, sha256: str | None) -> str:
    """Check a model file before it is loaded, and return the SHA-256 with which it must be loaded.

    Args:
        path: The model file.
        sha256: Hash pinned by the user, or None. A pinned network is trusted and not probed.

    Returns:
        SHA-256 of the network. A pinned hash is not compared here, but when the file is loaded.

    Raises:
        ModelError: As for `check_first_load`.
        ValueError: `sha256` does not have 64 hexadecimal digits.
    """
    return check_first_load(path) if sha256 is None else container.check_sha256(sha256)


def _parse_tensor_info(entry: list[object]) -> TensorInfo:
    name, number, shape, dtype, quantization = entry
    return TensorInfo(str(name), int(str(number)), tuple(shape), str(dtype), Quantization(*quantization))  # type: ignore[arg-type, misc]


def _limit_resources(seconds: int) -> None:
    """Limit address space and CPU time of this process, and disable core files."""
    for resource_id, maximum in (
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_CORE, 0)
    ):  # fmt: skip
        hard = resource.getrlimit(resource_id)[1]
        limit = maximum if hard == resource.RLIM_INFINITY else min(maximum, hard)
        # The limit is too large for the integers of 32-bit boards, which do not have that much memory.
        with suppress(OverflowError, OSError, ValueError):
            resource.setrlimit(resource_id, (limit, limit))


def _main() -> int:
    path, seconds = Path(sys.argv[1]), int(sys.argv[2])
    flatbuffer = sys.stdin.buffer.read()
    _limit_resources(seconds)
    try:
        network = Network(path, threads=1, content=flatbuffer)
        for info in network.inputs:
            network.get_tensor(info)[...] = np.zeros((), info.dtype)
        network.invoke()
    except ModelError as error:
        print(error, file=sys.stderr)
        return 2
    except (MemoryError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200] or "not enough memory"
        print(f"{path}: the network cannot be run: {reason}", file=sys.stderr)
        return 2
    print(json.dumps({"inputs": network.inputs, "outputs": network.outputs}))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
