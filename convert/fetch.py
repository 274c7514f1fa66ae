"""Downloading published weights into the cache folder, with their hashes checked."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from edgepose.runtime.errors import MissingExtraError, ModelError
from edgepose.runtime.registry import KnownModel, WeightFile, cache_folder


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
            reason = _reason(error, file)
            raise ModelError(
                f"{model.name}: cannot download {file.name}: {reason}; "
                f"put {', '.join(f.name for f in model.files)} into a folder named in EDGEPOSE_MODELS"
            ) from None
    return folder / model.files[0].name


def _reason(error: Exception, file: WeightFile) -> str:
    host = urlsplit(file.url).hostname
    kind = type(error).__name__
    if "ConnectionError" in kind or "Timeout" in kind:
        return f"no connection to {host}"
    if isinstance(error, ValueError) and "hash" in str(error):
        return f"what {host} sent does not have the expected SHA-256"
    return f"{kind}: {str(error).splitlines()[0][:160]}"
