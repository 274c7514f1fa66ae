"""Tells from its content what a file is that was given as a model and is none.

Downloads go wrong in the same few ways: a Git LFS pointer or an HTML page instead of the file, an archive that was not
unpacked, a format of another framework.
"""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

_HEAD_BYTES = 4096
_MAX_SCAN_BYTES = 64 << 20

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; run `git lfs pull`, or download the file"),
    (b"\x1f\x8b", "a gzip archive; unpack it first (`gunzip` or `tar xzf`)"),
    (b"\xfd7zXZ\0", "an xz archive; unpack it first (`unxz` or `tar xJf`)"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive; unpack it first (`unzstd`)"),
    (b"BZh", "a bzip2 archive; unpack it first (`bunzip2` or `tar xjf`)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it first"),
    (b"Rar!\x1a\x07", "a RAR archive; unpack it first"),
    (b"\x89HDF\r\n\x1a\n", "a Keras or HDF5 file; name it .h5 (a model) or .weights.h5 (weights alone)"),
    (b"\x93NUMPY", "a NumPy array; name it .npy"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"GIF8", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"%PDF-", "a PDF document"),
    (b"\x7fELF", "a program or library"),
    (b"MZ", "a Windows program"),
    (b"ftrt", "a TensorRT engine; give the network that it was built from"),
    (b"ptrt", "a TensorRT engine; give the network that it was built from"),
    (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19", "a PyTorch checkpoint; export the network as TFLite or SavedModel"),
    (b"\x80\x02", "a Python pickle; it is not loaded, because it can run code"),
    (b"\x80\x03", "a Python pickle; it is not loaded, because it can run code"),
    (b"\x80\x04", "a Python pickle; it is not loaded, because it can run code"),
    (b"\x80\x05", "a Python pickle; it is not loaded, because it can run code"),
)
EDGE_TPU = "compiled for the Edge TPU; give the .tflite that it was compiled from"


def describe(path: Path) -> str | None:
    """Return what a file is, and what to do, as the end of a sentence "this is ..."; None where that is not known.

    Files that edgepose reads are described as well, since they may have been given in the wrong place. Never raises
    for the content of a file.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return None
    if not head:
        return "an empty file; download it again"
    if head[4:8] == b"TFL3":
        return EDGE_TPU if is_edge_tpu(path) else "a TFLite model; name it .tflite"
    if head.startswith(b"PK\x03\x04"):
        return _zip(path)
    found = next((text for magic, text in _MAGIC if head.startswith(magic)), None)
    if found is not None:
        return found
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it first (`tar xf`)"
    if head[4:8] == b"ftyp":
        return "a video or an image"
    if not head.strip(b"\0"):
        return f"a file of zeros ({size} bytes), as an interrupted download leaves it; download it again"
    return _text(head) or _protobuf(head)


def is_edge_tpu(path: Path) -> bool:
    """Return whether a TFLite file holds operators of the Edge TPU, which no other processor runs."""
    try:
        with path.open("rb") as file:
            return b"edgetpu-custom-op" in file.read(_MAX_SCAN_BYTES)
    except OSError:
        return False


def _zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError):
        return "a damaged ZIP archive, perhaps an interrupted download; download it again"
    if any(name.endswith("data.pkl") for name in names):
        return "a PyTorch checkpoint; export the network as TFLite or SavedModel"
    if {"config.json", "model.weights.h5"} <= set(names):
        return "a Keras model; name it .keras"
    if any(name.endswith(("com.apple.CoreML", ".mlmodel")) for name in names):
        return "a Core ML model; give the network that it was made from"
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy archive; name it .npz"
    return "a ZIP archive; unpack it first"


def _text(head: bytes) -> str | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    lower = text[:512].lower()
    if lower.startswith((b"<!doctype html", b"<html")) or (b"<html" in lower and lower.startswith(b"<")):
        return "an HTML page, such as a login or an error page; download the file itself"
    if lower.startswith((b"<?xml", b"<")):
        return _xml(text)
    if re.match(rb"(node|library|versions)\s*\{", text):
        return "a graph in text form (.pbtxt); convert it to the binary form, or freeze the checkpoint"
    if lower.startswith((b"{", b"[")):
        return _json(text)
    if head.isascii() and head.decode("ascii").isprintable() is False and b"\0" not in head and b"\n" in head:
        first = head.split(b"\n", 1)[0][:60].decode("ascii", "replace").strip()
        return f"a text file (it begins with {first!r})"
    return None


def _xml(text: bytes) -> str:
    if b"<net" in text[:1024]:
        return "an OpenVINO IR; name it .xml, with the .bin beside it"
    code = re.search(rb"<Code>([^<]{1,60})</Code>", text)
    if code is not None:
        return f"an error message of a server ({code[1].decode('ascii', 'replace')}); download the file again"
    return "an XML document"


def _json(text: bytes) -> str:
    if b'"modelTopology"' in text or b'"weightsManifest"' in text:
        return "a TensorFlow.js model; give the network that it was made from"
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return "a JSON document"
    message = document.get("message") or document.get("error") if isinstance(document, dict) else None
    return f"an error message of a server ({message[:60]!r})" if isinstance(message, str) else "a JSON document"


def _protobuf(head: bytes) -> str | None:
    # The first field of an ONNX model is its version, of a SavedModel too; of a graph it is the first node.
    if head[:1] == b"\x08" and re.match(rb"\x08.\x12.{1,40}?(pytorch|onnx|tf2onnx|keras2onnx|paddle)", head, re.DOTALL):
        return "an ONNX model; convert the network that it was made from"
    if head[:2] == b"\x08\x01" and head[2:3] == b"\x12":
        return "the graph file of a SavedModel; give the folder that holds saved_model.pb and variables/"
    if head[:1] == b"\x0a" and re.match(
        rb"\x0a..?\x0a.{1,200}?\x12.(Placeholder|Const|Conv2D|Identity)", head, re.DOTALL
    ):
        return "a TensorFlow frozen graph; name it .pb"
    return None
