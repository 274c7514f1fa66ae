"""Conversion of a network to a model file: import, repair, prepare, export, verify, write."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..runtime import self_check
from ..runtime.errors import ModelError, OutputError
from ..runtime.io.formats import check_coco_order
from ..runtime.model import container
from ..runtime.model.isolated_load import load_in_child_process
from ..runtime.model.manifest import InputSpec, ModelManifest, Precision
from ..runtime.preprocess import Resize
from ..runtime.skeleton import COCO18, Skeleton
from ..runtime.types import ChannelOrder
from .build_manifest import build_manifest, probe_flatbuffer
from .exporters.tensorflow_quiet import import_tensorflow
from .exporters.tflite import to_tflite
from .importers import tflite
from .importers.detect import ImportOptions, ImportResult, Source
from .ir import graph as g
from .ir import macs, stages
from .networks import NETWORKS
from .passes import bn_statistics, fold
from .passes.input_normalization import InputNormalization, share_offset
from .passes.padding import spell_out_padding
from .passes.relu_limits import change_limits_to_six
from .passes.simplify import simplify
from .quantize import integer
from .quantize.calibration_images import CalibrationImages, ImageFolder
from .validate import proof, report, score_threshold, verify
from .validate.assessment import Assessment, EvaluationData, assess
from .validate.coco import CocoDataset
from .validate.diagnosis import ValueRange
from .validate.proof import Candidate
from .validate.verdict import Verdict

_SIZE_MULTIPLE = 8
_MIN_SIZE, _MAX_SIZE = 64, 4096
"""Width and height of the input in pixels."""

StepCallback = Callable[[str], None]
"""Function that is called with each step of the conversion as text."""


@dataclass(frozen=True)
class ConversionOptions:
    """Options of a conversion. Sizes are (width, height) in pixels; None means the default of the network."""

    network: str | None = None
    """Name of a known network, whose definition is filled with the weights. For a graph, any other name is a label."""
    stages: int | None = None
    """Number of stages to keep."""
    precision: Precision = "float32"
    input_size: tuple[int, int] | None = None
    resize: Resize = "letterbox"
    channel_order: ChannelOrder = "bgr"
    heatmaps: str | None = None
    """Output with the heatmaps. Default: the output with the right number of channels."""
    pafs: str | None = None
    """Output with the PAFs."""
    skeleton: Skeleton = COCO18
    """Keypoints and limbs of the network. Whether there is a background channel is read from the network."""
    signature: str | None = None
    """Signature of a SavedModel. Default: `serving_default`, or the only one."""
    value_range: tuple[float, float] | None = None
    """Values that the source network expects for the bytes 0 and 255, if the file does not convert them itself."""
    mean: tuple[float, ...] | None = None
    """Value that the source network expects to be subtracted, one or one per channel, in its own channel order."""
    scale: tuple[float, ...] | None = None
    """Value that the source network expects to be divided by after that, one or one per channel."""
    source_channel_order: ChannelOrder | None = None
    """Channel order that the source network expects. Default: bgr."""
    calibration: Path | None = None
    """Folder of images or video for calibration."""
    max_drop: float = 0.5
    """Maximum loss for precision `auto`: points of AP if there are annotations, otherwise percent of the poses."""
    report: Path | None = None
    """Folder or `.html` file of the report about an integer precision."""
    verify: Path | None = None
    """Folder of images on which the model is compared with its source."""
    annotations: Path | None = None
    """COCO annotations of the images in `verify`."""
    empty: Path | None = None
    """Folder of images without people, for the default minimum pose score. Default: synthetic scenes."""
    license: str = ""
    """License of the weights, if the source is not a published model."""

    @property
    def import_options(self) -> ImportOptions:
        """Options for the importer."""
        return ImportOptions(
            network=self.network,
            heatmaps=self.heatmaps,
            pafs=self.pafs,
            stages=self.stages,
            signature=self.signature,
            normalization=self.input_normalization,
            skeleton=self.skeleton,
        )

    @property
    def input_normalization(self) -> InputNormalization:
        """Input that the source network expects, as far as the user gave it."""
        return InputNormalization(self.value_range, self.mean, self.scale, self.source_channel_order)


@dataclass(frozen=True)
class ConversionResult:
    """Result of a conversion.

    Attributes:
        path: The model file.
        manifest: Its manifest.
        verdict: The verdict: if the model may be used, and why.
    """

    path: Path
    manifest: ModelManifest
    verdict: Verdict


@dataclass(frozen=True)
class _RepairedNetwork:
    """Network whose batch normalizations all have statistics, and a description of the change for the recipe."""

    graph: g.Graph
    repair: str | None


@dataclass(frozen=True)
class _PreparedNetwork:
    """Folded and simplified network, and the steps for the recipe."""

    graph: g.Graph
    recipe: tuple[str, ...]


@dataclass(frozen=True)
class _ManifestFactory:
    """Data for the manifest that is known before the export."""

    source: Source
    options: ConversionOptions
    network: str
    spec: InputSpec
    stages: int
    parameters: int
    macs: int

    def build(self, flatbuffer: bytes) -> ModelManifest:
        tensors = probe_flatbuffer(flatbuffer)
        spec = self.spec
        if spec.quantized:
            # The integers are the bytes of the image minus 128.
            scale, zero_point = tensors.inputs[0].quantization
            spec = replace(spec, value_range=((-128 - zero_point) * scale, (127 - zero_point) * scale))
        return replace(
            build_manifest(
                self.source, self.network, flatbuffer, spec, skeleton=self.options.skeleton, tensors=tensors
            ),
            precision=self.options.precision,
            untrained=self.source.kind == "untrained",
            license=self.source.known.license if self.source.known else self.options.license,
            stages=self.stages,
            parameters=self.parameters,
            macs=self.macs,
        )


@dataclass(frozen=True)
class _ExportedNetwork:
    """Flatbuffer, with the quantization if the precision is an integer one."""

    flatbuffer: bytes
    quantized: integer.QuantizedNetwork | None = None

    @property
    def recipe(self) -> tuple[str, ...]:
        return () if self.quantized is None else self.quantized.recipe


def check_output(path: Path) -> None:
    """Check the output path before a conversion, which can take minutes.

    Raises:
        ModelError: The name does not end in .tflite.
        OutputError: The folder does not exist.
    """
    if path.suffix != ".tflite":
        raise ModelError(f"{path}: expected an output that ends in .tflite")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}")


def convert(source: Source, output: Path, options: ConversionOptions, note: StepCallback) -> ConversionResult:
    """Convert a network and write the model file. The file appears complete or not at all, whatever the verdict is.

    Every model is checked on synthetic scenes, except one with random weights. If `options.verify` is set, the model is
    compared with its float source on those images. A model with an integer precision is always compared; without
    `options.verify` the calibration images are used.

    Args:
        source: The network.
        output: The model file to write.
        options: The options.
        note: Called with each step as text.

    Raises:
        ModelError: The network cannot be converted, or options do not match.
        InputError: Images or annotations cannot be read.
        OutputError: A file cannot be written.
    """
    # Checked first, because a conversion can take minutes before a wrong folder would be noticed.
    integer.check_options(options.precision, options.calibration, options.report)
    options.input_normalization.check()
    data = _open_evaluation_data(options, note)
    if source.kind == "TFLite":
        candidate = _adopt_tflite(source, options, note)
    else:
        candidate = _build_candidate(source, options, data, note)
    found = candidate.manifest.skeleton_table
    if found.background != options.skeleton.background:
        presence = "a" if found.background else "no"
        note(f"the network has {presence} background channel, unlike the skeleton {found.name}")
    report_path = None if options.report is None else report.choose_path(options.report, output)
    assessment = assess(candidate, data, report_path, note)
    _write(output, candidate.flatbuffer, assessment)
    return ConversionResult(output, assessment.manifest, assessment.verdict)


def _write(output: Path, flatbuffer: bytes, assessment: Assessment) -> None:
    """Write the model file with its reference poses.

    They are found on a copy: a full disk, an interruption or a second conversion then never leaves a file without them.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.tflite"
        container.write(copy, flatbuffer, assessment.manifest)
        try:
            self_check.record(copy)
        except ModelError:  # NaN
            if assessment.verdict.ok:
                raise
        container.write(output, flatbuffer, container.read_manifest(copy))


