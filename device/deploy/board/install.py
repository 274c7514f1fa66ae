"""Steps of a deployment that run as root on the board, as one program without dependencies.

`plan.build_install_script` combines it with `folders.py`. It is sent over the standard input of ssh and run as
`/usr/bin/python3 -I -S -B - VERB ARGUMENT...`, so that Python reads neither the working folder nor the site-packages of
the user nor a `.pth` file. The program does not trust anything that another user can write: folders are opened one by
one without following symbolic links, uploads are checked against the SHA-256 from the workstation, and archives may
contain only regular files, folders and the links that are listed in this file.

  prepare BASE UID GROUPS           create user and folders; take over a board with the old layout
  unpack BASE KIND NAME UID SHA256  unpack uploads/UID/NAME.tar to environments/NAME or releases/NAME
  sandbox LIMIT WORD...             run a command and print at most LIMIT bytes of its output

If a step is refused or fails, the program prints one line on stderr and exits with code 1.
"""

from __future__ import annotations

import contextlib
import grp
import hashlib
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
import tarfile
from typing import Any

from .folders import (
    NO_FOLLOW,
    RefusedError,
    check_owner,
    lstat,
    make_folders,
    make_own_folder,
    open_base,
    open_folder,
    remove,
)

USER = "edgepose"
FOLDERS = ("releases", "environments", "healthy")
RELEASE_ID = re.compile(r"[0-9]{8}T[0-9]{6}-[0-9a-f]{8}", re.ASCII)
ENVIRONMENT_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)
MAX_UPLOAD_BYTES = 1 << 30
MAX_UNPACKED_BYTES = 4 << 30
MAX_MEMBERS = 200_000
LINKS = {
    "environments": {
        "bin/python": re.compile(r"/usr/(local/)?bin/python3(\.[0-9]{1,2})?", re.ASCII),
        "bin/python3": re.compile(r"/usr/(local/)?bin/python3(\.[0-9]{1,2})?", re.ASCII),
    },
    "releases": {"venv": re.compile(r"\.\./\.\./environments/[0-9a-f]{16}", re.ASCII)},
}
"""Symbolic links that an archive may contain, and their allowed targets."""


def prepare(base: str, uid: str, groups: str) -> None:
    """Create the service user and the folders of root.

    In the old layout everything belongs to the service user. Only the folders themselves are taken over. Their contents
    keep their owner, because the service user could have written anything there. They are removed when a new release
    runs.

    Args:
        base: Base folder.
        uid: User id of the SSH login, who gets an empty upload folder.
        groups: Groups of the service user, separated by commas.
    """
    owner = os.geteuid()
    if owner == 0:
        make_user([group for group in groups.split(",") if group])
    folder = open_base(base, owner)
    # After this nobody else can rename or replace anything in the base folder.
    os.fchown(folder, owner, os.getegid())
    os.fchmod(folder, 0o755)  # nosec B103
    check_owner(folder, base, owner)
    opened = {name: make_own_folder(name, folder, 0o755, owner, os.getegid()) for name in FOLDERS}
    os.close(make_own_folder("staging", folder, 0o700, owner, os.getegid(), empty=True))
    uploads = make_own_folder("uploads", folder, 0o755, owner, os.getegid())
    os.close(make_own_folder(str(int(uid)), uploads, 0o700, int(uid), -1, empty=True))
    for name in ("current", "previous"):
        take_over_link(name, folder, opened)
    remove_unknown_entries(folder, owner)
    os.sync()


def remove_unknown_entries(folder: int, owner: int) -> None:
    """Remove unknown entries from the base folder, for example a link in the place of the lock file."""
    for name in os.listdir(folder):
        status = lstat(name, folder)
        lock = name == ".lock" and status is not None and stat.S_ISREG(status.st_mode) and status.st_uid == owner
        if not lock and name not in (*FOLDERS, "staging", "uploads", "current", "previous"):
            remove(name, folder)


def make_user(groups: list[str]) -> None:
    """Create the system user of the service and add it to the groups that may open a camera."""
    try:
        pwd.getpwnam(USER)
    except KeyError:
        subprocess.run(
            ["useradd", "--system", "--home-dir", "/var/lib/edgepose", "--shell", "/usr/sbin/nologin", "--user-group",
             USER], check=True,
        )  # fmt: skip
    if groups:
        subprocess.run(["usermod", "-a", "-G", ",".join(groups), USER], check=True)


