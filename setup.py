"""Maps the top-level folders onto the namespace package `edgepose` and builds the decoder kernel.

The metadata is in pyproject.toml; this file has what cannot be written there. Environment variables:

- `EDGEPOSE_BOUNDSCHECK=1` builds the kernel with every array access checked: slower, for tests.
- `EDGEPOSE_WHEEL=board` leaves out `convert` and `benchmarks`: the wheel that `edgepose deploy` installs on boards.
"""

import os
import re
import shutil
import sysconfig
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, find_namespace_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

# The stable ABI of CPython 3.11, the first that has the buffer protocol: one build serves 3.11 and later.
STABLE_ABI = "0x030B0000"
FOR_BOARD = os.environ.get("EDGEPOSE_WHEEL") == "board"
PAGE_URL = "https://github.com/edgepose/edgepose/blob/main/"
RAW_URL = "https://raw.githubusercontent.com/edgepose/edgepose/main/"
PARTS = ("runtime", "device") if FOR_BOARD else ("runtime", "convert", "device", "benchmarks")


def packages_in(part: str) -> list[str]:
    """Return the packages below a part, without the one that becomes the root of `edgepose`.

    Folders that hold only data, such as web pages and models, are packages for setuptools too.
    """
    found = find_namespace_packages(part, exclude=["*__pycache__*"])
    return [f"{part}.{inner}" for inner in found if (part, inner) != ("runtime", "root")]


class BuildKernel(build_ext):
    """Says in one line what is missing, where the compiler would print a screenful."""

    def build_extensions(self) -> None:
        """Check the compiler and the headers of Python, then build."""
        compiler = self.compiler.compiler_so[0]
        headers = Path(sysconfig.get_path("include"))
        if shutil.which(compiler) is None:
            raise CompileError(f"no C compiler: {compiler} not found; on Debian and Ubuntu: sudo apt install gcc")
        if not (headers / "Python.h").is_file():
            raise CompileError(f"no headers of Python in {headers}; on Debian and Ubuntu: sudo apt install python3-dev")
        super().build_extensions()


def read_description() -> str:
    """Return the README with absolute links: on a package index, relative ones lead nowhere."""
    text = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
    absolute = r"(?!https?:|mailto:|#)"
    text = re.sub(rf'(src="){absolute}', rf"\1{RAW_URL}", text)
    text = re.sub(rf"(!\[[^]]*\]\(){absolute}", rf"\1{RAW_URL}", text)
    return re.sub(rf"(\]\(|^\[[^]]+\]: +){absolute}", rf"\1{PAGE_URL}", text, flags=re.MULTILINE)


checked = os.environ.get("EDGEPOSE_BOUNDSCHECK") == "1"
kernel = Extension(
    "edgepose.runtime._decode",
    ["runtime/_decode.pyx"],
    define_macros=[("Py_LIMITED_API", STABLE_ABI), *([("EDGEPOSE_BOUNDSCHECK", "1")] if checked else [])],
    py_limited_api=True,
    extra_compile_args=["-O3", "-g0", "-fno-math-errno"],
)

setup(
    long_description=read_description(),
    long_description_content_type="text/markdown",
    cmdclass={"build_ext": BuildKernel},
    packages=["edgepose", *(f"edgepose.{name}" for part in PARTS for name in (part, *packages_in(part)))],
    # The root of the package is a folder of one file: there is no folder `edgepose` in the checkout.
    package_dir={"edgepose": "runtime/root", **{f"edgepose.{part}": part for part in PARTS}},
    package_data={
        "edgepose.runtime": ["py.typed", "*.pyi", "models.toml", "models/*.tflite", "skeletons/*.toml"],
        **{f"edgepose.{part}": ["py.typed"] for part in PARTS[1:]},
        "edgepose.device.sinks": ["page/*", "page/uplot/*"],
        "edgepose.device.editor": ["page/*"],
        "edgepose.device.deploy": ["pins/*.txt"],
        "edgepose.device.deploy.board": ["*.sh"],
        **({} if FOR_BOARD else {"edgepose.benchmarks.micro": ["instructions.json"]}),
    },
    ext_modules=cythonize(
        [kernel],
        build_dir="build/cython-checked" if checked else "build/cython",
        compiler_directives={"boundscheck": checked, "wraparound": False, "initializedcheck": False, "cdivision": True},
    ),
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
