"""Small files that would need much memory are refused before memory is allocated."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepose.convert.download import fetch_model
from edgepose.convert.importers import frozen_graph, openvino_ir
from edgepose.runtime.errors import ModelError
from edgepose.runtime.model import registry_file

from ..conftest import call_edgepose


def add_constant(graph: Any, name: str, shape: list[int]) -> None:
    node = graph.node.add(name=name, op="Const")
    tensor = node.attr["value"].tensor
    tensor.dtype = 1
    for side in shape:
        tensor.tensor_shape.dim.add(size=side)
    tensor.float_val.append(1.0)


@pytest.mark.convert
@pytest.mark.parametrize("shape", [[1 << 32], [4_000_000_000, 1], [1 << 62, 1 << 62], [-1], [65536, 65536]])
def test_a_constant_of_one_repeated_value(shape: list[int], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Regression test: 47 bytes requested 15 GiB."""
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef()
    add_constant(graph, "c", shape)
    path = tmp_path / "bomb.pb"
    path.write_bytes(graph.SerializeToString())
    assert path.stat().st_size < 100
    with pytest.raises(ModelError, match="constant 'c' has the shape"):
        frozen_graph.load(path)
    done = call_edgepose(capfd, "convert", path, "-o", tmp_path / "x.tflite")
    assert (done.returncode, len(done.stderr.strip().splitlines()[-1:])) == (2, 1)


@pytest.mark.convert
def test_constants_that_are_multiplied(tmp_path: Path) -> None:
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef()
    add_constant(graph, "a", [60_000, 1])
    add_constant(graph, "b", [1, 60_000])
    graph.node.add(name="m", op="Mul", input=["a", "b"])
    path = tmp_path / "bomb.pb"
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(ModelError, match="'m' has the shape"):
        frozen_graph.load(path)


@pytest.mark.convert
@pytest.mark.parametrize("operator", ["ConcatV2", "Pack"])
def test_one_constant_that_is_read_many_times(operator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is refused before memory is allocated."""
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef()
    add_constant(graph, "a", [1 << 20])
    add_constant(graph, "axis", [])
    graph.node.add(name="m", op=operator, input=["a"] * 70 + ["axis"] * (operator == "ConcatV2"))
    path = tmp_path / "bomb.pb"
    path.write_bytes(graph.SerializeToString())

    def allocate(*arguments: object) -> None:
        raise AssertionError("allocated")

    for name in ("concatenate", "stack"):
        monkeypatch.setattr(np, name, allocate)
    with pytest.raises(ModelError, match="'m' has the shape"):
        frozen_graph.load(path)


@pytest.mark.convert
def test_many_constants_together(tmp_path: Path) -> None:
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef()
    for number in range(10):
        add_constant(graph, f"c{number}", [1 << 25])
    path = tmp_path / "bomb.pb"
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(ModelError, match="all arrays together"):
        frozen_graph.load(path)


LAYER = (
    '<layer id="{id}" name="{name}" type="Const"><data element_type="f32" shape="{shape}" offset="0" size="{size}"/>'
    "</layer>"
)
MULTIPLY = (
    '<layer id="2" name="m" type="Multiply"/></layers><edges>'
    '<edge from-layer="0" from-port="0" to-layer="2" to-port="0"/>'
    '<edge from-layer="1" from-port="0" to-layer="2" to-port="1"/></edges></net>'
)


def test_constants_of_an_ir_that_are_multiplied(tmp_path: Path) -> None:
    """Regression test: the product needed 37 GiB."""
    count = 100_000
    layers = LAYER.format(id=0, name="a", shape=f"{count},1", size=4 * count)
    layers += LAYER.format(id=1, name="b", shape=f"1,{count}", size=4 * count)
    (tmp_path / "bomb.xml").write_text(f'<net name="x" version="11"><layers>{layers}{MULTIPLY}')
    np.zeros(count, np.float32).tofile(tmp_path / "bomb.bin")
    with pytest.raises(ModelError, match="layer 'm' has the shape"):
        openvino_ir.load(tmp_path / "bomb.xml")


@pytest.fixture
def endless() -> Iterator[str]:
    """Run a server that sends data without end."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"x" * 65536)
            except OSError:
                return

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/x"
        server.shutdown()
        thread.join()


@pytest.mark.once
def test_a_download_without_end_is_aborted(endless: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pooch")
    monkeypatch.setattr("edgepose.convert.download.MAX_DOWNLOAD_BYTES", 5_000_000)
    file = registry_file.WeightFile("a.npz", (registry_file.UrlSource(endless),), git_blob="0" * 40)
    model = registry_file.KnownModel("endless", "cmu", (file,), "MIT", "x", (432, 368))
    with pytest.raises(ModelError, match="more than 5 MB"):
        fetch_model(model, retries=0)


@pytest.mark.convert
def test_variables_of_a_checkpoint_are_counted_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    from edgepose.convert.importers import checkpoint, limits

    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session() as session:
        variable = tf.compat.v1.get_variable("layer/weights", (40, 40))
        session.run(variable.initializer)
        saved = Path(tf.compat.v1.train.Saver().save(session, str(tmp_path / "model-1"), write_meta_graph=False))
    assert checkpoint.load(saved)["layer/weights"].shape == (40, 40)
    monkeypatch.setattr(limits, "MAX_ELEMENTS", 1000)
    with pytest.raises(ModelError, match=r"layer/weights has the shape \(40, 40\); expected at most 1000 elements"):
        checkpoint.load(saved)
