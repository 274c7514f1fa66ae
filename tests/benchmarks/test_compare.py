"""`python -m edgepose.benchmarks.compare`: networks with MoveNet's output, adapters, results, page, invalid input."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgepose.benchmarks import pareto
from edgepose.benchmarks.compare import __main__ as compare
from edgepose.benchmarks.compare import adapters, measure, networks, results, table, tfjs
from edgepose.benchmarks.compare.adapters import COCO_KEYPOINTS, InputToFrame, MoveNetMultiPose
from edgepose.benchmarks.compare.results import Accuracy, Comparison, Row, Time
from edgepose.device.monitor import board
from edgepose.runtime.errors import InputError
from edgepose.runtime.io.images import write_image
from edgepose.runtime.model.interpreter import TensorInfo
from edgepose.runtime.skeleton import COCO18
from edgepose.runtime.synthetic import Scene
from edgepose.runtime.types import EstimateResult, Image, Quantization, Timings

from ..conftest import ROOT
from ..scene_dataset import annotate

WIDTH, HEIGHT = 96, 64
"""Input size of the networks of these tests."""
MAX_PEOPLE = 6
ADAPTER = "from edgepose.benchmarks.compare.adapters import MoveNetMultiPose\nclass A(MoveNetMultiPose):\n "
Network = Callable[[Any], Any]


def make_row(name: str, ap: float | None, ms: float, gmac: float = 1.0) -> Row:
    accuracy = None if ap is None else Accuracy(ap, ap + 0.2, ap, ap)
    times = (Time(1, ms, ms - 0.5, ms - 0.1, ms + 0.1), Time(2, ms / 2, ms / 2, ms / 2, ms / 2))
    return Row(name, "edgepose", "int8", (432, 368), int(gmac * 1e9), 0.55, "ab" * 32, times, accuracy)


def make_comparison(*rows: Row) -> Comparison:
    found = rows or (make_row("a", 0.3, 10.0), make_row("b", 0.4, 30.0), make_row("c", 0.2, 20.0))
    return Comparison(board.read_board(), "2026-01-02T00:00:00+00:00", {"numpy": "2.0"}, "synthetic:5", 9, 10, 4, found)


def make_movenet_output(people: Sequence[np.ndarray], scores: Sequence[float], size: tuple[int, int]) -> np.ndarray:
    """Return MoveNet's output (1, 6, 56) for people whose keypoints (17, 2) are in pixels of an input of `size`."""
    output = np.zeros((1, MAX_PEOPLE, 56), np.float32)
    for number, (points, score) in enumerate(zip(people, scores, strict=True)):
        triples = np.concatenate((points[:, ::-1] / size[::-1], np.full((COCO_KEYPOINTS, 1), 0.7)), axis=1)
        output[0, number, :51] = triples.ravel()
        output[0, number, 55] = score
    return output


def write_network(path: Path, network: Network, dtype: str = "int32", shape: Sequence[int | None] = ()) -> Path:
    """Write a function of an image as a TFLite file."""
    import tensorflow as tf

    spec = tf.TensorSpec(shape or (1, HEIGHT, WIDTH, 3), tf.as_dtype(dtype), name="image")
    function = tf.function(network, input_signature=[spec], autograph=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], tf.Module())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(converter.convert())
    return path


def find_red_pixel(image: Any) -> Any:
    """Compute MoveNet's output with one person, all of whose keypoints are at the reddest pixel of an RGB image."""
    import tensorflow as tf

    red = tf.cast(image[0, :, :, 0], tf.float32) - tf.cast(image[0, :, :, 2], tf.float32)
    place = tf.cast(tf.argmax(tf.reshape(red, [-1]), output_type=tf.int32), tf.float32)
    columns, rows = (tf.cast(tf.shape(image)[axis], tf.float32) for axis in (2, 1))
    y = tf.floor(place / columns)
    point = tf.stack([(y + 0.5) / rows, (place - y * columns + 0.5) / columns, tf.constant(0.0)])
    person = tf.concat([tf.tile(point, [COCO_KEYPOINTS]), tf.zeros(4), tf.constant([0.9])], axis=0)
    return tf.concat([tf.reshape(person, (1, 1, 56)), tf.zeros((1, MAX_PEOPLE - 1, 56))], axis=1)


