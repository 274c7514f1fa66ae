"""Credentials of network cameras from the environment or a file, so that they do not show in the process list."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from ...runtime.errors import InputError
from ...runtime.io.read_file import read_text
from ...runtime.io.redact import mask_credentials

USER = "EDGEPOSE_CAMERA_USER"
PASSWORD = "EDGEPOSE_CAMERA_PASSWORD"  # nosec B105
PASSWORD_FILE = "EDGEPOSE_CAMERA_PASSWORD_FILE"  # nosec B105
CREDENTIAL = "camera-password"
"""Name of the systemd credential (`LoadCredential=camera-password:FILE`)."""


def add_credentials(address: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return `address` with the user and password of the environment, unless it has its own.

    The password comes from EDGEPOSE_CAMERA_PASSWORD, the file EDGEPOSE_CAMERA_PASSWORD_FILE, or the systemd credential
    `camera-password`; the user from EDGEPOSE_CAMERA_USER.

    Raises:
        InputError: The address cannot be parsed, the file cannot be read, or there is a password without a user.
    """
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise InputError(f"{mask_credentials(address)}: not an address: {error}") from None
    if "@" in parts.netloc:
        return address
    user = environment.get(USER, "")
    if not user:
        if given := [name for name in (PASSWORD, PASSWORD_FILE) if environment.get(name)]:
            raise InputError(f"{given[0]} is set, but {USER} is not; set both")
        return address
    userinfo = f"{quote(user, safe='')}:{quote(_password(environment), safe='')}"
    return urlunsplit(parts._replace(netloc=f"{userinfo}@{parts.netloc}"))


def _password(environment: Mapping[str, str]) -> str:
    if password := environment.get(PASSWORD):
        return password
    name = environment.get(PASSWORD_FILE, "")
    if not name:
        folder = environment.get("CREDENTIALS_DIRECTORY", "")
        if not folder or not Path(folder, CREDENTIAL).is_file():
            return ""
        name = str(Path(folder, CREDENTIAL))
    try:
        return read_text(Path(name), 65536).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: the camera's password cannot be read: {error}") from None
