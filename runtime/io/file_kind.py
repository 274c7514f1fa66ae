"""Descriptions of files that were given as a model but cannot be used, detected from their content.

Typical cases are failed downloads (a Git LFS pointer or an HTML page instead of the file), archives that were not
unpacked, and formats of other frameworks.
"""

from __future__ import annotations

import errno
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from ..model import tflite_extent
from .image_header import detect_image_kind
from .read_file import is_special_file

Use = Literal["convert", "model"]
"""How the file was given: as the source of `edgepose convert`, or as a model to run."""

_HEAD_BYTES = 4096
_MAX_TEXT_BYTES = 1 << 16
_MAX_FIELDS = 100_000
_MAX_SCAN_BYTES = 64 << 20

_DESCRIPTION_BY_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; run `git lfs pull`, or download the file"),
    (b"\x1f\x8b", "a gzip archive; unpack it first (`gunzip` or `tar xzf`)"),
    (b"\xfd7zXZ\0", "an xz archive; unpack it first (`unxz` or `tar xJf`)"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive; unpack it first (`unzstd`)"),
    (b"\x5d\0\0", "an lzma archive; unpack it first (`unlzma`)"),
    (b"\x04\x22\x4d\x18", "an LZ4 archive; unpack it first (`unlz4`)"),
    (b"BZh", "a bzip2 archive; unpack it first (`bunzip2` or `tar xjf`)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it first"),
    (b"Rar!\x1a\x07", "a RAR archive; unpack it first"),
    (b"\x89HDF\r\n\x1a\n", "a Keras or HDF5 file; {h5}"),
    (b"\x93NUMPY", "a NumPy array; {npy}"),
    (b"\x1aE\xdf\xa3", "a video or an image"),
    (b"GGUF", "a GGUF file of a language model; give a pose network"),
    (b"%PDF-", "a PDF document"),
    (b"\x7fELF", "a program or library"),
    (b"MZ", "a Windows program"),
    (b"ftrt", "a TensorRT engine; give the network that it was built from"),
    (b"ptrt", "a TensorRT engine; give the network that it was built from"),
    (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19", "a PyTorch checkpoint; {pth}"),
    (b"\x80\x02", "a Python pickle; it is not loaded, because it can run code"),
    (b"\x80\x03", "a Python pickle; it is not loaded, because it can run code"),
    (b"\x80\x04", "a Python pickle; it is not loaded, because it can run code"),
    (b"\x80\x05", "a Python pickle; it is not loaded, because it can run code"),
)
_IMAGE_KINDS = ("JPEG", "PNG", "GIF", "TIFF", "BMP", "WebP")
_ADVICE_BY_FORMAT = {
    "h5": ("name it .h5 (a model) or .weights.h5 (weights alone)", "convert it with `edgepose convert`"),
    "npy": ("name it .npy", "convert it with `edgepose convert`"),
    "npz": ("name it .npz", "convert it with `edgepose convert`"),
    "keras": ("name it .keras", "convert it with `edgepose convert`"),
    "pb": ("name it .pb", "convert it with `edgepose convert`"),
    "tflite": ("name it .tflite", "name it .tflite"),
    "onnx": ("name it .onnx", "convert it with `edgepose convert`"),
    "pth": ("name it .pth", "convert it with `edgepose convert`"),
    "xml": ("name it .xml, with the .bin beside it", "convert it with `edgepose convert`"),
    "folder": (
        "give the folder that holds saved_model.pb and variables/",
        "convert its folder with `edgepose convert`",
    ),
}
"""Advice for formats that `edgepose convert` reads: if the file was given to it, and if it was given as a model."""
_DESCRIPTION_BY_SUFFIX = {
    ".onnx": "not an ONNX model (damaged or of another kind); download or export it again",
    ".pt": "not a PyTorch checkpoint (damaged or of another kind); download or save it again",
    ".pth": "not a PyTorch checkpoint (damaged or of another kind); download or save it again",
    ".pt2": "a program of torch.export, which is not imported; use torch.onnx.export and convert the .onnx file",
    ".engine": "a TensorRT engine; give the network that it was built from",
    ".plan": "a TensorRT engine; give the network that it was built from",
    ".trt": "a TensorRT engine; give the network that it was built from",
    ".mlmodel": "a Core ML model, which is not imported; give the network that it was made from",
    ".meta": "the graph of a checkpoint without weights; give the prefix of the checkpoint, such as model.ckpt-1000",
    ".pbtxt": "a graph in text form, which is not imported; convert it to the binary form (.pb)",
    ".caffemodel": "a Caffe model, which is not imported; give a TensorFlow version of the network",
    ".prototxt": "the description of a Caffe network, which is not imported; give a TensorFlow version of the network",
    ".safetensors": "a safetensors file, which is not imported; use torch.onnx.export and convert the .onnx file",
    ".hef": "a Hailo network; give the network that it was compiled from",
    ".rknn": "an RKNN network; give the network that it was compiled from",
}
"""Formats of other frameworks that are not always recognized by their content."""
EDGE_TPU_DESCRIPTION = "compiled for the Edge TPU; give the .tflite that it was compiled from"


def describe(path: Path, use: Use | None = None) -> str | None:
    """Describe what a file is and what the user should do, as the end of a sentence "this is ...".

    Files that edgepose reads are described as well, because they may have been given in the wrong place. The content
    of a file never causes an exception.

    Args:
        path: A file, or a folder that contains a model.
        use: How the file was given, if it was given as a model. Decides the advice for formats that edgepose reads. If
            None, no advice is given for them.

    Returns:
        A description such as `a gzip archive; unpack it first`, or None if the format is unknown.
    """
    found = _describe_folder(path) if path.is_dir() else _describe_content(path)
    if use is not None and (found is None or found.startswith(("a text file", "a JSON document"))):
        found = _DESCRIPTION_BY_SUFFIX.get(path.suffix.lower(), found)
    if use is not None and found is not None and found.endswith(" image"):
        found += "; give the file of a model"
    if found is None:
        return None
    name, separator, advice = found.partition("; ")
    if advice.startswith("{"):
        if use is None:
            return name
        advice = _ADVICE_BY_FORMAT[advice[1:-1]][use == "model"]
    return name + separator + advice


def _open(path: Path) -> BinaryIO:
    """Open a file for reading. Raises OSError for FIFOs and devices, because reading them could block forever."""
    if is_special_file(path):
        raise OSError(errno.EINVAL, "expected a regular file", str(path))
    return path.open("rb")


def find_damage(path: Path) -> str | None:
    """Return the end of an error message if a TFLite file or a frozen graph is incomplete, otherwise None.

    A file is incomplete if a length in it points beyond its end, as after an interrupted download.
    """
    try:
        size = path.stat().st_size
        with _open(path) as file:
            if file.read(8)[4:] == b"TFL3":
                end = tflite_extent.find_end(file, size)
            else:
                end = max((offset + length for _, offset, length in _read_fields(file, size)), default=0)
    except (OSError, ValueError):
        return None
    if end <= size:
        return None
    return f"incomplete: the file has only {size} bytes, its content is longer; download it again"


def _describe_folder(path: Path) -> str | None:
    if (path / "saved_model.pb").is_file():
        return "the folder of a SavedModel; {folder}"
    if (path / "saved_model.pbtxt").is_file():
        return "a SavedModel in text form; export it again in binary form (saved_model.pb)"
    if (path / "Manifest.json").is_file() and path.suffix == ".mlpackage":
        return "a Core ML model; give the network that it was made from"
    if (path / "model.json").is_file():
        return "a TensorFlow.js model; give the network that it was made from"
    inside = sorted(found.parent.name for found in path.glob("*/saved_model.pb"))
    return f"a folder with a SavedModel inside; give {path.name}/{inside[-1]}" if inside else None


def _describe_content(path: Path) -> str | None:
    try:
        size = path.stat().st_size
        with _open(path) as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return None
    if not head:
        return "an empty file; download it again"
    if head[4:8] == b"TFL3":
        return EDGE_TPU_DESCRIPTION if is_edge_tpu(path) else "a TFLite model; {tflite}"
    if head.startswith(b"PK\x03\x04"):
        return _describe_zip(path)
    if (image := detect_image_kind(head[:32])) in _IMAGE_KINDS:
        return f"a {image} image"
    if head[:4] == b"RIFF":
        return "a video or an image"
    found = next((text for magic, text in _DESCRIPTION_BY_MAGIC if head.startswith(magic)), None)
    if found is not None:
        return found
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it first (`tar xf`)"
    if head[4:8] == b"ftyp":
        return "a video or an image"
    if not head.strip(b"\0"):
        return f"a file of zeros ({size} bytes), probably from an interrupted download; download it again"
    return _describe_text(path, head) or _describe_protobuf(path, head)


def is_edge_tpu(path: Path) -> bool:
    """Return True if a TFLite file contains operators for the Edge TPU, which no other processor can run.

    The first 64 MiB of the file are searched.
    """
    try:
        with _open(path) as file:
            return b"edgetpu-custom-op" in file.read(_MAX_SCAN_BYTES)
    except OSError:
        return False


def _describe_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError):
        return "a damaged ZIP archive, perhaps an interrupted download; download it again"
    if any(name.endswith("constants.pkl") for name in names):
        return "a TorchScript program; use torch.onnx.export and convert the .onnx file"
    if any(name.endswith("data.pkl") for name in names):
        return "a PyTorch checkpoint; {pth}"
    if {"config.json", "model.weights.h5"} <= set(names):
        return "a Keras model; {keras}"
    if any(name.endswith(("com.apple.CoreML", ".mlmodel")) for name in names):
        return "a Core ML model; give the network that it was made from"
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy archive; {npz}"
    return "a ZIP archive; unpack it first"


