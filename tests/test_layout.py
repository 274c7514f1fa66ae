"""Structure of the repository: import layers, and one import name per module."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("convert", "runtime", "device", "benchmarks")
ALLOWED = {
    "runtime": {"runtime"},
    "convert": {"convert", "runtime"},
    "device": {"device", "runtime"},
    "benchmarks": set(PARTS),
}
HEAVY = {"tensorflow", "pycocotools", "pooch", "matplotlib", "av"}

pytestmark = pytest.mark.once


def list_sources() -> list[Path]:
    return [path for part in PARTS for path in sorted((ROOT / part).rglob("*.py"))]


def find_imports(tree: ast.AST, path: Path) -> set[str]:
    """Return the absolute names of all imports of a module; relative imports are resolved."""
    package = ["edgepose", *path.relative_to(ROOT).parts[:-1]]
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            names.add(".".join([*base, *([node.module] if node.module else [])]))
    return names


@pytest.mark.parametrize("path", list_sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_layers(path: Path) -> None:
    tree = ast.parse(path.read_text())
    part = path.relative_to(ROOT).parts[0]
    for name in find_imports(tree, path):
        if name.startswith("edgepose."):
            assert name.split(".")[1] in ALLOWED[part], f"{part} imports {name}"
        assert name.split(".")[0] not in PARTS, f"{name} must be imported as edgepose.{name}"
    top_level = {name.split(".")[0] for node in tree.body for name in find_imports(ast.Module([node], []), path)}
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    inside = {name.split(".")[0] for node in functions for name in find_imports(node, path)}
    assert not HEAVY & (top_level - inside), "heavy imports belong inside the function that needs them"


def test_no_module_is_imported_under_two_names() -> None:
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "import edgepose.runtime.cli.main as cli, edgepose.benchmarks.micro.decoder, edgepose.device.monitor.board\n"
        "for command in cli.COMMANDS.values(): __import__(command.module)\n"
        f"bare = set(sys.modules) & set({PARTS!r})\n"
        "assert not bare, bare\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_runtime_needs_no_extras() -> None:
    blocked = "; ".join(f"sys.modules[{name!r}] = None" for name in sorted(HEAVY | {"hypothesis", "pytest"}))
    code = f"import sys; {blocked}\nfrom edgepose.runtime import PoseEstimator\nimport edgepose.runtime.cli.run\n"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_all_names_of_the_runtime_can_be_imported() -> None:
    import edgepose.runtime as runtime

    for name in runtime.__all__:
        assert getattr(runtime, name).__name__ if name != "COCO18" else runtime.COCO18
    with pytest.raises(AttributeError):
        _ = runtime.nothing  # type: ignore[attr-defined]


def test_a_wheel_has_the_api_at_its_root(tmp_path: Path) -> None:
    """Use the wheel as users install it, without the checkout and without an editable install."""
    build = [sys.executable, "setup.py", "-q", "build", "--build-base", str(tmp_path / "build")]
    subprocess.run([*build, "bdist_wheel", "-d", str(tmp_path)], check=True, cwd=ROOT, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert "edgepose/__init__.py" in names
    assert not [name for name in names if name.startswith(("edgepose/runtime/root", "runtime", "tests"))]
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "import edgepose, edgepose.runtime.cli.main as main\n"
        f"assert edgepose.__file__.startswith({str(tmp_path)!r}), edgepose.__file__\n"
        "for name in edgepose.__all__: getattr(edgepose, name)\n"
        "for command in main.COMMANDS.values(): __import__(command.module)\n"
        f"outside = [m.__file__ for n, m in sys.modules.items() if n.startswith('edgepose.') and m.__file__ and not "
        f"m.__file__.startswith({str(tmp_path)!r})]\n"
        "assert not outside, outside\n"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True)


def test_a_board_wheel_runs_the_loop_without_convert_and_benchmarks(tmp_path: Path) -> None:
    build = [sys.executable, "setup.py", "-q", "build", "--build-base", str(tmp_path / "build")]
    environment = {**os.environ, "EDGEPOSE_WHEEL": "board"}
    subprocess.run(
        [*build, "bdist_wheel", "-d", str(tmp_path)], check=True, cwd=ROOT, capture_output=True, env=environment
    )
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        parts = {name.split("/")[1] for name in names if name.startswith("edgepose/")}
        archive.extractall(tmp_path / "site")
    assert parts == {"__init__.py", "events.py", "runtime", "device"}
    folders = ("device/sinks/page", "device/editor/page", "device/deploy/pins")
    data = {path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()}
    assert len(data) > 20
    assert {f"edgepose/{path}" for path in data} <= set(names)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        # The editable install of the checkout knows all parts.
        "sys.meta_path[:] = [finder for finder in sys.meta_path if 'editable' not in str(finder)]\n"
        "import edgepose.device.camera.release, edgepose.device.camera.self_test, edgepose.events\n"
        "from edgepose.runtime.cli.main import main\n"
        f"assert edgepose.__file__.startswith({str(tmp_path)!r}), edgepose.__file__\n"
        "assert main(['run', 'synthetic:1']) == 0\n"
        "sys.exit(main(['convert', 'x']))\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "convert is not part of this installation" in done.stderr
