"""Write the reference pages into docs/."""

from pathlib import Path

from . import write_pages

write_pages(Path(__file__).resolve().parent.parent)
