"""HTML report about an integer conversion: quantization error of every layer, heatmaps and poses."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...runtime import PoseEstimator
from ...runtime.cli.info import describe_manifest
from ...runtime.decode import Decoder
from ...runtime.errors import MissingExtraError
from ...runtime.io import atomic
from ...runtime.io.images import write_image
from ...runtime.model import container
from ...runtime.model.manifest import ModelManifest
from ...runtime.types import Image, Quantization
from ...runtime.visualize.draw import draw_poses
from ..quantize.integer import QuantizedNetwork
from .layer_errors import MapError
from .proof import Candidate

_SHOWN_IMAGES = 3
_CANDIDATE_IMAGES = 24
"""Images of which those with the most people are shown."""
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em; color: #222 }
img { max-width: 100% } table { border-collapse: collapse } td, th { padding: 0 .8em 0 0; text-align: right }
td:first-child, th:first-child { text-align: left } pre { background: #f4f4f4; padding: 1em; white-space: pre-wrap }
.bad { color: #b00020; font-weight: 600 }
"""


def write(
    folder: Path, candidate: Candidate, manifest: ModelManifest, errors: list[MapError], shortfalls: list[str]
) -> None:
    """Write `index.html` and its images into a folder, which is made if it does not exist.

    Args:
        folder: Folder of the report.
        candidate: Integer network.
        manifest: Its manifest with the results of the verification.
        errors: Error of every stored map.
        shortfalls: Results outside the tolerance, one sentence each.

    Raises:
        OutputError: The folder cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    atomic.make_folder(folder)
    _plot_errors(folder / "sqnr.png", errors)
    image_names = _write_images(folder, candidate, manifest)
    atomic.write_text(folder / "index.html", _format_page(manifest, errors, image_names, shortfalls))


def _plot_errors(path: Path, errors: list[MapError]) -> None:
    """Plot the SQNR of every stored map in the order of the network."""
    try:
        import matplotlib as mpl
    except ModuleNotFoundError as error:
        raise MissingExtraError("--report", "convert", error) from None
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(14, 5))
    positions = range(len(errors))
    axes.plot(positions, [error.sqnr_db for error in errors], label="accumulated error", color="#1565c0")
    axes.plot(
        positions, [error.isolated_db for error in errors], ".", label="error of the operator alone", color="#ef6c00"
    )
    worst = sorted(positions, key=lambda i: errors[i].isolated_db)[:5]
    for i in worst:
        axes.annotate(errors[i].name, (i, errors[i].isolated_db), fontsize=7, rotation=20, va="top")
    axes.set_xlabel("stored maps, from input to output")
    axes.set_ylabel("signal-to-noise ratio (dB)")
    axes.set_ylim(0, 70)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right")
    figure.tight_layout()
    with atomic.replace_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    plt.close(figure)


def _write_images(folder: Path, candidate: Candidate, manifest: ModelManifest) -> list[str]:
    """Draw maps and poses of source and result for the calibration images with the most people; return file names."""
    assert isinstance(candidate.quantized, QuantizedNetwork)
    model = folder / "model.tflite"
    container.write(model, candidate.flatbuffer, manifest)
    try:
        estimator = PoseEstimator(model)
    finally:
        model.unlink()
    decoder, reference = Decoder(*manifest.grid, manifest.skeleton_table), candidate.load_reference()
    sheets: list[tuple[int, Image]] = []
    calibration = candidate.quantized.calibration_images
    for name in calibration.names[:: max(1, len(calibration) // _CANDIDATE_IMAGES)]:
        image = calibration.read_image(name)
        to_frame = estimator.compute_grid_to_frame(image)
        expected, result = reference.infer(image), estimator.infer(image)
        panels = [
            _draw_heatmaps(expected.heatmaps, Quantization()),
            _draw_heatmaps(result.heatmaps, result.heatmap_quantization),
        ]
        poses = [decoder.decode(fields, to_frame) for fields in (expected, result)]
        del result
        drawn = [draw_poses(image, people, manifest.skeleton_table) for people in poses]
        sheets.append((len(poses[0]), _combine(panels, drawn)))
    sheets.sort(key=lambda entry: -entry[0])
    names = []
    for number, (_, sheet) in enumerate(sheets[:_SHOWN_IMAGES], 1):
        names.append(f"image{number}.png")
        write_image(folder / names[-1], sheet)
    return names


def _draw_heatmaps(heatmaps: Any, quantization: Quantization) -> Image:
    """Draw the largest keypoint value of every cell, from dark to bright."""
    real = (np.asarray(heatmaps[..., :-1], np.float32) - quantization.zero_point) * np.float32(quantization.scale)
    gray = np.clip(real.max(axis=-1) * 255, 0, 255).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(gray, cv2.COLORMAP_INFERNO), np.uint8)


def _combine(panels: list[Image], drawn: list[Image]) -> Image:
    """Combine four images: source at the left, result at the right, heatmaps above, poses below."""
    height, width = drawn[0].shape[:2]
    size = (560, round(560 * height / width))
    rows = []
    for pair, mode in ((panels, cv2.INTER_NEAREST), (drawn, cv2.INTER_AREA)):
        row_height = size[1] if pair is drawn else round(560 * panels[0].shape[0] / panels[0].shape[1])
        rows.append(np.hstack([cv2.resize(image, (size[0], row_height), interpolation=mode) for image in pair]))
    return np.vstack(rows)


def _format_page(manifest: ModelManifest, errors: list[MapError], image_names: list[str], shortfalls: list[str]) -> str:
    title = html.escape(f"{manifest.network}, {manifest.precision}")
    verdict = (
        "".join(f"<p class=bad>{html.escape(line)}</p>" for line in shortfalls)
        or "<p>All results are within the tolerance.</p>"
    )
    rows = "".join(
        f"<tr><td>{html.escape(e.name)}<td>{e.sqnr_db:.1f}<td>{e.isolated_db:.1f}<td>{e.params.dtype}"
        f"<td>{e.params.value_range[0]:.4g}<td>{e.params.value_range[1]:.4g}<td>{e.params.scale:.3g}<td>{e.params.zero_point}"
        for e in errors
    )
    images = "".join(f"<p><img src={name} alt='source and result'>" for name in image_names)
    about = html.escape(describe_manifest(Path(f"{manifest.network}.tflite"), manifest))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>\n"
        f"<h1>{title}</h1>{verdict}<pre>{about}</pre>\n"
        "<h2>Signal-to-noise ratio along the network</h2><p>Measured on the calibration images that show the most of "
        "people.</p><p><img src=sqnr.png alt='signal-to-noise ratio of every map'>\n"
        "<h2>Maps and poses</h2><p>Float source at the left, this model at the right.</p>"
        f"{images}\n<h2>Every stored map</h2>"
        "<table><tr><th>map<th>SQNR, dB<th>operator alone, dB<th>type<th>min<th>max<th>scale<th>zero point"
        f"{rows}</table></html>\n"
    )
