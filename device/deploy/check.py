"""Result of a check of `edgepose doctor` and `edgepose deploy`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "failed", "missing"]
"""`missing`: an optional part is not there, which is no fault."""


@dataclass(frozen=True)
class Check:
    """Result of a check: what was found, and how to fix it."""

    name: str
    verdict: Verdict
    seen: str
    fix: str = ""
    blocks: bool = False
    """True if nothing can be deployed until this is fixed."""
