"""The command `edgepose info`: show the manifest of a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..io.printable import make_printable
from ..model import container, registry
from ..model.manifest import ModelManifest, Verification
from .command import Argument, Checked, Command, ModelName, Option


@dataclass(frozen=True)
class InfoOptions:
    """Values of the command line of `edgepose info`."""

    model: str | None
    sha256: str | None
    json: bool


def run(options: InfoOptions) -> int:
    """Print the manifest of a model."""
    path = registry.find_model_file(options.model)
    manifest = container.read(path, options.sha256)
    print(manifest.to_json() if options.json else describe_manifest(path, manifest), end="")
    return 0


def describe_manifest(path: Path, manifest: ModelManifest) -> str:
    """Format a manifest as text, one line per fact."""
    spec, skeleton = manifest.input, manifest.skeleton
    layout = " NCHW" if spec.layout == "nchw" else ""
    if manifest.skeleton_definition is not None:
        own = manifest.skeleton_definition
        skeleton += f" ({len(own.keypoints)} keypoints, {len(own.limbs)} limbs)"
    precision = "precision unknown" if manifest.precision == "unknown" else manifest.precision
    rows = [
        ("model", f"{manifest.network}, {precision}, {manifest.flatbuffer_bytes / 1e6:.1f} MB"),
        ("input", f"{spec.width}x{spec.height} {spec.channel_order.upper()} {spec.dtype}{layout}, {spec.resize}"),
        ("maps", f"{manifest.grid[1]}x{manifest.grid[0]} cells of {manifest.stride} pixels, {skeleton}"),
    ]
    if manifest.macs and manifest.parameters:
        stages = "" if manifest.stages is None else f", {manifest.stages} stage{'s' * (manifest.stages != 1)}"
        cost = f"{manifest.macs / 1e9:.3f} GMAC per frame, {manifest.parameters / 1e6:.2f} M parameters{stages}"
        rows.append(("cost", cost))
    rows.append(("sha256", manifest.flatbuffer_sha256))
    rows.extend(("recipe", step) for step in manifest.recipe)
    if (checked := manifest.verification) is not None:
        errors = f"RMSE heatmaps {checked.heatmaps_rmse:.1e}, PAFs {checked.pafs_rmse:.1e} against the source"
        if checked.heatmaps_sqnr_db is not None and checked.pafs_sqnr_db is not None:
            errors += f" (SQNR {checked.heatmaps_sqnr_db:.1f}, {checked.pafs_sqnr_db:.1f} dB)"
        rows.append(("verified", errors))
        rows.append(("", _describe_agreement(checked)))
    if (accuracy := manifest.accuracy) is not None:
        where = f"{accuracy.images} images ({accuracy.dataset}, {accuracy.interpreter})"
        rows.append(("accuracy", f"AP {accuracy.ap:.3f}, AP50 {accuracy.ap50:.3f} on {where}"))
        if checked is not None and checked.source_ap is not None:
            published = "" if checked.published_ap is None else f"; as published {checked.published_ap:.3f}"
            rows.append(("", f"AP of the source {checked.source_ap:.3f}{published}"))
    if manifest.untrained:
        rows.append(("source", "none: the weights are random"))
    else:
        rows.append(("source", f"{manifest.source} ({manifest.license or 'license unknown'})"))
    # The texts come from the file and may hold control characters.
    return f"{make_printable(path)}\n" + "".join(f"  {name:9} {make_printable(text)}\n" for name, text in rows)


def _describe_agreement(checked: Verification) -> str:
    where = f"{checked.images} image{'s' * (checked.images != 1)}"
    if not checked.people:
        return f"no poses to compare: the source finds nobody in {where}"
    if checked.pose_ap is None:  # manifests of edgepose before this measure
        return f"{checked.pose_agreement:.1%} of {checked.people} poses agree in {where}"
    same = f"{checked.pose_agreement:.0%} of {checked.people} poses are the same (OKS 0.85)"
    return f"agreement with the poses of the source {checked.pose_ap:.3f} (AP) in {where}; {same}"


command = Command(
    "info",
    InfoOptions,
    run,
    description="Show the manifest of a converted model, after checking that the file is intact.",
    examples="""\
  edgepose info pose.tflite
  edgepose info pose.tflite --json | jq .accuracy""",
    parameters=[
        Argument("model", "a .tflite file, or the name of a model (default: edgepose-tiny)", required=False,
                 type=ModelName()),
        Option("--sha256", type=Checked(container.check_sha256), metavar="HASH", section="Model",
               help="SHA-256 that the network must have"),
        Option("--json", is_flag=True, section="Output",
               help="print the manifest as JSON (docs/reference/message.md)"),
    ],
)  # fmt: skip
