"""Errors for wrong downloads name the actual file type, for every command that takes a model."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.convert.importers import detect
from edgepose.runtime.errors import ModelError
from edgepose.runtime.io import file_kind
from edgepose.runtime.model import container, registry

from ..conftest import call_edgepose

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 7804434\n"
HTML = b"\n<!DOCTYPE html><html><head><title>Sign in</title></head></html>"
TEXT_GRAPH = b'node {\n  name: "image"\n  op: "Placeholder"\n}\n'
OLD_IR = b'<?xml version="1.0"?><net name="pose" version="7" batch="1"><layers/><edges/></net>'


def archive(*names: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name in names:
            file.writestr(name, b"x")
    return content.getvalue()


def tar() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as file:
        file.addfile(tarfile.TarInfo("graph_opt.pb"))
    return content.getvalue()


def edge_tpu() -> bytes:
    return b"\x1c\0\0\0TFL3" + b"\0" * 100 + b"edgetpu-custom-op" + b"\0" * 50


CONTENTS = [
    (LFS, "Git LFS pointer"), (HTML, "HTML page"), (b"<html><body>404</body></html>", "HTML page"),
    (gzip.compress(b"x" * 99, mtime=0), "gzip archive"), (lzma.compress(b"x"), "xz archive"), (tar(), "tar archive"),
    (archive("pose.pb"), "ZIP archive"), (archive("archive/data.pkl"), "PyTorch checkpoint"),
    (archive("net/data.pkl", "net/constants.pkl", "net/code/x.py"), "TorchScript program"),
    (archive("config.json", "model.weights.h5", "metadata.json"), "Keras model"), (b"PK\x03\x04garbage", "damaged ZIP"),
    (TEXT_GRAPH, "text form"), (b'{"error": "rate limit exceeded"}', "rate limit exceeded"),
    (b'{"modelTopology": {}}', "TensorFlow.js"), (b"", "empty file"), (b"\0" * 5000, "file of zeros"),
    (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "AccessDenied"),
    (b"\xff\xd8\xff\xe0\0\x10JFIF", "JPEG image"), (b"\x89PNG\r\n\x1a\n....", "PNG image"),
    (b"\x08\x07\x12\x07pytorch\x1a\x051.9.0", "ONNX model"), (b"\x80\x04\x95\x10\0", "Python pickle"),
    (b"404: Not Found\n", "text file"), (b"Not Found", "text file"), ("Größe\n".encode(), "text file"),
    (b"[InternetShortcut]\nURL=x\n", "text file"), ("<!DOCTYPE html><html>".encode("utf-16"), "HTML page"),
    (b"\n\n\n<!DOCTYPE html><html>", "HTML page"), (b"<!-- saved -->\n<HTML>", "HTML page"),
    (lzma.compress(b"x", lzma.FORMAT_ALONE), "lzma archive"), (b"RIFF\x10\0\0\0WEBPVP8 ", "WebP image"),
    (b"RIFF\x10\0\0\0AVI LIST", "video"), (b"\x1aE\xdf\xa3\x93", "video"), (b"II*\0\x08\0\0\0", "TIFF image"),
    (b"# a comment\nnode: {\n name: 'a'\n}\n", "text form"), (b"saved_model_schema_version: 1\n", "text form"),
    (b'{"error": {"code": 404, "message": "gone"}}', "'gone'"), (b"\x08\x08:\xe8\x07\x0a" + b"x" * 999, "ONNX model"),
    (b"(dp0\nS'a'\n", "Python pickle"), (b'model_checkpoint_path: "x"\n', "list of checkpoints"),
]  # fmt: skip


NAMES = ("graph_opt.pb", "pose.tflite", "pose.bin", "pose.npz", "pose.h5")
PAIRS = [
    (name, content, what) for name in NAMES for content, what in CONTENTS
    # A valid file of this type can be a ZIP archive. Its reader reports what is wrong.
    if not (name in ("pose.npz", "pose.h5") and content.startswith(b"PK"))
]  # fmt: skip


# Test ids are numbers, because archives contain their creation time and all workers must collect the same tests.
@pytest.mark.parametrize(
    ("name", "content", "what"), PAIRS, ids=[f"{name}-{what}-{i}" for i, (name, _, what) in enumerate(PAIRS)]
)
def test_a_wrong_download_is_named(
    name: str, content: bytes, what: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=what):
        detect.find_source(str(tmp_path / name))
    done = call_edgepose(capfd, "convert", tmp_path / name, "-o", tmp_path / "out.tflite")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert what in done.stderr
    with pytest.raises(ModelError) as error:
        container.read(tmp_path / name)
    assert what in str(error.value) or not content


def test_a_model_of_the_edge_tpu_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pose_edgetpu.tflite"
    path.write_bytes(edge_tpu())
    with pytest.raises(ModelError, match="compiled for the Edge TPU"):
        container.read(path)
    with pytest.raises(ModelError, match="compiled for the Edge TPU"):
        detect.find_source(str(path))


def test_an_old_ir_is_named(tmp_path: Path) -> None:
    (tmp_path / "pose.xml").write_bytes(OLD_IR)
    (tmp_path / "pose.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="version 10 or later, this is version 7"):
        detect.find_source(str(tmp_path / "pose.xml"))
    (tmp_path / "pose.xml").write_bytes(b"<?xml version='1.0'?>\n<!--" + b"x" * 5000 + b"-->\n" + OLD_IR[21:])
    with pytest.raises(ModelError, match="version 10 or later, this is version 7"):
        detect.find_source(str(tmp_path / "pose.xml"))


@pytest.mark.parametrize("part", ["saved_model.pb", "variables/variables.data-00000-of-00001"])
def test_a_pointer_inside_a_saved_model_is_named(part: str, tmp_path: Path) -> None:
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    (tmp_path / part).write_bytes(LFS)
    with pytest.raises(ModelError, match=f"{part}: .*Git LFS pointer.*git lfs pull"):
        detect.find_source(str(tmp_path))


def test_a_pointer_as_the_weights_of_an_ir_is_named(tmp_path: Path) -> None:
    (tmp_path / "pose.xml").write_bytes(OLD_IR.replace(b'"7"', b'"11"'))
    (tmp_path / "pose.bin").write_bytes(LFS)
    with pytest.raises(ModelError, match=r"pose\.bin: expected the weights of an OpenVINO IR, .*Git LFS"):
        detect.find_source(str(tmp_path / "pose.xml"))


def test_folders_are_named(tmp_path: Path) -> None:
    (tmp_path / "net/1").mkdir(parents=True)
    (tmp_path / "net/1/saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(ModelError, match="give net/1"):
        detect.find_source(str(tmp_path / "net"))
    with pytest.raises(ModelError, match="SavedModel; convert its folder with `edgepose convert`"):
        container.read(tmp_path / "net/1")


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9])
def test_an_interrupted_download_is_named(share: float, tmp_path: Path) -> None:
    network = container.read_flatbuffer(registry.find_model_file("edgepose-tiny"))
    path = tmp_path / "pose.tflite"
    path.write_bytes(network)
    assert file_kind.find_damage(path) is None
    path.write_bytes(network[: int(share * len(network))])
    for read in (container.read, lambda path: detect.find_source(str(path))):
        with pytest.raises(ModelError, match=r"incomplete: the file has only .* download it again"):
            read(path)
    # A node of a frozen graph, encoded by hand: name and operator.
    node = b"\x0a\x05image\x12\x0bPlaceholder"
    graph = (b"\x0a" + bytes([len(node)]) + node) * 50
    path = tmp_path / "graph_opt.pb"
    path.write_bytes(graph)
    assert detect.find_source(str(path)).kind == "frozen graph"
    path.write_bytes(graph[: int(share * len(graph)) + 5])
    with pytest.raises(ModelError, match="incomplete: the file has only"):
        detect.find_source(str(path))


@pytest.mark.convert
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_keras_models_are_read_by_content(tmp_path: Path) -> None:
    from edgepose.convert.exporters.tensorflow_quiet import import_tensorflow
    from edgepose.convert.importers import saved_model

    keras = import_tensorflow().keras
    image = keras.Input((64, 64, 3))
    maps = [keras.layers.Conv2D(channels, 8, 8, name=f"maps{channels}")(image) for channels in (19, 38)]
    model = keras.Model(image, maps)
    for right, wrong in (("a.keras", "a.h5"), ("b.h5", "b.keras"), ("c.keras", "c.KERAS")):
        model.save(tmp_path / right)
        (tmp_path / right).rename(tmp_path / wrong)
        assert detect.find_source(str(tmp_path / wrong)).kind == "Keras model"
        assert saved_model.load_keras_model(tmp_path / wrong).parameters > 0
    model.save_weights(tmp_path / "d.weights.h5")
    (tmp_path / "d.weights.h5").rename(tmp_path / "d.h5")
    with pytest.raises(ModelError, match=r"has only weights, no network; rename it to \.weights\.h5"):
        saved_model.load_keras_model(tmp_path / "d.h5")


def test_the_advice_depends_on_the_command(tmp_path: Path) -> None:
    path = tmp_path / "pose.bin"
    path.write_bytes(b"\x0a\x14\x0a\x05image\x12\x0bPlaceholder")
    with pytest.raises(ModelError, match=r"TensorFlow frozen graph; name it \.pb"):
        detect.find_source(str(path))
    with pytest.raises(ModelError, match="TensorFlow frozen graph; convert it with `edgepose convert`"):
        container.read(path)
    assert file_kind.describe(path) == "a TensorFlow frozen graph"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pose.onnx", "this is not an ONNX model"),
        ("pose.pth", "this is not a PyTorch checkpoint"),
        ("pose.pt2", "not imported"),
        ("pose.pbtxt", "not imported"),
        ("pose.caffemodel", "not imported"),
    ],
)
def test_files_of_other_frameworks_are_named(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x01\x02\x03\x04\x05\x06\x07\x08\x09")
    with pytest.raises(ModelError, match=message):
        detect.find_source(str(tmp_path / name))


def test_models_of_ours_are_still_models() -> None:
    path = registry.find_model_file("edgepose-tiny")
    assert detect.find_source(str(path)).kind == "TFLite"
    assert "TFLite" in str(file_kind.describe(path))


@given(st.binary(max_size=300))
def test_any_content_is_described_or_not(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.bin"
    path.write_bytes(content)
    text = file_kind.describe(path)
    assert text is None or "\n" not in text
    file_kind.find_damage(path)


@given(st.binary(max_size=200))
def test_any_flatbuffer_is_whole_or_not(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.tflite"
    path.write_bytes(b"\x1c\0\0\0TFL3" + content)
    file_kind.find_damage(path)
