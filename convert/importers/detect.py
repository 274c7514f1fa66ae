"""Detection of the source of `edgepose convert`: a model or network name, or a file with a network or its weights."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypedDict

from ...runtime.errors import ModelError
from ...runtime.io import file_kind
from ...runtime.io.read_file import is_special_file
from ...runtime.model import registry
from ...runtime.model.registry_file import KnownModel
from ...runtime.skeleton import COCO18, Skeleton
from ..ir import graph as g
from ..ir import stages
from ..networks import NETWORKS, NetworkDefinition, define_network
from ..passes.input_normalization import InputNormalization, describe_own_normalization
from . import checkpoint, weights
from .weights import WeightReport

DEFAULT_SIZE = (432, 368)
"""Width and height for which the networks of tf-pose-estimation were published."""

SourceKind = Literal[
    "frozen graph", "OpenVINO IR", "ONNX", "TFLite", "Keras model", "SavedModel", "checkpoint", "PyTorch checkpoint",
    "arrays", "Keras weights", "untrained",
]  # fmt: skip
_SUFFIXES: dict[str, SourceKind] = {
    ".weights.h5": "Keras weights", ".pb": "frozen graph", ".xml": "OpenVINO IR", ".tflite": "TFLite",
    ".keras": "Keras model", ".h5": "Keras model", ".npy": "arrays", ".npz": "arrays", ".onnx": "ONNX",
    ".pth": "PyTorch checkpoint", ".pt": "PyTorch checkpoint",
}  # fmt: skip
_MAGIC: dict[SourceKind, tuple[bytes, ...]] = {
    "Keras model": (b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"), "Keras weights": (b"\x89HDF\r\n\x1a\n",),
    "arrays": (b"\x93NUMPY", b"PK\x03\x04"),
}  # fmt: skip
_ZIP_DESCRIPTIONS: dict[SourceKind, str] = {"Keras model": "a Keras model", "arrays": "a NumPy archive"}
"""Start of the description that `file_kind.describe` gives for a ZIP archive with the right content."""
_DESCRIBED_KINDS: dict[SourceKind, str] = {
    "ONNX": "an ONNX model;", "PyTorch checkpoint": "a PyTorch checkpoint;", "OpenVINO IR": "an OpenVINO IR;",
}  # fmt: skip
"""Start of the description that `file_kind.describe` gives for a file with the right content."""
_WRONG_DOWNLOADS = ("a Git LFS pointer", "an HTML page", "an empty file", "an error message of a server")
_GRAPH_START = re.compile(rb"\x0a[\x80-\xff]{0,4}[\0-\x7f]\x0a|[\x12\x1a\x22]", re.DOTALL)
"""First bytes of a GraphDef: a node (its length, then its name), a library or a version."""
_DESCRIPTIONS: dict[SourceKind, str] = {
    "Keras weights": "Keras weights (.weights.h5)", "frozen graph": "a TensorFlow frozen graph (.pb)",
    "OpenVINO IR": "an OpenVINO IR (.xml)", "TFLite": "a TFLite model (.tflite)",
    "Keras model": "a Keras model (.keras, .h5)", "arrays": "NumPy arrays (.npy, .npz)",
    "ONNX": "an ONNX model (.onnx)", "PyTorch checkpoint": "a PyTorch checkpoint (.pth, .pt)",
}  # fmt: skip
_EXPECTED_CONTENT = "a network or its weights"
_EXPECTED_NAME = (
    f"a file that ends in {', '.join(_SUFFIXES)}, a SavedModel folder, the prefix of a checkpoint, or a name"
)


@dataclass(frozen=True)
class ImportOptions:
    """Options for an import.

    Attributes:
        network: The name of the network.
        heatmaps: The name of the output with the heatmaps.
        pafs: The name of the output with the PAFs.
        stages: The number of stages to keep.
        skeleton: The skeleton of the network.
        signature: The signature of a SavedModel.
        normalization: The input that the source network expects, as far as the file does not say it.
    """

    network: str | None = None
    heatmaps: str | None = None
    pafs: str | None = None
    stages: int | None = None
    skeleton: Skeleton = COCO18
    signature: str | None = None
    normalization: InputNormalization = InputNormalization()


class _OutputOptions(TypedDict):
    """Arguments that all importers of graphs have."""

    heatmaps: str | None
    pafs: str | None
    skeleton: Skeleton


@dataclass(frozen=True)
class ImportResult:
    """Imported network: the float graph, the network name, and the report if weights were assigned by name."""

    graph: g.Graph
    network: str
    report: WeightReport | None = None

    def normalize(self, normalization: InputNormalization, note: Callable[[str], None]) -> ImportResult:
        """Put the normalization that the user gave in front of the graph.

        Args:
            normalization: The input that the network expects.
            note: Called if the graph also begins with a normalization.
        """
        if not normalization.describe():
            return self
        own = describe_own_normalization(self.graph)
        if own is not None and normalization.changes_values:
            note(
                f"both are used, one after the other: the normalization from the command line "
                f"({normalization.describe()}) and that of the network ({own})"
            )
        return replace(self, graph=normalization.apply(self.graph))


@dataclass(frozen=True)
class Source:
    """Network to convert. `known` is set if the file's hash is that of a published model."""

    kind: SourceKind
    path: Path
    sha256: str
    known: KnownModel | None = None

    @property
    def name(self) -> str:
        """Default name of the network: that of the published model, or the file name up to the first dot."""
        return self.known.name if self.known else self.path.name.partition(".")[0]

    @property
    def default_size(self) -> tuple[int, int]:
        """Default input size (width, height) in pixels."""
        return self.known.input_size if self.known else DEFAULT_SIZE

    def load(self, options: ImportOptions, note: Callable[[str], None] = lambda text: None) -> ImportResult:
        """Import the network.

        If the user gave the name of a known network, or the file has only weights, the result is the definition of the
        network, filled with the weights by variable name. Otherwise it is the graph of the file.

        Args:
            options: The options. The graph is cut after `options.stages` stages.
            note: Called with notes for the user.

        Raises:
            ModelError: The file is damaged, does not match the network, or has unsupported operators; or options
                contradict each other.
        """
        options.normalization.check()
        if options.signature is not None and self.kind != "SavedModel":
            raise ModelError(f"{self.path}: --signature is only available for SavedModels")
        return self._import(options, note).normalize(options.normalization, note)

    def _import(self, options: ImportOptions, note: Callable[[str], None]) -> ImportResult:
        if self.kind == "untrained":
            from ..passes import random_weights

            _check_defined_skeleton(self.path.name, options.skeleton)
            definition = define_network(self.path.name)
            graph = definition.cut(options.stages).graph if options.stages else definition.graph
            return ImportResult(random_weights.fill(graph), definition.name)
        if self.kind in ("checkpoint", "PyTorch checkpoint", "arrays", "Keras weights"):
            return self._import_weights(options)
        graph = self._import_graph(options, note)
        if options.network in NETWORKS:
            _check_defined_skeleton(options.network, options.skeleton)
            definition = define_network(options.network)
            return self._fill_definition(definition, weights.collect_weights_by_name(graph), options.stages)
        graph = stages.cut(graph, options.stages) if options.stages else graph
        return ImportResult(graph, options.network or self.name)

    def _import_graph(self, wanted: ImportOptions, note: Callable[[str], None]) -> g.Graph:
        outputs: _OutputOptions = {"heatmaps": wanted.heatmaps, "pafs": wanted.pafs, "skeleton": wanted.skeleton}
        match self.kind:
            case "OpenVINO IR":
                from . import openvino_ir

                return openvino_ir.load(self.path, **outputs)
            case "ONNX":
                from . import onnx

                return onnx.load(self.path, **outputs, note=note)
            case "SavedModel":
                from . import saved_model

                return saved_model.load_saved_model(self.path, **outputs, signature=wanted.signature, note=note)
            case "Keras model":
                from . import saved_model

                return saved_model.load_keras_model(self.path, **outputs, note=note)
        from . import frozen_graph

        return frozen_graph.load(self.path, **outputs, note=note)

    def _import_weights(self, wanted: ImportOptions) -> ImportResult:
        if wanted.heatmaps is not None:
            raise ModelError(
                f"{self.path}: --heatmaps and --pafs need a file with a network; this file has only weights"
            )
        network = wanted.network or (self.known.network if self.known else None)
        _check_defined_skeleton(network or self.path.name, wanted.skeleton)
        if network is not None:
            define_network(network)
        if self.kind == "PyTorch checkpoint":
            from . import torch_checkpoint

            return self._fill_definition(*torch_checkpoint.load(self.path, network), wanted.stages)
        if self.kind == "Keras weights":
            if network is None:
                raise ModelError(f"{self.path}: a .weights.h5 file does not name its network; add --network NAME")
            from ..exporters import keras

            definition = define_network(network)
            graph = keras.load_weights(definition.graph, self.path)
            return self._fill_definition(definition, weights.collect_weights_by_name(graph), wanted.stages)
        if self.kind == "arrays":
            from . import npz

            arrays = npz.load(self.path)
        else:
            arrays = checkpoint.load(self.path)
        definition = define_network(network or weights.recognize_network(arrays, str(self.path)))
        return self._fill_definition(definition, arrays, wanted.stages)

    def _fill_definition(
        self, definition: NetworkDefinition, arrays: weights.Arrays, stage: int | None
    ) -> ImportResult:
        if stage:
            definition = definition.cut(stage)
        graph, report = weights.fill_definition(definition, arrays, str(self.path))
        return ImportResult(graph, definition.name, report)


