"""The command `edgepose convert`: convert a network or its weights to TFLite."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ...runtime.cli.command import Argument, Checked, Choice, Command, ModelName, Number, Option, PathName, SkeletonName
from ...runtime.cli.info import describe_manifest
from ...runtime.io.messages import show_note
from ...runtime.io.printable import make_printable
from ...runtime.model.manifest import Precision
from ...runtime.preprocess import Resize
from ...runtime.skeleton import list_skeletons, load_skeleton
from ...runtime.types import ChannelOrder
from ..exporters.tflite import FLOAT_PRECISIONS
from ..ir import input_sizes
from ..quantize.integer import INTEGER_PRECISIONS


@dataclass(frozen=True)
class ConvertOptions:
    """Values of the command line of `edgepose convert`."""

    source: str
    output: Path
    network: str | None
    stages: int | None
    untrained: bool
    heatmaps: str | None
    pafs: str | None
    skeleton: str
    signature: str | None
    value_range: tuple[float, float] | None
    mean: tuple[float, ...] | None
    scale: tuple[float, ...] | None
    source_channel_order: ChannelOrder | None
    input_size: tuple[int, int] | None
    resize: Resize
    channel_order: ChannelOrder
    precision: Precision
    calibration: Path | None
    max_drop: float
    report: Path | None
    verify: Path | None
    annotations: Path | None
    empty: Path | None
    license: str
    strict: bool


def run(options: ConvertOptions) -> int:
    """Convert.

    Returns:
        0 done; 1 the file was written, but the verdict is negative, or has doubts with `--strict`.
    """
    if options.annotations is not None and options.verify is None:
        raise ValueError("--annotations goes with --verify, the folder of the annotated images")
    if (options.heatmaps is None) != (options.pafs is None):
        raise ValueError("--heatmaps and --pafs go together: give both or neither")
    if options.untrained and (options.verify or options.network):
        raise ValueError("--untrained takes the name of a network and neither --network nor --verify")
    from ..convert import ConversionOptions, check_output, convert
    from ..importers import detect

    check_output(options.output)
    conversion = ConversionOptions(
        network=options.network,
        stages=options.stages,
        precision=options.precision,
        input_size=options.input_size,
        resize=options.resize,
        channel_order=options.channel_order,
        heatmaps=options.heatmaps,
        pafs=options.pafs,
        skeleton=load_skeleton(options.skeleton),
        signature=options.signature,
        value_range=options.value_range,
        mean=options.mean,
        scale=options.scale,
        source_channel_order=options.source_channel_order,
        calibration=options.calibration,
        max_drop=options.max_drop,
        report=options.report,
        verify=options.verify,
        annotations=options.annotations,
        empty=options.empty,
        license=options.license,
    )
    source = (detect.make_untrained_source if options.untrained else detect.find_source)(options.source)
    result = convert(source, options.output, conversion, show_note)
    print(f"wrote {make_printable(result.path)} ({result.path.stat().st_size / 1e6:.1f} MB)")
    for line in result.verdict.format_lines(strict=options.strict):
        print(make_printable(line))
    print(f"\n{describe_manifest(result.path, result.manifest)}", end="")
    return 0 if result.verdict.is_accepted(strict=options.strict) else 1


def parse_numbers(text: str) -> tuple[float, ...]:
    """Parse one number, or three that are separated by commas.

    Raises:
        ValueError: The text is anything else.
    """
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 3):
        raise ValueError(f"expected one number or three such as 123.7,116.3,103.5, got {text!r}")
    return numbers


command = Command(
    "convert",
    ConvertOptions,
    run,
    description=f"""\
Convert a network to a .tflite file with a manifest. SOURCE is one of
  - the name of a model or network (`edgepose models` lists them)
  - TensorFlow: a frozen graph (.pb), the prefix of a checkpoint, a SavedModel folder
  - Keras: a model (.keras, .h5) or weights (.weights.h5)
  - named arrays (.npz, .npy)
  - an OpenVINO IR (.xml with its .bin) or an ONNX model (.onnx)
  - a PyTorch checkpoint (.pth, .pt) of lightweight-human-pose-estimation.pytorch
  - a .tflite with the right outputs, which gains a manifest

