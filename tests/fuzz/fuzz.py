"""Fuzzer for all readers of external files and data (`make fuzz`).

Each target gets mutated valid inputs: flipped bits, pieces removed, duplicated or swapped, numbers replaced by extreme
values. Every outcome other than a result or an EdgePoseError is a finding, also a crash, and an input that takes more
than ten seconds. Findings are stored in build/fuzz/TARGET-*. The exit code is 1 if there are findings.

`python -m tests.fuzz.fuzz --minutes 10 [TARGET ...]`
"""

from __future__ import annotations

import argparse
import faulthandler
import io
import json
import logging
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import FrameType

import numpy as np

from edgepose.runtime.errors import EdgePoseError

ROOT = Path(__file__).resolve().parent.parent.parent
FINDINGS = ROOT / "build/fuzz"
TIMEOUT_S = 10
MEMORY_BYTES = 8 << 30
Target = Callable[[Path, bytes], None]
_EXTREMES = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00" * 8, b"\xff" * 8)
_TEXTS = (b"1e999", b"-1", b"0", b"99999999999999999999", b"null", b"true", b"[]", b"{}", b'""', b"NaN", b"\\u0000")


def mutate(rng: random.Random, seed: bytes) -> bytes:
    """Return a copy of `seed` with a few random mutations."""
    data = bytearray(seed)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(7)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            value = rng.choice(_EXTREMES)
            data[at : at + len(value)] = value
        elif kind == 2:
            del data[at : at + rng.choice((1, 4, 16, 256))]
        elif kind == 3:
            piece = data[at : at + rng.choice((1, 4, 16, 256))]
            place = rng.randrange(len(data) + 1)
            data[place:place] = piece
        elif kind == 4:
            del data[at:]
        elif kind == 5:
            data[at:at] = rng.choice(_TEXTS)
        else:
            data[at:at] = rng.randbytes(rng.choice((1, 2, 8)))
    return bytes(data)


def container_seeds() -> list[bytes]:
    """Return a small model file. Only its end is important, so the network is short."""
    from edgepose.runtime.model import container, registry

    manifest = container.read(registry.find_model_file("edgepose-tiny"))
    network = b"\x1c\0\0\0TFL3" + bytes(40)
    digest, length = container.compute_identity(network)
    small = replace(manifest, flatbuffer_sha256=digest, flatbuffer_bytes=length)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.tflite"
        container.write(path, network, small)
        return [path.read_bytes()]


def read_container(path: Path, data: bytes) -> None:
    """Read a model file with its manifest."""
    from edgepose.runtime.model import container

    container.read(path)


def manifest_seeds() -> list[bytes]:
    """Return the manifests of the models in the package."""
    from edgepose.runtime.model import container, registry

    return [
        container.read(registry.find_model_file(name)).to_json().encode()
        for name in ("edgepose-tiny", "edgepose-small")
    ]


def read_manifest(path: Path, data: bytes) -> None:
    """Read a manifest without a model file."""
    from edgepose.runtime.model.manifest import ModelManifest

    ModelManifest.from_json(data)


def config_seeds() -> list[bytes]:
    """Return the example configuration with comments."""
    from edgepose.device import config

    return [config.EXAMPLE.encode()]


def read_config(path: Path, data: bytes) -> None:
    """Read the configuration of the camera loop. It raises ValueError for an invalid setting."""
    from edgepose.device import config

    try:
        config.read(path).check()
    except ValueError:
        return


def rules_seeds() -> list[bytes]:
    """Return rules of every kind: those of the example configuration, without their comments."""
    from edgepose.device import config

    lines = config.EXAMPLE.partition("# [[events.")[2].splitlines()
    text = "\n".join(line.removeprefix("# ") for line in lines)
    extra = 'name = "n"\npolygon = [[0, 0], [640, 0], [0, 480]]\ninside = ["yard"]\ncameras = ["door"]\n'
    return [f"[[events.{text}\n[[events.zone]]\n{extra}".encode()]


def read_rules(path: Path, data: bytes) -> None:
    """Read rules, and evaluate them for a few people."""
    from edgepose.device.events.engine import EventEngine
    from edgepose.device.events.load import load_rules
    from edgepose.runtime.types import Pose

    try:
        engine = EventEngine(load_rules(path))
    except ValueError:
        return
    rng = np.random.default_rng(len(data))
    for frame in range(20):
        keypoints = rng.uniform(0, 480, (2, 18, 3)).astype(np.float32)
        poses = [Pose(one, 0.9, number + 1) for number, one in enumerate(keypoints)]
        engine.update(poses, frame / 10, (640, 480), 1e9)
    engine.finish()


