"""What `edgepose convert` takes: the name of a model or network, or a file that holds a network or its weights."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...runtime.errors import ModelError
from ...runtime.io import file_kind
from ...runtime.io.read_file import is_special
from ...runtime.model import registry
from ...runtime.model.registry_file import KnownModel
from ..ir import graph as g
from ..ir import stages
from ..networks import NETWORKS, define
from . import checkpoint, weights
from .weights import ImportReport

DEFAULT_SIZE = (432, 368)
"""Width and height that tf-pose-estimation's networks were published for."""

Kind = Literal[
    "frozen graph", "OpenVINO IR", "TFLite", "Keras model", "SavedModel", "checkpoint", "arrays", "Keras weights",
    "untrained",
]  # fmt: skip
_SUFFIXES: dict[str, Kind] = {
    ".weights.h5": "Keras weights", ".pb": "frozen graph", ".xml": "OpenVINO IR", ".tflite": "TFLite",
    ".keras": "Keras model", ".h5": "Keras model", ".npy": "arrays", ".npz": "arrays",
}  # fmt: skip
_MAGIC: dict[Kind, tuple[bytes, ...]] = {
    "Keras model": (b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"), "Keras weights": (b"\x89HDF\r\n\x1a\n",),
    "arrays": (b"\x93NUMPY", b"PK\x03\x04"),
}  # fmt: skip
_ZIP_KINDS: dict[Kind, str] = {"Keras model": "a Keras model", "arrays": "a NumPy archive"}
_WRONG_DOWNLOADS = ("a Git LFS pointer", "an HTML page", "an empty file", "an error message of a server")
_GRAPH_START = re.compile(rb"\x0a[\x80-\xff]{0,4}[\0-\x7f]\x0a|[\x12\x1a\x22]", re.DOTALL)
"""The fields of a GraphDef: a node of some length that begins with its name, or a library or version."""
_DESCRIPTIONS: dict[Kind, str] = {
    "Keras weights": "Keras weights (.weights.h5)", "frozen graph": "a TensorFlow frozen graph (.pb)",
    "OpenVINO IR": "an OpenVINO IR (.xml)", "TFLite": "a TFLite model (.tflite)",
    "Keras model": "a Keras model (.keras, .h5)", "arrays": "NumPy arrays (.npy, .npz)",
}  # fmt: skip
_EXPECTED_SHORT = "a network or its weights"
_EXPECTED = f"a file that ends in {', '.join(_SUFFIXES)}, a SavedModel folder, the prefix of a checkpoint, or a name"


@dataclass(frozen=True)
class Wanted:
    """What the user says about a source: a network's name, names of its outputs, how many stages."""

    network: str | None = None
    heatmaps: str | None = None
    pafs: str | None = None
    stages: int | None = None


@dataclass(frozen=True)
class Imported:
    """A float graph, the network's name, and what became of the weights where they were taken by name."""

    graph: g.Graph
    network: str
    report: ImportReport | None = None


@dataclass(frozen=True)
class Source:
    """A network to convert. `known` is set where the file's hash is that of a published model."""

    kind: Kind
    path: Path
    sha256: str
    known: KnownModel | None = None

    @property
    def name(self) -> str:
        """What the network is called where nobody gives it a name."""
        return self.known.name if self.known else self.path.name.partition(".")[0]

    @property
    def default_size(self) -> tuple[int, int]:
        """Width and height to convert to where the user gives none."""
        return self.known.input_size if self.known else DEFAULT_SIZE

    def load(self, wanted: Wanted) -> Imported:
        """The float graph, cut after the wanted stage.

        With the name of a network, or where the file holds weights alone, it is the network's definition, with the
        weights taken by name. Raises ModelError where the file is damaged, does not fit the network, or holds what has
        no counterpart here.
        """
        if self.kind == "untrained":
            from ..passes import random_weights

            definition = define(self.path.name)
            graph = definition.cut(wanted.stages).graph if wanted.stages else definition.graph
            return Imported(random_weights.fill(graph), definition.name)
        if self.kind in ("checkpoint", "arrays", "Keras weights"):
            return self._from_weights(wanted)
        defined = wanted.network in NETWORKS
        graph = self._graph(wanted)
        if defined:
            return self._filled(wanted.network or "", weights.names_of(graph), wanted.stages)
        graph = stages.cut(graph, wanted.stages) if wanted.stages else graph
        return Imported(graph, wanted.network or self.name)

    def _graph(self, wanted: Wanted) -> g.Graph:
        names = {"heatmaps": wanted.heatmaps, "pafs": wanted.pafs}
        match self.kind:
            case "OpenVINO IR":
                from . import openvino_ir

                return openvino_ir.load(self.path, **names)
            case "SavedModel":
                from . import saved_model

                return saved_model.saved_model(self.path, **names)
            case "Keras model":
                from . import saved_model

                return saved_model.keras_file(self.path, **names)
        from . import frozen_graph

        return frozen_graph.load(self.path, **names)

    def _from_weights(self, wanted: Wanted) -> Imported:
        if wanted.heatmaps is not None:
            raise ModelError(f"{self.path}: --heatmaps and --pafs name outputs of a graph; this file holds weights")
        network = wanted.network or (self.known.network if self.known else None)
        if network is not None:
            define(network)
        if self.kind == "Keras weights":
            if network is None:
                raise ModelError(f"{self.path}: such a file does not say whose weights it holds; add --network NAME")
            from ..exporters import keras

            whole = keras.load_weights(define(network).graph, self.path)
            return self._filled(network, weights.names_of(whole), wanted.stages)
        if self.kind == "arrays":
            from . import npz as reader

            found = reader.load(self.path)
        else:
            found = checkpoint.load(self.path)
        return self._filled(network or weights.recognize(found, str(self.path)), found, wanted.stages)

    def _filled(self, network: str, found: weights.Arrays, stage: int | None) -> Imported:
        definition = define(network)
        if stage:
            definition = definition.cut(stage)
        graph, report = weights.fill(definition, found, str(self.path))
        return Imported(graph, network, report)


def find(source: str) -> Source:
    """The source a user means by a path or a known name; a known model that is not here is fetched.

    Raises ModelError saying what was expected.
    """
    path = Path(source)
    model = registry.known(source)
    if model is not None and not path.exists():
        found = registry.find_weights(model)
        if found is None:
            from ..download import fetch

            found = fetch(model)
        path = found
    kind = _kind(path)
    if kind is None:
        raise _unknown(source)
    if kind == "checkpoint":
        path = checkpoint.prefix(path) or path
        return Source(kind, path, _hash(checkpoint.files(path)))
    if kind == "SavedModel":
        _check_saved_model(path)
        return Source(kind, path, _hash(p for p in sorted(path.rglob("*")) if p.is_file()))
    _check_content(kind, path)
    known = model or next((m for m in registry.known_models() if m.files[0].matches(path)), None)
    return Source(kind, path, _hash([path]), known)


def untrained(name: str) -> Source:
    """A network without weights, by its own name or that of a published model. Raises ModelError for others."""
    model = registry.known(name)
    network = model.network if model else name
    define(network)
    return Source("untrained", Path(network), "", None)


def _kind(path: Path) -> Kind | None:
    """What a path holds, by its name; None where that is nothing known."""
    if path.is_dir():
        return "SavedModel" if (path / "saved_model.pb").is_file() else None
    suffix = next((suffix for suffix in _SUFFIXES if path.name.lower().endswith(suffix)), None)
    if suffix is not None:
        return _SUFFIXES[suffix]
    return "checkpoint" if checkpoint.prefix(path) else None


def _check_content(kind: Kind, path: Path) -> None:
    """Raise ModelError if a file is plainly something else than its name says, such as a web page, or incomplete."""
    expected = _MAGIC.get(kind)
    if is_special(path):
        raise ModelError(f"{path}: expected the file of a network, this is a FIFO, a device or a socket")
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise ModelError(f"{path}: cannot read the network: {error.strerror}") from None
    what = file_kind.describe(path, "convert")
    if expected is not None and head and head.startswith(expected):
        # Both are ZIP archives: what is inside tells them apart.
        if not head.startswith(b"PK") or what is None or what.startswith(_ZIP_KINDS[kind]):
            return
    elif kind == "TFLite" and head[4:] == b"TFL3":
        if file_kind.is_edge_tpu(path):
            raise ModelError(f"{path}: {file_kind.EDGE_TPU}")
        _check_whole(path)
        return
    elif kind == "frozen graph" and _GRAPH_START.match(head) and (what is None or "frozen graph" in what):
        _check_whole(path)
        return
    elif kind == "OpenVINO IR" and what is not None and what.startswith("an OpenVINO IR;"):
        _check_weights_of_ir(path.with_suffix(".bin"))
        return
    if what is not None and kind == "OpenVINO IR" and (old := re.match("an OpenVINO IR of (version [0-9]+)", what)):
        advice = what.partition("; ")[2]
        raise ModelError(f"{path}: expected an OpenVINO IR of version 10 or later, this is {old[1]}; {advice}")
    if what is not None:
        raise ModelError(f"{path}: expected {_DESCRIPTIONS[kind]}, this is {what}")


def _check_whole(path: Path) -> None:
    damage = file_kind.find_damage(path)
    if damage is not None:
        raise ModelError(f"{path}: {damage}")


def _check_weights_of_ir(path: Path) -> None:
    """Raise ModelError for a .bin that is a wrong download; its content is plain numbers."""
    if path.is_file() and (what := file_kind.describe(path)) is not None and what.startswith(_WRONG_DOWNLOADS):
        raise ModelError(f"{path}: expected the weights of an OpenVINO IR, this is {what}")


def _check_saved_model(folder: Path) -> None:
    """Raise ModelError for wrong downloads in a SavedModel's folder."""
    for path in (folder / "saved_model.pb", *sorted(folder.glob("variables/*"))):
        if path.is_file() and (what := file_kind.describe(path)) is not None and what.startswith(_WRONG_DOWNLOADS):
            raise ModelError(f"{path}: expected a file of a SavedModel, this is {what}")


def _unknown(source: str) -> ModelError:
    path = Path(source)
    if path.exists() and (what := file_kind.describe(path, "convert")) is not None:
        return ModelError(f"{path}: expected {_EXPECTED_SHORT}, this is {what}")
    if source in NETWORKS:
        return ModelError(
            f"{source}: no published weights are known; give a file of yours and --network {source}, "
            "or --untrained for measuring its speed"
        )
    if path.is_dir():
        return ModelError(f"{source}: expected saved_model.pb in this folder; a checkpoint is named by its prefix")
    if path.suffix or path.exists() or path.parent != Path():
        return ModelError(f"{source}: expected {_EXPECTED}")
    names = [model.name for model in registry.known_models()]
    close = difflib.get_close_matches(source, [*names, *NETWORKS], n=3, cutoff=0.3) or names
    return ModelError(f"no known model {source!r}; did you mean {' or '.join(dict.fromkeys(close))}?")


def _hash(paths: Iterable[Path]) -> str:
    """SHA-256 of the contents, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                while piece := file.read(1 << 20):
                    digest.update(piece)
        except OSError as error:
            raise ModelError(f"{path}: cannot read the network: {error.strerror}") from None
    return digest.hexdigest()
