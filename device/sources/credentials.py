"""Credentials of network cameras from environment variables or files, so that the process list does not show them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from ...runtime.errors import InputError
from ...runtime.io.read_file import read_text
from ...runtime.io.redact import mask_credentials

_USER_VARIABLE = "EDGEPOSE_CAMERA_USER"
_PASSWORD_VARIABLE = "EDGEPOSE_CAMERA_PASSWORD"  # nosec B105
_PASSWORD_FILE_VARIABLE = "EDGEPOSE_CAMERA_PASSWORD_FILE"  # nosec B105
_CREDENTIAL_NAME = "camera-password"
"""Name of the systemd credential with the password (`LoadCredential=camera-password:FILE`)."""


def add_credentials(address: str, environment: Mapping[str, str] = os.environ) -> str:
    """Add user and password from the environment to an address that has none.

    The user comes from EDGEPOSE_CAMERA_USER. The password comes from the first of these that is set: the variable
    EDGEPOSE_CAMERA_PASSWORD, the file EDGEPOSE_CAMERA_PASSWORD_FILE, the systemd credential `camera-password`.

    Args:
        address: URL of a network camera.
        environment: Environment variables.

    Returns:
        The address with percent-encoded credentials; unchanged if it already has a user or no user is set.

    Raises:
        InputError: The address cannot be parsed, the file cannot be read, or a password is set without a user.
    """
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise InputError(f"{mask_credentials(address)}: not a valid address: {error}") from None
    if "@" in parts.netloc:
        return address
    user = environment.get(_USER_VARIABLE, "")
    if not user:
        if password_names := [name for name in (_PASSWORD_VARIABLE, _PASSWORD_FILE_VARIABLE) if environment.get(name)]:
            raise InputError(f"{password_names[0]} is set, but {_USER_VARIABLE} is not; set both")
        return address
    userinfo = f"{quote(user, safe='')}:{quote(_read_password(environment), safe='')}"
    return urlunsplit(parts._replace(netloc=f"{userinfo}@{parts.netloc}"))


def _read_password(environment: Mapping[str, str]) -> str:
    if password := environment.get(_PASSWORD_VARIABLE):
        return password
    name = environment.get(_PASSWORD_FILE_VARIABLE, "")
    if not name:
        folder = environment.get("CREDENTIALS_DIRECTORY", "")
        if not folder or not Path(folder, _CREDENTIAL_NAME).is_file():
            return ""
        name = str(Path(folder, _CREDENTIAL_NAME))
    try:
        return read_text(Path(name), 65536).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: cannot read the password of the camera: {error}") from None
