"""Load an untrusted TFLite file in a child process with limits on memory and time.

The interpreters crash on damaged files. A child that loads the network and runs it once answers with its tensors, or
dies in our place. `python -m edgepose.runtime.model.isolated_load FILE` is the child; it reads the network from stdin.
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
from .registry import cache_folder, packaged


@dataclass(frozen=True)
class ProbeResult:
    """Inputs and outputs of a model that loaded and ran."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


MAX_MEMORY_BYTES = 6 << 30
"""Address space of the child, which holds libraries, network and tensors."""


def probe(path: Path, timeout_s: float = 120, network: bytes | None = None) -> ProbeResult:
    """Load a network and run it once on zeros, in a child process.

    Args:
        path: The file; it names the network in messages.
        timeout_s: Limit of wall time; the processor time is limited too.
        network: The bytes to load; None reads them from `path`.

    Raises:
        ModelError: The child refuses the network, dies, needs too much memory or takes too long.
    """
    if network is None:
        network = container.flatbuffer(path)
    command = [sys.executable, "-P", "-m", "edgepose.runtime.model.isolated_load", str(path), str(int(timeout_s) + 1)]
    try:
        child = subprocess.run(command, input=network, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise ModelError(f"{path}: the interpreter was not done with it after {timeout_s:.0f} s") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot start a process to look at it: {error.strerror}") from None
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        raise ModelError(f"{path}: damaged: the interpreter crashes on it ({name})")
    if child.returncode:
        lines = child.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        message = lines[-1][:400]
        raise ModelError(message if message.startswith(str(path)) else f"{path}: cannot be loaded: {message}")
    try:
        answer = json.loads(child.stdout.splitlines()[-1])
        return ProbeResult(*(tuple(_info(entry) for entry in answer[key]) for key in ("inputs", "outputs")))
    except (ValueError, KeyError, IndexError, TypeError):
        raise ModelError(f"{path}: damaged: the interpreter gives no sensible answer about it") from None


def check_first_load(path: Path) -> str:
    """Probe a network that this machine has not run yet; networks that passed are remembered by their hash.

    Those that come with the package are not probed.

    Returns:
        The SHA-256 that the network of the manifest has. Whoever loads the file afterwards has to ask for it, since the
        file may have changed.

    Raises:
        ModelError: As `probe`, or the model file is damaged.
    """
    digest = container.read_manifest(path).flatbuffer_sha256
    passed = cache_folder() / "probed" / digest
    if not passed.is_file() and path.resolve() not in {packaged_path.resolve() for packaged_path in packaged()}:
        probe(path, network=container.load(path, digest).network)
        with suppress(OSError):
            passed.parent.mkdir(parents=True, exist_ok=True)
            passed.touch()
    return digest


def check_model(path: Path, sha256: str | None) -> str:
    """Decide which network may be loaded from `path`, before it is loaded.

    Args:
        path: The model file.
        sha256: The hash that the user has pinned, or None. A pinned network is trusted and not probed.

    Returns:
        The SHA-256 to load the file with. It is compared when the file is loaded, not here.

    Raises:
        ModelError: As `check_first_load`.
        ValueError: `sha256` is no SHA-256.
    """
    return check_first_load(path) if sha256 is None else container.check_sha256(sha256)


def _info(entry: list[object]) -> TensorInfo:
    name, number, shape, dtype, quantization = entry
    return TensorInfo(str(name), int(str(number)), tuple(shape), str(dtype), Quantization(*quantization))  # type: ignore[arg-type, misc]


def _limit(seconds: int) -> None:
    """Limit this process: address space, processor time, no core file."""
    for what, most in (
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_CORE, 0)
    ):  # fmt: skip
        hard = resource.getrlimit(what)[1]
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        # 32-bit boards cannot count to the limit, and do not have that much memory.
        with suppress(OverflowError, OSError, ValueError):
            resource.setrlimit(what, (limit, limit))


def _main() -> int:
    path, seconds = Path(sys.argv[1]), int(sys.argv[2])
    content = sys.stdin.buffer.read()
    _limit(seconds)
    try:
        network = Network(path, threads=1, content=content)
        for info in network.inputs:
            network.tensor(info)[...] = np.zeros((), info.dtype)
        network.invoke()
    except ModelError as error:
        print(error, file=sys.stderr)
        return 2
    except (MemoryError, ValueError, RuntimeError) as error:
        print(f"{path}: cannot be run: {' '.join(str(error).split())[:200] or 'not enough memory'}", file=sys.stderr)
        return 2
    print(json.dumps({"inputs": network.inputs, "outputs": network.outputs}))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