def _open_evaluation_data(options: ConversionOptions, note: StepCallback) -> EvaluationData:
    images = None if options.verify is None else ImageFolder(options.verify)
    background = None if options.empty is None else ImageFolder(options.empty)
    if background is not None:
        # Before the conversion, which takes minutes.
        score_threshold.check_image_count(len(background))
    dataset = None
    if options.verify is not None and options.annotations is not None:
        check_coco_order(options.skeleton)
        dataset = CocoDataset(options.verify, options.annotations)
        for text in dataset.notes:
            note(f"{options.annotations}: {text}")
    return EvaluationData(images, dataset, background)


def _adopt_tflite(source: Source, options: ConversionOptions, note: StepCallback) -> Candidate:
    """Add a manifest to a TFLite file of another tool. The network does not change."""
    unsupported_options = {
        "--precision": options.precision != "float32", "--calibration": options.calibration, "--stages": options.stages,
        "--signature": options.signature,
    }  # fmt: skip
    for name, given in unsupported_options.items():
        if given:
            raise ModelError(f"{source.path}: {name} cannot be used on a TFLite file, which is not changed")
    flatbuffer = container.read_flatbuffer(source.path)
    tensors = load_in_child_process(
        source.path, network=flatbuffer, size=options.input_size, default_size=source.default_size
    )
    channel_order = _choose_channel_order(source, options)
    ranges = options.input_normalization.to_ranges()
    spec = tflite.read_input_spec(source.path, tensors, options.input_size, channel_order, options.resize, ranges)
    outputs = (options.heatmaps, options.pafs)
    name = options.network or source.name
    manifest = build_manifest(source, name, flatbuffer, spec, outputs, options.skeleton, tensors)
    recipe = ("TFLite file used without changes", *tflite.describe_decisions(manifest))
    for step in recipe[1:]:
        note(step)
    manifest = replace(manifest, recipe=recipe)
    return Candidate(flatbuffer, manifest, partial(tflite.TfliteReference, source.path, manifest, flatbuffer))


