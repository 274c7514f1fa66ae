"""HTML report about an integer conversion: verdict, quantization error of every layer, heatmaps and poses.

The report is one file: images and the chart are embedded.
"""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...runtime.cli.info import describe_manifest
from ...runtime.decode import Decoder
from ...runtime.io import atomic
from ...runtime.model.manifest import ModelManifest
from ...runtime.types import Image, Quantization
from ...runtime.visualize.draw import draw_poses
from ..quantize.integer import QuantizedNetwork
from . import proof, sqnr_chart
from .layer_errors import MapError
from .proof import Candidate
from .verdict import Verdict

_SHOWN_IMAGES = 3
_CANDIDATE_IMAGES = 24
"""Images of which those with the most people are shown."""
_JPEG_QUALITY = 88
_STYLE = """
:root { color-scheme: light }
body { font: 16px/1.5 system-ui, sans-serif; margin: 1.5em auto; max-width: 64em; padding: 0 1em; color: #222;
  background: #fff }
h1 { font-size: 1.6em; margin: 0 0 .6em } h2 { font-size: 1.2em; margin: 2em 0 .4em }
img { max-width: 100%; display: block }
figure { margin: 0 0 1.5em } figcaption { color: #555; font-size: .9em }
.verdict { border-left: .5em solid; border-radius: .3em; padding: .7em 1em }
.verdict h2 { margin: 0 } .verdict p, .verdict ul { margin: .4em 0 0 } .verdict ul { padding-left: 1.2em }
.good { background: #e8f5e9; border-color: #1b7f3b } .good h2 { color: #14652e }
.bad { background: #fdecea; border-color: #b00020 } .bad h2 { color: #b00020 }
.scroll { overflow-x: auto } svg { display: block; min-width: 60em; width: 100%; height: auto }
table { border-collapse: collapse; font-size: .85em; white-space: nowrap }
td, th { padding: .15em .9em .15em 0; text-align: right } td:first-child, th:first-child { text-align: left }
tbody tr:nth-child(even) { background: #f7f7f7 }
.facts { margin-top: 1em; white-space: normal }
.facts td { text-align: left; overflow-wrap: anywhere; width: 100% } .facts th { vertical-align: top }
.low { color: #b00020; font-weight: 600 }
"""
_LOW_DB = 10.0
"""Lower ratios are marked in the table."""


def choose_path(wanted: Path, model: Path) -> Path:
    """Return the file of the report: `wanted` if it ends in .html, otherwise NAME.report.html in that folder."""
    if wanted.suffix.lower() in (".html", ".htm") and not wanted.is_dir():
        return wanted
    return wanted / f"{model.stem}.report.html"


def write(path: Path, candidate: Candidate, manifest: ModelManifest, errors: list[MapError], verdict: Verdict) -> None:
    """Write the report; its folder is made if it does not exist.

    Args:
        path: File to write.
        candidate: Integer network.
        manifest: Its manifest with the results of the verification.
        errors: Error of every stored map.
        verdict: Verdict about the conversion.

    Raises:
        OutputError: The file cannot be written.
    """
    atomic.make_folder(path.parent)
    atomic.write_text(path, _format_page(manifest, errors, _draw_images(candidate, manifest), verdict))