@pytest.mark.convert
@pytest.mark.parametrize(("dtype", "shape", "suffix"), [
    ("int32", (1, HEIGHT, WIDTH, 3), ""),
    ("uint8", (1, HEIGHT, WIDTH, 3), ""),
    ("float32", (1, HEIGHT, WIDTH, 3), ""),
    ("int32", (1, None, None, 3), f"@{WIDTH}x{HEIGHT}"),
])  # fmt: skip
def test_a_network_with_movenets_output_finds_the_person_where_it_is(
    dtype: str, shape: tuple[int | None, ...], suffix: str, tmp_path: Path
) -> None:
    """Letterbox, channel order, dtype of the input, and the transform back to the frame."""
    path = write_network(tmp_path / "net.tflite", find_red_pixel, dtype, shape)
    source = networks.find_model(f"{path}{suffix}", adapters.BUILT_IN)
    assert source.name == "net"
    row = networks.describe_model(source)
    assert (row.group, row.input_size) == ("MoveNet MultiPose", (WIDTH, HEIGHT))
    estimator = networks.load_estimator(source, 1)
    for width, height in ((640, 300), (300, 640)):
        image = np.full((height, width, 3), 90, np.uint8)
        x, y = round(0.7 * width), round(0.6 * height)
        side = round(max(width / WIDTH, height / HEIGHT) * 2)
        image[y - side : y + side, x - side : x + side] = (0, 0, 255)
        (pose,) = estimator.estimate(image)
        assert pose.score == pytest.approx(0.9)
        found = pose.keypoints[list(COCO18.coco_order)]
        assert np.all(found[:, 2] > 0), "AP needs all keypoints, also those with a score of 0"
        np.testing.assert_allclose(found[:, :2], np.tile((x, y), (COCO_KEYPOINTS, 1)), atol=2 * side)


def test_movenets_output_becomes_poses_in_frame_pixels() -> None:
    points = [np.arange(34).reshape(17, 2) + 5.0 * number for number in range(2)]
    output = make_movenet_output(points, (0.9, 0.2), (200, 100))
    poses = MoveNetMultiPose().decode([output], InputToFrame(200, 100, 3.0, 2.0))
    assert [pose.score for pose in poses] == pytest.approx([0.9, 0.2]), "rows with score 0 are no people"
    for pose, expected in zip(poses, points, strict=True):
        np.testing.assert_allclose(pose.keypoints[list(COCO18.coco_order), :2], expected * (3, 2), rtol=1e-5)
        assert not pose["neck"].found


def make_constant_network(output: np.ndarray) -> Network:
    """Return a network that ignores the image, with a convolution whose result is 0."""

    def network(image: Any) -> Any:
        import tensorflow as tf

        kernel = np.zeros((2, 2, 3, 1), np.float32)
        return output + tf.reduce_sum(tf.nn.conv2d(tf.cast(image, tf.float32), kernel, 2, "VALID"))

    return network


