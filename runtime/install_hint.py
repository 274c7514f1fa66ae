"""The command that installs an optional dependency, for the way in which edgepose itself was installed."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

_CHECKOUT = Path(__file__).resolve().parent.parent


def make_install_command(extra: str) -> str:
    """Return a command for this installation: from a checkout, from a wheel file, or from a package index.

    It can be typed as it is: it names the Python of this process if that is not the first one on the PATH.

    Args:
        extra: Name of an extra in pyproject.toml, for example `plot`.
    """
    return f"{_get_pip()} install {_find_requirement(extra)}"


def make_package_install_command(package: str) -> str:
    """Return the command that installs another package into this environment."""
    return f"{_get_pip()} install {shlex.quote(package)}"


def _get_pip() -> str:
    """Return `pip` if it belongs to this Python, otherwise `/path/to/python -m pip`."""
    found = shutil.which("pip")
    belongs = found is not None and Path(found).resolve().parent == Path(sys.executable).parent.resolve()
    return "pip" if belongs else f"{shlex.quote(sys.executable)} -m pip"


def _find_requirement(extra: str) -> str:
    """Return what pip has to install, as a word of a shell command. See PEP 610 for `direct_url.json`."""
    from importlib import metadata  # takes several milliseconds

    from_index = f"'edgepose[{extra}]'"
    try:
        source = metadata.distribution("edgepose").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        source = None
    if source is None:
        # The modules of a checkout are imported if it is on the path; then it has not been installed by pip.
        in_checkout = (_CHECKOUT / "pyproject.toml").is_file()
        return f"--editable {shlex.quote(f'{_CHECKOUT}[{extra}]')}" if in_checkout else from_index
    try:
        origin = json.loads(source)
        address = urlsplit(origin["url"])
        editable = bool(origin.get("dir_info", {}).get("editable"))
        system = origin.get("vcs_info", {}).get("vcs", "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return from_index
    if address.scheme != "file":
        return shlex.quote(f"edgepose[{extra}] @ {system}{'+' if system else ''}{origin['url']}")
    path = Path(unquote(address.path))
    if not path.exists():
        return from_index
    return ("--editable " if editable else "") + shlex.quote(f"{path}[{extra}]")
