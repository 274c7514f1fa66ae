"""The installed version."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version


def version() -> str:
    """The version of the installed package; empty if edgepose runs without being installed."""
    try:
        return installed_version("edgepose")
    except PackageNotFoundError:
        return ""


__version__ = version()
