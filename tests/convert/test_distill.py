"""Training of the default models: augmented views, training targets, the network in PyTorch (if it is installed)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgepose.convert.distill import cached_teacher
from edgepose.convert.distill.images import Sample, pack_samples, read_samples, unpack_samples
from edgepose.convert.distill.views import AUGMENTATIONS, ViewGenerator, draw_annotated_maps, get_mirror_order
from edgepose.runtime.errors import InputError
from edgepose.runtime.skeleton import COCO18
from edgepose.runtime.synthetic.fields import place_people, render_fields

pytestmark = pytest.mark.once
ROW = "0 0.5 0.5 0.2 0.4 " + " ".join("0.5 0.25 2" for _ in range(17))


def test_rows_of_labels_become_people(tmp_path: Path) -> None:
    for number in (7, 8, 9):
        cv2.imwrite(str(tmp_path / f"{number:012}.jpg"), np.zeros((60, 80, 3), np.uint8))
    (tmp_path / "000000000007.txt").write_text(f"{ROW}\n{ROW.replace('0.5 0.25 2', '0 0 0', 1)}\n")
    (tmp_path / "ids.txt").write_text("7\n8\n")
    first, second = read_samples(tmp_path, tmp_path, tmp_path / "ids.txt")
    assert first.people.shape == (2, 18, 2)
    assert np.allclose(first.people[0], (0.5, 0.25)), "the neck lies between the shoulders"
    assert np.isnan(first.people[1, COCO18.keypoints.index("nose")]).all()
    assert second.people.shape == (0, 18, 2)
    (tmp_path / "000000000007.txt").write_text("0 1 2\n")
    with pytest.raises(InputError, match="expected rows of 56"):
        read_samples(tmp_path, tmp_path)


def test_mirroring_swaps_left_and_right() -> None:
    order = get_mirror_order()
    assert [order[i] for i in order] == list(range(18)), "twice is nothing"
    names = COCO18.keypoints
    assert names[order[names.index("right_wrist")]] == "left_wrist"
    assert order[names.index("nose")] == names.index("nose")


def test_keypoints_are_transformed_with_the_image(tmp_path: Path) -> None:
    """In every augmented view of an image with one bright dot, the keypoint is at the dot."""
    image = np.zeros((240, 320, 3), np.uint8)
    cv2.circle(image, (200, 90), 6, (255, 255, 255), -1, cv2.LINE_AA)
    cv2.imwrite(str(tmp_path / "dot.png"), image)
    person = np.full((1, 18, 2), np.nan, np.float32)
    person[0, 0] = (200.5 / 320, 90.5 / 240)
    views = ViewGenerator([Sample(tmp_path / "dot.png", person)], 192, seed=3)
    seen = 0
    for _ in range(60):
        view, people, _ = views._transform_randomly(image, person * np.array((320, 240), np.float32))
        if np.isnan(people[0, 0]).any():
            continue
        mask = (view.min(axis=2) > 230) & (view.max(axis=2) > 230)
        x, y = people[0, 0]
        if not (15 < x < 177 and 15 < y < 177):
            continue
        rows, columns = np.nonzero(mask[int(y) - 14 : int(y) + 15, int(x) - 14 : int(x) + 15])
        assert len(rows), "the dot is near its keypoint"
        where = columns.mean() + int(x) - 14 + 0.5, rows.mean() + int(y) - 14 + 0.5
        assert np.hypot(where[0] - x, where[1] - y) < 2.5
        seen += 1
    assert seen > 20


def test_missing_keypoints_add_no_targets(rng: np.random.Generator) -> None:
    people = place_people(2, 30, 40, rng)
    partial = people.copy()
    partial[0, 4] = np.nan
    heatmaps, pafs = render_fields(partial, 30, 40)
    assert np.isfinite(heatmaps).all()
    assert np.isfinite(pafs).all()
    whole, _ = render_fields(people, 30, 40)
    only, _ = render_fields(people[1:], 30, 40)
    assert np.array_equal(heatmaps[:, :, 4], only[:, :, 4])
    assert np.array_equal(heatmaps[:, :, 3], whole[:, :, 3])


def test_targets_use_the_grid_of_the_heatmaps() -> None:
    people = np.full((1, 18, 2), np.nan, np.float32)
    people[0, 0] = (8 * 10 + 4, 8 * 5 + 4)
    heatmaps, _ = draw_annotated_maps(people, 20, 8, 0.9)
    assert np.unravel_index(heatmaps[:, :, 0].argmax(), (20, 20)) == (5, 10)
    assert heatmaps[5, 10, 0] == pytest.approx(1)


@pytest.mark.parametrize("seed", range(6))
def test_cached_maps_follow_the_view(seed: int, tmp_path: Path) -> None:
    """Maps drawn for the whole image, resampled for a random view, equal maps drawn in the view."""
    image, people = np.zeros((480, 640, 3), np.uint8), place_people(1, 480, 640, np.random.default_rng(seed))
    sample = Sample(tmp_path / "image.png", people / np.array((640, 480), np.float32))
    cv2.imwrite(str(sample.path), image)
    parts = []
    for width, height in cached_teacher.compute_sizes(640, 480):
        cells = sample.people * np.array((width, height), np.float32) / 8 - 0.5
        fields = render_fields(cells.astype(np.float32), height // 8, width // 8, sigma=1.6)
        parts.append(cached_teacher._pack(*fields).reshape(-1))
    np.save(tmp_path / "image.npy", np.concatenate(parts))
    view = ViewGenerator([sample], 288, seed, AUGMENTATIONS["mild"]).generate(0)
    heatmaps, pafs = cached_teacher.CachedTeacher(tmp_path, 288).compute_maps(sample, view.transform)
    inside = np.nonzero(~np.isnan(view.people[0, :, 0]))[0]
    for keypoint in inside:
        x, y = view.people[0, keypoint] / 8 - 0.5
        if 2 < x < 33 and 2 < y < 33:
            row, column = np.unravel_index(heatmaps[:, :, keypoint].argmax(), (36, 36))
            assert np.hypot(column - x, row - y) < 1.1, COCO18.keypoints[keypoint]
    strong = 0
    for limb in COCO18.limbs:
        start, end = view.people[0, [limb.a, limb.b]] / 8 - 0.5
        middle, length = (start + end) / 2, np.hypot(*(end - start))
        if length > 3 and ((middle > 1) & (middle < 34)).all():
            column, row = np.rint(middle).astype(int)
            found = pafs[row, column, [limb.paf_x, limb.paf_y]]
            assert np.hypot(*found) > 0.3
            assert found @ (end - start) / length > 0.95 * np.hypot(*found), "from the first keypoint to the second"
            strong += 1
    assert strong > 3


@pytest.mark.convert
@pytest.mark.parametrize("network", ["mobilenet_v2_small", "lightweight"])
def test_pytorch_and_tensorflow_give_the_same_results(network: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra `train`)")
    from edgepose.convert.distill.torch_graph import GraphModule
    from edgepose.convert.exporters import tensorflow
    from edgepose.convert.networks import define_network
    from edgepose.convert.passes import fold
    from edgepose.convert.passes.random_weights import fill
    from edgepose.convert.passes.simplify import simplify

    graph = simplify(fold.fold(fill(define_network(network).graph)))
    module = GraphModule(graph)
    image = np.random.default_rng(0).integers(0, 256, (1, 96, 128, 3)).astype(np.float32)
    wanted = tensorflow.run_graph(graph, image)
    with torch.no_grad():
        made = module(torch.from_numpy(np.ascontiguousarray(image.transpose(0, 3, 1, 2))), (graph.heatmaps, graph.pafs))
    back = tensorflow.run_graph(module.to_graph(), image)
    for name in (graph.heatmaps, graph.pafs):
        reference = np.asarray(wanted[name])
        scale = np.abs(reference).max()
        assert np.abs(made[name].numpy().transpose(0, 2, 3, 1) - reference).max() < 1e-4 * scale
        assert np.abs(np.asarray(back[name]) - reference).max() < 1e-4 * scale


def test_images_are_stored_in_one_archive(tmp_path: Path) -> None:
    for number in (7, 8):
        cv2.imwrite(str(tmp_path / f"{number:012}.jpg"), np.full((480, 640, 3), 20 * number, np.uint8))
    (tmp_path / "000000000007.txt").write_text(f"{ROW}\n")
    samples = read_samples(tmp_path, tmp_path)
    pack_samples(samples, tmp_path / "images.zip")
    back = unpack_samples(tmp_path / "images.zip", tmp_path / "out")
    assert [len(sample.people) for sample in back] == [1, 0]
    assert np.allclose(back[0].people, samples[0].people, equal_nan=True)
    assert cv2.imread(str(back[0].path)).shape == (240, 320, 3)
    (tmp_path / "other.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match="packed for training"):
        unpack_samples(tmp_path / "other.zip", tmp_path / "out")


@pytest.mark.parametrize("network", ["mobilenet_v2_small", "lightweight"])
def test_a_graph_is_read_back_unchanged(network: str, tmp_path: Path) -> None:
    from edgepose.convert.ir import graph_file
    from edgepose.convert.networks import define_network
    from edgepose.convert.passes.random_weights import fill
    from edgepose.runtime.errors import ModelError

    graph = fill(define_network(network).graph)
    graph_file.save(graph, tmp_path / "graph.npz")
    back = graph_file.load(tmp_path / "graph.npz")
    assert list(back.nodes) == list(graph.nodes)
    assert (back.heatmaps, back.pafs) == (graph.heatmaps, graph.pafs)
    for name, node in graph.nodes.items():
        assert repr(back.nodes[name]) == repr(node)
        if hasattr(node, "kernel"):
            assert np.array_equal(back.nodes[name].kernel, node.kernel)
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelError, match="expected a graph"):
        graph_file.load(tmp_path / "bad.npz")


@pytest.mark.convert
def test_a_teacher_during_training_gives_the_same_targets(tmp_path: Path) -> None:
    """Targets computed by the teacher during training (on a GPU) equal the targets that were computed before."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra `train`)")
    from edgepose.convert.distill.targets import BatchTeacher, TrainingExample, make_example, merge_targets
    from edgepose.convert.networks import define_network
    from edgepose.convert.passes import fold
    from edgepose.convert.passes.random_weights import fill
    from edgepose.convert.passes.simplify import simplify

    graph = simplify(fold.fold(fill(define_network("lightweight").graph)))
    people = place_people(1, 12, 12, np.random.default_rng(0)) * 8 + 4
    view = np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8)
    alone = make_example(view, people, None)
    assert alone.heatmaps.shape == (19, 12, 12)
    batch = TrainingExample(*(torch.from_numpy(part[None]) for part in alone))
    oracle = BatchTeacher(graph, "cpu")
    finished = oracle.add_teacher_maps(batch, batch.view.float())
    with torch.no_grad():
        made = oracle._network(batch.view.float(), (graph.heatmaps, graph.pafs))
    planes = [made[name][0].permute(1, 2, 0) for name in (graph.heatmaps, graph.pafs)]
    known = [torch.from_numpy(part.transpose(1, 2, 0).copy()) for part in (alone.heatmaps, alone.pafs)]
    wanted = merge_targets(*planes, *known, axis=-1)
    for ours, theirs in zip(finished[1:], wanted, strict=True):
        assert torch.equal(ours[0], theirs.permute(2, 0, 1))
    assert (finished.heatmaps[0, :18] >= batch.heatmaps[0, :18]).all()


