"""Downloading published weights into the cache folder, with their hashes checked."""

from __future__ import annotations

from pathlib import Path

from edgepose.runtime.errors import MissingExtraError, ModelError
from edgepose.runtime.registry import KnownModel, cache_folder


def fetch(model: KnownModel) -> Path:
    """Downloads the files of a known model that are not in the cache yet; gives the path of the first.

    Raises ModelError where the download fails or a file does not have the hash it should; nothing is kept then.
    """
    try:
        import pooch
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"downloading {model.name}", "convert", error) from None
    pooch.utils.get_logger().setLevel("WARNING")
    folder = cache_folder() / model.name
    for file in model.files:
        try:
            pooch.retrieve(file.url, f"sha256:{file.sha256}", fname=file.name, path=folder, progressbar=True)
        except Exception as error:  # pooch raises what requests, the OS and its own checks raise
            reason = str(error).split("\n")[0][:200]
            raise ModelError(
                f"{model.name}: cannot download {file.name}: {reason}; "
                f"put {', '.join(f.name for f in model.files)} into a folder named in EDGEPOSE_MODELS"
            ) from None
    return folder / model.files[0].name
