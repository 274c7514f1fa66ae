"""Benchmarks with a history: pytest-benchmark stores each run per machine; names contain the hash of the model.

`make bench` adds a run to `.benchmarks/`, `make bench-compare` compares the runs of this machine. Run them on an idle
machine. No benchmark fails because it is slow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ..device.monitor import board
from ..runtime import Decoder, GridToFrame, PoseEstimator, PoseFields
from ..runtime.model import container
from ..runtime.synthetic import Scene
from ..runtime.synthetic.fields import place_people, render_fields
from .models import prepare_models

_TO_FRAME = GridToFrame(8, 8)


def _make_id(path: Path) -> str:
    return f"{path.stem}-{container.read(path).flatbuffer_sha256[:8]}"


MODELS = [pytest.param(path, id=_make_id(path)) for path in prepare_models()]


@pytest.fixture(autouse=True)
def machine(benchmark: Any) -> None:
    """Store the machine with the result."""
    benchmark.extra_info["machine"] = str(board.read_board())


@pytest.mark.parametrize("people", [0, 1, 5, 30])
def test_decode(benchmark: Any, people: int) -> None:
    """Decode ideal maps, one thread."""
    maps = PoseFields(*render_fields(place_people(people, 46, 54, np.random.default_rng(0)), 46, 54))
    benchmark(Decoder(46, 54).decode, maps, _TO_FRAME)


@pytest.mark.parametrize("model", MODELS)
def test_preprocess(benchmark: Any, model: Path) -> None:
    """Preprocess a 640x480 frame."""
    estimator = PoseEstimator(model, threads=1)
    benchmark(estimator.prepare, Scene(5, 640, 480).render_frame(0).image)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("model", MODELS)
def test_frame(benchmark: Any, model: Path, threads: int) -> None:
    """Estimate the poses of a 640x480 frame."""
    estimator = PoseEstimator(model, threads=threads)
    image = Scene(5, 640, 480).render_frame(0).image
    estimator.estimate(image)
    estimate = benchmark(estimator.estimate, image)
    benchmark.extra_info["people"] = len(estimate)
    benchmark.extra_info["interpreter"] = estimator.interpreter_name
