"""Models for the benchmarks, converted on the first run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ..runtime.model import registry

_NETWORKS = ("human-pose-estimation-0001", "mobilenet_v2_small")
FOLDER = Path("build/bench")


def prepare_models() -> list[Path]:
    """Convert the two benchmark networks if that was not done yet, and return the model files.

    A network is skipped if its weights are not in EDGEPOSE_MODELS, or if it needs calibration images and there are none
    in EDGEPOSE_TEST_DATA.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    images = Path(os.environ.get("EDGEPOSE_TEST_DATA", "")) / "calibration" / "images"
    found = []
    for model in filter(None, map(registry.find_known_model, _NETWORKS)):
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
