"""What becomes of the symlinks of a project.

Relative links that stay inside are kept as they are, loops and links to nothing included (both are said).
An absolute link to something inside is made relative. One that leads outside is refused by name, as is
a Windows junction: nothing from outside the project is ever sent.
"""

import errno
import os
import stat
import sys
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from ci_client.problems import BadUse
from ci_common.bundle_paths import check_links, shown
from ci_common.errors import BundleRejected

NEXT_STEP = "replace it by what it stands for, or name it in .ciignore"


def is_junction(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder that Windows has mounted there from elsewhere."""
    if sys.platform == "win32":
        return entry.stat(follow_symlinks=False).st_reparse_tag == stat.IO_REPARSE_TAG_MOUNT_POINT
    return False


def leads_to_virtual_environment(path: Path) -> bool:
    """Whether a link stands for a folder that stays behind wherever it is."""
    return (path / "pyvenv.cfg").exists()


def sent_target(root: Path, path: str, target: str) -> str:
    """The target under which the link is sent: relative, with slashes.

    Raises:
        BadUse: it is absolute and leads outside.
    """
    if Path(target).is_absolute():
        inside = _inside(root, target)
        if inside is None:
            raise BadUse(
                f"{shown(path)} is a link that leads out of the project, to {shown(target)}; {NEXT_STEP}"
            )
        return os.path.relpath(inside, PurePosixPath(path).parent).replace(os.sep, "/")
    return target.replace(os.sep, "/")


def _inside(root: Path, target: str) -> str | None:
    if sys.platform == "win32":
        target = target.removeprefix("\\\\?\\")
    normal = os.path.normpath(target)
    for base in (str(root), os.path.realpath(root)):
        if os.path.normcase(normal) == os.path.normcase(base):
            return "."
        below = os.path.join(base, "")  # noqa: PTH118 - a Path has no separator at its end
        if os.path.normcase(normal).startswith(os.path.normcase(below)):
            return normal[len(below) :]
    return None


def check(links: Mapping[str, str]) -> None:
    """Refuse links that lead outside, directly or through one another.

    Raises:
        BadUse: naming the first.
    """
    try:
        check_links(links)
    except BundleRejected as error:
        fault = str(error).removeprefix("the archive's entry ")
        raise BadUse(f"{fault}; {NEXT_STEP}") from error


def remarks(root: Path, links: Collection[str], sent: Collection[str]) -> list[str]:
    """What the user should know about links that won't work in the job."""
    if not links:
        return []
    there = _with_folders(sent)
    real_root = root.resolve()
    return [remark for path in links if (remark := _remark(root, real_root, path, there)) is not None]


def _remark(root: Path, real_root: Path, path: str, there: Collection[str]) -> str | None:
    try:
        end = (root / path).resolve(strict=True)
    except FileNotFoundError:
        return f"the link {shown(path)} leads to nothing; it is sent as it is"
    except (OSError, RuntimeError) as error:
        circle = isinstance(error, RuntimeError) or error.errno == errno.ELOOP
        where = "in a circle" if circle else "to nothing"
        return f"the link {shown(path)} leads {where}; it is sent as it is"
    if end == real_root or not end.is_relative_to(real_root):
        return None
    if end.relative_to(real_root).as_posix() not in there:
        return f"the link {shown(path)} leads to something that stays behind; it will lead to nothing"
    return None


def _with_folders(paths: Collection[str]) -> set[str]:
    found: set[str] = set()
    for path in paths:
        here = path
        while here and here not in found:
            found.add(here)
            here = here.rpartition("/")[0]
    return found
