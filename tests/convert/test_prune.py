"""Channel pruning: the refitted layers are the best ones in the sense of least squares."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgepose.convert.distill import prune
from edgepose.convert.ir import graph as g
from edgepose.runtime.errors import ModelError

from .networks import conv, relu

pytestmark = pytest.mark.once


def make_graph() -> g.Graph:
    nodes: list[g.Node] = [
        g.Input(name="image"),
        conv("first", "image", (3, 3, 3, 8), strides=(2, 2), bias=np.linspace(-1, 1, 8, dtype=np.float32)),
        g.Activation(name="active", inputs=("first",), kind="relu6", cap=np.linspace(1, 4, 8, dtype=np.float32)),
        conv("depthwise", "active", (3, 3, 8, 1), depthwise=True),
        relu("again", "depthwise"),
        conv("second", "again", (3, 3, 8, 6), dilations=(2, 2)),
        relu("last", "second"),
        conv("heatmaps", "last", (1, 1, 6, 19)),
        conv("pafs", "last", (1, 1, 6, 38)),
    ]
    return g.Graph({node.name: node for node in nodes}, "heatmaps", "pafs")


def make_maps(rng: np.random.Generator, channels: int = 8) -> np.ndarray:
    mixed = rng.normal(0, 1, (2, 12, 14, channels)) @ rng.normal(0, 1, (channels, channels)) + rng.normal(
        0, 1, channels
    )
    return mixed.astype(np.float32)


def convolve(node: g.Conv, maps: np.ndarray) -> np.ndarray:
    """Convolve with SAME padding and stride 1, tap by tap."""
    rows, columns = maps.shape[1:3]
    reach = [d * (k - 1) // 2 for d, k in zip(node.dilations, node.kernel.shape[:2], strict=True)]
    padded = np.pad(maps.astype(np.float64), [(0, 0), *((r, r) for r in reach), (0, 0)])
    result = np.zeros((*maps.shape[:3], node.kernel.shape[3])) + (0 if node.bias is None else node.bias)
    for y, x in np.ndindex(*node.kernel.shape[:2]):
        top, left = y * node.dilations[0], x * node.dilations[1]
        result += padded[:, top : top + rows, left : left + columns] @ node.kernel[y, x]
    return result


@pytest.mark.parametrize(("size", "dilation"), [(1, 1), (3, 1), (3, 2)])
def test_the_change_of_the_result_is_the_stated_error(size: int, dilation: int, rng: np.random.Generator) -> None:
    node = conv("second", "x", (size, size, 8, 5), dilations=(dilation, dilation), bias=np.arange(5, dtype=np.float32))
    maps = make_maps(rng)
    moments = prune.compute_second_moments(node, maps, np.ones(maps.shape[:3]))
    same = prune.prune_kernel(node, moments, 8)
    np.testing.assert_allclose(same.kernel, node.kernel, atol=1e-6)
    assert same.error < 1e-9
    pruned = prune.prune_kernel(node, moments, 5)
    assert pruned.kernel.shape == (size, size, 5, 5)
    before = convolve(node, maps)
    smaller = g.Conv(name="x", inputs=("x",), kernel=pruned.kernel, bias=pruned.bias, dilations=(dilation, dilation))
    change = convolve(smaller, maps[..., pruned.channels]) - before
    assert pruned.error == pytest.approx(
        np.mean(change**2) / np.mean((before - before.mean(axis=(0, 1, 2))) ** 2), rel=1e-4
    )
    assert 0 < pruned.error < 1


def test_one_channel_is_the_best_and_the_weights_are_least_squares(rng: np.random.Generator) -> None:
    """Compared with NumPy's least squares over every choice of seven channels."""
    node, maps = conv("second", "x", (1, 1, 8, 5)), make_maps(rng)
    inputs = np.concatenate((maps.reshape(-1, 8), np.ones((maps.size // 8, 1))), axis=1)
    wanted = maps.reshape(-1, 8) @ node.kernel[0, 0]
    choices = {}
    for channels in combinations(range(8), 7):
        solution, *_ = np.linalg.lstsq(inputs[:, [*channels, 8]], wanted, rcond=None)
        choices[channels] = np.mean((inputs[:, [*channels, 8]] @ solution - wanted) ** 2), solution
    best = min(choices, key=lambda channels: choices[channels][0])
    pruned = prune.prune_kernel(node, prune.compute_second_moments(node, maps, np.ones(maps.shape[:3])), 7)
    assert tuple(pruned.channels) == best
    scale = np.abs(choices[best][1]).max()
    np.testing.assert_allclose(pruned.kernel[0, 0], choices[best][1][:7], atol=5e-3 * scale)
    np.testing.assert_allclose(pruned.bias, choices[best][1][7], atol=5e-3 * scale)


def test_channels_that_repeat_others_cost_nothing(rng: np.random.Generator) -> None:
    maps = make_maps(rng, 4)
    maps = np.concatenate((maps, 2 * maps + 1), axis=-1)
    node = conv("second", "x", (1, 1, 8, 5))
    pruned = prune.prune_kernel(node, prune.compute_second_moments(node, maps, np.ones(maps.shape[:3])), 4)
    assert sorted(channel % 4 for channel in pruned.channels) == [0, 1, 2, 3]
    assert pruned.error < 1e-3


def test_positions_of_weight_zero_are_left_out(rng: np.random.Generator) -> None:
    node, maps = conv("second", "x", (3, 3, 8, 5)), make_maps(rng)
    weight = np.zeros(maps.shape[:3])
    weight[0, 5, 6] = 1
    moments = prune.compute_second_moments(node, maps, weight)
    inputs = np.append(maps[0, 4:7, 5:8].transpose(2, 0, 1).reshape(-1), 1)
    np.testing.assert_allclose(moments, np.outer(inputs, inputs), rtol=1e-5)


def test_positions_are_chosen_near_people() -> None:
    heatmaps = np.zeros((1, 40, 40, 18), np.float32)
    heatmaps[0, 8:16, 8:16, 3] = 1
    chosen = prune.choose_positions(heatmaps, np.random.default_rng(0), 100)
    assert chosen.sum() == 100
    share = chosen[0, 6:18, 6:18].mean() / chosen[0, 20:, 20:].mean()
    assert 3 < share < 12


def test_channels_are_removed_in_all_layers_that_make_them(rng: np.random.Generator) -> None:
    graph = make_graph()
    assert prune.list_prunable_convolutions(graph) == ["second"]
    two = graph.substitute({"heatmaps": replace(graph.nodes["heatmaps"], padding="VALID"), "pafs": "heatmaps"})
    assert prune.list_prunable_convolutions(replace(two, heatmaps="heatmaps")) == ["second", "heatmaps"]
    node = graph.nodes["second"]
    assert isinstance(node, g.Conv)
    maps = make_maps(rng)
    moments = {"second": prune.compute_second_moments(node, maps, np.ones(maps.shape[:3]))}
    smaller, lines = prune.prune_graph(graph, moments, {"second": 5})
    assert g.count_channels(smaller) == {
        "image": 3, "first": 5, "active": 5, "depthwise": 5, "again": 5, "second": 6, "last": 6, "heatmaps": 19,
        "pafs": 38,
    }  # fmt: skip
    kept = prune.prune_kernel(node, moments["second"], 5).channels
    first, active = smaller.nodes["first"], smaller.nodes["active"]
    original = graph.nodes["first"]
    assert isinstance(first, g.Conv)
    assert isinstance(original, g.Conv)
    assert isinstance(active, g.Activation)
    np.testing.assert_array_equal(first.kernel, original.kernel[..., kept])
    np.testing.assert_array_equal(active.cap, np.linspace(1, 4, 8, dtype=np.float32)[kept])
    assert lines[0].startswith("second: 8 -> 5 channels, error ")
    with pytest.raises(ModelError, match="removed; expected one of second"):
        prune.prune_graph(graph, moments, {"heatmaps": 3})
    with pytest.raises(ValueError, match="expected 1 to 8 channels to keep, got 9"):
        prune.prune_graph(graph, moments, {"second": 9})


@pytest.mark.convert
def test_the_student_of_a_kit_is_pruned(tmp_path: Path) -> None:
    from edgepose.convert.distill.__main__ import main
    from edgepose.convert.distill.images import Sample, pack_samples
    from edgepose.convert.ir import graph_file

    cv2.imwrite(str(tmp_path / "a.jpg"), np.random.default_rng(0).integers(0, 256, (96, 128, 3)).astype(np.uint8))
    pack_samples([Sample(tmp_path / "a.jpg", np.zeros((0, 18, 2), np.float32))], tmp_path / "images.zip")
    graph_file.save(make_graph(), tmp_path / "student.npz")
    assert main(["prune", str(tmp_path), "--keep", "second=5"]) == 0
    assert g.count_channels(graph_file.load(tmp_path / "student.npz"))["first"] == 5
    assert main(["prune", str(tmp_path), "--keep", "second"]) == 2
    assert main(["prune", str(tmp_path), "--keep", "pafs=3"]) == 2
