"""`edgepose convert`: the command line of the conversion."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import get_args

from ...runtime.cli.info import describe
from ...runtime.cli.main import Parser
from ...runtime.preprocess import Resize
from ..exporters.tflite import PRECISIONS
from ..ir import input_sizes
from ..quantize.integer import INTEGER


def parser() -> argparse.ArgumentParser:
    """The subcommand's arguments."""
    parser = Parser(
        "convert",
        "Makes a self-describing .tflite of a network by its name (`edgepose models` lists them), of a TensorFlow\n"
        "frozen graph (.pb), checkpoint (its prefix) or SavedModel (its folder), of a Keras model (.keras, .h5) or\n"
        "its weights (.weights.h5), of named arrays (.npz, .npy), of an OpenVINO IR (.xml with its .bin), or of a\n"
        f".tflite with the right outputs, which gains a manifest. Sizes by name:\n{input_sizes.listing()}",
        "  edgepose convert human-pose-estimation-0001 -o pose.tflite\n"
        "  edgepose convert graph_opt.pb -o small.tflite --calibration images/ --precision float16\n"
        "  edgepose convert human-pose-estimation-0001 -o int8.tflite --precision int8 --calibration images/\n"
        "  edgepose convert train/model-449003 -o mine.tflite --network mobilenet_thin --stages 4\n"
        "  edgepose convert net.xml -o net.tflite --input-size 16:9-medium --channel-order rgb\n"
        "  edgepose convert mobilenet_fast --untrained -o speed.tflite\n"
        "  edgepose convert graph_opt.pb -o small.tflite --calibration images/ --verify val/ --annotations val.json",
    )
    parser.add_argument("source", metavar="SOURCE", help="a name, a file, a folder or a checkpoint's prefix")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="OUT.tflite", help="the file to write")
    parser.add_argument("--network", metavar="NAME", help="whose weights SOURCE holds; else a label")
    parser.add_argument("--stages", type=int, metavar="K", help="end the network after its K-th stage")
    parser.add_argument("--untrained", action="store_true", help="random weights, for measuring speed")
    parser.add_argument("--precision", choices=(*PRECISIONS, *INTEGER), default="float32", help="default: float32")
    parser.add_argument(
        "--max-drop", type=float, default=0.5, metavar="X", help="what auto may lose: points of AP, or percent of poses"
    )
    parser.add_argument("--report", type=Path, metavar="DIR", help="write a page about what an integer precision lost")
    parser.add_argument(
        "--input-size", type=_size, metavar="WxH", help="multiples of 8, or a name above (default: the network's)"
    )
    parser.add_argument("--resize", choices=get_args(Resize), default="letterbox", help="how a frame is fitted in")
    parser.add_argument("--channel-order", choices=("bgr", "rgb"), default="bgr", help="of the images it will be given")
    parser.add_argument("--heatmaps", metavar="NAME", help="the output with the heatmaps, where it is not recognized")
    parser.add_argument("--pafs", metavar="NAME", help="the output with the PAFs, where it is not recognized")
    parser.add_argument(
        "--calibration", type=Path, metavar="DIR", help="some 50 ordinary images with people, or a video"
    )
    parser.add_argument("--verify", type=Path, metavar="DIR", help="compare with the source on these images")
    parser.add_argument("--annotations", type=Path, metavar="JSON", help="COCO keypoints of --verify's images, for AP")
    parser.add_argument(
        "--empty", type=Path, metavar="DIR", help="images without people, to choose the minimum pose score"
    )
    parser.add_argument("--licence", default="", metavar="NAME", help="of weights of yours, for the manifest")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Converts; 1 where the result lies outside the tolerance of its precision."""
    if arguments.annotations is not None and arguments.verify is None:
        raise ValueError("--annotations goes with --verify, the folder of the annotated images")
    if (arguments.heatmaps is None) != (arguments.pafs is None):
        raise ValueError("--heatmaps and --pafs go together: give both or neither")
    if arguments.stages is not None and arguments.stages < 1:
        raise ValueError(f"--stages: expected 1 or more, got {arguments.stages}")
    if arguments.untrained and (arguments.verify or arguments.network):
        raise ValueError("--untrained takes the name of a network and neither --network nor --verify")
    if not 0 <= arguments.max_drop <= 100:
        raise ValueError(f"--max-drop: expected 0 to 100, got {arguments.max_drop:g}")
    from ..convert import Options, check_output, convert
    from ..importers import detect

    check_output(arguments.output)
    options = Options(
        network=arguments.network,
        stages=arguments.stages,
        precision=arguments.precision,
        input_size=arguments.input_size,
        resize=arguments.resize,
        channel_order=arguments.channel_order,
        heatmaps=arguments.heatmaps,
        pafs=arguments.pafs,
        calibration=arguments.calibration,
        max_drop=arguments.max_drop,
        report=arguments.report,
        verify=arguments.verify,
        annotations=arguments.annotations,
        empty=arguments.empty,
        licence=arguments.licence,
    )
    source = (detect.untrained if arguments.untrained else detect.find)(arguments.source)
    result = convert(source, arguments.output, options, note)
    print(describe(result.path, result.manifest), end="")
    for shortfall in result.shortfalls:
        print(f"edgepose: verification failed: {shortfall}", file=sys.stderr)
    return 1 if result.shortfalls else 0


def note(message: str) -> None:
    """Tells the user what is being done."""
    print(f"edgepose: {message}", file=sys.stderr, flush=True)


def _size(text: str) -> tuple[int, int]:
    try:
        return input_sizes.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
