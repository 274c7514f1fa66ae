"""Checks of what `edgepose deploy` and `make wheels` need on a workstation."""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...runtime.io.atomic import try_expand_home
from ...runtime.version import get_version
from ..deploy.check import Check

_CHECKOUT = Path(__file__).resolve().parent.parent.parent
_BOARDS = {"aarch64": "64-bit Raspberry Pi OS", "armv7l": "32-bit Raspberry Pi OS"}


def check_deploy_tools(checkout: Path = _CHECKOUT) -> Iterator[Check]:
    """Check the SSH client with its keys, and the wheels for boards."""
    yield from check_ssh(Path(try_expand_home("~/.ssh")), os.environ.get("SSH_AUTH_SOCK", ""))
    is_checkout = (checkout / "pyproject.toml").is_file()
    yield from _check_wheels((Path("dist"), checkout / "dist") if is_checkout else (Path("dist"),), is_checkout)
    if is_checkout:
        yield from _check_build_tools()


def check_ssh(folder: Path, agent: str) -> Iterator[Check]:
    """Check that there is an SSH client and a key.

    Args:
        folder: Folder with the keys of the user.
        agent: Address of the SSH agent; empty if there is none.
    """
    name = "SSH"
    if shutil.which("ssh") is None:
        yield Check(name, "missing", "no SSH client", "sudo apt install openssh-client")
        return
    keys = sorted(path.stem for path in folder.glob("*.pub"))
    if keys or agent:
        seen = ", ".join([*keys, *["an SSH agent"] * bool(agent)])
        yield Check(name, "ok", f"client installed; keys: {seen}")
    else:
        fix = "ssh-keygen -t ed25519, then ssh-copy-id USER@HOST, or give the .pub file to Raspberry Pi Imager"
        yield Check(name, "missing", f"no key in {folder}", fix)


def _check_wheels(folders: Sequence[Path], is_checkout: bool) -> Iterator[Check]:
    name, version = "wheels for boards", get_version()
    folder = next((folder for folder in folders if any(folder.glob("edgepose-*.whl"))), None)
    build = "make wheels" if is_checkout else "in a checkout: make wheels; then edgepose deploy --wheels DIR"
    if folder is None:
        yield Check(name, "missing", "not built; edgepose deploy needs them", build)
        return
    wheels = [path.name for path in folder.glob("edgepose-*.whl")]
    absent = [
        f"{tag} ({system})" for tag, system in _BOARDS.items() if not any(f"{tag}.whl" in path for path in wheels)
    ]
    tags = sorted(
        {path.rpartition("-")[2].removesuffix(".whl").rpartition("linux")[2].partition("_")[2] for path in wheels}
    )
    if version and not any(path.startswith(f"edgepose-{version}-") for path in wheels):
        yield Check(name, "warning", f"{folder} has other versions than {version}", build)
    elif absent:
        yield Check(name, "warning", f"{folder} has none for {', '.join(absent)}", build)
    else:
        yield Check(name, "ok", f"{folder.resolve()}: {', '.join(tags)}")


def _check_build_tools() -> Iterator[Check]:
    """Check the tools of `make wheels`, which brings its own compiler, and the compiler for this machine."""
    compiler = next((found for word in ("cc", "gcc", "clang") if (found := shutil.which(word))), None)
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    missing = [
        name
        for name, found in (("make", shutil.which("make")), ("gcc", compiler), ("python3-dev", headers.is_file()))
        if not found
    ]
    if missing:
        seen = f"not installed: {', '.join(missing)}; make and python3-dev are for make wheels, gcc for pip install"
        yield Check("build tools", "missing", seen, f"sudo apt install {' '.join(missing)}")
    else:
        yield Check("build tools", "ok", f"make, {compiler}, Python headers")
