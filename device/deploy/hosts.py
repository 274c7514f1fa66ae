"""The boards a user names: user@host[:port], names from ~/.ssh/config, or @FILE with one of these a line.

A line of a file may name the board: `pi@door.local name=Front door`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ...runtime.errors import InputError
from ...runtime.io.printable import printable
from ...runtime.io.read_file import read_text
from .units import NAME

_FORM = re.compile(r"(?:(?P<user>[\w.-]+)@)?(?P<host>[\w.-]+|\[[0-9A-Fa-f:.%\w]+\])(?::(?P<port>\d{1,5}))?")
_MOST = 1000


@dataclass(frozen=True)
class Target:
    """A board as the user names it; what is left out comes from ~/.ssh/config."""

    name: str
    host: str
    user: str | None = None
    port: int | None = None
    device: str = ""
    """What the board is called in its messages (EDGEPOSE_NAME); empty: it keeps its name, at first the host name."""

    def options(self, config: Path | None = None, identity: Path | None = None) -> list[str]:
        """For OpenSSH's programs."""
        given = {"-F": config, "-l": self.user, "-p": self.port, "-i": identity}
        return [word for option, value in given.items() if value is not None for word in (option, str(value))]


def parse(words: Iterable[str]) -> list[Target]:
    """The boards, each once, in order. Raises InputError saying what was expected and what came."""
    found: dict[str, Target] = {}
    for word in words:
        for text in _inventory(word) if word.startswith("@") else [word]:
            target = _target(text)
            other = found.setdefault(target.name, target)
            if target.device and not other.device:
                found[target.name] = target
            elif target.device and target.device != other.device:
                raise InputError(f"{target.name}: named twice: {other.device} and {target.device}")
    if not found:
        raise InputError("expected at least one board: user@host[:port], or @FILE with one a line")
    if len(found) > _MOST:
        raise InputError(f"expected at most {_MOST} boards, got {len(found)}")
    return list(found.values())


def _inventory(word: str) -> list[str]:
    path = Path(word[1:])
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{word}: cannot read the list of boards: {error}") from None
    found = [text for line in lines if (text := line.partition("#")[0].strip())]
    if not found:
        raise InputError(f"{word}: expected a board a line, the file names none")
    return found


def _target(line: str) -> Target:
    text, *named = re.split(r"\s+name=", line.strip(), maxsplit=1)
    device = named[0].strip() if named else ""
    if named and not NAME.fullmatch(device):
        shown = printable(device, limit=80)
        raise InputError(f"{text[:80]!r}: name={shown}: expected 1 to 64 letters, digits, spaces and .()&',-_")
    match = _FORM.fullmatch(text)
    # A name that begins with a dash would be taken for an option by the programs it is handed to.
    if (
        match is None
        or text.startswith("-")
        or match["host"].startswith("-")
        or not 0 < int(match["port"] or 22) < 65536
    ):
        raise InputError(f"{text[:80]!r}: expected user@host[:port], a name from ~/.ssh/config, or @FILE")
    port = None if match["port"] is None else int(match["port"])
    return Target(text, match["host"].strip("[]"), match["user"], port, device)
