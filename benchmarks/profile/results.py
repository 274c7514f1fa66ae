"""Results of `edgepose profile`: a machine and a row per model and number of threads. Reads and writes JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from ...device.monitor.board import Board
from ...device.monitor.health import Health
from ...runtime import schema
from ..result_file import read_result

VERSION = 1
STAGES = ("capture", "preprocess", "inference", "decode", "draw", "encode")
"""Stages in order. The first four are part of the latency; `draw` and `encode` are the cost of showing the frame."""


class Latency(NamedTuple):
    """Time from the request of a frame to its poses, in milliseconds.

    Attributes:
        p50: Median.
        p95: 95th percentile.
        max: Maximum.
    """

    p50: float
    p95: float
    max: float


class Accuracy(NamedTuple):
    """COCO keypoint AP from the model's manifest.

    Attributes:
        ap: AP, 0 to 1.
        images: Number of images on which it was measured.
    """

    ap: float
    images: int


@dataclass(frozen=True)
class Operator:
    """One operator of a network, measured alone.

    Attributes:
        number: Position in the network, from 0.
        kind: Type of the operator, such as `CONV_2D`.
        ms: Time in milliseconds.
        macs: Multiply-accumulates.
    """

    number: int
    kind: str
    name: str
    """Name of the first output."""
    ms: float
    macs: int
    delegated: bool
    """True if the XNNPACK delegate ran it."""


class PeoplePoint(NamedTuple):
    """Median stage times with a number of people in the image.

    Attributes:
        people: People in the image.
        found: People that were found, on average.
        stages_ms: Median time of each stage in milliseconds.
    """

    people: int
    found: float
    stages_ms: dict[str, float]


@dataclass(frozen=True)
class Row:
    """Measurements of one model with one number of threads. If `error` is set, nothing was measured.

    Attributes:
        model: The model as given on the command line.
        threads: Threads of the interpreter.
        sha256: SHA-256 of the network.
        network: Name of the network.
        precision: Number format of weights and activations.
        interpreter: Name of the interpreter.
        model_mb: Size of the file in MB.
        macs: Multiply-accumulates per frame; None if unknown.
        load_ms: Time to load the model in milliseconds.
        first_ms: Time of the first frame in milliseconds.
        frames: Number of frames that were measured.
        fps: Frames per second.
        latency_ms: Time from the request of a frame to its poses; None if it was not measured.
        rss_mb: Memory of the process (resident set size) in MB.
        peak_rss_mb: Largest memory of the process in MB.
        accuracy: AP from the manifest; None if it has none.
        warnings: What makes the figures less reliable.
        operators: Operators of the network, with `--ops`.
        by_people: Times by the number of people, with `--people`.
        error: Why nothing was measured; empty if it was.
    """

    model: str
    threads: int
    sha256: str = ""
    network: str = ""
    precision: str = ""
    input_size: tuple[int, int] | None = None
    """Width and height in pixels."""
    interpreter: str = ""
    model_mb: float = 0.0
    macs: int | None = None
    load_ms: float = 0.0
    first_ms: float = 0.0
    frames: int = 0
    fps: float = 0.0
    latency_ms: Latency | None = None
    stages_ms: Mapping[str, float] = field(default_factory=dict)
    """Median time of each stage in milliseconds: `capture`, `preprocess`, `inference`, `decode`, `draw`, `encode`.
    Stages that were not measured are missing."""
    rss_mb: float = 0.0
    peak_rss_mb: float = 0.0
    people: float = 0.0
    """People found per frame, on average."""
    accuracy: Accuracy | None = None
    health: tuple[Health, ...] = ()
    """Health of the board before, during (every second) and after the measurement."""
    overhead: float = 0.0
    """Fraction of the time that the measuring itself took."""
    warnings: tuple[str, ...] = ()
    operators: tuple[Operator, ...] = ()
    operators_total_ms: float = 0.0
    """Inference time of the whole network, measured in the same run as the operators."""
    by_people: tuple[PeoplePoint, ...] = ()
    estimate: str = ""
    """Name of the board if this row is an estimate; empty if it was measured."""
    error: str = ""

    @property
    def gmacs_per_s(self) -> float | None:
        """Billions of multiply-accumulates per second of inference; None if unknown."""
        inference = self.stages_ms.get("inference")
        return None if not inference or not self.macs else self.macs / inference / 1e6

    @property
    def label(self) -> str:
        """Name of the model and number of threads."""
        return f"{Path(self.model).stem} x{self.threads}" if self.threads else Path(self.model).stem


@dataclass(frozen=True)
class Profile:
    """All rows of one machine.

    Attributes:
        machine: The board or computer.
        input: Input of the measurement, such as `synthetic:5`.
        measured: Time of the measurement (ISO 8601, UTC).
        rows: One row per model and number of threads.
    """

    machine: Board
    input: str
    measured: str
    rows: tuple[Row, ...]

    def to_json(self) -> str:
        """Return the profile as a JSON document. docs/reference/message.md describes it."""
        return json.dumps(
            {
                "version": VERSION,
                "machine": asdict(self.machine),
                "input": self.input,
                "measured": self.measured,
                "rows": [serialize_row(row) for row in self.rows],
            },
            indent=1,
        )


def serialize_row(row: Row) -> dict[str, Any]:
    """Convert a row to a dictionary for JSON."""
    latency = row.latency_ms._asdict() if row.latency_ms else None
    document: dict[str, Any] = asdict(replace(row, latency_ms=None, accuracy=None, by_people=()))
    document["latency_ms"] = latency
    document["accuracy"] = row.accuracy._asdict() if row.accuracy else None
    document["by_people"] = [point._asdict() for point in row.by_people]
    document["gmacs_per_s"] = row.gmacs_per_s
    return document


def parse_row(entry: Any) -> Row:
    """Convert a dictionary from `serialize_row` to a row.

    Raises:
        ValueError: It is not a row.
    """
    return schema.build(Row, entry, "row")


def read(path: Path) -> Profile:
    """Read a profile that was written with --json.

    Raises:
        InputError: The file cannot be read or is not a profile.
    """
    return read_result(path, Profile, VERSION, "profile", "by `edgepose profile --json`")