def _describe_text(path: Path, head: bytes) -> str | None:
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        head = head[: len(head) & ~1].decode("utf-16", "replace").encode()
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    lower = re.sub(rb"<!--.*?-->\s*", b"", text, flags=re.DOTALL)[:512].lower()
    if re.match(rb"<(!doctype html|html|head|body|script|title)\b", lower) or (
        b"<html" in lower and lower.startswith(b"<")
    ):
        return "an HTML page, such as a login or an error page; download the file itself"
    if lower.startswith(b"<"):
        return _describe_xml(path)
    code = re.sub(rb"(?m)^\s*#.*\n?", b"", text)
    if re.match(rb"\s*(node|library|versions|meta_graphs|meta_info_def)\s*:?\s*\{|saved_model_schema_version:", code):
        return "a graph in text form (.pbtxt); convert it to the binary form, or freeze the checkpoint"
    if text.startswith(b"model_checkpoint_path:"):
        return "a list of checkpoints; give the prefix of one checkpoint, such as model.ckpt-1000"
    if re.match(rb"\{|\[\s*[\[{\]\"0-9-]", text):
        return _describe_json(path, text)
    if re.match(rb"\((dp|lp)[0-9]|c(copy_reg|__builtin__|collections)\n", text):
        return "a Python pickle; it is not loaded, because it can run code"
    try:
        # The head may end in the middle of a character.
        decoded = head.decode("utf-8", "strict" if len(head) < _HEAD_BYTES else "ignore")
    except UnicodeDecodeError:
        return None
    if not decoded.strip() or not all(c.isprintable() or c in "\t\n\r\f" for c in decoded):
        return None
    first_line = decoded.split("\n", 1)[0] if decoded.split("\n", 1)[0].strip() else decoded.strip().split("\n", 1)[0]
    return f"a text file (it begins with {first_line.strip()[:60]!r}); download the file itself"