def take_over_link(name: str, folder: int, opened: dict[str, int]) -> None:
    """Take over the link to a release and its health mark. Remove anything else of this name."""
    status = lstat(name, folder)
    if status is None:
        return
    target = os.readlink(name, dir_fd=folder) if stat.S_ISLNK(status.st_mode) else ""
    kind, _, release = target.partition("/")
    if kind != "releases" or not RELEASE_ID.fullmatch(release):
        remove(name, folder)
        return
    os.chown(name, os.geteuid(), os.getegid(), dir_fd=folder, follow_symlinks=False)
    release_status = lstat(release, opened["releases"])
    if release_status is None or not stat.S_ISDIR(release_status.st_mode):
        remove(name, folder)
        return
    inside = open_folder(release, opened["releases"])
    try:
        if lstat("healthy", inside) is not None:
            mark = os.open(release, os.O_WRONLY | os.O_CREAT | NO_FOLLOW, 0o644, dir_fd=opened["healthy"])
            os.close(mark)
    finally:
        os.close(inside)


def unpack(base: str, kind: str, name: str, uid: str, digest: str) -> None:
    """Unpack an upload to its destination, completely or not at all.

    Args:
        base: Base folder.
        kind: `environments` or `releases`.
        name: Id of the environment or release.
        uid: User id of the SSH login, who has uploaded the file.
        digest: SHA-256 of the upload.
    """
    pattern = {"environments": ENVIRONMENT_ID, "releases": RELEASE_ID}[kind]
    if not pattern.fullmatch(name) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise RefusedError(f"{kind}: expected an id and a SHA-256, got {name!r} and {digest!r}")
    owner = os.geteuid()
    folder = open_base(base, owner)
    check_owner(folder, base, owner)
    destination, staging, uploads = (open_folder(one, folder) for one in (kind, "staging", "uploads"))
    for opened, path in ((destination, kind), (staging, "staging"), (uploads, "uploads")):
        check_owner(opened, f"{base}/{path}", owner)
    upload = open_folder(str(int(uid)), uploads)
    copy, part = f"{name}.tar", name
    remove(copy, staging)
    remove(part, staging)
    try:
        copy_and_check(f"{name}.tar", upload, copy, staging, digest)
        remove(f"{name}.tar", upload)
        os.mkdir(part, 0o755, dir_fd=staging)
        target = open_folder(part, staging)
        with open(os.open(copy, os.O_RDONLY | NO_FOLLOW, dir_fd=staging), "rb") as packed:
            extract(packed, target, LINKS[kind], list_private_files(kind))
        remove(copy, staging)
        if kind == "environments":
            compile_packages(target)
        os.fsync(target)
        os.sync()
        # An existing folder of this name is incomplete or not ours, otherwise it would not be sent again.
        remove(f".{name}.old", destination)
        if lstat(name, destination) is not None:
            os.rename(name, f".{name}.old", src_dir_fd=destination, dst_dir_fd=destination)
        os.rename(part, name, src_dir_fd=staging, dst_dir_fd=destination)
        os.fsync(destination)
        remove(f".{name}.old", destination)
    finally:
        remove(copy, staging)
        remove(part, staging)
        with contextlib.suppress(OSError):
            remove(f"{name}.tar", upload)


def list_private_files(kind: str) -> dict[str, int]:
    """Return the files that only root and the service may read, with their group id: they can contain credentials."""
    if kind != "releases":
        return {}
    try:
        return {"camera.toml": grp.getgrnam(USER).gr_gid}
    except KeyError:
        return {"camera.toml": os.getegid()}


def copy_and_check(name: str, source: int, copy: str, target: int, digest: str) -> None:
    """Copy an upload to a folder of root and check its SHA-256. Raises RefusedError if it is not what was sent."""
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NONBLOCK | NO_FOLLOW, dir_fd=source)
    except OSError as error:
        raise RefusedError(f"{name}: the upload cannot be read: {error.strerror}") from None
    with open(handle, "rb") as reader:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise RefusedError(f"{name}: the upload is not a regular file")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_FOLLOW
        actual, size = hashlib.sha256(), 0
        with open(os.open(copy, flags, 0o600, dir_fd=target), "wb") as writer:
            while block := reader.read(1 << 20):
                actual.update(block)
                size += len(block)
                if size > MAX_UPLOAD_BYTES:
                    raise RefusedError(f"{name}: the upload is larger than {MAX_UPLOAD_BYTES} bytes")
                writer.write(block)
    if actual.hexdigest() != digest:
        raise RefusedError(f"{name}: the upload is damaged: expected SHA-256 {digest}, got {actual.hexdigest()}")


