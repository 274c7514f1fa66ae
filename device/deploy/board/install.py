"""The steps of a deployment that need root, as one program without any dependency.

`plan.install_script` packs it together with `folders.py`. It is sent through ssh's standard input and run as
`/usr/bin/python3 -I -S -B - VERB ARGUMENT...`: neither the working folder nor the user's site-packages nor a `.pth`
file is read. It takes nothing on trust that another user can write: folders are opened one by one without following
symbolic links, uploads are checked against the SHA-256 that the workstation sent, and archives may hold plain files,
folders and the links that are listed here, nothing else.

  prepare BASE UID GROUPS          user, folders; takes a board with the old layout over
  unpack BASE KIND NAME UID SHA256  uploads/UID/NAME.tar to environments/NAME or releases/NAME
  sandbox LIMIT WORD...            a command whose output is cut off after LIMIT bytes

Exit code 1 and one line on stderr if something is not as it must be.
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
    open_base,
    open_folder,
    own_folder,
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
"""The symbolic links that an archive may hold, and their targets."""


def prepare(base: str, uid: str, groups: str) -> None:
    """Make the service user and root's folders.

    A board of the old layout belongs to the service user as a whole. Only the folders themselves are taken over; what
    they hold is never chowned, because nobody knows what the service user put there. It goes when a new release runs.
    """
    owner = os.geteuid()
    if owner == 0:
        make_user([group for group in groups.split(",") if group])
    folder = open_base(base, owner)
    # From here on nobody else can rename or replace anything in the base folder.
    os.fchown(folder, owner, os.getegid())
    os.fchmod(folder, 0o755)  # nosec B103
    check_owner(folder, base, owner)
    opened = {name: own_folder(name, folder, 0o755, owner, os.getegid()) for name in FOLDERS}
    os.close(own_folder("staging", folder, 0o700, owner, os.getegid(), empty=True))
    uploads = own_folder("uploads", folder, 0o755, owner, os.getegid())
    os.close(own_folder(str(int(uid)), uploads, 0o700, int(uid), -1, empty=True))
    for name in ("current", "previous"):
        take_link(name, folder, opened)
    remove_strangers(folder, owner)
    os.sync()


def remove_strangers(folder: int, owner: int) -> None:
    """Remove from the base folder what is not ours, such as a link in the place of the lock."""
    for name in os.listdir(folder):
        about = lstat(name, folder)
        lock = name == ".lock" and about is not None and stat.S_ISREG(about.st_mode) and about.st_uid == owner
        if not lock and name not in (*FOLDERS, "staging", "uploads", "current", "previous"):
            remove(name, folder)


def make_user(groups: list[str]) -> None:
    """Make the system user of the service, and put it into the groups that may open a camera."""
    try:
        pwd.getpwnam(USER)
    except KeyError:
        subprocess.run(
            ["useradd", "--system", "--home-dir", "/var/lib/edgepose", "--shell", "/usr/sbin/nologin", "--user-group",
             USER], check=True,
        )  # fmt: skip
    if groups:
        subprocess.run(["usermod", "-a", "-G", ",".join(groups), USER], check=True)


def take_link(name: str, folder: int, opened: dict[str, int]) -> None:
    """Keep a link to a release, and its mark of health; anything else of that name goes."""
    about = lstat(name, folder)
    if about is None:
        return
    target = os.readlink(name, dir_fd=folder) if stat.S_ISLNK(about.st_mode) else ""
    kind, _, release = target.partition("/")
    if kind != "releases" or not RELEASE_ID.fullmatch(release):
        remove(name, folder)
        return
    os.chown(name, os.geteuid(), os.getegid(), dir_fd=folder, follow_symlinks=False)
    there = lstat(release, opened["releases"])
    if there is None or not stat.S_ISDIR(there.st_mode):
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
    """Unpack an upload where it belongs, whole or not at all."""
    pattern = {"environments": ENVIRONMENT_ID, "releases": RELEASE_ID}[kind]
    if not pattern.fullmatch(name) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise RefusedError(f"{kind}: {name!r} is no name of an upload")
    owner = os.geteuid()
    folder = open_base(base, owner)
    check_owner(folder, base, owner)
    place, staging, uploads = (open_folder(one, folder) for one in (kind, "staging", "uploads"))
    for opened, path in ((place, kind), (staging, "staging"), (uploads, "uploads")):
        check_owner(opened, f"{base}/{path}", owner)
    upload = open_folder(str(int(uid)), uploads)
    copy, part = f"{name}.tar", name
    remove(copy, staging)
    remove(part, staging)
    try:
        copy_checked(f"{name}.tar", upload, copy, staging, digest)
        remove(f"{name}.tar", upload)
        os.mkdir(part, 0o755, dir_fd=staging)
        target = open_folder(part, staging)
        with open(os.open(copy, os.O_RDONLY | NO_FOLLOW, dir_fd=staging), "rb") as packed:
            extract(packed, target, LINKS[kind], private_of(kind))
        remove(copy, staging)
        if kind == "environments":
            compile_packages(target)
        os.fsync(target)
        os.sync()
        # What is there under this name is half or not ours: a whole one would not be sent again.
        remove(f".{name}.old", place)
        if lstat(name, place) is not None:
            os.rename(name, f".{name}.old", src_dir_fd=place, dst_dir_fd=place)
        os.rename(part, name, src_dir_fd=staging, dst_dir_fd=place)
        os.fsync(place)
        remove(f".{name}.old", place)
    finally:
        remove(copy, staging)
        remove(part, staging)
        with contextlib.suppress(OSError):
            remove(f"{name}.tar", upload)


def private_of(kind: str) -> dict[str, int]:
    """The files of an archive that only root and the service's group may read: settings can hold credentials."""
    if kind != "releases":
        return {}
    try:
        return {"camera.toml": grp.getgrnam(USER).gr_gid}
    except KeyError:
        return {"camera.toml": os.getegid()}


