"""The conversion from beginning to end: import, repair, fold, export, verify, write."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from edgepose.runtime import PoseEstimator, model_file
from edgepose.runtime.errors import ModelError
from edgepose.runtime.images import list_pictures
from edgepose.runtime.manifest import InputSpec, ModelManifest, Precision
from edgepose.runtime.preprocess import Resize
from edgepose.runtime.probe import ProbeResult, probe
from edgepose.runtime.types import ChannelOrder
from edgepose.runtime.version import version

from . import adopt, export, fold, macs, stages, statistics, verify
from . import graph as g
from .calibration import CalibrationPictures
from .coco import CocoDataset
from .networks import NETWORKS
from .sources import Imported, Source, Wanted
from .tensorflow_quiet import import_tensorflow

STRIDE = 8


@dataclass(frozen=True)
class Options:
    """What the user may choose. Sizes are (width, height) in pixels; None means the network's own."""

    network: str | None = None
    """A network's name, by whose definition the weights are taken; for graphs any other name, as a label."""
    stages: int | None = None
    precision: Precision = "float32"
    input_size: tuple[int, int] | None = None
    resize: Resize = "letterbox"
    channel_order: ChannelOrder = "bgr"
    heatmaps: str | None = None
    pafs: str | None = None
    calibration: Path | None = None
    verify: Path | None = None
    annotations: Path | None = None

    @property
    def wanted(self) -> Wanted:
        """What the importer must know."""
        return Wanted(self.network, self.heatmaps, self.pafs, self.stages)


@dataclass(frozen=True)
class Conversion:
    """The file that was written, and what lies outside its tolerance."""

    path: Path
    manifest: ModelManifest
    shortfalls: tuple[str, ...]


@dataclass(frozen=True)
class _Candidate:
    """A converted network before it is verified; `published` is the source as it was, where it had to be repaired."""

    flatbuffer: bytes
    manifest: ModelManifest
    reference: Callable[[], verify.Reference]
    published: Callable[[], verify.Reference] | None = None


def convert(source: Source, output: Path, options: Options, note: Callable[[str], None]) -> Conversion:
    """Converts `source` and writes `output`, whole or not at all; `note` is told what is being done.

    Raises ModelError, InputError or OutputError; see the options for what is verified.
    """
    # Looked at first: minutes of work should not end at a misspelt folder.
    pictures = list_pictures(options.verify) if options.verify is not None else []
    dataset = None
    if options.verify is not None and options.annotations is not None:
        dataset = CocoDataset(options.verify, options.annotations)
    candidate = _adopted(source, options) if source.kind == "TFLite" else _converted(source, options, note)
    manifest, found = candidate.manifest, []
    if pictures:
        manifest = _verified(candidate, pictures, dataset)
        assert manifest.verification is not None
        found = verify.shortfalls(manifest.precision, manifest.verification, manifest.accuracy)
    model_file.write(output, candidate.flatbuffer, manifest)
    return Conversion(output, manifest, tuple(found))


def _input_spec(source: Source, options: Options) -> InputSpec:
    """Size and kind of the input. Raises ModelError for a size that the stride does not divide."""
    width, height = options.input_size or source.default_size
    if width % STRIDE or height % STRIDE or not (64 <= width <= 4096 and 64 <= height <= 4096):
        raise ModelError(f"input size {width}x{height}: expected multiples of {STRIDE} from 64 to 4096")
    return InputSpec("", width, height, "float32", options.channel_order, options.resize)


def _converted(source: Source, options: Options, note: Callable[[str], None]) -> _Candidate:
    spec = _input_spec(source, options)
    import_tensorflow()
    note(f"{'defining' if source.kind == 'untrained' else 'importing'} {source.path.name}")
    imported = source.load(options.wanted)
    if macs.misaligned(imported.graph, spec.height, spec.width):
        note(f"warning: some features do not line up at {spec.width}x{spec.height}; multiples of 16 are more accurate")
    repaired, repair = _repaired(source, imported.graph, spec, options, note)
    recipe = [*_account(imported, source, options, note), *repair]
    prepared = fold.fold(repaired)
    recipe.append("batch normalisation and constant scales folded into the convolutions")
    if options.channel_order == "rgb":
        prepared = fold.to_rgb(prepared)
        recipe.append("first convolution's weights re-ordered for RGB")
    note(f"exporting {options.precision} at {spec.width}x{spec.height}")
    flatbuffer = export.to_tflite(prepared, spec.width, spec.height, options.precision)
    tensors = _probe_bytes(flatbuffer)
    manifest = replace(
        _describe(source, imported.network, options, flatbuffer, spec, tensors),
        precision=options.precision,
        untrained=source.kind == "untrained",
        stages=len(stages.find(imported.graph)),
        parameters=prepared.parameters,
        macs=macs.count(prepared, spec.height, spec.width),
        recipe=tuple(recipe),
    )
    published = None if not repair else (lambda: verify.GraphReference(imported.graph, spec))
    return _Candidate(flatbuffer, manifest, lambda: verify.GraphReference(repaired, spec), published)


