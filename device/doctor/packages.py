"""Checks of Python, of the packages that edgepose needs, and of the extras."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from signal import Signals
from typing import Any

from ...runtime.install_hint import make_install_command, make_package_install_command
from ...runtime.version import get_version
from ..deploy.check import Check
from ..deploy.facts import Facts

_TIMEOUT_S = 120
_NUMPY1_PACKAGES = "'numpy<2' 'opencv-python-headless<4.12'"
_DISTRIBUTIONS = {"NumPy": "numpy", "OpenCV": "opencv-python-headless"}
_SYSTEM_PACKAGES = Path("/usr/lib/python3/dist-packages")


@dataclass(frozen=True)
class Extra:
    """An extra of edgepose: what it is for, and the modules that it installs."""

    purpose: str
    modules: tuple[str, ...]


EXTRAS = {
    "camera": Extra("sinks http:// and mqtt://, metrics", ("aiohttp", "paho.mqtt", "prometheus_client")),
    "convert": Extra(
        "edgepose convert, edgepose models download",
        ("tensorflow", "pooch", "pypi_simple", "threadpoolctl", "matplotlib"),
    ),
    "deploy": Extra(
        "edgepose deploy, status, rollback, doctor HOST", ("pyinfra", "packaging", "paramiko", "gevent")
    ),
    "edit": Extra("edgepose events edit", ("aiohttp", "tomlkit")),
    "eval": Extra("edgepose eval", ("pycocotools",)),
    "onnx": Extra("edgepose convert of .onnx files", ("onnx",)),
    "plot": Extra("edgepose profile --plot", ("matplotlib",)),
    "supervision": Extra("EstimateResult.to_supervision", ("supervision",)),
    "tflite": Extra("the older interpreter, for Python 3.11", ("tflite_runtime",)),
    "train": Extra("training of the default models", ("torch",)),
    "video": Extra("H.264 videos", ("av",)),
}  # fmt: skip
"""Extras by name, without `dev`."""

_WORKSTATION_EXTRAS = ("convert", "eval", "onnx", "plot")


def check_python(facts: Facts) -> Iterator[Check]:
    """Show system, Python and edgepose."""
    python = ".".join(map(str, facts.python))
    yield Check("system and Python", "ok", f"{facts.os or 'unknown system'}, {facts.tag}, Python {python}")
    in_environment = sys.prefix != sys.base_prefix
    kind = "virtual environment" if in_environment else "not in a virtual environment"
    folder = Path(__file__).resolve().parent.parent.parent
    source = f"from the checkout {folder}" if (folder / "pyproject.toml").is_file() else f"in {folder}"
    yield Check("edgepose", "ok", f"{get_version() or 'version unknown'} {source}")
    yield Check("environment", "ok", f"{sys.executable}, {kind}")


def run_trial(*, include_picamera2: bool) -> tuple[dict[str, dict[str, Any]], str]:
    """Run `trial` in a child process.

    Returns:
        The results by name, and why the process ended early; empty if it did not.
    """
    words = [sys.executable, "-P", "-m", "edgepose.device.doctor.trial", *["picamera2"] * include_picamera2]
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False)
        output, problem = done.stdout, _describe_end(done.returncode, done.stderr)
    except subprocess.TimeoutExpired as end:
        # bytes, even with text=True
        output = end.stdout.decode(errors="replace") if isinstance(end.stdout, bytes) else end.stdout or ""
        problem = f"no result within {_TIMEOUT_S} s"
    results: dict[str, dict[str, Any]] = {}
    for line in output.splitlines():
        try:
            result = json.loads(line)
            results[result.pop("name")] = result
        except (ValueError, KeyError, AttributeError):
            continue
    return results, problem


def _describe_end(code: int, message: str) -> str:
    if code < 0:
        return f"the process crashed ({Signals(-code).name})"
    if code:
        lines = message.strip().splitlines()
        return lines[-1][:300] if lines else f"exit code {code}"
    return ""


def check_packages(results: Mapping[str, Mapping[str, Any]], problem: str) -> Iterator[Check]:
    """Return the checks of NumPy, OpenCV, decoder, interpreter, trial inference and Picamera2."""
    for name, result in results.items():
        error = str(result.get("error", ""))
        if name == "picamera2":
            yield _check_picamera2(error)
        elif error:
            yield Check(name, "failed", *_split_error(name, error))
        elif name == "interpreter":
            others = "".join(f"; {other} is installed too" for other in result["others"])
            yield Check(name, "ok", f"{result['package']} {result['version']}{others}")
        elif "time_ms" in result:
            yield _check_inference(name, result)
        else:
            yield Check(name, "ok", f"{result['version']} {result['path']}".strip())
    if problem:
        last = list(results)[-1] if results else "the start"
        fix = "attach the report to an issue: edgepose doctor --report report.md"
        yield Check("trial", "failed", f"{problem} after {last}", fix)


def _check_inference(name: str, result: Mapping[str, Any]) -> Check:
    people = "person" if result["expected"] == 1 else "people"
    threads = f"{result['threads']} thread{'s' * (result['threads'] != 1)}"
    speed = f"{result['time_ms']:.1f} ms per image (median of {result['runs']}, {threads})"
    seen = f"{result['model']}: {result['people']} of {result['expected']} {people} found in the test scene, {speed}"
    if result["difference"]:
        fix = "the interpreter computes other values than on the machine that made the model; attach the report to an "
        return Check(
            name, "failed", f"{seen}; {result['difference']}", f"{fix}issue: edgepose doctor --report report.md"
        )
    return Check(name, "ok", seen)


def _split_error(name: str, error: str) -> tuple[str, str]:
    """Return what was found and what to do. Our own messages have both, separated by a semicolon."""
    if is_numpy_mismatch(error):
        return error, f"NumPy and this package do not fit together: {make_numpy1_command()}"
    if name in _DISTRIBUTIONS:
        return error, make_package_install_command(_DISTRIBUTIONS[name])
    if name == "decoder kernel":
        return (
            error,
            "install edgepose again; from a checkout this needs a C compiler: sudo apt install gcc python3-dev",
        )
    seen, _, fix = error.partition("; ")
    return seen, fix or "attach the report to an issue: edgepose doctor --report report.md"


def is_numpy_mismatch(error: str) -> bool:
    """Return True if the error of an import means that a package was compiled for another version of NumPy."""
    text = error.lower()
    return "dtype size changed" in text or "_array_api" in text or ("numpy" in text and "compiled using" in text)


def make_numpy1_command() -> str:
    """Return the command that replaces NumPy 2 from pip by one that fits packages of Debian 12."""
    return f"{make_package_install_command('PACKAGES').removesuffix('PACKAGES')}{_NUMPY1_PACKAGES}"


def _check_picamera2(error: str) -> Check:
    name = "picamera2"
    if not error:
        return Check(name, "ok", "can be imported")
    if is_numpy_mismatch(error):
        return Check(name, "failed", error, f"a NumPy from pip hides the one from apt: {make_numpy1_command()}")
    if "No module named 'picamera2'" not in error:
        return Check(name, "failed", error, "sudo apt install --reinstall python3-picamera2")
    if (_SYSTEM_PACKAGES / "picamera2").is_dir():
        fix = "create the environment with python3 -m venv --system-site-packages"
        return Check(name, "warning", "installed with apt, but this environment does not include it", fix)
    return Check(name, "warning", "not installed", "sudo apt install python3-picamera2 (for a camera module)")


def check_extras() -> Iterator[Check]:
    """Show which extras are installed, and the command for each of the others. Imports nothing."""
    installed, missing = [], {}
    for name, extra in EXTRAS.items():
        absent = [module for module in extra.modules if not _is_installed(module)]
        if not absent:
            installed.append(name)
        elif _is_useful(name):
            missing[name] = absent
    yield Check("extras", "ok", f"installed: {', '.join(installed) or 'none'}")
    for name, absent in missing.items():
        extra = EXTRAS[name]
        is_partial = len(absent) < len(extra.modules)
        state = f"incomplete, {', '.join(absent)} missing" if is_partial else "not installed"
        yield Check(f"extra {name}", "missing", f"{state}: {extra.purpose}", make_install_command(name))


def _is_useful(name: str) -> bool:
    """Return True if a missing extra would add something to this installation."""
    if name == "tflite":
        return sys.version_info < (3, 12) and not _is_installed("ai_edge_litert")
    if name == "train":  # it is used by a target of the Makefile
        return (Path(__file__).resolve().parent.parent.parent / "Makefile").is_file()
    # What `edgepose deploy` installs on a board has no converter.
    return name not in _WORKSTATION_EXTRAS or _is_installed("edgepose.convert")


def _is_installed(module: str) -> bool:
    try:
        return util.find_spec(module) is not None
    except (ImportError, ValueError):  # the package of a submodule is missing, or broken
        return False


def has_extra(name: str) -> bool:
    """Return True if all modules of an extra are installed."""
    return all(map(_is_installed, EXTRAS[name].modules))


def get_user_name() -> str:
    """Return the name of the user, or the number if it has no name."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
