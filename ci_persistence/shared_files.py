"""Files and folders that server and controller share, though they may be two users of one group.

Folders are setgid, so that what is made in them belongs to the group; modes are set after creation,
whatever the process's umask. What an administrator made beforehand keeps its modes.
"""

import os
from pathlib import Path

FOLDER_MODE = 0o2770
FILE_MODE = 0o660


def make_folder(path: Path) -> None:
    """See that there is a folder at `path`; those above it are made with the usual modes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(FOLDER_MODE)
    except FileExistsError:
        if not path.is_dir():
            raise
    else:
        path.chmod(FOLDER_MODE)
        sync_folder(path.parent)


def make_file(path: Path) -> None:
    """See that there is a file at `path`, empty if it is new."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, FILE_MODE)
    except FileExistsError:
        return
    try:
        os.fchmod(descriptor, FILE_MODE)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
