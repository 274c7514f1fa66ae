"""`edgepose profile`: how fast models run on this machine, end to end and stage by stage."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ...device.monitor import board
from ...runtime.cli.main import Parser
from ...runtime.errors import EdgePoseError, OutputError
from ...runtime.io import atomic
from ...runtime.io.inputs import expand
from ...runtime.model import registry
from ...runtime.model.interpreter import default_threads
from ..profile import estimate, plots, results, table
from ..profile.results import Profile, Row
from ..profile.runner import MAX_SECONDS, run_worker


def parser() -> argparse.ArgumentParser:
    """The subcommand's arguments."""
    parser = Parser(
        "profile",
        "Runs models one after the other on this machine, each in a process of its own: FPS end to end,\n"
        "latency, the time of every stage, memory. Any .tflite may be given; of one that is no pose network the\n"
        "inference is measured. docs/benchmarks.md says how everything is measured.",
        "  edgepose profile pose.tflite\n"
        "  edgepose profile *.tflite --threads 1,4 --seconds 20 --plot models.png --json pi5.json\n"
        "  edgepose profile pose.tflite --ops\n"
        "  edgepose profile pose.tflite --estimate pi4\n"
        "  edgepose profile --merge pi4.json pi5.json --plot boards.png --csv boards.csv",
    )
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help="a .tflite, or the name of a model (default: edgepose-tiny)"
    )
    parser.add_argument(
        "--input", default="synthetic:5", metavar="INPUT", help="image, folder, video or synthetic[:PEOPLE] (default)"
    )
    parser.add_argument(
        "--threads", type=_threads, metavar="N[,N]", help="of the interpreter (default: cores, up to 4)"
    )
    parser.add_argument(
        "--seconds", type=float, default=10.0, metavar="S", help="steady state of every row (default 10)"
    )
    parser.add_argument("--ops", action="store_true", help="also time every operator of the network")
    parser.add_argument("--people", action="store_true", help="also time 1 to 30 people; --plot implies it")
    parser.add_argument(
        "--estimate", choices=tuple(estimate.BOARDS), metavar="BOARD",
        help=f"compute instead of measure, for a board not at hand: {', '.join(estimate.BOARDS)}",
    )  # fmt: skip
    parser.add_argument(
        "--merge", nargs="+", type=Path, metavar="FILE", help="show profiles written with --json together"
    )
    parser.add_argument("--json", metavar="FILE", help="write the profile; - is stdout")
    parser.add_argument("--csv", metavar="FILE", help="write the rows; - is stdout")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw latency by stage, FPS against AP, people")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Measures and shows; 1 where a model could not be measured."""
    if not 0 < arguments.seconds <= MAX_SECONDS:
        raise ValueError(f"--seconds: expected more than 0 and at most {MAX_SECONDS:.0f}, got {arguments.seconds:g}")
    if arguments.models and arguments.merge:
        raise ValueError("expected one MODEL or more, or --merge with the profiles to show together, not both")
    _check_outputs(arguments)
    if arguments.merge:
        if arguments.json:
            raise ValueError("--json writes what was measured; it does not go with --merge")
        profiles = [results.read(path) for path in arguments.merge]
        _show_merged(profiles)
    else:
        profiles = [_profile(arguments)]
    _write(arguments, profiles)
    return 1 if any(row.error for profile in profiles for row in profile.rows) else 0


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Minutes of measuring should not end at a misspelled folder or a missing library."""
    for target in (arguments.json, arguments.csv, arguments.plot):
        if target is not None and str(target) != "-" and not Path(target).parent.is_dir():
            raise OutputError(f"{target}: there is no folder {Path(target).parent}")
    if arguments.plot is not None:
        if arguments.plot.suffix != ".png":
            raise ValueError(f"{arguments.plot}: expected an image that ends in .png")
        plots.require()


def _profile(arguments: argparse.Namespace) -> Profile:
    expand(arguments.input)
    threads = arguments.threads or (default_threads(),)
    cores = len(os.sched_getaffinity(0))
    if not arguments.estimate and max(threads) > cores:
        _note(f"warning: {max(threads)} threads on {cores} cores take turns; the times mean little")
    machine = board.describe()
    _note(f"machine: {machine}")
    show, found = _printer(arguments), []
    show(table.head())
    for model in arguments.models or [registry.DEFAULT]:
        for count in threads:
            row = _row(model, count, arguments)
            show(table.line(row))
            for warning in row.warnings:
                _note(f"warning: {row.label}: {warning}")
            if row.operators:
                show(table.operators(row))
            found.append(row)
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    return Profile(machine, arguments.input, moment, tuple(found))


def _row(model: str, threads: int, arguments: argparse.Namespace) -> Row:
    try:
        path = registry.find_tflite(model)
    except EdgePoseError as error:
        return Row(model, threads, error=str(error))
    if arguments.estimate:
        return estimate.row(model, path, threads, estimate.BOARDS[arguments.estimate])
    people = arguments.people or arguments.plot is not None
    return run_worker(model, path, threads, arguments.seconds, arguments.input, ops=arguments.ops, people=people)


def _printer(arguments: argparse.Namespace) -> Callable[[str], object]:
    """Rows go to stdout unless a document goes there."""
    stream = sys.stderr if "-" in (arguments.json, arguments.csv) else sys.stdout
    return lambda text: print(text, file=stream, flush=True)


def _show_merged(profiles: Sequence[Profile]) -> None:
    for profile in profiles:
        print(f"{profile.machine}; {profile.input}; {profile.measured}")
        print(table.text(profile.rows))


def _write(arguments: argparse.Namespace, profiles: Sequence[Profile]) -> None:
    if arguments.json:
        _save(arguments.json, profiles[0].to_json() + "\n")
    if arguments.csv:
        _save(arguments.csv, table.as_csv(profiles))
    if arguments.plot is not None:
        plots.write(arguments.plot, profiles)
        _note(f"drawn: {arguments.plot}")


def _save(target: str, content: str) -> None:
    if target == "-":
        sys.stdout.write(content)
    else:
        atomic.write_text(Path(target), content)


def _threads(text: str) -> tuple[int, ...]:
    found = tuple(int(part) for part in text.split(",") if part.isdigit())
    if len(found) != len(text.split(",")) or not all(1 <= count <= 64 for count in found):
        raise argparse.ArgumentTypeError(f"{text!r}: expected numbers from 1 to 64, separated by commas")
    return found


def _note(message: str) -> None:
    print(f"edgepose: {message}", file=sys.stderr, flush=True)