def _choose_channel_order(source: Source, options: ConversionOptions) -> ChannelOrder:
    """Return the channel order of a TFLite file, which is not changed."""
    wanted = options.source_channel_order
    if wanted == "bgr" and options.channel_order == "rgb":
        raise ModelError(
            f"{source.path}: --channel-order rgb and --source-channel-order bgr contradict each other: a TFLite file "
            "is not changed; give only one of them"
        )
    return wanted or options.channel_order


def _build_candidate(source: Source, options: ConversionOptions, data: EvaluationData, note: StepCallback) -> Candidate:
    """Import, repair, prepare and export a network."""
    imported = _import_network(source, options, note)
    spec = _make_input_spec(source, options, imported.graph, note)
    _check_map_sizes(source, imported.graph, spec, note)
    repaired = _repair_batch_norm(source, imported.graph, spec, options.calibration, note)
    origin = _describe_origin(imported, source, options, note)
    prepared = _prepare_network(repaired.graph, options, spec)
    factory = _ManifestFactory(
        source,
        options,
        imported.network,
        spec,
        stages=len(stages.find(imported.graph)),
        parameters=prepared.graph.parameters,
        macs=macs.count(prepared.graph, spec.height, spec.width),
    )
    reference = partial(verify.GraphReference, repaired.graph, spec)
    note(f"exporting {options.precision} at {spec.width}x{spec.height}")
    if options.precision in integer.INTEGER_PRECISIONS:
        exported = _export_quantized(prepared.graph, factory, reference, data, note)
    else:
        exported = _ExportedNetwork(to_tflite(prepared.graph, spec.width, spec.height, options.precision))
    repair_steps = () if repaired.repair is None else (repaired.repair,)
    recipe = (*origin, *repair_steps, *prepared.recipe, *exported.recipe)
    manifest = replace(factory.build(exported.flatbuffer), recipe=recipe)
    published = None if repaired.repair is None else partial(verify.GraphReference, imported.graph, spec)
    return Candidate(
        exported.flatbuffer,
        manifest,
        reference,
        published,
        exported.quantized,
        load_probe=reference,
        pixels=_describe_pixels(options.input_normalization),
    )


