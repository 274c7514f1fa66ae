"""PyTorch checkpoints of Lightweight OpenPose: compared with PyTorch, and files that are refused."""

from __future__ import annotations

import io
import itertools
import os
import pickle
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepose.convert.importers import torch_checkpoint
from edgepose.convert.importers.detect import ImportOptions, find_source
from edgepose.convert.ir import graph as g
from edgepose.convert.networks.lightweight_pytorch import define_lightweight_pytorch
from edgepose.runtime.errors import MissingExtraError, ModelError

torch = pytest.importorskip("torch", reason="needs the extra `train`")
pytestmark = pytest.mark.convert
State = dict[str, Any]


def make_state(stages: int) -> State:
    """Return random weights with the names and shapes of lightweight-human-pose-estimation.pytorch."""
    generator = torch.Generator().manual_seed(3)
    state: State = {}

    def add_conv(name: str, inside: int, outside: int, kernel: int, *, bias: bool = True, groups: int = 1) -> None:
        shape = (outside, inside // groups, kernel, kernel)
        deviation = (2 / (kernel * kernel * inside / groups)) ** 0.5
        state[f"{name}.weight"] = torch.randn(shape, generator=generator) * deviation
        if bias:
            state[f"{name}.bias"] = torch.randn(outside, generator=generator) * 0.1

    def add_norm(name: str, channels: int) -> None:
        rows = torch.rand(4, channels, generator=generator)
        state[f"{name}.weight"], state[f"{name}.bias"] = rows[0] + 0.5, rows[1] - 0.5
        state[f"{name}.running_mean"], state[f"{name}.running_var"] = rows[2] - 0.5, rows[3] + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    widths = (32, 64, 128, 128, 256, 256, *[512] * 6)
    add_conv("model.0.0", 3, 32, 3, bias=False)
    add_norm("model.0.1", 32)
    for number, (inside, outside) in enumerate(itertools.pairwise(widths), 1):
        add_conv(f"model.{number}.0", inside, inside, 3, bias=False, groups=inside)
        add_norm(f"model.{number}.1", inside)
        add_conv(f"model.{number}.3", inside, outside, 1, bias=False)
        add_norm(f"model.{number}.4", outside)
    add_conv("cpm.align.0", 512, 128, 1)
    for number in range(3):
        add_conv(f"cpm.trunk.{number}.0", 128, 128, 3, bias=False, groups=128)
        add_conv(f"cpm.trunk.{number}.2", 128, 128, 1, bias=False)
    add_conv("cpm.conv.0", 128, 128, 3)
    for number in range(3):
        add_conv(f"initial_stage.trunk.{number}.0", 128, 128, 3)
    for scope, inside in (("initial_stage", 512), *((f"refinement_stages.{stage}", 128) for stage in range(stages))):
        for branch, maps in (("heatmaps", 19), ("pafs", 38)):
            add_conv(f"{scope}.{branch}.0.0", 128, inside, 1)
            add_conv(f"{scope}.{branch}.1.0", inside, maps, 1)
    for stage in range(stages):
        for number in range(5):
            scope = f"refinement_stages.{stage}.trunk.{number}"
            add_conv(f"{scope}.initial.0", 185 if number == 0 else 128, 128, 1)
            for layer in (0, 1):
                add_conv(f"{scope}.trunk.{layer}.0", 128, 128, 3)
                add_norm(f"{scope}.trunk.{layer}.1", 128)
    return state


def run_torch(state: State, image: Any, stages: int) -> list[np.ndarray]:
    """Compute heatmaps and PAFs with PyTorch's functions, in the order of axes of the graph."""
    f = torch.nn.functional

    def convolve(name: str, x: Any, **options: Any) -> Any:
        return f.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **options)

    def normalize(name: str, x: Any) -> Any:
        rows = [state[f"{name}.{row}"] for row in ("running_mean", "running_var", "weight", "bias")]
        return f.relu(f.batch_norm(x, *rows))

    def run_branches(scope: str, x: Any) -> list[Any]:
        return [
            convolve(f"{scope}.{branch}.1.0", f.relu(convolve(f"{scope}.{branch}.0.0", x)))
            for branch in ("heatmaps", "pafs")
        ]

    x = normalize("model.0.1", convolve("model.0.0", (image - 128) / 256, stride=2, padding=1))
    for number in range(1, 12):
        stride, dilation = 2 if number in (2, 4) else 1, 2 if number == 7 else 1
        depthwise = convolve(
            f"model.{number}.0", x, stride=stride, padding=dilation, dilation=dilation, groups=x.shape[1]
        )
        x = normalize(f"model.{number}.4", convolve(f"model.{number}.3", normalize(f"model.{number}.1", depthwise)))
    aligned = x = f.relu(convolve("cpm.align.0", x))
    for number in range(3):
        x = f.elu(convolve(f"cpm.trunk.{number}.0", x, padding=1, groups=128))
        x = f.elu(convolve(f"cpm.trunk.{number}.2", x))
    features = x = f.relu(convolve("cpm.conv.0", aligned + x, padding=1))
    for number in range(3):
        x = f.relu(convolve(f"initial_stage.trunk.{number}.0", x, padding=1))
    maps = run_branches("initial_stage", x)
    for stage in range(stages):
        x = torch.cat([features, *maps], 1)
        for number in range(5):
            scope = f"refinement_stages.{stage}.trunk.{number}"
            x = initial = f.relu(convolve(f"{scope}.initial.0", x))
            for layer, dilation in ((0, 1), (1, 2)):
                padded = convolve(f"{scope}.trunk.{layer}.0", x, padding=dilation, dilation=dilation)
                x = normalize(f"{scope}.trunk.{layer}.1", padded)
            x = initial + x
        maps = run_branches(f"refinement_stages.{stage}", x)
    return [result.numpy().transpose(0, 2, 3, 1) for result in maps]