def _draw_images(candidate: Candidate, manifest: ModelManifest) -> list[Image]:
    """Draw maps and poses of source and result for the calibration images with the most people."""
    assert isinstance(candidate.quantized, QuantizedNetwork)
    estimator = proof.load_estimator(candidate)
    decoder, reference = Decoder(*manifest.grid, manifest.skeleton_table), candidate.load_reference()
    keypoint_count = len(manifest.skeleton_table.keypoints)
    sheets: list[tuple[int, Image]] = []
    calibration = candidate.quantized.calibration_images
    for name in calibration.names[:: max(1, len(calibration) // _CANDIDATE_IMAGES)]:
        image = calibration.read_image(name)
        to_frame = estimator.compute_grid_to_frame(image)
        expected, result = reference.infer(image), estimator.infer(image)
        panels = [
            _draw_heatmaps(expected.heatmaps[..., :keypoint_count], Quantization()),
            _draw_heatmaps(result.heatmaps[..., :keypoint_count], result.heatmap_quantization),
        ]
        poses = [decoder.decode(fields, to_frame) for fields in (expected, result)]
        del result
        drawn = [draw_poses(image, people, manifest.skeleton_table) for people in poses]
        sheets.append((len(poses[0]), _combine(panels, drawn)))
    sheets.sort(key=lambda entry: -entry[0])
    return [sheet for _, sheet in sheets[:_SHOWN_IMAGES]]


def _draw_heatmaps(heatmaps: Any, quantization: Quantization) -> Image:
    """Draw the largest keypoint value of every cell, from dark to bright."""
    gray = np.clip(quantization.dequantize(heatmaps).max(axis=-1) * 255, 0, 255).astype(np.uint8)
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


def _format_page(manifest: ModelManifest, errors: list[MapError], images: list[Image], verdict: Verdict) -> str:
    title = html.escape(f"{manifest.network}, {manifest.precision}")
    figures = "".join(
        f"<figure><img src='{_embed(image)}' alt='heatmaps and poses of source and model'>"
        "<figcaption>float source on the left, this model on the right</figcaption></figure>"
        for image in images
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{title}</title><style>{_STYLE}</style>\n"
        f"<h1>{title}</h1>\n{_format_verdict(verdict)}\n{_format_facts(manifest)}\n"
        "<h2>Signal-to-noise ratio along the network</h2>"
        "<p>Measured on the calibration images with the largest area of people. Higher is better; "
        f"below {_LOW_DB:.0f} dB the noise of a map is visible in the poses.</p>"
        f"<div class=scroll>{sqnr_chart.draw_chart(errors)}</div>\n"
        f"<h2>Heatmaps and poses</h2>{figures}\n<h2>Every stored map</h2>{_format_table(errors)}</html>\n"
    )


def _format_verdict(verdict: Verdict) -> str:
    kind, word = ("good", "Passed") if verdict.ok else ("bad", "Failed")
    lists = [("Doubts", verdict.doubts), ("Advice", verdict.advice)]
    details = "".join(
        f"<p>{name}:</p><ul>{''.join(f'<li>{html.escape(line)}' for line in lines)}</ul>"
        for name, lines in lists
        if lines
    )
    return f"<section class='verdict {kind}'><h2>{word}</h2><p>{html.escape(verdict.reason)}</p>{details}</section>"


def _format_facts(manifest: ModelManifest) -> str:
    """Format the lines of `edgepose info` as a table: 2 spaces, 9 characters for the name, a space, the text."""
    lines = describe_manifest(Path(manifest.network), manifest).splitlines()[1:]
    rows = "".join(f"<tr><th>{html.escape(line[2:11].strip())}<td>{html.escape(line[12:])}" for line in lines)
    return f"<table class=facts>{rows}</table>"


def _format_table(errors: list[MapError]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(e.name)}<td>{_format_db(e.sqnr_db)}<td>{_format_db(e.isolated_db)}<td>{e.params.dtype}"
        f"<td>{e.params.value_range[0]:.4g}<td>{e.params.value_range[1]:.4g}<td>{e.params.scale:.3g}<td>{e.params.zero_point}"
        for e in errors
    )
    head = "<tr><th>map<th>SQNR, dB<th>operator alone, dB<th>type<th>min<th>max<th>scale<th>zero point"
    return f"<div class=scroll><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>"


def _format_db(value: float) -> str:
    return f"<span class=low>{value:.1f}</span>" if value < _LOW_DB else f"{value:.1f}"


def _embed(image: Image) -> str:
    """Return an image as a data URL."""
    _, encoded = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"
