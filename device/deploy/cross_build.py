"""Wheels for every board from one workstation: `make wheels`. No compiler on the board, none of the board's here.

`zig cc` brings headers and libraries of every target. Of Python only `pyconfig.h` differs from machine to machine, and
of that, under the stable ABI, only the sizes of types.
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

_SOURCE = Path(__file__).resolve().parent.parent.parent
_SIZES_32 = {
    "SIZEOF_LONG": 4, "SIZEOF_VOID_P": 4, "SIZEOF_SIZE_T": 4, "SIZEOF_UINTPTR_T": 4, "SIZEOF_PTHREAD_T": 4,
    "SIZEOF_LONG_DOUBLE": 8, "SIZEOF_PID_T": 4, "ALIGNOF_LONG": 4, "ALIGNOF_SIZE_T": 4,
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """What a wheel is built for. glibc 2.17 is older than any board's."""

    triple: str
    cpu: str
    platform: str
    sizes: dict[str, int] = field(default_factory=dict)


TARGETS = {
    "x86_64": Target("x86_64-linux-gnu.2.17", "x86_64_v2", "manylinux2014_x86_64"),
    "aarch64": Target("aarch64-linux-gnu.2.17", "cortex_a53", "manylinux2014_aarch64"),
    "armv7l": Target("arm-linux-gnueabihf.2.17", "cortex_a7", "manylinux2014_armv7l", _SIZES_32),
    "armv6l": Target("arm-linux-gnueabihf.2.17", "arm1176jzf_s", "linux_armv6l", _SIZES_32),
}
"""By the machine's name as `uname -m` gives it. An armv6l wheel can be run here on newer processors only."""


def build(architecture: str, output: Path) -> None:
    """The wheel of one architecture, into the folder `output`. Raises CalledProcessError where it cannot be built."""
    target = TARGETS[architecture]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        compiler = _compiler(scratch, target)
        environment = {
            **os.environ, "CC": f"{compiler}", "CXX": f"{compiler}", "LDSHARED": f"{compiler} -shared -s",
            "_PYTHON_HOST_PLATFORM": f"linux-{architecture}", "ARCHFLAGS": "",
        }  # fmt: skip
        # From a copy: two builds in one folder would mix their object files.
        source = scratch / "source"
        ignored = shutil.ignore_patterns(".*", "build", "dist", "*.so", "*.egg-info", "__pycache__", "tests")
        shutil.copytree(_SOURCE, source, ignore=ignored)
        subprocess.run(
            [sys.executable, "setup.py", "-q", "bdist_wheel", "-d", output.resolve(), "--plat-name", target.platform],
            cwd=source, env=environment, check=True,
        )  # fmt: skip


def _compiler(scratch: Path, target: Target) -> Path:
    """A script that compiles for the target whatever the host's Python would have it compile for."""
    headers = scratch / "include"
    shutil.copytree(sysconfig.get_path("include"), headers)
    config = headers / "pyconfig.h"
    text = config.read_text()
    for name, size in target.sizes.items():
        text, found = re.subn(rf"(#define {name}) \d+", rf"\1 {size}", text)
        if not found:
            raise ValueError(f"{config}: no {name} to change")
    config.write_text(text)
    script = scratch / "cc"
    # What the host's Python was built with has no place here; nor have its headers.
    script.write_text(
        "#!/bin/sh\nfor word do\n  shift\n  case $word in\n"
        "    -Wl,-O1|-march=*|-mtune=*|-fstack-protector*|-I*/include/python3*|-L*) ;;\n"
        '    *) set -- "$@" "$word" ;;\n  esac\ndone\n'
        f'exec {sys.executable} -m ziglang cc -target {target.triple} -mcpu={target.cpu} -I{headers} "$@"\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script


def main() -> None:
    """Builds the wheels named on the command line, all by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("architectures", nargs="*", default=[*TARGETS], help=", ".join(TARGETS))
    parser.add_argument("-o", "--output", type=Path, default=_SOURCE / "dist")
    arguments = parser.parse_args()
    for architecture in arguments.architectures:
        build(architecture, arguments.output)
    wheels = sorted(arguments.output.glob("*.whl"))
    sums = [f"{hashlib.sha256(wheel.read_bytes()).hexdigest()}  {wheel.name}\n" for wheel in wheels]
    # As sha256sum writes it; `edgepose deploy` refuses a wheel that is not in it.
    (arguments.output / "SHA256SUMS").write_text("".join(sums))
    for wheel in wheels:
        print(f"{wheel}  {wheel.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