def _describe_pixels(normalization: InputNormalization) -> ValueRange | None:
    """Return the pixel values that the user gave for the source network, for the search for a wrong one."""
    if normalization.value_range is not None:
        return ValueRange.between(*normalization.value_range)
    if not normalization.changes_values:
        return None
    # The options are in the channel order of the network.
    step = 1 if normalization.channel_order == "rgb" else -1
    mean, scale = normalization.mean or (0.0,), normalization.scale or (1.0,)
    return ValueRange.from_normalization(mean[::step], scale[::step])


def _make_input_spec(source: Source, options: ConversionOptions, graph: g.Graph, note: StepCallback) -> InputSpec:
    own_size = None if graph.input.size is None else (graph.input.size[1], graph.input.size[0])
    default = source.default_size
    if own_size is not None and source.known is None and options.input_size is None:
        if _is_valid_size(own_size):
            default = own_size
        else:
            note(
                f"the input size of the file, {own_size[0]}x{own_size[1]}, is not used: expected multiples of "
                f"{_SIZE_MULTIPLE}; using {default[0]}x{default[1]}"
            )
    width, height = options.input_size or default
    _check_input_size(width, height)
    is_integer = options.precision in integer.INTEGER_PRECISIONS
    dtype = "int8" if is_integer else "float32"
    return InputSpec("", width, height, dtype, options.channel_order, options.resize, quantized=is_integer)


def _is_valid_size(size: tuple[int, int]) -> bool:
    return not any(side % _SIZE_MULTIPLE or not _MIN_SIZE <= side <= _MAX_SIZE for side in size)


def _check_input_size(width: int, height: int) -> None:
    if not _is_valid_size((width, height)):
        raise ModelError(
            f"input size {width}x{height}: expected multiples of {_SIZE_MULTIPLE} from {_MIN_SIZE} to {_MAX_SIZE}"
        )


def _import_network(source: Source, options: ConversionOptions, note: StepCallback) -> ImportResult:
    # Checked first, because an import can take a while.
    _check_input_size(*(options.input_size or source.default_size))
    import_tensorflow()
    note(f"{'defining' if source.kind == 'untrained' else 'importing'} {source.path.name}")
    return source.load(options.import_options, note)


def _check_map_sizes(source: Source, graph: g.Graph, spec: InputSpec, note: StepCallback) -> None:
    """Check that maps that are combined have the same size at this input size."""
    sizes = macs.compute_sizes(graph, spec.height, spec.width)
    for node in graph.nodes.values():
        if isinstance(node, g.Add | g.Concat) and len({sizes[i] for i in node.inputs}) > 1:
            found = " and ".join(f"{width}x{height}" for height, width in dict.fromkeys(sizes[i] for i in node.inputs))
            raise ModelError(
                f"{source.path}: {node.name!r} combines maps of {found} at the input size {spec.width}x{spec.height}; "
                "choose another --input-size, for example in multiples of 32"
            )
    if any(min(size) < 1 for size in sizes.values()) or sizes[graph.heatmaps] != sizes[graph.pafs]:
        (rows, columns), (paf_rows, paf_columns) = sizes[graph.heatmaps], sizes[graph.pafs]
        raise ModelError(
            f"{source.path}: heatmaps of {columns}x{rows} and PAFs of {paf_columns}x{paf_rows} cells at the input size "
            f"{spec.width}x{spec.height}; expected the same size, 1x1 or more"
        )
    if macs.has_misaligned_resize(graph, spec.height, spec.width):
        note(
            f"warning: some feature maps are misaligned at {spec.width}x{spec.height}; "
            "an input size in multiples of 16 is more accurate"
        )


