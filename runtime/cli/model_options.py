"""Options of the commands that run a model."""

from __future__ import annotations

import click

from ..averaging import check_scales
from ..model import container
from ..model.interpreter import MAX_THREADS
from .command import Checked, ModelName, Number, Option

SECTION = "Model"
ACCURACY_SECTION = "Accuracy"


def make_model_options() -> list[click.Parameter]:
    """Build `--model`, `--sha256` and `--threads`."""
    return [
        Option("-m", "--model", type=ModelName(), metavar="MODEL", section=SECTION,
               help="a .tflite file, or the name of a model (default: edgepose-tiny)"),
        Option("--sha256", type=Checked(container.check_sha256), metavar="HASH", section=SECTION,
               help="SHA-256 that the network must have"),
        Option("--threads", type=Number(int, 1, MAX_THREADS), metavar="N", section=SECTION,
               help="threads of the interpreter (default: number of cores, at most 4)"),
    ]  # fmt: skip


def make_accuracy_options() -> list[click.Parameter]:
    """Build `--augment` and `--scales`."""
    return [
        Option("--augment", is_flag=True, section=ACCURACY_SECTION,
               help="also run the mirror image and average the maps: more accurate, twice the time"),
        Option("--scales", type=Checked(_parse_scales), metavar="F,...", section=ACCURACY_SECTION,
               help="input sizes to average, as factors of the size of the model, such as 1,1.3 (default: 1)"),
    ]  # fmt: skip


def _parse_scales(text: str) -> tuple[float, ...]:
    try:
        return tuple(check_scales([float(part) for part in text.split(",")]))
    except ValueError as error:
        if "scales" in str(error):
            raise
        raise ValueError(f"scales: expected factors such as 1,1.3, got {text!r}") from None
