"""Keras models and SavedModels as other people write them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepose.convert.ir import graph as g
from edgepose.runtime.errors import ModelError

pytestmark = [pytest.mark.convert, pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")]


def make_model(middle: list[Any] | None = None, first: list[Any] | None = None, size: int | None = None) -> Any:
    """Make a small model with other layers in front of it and in the middle."""
    import tensorflow as tf

    layers = tf.keras.layers
    image = tf.keras.Input((size, size, 3))
    x = image
    for layer in first or []:
        x = layer(x)
    x = layers.Conv2D(8, 3, 4, "same")(x)
    for layer in middle or []:
        x = layer(x)
    return tf.keras.Model(image, [layers.Conv2D(19, 1, name="h")(x), layers.Conv2D(38, 1, name="p")(x)])


def check_same_maps(model: Any, path: Path) -> g.Graph:
    from edgepose.convert.exporters import tensorflow
    from edgepose.convert.importers import saved_model

    for layer in model.layers:
        if type(layer).__name__ == "PReLU":
            layer.set_weights(
                [np.linspace(-0.3, 0.5, w.size, dtype=np.float32).reshape(w.shape) for w in layer.get_weights()]
            )
    model.save(path)
    graph = saved_model.load_keras_model(path)
    image = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3)).astype(np.float32)
    results = tensorflow.run_graph(graph, image)
    for name, expected in zip((graph.heatmaps, graph.pafs), model(image), strict=True):
        np.testing.assert_allclose(results[name], expected, atol=2e-5 * np.abs(expected).max())
    return graph


def list_layers() -> dict[str, tuple[list[Any], list[Any]]]:
    import tensorflow as tf

    layers = tf.keras.layers
    return {
        "nearest": ([layers.UpSampling2D(2)], []),
        "bilinear": ([layers.UpSampling2D(2, interpolation="bilinear")], []),
        "prelu": ([layers.PReLU(shared_axes=[1, 2])], []),
        "leaky": ([layers.LeakyReLU(0.1), layers.Activation("leaky_relu")], []),
        "swish": ([layers.Activation("swish")], []),
        "hard_swish": ([layers.Activation("hard_swish")], []),
        "hard_sigmoid": ([layers.Activation("hard_sigmoid")], []),
        "rescaling": ([], [layers.Rescaling(1 / 127.5, -1)]),
        "normalization": ([], [layers.Normalization(mean=[1.0, 20, 300], variance=[4.0, 500, 60])]),
    }


@pytest.mark.parametrize(
    "name",
    ["nearest", "bilinear", "prelu", "leaky", "swish", "hard_swish", "hard_sigmoid", "rescaling", "normalization"],
)
def test_layers_are_imported_exactly(name: str, tmp_path: Path) -> None:
    middle, first = list_layers()[name]
    graph = check_same_maps(make_model(middle, first), tmp_path / "net.keras")
    assert graph.input.size is None


def test_the_fixed_size_of_a_model_is_read(tmp_path: Path) -> None:
    assert check_same_maps(make_model(size=64), tmp_path / "net.h5").input.size == (64, 64)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_python_code_is_refused_before_keras_reads_the_file(suffix: str, tmp_path: Path) -> None:
    import tensorflow as tf

    from edgepose.convert.importers import saved_model

    path = tmp_path / f"net{suffix}"
    make_model(first=[tf.keras.layers.Lambda(lambda x: x / 255)]).save(path)
    with pytest.raises(ModelError, match=r"Lambda layer .*: it holds Python code, which is not executed") as caught:
        saved_model.load_keras_model(path)
    assert "\n" not in str(caught.value)


def test_functions_outside_keras_are_refused(tmp_path: Path) -> None:
    from edgepose.convert.importers import saved_model

    make_model().save(tmp_path / "net.keras")
    with zipfile.ZipFile(tmp_path / "net.keras") as source, zipfile.ZipFile(tmp_path / "bad.keras", "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                config = json.loads(content)
                config["config"]["layers"][1] |= {"module": "os", "class_name": "function", "config": "system"}
                content = json.dumps(config).encode()
            target.writestr(name, content)
    with pytest.raises(ModelError, match="Python module 'os', which is not executed"):
        saved_model.load_keras_model(tmp_path / "bad.keras")


def test_signatures_are_chosen_by_name(tmp_path: Path) -> None:
    import tensorflow as tf

    from edgepose.convert.exporters import tensorflow
    from edgepose.convert.importers import saved_model

    kernel = np.random.default_rng(2).normal(0, 0.2, (3, 3, 3, 57)).astype(np.float32)

    class Network(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None, 3, 64, 64], tf.float32, name="image")])
        def nchw(self, image: Any) -> Any:
            maps = tf.nn.conv2d(tf.transpose(image, [0, 2, 3, 1]), kernel, 8, "SAME")
            return {"maps": tf.transpose(maps, [0, 3, 1, 2])}

        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="image")])
        def rgb(self, image: Any) -> Any:
            maps = tf.nn.conv2d(tf.cast(image, tf.float32)[..., ::-1], kernel, 8, "SAME")
            heatmaps, pafs = tf.split(maps, [19, 38], -1)
            return {"a": pafs, "b": heatmaps}

    network = Network()
    tf.saved_model.save(network, str(tmp_path / "two"), signatures={"nchw": network.nchw, "rgb": network.rgb})
    image = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3)).astype(np.float32)
    expected = {"nchw": network.nchw(image.transpose(0, 3, 1, 2))["maps"].numpy().transpose(0, 2, 3, 1)}
    expected["rgb"] = np.concatenate([network.rgb(image.astype(np.uint8))[key].numpy() for key in "ba"], -1)
    for name, maps in expected.items():
        graph = saved_model.load_saved_model(tmp_path / "two", signature=name)
        results = tensorflow.run_graph(graph, image)
        found = np.concatenate([np.asarray(results[output]) for output in (graph.heatmaps, graph.pafs)], -1)
        np.testing.assert_allclose(found, maps, atol=2e-5 * np.abs(maps).max())
    graph = saved_model.load_saved_model(tmp_path / "two", signature="rgb", heatmaps="b", pafs="a")
    assert g.count_channels(graph)[graph.heatmaps] == 19
    for wrong, message in ((None, "found nchw, rgb; choose one with --signature"), ("x", "no signature 'x'")):
        with pytest.raises(ModelError, match=message):
            saved_model.load_saved_model(tmp_path / "two", signature=wrong)


def test_another_skeleton_is_named(tmp_path: Path) -> None:
    import tensorflow as tf

    from edgepose.convert.importers import saved_model

    image = tf.keras.Input((None, None, 3))
    x = tf.keras.layers.Conv2D(8, 3, 8, "same")(image)
    model = tf.keras.Model(image, [tf.keras.layers.Conv2D(channels, 1)(x) for channels in (26, 52)])
    model.save(tmp_path / "body.keras")
    with pytest.raises(ModelError, match=r"found .* \(26 channels\), .* \(52 channels\)\. .*--skeleton body25$"):
        saved_model.load_keras_model(tmp_path / "body.keras")


@pytest.mark.parametrize("operator", ["WriteFile", "PrintV2", "CreateSummaryFileWriter"])
def test_a_saved_model_that_writes_files_is_refused(tmp_path: Path, operator: str) -> None:
    import tensorflow as tf

    from edgepose.convert.importers import saved_model

    class Network(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([], tf.string, name="path")])
        def write(self, path: Any) -> Any:
            if operator == "WriteFile":
                tf.io.write_file(path, "x")
            elif operator == "PrintV2":
                tf.print("x", output_stream=f"file://{tmp_path}/printed")
            else:
                writer = tf.raw_ops.SummaryWriter()
                tf.raw_ops.CreateSummaryFileWriter(
                    writer=writer, logdir=path, max_queue=1, flush_millis=1, filename_suffix=""
                )
            return {"path": path}

    network = Network()
    tf.saved_model.save(network, str(tmp_path / "bad"), signatures=network.write)
    with pytest.raises(ModelError, match=rf"operator {operator} of node .* is not executed"):
        saved_model.load_saved_model(tmp_path / "bad")
