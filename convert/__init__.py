"""Conversion of pose networks on the workstation: import, repair, fold, quantize, export, verify."""

from .. import runtime  # noqa: F401 - sets the image size limit of OpenCV before any module here imports OpenCV