def graph_seeds() -> list[bytes]:
    """Return a graph of a few convolutions in the format of TensorFlow."""
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        x = tf.compat.v1.placeholder(tf.float32, (1, 32, 32, 3), "image")
        y = tf.nn.conv2d(x, tf.constant(np.ones((3, 3, 3, 8), np.float32)), 2, "SAME", name="a")
        y = tf.nn.relu6(tf.nn.bias_add(y, tf.constant(np.ones(8, np.float32))))
        heat = tf.nn.conv2d(y, tf.constant(np.ones((1, 1, 8, 19), np.float32)), 1, "SAME", name="heat")
        paf = tf.nn.conv2d(y, tf.constant(np.ones((1, 1, 8, 38), np.float32)), 1, "SAME", name="paf")
        tf.concat((heat, paf), 3, "out")
    return [graph.as_graph_def().SerializeToString()]


def read_graph(path: Path, data: bytes) -> None:
    """Read a frozen graph."""
    from edgepose.convert.importers import frozen_graph

    frozen_graph.load(path)


def ir_seeds() -> list[bytes]:
    """Return an OpenVINO IR with one convolution."""
    return [
        b'<?xml version="1.0"?><net name="x" version="11"><layers>'
        b'<layer id="0" name="image" type="Parameter"><data shape="1,3,32,32" element_type="f32"/></layer>'
        b'<layer id="1" name="w" type="Const"><data element_type="f32" shape="57,3,1,1" offset="0" size="684"/></layer>'
        b'<layer id="2" name="c" type="Convolution"><data strides="1,1" dilations="1,1" pads_begin="0,0" pads_end="0,0"'
        b' auto_pad="explicit"/></layer><layer id="3" name="out" type="Result"/></layers><edges>'
        b'<edge from-layer="0" from-port="0" to-layer="2" to-port="0"/>'
        b'<edge from-layer="1" from-port="0" to-layer="2" to-port="1"/>'
        b'<edge from-layer="2" from-port="2" to-layer="3" to-port="0"/></edges></net>'
    ]


def read_ir(path: Path, data: bytes) -> None:
    """Read an OpenVINO IR."""
    from edgepose.convert.importers import openvino_ir

    xml = path.with_suffix(".xml")
    xml.write_bytes(data)
    path.with_suffix(".bin").write_bytes(bytes(684))
    openvino_ir.load(xml)


def arrays_seeds() -> list[bytes]:
    """Return a `.npz` file and a pickled dictionary in the format of caffe-tensorflow."""
    npz, npy = io.BytesIO(), io.BytesIO()
    np.savez(npz, a=np.ones((3, 3, 2, 2), np.float32), b=np.arange(4))
    nested = {"conv1": {"weights": np.ones((3, 3), np.float32), "biases": np.zeros(3, np.float32)}}
    np.save(npy, np.array(nested, dtype=object), allow_pickle=True)
    return [npz.getvalue(), npy.getvalue()]


def read_arrays(path: Path, data: bytes) -> None:
    """Read a dictionary of weights."""
    from edgepose.convert.importers import npz as arrays

    suffix = ".npz" if data[:2] == b"PK" else ".npy"
    named = path.with_suffix(suffix)
    named.write_bytes(data)
    arrays.load(named)


def onnx_seeds() -> list[bytes]:
    """Return an ONNX model with a convolution, a resize to a computed size, a padding and a normalization."""
    from tests.convert.onnx_files import OnnxWriter

    w = OnnxWriter(13)
    w.add("Conv", ["image", w.add_constant("k", np.ones((4, 3, 3, 3), np.float32))], "x", strides=[2, 2])
    w.add("Pad", ["x", w.add_constant("p", np.array([0, 0, 1, 1, 0, 0, 1, 1]))], "y")
    w.add("Conv", ["y", w.add_constant("d", np.ones((4, 1, 3, 3), np.float32))], "z", group=4, strides=[2, 2])
    rows = [w.add_constant(f"row{i}", np.ones(4, np.float32)) for i in range(4)]
    w.add("BatchNormalization", ["z", *rows], "norm")
    w.add("Shape", ["x"], "size")
    w.add("Resize", ["norm", "", "", "size"], "large", mode="linear")
    w.add("Clip", ["large", *[w.add_constant(f"c{i}", np.float32(i)) for i in (0, 6)]], "clip")
    w.add("Concat", ["clip", "x"], "both", axis=1)
    for name, maps in (("heatmaps", 19), ("pafs", 38)):
        w.add("Conv", ["both", w.add_constant(f"{name}/k", np.ones((maps, 8, 1, 1), np.float32))], name)
    return [w.finish((1, 3, 32, 32), ["heatmaps", "pafs"]).SerializeToString()]