def copy_checked(name: str, source: int, copy: str, target: int, digest: str) -> None:
    """Copy an upload to where only root can change it; refuse one that is not what the workstation sent."""
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NONBLOCK | NO_FOLLOW, dir_fd=source)
    except OSError as error:
        raise RefusedError(f"{name}: the upload cannot be read: {error.strerror}") from None
    with open(handle, "rb") as reader:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise RefusedError(f"{name}: the upload is not a regular file")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_FOLLOW
        seen, size = hashlib.sha256(), 0
        with open(os.open(copy, flags, 0o600, dir_fd=target), "wb") as writer:
            while block := reader.read(1 << 20):
                seen.update(block)
                size += len(block)
                if size > MAX_UPLOAD_BYTES:
                    raise RefusedError(f"{name}: the upload is larger than {MAX_UPLOAD_BYTES} bytes")
                writer.write(block)
    if seen.hexdigest() != digest:
        raise RefusedError(f"{name}: the upload is damaged: SHA-256 {seen.hexdigest()} instead of {digest}")


def extract(packed: Any, target: int, links: dict[str, Any], private: dict[str, int]) -> None:
    """Unpack an archive into an empty folder; refuse names that lead out of it and everything that is no plain file."""
    left = MAX_UNPACKED_BYTES
    wanted_links = []
    with tarfile.open(fileobj=packed, mode="r:*") as tar:
        for number, member in enumerate(tar):
            name = checked_name(member.name)
            if number >= MAX_MEMBERS:
                raise RefusedError(f"expected at most {MAX_MEMBERS} members in the archive")
            if member.isdir():
                os.close(make_folders(name, target))
            elif member.issym():
                pattern = links.get(name)
                if pattern is None or not pattern.fullmatch(member.linkname):
                    raise RefusedError(f"{name!r}: a link to {member.linkname!r} has no place in the archive")
                wanted_links.append((name, member.linkname))
            elif member.isreg():
                left -= member.size
                if left < 0:
                    raise RefusedError(f"expected at most {MAX_UNPACKED_BYTES} bytes in the archive")
                write_member(tar, member, name, target, private)
            else:
                raise RefusedError(f"{name!r}: expected a file, a folder or a listed link in the archive")
    # Last, so that nothing can be written through one.
    for name, to in wanted_links:
        folder = make_folders(os.path.dirname(name), target)
        os.symlink(to, os.path.basename(name), dir_fd=folder)
        os.close(folder)


def checked_name(name: str) -> str:
    """Return the name of a member if it stays in the folder it is unpacked to."""
    plain = os.path.normpath(name)
    if os.path.isabs(name) or ".." in name.split("/") or "\0" in name or "\\" in name or plain.startswith(".."):
        raise RefusedError(f"{name!r}: this name leads out of the archive")
    return "" if plain == "." else plain


def write_member(
    tar: tarfile.TarFile, member: tarfile.TarInfo, name: str, target: int, private: dict[str, int]
) -> None:
    """Write a plain file: never with setuid, and with our permissions whatever the archive says."""
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
    """Compile once, here: the service may not write. Nothing of the environment is imported (-I -S)."""
    words = [sys.executable, "-I", "-S", "-m", "compileall", "-q", "-j", "0", "lib"]
    subprocess.run(words, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   preexec_fn=lambda: os.fchdir(environment), pass_fds=(environment,))  # fmt: skip


def sandbox(limit: str, *words: str) -> int:
    """Run a command; hand on at most `limit` bytes of its output; its exit code."""
    left = int(limit)
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as running:
        assert running.stdout is not None
        while block := os.read(running.stdout.fileno(), 65536):
            sys.stdout.buffer.write(block[: max(0, left)])
            left -= len(block)
    sys.stdout.buffer.flush()
    return running.returncode


def main(words: list[str]) -> int:
    """Do one step."""
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