def extract(packed: Any, target: int, links: dict[str, Any], private: dict[str, int]) -> None:
    """Unpack an archive into an empty folder.

    Args:
        packed: Archive, open for reading.
        target: File descriptor of the folder.
        links: Allowed symbolic links with the pattern of their targets.
        private: Files with restricted permissions, with their group id.

    Raises:
        RefusedError: A name leads out of the folder, a member is no regular file, folder or allowed link, or the
            archive is too large.
    """
    remaining_bytes = MAX_UNPACKED_BYTES
    pending_links = []
    with tarfile.open(fileobj=packed, mode="r:*") as tar:
        for number, member in enumerate(tar):
            name = check_member_name(member.name)
            if number >= MAX_MEMBERS:
                raise RefusedError(f"expected at most {MAX_MEMBERS} members in the archive")
            if member.isdir():
                os.close(make_folders(name, target))
            elif member.issym():
                pattern = links.get(name)
                if pattern is None or not pattern.fullmatch(member.linkname):
                    raise RefusedError(f"{name!r}: a link to {member.linkname!r} is not allowed in the archive")
                pending_links.append((name, member.linkname))
            elif member.isreg():
                remaining_bytes -= member.size
                if remaining_bytes < 0:
                    raise RefusedError(f"expected at most {MAX_UNPACKED_BYTES} bytes in the archive")
                write_member(tar, member, name, target, private)
            else:
                raise RefusedError(f"{name!r}: expected a file, a folder or an allowed link in the archive")
    # Links are created last, so that nothing can be written through them.
    for name, to in pending_links:
        folder = make_folders(os.path.dirname(name), target)
        os.symlink(to, os.path.basename(name), dir_fd=folder)
        os.close(folder)


def check_member_name(name: str) -> str:
    """Return the normalized name of a member. Raises RefusedError if it leads out of the folder."""
    plain = os.path.normpath(name)
    if os.path.isabs(name) or ".." in name.split("/") or "\0" in name or "\\" in name or plain.startswith(".."):
        raise RefusedError(f"{name!r}: this name leads out of the target folder")
    return "" if plain == "." else plain


def write_member(
    tar: tarfile.TarFile, member: tarfile.TarInfo, name: str, target: int, private: dict[str, int]
) -> None:
    """Write a regular file, never with setuid. The archive only decides if it is executable."""
    folder = make_folders(os.path.dirname(name), target)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_FOLLOW
    try:
        handle = os.open(os.path.basename(name), flags, 0o600, dir_fd=folder)
    except OSError as error:
        raise RefusedError(f"{name!r}: cannot be written: {error.strerror}") from None
    finally:
        os.close(folder)
    source = tar.extractfile(member)
    with open(handle, "wb") as file:
        if source is not None:
            shutil.copyfileobj(source, file, 1 << 20)
        if name in private:
            os.fchown(handle, -1, private[name])
            os.fchmod(handle, 0o640)
        else:
            os.fchmod(handle, 0o755 if member.mode & 0o100 else 0o644)


def compile_packages(environment: int) -> None:
    """Compile the packages to bytecode, which the service may not write itself. Imports nothing from them (-I -S)."""
    words = [sys.executable, "-I", "-S", "-m", "compileall", "-q", "-j", "0", "lib"]
    subprocess.run(words, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   preexec_fn=lambda: os.fchdir(environment), pass_fds=(environment,))  # fmt: skip


def sandbox(limit: str, *words: str) -> int:
    """Run a command, print at most `limit` bytes of its output and return its exit code."""
    remaining_bytes = int(limit)
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as running:
        assert running.stdout is not None
        while block := os.read(running.stdout.fileno(), 65536):
            sys.stdout.buffer.write(block[: max(0, remaining_bytes)])
            remaining_bytes -= len(block)
    sys.stdout.buffer.flush()
    return running.returncode


def main(words: list[str]) -> int:
    """Run one step and return the exit code of the program."""
    os.umask(0o022)
    try:
        if words[0] == "sandbox":
            return sandbox(*words[1:])
        verbs: dict[str, Any] = {"prepare": prepare, "unpack": unpack}
        verbs[words[0]](*words[1:])
    except (RefusedError, OSError, ValueError, tarfile.TarError, EOFError, subprocess.CalledProcessError) as error:
        print(f"{words[0]}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
