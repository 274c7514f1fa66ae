"""The models that benchmarks measure, converted on the first run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ..runtime.model import registry

_NETWORKS = ("human-pose-estimation-0001", "mobilenet_v2_small")
FOLDER = Path("build/bench")


def bench_models() -> list[Path]:
    """A converted file of each of the two networks with float weights, where those are here (EDGEPOSE_MODELS).

    The network that needs calibration images is left out where EDGEPOSE_TEST_DATA does not have them.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    images = Path(os.environ.get("EDGEPOSE_TEST_DATA", "")) / "calibration" / "images"
    found = []
    for model in filter(None, map(registry.known, _NETWORKS)):
        path = FOLDER / f"{model.name}.tflite"
        if not path.exists():
            if registry.find_weights(model) is None or (model.needs_calibration and not images.is_dir()):
                continue
            extra = ["--calibration", str(images)] if model.needs_calibration else []
            command = [
                sys.executable,
                "-P",
                "-m",
                "edgepose.runtime.cli",
                "convert",
                model.name,
                "-o",
                str(path),
                *extra,
            ]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found.append(path)
    return found