def _describe_xml(path: Path) -> str:
    with _open(path) as file:
        text = re.sub(rb"<!--.*?-->", b"", file.read(_MAX_TEXT_BYTES), flags=re.DOTALL)
    net = re.search(rb"<net\b[^>]*>", text)
    if net is not None:
        version = re.search(rb"\sversion=[\"']([0-9]{1,9})[\"']", net[0])
        if version is not None and int(version[1]) < 10:
            return (
                f"an OpenVINO IR of version {int(version[1])}, which is not supported; "
                "convert the network again with OpenVINO 2020.1 or later (IR version 10 or later)"
            )
        return "an OpenVINO IR; {xml}"
    code = re.search(rb"<Code>([^<]{1,60})</Code>", text)
    if code is not None:
        return f"an error message of a server ({code[1].decode('ascii', 'replace')}); download the file again"
    return "an XML document; give the file of a model"


def _describe_json(path: Path, text: bytes) -> str:
    if b'"modelTopology"' in text or b'"weightsManifest"' in text:
        return "a TensorFlow.js model; give the network that it was made from"
    try:
        document = json.loads(text) if path.stat().st_size <= _HEAD_BYTES else None
    except (ValueError, RecursionError):
        document = None
    found = document if isinstance(document, dict) else {}
    message = found.get("message") or found.get("error") or found.get("detail")
    if isinstance(message, dict):
        message = message.get("message")
    if isinstance(message, str):
        return f"an error message of a server ({message[:60]!r}); download the file again"
    return "a JSON document; give the file of a model"