@pytest.mark.convert
def test_training_continues_from_its_checkpoint(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra `train`)")
    from edgepose.convert.distill.targets import TrainingExample
    from edgepose.convert.distill.train import Schedule, Trainer
    from edgepose.convert.networks import define_network
    from edgepose.convert.passes import fold
    from edgepose.convert.passes.random_weights import fill
    from edgepose.convert.passes.simplify import simplify

    graph = simplify(fold.fold(fill(define_network("mobilenet_v2_small").cut(1).graph)))
    rng = np.random.default_rng(1)
    batch = TrainingExample(
        rng.integers(0, 256, (2, 3, 64, 64)).astype(np.uint8),
        rng.random((2, 19, 8, 8), np.float32),
        rng.random((2, 38, 8, 8), np.float32),
    )
    schedule = Schedule(400, batch_size=2, learning_rate=3e-3, warm_up_views=4, quantized_share=0.5)
    torch.manual_seed(0)
    training = Trainer(graph, schedule)
    first = training.train_on_batch(batch)
    for _ in range(20):
        last = training.train_on_batch(batch)
    assert last < first
    training.save_checkpoint(tmp_path / "checkpoint.pt")
    again = Trainer(graph, schedule)
    again.load_checkpoint(tmp_path / "checkpoint.pt")
    assert again.views_seen == training.views_seen
    assert again.train_on_batch(batch) == pytest.approx(training.train_on_batch(batch), rel=1e-3)
    assert not again.is_quantized
    linear = Schedule(1000, 10, 1e-3, warm_up_views=200, is_linear=True)
    rates = [1e3 * linear.compute_learning_rate(seen) for seen in (0, 200, 600, 1000)]
    assert rates == pytest.approx([10 / 210, 1, 0.5, 0.02])
    again.views_seen = 390
    assert again.is_quantized
    assert np.isfinite(again.train_on_batch(batch)), "with simulated integers"
