"""The conversion from beginning to end: import, repair, fold, export, verify, write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..runtime import self_check
from ..runtime.errors import ModelError, OutputError
from ..runtime.model import container
from ..runtime.model.isolated_load import probe
from ..runtime.model.manifest import InputSpec, ModelManifest, Precision
from ..runtime.preprocess import Resize
from ..runtime.types import ChannelOrder
from .build_manifest import describe
from .exporters import tflite as export
from .exporters.tensorflow_quiet import import_tensorflow
from .importers import tflite
from .importers.detect import Imported, Source, Wanted
from .ir import graph as g
from .ir import macs, stages
from .networks import NETWORKS
from .passes import bn_statistics, fold
from .passes.simplify import simplify
from .quantize import integer
from .quantize.calibration_images import CalibrationImages, ImageFolder
from .validate import layer_errors, proof, report, score_threshold, verify
from .validate.coco import CocoDataset
from .validate.proof import Candidate

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
    """A folder of images or a video."""
    max_drop: float = 0.5
    """What `auto` may lose: points of AP where there are annotations, else percent of the source's poses."""
    report: Path | None = None
    verify: Path | None = None
    annotations: Path | None = None
    empty: Path | None = None
    """A folder of images without people, to choose the default least score on."""
    licence: str = ""
    """Of the weights, where the source is not a known model."""

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


def check_output(path: Path) -> None:
    """Check where a conversion is to be written, before it begins: minutes of work should not end at a wrong name.

    Raises:
        ModelError: The name does not end in .tflite.
        OutputError: There is no such folder.
    """
    if path.suffix != ".tflite":
        raise ModelError(f"{path}: expected an output that ends in .tflite")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}")


def convert(source: Source, output: Path, options: Options, note: Callable[[str], None]) -> Conversion:
    """Converts `source` and writes `output`, whole or not at all; `note` is told what is being done.

    With `verify` the result is compared with its float source; an integer one always is, on the calibration images
    if on no others. Raises ModelError, InputError or OutputError.
    """
    # Looked at first: minutes of work should not end at a misspelled folder.
    integer.check(options.precision, options.calibration, options.report)
    images: verify.Images | None = None if options.verify is None else ImageFolder(options.verify)
    empty = None if options.empty is None else ImageFolder(options.empty)
    dataset = None
    if options.verify is not None and options.annotations is not None:
        dataset = CocoDataset(options.verify, options.annotations)
        for text in dataset.notes:
            note(f"{options.annotations}: {text}")
    if source.kind == "TFLite":
        candidate = _adopted(source, options)
    else:
        candidate = _converted(source, options, images, dataset, note)
    manifest, found = candidate.manifest, []
    if images is None and candidate.integers is not None:
        images = candidate.integers.calibration
    if images is not None:
        manifest = proof.verify_candidate(candidate, images, dataset)
        assert manifest.verification is not None
        found = verify.shortfalls(manifest.precision, manifest.verification, manifest.accuracy)
    if candidate.integers is not None:
        errors = layer_errors.measure_layer_errors(candidate.integers)
        note(stage_errors := layer_errors.by_stage(candidate.integers.plan.graph, errors))
        manifest = replace(manifest, recipe=(*manifest.recipe, stage_errors))
        if found:
            found.append(f"layers that lose most by themselves: {layer_errors.worst(errors)}")
        if options.report is not None:
            note(f"writing the report into {options.report}")
            report.write(options.report, candidate, manifest, errors, found)
    container.write(output, candidate.flatbuffer, manifest)
    if empty is not None:
        least = score_threshold.choose_score_threshold(score_threshold.scores(output, empty), len(empty))
        note(f"people below a score of {least:.2f} are dropped by default: {len(empty)} images without people")
        container.write(output, candidate.flatbuffer, replace(manifest, min_score=least))
    self_check.record(output)
    return Conversion(output, manifest, tuple(found))


def _input_spec(source: Source, options: Options) -> InputSpec:
    """Size and kind of the input. Raises ModelError for a size that the stride does not divide."""
    width, height = options.input_size or source.default_size
    if width % STRIDE or height % STRIDE or not (64 <= width <= 4096 and 64 <= height <= 4096):
        raise ModelError(f"input size {width}x{height}: expected multiples of {STRIDE} from 64 to 4096")
    dtype = "uint8" if options.precision in integer.INTEGER else "float32"
    return InputSpec("", width, height, dtype, options.channel_order, options.resize)