def _check_defined_skeleton(network: str, skeleton: Skeleton) -> None:
    if skeleton != COCO18:
        raise ModelError(
            f"{network}: --skeleton needs a file with a network; the networks that edgepose defines have the skeleton "
            f"{COCO18.name}"
        )


def find_source(source: str) -> Source:
    """Find the source for a path or the name of a published model. A model that is not on this machine is downloaded.

    Args:
        source: A path, or a model name. An existing path has priority.

    Raises:
        ModelError: The source is unknown, the file does not match its suffix, or the download failed.
    """
    path = Path(source)
    model = registry.find_known_model(source)
    if model is not None and not path.exists():
        local_path = registry.find_weights(model)
        if local_path is None:
            from ..download import fetch_model

            local_path = fetch_model(model)
        path = local_path
    kind = _detect_kind(path)
    if kind is None:
        raise _make_unknown_error(source)
    if kind == "checkpoint":
        path = checkpoint.find_prefix(path) or path
        return Source(kind, path, _compute_sha256(checkpoint.list_files(path)))
    if kind == "SavedModel":
        _check_saved_model(path)
        return Source(kind, path, _compute_sha256(p for p in sorted(path.rglob("*")) if p.is_file()))
    _check_content(kind, path)
    known = model or next((m for m in registry.load_known_models() if m.files[0].matches(path)), None)
    return Source(kind, path, _compute_sha256([path]), known)


