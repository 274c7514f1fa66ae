"""Reference pages that are made from the code: `make reference` writes them, a test compares them.

Command line (`cli`), configuration file (`configuration`), messages and their JSON Schemas (`message`).
"""

from __future__ import annotations

from pathlib import Path

from . import cli, configuration, message


def make_files() -> dict[str, str]:
    """Return the text of every generated file by its path in docs/."""
    return {**cli.make_pages(), configuration.PAGE: configuration.make_page(), **message.make_files()}


def write_pages(folder: Path) -> None:
    """Write all generated files into the folder docs/, and remove command pages and schemas that are not used."""
    files = make_files()
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for path in list_generated(folder):
        if path.relative_to(folder).as_posix() not in files:
            path.unlink()


def list_generated(folder: Path) -> list[Path]:
    """Return the files in the folders that contain only generated files."""
    return [*folder.glob("reference/cli/*.md"), *folder.glob("reference/schemas/*.schema.json")]