def read_onnx(path: Path, data: bytes) -> None:
    """Read an ONNX model."""
    from edgepose.convert.importers import onnx

    onnx.load(path)


def checkpoint_seeds() -> list[bytes]:
    """Return a PyTorch checkpoint in both formats."""
    import torch

    state = {"cpm.align.0.weight": torch.ones(2, 2, 1, 1), "initial_stage.trunk.0.0.weight": torch.ones(3)}
    files = [io.BytesIO(), io.BytesIO()]
    torch.save({"state_dict": state, "iter": 3}, files[0])
    torch.save({"state_dict": state, "iter": 3}, files[1], _use_new_zipfile_serialization=False)
    return [file.getvalue() for file in files]


def read_checkpoint(path: Path, data: bytes) -> None:
    """Read a PyTorch checkpoint."""
    from edgepose.convert.importers import torch_checkpoint

    torch_checkpoint.load(path, None)


def image_seeds() -> list[bytes]:
    """Return an image in several formats."""
    import cv2

    image = np.arange(48 * 64 * 3, dtype=np.uint32).astype(np.uint8).reshape(48, 64, 3)
    return [cv2.imencode(suffix, image)[1].tobytes() for suffix in (".jpg", ".png", ".bmp", ".webp", ".tiff", ".ppm")]


def read_image(path: Path, data: bytes) -> None:
    """Read an image or a sequence of images."""
    from edgepose.runtime.io.images import decode_image

    decode_image(data, "image", 1 << 22)


def annotations_seeds() -> list[bytes]:
    """Return a small COCO annotation file."""
    person = {"id": 1, "image_id": 1, "category_id": 1, "keypoints": [1, 2, 2] * 17, "bbox": [0, 0, 9, 9], "area": 40}
    return [
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a.jpg", "width": 9, "height": 9}],
                "annotations": [person],
                "categories": [{"id": 1, "name": "person"}],
            }
        ).encode()
    ]


def read_annotations(path: Path, data: bytes) -> None:
    """Read COCO annotations."""
    from edgepose.convert.validate import coco_annotations

    coco_annotations.read(path)


def http_seeds() -> list[bytes]:
    """Return requests of browsers, proxies and scripts."""
    common = b"Host: localhost\r\n"
    browser = common + b"Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nCookie: a=1; token=x\r\nAccept: */*\r\n"
    proxy = common + b"X-Forwarded-Host: a.example, localhost\r\nX-Forwarded-Proto: https\r\n"
    return [
        b"GET / HTTP/1.1\r\n" + browser + b"\r\n",
        b"POST /door/login HTTP/1.1\r\n" + proxy + b"Content-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: 27\r\n\r\ntoken=correct-horse-battery",
        b"GET /metrics HTTP/1.1\r\n" + common + b"Authorization: Bearer correct-horse-battery\r\n\r\n",
        b"HEAD /stream.mjpg HTTP/1.0\r\nHost: [::1]:8080\r\n\r\n",
        b"GET http://localhost/healthz HTTP/1.1\r\n" + common + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"POST /door HTTP/1.1\r\n" + common + b"Content-Length: 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\n" + common + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nTrailer: x\r\n\r\n",
        b"GET /poses HTTP/1.1\r\n"
        + common
        + b"Expect: 100-continue\r\n\r\n"
        + b"GET / HTTP/1.1\r\n"
        + common
        + b"\r\n",
    ]


class _ErrorLog(logging.Handler):
    """Log handler that stores errors of the page. No request may cause an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Store one log line with its traceback."""
        self.lines.append(logging.Formatter().format(record))


@cache
def _start_page() -> tuple[int, _ErrorLog]:
    """Start the page in this process, behind a proxy with a path. Return its port and its error log."""
    from edgepose.device.monitor.stats import Stats
    from edgepose.device.sinks import wrong_tokens
    from edgepose.device.sinks.factory import open_sinks
    from edgepose.device.sinks.http import HttpSink

    wrong_tokens.MAX_WRONG_TOKENS = sys.maxsize  # mutated tokens must not lock the fuzzer out
    faults = _ErrorLog()
    logging.getLogger().addHandler(faults)
    os.environ["EDGEPOSE_HTTP_TOKEN"] = "correct-horse-battery"
    (sink,) = open_sinks(["http://127.0.0.1:0?proxy=127.0.0.1&path=/door"], Stats("x"), "blur")
    assert isinstance(sink, HttpSink)
    sink.start()
    return sink.port, faults