def _converted(
    source: Source,
    options: Options,
    images: verify.Images | None,
    dataset: CocoDataset | None,
    note: Callable[[str], None],
) -> Candidate:
    spec = _input_spec(source, options)
    import_tensorflow()
    note(f"{'defining' if source.kind == 'untrained' else 'importing'} {source.path.name}")
    imported = source.load(options.wanted)
    if macs.misaligned(imported.graph, spec.height, spec.width):
        note(f"warning: some features do not line up at {spec.width}x{spec.height}; multiples of 16 are more accurate")
    repaired, repair = _repaired(source, imported.graph, spec, options, note)
    recipe = [*_account(imported, source, options, note), *repair]
    prepared = simplify(fold.fold(repaired))
    recipe.append("batch normalization and constant scales folded into the convolutions")
    if options.channel_order == "rgb":
        prepared = fold.to_rgb(prepared)
        recipe.append("first convolution's weights re-ordered for RGB")
    note(f"exporting {options.precision} at {spec.width}x{spec.height}")

    def manifest_of(flatbuffer: bytes) -> ModelManifest:
        return replace(
            describe(source, imported.network, flatbuffer, spec),
            precision=options.precision,
            untrained=source.kind == "untrained",
            licence=source.known.licence if source.known else options.licence,
            stages=len(stages.find(imported.graph)),
            parameters=prepared.parameters,
            macs=macs.count(prepared, spec.height, spec.width),
        )

    def reference() -> verify.Reference:
        return verify.GraphReference(repaired, spec)

    integers = None
    if options.precision in integer.INTEGER:
        assert options.calibration is not None
        calibration = CalibrationImages(options.calibration, spec)
        budget = None
        if options.precision == "auto":
            budget = proof.budget(manifest_of, reference(), images or calibration, dataset, options.max_drop)
        from threadpoolctl import threadpool_limits  # of the extra `convert`, as TensorFlow

        # Threads of BLAS wait for each other in busy loops: two conversions at once would take three to seven times as
        # long as one. One thread costs little, because the matrices are small.
        with threadpool_limits(limits=1, user_api="blas"):
            integers = integer.quantize_graph(
                prepared, calibration, options.precision, options.channel_order, budget, note
            )
        recipe += integers.recipe
        flatbuffer = integers.flatbuffer
    else:
        flatbuffer = export.to_tflite(prepared, spec.width, spec.height, options.precision)
    published = None if not repair else (lambda: verify.GraphReference(imported.graph, spec))
    manifest = replace(manifest_of(flatbuffer), recipe=tuple(recipe))
    return Candidate(flatbuffer, manifest, reference, published, integers)


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
    """The graph with statistics for batch normalization in training mode, and what was done."""
    layers = bn_statistics.training_layers(graph)
    if not layers:
        return graph, []
    if options.calibration is None:
        raise ModelError(
            f"{source.path}: its {len(layers)} batch normalizations need statistics; add --calibration DIR with about "
            "50 images of people"
        )
    images = CalibrationImages(options.calibration, spec)
    if images.too_few:
        note(f"warning: only {len(images)} calibration images; their statistics may be far from the world's")
    fixed = bn_statistics.fix(graph, images.batches("measuring batch statistics"))
    done = (
        f"{len(layers)} batch normalizations in training mode given the statistics of whole batches "
        f"of {len(images)} calibration images"
    )
    note(f"repaired: {done}")
    return fixed, [done]


def _adopted(source: Source, options: Options) -> Candidate:
    """A TFLite file that gains a manifest; the network itself stays as it is."""
    refused = {
        "--precision": options.precision != "float32", "--calibration": options.calibration, "--stages": options.stages
    }  # fmt: skip
    for name, given in refused.items():
        if given:
            raise ModelError(f"{source.path}: {name} cannot be used on a TFLite file, which is taken as it is")
    flatbuffer = container.flatbuffer(source.path)
    tensors = probe(source.path, network=flatbuffer)
    spec = tflite.input_spec(source.path, tensors, options.input_size, options.channel_order, options.resize)
    outputs = (options.heatmaps, options.pafs)
    manifest = describe(source, options.network or source.name, flatbuffer, spec, outputs)
    manifest = replace(manifest, recipe=("taken as it is",))
    return Candidate(flatbuffer, manifest, lambda: tflite.TfliteReference(source.path, manifest, flatbuffer))