@pytest.fixture(scope="module")
def known_people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an annotated image, and a network that always finds its three people, and a worse one."""
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed (extra `convert`)")
    folder = tmp_path_factory.mktemp("known")
    (folder / "images").mkdir()
    frame = Scene(3, 640, 480).render_frame(12)
    write_image(folder / "images/1.png", frame.image)
    entries, people = [], []
    for points in frame.keypoints:
        entries.append(annotate(len(entries) + 1, 1, np.concatenate((points, np.ones((18, 1), np.float32)), axis=1)))
        people.append(points[list(COCO18.coco_order)] * min(WIDTH / 640, HEIGHT / 480))
    categories = [{"id": 1, "name": "person", "keypoints": [str(i) for i in range(17)]}]
    image = {"id": 1, "file_name": "1.png", "width": 640, "height": 480}
    document = {"images": [image], "annotations": entries, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(document))
    for name, count in (("right", 3), ("half", 1)):
        output = make_movenet_output(people[:count], (0.9, 0.8, 0.7)[:count], (WIDTH, HEIGHT))
        write_network(folder / f"{name}.tflite", make_constant_network(output))
    return folder


@pytest.mark.convert
def test_a_comparison_scores_edgepose_and_others_with_the_same_images(
    known_people: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pycocotools")
    pytest.importorskip("matplotlib")
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n{table.BEGIN}\nold\n{table.END}\nend\n")
    models = ["edgepose-tiny", *(str(known_people / f"{name}.tflite") for name in ("right", "half"))]
    code = compare.main([
        *models, "--threads", "1,2", "--rounds", "2", "--frames", "2", "--images", str(known_people / "images"),
        "--annotations", str(known_people / "annotations.json"), "--json", str(tmp_path / "c.json"),
        "--plot", str(tmp_path / "c.png"), "--page", str(page),
    ])  # fmt: skip
    captured = capfd.readouterr()
    assert code == 0, captured.err
    comparison = results.read(tmp_path / "c.json")
    tiny, right, half = comparison.rows
    assert [row.group for row in comparison.rows] == ["edgepose", "MoveNet MultiPose", "MoveNet MultiPose"]
    assert [row.accuracy.ap for row in (right, half) if row.accuracy] == pytest.approx([1.0, 0.337], abs=0.01)
    assert tiny.accuracy is not None
    assert tiny.accuracy.ap > 0.5, "the people of the scene are easy"
    assert (comparison.images, tiny.precision, right.precision) == (1, "int8", "float32")
    assert right.macs == WIDTH * HEIGHT * 3, "a 2x2 kernel at stride 2 reads each value once"
    for row in comparison.rows:
        assert [time.threads for time in row.times] == [1, 2]
        assert all(0 < time.low_ms <= time.high_ms and time.inference_ms > 0 for time in row.times)
    assert captured.out.strip() == table.format_text(comparison)
    assert page.read_text() == (
        f"# Title\n{table.BEGIN}\n{table.format_markdown(comparison)}\n{table.END}\nend\n"
    )  # fmt: skip
    assert cv2.imread(str(tmp_path / "c.png")).shape[1] == 800


OTHER_FORMAT = """
from edgepose.benchmarks.compare.adapters import make_pose
class Corner:
    name, channel_order, value_range = "corners", "bgr", (0.0, 1.0)
    def accepts(self, outputs):
        return outputs[0].shape == (1, 3)
    def decode(self, outputs, to_frame):
        import numpy as np
        x, y, score = outputs[0][0]
        return [make_pose(np.tile((x * to_frame.scale_x, y * to_frame.scale_y, 1.0), (17, 1)), score)]
