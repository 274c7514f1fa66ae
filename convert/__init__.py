"""Conversion on the workstation: import, repair, fold, export and verify pose networks."""

from .. import runtime  # noqa: F401 - sets OpenCV's limit on image sizes, before any module here loads OpenCV