def assert_same(expected: list[np.ndarray], graph: g.Graph, image: Any) -> None:
    from edgepose.convert.exporters import tensorflow

    results = tensorflow.run_graph(graph, image.numpy().transpose(0, 2, 3, 1))
    for a, name in zip(expected, (graph.heatmaps, graph.pafs), strict=True):
        b = results[name].numpy()
        assert np.abs(a).max() > 1e-3
        assert np.abs(a - b).max() <= 1e-4 * np.abs(a).max()


@pytest.fixture(scope="module")
def state() -> State:
    return make_state(1)


@pytest.fixture(scope="module")
def image() -> Any:
    return torch.randint(0, 256, (1, 3, 48, 72), generator=torch.Generator().manual_seed(1)).float()


@pytest.mark.parametrize("network", [None, "lightweight", "lightweight_pytorch"])
def test_a_checkpoint_of_training_gives_the_results_of_pytorch(
    network: str | None, tmp_path: Path, state: State, image: Any
) -> None:
    optimizer = {"state": {0: {"step": 5, "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 4e-5}]}
    parallel = {f"module.{name}": tensor for name, tensor in state.items()}
    scheduler = {"milestones": Counter([100000]), "last_epoch": 3}
    content = {"state_dict": parallel, "optimizer": optimizer, "scheduler": scheduler, "iter": 370000}
    torch.save(content, tmp_path / "checkpoint_iter_370000.pth")
    source = find_source(str(tmp_path / "checkpoint_iter_370000.pth"))
    imported = source.load(ImportOptions(network=network))
    assert (source.kind, imported.network) == ("PyTorch checkpoint", "lightweight_pytorch")
    assert imported.report is not None
    assert imported.report.unused_variables == {}
    assert len(imported.report.matched_variables) == len(define_lightweight_pytorch("x").variables)
    assert_same(run_torch(state, image, 1), imported.graph, image)


def test_three_refinement_stages_and_the_format_of_early_versions(tmp_path: Path, image: Any) -> None:
    state = make_state(3)
    torch.save(state, tmp_path / "net.pt", _use_new_zipfile_serialization=False)
    source = find_source(str(tmp_path / "net.pt"))
    assert_same(run_torch(state, image, 3), source.load(ImportOptions()).graph, image)
    cut = source.load(ImportOptions(stages=2))
    assert cut.report is not None
    assert list(cut.report.unused_variables) == ["stages that were cut off"]
    assert_same(run_torch(state, image, 1), cut.graph, image)


def test_half_precision_becomes_float(tmp_path: Path, state: State) -> None:
    halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    torch.save(halves, tmp_path / "net.pth")
    graph = find_source(str(tmp_path / "net.pth")).load(ImportOptions()).graph
    kernel = graph.nodes["cpm.conv.0/Conv2D"].kernel  # type: ignore[attr-defined]
    assert kernel.dtype == np.float32
    np.testing.assert_allclose(kernel, state["cpm.conv.0.weight"].permute(2, 3, 1, 0), atol=1e-3)


class Attack:
    """Object whose pickle creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path, state: State) -> None:
    path, created = tmp_path / "net.pth", tmp_path / "created"
    pickle.loads(pickle.dumps(Attack(created)))
    assert created.exists()  # the attack works
    created.rmdir()
    for content in (Attack(created), {"state_dict": {**state, "x": Attack(created)}}, {Attack(created): 1}):
        for new_format in (True, False):
            torch.save(content, path, _use_new_zipfile_serialization=new_format)
            with pytest.raises(ModelError, match=r"refused, because its pickle uses posix\.mkdir; expected a plain"):
                find_source(str(path)).load(ImportOptions())
    path.write_bytes(pickle.dumps(Attack(created)))
    with pytest.raises(ModelError, match="this is a Python pickle; it is not loaded, because it can run code"):
        find_source(str(path))
    assert not created.exists()


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Conv2d(3, 3, 1), tmp_path / "net.pth")
    with pytest.raises(ModelError, match=r"its pickle uses torch\.nn\.modules\.conv\.Conv2d; .*net\.state_dict\(\)"):
        find_source(str(tmp_path / "net.pth")).load(ImportOptions())


def test_other_networks_and_wrong_weights_are_named(tmp_path: Path, state: State) -> None:
    path = tmp_path / "net.pth"
    cases: list[tuple[Any, str]] = [
        ({"conv1.weight": torch.zeros(3)}, r"found conv1\.weight; export other networks with torch\.onnx\.export"),
        ({k: v for k, v in state.items() if k != "cpm.trunk.1.2.weight"}, r"1 of the 207 .* missing: cpm\.trunk\.1\.2"),
        ({**state, "cpm.align.0.weight": torch.zeros(64, 512, 1, 1)}, r"expected \(1, 1, 512, 128\), got \(1, 1, 512"),
        ({**state, "refinement_stages.0.trunk.0.trunk.0.0.bias": torch.zeros(3)}, r"bias has the wrong shape"),
        ({**state, "cpm.align.0.bias": torch.full((128,), torch.nan)}, "not finite"),
        ({**state, "refinement_stages.12.x": torch.zeros(1)}, "at most 8 refinement stages, got 13"),
        ({**state, "x": torch.zeros(1).expand(1 << 20, 1 << 10)}, "expected at most 67108864 elements"),
        ({**state, "x": torch.zeros(3, 3).to_sparse()}, "x is not a dense tensor"),
        ({**state, "x": 5}, "'x' is not a tensor"),
        ([1, 2], "the checkpoint has list"),
        ({}, "the checkpoint has dict"),
    ]
    for content, message in cases:
        torch.save(content, path)
        with pytest.raises(ModelError, match=message) as error:
            find_source(str(path)).load(ImportOptions())
        assert "\n" not in str(error.value)
    with pytest.raises(ModelError, match=r"expected --network lightweight_pytorch .*got cmu"):
        find_source(str(path)).load(ImportOptions(network="cmu"))


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepose.convert.importers.limits.MAX_FILE_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "net.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data.pkl", bytes(1 << 21))
    with pytest.raises(ModelError, match="expected at most 1048576"):
        torch_checkpoint.load(tmp_path / "net.pth", None)


@pytest.mark.parametrize("new_format", [True, False])
def test_damaged_checkpoints_are_one_line(new_format: bool, tmp_path: Path, rng: np.random.Generator) -> None:
    content = io.BytesIO()
    small = {"cpm.align.0.weight": torch.ones(2, 2, 1, 1), "initial_stage.trunk.0.0.weight": torch.ones(3)}
    torch.save({"state_dict": small}, content, _use_new_zipfile_serialization=new_format)
    whole, path = content.getvalue(), tmp_path / "net.pth"
    for _ in range(150):
        damaged = bytearray(whole[: int(rng.integers(1, len(whole) + 1))] if rng.random() < 0.3 else whole)
        for place in rng.integers(0, len(damaged), 3):
            damaged[place] = int(rng.integers(256))
        path.write_bytes(damaged)
        for read in (lambda: find_source(str(path)), lambda: torch_checkpoint.load(path, None)):
            try:
                read()
            except ModelError as error:
                assert "\n" not in str(error)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: State) -> None:
    torch.save(state, tmp_path / "net.pth")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[train\]"):
        torch_checkpoint.load(tmp_path / "net.pth", None)