def make_untrained_source(name: str) -> Source:
    """Return a source for a network with random weights.

    Args:
        name: The name of a network or of a published model.

    Raises:
        ModelError: The name is unknown.
    """
    model = registry.find_known_model(name)
    network = model.network if model else name
    define_network(network)
    return Source("untrained", Path(network), "", None)


def _detect_kind(path: Path) -> SourceKind | None:
    """Return the kind of a source by its name; None if it is unknown."""
    if path.is_dir():
        return "SavedModel" if (path / "saved_model.pb").is_file() else None
    suffix = next((suffix for suffix in _SUFFIXES if path.name.lower().endswith(suffix)), None)
    if suffix is not None:
        return _SUFFIXES[suffix]
    return "checkpoint" if checkpoint.find_prefix(path) else None


def _check_content(kind: SourceKind, path: Path) -> None:
    """Raise ModelError if the content of a file does not match its name (such as a web page) or is incomplete."""
    if is_special_file(path):
        raise ModelError(f"{path}: expected a regular file with a network, this is a FIFO, a device or a socket")
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise ModelError(f"{path}: cannot read the network: {error.strerror}") from None
    actual = file_kind.describe(path, "convert")
    if _has_right_content(kind, head, actual):
        if kind == "TFLite" and file_kind.is_edge_tpu(path):
            raise ModelError(f"{path}: {file_kind.EDGE_TPU_DESCRIPTION}")
        if kind in ("TFLite", "frozen graph", "ONNX"):
            _check_complete(path)
        if kind == "OpenVINO IR":
            _check_weights_of_ir(path.with_suffix(".bin"))
        return
    if actual is not None and kind == "OpenVINO IR" and (old := re.match("an OpenVINO IR of (version [0-9]+)", actual)):
        advice = actual.partition("; ")[2]
        raise ModelError(f"{path}: expected an OpenVINO IR of version 10 or later, this is {old[1]}; {advice}")
    if actual is not None:
        raise ModelError(f"{path}: expected {_DESCRIPTIONS[kind]}, this is {actual}")


