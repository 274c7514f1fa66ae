"""The page about an integer conversion: where its error comes from, and what it does to maps and poses."""

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
from ..quantize.integer import Quantized
from .layer_errors import MapError
from .proof import Candidate

_SHOWN = 3
"""Images that maps and poses are shown of."""
_TRIED = 24
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em; color: #222 }
img { max-width: 100% } table { border-collapse: collapse } td, th { padding: 0 .8em 0 0; text-align: right }
td:first-child, th:first-child { text-align: left } pre { background: #f4f4f4; padding: 1em; white-space: pre-wrap }
.bad { color: #b00020; font-weight: 600 }
"""


def write(
    folder: Path, candidate: Candidate, manifest: ModelManifest, errors: list[MapError], shortfalls: list[str]
) -> None:
    """Writes `index.html` and its images into `folder`. Raises OutputError where that cannot be."""
    atomic.make_folder(folder)
    _plot(folder / "sqnr.png", errors)
    shown = _images(folder, candidate, manifest)
    atomic.write_text(folder / "index.html", _page(manifest, errors, shown, shortfalls))


def _plot(path: Path, errors: list[MapError]) -> None:
    """Signal to noise along the network."""
    try:
        import matplotlib as mpl
    except ModuleNotFoundError as error:
        raise MissingExtraError("--report", "convert", error) from None
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(14, 5))
    along = range(len(errors))
    axes.plot(along, [error.sqnr_db for error in errors], label="with everything before it", color="#1565c0")
    axes.plot(along, [error.alone_db for error in errors], ".", label="the operator alone", color="#ef6c00")
    worst = sorted(along, key=lambda i: errors[i].alone_db)[:5]
    for i in worst:
        axes.annotate(errors[i].name, (i, errors[i].alone_db), fontsize=7, rotation=20, va="top")
    axes.set_xlabel("stored maps, from the image to the results")
    axes.set_ylabel("signal to noise, dB")
    axes.set_ylim(0, 70)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right")
    figure.tight_layout()
    with atomic.atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    plt.close(figure)


def _images(folder: Path, candidate: Candidate, manifest: ModelManifest) -> list[str]:
    """Maps and poses of source and result side by side, of the calibration images with most people."""
    assert isinstance(candidate.integers, Quantized)
    model = folder / "model.tflite"
    container.write(model, candidate.flatbuffer, manifest)
    try:
        estimator = PoseEstimator(model)
    finally:
        model.unlink()
    decoder, reference = Decoder(*manifest.grid, manifest.skeleton_table), candidate.reference()
    found: list[tuple[int, Image]] = []
    calibration = candidate.integers.calibration
    for name in calibration.names[:: max(1, len(calibration) // _TRIED)]:
        image = calibration.image(name)
        to_frame = estimator.grid_to_frame(image)
        wanted, got = reference.fields(image), estimator.infer(image)
        panels = [_heat(wanted.heatmaps, Quantization()), _heat(got.heatmaps, got.heatmap_quantization)]
        poses = [decoder.decode(fields, to_frame) for fields in (wanted, got)]
        del got
        drawn = [draw_poses(image, people, manifest.skeleton_table) for people in poses]
        found.append((len(poses[0]), _sheet(panels, drawn)))
    found.sort(key=lambda entry: -entry[0])
    names = []
    for number, (_, sheet) in enumerate(found[:_SHOWN], 1):
        names.append(f"image{number}.png")
        write_image(folder / names[-1], sheet)
    return names


def _heat(heatmaps: Any, quantization: Quantization) -> Image:
    """The strongest keypoint of every cell, dark to bright."""
    real = (np.asarray(heatmaps[..., :-1], np.float32) - quantization.zero_point) * np.float32(quantization.scale)
    gray = np.clip(real.max(axis=-1) * 255, 0, 255).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(gray, cv2.COLORMAP_INFERNO), np.uint8)


def _sheet(panels: list[Image], drawn: list[Image]) -> Image:
    """Source at the left, result at the right; heatmaps above, poses below."""
    height, width = drawn[0].shape[:2]
    size = (560, round(560 * height / width))
    rows = []
    for pair, mode in ((panels, cv2.INTER_NEAREST), (drawn, cv2.INTER_AREA)):
        rows_of = size[1] if pair is drawn else round(560 * panels[0].shape[0] / panels[0].shape[1])
        rows.append(np.hstack([cv2.resize(one, (size[0], rows_of), interpolation=mode) for one in pair]))
    return np.vstack(rows)


def _page(manifest: ModelManifest, errors: list[MapError], shown: list[str], shortfalls: list[str]) -> str:
    title = html.escape(f"{manifest.network}, {manifest.precision}")
    verdict = "".join(f"<p class=bad>{html.escape(line)}</p>" for line in shortfalls) or "<p>Within its tolerance.</p>"
    rows = "".join(
        f"<tr><td>{html.escape(e.name)}<td>{e.sqnr_db:.1f}<td>{e.alone_db:.1f}<td>{e.code.kind}"
        f"<td>{e.code.ends[0]:.4g}<td>{e.code.ends[1]:.4g}<td>{e.code.scale:.3g}<td>{e.code.zero_point}"
        for e in errors
    )
    images = "".join(f"<p><img src={name} alt='source and result'>" for name in shown)
    about = html.escape(describe_manifest(Path(f"{manifest.network}.tflite"), manifest))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>\n"
        f"<h1>{title}</h1>{verdict}<pre>{about}</pre>\n"
        "<h2>Signal to noise along the network</h2><p>On the calibration images with most people.</p>"
        "<p><img src=sqnr.png alt='signal to noise of every map'>\n"
        "<h2>Maps and poses</h2><p>Float source at the left, this file at the right.</p>"
        f"{images}\n<h2>Every stored map</h2>"
        "<table><tr><th>map<th>dB<th>alone<th>kind<th>least<th>largest<th>scale<th>zero point"
        f"{rows}</table></html>\n"
    )
