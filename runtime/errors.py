"""Exceptions for problems with input, files and installation. Wrong arguments raise `ValueError` or `TypeError`.

Every message is one line with the problem, the given value and what the user can do. The command line prints it and
exits with code 2.
"""

from .install_hint import make_install_command


class EdgePoseError(Exception):
    """Base class of all exceptions of edgepose, except those for programming errors of the caller."""


class ModelError(EdgePoseError):
    """A model file is missing, damaged, of the wrong kind, or does not match its manifest."""


class NoManifestError(ModelError):
    """A TFLite file has no manifest: it was not made by `edgepose convert`."""


class InputError(EdgePoseError):
    """An image, video, folder, annotation file or other input cannot be used."""


class UnknownNameError(EdgePoseError, KeyError):
    """There is no keypoint, skeleton or model with this name; the message suggests the most similar name."""

    __str__ = Exception.__str__


class OutputError(EdgePoseError):
    """A result cannot be written."""


class MissingExtraError(EdgePoseError):
    """The optional dependencies (extra) of a feature are not installed."""

    def __init__(self, feature: str, extra: str, cause: ImportError) -> None:
        super().__init__(
            f"{feature} needs the extra {extra!r} ({cause.name} is missing); "
            f"install it with `{make_install_command(extra)}`"
        )