def _has_right_content(kind: SourceKind, head: bytes, actual: str | None) -> bool:
    """Return True if the first bytes of a file and its description belong to its kind."""
    if kind == "TFLite":
        return head[4:] == b"TFL3"
    if kind == "frozen graph":
        return _GRAPH_START.match(head) is not None and (actual is None or "frozen graph" in actual)
    if kind in _DESCRIBED_KINDS:
        return actual is not None and actual.startswith(_DESCRIBED_KINDS[kind])
    if not head.startswith(_MAGIC[kind]):
        return False
    # Keras models and NumPy archives are both ZIP archives; only their content differs.
    return not head.startswith(b"PK") or actual is None or actual.startswith(_ZIP_DESCRIPTIONS[kind])


def _check_complete(path: Path) -> None:
    damage = file_kind.find_damage(path)
    if damage is not None:
        raise ModelError(f"{path}: {damage}")


def _check_weights_of_ir(path: Path) -> None:
    """Raise ModelError if a `.bin` file is a wrong download. It has no magic bytes of its own."""
    if path.is_file() and (actual := file_kind.describe(path)) is not None and actual.startswith(_WRONG_DOWNLOADS):
        raise ModelError(f"{path}: expected the weights of an OpenVINO IR, this is {actual}")


def _check_saved_model(folder: Path) -> None:
    """Raise ModelError if a file in the folder of a SavedModel is a wrong download."""
    for path in (folder / "saved_model.pb", *sorted(folder.glob("variables/*"))):
        if path.is_file() and (actual := file_kind.describe(path)) is not None and actual.startswith(_WRONG_DOWNLOADS):
            raise ModelError(f"{path}: expected a file of a SavedModel, this is {actual}")


def _make_unknown_error(source: str) -> ModelError:
    path = Path(source)
    if path.exists() and (actual := file_kind.describe(path, "convert")) is not None:
        return ModelError(f"{path}: expected {_EXPECTED_CONTENT}, this is {actual}")
    if source in NETWORKS:
        return ModelError(
            f"{source}: no published weights are known; give your own file and --network {source}, "
            "or add --untrained to measure the speed with random weights"
        )
    if path.is_dir():
        return ModelError(f"{source}: expected saved_model.pb in this folder; for a checkpoint, give its prefix")
    if path.suffix or path.exists() or path.parent != Path():
        return ModelError(f"{source}: expected {_EXPECTED_NAME}")
    names = [model.name for model in registry.load_known_models()]
    close = difflib.get_close_matches(source, [*names, *NETWORKS], n=3, cutoff=0.3) or names
    return ModelError(f"unknown model {source!r}; did you mean {' or '.join(dict.fromkeys(close))}?")


def _compute_sha256(paths: Iterable[Path]) -> str:
    """Compute the SHA-256 of the concatenated contents of files."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
        except OSError as error:
            raise ModelError(f"{path}: cannot read the network: {error.strerror}") from None
    return digest.hexdigest()