def _send_request(port: int, request: bytes, timeout_s: float) -> bytes:
    # Do not shut down the sending side: asyncio would close the connection before it is answered.
    with socket.create_connection(("127.0.0.1", port), timeout=5) as link, suppress(OSError):
        link.sendall(request)
        link.settimeout(timeout_s)
        return link.recv(1 << 16)
    return b""


def read_http(path: Path, data: bytes) -> None:
    """Send a request to the page.

    Expected: a status below 500 or no answer, no logged error, and an answer to the next request.
    """
    port, faults = _start_page()
    answer = _send_request(port, data, 0.05)
    status = answer[9:12]
    if answer and (not status.isdigit() or int(status) == 500):
        raise RuntimeError(f"answer {answer[:80]!r}")
    well = _send_request(
        port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer correct-horse-battery\r\n\r\n", 5
    )
    if not well.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the page answers no more: {well[:80]!r}")
    if faults.lines:
        raise RuntimeError(faults.lines.pop())


TARGETS: dict[str, tuple[Callable[[], list[bytes]], Target]] = {
    "container": (container_seeds, read_container),
    "manifest": (manifest_seeds, read_manifest),
    "config": (config_seeds, read_config),
    "rules": (rules_seeds, read_rules),
    "frozen_graph": (graph_seeds, read_graph),
    "ir": (ir_seeds, read_ir),
    "arrays": (arrays_seeds, read_arrays),
    "onnx": (onnx_seeds, read_onnx),
    "checkpoint": (checkpoint_seeds, read_checkpoint),
    "image": (image_seeds, read_image),
    "annotations": (annotations_seeds, read_annotations),
    "http": (http_seeds, read_http),
}


def _raise_timeout(number: int, frame: FrameType | None) -> None:
    raise RuntimeError(f"took longer than {TIMEOUT_S} s")


def run_target(name: str, minutes: float, seed: int) -> int:
    """Fuzz one target in this process. The current input is always in build/fuzz/TARGET-current."""
    faulthandler.enable()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    make_seeds, target = TARGETS[name]
    seeds = make_seeds()
    rng, count, found = random.Random(seed), 0, 0
    signal.signal(signal.SIGALRM, _raise_timeout)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    current = FINDINGS / f"{name}-current"
    end = time.monotonic() + minutes * 60
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input"
        while time.monotonic() < end:
            data = mutate(rng, rng.choice(seeds))
            current.write_bytes(data)
            path.write_bytes(data)
            count += 1
            signal.alarm(TIMEOUT_S)
            try:
                target(path, data)
                if len(seeds) < 200 and rng.random() < 0.02 and len(data) < 100_000:
                    seeds.append(data)
            except EdgePoseError:
                pass
            except Exception as error:
                found += 1
                kept = FINDINGS / f"{name}-{type(error).__name__}-{found}"
                kept.write_bytes(data)
                print(f"{name}: {type(error).__name__}: {str(error)[:200]}; kept in {kept}", flush=True)
                if found >= 20:
                    break
            finally:
                signal.alarm(0)
    current.unlink()
    print(f"{name}: {count} inputs, {found} findings", flush=True)
    return 1 if found else 0


def main() -> int:
    """Run every target in a separate process, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--minutes", type=float, default=0.2, help="for each target (default: 0.2)")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    FINDINGS.mkdir(parents=True, exist_ok=True)
    if arguments.inside:
        return run_target(arguments.targets[0], arguments.minutes, arguments.seed)
    if unknown := set(arguments.targets) - set(TARGETS):
        parser.error(f"unknown targets {', '.join(sorted(unknown))}; expected {', '.join(TARGETS)}")
    failed = []
    for name in arguments.targets or TARGETS:
        command = [
            sys.executable, "-m", "tests.fuzz.fuzz", "--inside", "--minutes", str(arguments.minutes), "--seed",
            str(arguments.seed), name,
        ]  # fmt: skip
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        if code:
            failed.append(name)
        if code < 0:
            print(f"{name}: the process died ({signal.Signals(-code).name}) at build/fuzz/{name}-current", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
