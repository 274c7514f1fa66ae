"""What `edgepose convert` takes: a known model's name, a frozen graph, an OpenVINO IR or a TFLite file."""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass
from pathlib import Path

from edgepose.runtime.errors import ModelError
from edgepose.runtime.registry import KNOWN_MODELS, KnownModel, find_weights, known

from . import graph as g

DEFAULT_SIZE = (432, 368)
"""Width and height that tf-pose-estimation's networks were published for."""

_SUFFIXES = (".pb", ".xml", ".tflite")


@dataclass(frozen=True)
class Source:
    """A network to convert. `known` is set where the file's hash is that of a published model."""

    path: Path
    sha256: str
    known: KnownModel | None

    @property
    def is_tflite(self) -> bool:
        """Whether the network is a TFLite file already."""
        return self.path.suffix == ".tflite"

    @property
    def name(self) -> str:
        """What the network is called where the user gives no name."""
        return self.known.name if self.known else self.path.stem

    @property
    def default_size(self) -> tuple[int, int]:
        """Width and height to convert to where the user gives none."""
        return self.known.input_size if self.known else DEFAULT_SIZE

    def load(self, heatmaps: str | None = None, pafs: str | None = None) -> g.Graph:
        """The float graph. Raises ModelError where the file is damaged or holds what has no counterpart here."""
        if self.path.suffix == ".xml":
            from . import openvino_ir

            return openvino_ir.load(self.path, heatmaps=heatmaps, pafs=pafs)
        from . import frozen_graph

        return frozen_graph.load(self.path, heatmaps=heatmaps, pafs=pafs)


def find(source: str) -> Source:
    """The source a user means by a path or a known name; a known model that is not here is fetched.

    Raises ModelError saying what was expected.
    """
    path = Path(source)
    model = known(source)
    if model is not None and not path.exists():
        found = find_weights(model)
        if found is None:
            from .fetch import fetch

            found = fetch(model)
        return Source(found, model.files[0].sha256, model)
    if path.suffix not in _SUFFIXES:
        if path.suffix or path.exists():
            raise ModelError(f"{source}: expected {', '.join(_SUFFIXES)} or the name of a known model")
        names = [model.name for model in KNOWN_MODELS]
        close = difflib.get_close_matches(source, names, n=3, cutoff=0.3) or names
        raise ModelError(f"no known model {source!r}; did you mean {' or '.join(close)}?")
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"{source}: cannot read the network: {error.strerror}") from None
    matches = (model for model in KNOWN_MODELS if model.files[0].sha256 == digest)
    return Source(path, digest, next(matches, None))
