"""What the runner does as root before the first step and behind the last, while nobody else lives.

Part of `runner.py` and bound by its rules: installed beside it, standard library alone, Python 3.9.
Root without DAC_OVERRIDE: what it has given away it can no longer write to.
"""

from __future__ import annotations

import os
import stat

CONFIG_FOLDER = "/run/ci"
CA_BUNDLE = "ca-certificates.crt"
CA_STORES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def name_user(uid: int, gid: int, home: str) -> None:
    """Give the job's user a name, for programs that can't do without."""
    enter("/etc/passwd", f"ci:*:{uid}:{gid}::{home}:/bin/sh")
    enter("/etc/group", f"ci:*:{gid}:")


def give_folders(folders: list[str], uid: int, gid: int) -> None:
    """Make folders and give them to the job."""
    for folder in folders:
        os.makedirs(folder, exist_ok=True)
        os.chown(folder, uid, gid)


def write_config(files: dict[str, str], ca_bundle: str | None) -> None:
    """Write what the job may read, the certificates beside those that the image trusts by itself."""
    os.makedirs(CONFIG_FOLDER, exist_ok=True)
    for name, text in files.items():
        write(f"{CONFIG_FOLDER}/{name}", text)
    if ca_bundle is not None:
        write(f"{CONFIG_FOLDER}/{CA_BUNDLE}", f"{image_store()}\n{ca_bundle}")


def enter(path: str, line: str) -> None:
    """Put a line into a file like /etc/passwd, in place of those with its name or number."""
    name, _, number = line.split(":")[:3]
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = [old.rstrip("\n") for old in file]
        kept = [old for old in lines if old.split(":")[0] != name and old.split(":")[2:3] != [number]]
        write(path, "\n".join([*kept, line, ""]))
    except OSError:
        return  # a read-only or odd image: then the user has a number alone, which most programs bear


def write(path: str, text: str) -> None:
    """Write a file of root's that everybody may read."""
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)


def image_store() -> str:
    """The certificates that the image trusts by itself."""
    for path in CA_STORES:
        try:
            with open(path, encoding="utf-8") as file:
                return file.read()
        except OSError:
            continue
    return ""


def has_marker(path: str) -> bool:
    """Whether the file is there and is root's: one that the job's user made counts for nothing."""
    try:
        info = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(info.st_mode) and info.st_uid == 0


def write_marker(path: str) -> None:
    """Take the folder back from the job, all of whose processes are dead, and seal it."""
    folder = os.path.dirname(path)
    os.chown(folder, 0, 0)
    os.chmod(folder, 0o755)  # noqa: S103 - whichever user a later job is must read it
    if os.path.lexists(path):
        os.unlink(path)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644))