def _repair_batch_norm(
    source: Source, graph: g.Graph, spec: InputSpec, calibration: Path | None, note: StepCallback
) -> _RepairedNetwork:
    """Measure the statistics of batch normalizations in training mode on the calibration images."""
    layers = bn_statistics.find_training_layers(graph)
    if not layers:
        return _RepairedNetwork(graph, None)
    if calibration is None:
        raise ModelError(
            f"{source.path}: its {len(layers)} batch normalizations need statistics; add --calibration DIR with about "
            "50 images of people"
        )
    images = CalibrationImages(calibration, spec)
    if images.has_too_few_images:
        note(f"warning: only {len(images)} calibration images; the batch statistics may be inaccurate")
    repaired = bn_statistics.set_measured_statistics(graph, images.iterate_batches("measuring batch statistics"))
    repair = f"{len(layers)} batch normalizations in training mode: statistics measured on {len(images)} images"
    note(f"repaired: {repair}")
    return _RepairedNetwork(repaired, repair)


def _describe_origin(
    imported: ImportResult, source: Source, options: ConversionOptions, note: StepCallback
) -> list[str]:
    """Return the recipe steps about the origin of the weights and about removed stages."""
    recipe = []
    if (weight_report := imported.report) is not None:
        for line in weight_report.format_lines():
            note(line)
        recipe.append(
            f"{len(weight_report.matched_variables)} variables assigned by name to the network {weight_report.network}"
        )
    elif source.kind == "untrained":
        recipe.append(f"random weights in the network {imported.network}: only for speed measurements")
    elif options.network and options.network not in NETWORKS:
        note(f"{options.network!r} is not a known network: the name is used as a label, the graph is not changed")
    if options.stages:
        recipe.append(f"cut after stage {options.stages}")
    return recipe


def _prepare_network(graph: g.Graph, options: ConversionOptions, spec: InputSpec) -> _PreparedNetwork:
    prepared = change_limits_to_six(simplify(fold.fold(graph)))
    prepared = spell_out_padding(prepared, spec.height, spec.width)
    recipe = []
    if normalization := options.input_normalization.describe():
        recipe.append(f"the source network expects: {normalization}")
    recipe.append("batch normalization and constant scales folded into the convolutions")
    if options.channel_order == "rgb":
        prepared = fold.to_rgb(prepared)
        recipe.append("weights of the first convolution reordered for RGB")
    if options.precision in integer.INTEGER_PRECISIONS and (shared := share_offset(prepared)) is not prepared:
        prepared = shared
        recipe.append("one offset of the image for all channels: exact except at the border of the image")
    return _PreparedNetwork(prepared, tuple(recipe))


def _export_quantized(
    graph: g.Graph,
    factory: _ManifestFactory,
    reference: Callable[[], verify.Reference],
    data: EvaluationData,
    note: StepCallback,
) -> _ExportedNetwork:
    options = factory.options
    assert options.calibration is not None
    calibration = CalibrationImages(options.calibration, factory.spec)
    budget = None
    if options.precision == "auto":
        images: verify.ImageCollection = data.images or calibration
        budget = proof.make_loss_budget(factory.build, reference(), images, data.dataset, options.max_drop)
    from threadpoolctl import threadpool_limits  # in the extra `convert`, like TensorFlow

    # BLAS threads wait for each other in busy loops: two conversions at once would take three to seven times as long
    # as one. One thread costs little, because the matrices are small.
    with threadpool_limits(limits=1, user_api="blas"):
        quantized = integer.quantize_graph(
            graph,
            calibration,
            options.precision,
            options.channel_order,
            budget,
            note,
            len(options.skeleton.keypoints),
        )
    return _ExportedNetwork(quantized.flatbuffer, quantized)
