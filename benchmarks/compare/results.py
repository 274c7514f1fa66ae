"""Results of a comparison: a row per model. Reads and writes JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from ...device.monitor.board import Board
from ..result_file import read_result

VERSION = 1


class Time(NamedTuple):
    """Time per frame with one number of threads, in milliseconds: medians over all frames of all rounds.

    Attributes:
        threads: Number of interpreter threads.
        frame_ms: From the image to the poses.
        inference_ms: The network alone.
        low_ms: Smallest median of `frame_ms` of a single round.
        high_ms: Largest median of `frame_ms` of a single round.
    """

    threads: int
    frame_ms: float
    inference_ms: float
    low_ms: float
    high_ms: float


class Accuracy(NamedTuple):
    """COCO keypoint AP, 0 to 1."""

    ap: float
    ap50: float
    ap_medium: float
    ap_large: float


@dataclass(frozen=True)
class Row:
    """One model.

    Attributes:
        name: File name without its suffix.
        group: `edgepose`, `converted with edgepose`, or the name of the adapter.
        precision: Precision in which the network computes.
        input_size: Width and height in pixels.
        macs: Multiply-accumulates; None if unknown.
        model_mb: Size of the file in MB (10^6 bytes).
        sha256: Hash of the network.
        times: One entry per number of threads.
        accuracy: None if it was not measured.
    """

    name: str
    group: str
    precision: str
    input_size: tuple[int, int]
    macs: int | None
    model_mb: float
    sha256: str
    times: tuple[Time, ...] = ()
    accuracy: Accuracy | None = None

    @property
    def size(self) -> str:
        """Width and height, such as `320x256`."""
        return f"{self.input_size[0]}x{self.input_size[1]}"


@dataclass(frozen=True)
class Comparison:
    """All rows of one run.

    Attributes:
        machine: The computer.
        measured: Start of the run (ISO 8601, UTC).
        versions: Versions of packages by name.
        input: Images whose poses were timed, as for `edgepose profile --input`.
        rounds: Number of rounds.
        frames: Frames per round and row.
        images: Number of images that the accuracy was measured on; 0 if it was not.
        rows: One row per model.
    """

    machine: Board
    measured: str
    versions: Mapping[str, str]
    input: str
    rounds: int
    frames: int
    images: int
    rows: tuple[Row, ...]

    def to_json(self) -> str:
        """Return the comparison as a JSON document. The entries are the attributes of the classes of this module."""
        document = {"version": VERSION, **asdict(self)}
        for entry, row in zip(document["rows"], self.rows, strict=True):
            entry["times"] = [time._asdict() for time in row.times]
            entry["accuracy"] = row.accuracy._asdict() if row.accuracy else None
        return json.dumps(document, indent=1)


def read(path: Path) -> Comparison:
    """Read a comparison that was written with --json.

    Raises:
        InputError: The file cannot be read or is not a comparison.
    """
    return read_result(path, Comparison, VERSION, "comparison", "with --json")
