"""Network definitions, compared with real weights, published figures and their own docstrings."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from edgepose.convert.ir import graph as g
from edgepose.convert.ir import macs, stages
from edgepose.convert.networks import NETWORKS, define_network
from edgepose.convert.networks.builder import NetworkBuilder
from edgepose.runtime.errors import ModelError

from ..conftest import find_weights

HEIGHT, WIDTH = 368, 432


def read_documented_costs() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in sorted((Path(__file__).parent.parent.parent / "convert/networks").glob("*.py")):
        for line in path.read_text().splitlines():
            name, *figures = line.split() or [""]
            if name in NETWORKS and len(figures) >= 3 and re.fullmatch(r"[\d.]+", figures[0]):
                found[name] = figures
    return found


def test_every_networks_docstring_gives_its_true_cost() -> None:
    tables = read_documented_costs()
    assert tables.keys() == NETWORKS.keys()
    for name, (*widths, gmac, parameters, _) in tables.items():
        graph = define_network(name).graph
        assert gmac == f"{macs.count(graph, HEIGHT, WIDTH) / 1e9:.2f}", name
        assert parameters == f"{graph.parameters / 1e6:.2f}", name
        if widths:
            options = NETWORKS[name].keywords  # type: ignore[attr-defined]
            assert widths == [f"{options['width']:.2f}", f"{options['stage_width']:.2f}"], name


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_gives_maps_of_the_right_shape(name: str) -> None:
    graph = define_network(name).graph
    channels, sizes = g.count_channels(graph), macs.compute_sizes(graph, HEIGHT, WIDTH)
    stride = 4 if name in ("mobilenet", "mobilenet_fast", "mobilenet_accurate") else 8
    for output, expected in ((graph.heatmaps, 19), (graph.pafs, 38)):
        assert channels[output] == expected
        assert sizes[output] == (HEIGHT // stride, WIDTH // stride)
    expected_stages = 2 if name.startswith("lightweight") else 5 if stride == 4 else 6
    assert len(stages.find(graph)) == expected_stages


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_has_one_name(name: str) -> None:
    definition = define_network(name)
    names = [variable.name for variable in definition.variables]
    assert len(names) == len(set(names))
    convolutions = [node for node in definition.graph.nodes.values() if isinstance(node, g.Conv)]
    assert {variable.node for variable in definition.variables} >= {conv.name for conv in convolutions}
    kernels = sum(int(np.prod(v.shape)) for v in definition.variables if v.attribute == "kernel")
    assert kernels == sum(conv.kernel.size for conv in convolutions)


def test_mobilenet_thin_has_exactly_the_variables_of_upstreams_training_graph() -> None:
    """models/graph/mobilenet_thin/graph.pb of tf-pose-estimation at 9aaf347 has 359 variables.

    The digest is computed from their sorted names and shapes.
    """
    variables = sorted((v.name, v.shape) for v in define_network("mobilenet_thin").variables if v.required)
    assert len(variables) == 359
    text = "\n".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in variables)
    assert (
        hashlib.sha256(text.encode()).hexdigest() == "debe20de6f3bfd543baacedef3933a9a5a4c55fa1693d5cd3eff5a83a2b77bf3"
    )


def test_lightweight_has_the_published_number_of_parameters() -> None:
    """4.099 million parameters, from the Open Model Zoo page of human-pose-estimation-0001."""
    assert round(define_network("lightweight").graph.parameters / 1e6, 3) == 4.099


def test_macs_of_the_stages_of_mobilenet_v2_small() -> None:
    """Compare GMAC after each stage with the reference figures."""
    graph = define_network("mobilenet_v2_small").graph
    costs = [macs.count(stages.cut(graph, k), HEIGHT, WIDTH) / 1e9 for k in range(1, 7)]
    assert [round(cost, 3) for cost in costs] == [0.404, 0.525, 0.645, 0.766, 0.886, 1.006]


def test_mobilenet_v2_large_has_the_kernels_of_real_weights() -> None:
    """Kernel shapes and their counts equal those of a TFLite file of this network with int8 kernels."""
    from edgepose.runtime.model.interpreter import choose_interpreter

    path = find_weights("pinto_mobilenet_v2_1.4")
    details = choose_interpreter()[1](model_path=str(path)).get_tensor_details()
    stored = sorted(tuple(d["shape"]) for d in details if d["dtype"] == np.int8 and len(d["shape"]) == 4)
    nodes = define_network("mobilenet_v2_large").graph.nodes.values()
    ours = []
    for conv in nodes:
        if isinstance(conv, g.Conv):
            rows, columns, inside, outside = conv.kernel.shape
            ours.append((1, rows, columns, inside) if conv.depthwise else (outside, rows, columns, inside))
    assert len(stored) > 50
    left = sorted(ours)
    for shape in stored:
        left.remove(tuple(int(side) for side in shape))


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(ModelError, match="did you mean mobilenet_thin"):
        define_network("mobilnet_thin")


def test_duplicate_names_and_unused_layers_are_refused() -> None:
    b = NetworkBuilder()
    b.add_conv("a", "image", 19)
    with pytest.raises(ValueError, match="two nodes"):
        b.add_conv("a", "image", 19)
    heatmaps, pafs = b.add_conv("h", "image", 19), b.add_conv("p", "image", 38)
    with pytest.raises(ValueError, match="no output needs"):
        b.build("x", heatmaps, pafs)


def test_a_network_is_cut_with_its_variables() -> None:
    whole = define_network("mobilenet_thin")
    two = whole.cut(2)
    assert not any("Stage3" in variable.name for variable in two.variables)
    assert {v.node for v in two.variables} <= set(two.graph.nodes)
    assert two.cut(1).graph.parameters < two.graph.parameters < whole.graph.parameters
    for wrong in (0, 7, -1):
        with pytest.raises(ModelError, match="expected 1 to 6"):
            whole.cut(wrong)
