"""Worker process: measure one model with one number of threads.

Each model gets its own process, so that the measured memory is that of the model only, and a file that crashes the
interpreter affects one row only. `python -m edgepose.benchmarks.profile.worker` writes JSON lines to stdout:
`{"progress": TEXT}` during the measurement and `{"row": {...}}` at the end.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from ...device.monitor.health import Health
from ...device.monitor.health import read as read_health
from ...runtime import PoseEstimator
from ...runtime.errors import EdgePoseError, NoManifestError
from ...runtime.model import container
from ...runtime.model.input_tensor import find_open_shape
from ...runtime.model.interpreter import Network, read_inputs
from ...runtime.model.manifest import ModelManifest
from . import macs, measure, operators
from .results import Accuracy, PeoplePoint, Row, serialize_row

_PEOPLE_COUNTS = (1, 2, 5, 10, 15, 20, 25, 30)
_FRAMES_PER_COUNT = 15


def main() -> int:
    """Measure a model and print its row. An error is a row with `error`, so the exit code is always 0."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("model", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--input", required=True)
    parser.add_argument("--ops", action="store_true")
    parser.add_argument("--people", action="store_true")
    arguments = parser.parse_args()
    try:
        row = _measure(arguments)
    except (EdgePoseError, ValueError, MemoryError) as error:
        reason = " ".join((str(error) or type(error).__name__).split())
        row = Row(arguments.name, arguments.threads, error=reason)
    print(json.dumps({"row": serialize_row(row)}), flush=True)
    return 0


def _measure(arguments: argparse.Namespace) -> Row:
    path: Path = arguments.model
    manifest = _read_manifest(path)
    flatbuffer = container.read_flatbuffer(path)
    row = Row(
        arguments.name,
        arguments.threads,
        sha256=container.compute_identity(flatbuffer)[0],
        model_mb=path.stat().st_size / 1e6,
    )
    if manifest:
        row = _measure_pose_network(row, path, arguments)
    else:
        row = _measure_other_network(row, path, arguments.seconds)
    if arguments.ops and find_open_shape(read_inputs(path, flatbuffer), manifest) is not None:
        warning = "the operators were not measured: the network has no fixed input size"
        row = replace(row, warnings=(*row.warnings, warning))
    elif arguments.ops:
        found, total = operators.measure_operators(
            flatbuffer, arguments.threads, lambda number, count: _report_progress(f"operator {number} of {count}")
        )
        row = replace(row, operators=found, operators_total_ms=total)
    return row


def _read_manifest(path: Path) -> ModelManifest | None:
    """Read the manifest; None if the file has none. Then only inference can be measured.

    Raises:
        ModelError: The manifest is damaged.
    """
    try:
        return container.read(path)
    except NoManifestError:
        return None


def _measure_pose_network(row: Row, path: Path, arguments: argparse.Namespace) -> Row:
    frames = measure.Frames(arguments.input)
    before = read_health()
    started = perf_counter()
    estimator = PoseEstimator(path, threads=arguments.threads)
    loaded = perf_counter()
    estimator.estimate(frames.first.image, frames.first.channel_order)
    first = perf_counter()
    _report_progress("warming up")
    measure.warm_up(estimator, frames)
    # Read the memory now: the measurements below must not be included.
    run = measure.run(estimator, frames, arguments.seconds, _report_progress)
    rss, peak = _read_memory_mb("VmRSS"), _read_memory_mb("VmHWM")
    row = _add_run(row, run, before)
    manifest = estimator.manifest
    by_people: tuple[PeoplePoint, ...] = ()
    if arguments.people:
        by_people = tuple(_measure_with_people(estimator, count) for count in _PEOPLE_COUNTS)
    accuracy = manifest.accuracy
    return replace(
        row,
        network=manifest.network,
        precision=manifest.precision,
        input_size=(manifest.input.width, manifest.input.height),
        interpreter=estimator.interpreter_name,
        macs=manifest.macs,
        load_ms=(loaded - started) * 1e3,
        first_ms=(first - loaded) * 1e3,
        accuracy=Accuracy(accuracy.ap, accuracy.images) if accuracy else None,
        by_people=by_people,
        rss_mb=rss,
        peak_rss_mb=peak,
    )


def _measure_with_people(estimator: PoseEstimator, people: int) -> PeoplePoint:
    _report_progress(f"with {people} people")
    return measure.measure_people_point(estimator, people, _FRAMES_PER_COUNT)


def _find_size(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Return width and height of an input; None if it is not an image."""
    if len(shape) != 4:
        return None
    return (shape[3], shape[2]) if shape[1] == 3 and shape[3] != 3 else (shape[2], shape[1])


def _measure_other_network(row: Row, path: Path, seconds: float) -> Row:
    """Measure a network without a manifest: inference only, on zeros."""
    before = read_health()
    started = perf_counter()
    input_shape = find_open_shape(read_inputs(path, container.read_flatbuffer(path)))
    network = Network(path, row.threads, input_shape=input_shape)
    loaded = perf_counter()
    network.invoke()
    first = perf_counter()
    run = measure.infer(network, seconds, _report_progress)
    shape = network.inputs[0].shape if network.inputs else ()
    warnings = [*row.warnings, "no manifest: only inference was measured"]
    if input_shape is not None:
        warnings.append(f"no fixed input size: measured with {shape}")
    row = _add_run(row, run, before)
    return replace(
        row,
        network=path.stem,
        precision=network.inputs[0].dtype if network.inputs else "",
        input_size=_find_size(shape),
        interpreter=network.interpreter_name,
        # After a resize, the delegate does not tell the interpreter the shapes of the inner tensors.
        macs=None if input_shape else sum(operator.macs for operator in macs.compute_operator_costs(network)),
        load_ms=(loaded - started) * 1e3,
        first_ms=(first - loaded) * 1e3,
        warnings=tuple(warnings),
        rss_mb=_read_memory_mb("VmRSS"),
        peak_rss_mb=_read_memory_mb("VmHWM"),
    )


def _add_run(row: Row, run: measure.Run, before: Health) -> Row:
    return replace(
        row,
        frames=run.frames,
        fps=run.fps,
        latency_ms=run.latency,
        stages_ms=run.stages_ms,
        people=run.people,
        health=(before, *run.health, read_health()),
        overhead=run.overhead,
        warnings=run.warnings,
    )


def _read_memory_mb(key: str) -> float:
    found = re.search(rf"^{key}:\s*(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def _report_progress(text: str) -> None:
    print(json.dumps({"progress": text}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
