"""What can go wrong with the world outside. Wrong arguments are `ValueError` and `TypeError`.

Every message is one line that says what was expected, what came and what to do; the command line prints it and
exits with 2.
"""


class EdgePoseError(Exception):
    """Base of all errors that are not the caller's programming mistake."""


class ModelError(EdgePoseError):
    """A model file that is missing, damaged, of the wrong kind or at odds with its manifest."""


class InputError(EdgePoseError):
    """An image, video, folder or annotation file that cannot be used."""


class UnknownNameError(EdgePoseError, KeyError):
    """A name of a keypoint, skeleton or model that does not exist; the message says which is nearest."""

    __str__ = Exception.__str__


class OutputError(EdgePoseError):
    """A result that cannot be written."""


class MissingExtraError(EdgePoseError):
    """A part of edgepose whose optional dependencies are not installed."""

    def __init__(self, what: str, extra: str, cause: ImportError) -> None:
        super().__init__(f"{what} needs the extra {extra!r} ({cause.name} is missing): pip install 'edgepose[{extra}]'")