Names of input sizes:
{input_sizes.format_sizes()}""",
    examples="""\
  edgepose convert human-pose-estimation-0001 -o pose.tflite
  edgepose convert graph_opt.pb -o small.tflite --calibration images/ --precision float16
  edgepose convert human-pose-estimation-0001 -o int8.tflite --precision int8 --calibration images/
  edgepose convert train/model-449003 -o mine.tflite --network mobilenet_thin --stages 4
  edgepose convert net.xml -o net.tflite --input-size 16:9-medium --channel-order rgb
  edgepose convert mine.keras -o mine.tflite --value-range 0 1 --source-channel-order rgb
  edgepose convert body25.onnx -o body25.tflite --skeleton body25
  edgepose convert mobilenet_fast --untrained -o speed.tflite
  edgepose convert graph_opt.pb -o small.tflite --calibration images/ --verify val/ --annotations val.json""",
    exit_codes={1: "the file is written, but the verification failed, or with --strict has doubts"},
    parameters=[
        Argument("source", "a name, a file, a folder, or the prefix of a checkpoint", type=ModelName()),
        Option("-o", "--output", required=True, type=PathName(), metavar="OUT.tflite", section="Output",
               help="the file to write"),
        Option("--license", default="", metavar="NAME", section="Output",
               help="license of your own weights, for the manifest"),
        Option("--network", metavar="NAME", section="Network",
               help="the network that the weights in SOURCE belong to; for a graph, a label"),
        Option("--stages", type=Number(int, 1), metavar="K", section="Network",
               help="end the network after its K-th stage (default: the last one)"),
        Option("--untrained", is_flag=True, section="Network", help="random weights, to measure speed"),
        Option("--heatmaps", metavar="NAME", section="Network",
               help="output with the heatmaps, if it is not recognized"),
        Option("--pafs", metavar="NAME", section="Network", help="output with the PAFs, if it is not recognized"),
        Option("--skeleton", default="coco18", type=SkeletonName(), metavar="NAME", section="Network",
               help=f"keypoints and limbs: {', '.join(list_skeletons())}, or a .toml file (default: coco18)"),
        Option("--signature", metavar="NAME", section="Network",
               help="signature of a SavedModel (default: serving_default, or the only one)"),
        Option("--value-range", type=Number(float), nargs=2, metavar="LOW HIGH", section="Source image",
               help="values that the source network expects for the bytes 0 and 255, for example 0 1 or -1 1"),
        Option("--mean", type=Checked(parse_numbers, "numbers"), metavar="X[,X,X]", section="Source image",
               help="subtract this, one number or one per channel, in the channel order of the source network"),
        Option("--scale", type=Checked(parse_numbers, "numbers"), metavar="X[,X,X]", section="Source image",
               help="then divide by this, as in OpenVINO's tools"),
        Option("--source-channel-order", type=Choice(("bgr", "rgb")), section="Source image",
               help="channel order that the source network expects (default: bgr)"),
        Option("--input-size", type=Checked(input_sizes.parse), metavar="WxH", section="Input",
               help="multiples of 8, or a name above (default: the size of the network)"),
        Option("--resize", default="letterbox", type=Choice(get_args(Resize)), section="Input",
               help="how a frame is fitted into the input (default: letterbox)"),
        Option("--channel-order", default="bgr", type=Choice(("bgr", "rgb")), section="Input",
               help="channel order that the converted model expects (default: bgr)"),
        Option("--precision", default="float32", type=Choice((*FLOAT_PRECISIONS, *INTEGER_PRECISIONS)),
               section="Quantization", help="number format of weights and activations (default: float32)"),
        Option("--calibration", type=PathName("dir"), metavar="DIR", section="Quantization",
               help="about 50 ordinary images with people, or a video"),
        Option("--max-drop", default=0.5, type=Number(float, 0, 100), metavar="X", section="Quantization",
               help="loss that `--precision auto` may cause: points of AP, or percent of poses (default: 0.5)"),
        Option("--report", type=PathName(), metavar="PATH", section="Quantization",
               help="write an HTML page about the quantization error: a folder, or a name that ends in .html"),
        Option("--verify", type=PathName("dir"), metavar="DIR", section="Verification",
               help="compare with the source on these images"),
        Option("--annotations", type=PathName(), metavar="JSON", section="Verification",
               help="COCO keypoints of the images of --verify, to measure AP"),
        Option("--empty", type=PathName("dir"), metavar="DIR", section="Verification",
               help="images without people, to choose the minimum pose score"),
        Option("--strict", is_flag=True, section="Verification",
               help="exit with 1 also if the verdict has doubts: nothing compared, little evidence, not checked"),
    ],
)  # fmt: skip
