"""What a profile consists of: a machine, and a row for every model and number of threads; to JSON and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from ...device.monitor.board import Board
from ...device.monitor.health import Health
from ...runtime import schema
from ...runtime.errors import InputError
from ...runtime.io.read_file import read_text

VERSION = 1
STAGES = ("capture", "preprocess", "inference", "decode", "draw", "encode")
"""In order. The first four make up the latency; drawing and encoding are what showing the frame would cost."""


class Latency(NamedTuple):
    """Milliseconds from the request of a frame to its poses."""

    p50: float
    p95: float
    max: float


class Accuracy(NamedTuple):
    """COCO keypoint AP from the model's manifest."""

    ap: float
    images: int


@dataclass(frozen=True)
class Operator:
    """One operator of a network, measured by itself."""

    number: int
    kind: str
    name: str
    """Of its first output."""
    ms: float
    macs: int
    delegated: bool
    """Whether the XNNPACK delegate ran it."""


class PeoplePoint(NamedTuple):
    """Median times with so many people in the image."""

    people: int
    found: float
    stages_ms: dict[str, float]


@dataclass(frozen=True)
class Row:
    """One model with one number of threads. A row with an `error` holds nothing else that was measured."""

    model: str
    threads: int
    sha256: str = ""
    network: str = ""
    precision: str = ""
    input_size: tuple[int, int] | None = None
    """Width and height."""
    interpreter: str = ""
    model_mb: float = 0.0
    macs: int | None = None
    load_ms: float = 0.0
    first_ms: float = 0.0
    frames: int = 0
    fps: float = 0.0
    latency_ms: Latency | None = None
    stages_ms: Mapping[str, float] = field(default_factory=dict)
    """Medians, by the names in STAGES; what was not measured is missing."""
    rss_mb: float = 0.0
    peak_rss_mb: float = 0.0
    people: float = 0.0
    """Found in a frame, on average."""
    accuracy: Accuracy | None = None
    health: tuple[Health, ...] = ()
    """Before, at intervals during, and after the measurement."""
    overhead: float = 0.0
    """Share of the time that was spent measuring."""
    warnings: tuple[str, ...] = ()
    operators: tuple[Operator, ...] = ()
    operators_total_ms: float = 0.0
    """Inference of the whole network, beside the operators in the same run."""
    by_people: tuple[PeoplePoint, ...] = ()
    estimate: str = ""
    """Where this row was computed and not measured: for which board, and how far off it may be."""
    error: str = ""

    @property
    def gmacs_per_s(self) -> float | None:
        """Thousand million multiply-accumulates a second of inference."""
        inference = self.stages_ms.get("inference")
        return None if not inference or not self.macs else self.macs / inference / 1e6

    @property
    def label(self) -> str:
        """The model in a few words."""
        return f"{Path(self.model).stem} x{self.threads}" if self.threads else Path(self.model).stem


@dataclass(frozen=True)
class Profile:
    """All rows of one machine, and when they were measured (ISO 8601, UTC)."""

    machine: Board
    input: str
    measured: str
    rows: tuple[Row, ...]

    def to_json(self) -> str:
        """One JSON document; docs/benchmarks.md has the schema."""
        return json.dumps(
            {
                "version": VERSION,
                "machine": asdict(self.machine),
                "input": self.input,
                "measured": self.measured,
                "rows": [row_to_dict(row) for row in self.rows],
            },
            indent=1,
        )


def row_to_dict(row: Row) -> dict[str, Any]:
    """A row as JSON has it."""
    latency = row.latency_ms._asdict() if row.latency_ms else None
    made: dict[str, Any] = asdict(replace(row, latency_ms=None, accuracy=None, by_people=()))
    made["latency_ms"] = latency
    made["accuracy"] = row.accuracy._asdict() if row.accuracy else None
    made["by_people"] = [point._asdict() for point in row.by_people]
    made["gmacs_per_s"] = row.gmacs_per_s
    return made


def row_from_dict(entry: Any) -> Row:
    """The row that `row_to_dict` wrote. Raises ValueError where it is none."""
    return schema.build(Row, entry, "row")


def read(path: Path) -> Profile:
    """A profile that was written with --json. Raises InputError saying what is wrong with it."""
    try:
        document = json.loads(read_text(path))
        if isinstance(document, dict) and document.get("version") != VERSION:
            raise ValueError(f"version {document.get('version')!r}, this edgepose reads {VERSION}")
        return schema.build(Profile, document)
    except OSError as error:
        raise InputError(f"{path}: cannot read the profile: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: expected a profile written by `edgepose profile --json`: {reason}") from None
