"""Reader of the JSON files that `edgepose profile` and the comparison write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from ..runtime import schema
from ..runtime.errors import InputError
from ..runtime.io.read_file import read_text

T = TypeVar("T")


def read_result(path: Path, result: type[T], version: int, name: str, command: str) -> T:
    """Read a result that was written with `--json`.

    Args:
        path: The file.
        result: Dataclass of the document.
        version: Version that the document must have.
        name: What the file contains, for messages: `profile`.
        command: How it is written, for messages: `by ...` or `with ...`.

    Raises:
        InputError: The file cannot be read or is not such a result.
    """
    try:
        document = json.loads(read_text(path))
        if isinstance(document, dict) and document.get("version") != version:
            raise ValueError(f"expected version {version}, got {document.get('version')!r}")
        return schema.build(result, document)
    except OSError as error:
        raise InputError(f"{path}: cannot read the {name}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: expected a {name} written {command}: {reason}") from None