"""


@pytest.mark.convert
def test_users_add_an_adapter(tmp_path: Path) -> None:
    """The network returns 6, 3 and the first blue value, which the adapter asks for as 0 to 1."""

    def network(image: Any) -> Any:
        import tensorflow as tf

        return tf.reshape(tf.concat([tf.constant([6.0, 3.0]), image[0, 0, 0, :1]], axis=0), (1, 3))

    path = write_network(tmp_path / "net.tflite", network, "float32")
    (tmp_path / "mine.py").write_text(OTHER_FORMAT)
    adapter = adapters.load_adapter(f"{tmp_path / 'mine.py'}:Corner")
    with pytest.raises(InputError, match=r"no adapter for a network with the outputs \(1, 3\)"):
        networks.find_model(str(path), adapters.BUILT_IN)
    estimator = networks.load_estimator(networks.find_model(str(path), [adapter, *adapters.BUILT_IN]), 1)
    (pose,) = estimator.estimate(np.full((HEIGHT * 2, WIDTH * 2, 3), (51, 0, 0), np.uint8))
    assert pose.score == pytest.approx(0.2)
    assert (pose["nose"].x, pose["nose"].y) == (12, 6)


class FakeEstimator:
    """Estimator that notes its name when it is called."""

    def __init__(self, name: str, calls: list[str]) -> None:
        self.name, self.calls = name, calls

    def estimate(self, image: Image, /) -> EstimateResult:
        self.calls.append(self.name)
        return EstimateResult((), Timings(1.0, float(len(self.calls)), 3.0))


def test_models_are_measured_in_turns() -> None:
    calls: list[str] = []
    estimators = [(threads, FakeEstimator(name, calls)) for threads, name in ((1, "a"), (2, "b"), (1, "c"))]
    rounds: list[int] = []
    found = measure.measure_times(estimators, [np.zeros((2, 2, 3), np.uint8)], 3, 1, rounds.append)
    blocks = ["".join(calls[i : i + 3]) for i in range(0, len(calls), 3)]
    assert blocks == ["aaa", "bbb", "ccc", "bbb", "ccc", "aaa", "ccc", "aaa", "bbb"], "each round starts with another"
    assert [time.threads for time in found] == [1, 2, 1]
    assert found[0].inference_ms == 18, "the median of the last call of the blocks 1, 6 and 8"


def test_a_comparison_survives_json(tmp_path: Path) -> None:
    comparison = make_comparison(make_row("a", 0.3, 10.0), make_row("b", None, 3.0))
    (tmp_path / "c.json").write_text(comparison.to_json())
    assert results.read(tmp_path / "c.json") == comparison


@pytest.mark.parametrize("text", ["{", '{"version": 2}', '{"version": 1, "rows": 3}', "[]"])
def test_another_file_is_no_comparison(text: str, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(InputError, match="expected a comparison written with --json"):
        results.read(tmp_path / "c.json")


def test_the_table_is_sorted_by_time() -> None:
    lines = table.format_text(make_comparison()).splitlines()
    assert [line.split()[0] for line in lines] == ["model", "a", "c", "b"]
    assert (
        "| `a` | int8 | 432x368 | 0.300 | 10.0 | 5.0 | 1.00 | 0.6 | 0.500 | 0.300 | 0.300 |"
        in table.format_markdown(make_comparison())
    )


def test_the_front_has_what_nothing_beats() -> None:
    points = [(10.0, 0.3), (30.0, 0.4), (20.0, 0.2), (10.0, 0.25), (30.0, 0.4), (40.0, 0.4)]
    assert pareto.find_front(points) == [(10.0, 0.3), (30.0, 0.4)]


def test_the_published_page_shows_the_stored_figures() -> None:
    comparison = results.read(ROOT / "docs/explanation/comparison.json")
    page = table.read_page(ROOT / "docs/explanation/comparison.md")
    written = page.partition(table.BEGIN)[2].partition(table.END)[0].strip()
    assert written == table.format_markdown(comparison)


@pytest.mark.parametrize(("arguments", "message"), [
    (["nowhere.tflite"], "nowhere.tflite"),
    (["edgepose-tinny"], "did you mean edgepose-tiny?"),
    (["edgepose-tiny@320x256"], "input size of a model with a manifest is fixed"),
    (["edgepose-tiny@bigx2"], "expected FILE.tflite@WIDTHxHEIGHT"),
    (["edgepose-tiny", "--images", "."], "both --images and --annotations"),
    (["edgepose-tiny", "--plot", "p.jpg"], "ends in .png"),
    (["edgepose-tiny", "--plot", "p.png"], "give --images and --annotations too"),
    (["edgepose-tiny", "--json", "/nowhere/c.json"], "there is no folder /nowhere"),
    (["edgepose-tiny", "--json", "docs"], "docs: expected a file to write, this is a folder"),
    (["edgepose-tiny", "--page", "README.md"], "expected the lines <!-- comparison: begin -->"),
    (["edgepose-tiny", "--input", "nowhere.png"], "no such image, folder or video"),
    (["edgepose-tiny", "--adapter", "mine.py"], "expected FILE.py:CLASS"),
    (["edgepose-tiny", "--adapter", "nowhere.py:A"], "there is no file nowhere.py"),
])  # fmt: skip
def test_bad_input_is_one_line(
    arguments: list[str], message: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert compare.main(arguments) == 2
    error = capfd.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(("code", "message"), [
    ("class A: pass", "expected a class with name"),
    ("raise OSError('no disk')", "OSError: no disk"),
    ("B = 1", "AttributeError"),
    ("raise SystemExit(0)", "SystemExit: 0"),
    (f"{ADAPTER}channel_order = 'xyz'", "'bgr' or 'rgb'"),
    (f"{ADAPTER}value_range = 'abc'", "two numbers"),
    (f"{ADAPTER}value_range = (0, float('nan'))", "two numbers"),
    (f"{ADAPTER}value_range = (1, 1)", "two numbers"),
])  # fmt: skip
def test_a_bad_adapter_is_refused(code: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(code)
    with pytest.raises(InputError, match=message):
        adapters.load_adapter(f"{tmp_path / 'bad.py'}:A")


@pytest.mark.convert
@pytest.mark.parametrize(("line", "message"), [
    ("def accepts(self, outputs): raise KeyError('outputs')", "accepts() of the adapter MoveNet MultiPose failed"),
    ("def decode(self, outputs, to_frame): raise KeyError('x')", "cannot decode it: KeyError: 'x'"),
    ("def decode(self, outputs, to_frame): raise SystemExit(0)", "cannot decode it: SystemExit: 0"),
    ("def decode(self, outputs, to_frame): return None", "cannot decode it: TypeError"),
    ("def decode(self, outputs, to_frame): return [1]", "cannot decode it: AttributeError"),
    ("def decode(self, outputs, to_frame): return super().decode([outputs[0] * float('inf')], to_frame)",
     "NaN or infinite"),
])  # fmt: skip
def test_errors_of_an_adapter_are_one_line(
    line: str, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    network = write_network(tmp_path / "net.tflite", make_constant_network(np.ones((1, MAX_PEOPLE, 56), np.float32)))
    (tmp_path / "mine.py").write_text(ADAPTER + line)
    output = tmp_path / "c.json"
    capfd.readouterr()
    arguments = [str(network), "--adapter", f"{tmp_path / 'mine.py'}:A", "--json", str(output), "--threads", "1"]
    assert compare.main(arguments) == 2
    assert message in capfd.readouterr().err.splitlines()[-1]
    assert not output.exists()


def test_an_interrupted_comparison_has_the_exit_code_of_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, "run", interrupt)
    assert compare.main(["edgepose-tiny"]) == 130


def test_people_of_a_size_that_no_image_has_get_no_figure() -> None:
    row = make_row("a", 0.3, 10.0)
    assert row.accuracy is not None
    comparison = make_comparison(replace(row, accuracy=row.accuracy._replace(ap_medium=-1.0)))
    assert table.format_text(comparison).splitlines()[1].split()[-2:] == ["-", "0.300"]


def test_a_damaged_file_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.tflite").write_bytes(b"\x20\0\0\0TFL3" + bytes(200))
    assert compare.main([str(tmp_path / "net.tflite")]) == 2
    error = capfd.readouterr().err
    assert "net.tflite" in error
    assert len(error.strip().splitlines()) == 1


def test_other_outputs_have_no_adapter() -> None:
    info = TensorInfo("out", 0, (1, 57, 46, 54), "float32", Quantization())
    assert not MoveNetMultiPose().accepts([info])
    assert MoveNetMultiPose().accepts([info._replace(shape=(1, 6, 56))])


def write_tfjs_model(folder: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """Write a TensorFlow.js graph model: (image - 100) -> fused convolution with bias and ReLU."""
    rng = np.random.default_rng(3)
    kernel, bias = rng.normal(size=(3, 3, 3, 4)).astype(np.float32), np.array([5, -5, 0, 1], np.float32)
    float_type = {"type": "DT_FLOAT"}

    def encode(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    image = {"name": "image", "op": "Placeholder", "attr": {
        "dtype": {"type": "DT_INT32"},
        "shape": {"shape": {"dim": [{"size": "1"}, {"size": "-1"}, {"size": "-1"}, {"size": "3"}]}},
    }}  # fmt: skip
    constants = [{"name": name, "op": "Const", "attr": {"dtype": float_type}} for name in ("offset", "kernel", "bias")]
    nodes = [
        image, *constants,
        {"name": "cast", "op": "Cast", "input": ["image"],
         "attr": {"SrcT": {"type": "DT_INT32"}, "DstT": float_type, "Truncate": {"b": False}}},
        {"name": "sub", "op": "Sub", "input": ["cast", "offset"], "attr": {"T": float_type}},
        {"name": "out", "op": "_FusedConv2D", "input": ["sub", "kernel", "bias"], "attr": {
            "T": float_type, "num_args": {"i": "1"}, "epsilon": {"f": 0}, "padding": {"s": encode("SAME")},
            "data_format": {"s": encode("NHWC")}, "strides": {"list": {"i": ["1", "2", "2", "1"]}},
            "dilations": {"list": {"i": ["1", "1", "1", "1"]}}, "use_cudnn_on_gpu": {"b": True},
            "fused_ops": {"list": {"s": [encode("BiasAdd"), encode("Relu")]}},
        }},
    ]  # fmt: skip
    weights = [
        {"name": "offset", "shape": [], "dtype": "float32"},
        {"name": "kernel", "shape": [3, 3, 3, 4], "dtype": "float32", "quantization": {"dtype": "float16"}},
        {"name": "bias", "shape": [4], "dtype": "float32"},
    ]
    document = {
        "format": "graph-model", "signature": {"outputs": {"out": {"name": "out:0"}}},
        "modelTopology": {"node": nodes, "versions": {"producer": 808}},
        "weightsManifest": [{"paths": ["one.bin"], "weights": weights}],
    }  # fmt: skip
    (folder / "model.json").write_text(json.dumps(document))
    content = np.float32(100).tobytes() + kernel.astype(np.float16).tobytes() + bias.tobytes()
    (folder / "one.bin").write_bytes(content)
    return folder / "model.json", kernel.astype(np.float16).astype(np.float32), bias


def change_text(folder: Path, old: str, new: str) -> None:
    text = (folder / "model.json").read_text()
    assert old in text
    (folder / "model.json").write_text(text.replace(old, new))


@pytest.mark.convert
def test_a_tensorflow_js_model_computes_the_same_as_tflite(tmp_path: Path) -> None:
    import tensorflow as tf

    from edgepose.runtime.model.interpreter import Network as LoadedNetwork

    model, kernel, bias = write_tfjs_model(tmp_path)
    output = tmp_path / "net.tflite"
    assert tfjs.main([str(model), "--input-size", "64x48", "-o", str(output)]) == 0
    network = LoadedNetwork(output, 1)
    image = np.random.default_rng(0).integers(0, 256, (1, 48, 64, 3)).astype(np.int32)
    network.get_tensor(network.inputs[0])[...] = image
    network.invoke()
    expected = tf.nn.relu(tf.nn.conv2d(image.astype(np.float32) - 100, kernel, 2, "SAME") + bias)
    np.testing.assert_allclose(network.get_tensor(network.outputs[0]), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.convert
@pytest.mark.parametrize(("damage", "message"), [
    (lambda folder: (folder / "one.bin").unlink(), "cannot read the weights"),
    (lambda folder: (folder / "one.bin").write_bytes(b"1234"), "the weights end after 4 bytes"),
    (lambda folder: change_text(folder, "[\"one.bin\"]", "[\"../one.bin\"]"), "expected the weights in the folder"),
    (lambda folder: change_text(folder, "[\"one.bin\"]", "[\"/etc/hostname\"]"), "expected the weights in the folder"),
    (lambda folder: change_text(folder, "[4]", "[4294967296, 4294967296]"), "the weights end after"),
    (lambda folder: change_text(folder, "[4]", "[-4]"), "as whole numbers"),
    (lambda folder: change_text(folder, "[4]", "[5, 0]"), "cannot convert this TensorFlow.js graph model"),
    (lambda folder: change_text(folder, "\"Sub\"", "\"Nonsense\""), "cannot convert this TensorFlow.js graph model"),
    (lambda folder: (folder / "model.json").write_text("{}"), "expected a TensorFlow.js graph model"),
    (lambda folder: (folder / "model.json").write_text('{"format": "graph-model"}'), "KeyError"),
])  # fmt: skip
def test_a_bad_tensorflow_js_model_is_one_line(
    damage: Callable[[Path], object], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, *_ = write_tfjs_model(tmp_path)
    damage(tmp_path)
    assert tfjs.main([str(model), "--input-size", "64x48", "-o", str(tmp_path / "net.tflite")]) == 2
    error = capfd.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
