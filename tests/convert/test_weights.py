"""Loading weights by name: real networks, files of TensorFlow 1 for every family, invalid files."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from edgepose.convert.importers.weights import collect_weights_by_name, fill_definition, recognize_network
from edgepose.convert.ir import graph as g
from edgepose.convert.ir import stages
from edgepose.convert.networks import define_network
from edgepose.runtime.errors import ModelError

from ..conftest import find_test_data, find_weights
from .tensorflow1 import random_weights, write

PUBLISHED = {
    "mobilenet_v2_small": ("mobilenet_v2_small", 555, 1e-4),
    "human-pose-estimation-0001": ("lightweight", 116, 1e-3),
}


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (1, 64, 96, 3)).astype(np.float32)


def compute_outputs(graph: g.Graph, images: np.ndarray, wanted: tuple[str, ...] = ()) -> list[np.ndarray]:
    from edgepose.convert.exporters import tensorflow

    names = wanted or (graph.heatmaps, graph.pafs)
    results = tensorflow.run_graph(graph, images, names)
    return [results[name].numpy() for name in names]


def assert_same(expected: list[np.ndarray], got: list[np.ndarray], tolerance: float = 1e-4) -> None:
    for a, b in zip(expected, got, strict=True):
        assert np.abs(a).max() > 1e-3
        np.testing.assert_allclose(a, b, atol=tolerance * float(np.abs(a).max()))


@pytest.mark.convert
@pytest.mark.parametrize("published", PUBLISHED)
def test_real_weights_in_our_definition_give_the_published_networks_own_outputs(published: str) -> None:
    """Compare the outputs of every stage on a real image, with batch normalization as published."""
    from edgepose.convert.importers.detect import ImportOptions, find_source

    network, variables, tolerance = PUBLISHED[published]
    source = find_source(str(find_weights(published)))
    original = source.load(ImportOptions()).graph
    imported = source.load(ImportOptions(network=network))
    assert imported.report is not None
    assert len(imported.report.matched_variables) == variables
    assert imported.report.unused_variables == {}
    assert recognize_network(collect_weights_by_name(original), "file") == network
    golden = np.load(sorted((find_test_data("golden") / published).glob("*.npz"))[0])
    image = golden["input_bgr"][None].astype(np.float32)
    pairs = list(zip(stages.find(original), stages.find(imported.graph), strict=True))
    assert len(pairs) == (6 if network == "mobilenet_v2_small" else 2)
    for theirs, ours in pairs:
        for a, b in zip(
            compute_outputs(original, image, theirs), compute_outputs(imported.graph, image, ours), strict=True
        ):
            np.testing.assert_allclose(a, b, atol=tolerance)
    np.testing.assert_allclose(compute_outputs(imported.graph, image)[0][0], golden["heatmaps"], atol=2e-3)


@pytest.mark.convert
@pytest.mark.parametrize(
    "name", ["dsconv", "mobilenet_fast", "mobilenet_thin", "mobilenet_v2_w0.75_r0.5", "lightweight"]
)
def test_files_of_tensorflow_1_are_read(name: str, tmp_path: Path, images: np.ndarray) -> None:
    """Checkpoint by name, frozen graph by name and as a graph give the outputs of TensorFlow 1."""
    from edgepose.convert.importers.detect import ImportOptions, find_source

    definition = define_network(name)
    written = write(definition, random_weights(definition), images, tmp_path)
    expected = [written.heatmaps, written.pafs]
    checkpoint = find_source(str(written.checkpoint)).load(ImportOptions())
    assert checkpoint.network == name
    assert checkpoint.report is not None
    assert {reason: len(names) for reason, names in checkpoint.report.unused_variables.items()} == {
        "optimizer state": 4,
        "training state": 1,
    }
    assert_same(expected, compute_outputs(checkpoint.graph, images))
    for wanted in (ImportOptions(), ImportOptions(network=name)):
        assert_same(expected, compute_outputs(find_source(str(written.frozen)).load(wanted).graph, images))
    two = find_source(str(written.checkpoint)).load(ImportOptions(stages=2))
    assert two.report is not None
    last = stages.find(checkpoint.graph)[1]
    assert_same(compute_outputs(checkpoint.graph, images, last), compute_outputs(two.graph, images))
    if name != "lightweight":
        assert "stages that were cut off" in two.report.unused_variables


@pytest.mark.convert
def test_cmu_is_read_from_its_dictionary_of_dictionaries(tmp_path: Path) -> None:
    """The layout of openpose_coco.npy, pickled as in Python 2. Frozen graphs use the same names."""
    from edgepose.convert.importers.detect import ImportOptions, find_source

    definition = define_network("cmu")
    npz = random_weights(definition)
    nested: dict[str, dict[str, np.ndarray]] = {}
    for name, array in npz.items():
        scope, _, kind = name.rpartition("/")
        nested.setdefault(scope, {})[kind] = array
    np.save(tmp_path / "openpose_coco.npy", np.array(nested, dtype=object), allow_pickle=True)
    imported = find_source(str(tmp_path / "openpose_coco.npy")).load(ImportOptions(stages=1))
    assert imported.network == "cmu"
    filled, _ = fill_definition(definition, npz, "memory")
    first = stages.cut(filled, 1)
    image = np.full((1, 64, 64, 3), 130, np.float32)
    assert_same(compute_outputs(first, image), compute_outputs(imported.graph, image))


@pytest.mark.convert
def test_folded_weights_are_recognized(tmp_path: Path, images: np.ndarray) -> None:
    """Weights of an optimized graph: no batch normalization, convolutions with biases."""
    from edgepose.convert.passes.fold import fold

    definition = define_network("mobilenet_fast")
    whole, _ = fill_definition(definition, random_weights(definition), "memory")
    npz = collect_weights_by_name(fold(whole))
    assert not any("BatchNorm" in name for name in npz)
    np.savez(tmp_path / "folded.npz", **npz)
    from edgepose.convert.importers.detect import ImportOptions, find_source

    imported = find_source(str(tmp_path / "folded.npz")).load(ImportOptions())
    assert imported.report is not None
    assert imported.network == "mobilenet_fast"
    assert len(imported.report.folded_norms) == 58
    assert_same(compute_outputs(whole, images), compute_outputs(imported.graph, images))


@pytest.mark.convert
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras on NumPy 2
@pytest.mark.parametrize("name", ["mobilenet_v2_w0.5_r0.5", "lightweight"])
def test_keras_models_and_weights_are_read_back(name: str, tmp_path: Path, images: np.ndarray) -> None:
    from edgepose.convert.exporters import keras
    from edgepose.convert.importers.detect import ImportOptions, find_source

    definition = define_network(name)
    graph, _ = fill_definition(definition, random_weights(definition), "memory")
    model = keras.to_keras(graph)
    expected = compute_outputs(graph, images)
    results = model(images)
    assert_same(expected, [results["heatmaps"].numpy(), results["pafs"].numpy()])
    model.save_weights(tmp_path / "net.weights.h5")
    imported = find_source(str(tmp_path / "net.weights.h5")).load(ImportOptions(network=name))
    assert_same(expected, compute_outputs(imported.graph, images))
    with pytest.raises(ModelError, match="add --network NAME"):
        find_source(str(tmp_path / "net.weights.h5")).load(ImportOptions())
    with pytest.raises(ModelError, match="cannot read the weights"):
        find_source(str(tmp_path / "net.weights.h5")).load(ImportOptions(network="dsconv"))
    model.save(tmp_path / "net.keras")
    assert_same(expected, compute_outputs(find_source(str(tmp_path / "net.keras")).load(ImportOptions()).graph, images))


@pytest.mark.convert
def test_a_saved_model_is_read_back(tmp_path: Path, images: np.ndarray) -> None:
    import tensorflow as tf

    from edgepose.convert.exporters import tensorflow
    from edgepose.convert.importers.detect import ImportOptions, find_source

    definition = define_network("mobilenet_v2_w0.5_r0.5")
    graph, _ = fill_definition(definition, random_weights(definition), "memory")
    signature = tf.TensorSpec((1, 64, 96, 3), tf.float32, name="image")

    def network(image):  # type: ignore[no-untyped-def]
        results = tensorflow.run_graph(graph, image)
        return {"h": results[graph.heatmaps], "p": results[graph.pafs]}

    concrete = tf.function(network, input_signature=[signature])
    tf.saved_model.save(tf.Module(), str(tmp_path / "sm"), signatures=concrete)
    imported = find_source(str(tmp_path / "sm")).load(ImportOptions())
    assert_same(compute_outputs(graph, images), compute_outputs(imported.graph, images))
    (tmp_path / "sm/saved_model.pb").write_bytes(b"\x0a\x05hello")
    with pytest.raises(ModelError, match="cannot read the SavedModel"):
        find_source(str(tmp_path / "sm")).load(ImportOptions())


def test_missing_wrong_and_non_finite_weights_are_named() -> None:
    definition = define_network("mobilenet_v2_w0.5_r0.5")
    good = random_weights(definition)
    name = "Openpose/MConv_Stage1_L1_1_pointwise/weights"
    assert recognize_network(good, "file") == "mobilenet_v2_small"  # the first variable name of this network
    cases = [
        (
            {k: v for k, v in good.items() if "Stage6" not in k},
            r"of the \d+ variables of .* are missing: Openpose/MConv",
        ),
        ({**good, name: good[name][..., :-1]}, r"weights has the wrong shape: expected \(1, 1, \d+, 64\), got"),
        ({**good, name: good[name].astype(int)}, "expected a floating-point type"),
        ({**good, name: good[name] * np.nan}, "not finite"),
    ]
    for npz, words in cases:
        with pytest.raises(ModelError, match=words):
            fill_definition(definition, npz, "file")
    with pytest.raises(ModelError, match=r"the most similar is mobilenet_v2_\S+, with \d\d%"):
        recognize_network(cases[0][0], "file")
    _, report = fill_definition(
        definition, {**good, "MobilenetV2/expanded_conv_13/expand/weights": good[name], "mine": good[name]}, "file"
    )
    assert report.unused_variables == {
        "layers of the backbone that this network does not use": ("MobilenetV2/expanded_conv_13/expand/weights",),
        "not part of the network": ("mine",),
    }
    assert any("1 unused, not part of the network: mine" in line for line in report.format_lines())


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("__import__('pathlib').Path('harm').touch()",)


def test_files_of_arrays_that_are_damaged_or_harmful_are_one_line(tmp_path: Path, rng: np.random.Generator) -> None:
    from edgepose.convert.importers.detect import ImportOptions, find_source

    def refused(path: Path, words: str) -> None:
        with pytest.raises(ModelError, match=words) as error:
            find_source(str(path)).load(ImportOptions())
        assert "\n" not in str(error.value)

    np.save(tmp_path / "harm.npy", np.array({"a": Harmful()}, dtype=object), allow_pickle=True)
    refused(tmp_path / "harm.npy", r"the pickle imports builtins\.eval; only arrays are accepted")
    assert not Path("harm").exists()
    np.save(tmp_path / "one.npy", np.zeros((3, 4)))
    refused(tmp_path / "one.npy", "expected a dictionary of weights by name")
    np.save(tmp_path / "words.npy", np.array({"a": "b"}, dtype=object), allow_pickle=True)
    refused(tmp_path / "words.npy", "weights a: expected arrays by name, got str")
    np.savez(tmp_path / "other.npz", a=np.zeros(3, np.float32))
    refused(tmp_path / "other.npz", "no known network has these variables")
    np.savez(tmp_path / "empty.npz")
    refused(tmp_path / "empty.npz", "found none")
    np.save(tmp_path / "good.npy", np.array({"a": {"weights": np.zeros(300)}}, dtype=object), allow_pickle=True)
    for name in ("good.npy", "other.npz"):
        whole = (tmp_path / name).read_bytes()
        for _ in range(60):
            damaged = bytearray(whole[: int(rng.integers(1, len(whole) + 1))])
            for place in rng.integers(0, len(damaged), 3):
                damaged[place] = int(rng.integers(256))
            (tmp_path / f"bad{Path(name).suffix}").write_bytes(damaged)
            with pytest.raises(ModelError) as error:
                find_source(str(tmp_path / f"bad{Path(name).suffix}")).load(ImportOptions())
            assert "\n" not in str(error.value)


def test_python_2_pickles_are_read(tmp_path: Path) -> None:
    """Byte strings as names and arrays made by `_reconstruct`, as in NumPy of 2017."""
    from edgepose.convert.importers import npz

    content = np.array({b"conv1_1": {b"weights": np.arange(6, dtype=np.float32).reshape(2, 3)}}, dtype=object)
    with (tmp_path / "old.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        pickle.dump(content, file, protocol=2)
    found = npz.load(tmp_path / "old.npy")
    np.testing.assert_array_equal(found["conv1_1/weights"], [[0, 1, 2], [3, 4, 5]])


@pytest.mark.convert
def test_damaged_checkpoints_are_one_line(tmp_path: Path, images: np.ndarray) -> None:
    from edgepose.convert.importers.detect import ImportOptions, find_source

    definition = define_network("mobilenet_v2_w0.5_r0.5")
    written = write(definition, random_weights(definition), images, tmp_path)
    part = tmp_path / "model-7.data-00000-of-00001"
    whole = part.read_bytes()
    for content in (whole[: len(whole) // 2], b""):
        part.write_bytes(content)
        with pytest.raises(ModelError, match="damaged or incomplete checkpoint") as error:
            find_source(str(written.checkpoint)).load(ImportOptions())
        assert "\n" not in str(error.value)
    part.unlink()
    with pytest.raises(ModelError, match="damaged or incomplete checkpoint"):
        find_source(str(tmp_path / "model-7.index")).load(ImportOptions())
    (tmp_path / "model-7.index").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="damaged or incomplete checkpoint"):
        find_source(str(written.checkpoint)).load(ImportOptions())
    with pytest.raises(ModelError, match="prefix of a checkpoint"):
        find_source(str(tmp_path / "model-8"))
