"""The command `edgepose profile`: measure FPS, latency by stage and memory of models."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ...device.monitor import board
from ...runtime.cli.command import Argument, Checked, Choice, Command, InputName, ModelName, Number, Option, PathName
from ...runtime.errors import EdgePoseError, OutputError
from ...runtime.io import atomic
from ...runtime.io.inputs import find_inputs
from ...runtime.io.messages import show_note, show_warning
from ...runtime.model import registry
from ...runtime.model.interpreter import MAX_THREADS, get_default_threads
from ..profile import estimate, plots, results, table
from ..profile.results import Profile, Row
from ..profile.runner import MAX_DURATION_S, run_worker


@dataclass(frozen=True)
class ProfileOptions:
    """Values of the command line of `edgepose profile`."""

    models: tuple[str, ...]
    input: str
    threads: tuple[int, ...] | None
    seconds: float
    ops: bool
    people: bool
    estimate: str | None
    merge: bool
    json: str | None
    csv: str | None
    plot: Path | None


def run(options: ProfileOptions) -> int:
    """Measure and show the results.

    Returns:
        0 done; 1 a model could not be measured.
    """
    if not 0 < options.seconds <= MAX_DURATION_S:
        raise ValueError(f"--seconds: expected more than 0 and at most {MAX_DURATION_S:.0f}, got {options.seconds:g}")
    if options.merge and not options.models:
        raise ValueError("--merge: expected one or more profiles that were written with --json")
    _check_outputs(options)
    if options.merge:
        if options.json:
            raise ValueError("--json writes what was measured; it does not go with --merge")
        profiles = [results.read(Path(path)) for path in options.models]
        _show_merged(profiles)
    else:
        profiles = [_measure_all(options)]
    _write_outputs(options, profiles)
    return 1 if any(row.error for profile in profiles for row in profile.rows) else 0


def _check_outputs(options: ProfileOptions) -> None:
    """Check output files and libraries first: the measurement takes minutes."""
    for target in (options.json, options.csv, options.plot):
        if target is not None and str(target) != "-" and not Path(target).parent.is_dir():
            raise OutputError(f"{target}: there is no folder {Path(target).parent}")
    if options.plot is not None:
        if options.plot.suffix != ".png":
            raise ValueError(f"{options.plot}: expected an image that ends in .png")
        plots.import_pyplot()


def _measure_all(options: ProfileOptions) -> Profile:
    find_inputs(options.input)
    threads = options.threads or (get_default_threads(),)
    cores = len(os.sched_getaffinity(0))
    if not options.estimate and max(threads) > cores:
        show_warning(f"warning: more threads ({max(threads)}) than cores ({cores}); the times are not reliable")
    machine = board.read_board()
    show_note(f"machine: {machine}")
    show, found = _choose_printer(options), []
    show(table.format_header())
    for model in options.models or [registry.DEFAULT_MODEL]:
        for count in threads:
            row = _measure_row(model, count, options)
            show(table.format_row(row))
            for warning in row.warnings:
                show_warning(f"warning: {row.label}: {warning}")
            if row.operators:
                show(table.format_operators(row))
            found.append(row)
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    return Profile(machine, options.input, moment, tuple(found))


def _measure_row(model: str, threads: int, options: ProfileOptions) -> Row:
    try:
        path = registry.find_model_file(model)
    except EdgePoseError as error:
        return Row(model, threads, error=str(error))
    if options.estimate:
        return estimate.estimate_row(model, path, threads, estimate.BOARDS[options.estimate])
    people = options.people or options.plot is not None
    return run_worker(model, path, threads, options.seconds, options.input, ops=options.ops, people=people)


def _choose_printer(options: ProfileOptions) -> Callable[[str], object]:
    """Return a function that prints to stdout, or to stderr if stdout gets JSON or CSV."""
    stream = sys.stderr if "-" in (options.json, options.csv) else sys.stdout
    return lambda text: print(text, file=stream, flush=True)


def _show_merged(profiles: Sequence[Profile]) -> None:
    for profile in profiles:
        print(f"{profile.machine}; {profile.input}; {profile.measured}")
        print(table.format_table(profile.rows))


def _write_outputs(options: ProfileOptions, profiles: Sequence[Profile]) -> None:
    if options.json:
        _save(options.json, profiles[0].to_json() + "\n")
    if options.csv:
        _save(options.csv, table.format_csv(profiles))
    if options.plot is not None:
        plots.write(options.plot, profiles)
        show_note(f"plot written to {options.plot}")


def _save(target: str, content: str) -> None:
    if target == "-":
        sys.stdout.write(content)
    else:
        atomic.write_text(Path(target), content)


def _parse_threads(text: str) -> tuple[int, ...]:
    found = tuple(int(part) for part in text.split(",") if part.isdigit())
    if len(found) != len(text.split(",")) or not all(1 <= count <= MAX_THREADS for count in found):
        raise ValueError(f"{text!r}: expected numbers from 1 to {MAX_THREADS}, separated by commas")
    return found


command = Command(
    "profile",
    ProfileOptions,
    run,
    description="""\
Measure models on this machine, each in a process of its own: FPS, latency, time per stage, memory.
Any .tflite is accepted; if it is not a pose network, only inference is measured.
docs/guides/profile.md describes the method.""",
    examples="""\
  edgepose profile pose.tflite
  edgepose profile *.tflite --threads 1,4 --seconds 20 --plot models.png --json pi5.json
  edgepose profile pose.tflite --ops
  edgepose profile pose.tflite --estimate pi4
  edgepose profile --merge pi4.json pi5.json --plot boards.png --csv boards.csv""",
    exit_codes={1: "a model could not be measured; the rows of the others are written"},
    parameters=[
        Argument("models", "a .tflite file, or the name of a model (default: edgepose-tiny); with --merge, profiles",
                 nargs=-1, metavar="[MODEL...]", type=ModelName()),
        Option("--input", default="synthetic:5", type=InputName(), metavar="INPUT", section="Measurement",
               help="image, folder, video or synthetic[:PEOPLE] (default: synthetic:5)"),
        Option("--threads", type=Checked(_parse_threads), metavar="N[,N]", section="Measurement",
               help="threads of the interpreter; one row for each number (default: number of cores, at most 4)"),
        Option("--seconds", default=10.0, type=Number(float), metavar="S", section="Measurement",
               help="measure each row for this time (default: 10)"),
        Option("--ops", is_flag=True, section="Measurement", help="also measure every operator of the network"),
        Option("--people", is_flag=True, section="Measurement",
               help="also measure 1 to 30 people; implied by --plot"),
        Option("--estimate", type=Choice(tuple(estimate.BOARDS)), section="Measurement",
               help="estimate the speed on another board instead of measuring"),
        Option("--merge", is_flag=True, section="Output",
               help="show profiles together that were written with --json"),
        Option("--json", type=InputName(), metavar="FILE", section="Output",
               help="write the profile as JSON; - is stdout"),
        Option("--csv", type=InputName(), metavar="FILE", section="Output",
               help="write the rows as CSV; - is stdout"),
        Option("--plot", type=PathName(), metavar="FILE.png", section="Output",
               help="plot latency by stage, FPS against AP, and time against people"),
    ],
)  # fmt: skip
