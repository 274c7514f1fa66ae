"""Fixtures for the tests of the camera loop."""

from __future__ import annotations

from pathlib import Path

import pytest

from .mqtt_helpers import create_authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a certificate authority and its certificates."""
    folder = tmp_path_factory.mktemp("authority")
    create_authority(folder)
    return folder
