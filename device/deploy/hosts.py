"""Parser of board addresses: user@host[:port], a name from ~/.ssh/config, or @FILE with one board per line.

A line of the file can set a display name for the board: `pi@door.local name=Front door`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ...runtime.errors import InputError
from ...runtime.io.printable import make_printable
from ...runtime.io.read_file import read_text
from .units import BOARD_NAME_PATTERN

_ADDRESS_PATTERN = re.compile(r"(?:(?P<user>[\w.-]+)@)?(?P<host>[\w.-]+|\[[0-9A-Fa-f:.%\w]+\])(?::(?P<port>\d{1,5}))?")
_MAX_BOARDS = 1000


@dataclass(frozen=True)
class Target:
    """Address of a board as given by the user. Missing parts come from ~/.ssh/config."""

    name: str
    """Address as the user wrote it; identifies the board in messages."""
    host: str
    user: str | None = None
    port: int | None = None
    display_name: str = ""
    """Display name for the board (EDGEPOSE_NAME); empty keeps the present one, which is the host name at first."""

    def make_ssh_options(self, config: Path | None = None, identity: Path | None = None) -> list[str]:
        """Return the command-line options for OpenSSH programs.

        Args:
            config: Configuration file that replaces ~/.ssh/config.
            identity: Private key.
        """
        ssh_options = {"-F": config, "-l": self.user, "-p": self.port, "-i": identity}
        return [word for option, value in ssh_options.items() if value is not None for word in (option, str(value))]


def parse(words: Iterable[str]) -> list[Target]:
    """Parse board addresses and read lists of boards.

    Returns:
        The boards in the given order, each once.

    Raises:
        InputError: An address is not valid, a list cannot be read, a board has two names, or there are more than 1000
            boards.
    """
    found: dict[str, Target] = {}
    for word in words:
        for text in _read_list(word) if word.startswith("@") else [word]:
            target = _parse_address(text)
            other = found.setdefault(target.name, target)
            if target.display_name and not other.display_name:
                found[target.name] = target
            elif target.display_name and target.display_name != other.display_name:
                raise InputError(
                    f"{target.name}: named twice: {other.display_name!r} and {target.display_name!r}; "
                    "remove one of the names"
                )
    if not found:
        raise InputError("expected at least one board: user@host[:port], or @FILE with one board per line")
    if len(found) > _MAX_BOARDS:
        raise InputError(f"expected at most {_MAX_BOARDS} boards, got {len(found)}")
    return list(found.values())


def _read_list(word: str) -> list[str]:
    path = Path(word[1:])
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{word}: cannot read the list of boards: {error}") from None
    found = [text for line in lines if (text := line.partition("#")[0].strip())]
    if not found:
        raise InputError(f"{word}: the file contains no boards; expected one board per line")
    return found


def _parse_address(line: str) -> Target:
    text, *display_names = re.split(r"\s+name=", line.strip(), maxsplit=1)
    device = display_names[0].strip() if display_names else ""
    if display_names and not BOARD_NAME_PATTERN.fullmatch(device):
        escaped = make_printable(device, limit=80)
        raise InputError(f"{text[:80]!r}: name={escaped}: expected 1 to 64 letters, digits, spaces and .()&',-_")
    match = _ADDRESS_PATTERN.fullmatch(text)
    # OpenSSH would read a name that begins with a dash as an option.
    if (
        match is None
        or text.startswith("-")
        or match["host"].startswith("-")
        or not 0 < int(match["port"] or 22) < 65536
    ):
        raise InputError(f"{text[:80]!r}: expected user@host[:port], a name from ~/.ssh/config, or @FILE")
    port = None if match["port"] is None else int(match["port"])
    return Target(text, match["host"].strip("[]"), match["user"], port, device)
