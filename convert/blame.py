"""Where along a quantised network its error comes from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .integer import Quantised
from .quantise import layerwise
from .quantise.calibrate import Real
from .quantise.plan import MapCode

_PICTURES = 6
_NAMED = 5


class MapError(NamedTuple):
    """Signal to noise of a stored map, decibels: with all that happened before it, and by its own operator alone."""

    name: str
    sqnr_db: float
    alone_db: float
    code: MapCode


def measured(integers: Quantised) -> list[MapError]:
    """The error of every stored map on the calibration pictures that show most of people."""
    pictures, _ = integers.seen.chosen(_PICTURES)
    return [
        MapError(step.node.name, sqnr_db(step.true, step.coded), sqnr_db(step.true, step.alone),
                 integers.plan.maps[step.node.name])
        for step in layerwise.compare(integers.plan, pictures)
    ]  # fmt: skip


def worst(integers: Quantised) -> str:
    """The operators that lose most by themselves, in words."""
    errors = sorted(measured(integers), key=lambda error: error.alone_db)[:_NAMED]
    return ", ".join(f"{error.name} ({error.alone_db:.0f} dB)" for error in errors)


def sqnr_db(true: Real, coded: Real) -> float:
    """Signal power over noise power, decibels; 100 where there is no noise."""
    noise = float(np.mean(np.square(true - coded, dtype=np.float64)))
    return min(100.0, 10 * float(np.log10(float(np.mean(np.square(true, dtype=np.float64))) / max(noise, 1e-30))))