def _describe_protobuf(path: Path, head: bytes) -> str | None:
    """Detect frozen graphs, SavedModels, ONNX and Core ML models from the field numbers of a protobuf message."""
    if head[:1] not in (b"\x08", b"\x0a"):
        return None
    fields: list[tuple[int, int, int]] = []
    with _open(path) as file:
        try:
            fields.extend(_read_fields(file, path.stat().st_size))
        except ValueError:
            return None
    numbers = {number for number, _, _ in fields}
    if head[:1] == b"\x0a":
        if _GRAPH_NODE_PATTERN.match(head):
            return "a TensorFlow frozen graph; {pb}"
        metagraph = 2 in numbers and [number for number, _, _ in fields].count(1) == 1
        if metagraph and head[fields[0][1] : fields[0][1] + 1] in (b"\x0a", b"\x12", b"\x22", b"\x2a"):
            return (
                "the graph of a checkpoint without weights; give the prefix of the checkpoint, such as model.ckpt-1000"
            )
        return None
    if any(number >= 200 for number in numbers):
        return "a Core ML model; give the network that it was made from"
    second = next(((offset, length) for number, offset, length in fields if number == 2), None)
    if numbers <= {1, 2} and head[:3] == b"\x08\x01\x12" and second and head[second[0] : second[0] + 1] == b"\x0a":
        return "the graph file of a SavedModel; {folder}"
    producer = head[second[0] : sum(second)] if second else b""
    known = re.search(rb"pytorch|onnx|paddle|skl|tf2|keras", producer, re.IGNORECASE)
    # An ONNX graph begins with its nodes or its name. Field 7 of a fingerprint.pb has other content.
    starts = {head[offset : offset + 1] for number, offset, length in fields if number == 7 and length}
    graph = bool(starts) and starts <= {b"\x0a", b"\x12"}
    if (graph and numbers <= {1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26}) or known:
        return "an ONNX model; {onnx}"
    return None


_GRAPH_NODE_PATTERN = re.compile(
    rb"\x0a[\x80-\xff]{0,4}[\0-\x7f]\x0a[\x80-\xff]?[\x01-\x7f][A-Za-z0-9.][^\0]{0,1000}?\x12.[A-Z]", re.DOTALL
)
"""Start of a GraphDef whose first field is a node with its name and operator."""


def _read_fields(file: BinaryIO, size: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, offset and length of every top-level field of a protobuf message.

    The last field may end beyond the end of the file.

    Raises:
        ValueError: The content is not a protobuf message.
    """
    offset = 0
    for _ in range(_MAX_FIELDS):
        if offset >= size:
            return
        file.seek(offset)
        head = file.read(20)
        tag, used = _read_varint(head)
        length = 0
        match tag & 7:
            case 0:
                _, more = _read_varint(head[used:])
                used += more
            case 1:
                length = 8
            case 2:
                length, more = _read_varint(head[used:])
                used += more
            case 5:
                length = 4
            case _:
                raise ValueError("wire type")
        if not tag >> 3:
            raise ValueError("field 0")
        yield tag >> 3, offset + used, length
        offset += used + length


def _read_varint(data: bytes) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[:10]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, index + 1
    raise ValueError("varint")
