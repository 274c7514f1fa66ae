"""`.npz` file format for a `Graph`: weights as arrays, everything else as JSON. TensorFlow is not needed."""

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

_NODE_TYPES = {
    node_type.__name__: node_type
    for node_type in (
        g.Input,
        g.Conv,
        g.BatchNorm,
        g.Affine,
        g.Activation,
        g.Add,
        g.Multiply,
        g.Concat,
        g.MaxPool,
        g.ResizeLike,
        g.DepthToSpace,
        g.Slice,
    )
}


def save(graph: g.Graph, path: Path) -> None:
    """Write a graph to a file. The file appears complete or not at all.

    Raises:
        OutputError: The file cannot be written.
    """
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
    header = json.dumps({"nodes": nodes, "heatmaps": graph.heatmaps, "pafs": graph.pafs})
    with atomic.replace_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, graph=np.frombuffer(header.encode(), np.uint8), **arrays)


def load(path: Path) -> g.Graph:
    """Read a graph from a file.

    Raises:
        ModelError: The file is damaged or is not a graph that `save` wrote.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            header = json.loads(stored["graph"].tobytes())
            nodes: dict[str, g.Node] = {}
            for number, entry in enumerate(header["nodes"]):
                node_type = _NODE_TYPES[entry.pop("type")]
                values = {name: _to_tuples(value) for name, value in entry.items()}
                for item in fields(node_type):
                    if (key := f"{number}.{item.name}") in stored:
                        values[item.name] = stored[key]
                node = node_type(**values)
                nodes[node.name] = node
            return g.Graph(nodes, header["heatmaps"], header["pafs"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: expected a graph written by edgepose: {error}") from None


def _to_tuples(value: Any) -> Any:
    """Convert lists to tuples, recursively: JSON has no tuples."""
    return tuple(map(_to_tuples, value)) if isinstance(value, list) else value