def _account(imported: Imported, source: Source, options: Options, note: Callable[[str], None]) -> list[str]:
    """What is to be said of where the weights come from and what was cut off."""
    recipe = []
    if (report := imported.report) is not None:
        for line in report.lines():
            note(line)
        recipe.append(f"{len(report.matched)} variables taken by name into the definition of {report.network}")
    elif source.kind == "untrained":
        recipe.append(f"random weights in the definition of {imported.network}: for measuring speed only")
    elif options.network and options.network not in NETWORKS:
        note(f"{options.network!r} is a label: no network of that name is known, the graph is taken as it is")
    if options.stages:
        recipe.append(f"cut after stage {options.stages}")
    return recipe


def _repaired(
    source: Source, graph: g.Graph, spec: InputSpec, options: Options, note: Callable[[str], None]
) -> tuple[g.Graph, list[str]]:
    """The graph with statistics for batch normalisation in training mode, and what was done."""
    layers = statistics.training_layers(graph)
    if not layers:
        return graph, []
    if options.calibration is None:
        raise ModelError(
            f"{source.path}: {len(layers)} batch normalisations run in training mode: each picture is normalised by "
            "itself, which cannot be folded and costs accuracy. Give some 50 ordinary pictures with people: "
            "--calibration DIR"
        )
    pictures = CalibrationPictures(options.calibration, spec)
    if pictures.too_few:
        note(f"warning: only {len(pictures)} calibration pictures; their statistics may be far from the world's")
    fixed = statistics.fix(graph, pictures.batches("measuring batch statistics"))
    done = (
        f"{len(layers)} batch normalisations in training mode given the statistics of whole batches "
        f"of {len(pictures)} calibration pictures"
    )
    note(f"repaired: {done}")
    return fixed, [done]


def _adopted(source: Source, options: Options) -> _Candidate:
    """A TFLite file that gains a manifest; the network itself stays as it is."""
    refused = {
        "--precision": options.precision != "float32", "--calibration": options.calibration, "--stages": options.stages
    }  # fmt: skip
    for name, given in refused.items():
        if given:
            raise ModelError(f"{source.path}: {name} cannot be used on a TFLite file, which is taken as it is")
    tensors = probe(source.path)
    flatbuffer = model_file.flatbuffer(source.path)
    spec = adopt.input_spec(source.path, tensors, options.input_size, options.channel_order, options.resize)
    manifest = _describe(source, options.network or source.name, options, flatbuffer, spec, tensors)
    manifest = replace(manifest, recipe=("taken as it is",))
    return _Candidate(flatbuffer, manifest, lambda: adopt.TfliteReference(source.path, manifest))


def _describe(
    source: Source, network: str, options: Options, flatbuffer: bytes, spec: InputSpec, tensors: ProbeResult
) -> ModelManifest:
    """The manifest of a network whose tensors are known."""
    digest, length = model_file.identity(flatbuffer)
    # The names a user gives are those of the source: only a TFLite file still has them.
    names = (options.heatmaps, options.pafs) if source.kind == "TFLite" else (None, None)
    heatmaps, pafs = adopt.outputs(source.path, tensors, *names)
    return ModelManifest(
        network=network,
        flatbuffer_sha256=digest,
        flatbuffer_bytes=length,
        input=replace(spec, tensor=tensors.inputs[0].name),
        heatmaps=heatmaps,
        pafs=pafs,
        stride=adopt.stride(source.path, spec, tensors, heatmaps),
        source=source.path.name,
        source_sha256=source.sha256,
        licence=source.known.licence if source.known else "",
        edgepose_version=version(),
    )


def _probe_bytes(flatbuffer: bytes) -> ProbeResult:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(flatbuffer)
        return probe(path)


def _verified(candidate: _Candidate, pictures: list[Path], dataset: CocoDataset | None) -> ModelManifest:
    """The manifest with the figures of the comparison in it."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "model.tflite"
        model_file.write(path, candidate.flatbuffer, candidate.manifest)
        estimator = PoseEstimator(path)
        reference = candidate.reference()
        figures = verify.compare(reference, estimator, pictures)
        if dataset is None:
            return replace(candidate.manifest, verification=figures)
        accuracy = verify.score(estimator, dataset)
        source_ap = verify.score_reference(reference, candidate.manifest, dataset, "scoring the source")
        published_ap = None
        if candidate.published is not None:
            published = candidate.published()
            published_ap = verify.score_reference(
                published, candidate.manifest, dataset, "scoring the source as published"
            )
        figures = replace(figures, source_ap=source_ap, published_ap=published_ap)
        return replace(candidate.manifest, verification=figures, accuracy=accuracy)
