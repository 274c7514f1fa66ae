"""`edgepose info`: what a model's manifest says."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..io.printable import printable
from ..model import container, registry
from ..model.manifest import ModelManifest
from .main import Parser


def parser() -> argparse.ArgumentParser:
    """The subcommand's arguments."""
    parser = Parser(
        "info",
        "Shows what is known of a converted model, after checking that the file is intact.",
        "  edgepose info pose.tflite\n  edgepose info pose.tflite --json | jq .accuracy",
    )
    parser.add_argument("model", nargs="?", help="a .tflite, or the name of a model (default: edgepose-tiny)")
    parser.add_argument("--sha256", type=container.check_sha256, metavar="HASH", help="hash the network must have")
    parser.add_argument("--json", action="store_true", help="print the manifest as it lies in the file")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Prints the manifest."""
    path = registry.find_tflite(arguments.model)
    manifest = container.read(path, arguments.sha256)
    print(manifest.to_json() if arguments.json else describe(path, manifest), end="")
    return 0


def describe(path: Path, manifest: ModelManifest) -> str:
    """The manifest for people to read."""
    spec = manifest.input
    rows = [
        ("model", f"{manifest.network}, {manifest.precision}, {manifest.flatbuffer_bytes / 1e6:.1f} MB"),
        ("input", f"{spec.width}x{spec.height} {spec.channel_order.upper()} {spec.dtype}, {spec.resize}"),
        ("maps", f"{manifest.grid[1]}x{manifest.grid[0]} cells of {manifest.stride} pixels, {manifest.skeleton}"),
    ]
    if manifest.macs and manifest.parameters:
        stages = "" if manifest.stages is None else f", {manifest.stages} stage{'s' * (manifest.stages != 1)}"
        cost = f"{manifest.macs / 1e9:.3f} GMAC a frame, {manifest.parameters / 1e6:.2f} M parameters{stages}"
        rows.append(("cost", cost))
    rows.append(("sha256", manifest.flatbuffer_sha256))
    rows.extend(("recipe", step) for step in manifest.recipe)
    if (checked := manifest.verification) is not None:
        errors = f"RMSE heatmaps {checked.heatmaps_rmse:.1e}, PAFs {checked.pafs_rmse:.1e} against the source"
        if checked.heatmaps_sqnr_db is not None and checked.pafs_sqnr_db is not None:
            errors += f" (SQNR {checked.heatmaps_sqnr_db:.1f}, {checked.pafs_sqnr_db:.1f} dB)"
        rows.append(("verified", f"{errors}; {checked.pose_agreement:.1%} of {checked.people} poses agree"))
    if (accuracy := manifest.accuracy) is not None:
        where = f"{accuracy.images} images ({accuracy.dataset}, {accuracy.interpreter})"
        rows.append(("accuracy", f"AP {accuracy.ap:.3f}, AP50 {accuracy.ap50:.3f} on {where}"))
        if checked is not None and checked.source_ap is not None:
            published = "" if checked.published_ap is None else f"; as it was published {checked.published_ap:.3f}"
            rows.append(("", f"AP of the source {checked.source_ap:.3f}{published}"))
    if manifest.untrained:
        rows.append(("source", "none: the weights are random"))
    else:
        rows.append(("source", f"{manifest.source} ({manifest.licence or 'licence unknown'})"))
    # Whoever made the file chose its texts.
    return f"{printable(path)}\n" + "".join(f"  {name:9} {printable(text)}\n" for name, text in rows)
