"""Options of the commands that run a model."""

from __future__ import annotations

import click

from ..model import container
from ..model.interpreter import MAX_THREADS
from .command import Checked, ModelName, Number, Option

SECTION = "Model"


def make_model_options() -> list[click.Parameter]:
    """Build `--model`, `--sha256` and `--threads`."""
    return [
        Option("-m", "--model", type=ModelName(), metavar="MODEL", section=SECTION,
               help="a .tflite file, or the name of a model (default: edgepose-tiny)"),
        Option("--sha256", type=Checked(container.check_sha256), metavar="HASH", section=SECTION,
               help="SHA-256 that the network of --model must have"),
        Option("--threads", type=Number(int, 1, MAX_THREADS), metavar="N", section=SECTION,
               help="threads of the interpreter (default: number of cores, at most 4)"),
    ]  # fmt: skip
