"""The shape of the repository: layers, and that everything is imported under one name."""

from __future__ import annotations

import ast
import subprocess
import sys
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
HEAVY = {"tensorflow", "pycocotools", "pooch", "matplotlib"}


def sources() -> list[Path]:
    return [path for part in PARTS for path in sorted((ROOT / part).rglob("*.py"))]


def imported(tree: ast.AST, path: Path) -> set[str]:
    """Absolute names of what a module imports, relative ones resolved."""
    package = ["edgepose", *path.relative_to(ROOT).parts[:-1]]
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            names.add(".".join([*base, *([node.module] if node.module else [])]))
    return names


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_layers(path: Path) -> None:
    tree = ast.parse(path.read_text())
    part = path.relative_to(ROOT).parts[0]
    for name in imported(tree, path):
        if name.startswith("edgepose."):
            assert name.split(".")[1] in ALLOWED[part], f"{part} imports {name}"
        assert name.split(".")[0] not in PARTS, f"{name} must be imported as edgepose.{name}"
    top_level = {name.split(".")[0] for node in tree.body for name in imported(ast.Module([node], []), path)}
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    inside = {name.split(".")[0] for node in functions for name in imported(node, path)}
    assert not HEAVY & (top_level - inside), "heavy imports belong inside the function that needs them"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{node.name} is too long"


def test_nothing_is_imported_under_two_names() -> None:
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "import edgepose.runtime.cli.main as cli, edgepose.benchmarks.micro.decoder, edgepose.device.monitor.board\n"
        "for command in cli.COMMANDS.values(): __import__(command.module)\n"
        f"bare = set(sys.modules) & set({PARTS!r})\n"
        "assert not bare, bare\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_runtime_needs_nothing_of_the_extras() -> None:
    blocked = "; ".join(f"sys.modules[{name!r}] = None" for name in sorted(HEAVY | {"hypothesis", "pytest"}))
    code = f"import sys; {blocked}\nfrom edgepose.runtime import PoseEstimator\nimport edgepose.runtime.cli.run\n"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_all_names_of_the_runtime_are_there() -> None:
    import edgepose.runtime as runtime

    for name in runtime.__all__:
        assert getattr(runtime, name).__name__ if name != "COCO18" else runtime.COCO18
    with pytest.raises(AttributeError):
        _ = runtime.nothing  # type: ignore[attr-defined]
