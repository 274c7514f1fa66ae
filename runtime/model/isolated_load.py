"""Loading of untrusted TFLite files in a child process with limits on memory and time.

The interpreters crash on damaged files. The child process loads the network, runs it once and prints its input and
output tensors as JSON. If the interpreter crashes, only the child process ends. The child is
`python -m edgepose.runtime.model.isolated_load FILE SECONDS WIDTHxHEIGHT [fixed]`; it reads the network from stdin. A
network without a fixed input size, or for several images at once, is resized to one image of the given size.
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
from .input_tensor import DEFAULT_SIZE, ImageShape, choose_image_shape
from .interpreter import Network, OutputOrigin, TensorInfo, read_inputs
from .registry import get_cache_folder, list_packaged_models


@dataclass(frozen=True)
class NetworkTensors:
    """Input and output tensors of a network that was loaded and run successfully.

    Attributes:
        inputs: The inputs, with the shapes that the network was run with.
        outputs: The outputs.
        origins: For each output, where it comes from.
        is_resized: True if the interpreter was resized to one image.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    origins: tuple[OutputOrigin, ...] = ()
    is_resized: bool = False


MAX_MEMORY_BYTES = 6 << 30
"""Limit for the address space of the child process, which contains libraries, network and tensors."""


def load_in_child_process(
    path: Path,
    timeout_s: float = 120,
    network: bytes | None = None,
    size: tuple[int, int] | None = None,
    default_size: tuple[int, int] = DEFAULT_SIZE,
) -> NetworkTensors:
    """Load a network and run it once on zeros, in a child process.

    If the network accepts images of any size, or computes several images at once, it is resized to one image.

    Args:
        path: The TFLite file; only used in messages if `network` is given.
        timeout_s: Limit for the wall-clock time in seconds. The CPU time is limited to one second more.
        network: The TFLite flatbuffer; None reads it from `path`.
        size: Width and height that the input must have; None for any.
        default_size: Width and height for an input of any size, if `size` is None.

    Raises:
        ModelError: The network cannot be loaded, resized or run, or the child process crashes, needs too much memory
            or does not finish in time.
    """
    if network is None:
        network = container.read_flatbuffer(path)
    width, height = size or default_size
    command = [
        *(sys.executable, "-P", "-m", "edgepose.runtime.model.isolated_load", str(path), str(int(timeout_s) + 1)),
        *(f"{width}x{height}", *(() if size is None else ("fixed",))),
    ]
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
        inputs, outputs = (tuple(_parse_tensor_info(entry) for entry in answer[key]) for key in ("inputs", "outputs"))
        origins = tuple(OutputOrigin(*(tuple(numbers) for numbers in entry)) for entry in answer["origins"])
        return NetworkTensors(inputs, outputs, origins, bool(answer["is_resized"]))
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
    manifest = container.read_manifest(path)
    digest, size = manifest.flatbuffer_sha256, (manifest.input.width, manifest.input.height)
    # A network that is resized can fail at one size and pass at another.
    passed_file = (
        get_cache_folder() / "probed" / (f"{digest}-{size[0]}x{size[1]}" if manifest.input.dynamic else digest)
    )
    if not passed_file.is_file() and path.resolve() not in {
        packaged_path.resolve() for packaged_path in list_packaged_models()
    }:
        network = container.load(path, digest).network
        load_in_child_process(path, network=network, size=size if manifest.input.dynamic else None)
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
    name, number, shape, dtype, quantization, is_quantized, signature = entry
    return TensorInfo(
        str(name),
        int(str(number)),
        tuple(shape),  # type: ignore[arg-type]
        str(dtype),
        Quantization(*quantization),  # type: ignore[misc]
        bool(is_quantized),
        tuple(signature),  # type: ignore[arg-type]
    )


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


def _load_one_image(path: Path, flatbuffer: bytes, size: tuple[int, int], is_fixed: bool) -> tuple[Network, bool]:
    """Load a network and run it once on zeros.

    Returns:
        The network, and whether it was resized to one image.

    Raises:
        ModelError: The network cannot be loaded, resized or run, or does not have the input size `size`.
    """
    shape = _choose_shape(path, read_inputs(path, flatbuffer), size if is_fixed else None, size)
    if shape is not None and shape.is_resized:
        resized = _resize_network(path, flatbuffer, shape)
        if shape.batch > 1:
            _compare_batches(path, Network(path, 1, flatbuffer), resized, shape.batch)
        return resized, True
    network = Network(path, 1, flatbuffer)
    for info in network.inputs:
        network.get_tensor(info)[...] = np.zeros((), info.dtype)
    network.invoke()
    return network, False


def _choose_shape(
    path: Path, inputs: list[TensorInfo], size: tuple[int, int] | None, default_size: tuple[int, int]
) -> ImageShape | None:
    """Choose the shape for one image; None for a network that does not read an image."""
    if len(inputs) != 1:
        return None
    try:
        return choose_image_shape(inputs[0], size, default_size)
    except ValueError as error:
        if size is not None or any(side < 0 for side in inputs[0].signature):
            raise ModelError(f"{path}: {error}") from None
        return None


def _resize_network(path: Path, flatbuffer: bytes, shape: ImageShape) -> Network:
    try:
        return Network(path, 1, flatbuffer, shape.tensor_shape)
    except ModelError as error:
        reason = str(error).rpartition("cannot load the network: ")[2]
        what = f"reads {shape.batch} images at once and" if shape.batch > 1 else "has no fixed input size, but"
        raise ModelError(
            f"{path}: the network {what} does not work with one image of {shape.width}x{shape.height}: {reason[:200]}; "
            f"export it with the input shape {shape.tensor_shape}"
        ) from None


def _compare_batches(path: Path, network: Network, resized: Network, batch: int) -> None:
    """Check that a network for several images computes the same for one image after it was resized.

    Raises:
        ModelError: It does not.
    """
    kind = np.dtype(network.inputs[0].dtype)
    # A different image in every place, to notice a network that mixes them.
    images = np.random.default_rng(0).integers(0, 100, network.inputs[0].shape).astype(kind)
    network.get_tensor(network.inputs[0])[...] = images
    resized.get_tensor(resized.inputs[0])[...] = images[:1]
    network.invoke()
    resized.invoke()
    for many, one in zip(network.outputs, resized.outputs, strict=True):
        expected, values = (
            source.get_tensor(info).astype(np.float64) for source, info in ((network, many), (resized, one))
        )
        allowed = 1.0 if kind.kind in "iu" else 1e-3 * max(1.0, float(np.abs(expected).max()))
        if values.shape[1:] != expected.shape[1:] or not np.abs(values[:1] - expected[:1]).max() <= allowed:
            raise ModelError(
                f"{path}: the network reads {batch} images at once and computes other values for one image; "
                "export it with a batch of 1"
            )


def _main() -> int:
    path, seconds = Path(sys.argv[1]), int(sys.argv[2])
    width, _, height = sys.argv[3].partition("x")
    flatbuffer = sys.stdin.buffer.read()
    _limit_resources(seconds)
    try:
        network, is_resized = _load_one_image(path, flatbuffer, (int(width), int(height)), "fixed" in sys.argv[4:])
        origins = [network.trace_output(info) for info in network.outputs]
    except ModelError as error:
        print(error, file=sys.stderr)
        return 2
    except (MemoryError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200] or "not enough memory"
        print(f"{path}: the network cannot be run: {reason}", file=sys.stderr)
        return 2
    answer = {"inputs": network.inputs, "outputs": network.outputs, "origins": origins, "is_resized": is_resized}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
