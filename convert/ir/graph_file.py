"""A `Graph` as one `.npz`: weights as arrays, the rest as JSON. Needs no TensorFlow to be read."""

from __future__ import annotations

import json
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.errors import ModelError
from ...runtime.io import atomic
from . import graph as g

_KINDS = {
    kind.__name__: kind
    for kind in (
        g.Input,
        g.Conv,
        g.BatchNorm,
        g.Affine,
        g.Activation,
        g.Add,
        g.Concat,
        g.MaxPool,
        g.ResizeLike,
        g.Slice,
    )
}


def save(graph: g.Graph, path: Path) -> None:
    """Writes the graph, whole or not at all."""
    arrays: dict[str, Any] = {}
    nodes = []
    for number, node in enumerate(graph.nodes.values()):
        entry: dict[str, Any] = {"type": type(node).__name__}
        for item in fields(node):
            value = getattr(node, item.name)
            if isinstance(value, np.ndarray):
                arrays[f"{number}.{item.name}"] = value
            else:
                entry[item.name] = value
        nodes.append(entry)
    about = json.dumps({"nodes": nodes, "heatmaps": graph.heatmaps, "pafs": graph.pafs})
    with atomic.atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(file, graph=np.frombuffer(about.encode(), np.uint8), **arrays)


def load(path: Path) -> g.Graph:
    """The graph of a file. Raises ModelError where it is damaged or something else."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            about = json.loads(stored["graph"].tobytes())
            nodes: dict[str, g.Node] = {}
            for number, entry in enumerate(about["nodes"]):
                kind = _KINDS[entry.pop("type")]
                values = {name: _tuples(value) for name, value in entry.items()}
                for item in fields(kind):
                    if (key := f"{number}.{item.name}") in stored:
                        values[item.name] = stored[key]
                node = kind(**values)
                nodes[node.name] = node
            return g.Graph(nodes, about["heatmaps"], about["pafs"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: expected a graph written by edgepose: {error}") from None


def _tuples(value: Any) -> Any:
    """JSON has no tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
