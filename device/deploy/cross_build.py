"""Cross-compiler of the wheels for all boards: `make wheels`. Neither the board nor this machine needs its compiler.

`zig cc` includes the headers and libraries of every target. The only header of Python that differs between machines is
`pyconfig.h`. With the stable ABI only the sizes of types differ in it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

_SOURCE_FOLDER = Path(__file__).resolve().parent.parent.parent
_SIZES_32 = {
    "SIZEOF_LONG": 4, "SIZEOF_VOID_P": 4, "SIZEOF_SIZE_T": 4, "SIZEOF_UINTPTR_T": 4, "SIZEOF_PTHREAD_T": 4,
    "SIZEOF_LONG_DOUBLE": 8, "SIZEOF_PID_T": 4, "ALIGNOF_LONG": 4, "ALIGNOF_SIZE_T": 4,
}  # fmt: skip
_BUILD_NUMBER = "1board"
"""Marks wheels without `convert` and `benchmarks`, which boards do not need."""


@dataclass(frozen=True)
class BuildTarget:
    """Target of a build. All boards have a newer glibc than 2.17."""

    triple: str
    cpu: str
    platform: str
    type_sizes: dict[str, int] = field(default_factory=dict)


TARGETS = {
    "x86_64": BuildTarget("x86_64-linux-gnu.2.17", "x86_64_v2", "manylinux2014_x86_64"),
    "aarch64": BuildTarget("aarch64-linux-gnu.2.17", "cortex_a53", "manylinux2014_aarch64"),
    "armv7l": BuildTarget("arm-linux-gnueabihf.2.17", "cortex_a7", "manylinux2014_armv7l", _SIZES_32),
    "armv6l": BuildTarget("arm-linux-gnueabihf.2.17", "arm1176jzf_s", "linux_armv6l", _SIZES_32),
}
"""Targets by the machine name of `uname -m`. An armv6l wheel can be tested here on newer processors only."""


def build(architecture: str, output: Path) -> None:
    """Build the wheel of one architecture into the folder `output`.

    Raises:
        subprocess.CalledProcessError: The build has failed.
    """
    target = TARGETS[architecture]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        compiler = _write_compiler_script(scratch, target)
        environment = {
            **os.environ, "CC": f"{compiler}", "CXX": f"{compiler}", "LDSHARED": f"{compiler} -shared -s",
            "_PYTHON_HOST_PLATFORM": f"linux-{architecture}", "ARCHFLAGS": "", "EDGEPOSE_WHEEL": "board",
        }  # fmt: skip
        # Built from a copy: two builds in one folder would mix their object files.
        source = scratch / "source"
        ignored = shutil.ignore_patterns(".*", "build", "dist", "*.so", "*.egg-info", "__pycache__", "tests")
        shutil.copytree(_SOURCE_FOLDER, source, ignore=ignored)
        subprocess.run(
            [sys.executable, "setup.py", "-q", "bdist_wheel", "-d", output.resolve(), "--plat-name", target.platform,
             "--build-number", _BUILD_NUMBER],
            cwd=source, env=environment, check=True,
        )  # fmt: skip


def _write_compiler_script(scratch: Path, target: BuildTarget) -> Path:
    """Write a compiler script that compiles for the target and ignores the options for this machine."""
    headers = scratch / "include"
    shutil.copytree(sysconfig.get_path("include"), headers)
    config = headers / "pyconfig.h"
    text = config.read_text()
    for name, size in target.type_sizes.items():
        text, found = re.subn(rf"(#define {name}) \d+", rf"\1 {size}", text)
        if not found:
            raise ValueError(f"{config}: {name} is not defined")
    config.write_text(text)
    script = scratch / "cc"
    # Removes the options that this machine's Python was built with, and its headers.
    script.write_text(
        "#!/bin/sh\nfor word do\n  shift\n  case $word in\n"
        "    -Wl,-O1|-march=*|-mtune=*|-fstack-protector*|-I*/include/python3*|-L*) ;;\n"
        '    *) set -- "$@" "$word" ;;\n  esac\ndone\n'
        f'exec {sys.executable} -m ziglang cc -target {target.triple} -mcpu={target.cpu} -I{headers} "$@"\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script


def main() -> None:
    """Build the wheels named on the command line; by default all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("architectures", nargs="*", default=[*TARGETS], help=", ".join(TARGETS))
    parser.add_argument("-o", "--output", type=Path, default=_SOURCE_FOLDER / "dist")
    arguments = parser.parse_args()
    for architecture in arguments.architectures:
        build(architecture, arguments.output)
    wheels = sorted(arguments.output.glob("*.whl"))
    sums = [f"{hashlib.sha256(wheel.read_bytes()).hexdigest()}  {wheel.name}\n" for wheel in wheels]
    # Format of sha256sum. `edgepose deploy` refuses a wheel that is not in this file.
    (arguments.output / "SHA256SUMS").write_text("".join(sums))
    for wheel in wheels:
        print(f"{wheel}  {wheel.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
