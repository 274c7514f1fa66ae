"""Version of the installed package."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version


def get_version() -> str:
    """Return the version of the installed package; "" if edgepose is not installed."""
    try:
        return installed_version("edgepose")
    except PackageNotFoundError:
        return ""


__version__ = get_version()
