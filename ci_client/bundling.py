"""From a project's folder to the archive that is sent; and the faults that are certain before that."""

import contextlib
import os
import stat
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ci_client import digest_cache, git_view
from ci_client.archive import REFERENCE_BYTES, SMALL_BYTES, ArchiveWriter, read_again
from ci_client.archive_file import ArchiveFile
from ci_client.digest_cache import Digest
from ci_client.ignore_rules import GIT_RULE
from ci_client.problems import BadUse, InternalFault, cause_of
from ci_client.selection import LeftOut, Selection, select
from ci_common.bundle import EntryKind
from ci_common.requirements_check import FILE_NAME, requirements_fault

_NAMES_A_RULE = 8
_REMARKS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Archive:
    """What is sent, and what is to be said about it."""

    file: ArchiveFile
    size_bytes: int
    entry_count: int
    left_out: Sequence[LeftOut]
    remarks: Sequence[str]
    reference_count: int
    """Files that are only named, since the server has their contents."""
    digests: Mapping[str, Digest]
    """What to know about the files the next time; empty where the project is small."""
    has_news: bool
    """Whether the digests are others than before."""


def project_root(path: str) -> Path:
    """The folder that PATH names.

    Raises:
        BadUse: it names none.
    """
    root = Path(os.path.abspath(path))  # noqa: PTH100 - `..` is taken as typed, links are not resolved
    if root.is_dir():
        return root
    if root.exists():
        raise BadUse(
            f"{path} is not a folder; name the project's folder, "
            f"and tests behind `--`: ci submit test -- {path}"
        )
    raise BadUse(f"{path} doesn't exist; name the project's folder")


def check_requirements(root: Path) -> None:
    """Refuse what could never be tested.

    Raises:
        BadUse: no `requirements.txt`, or one that can't lead to pytest.
    """
    file = root / FILE_NAME
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise BadUse(f"no {FILE_NAME} in {root}; {_advice(root)}") from None
    except OSError as error:
        raise BadUse(f"{file} can't be read: {cause_of(error)}") from error
    fault = requirements_fault(content)
    if fault is not None:
        raise BadUse(f"{file}: {fault}")


def _advice(root: Path) -> str:
    for above in root.parents[:4]:
        if (above / FILE_NAME).is_file():
            return f"the one in {above} belongs to: ci submit test {_short(above)}"
    return "write one that names pytest and what the tests need, one package a line"


def _short(path: Path) -> str:
    try:
        return os.path.relpath(path)
    except ValueError:  # on another drive
        return str(path)


def pack(
    root: Path,
    pause: Callable[[], None],
    progress: Callable[[int, int, int], None],
    held: Callable[[Collection[bytes]], Collection[bytes]] = lambda _digests: (),
) -> Archive:
    """Put the project into an archive.

    `progress` is told how many entries of how many are in it, and how many bytes of files they held.
    `held` says which contents the server has; it is asked about files that probably haven't changed since
    they were last sent, if there are enough of them.

    Raises:
        BadUse: something in it can't be sent.
        InternalFault: there is no room for the archive.
    """
    selection = select(root, pause)
    check_selection(selection)
    known = digest_cache.load(root)
    candidates = _candidates(root, selection, known)
    named = _held(candidates, held)
    executables = git_view.executable_files(root) if sys.platform == "win32" else None
    with _room_for_archive():
        file = ArchiveFile(SMALL_BYTES)  # the caller closes it
        writer = ArchiveWriter(root, file, executables, notes_digests=bool(known))
        try:
            for number, entry in enumerate(selection.entries, start=1):
                pause()
                unchanged = _unchanged(root, entry.path, candidates, named, pause)
                if unchanged is not None:
                    writer.add_reference(entry.path, *unchanged)
                else:
                    writer.add(entry, pause)
                progress(number, len(selection.entries), writer.read_bytes)
            writer.close()
        except BaseException:
            with contextlib.suppress(OSError):
                writer.close()
            file.close()
            raise
    size_bytes = file.seek(0, os.SEEK_END)
    return Archive(
        file=file,
        size_bytes=size_bytes,
        entry_count=len(selection.entries),
        left_out=selection.left_out,
        remarks=[*selection.remarks, *writer.remarks],
        reference_count=writer.reference_count,
        digests=writer.digests,
        has_news=writer.digests != known,
    )


_Candidates = Mapping[str, tuple[os.stat_result, Digest]]
"""By path, the state of a file and what was known of it."""


def _candidates(root: Path, selection: Selection, known: Mapping[str, Digest]) -> _Candidates:
    """The files that may hold what they held when they were last sent."""
    if not known:
        return {}
    found: dict[str, tuple[os.stat_result, Digest]] = {}
    for entry in selection.entries:
        digest = known.get(entry.path)
        if digest is None or entry.kind is not EntryKind.FILE or digest.size_bytes <= REFERENCE_BYTES:
            continue
        with contextlib.suppress(OSError):  # reading it will tell
            state = os.lstat(root / entry.path)
            if stat.S_ISREG(state.st_mode) and state.st_size == digest.size_bytes:
                found[entry.path] = state, digest
    return found


def _held(
    candidates: _Candidates, held: Callable[[Collection[bytes]], Collection[bytes]]
) -> Collection[bytes]:
    """The contents that need only be named."""
    if sum(digest.size_bytes for _, digest in candidates.values()) <= SMALL_BYTES:
        return ()
    return held({digest.sha256 for _, digest in candidates.values()})


def _unchanged(
    root: Path, path: str, candidates: _Candidates, named: Collection[bytes], pause: Callable[[], None]
) -> tuple[os.stat_result, Digest] | None:
    """The state and digest of a file that need only be named; it is read where its state proves nothing."""
    candidate = candidates.get(path)
    if candidate is None or candidate[1].sha256 not in named:
        return None
    found, digest = candidate
    return candidate if digest.still_holds(found) else read_again(root, path, digest, pause)


def check_selection(selection: Selection) -> None:
    """Refuse what goes without its requirements.

    Raises:
        BadUse: a rule keeps `requirements.txt` behind.
    """
    if any(entry.path == FILE_NAME for entry in selection.entries):
        return
    rule = next((left.rule for left in selection.left_out if left.path == FILE_NAME), "the rules")
    raise BadUse(
        f"{FILE_NAME} stays behind because of {rule}; bring it back by a line !/{FILE_NAME} in .ciignore"
    )


@contextlib.contextmanager
def _room_for_archive() -> Generator[None]:
    try:
        yield
    except OSError as error:
        import tempfile  # noqa: PLC0415 - rarely needed, and the import takes time

        raise InternalFault(
            f"can't write the archive in {tempfile.gettempdir()}: {cause_of(error)}; "
            "TMPDIR can name another folder"
        ) from error


def left_out_summary(left_out: Sequence[LeftOut]) -> str | None:
    """How many names stay behind, in one line."""
    folders = sum(left.path.endswith("/") for left in left_out)
    files = len(left_out) - folders
    counts = [_count(folders, "folder"), _count(files, "file")]
    named = " and ".join(count for count in counts if count)
    return f"{named} left out (-v says by which rule)" if named else None


def left_out_by_rule(root: Path, left_out: Sequence[LeftOut]) -> list[str]:
    """A line for each rule, with the names that it keeps behind."""
    by_git = [left.path for left in left_out if left.rule == GIT_RULE]
    exact: Mapping[str, str] = git_view.rules_behind(root, by_git) if by_git else {}
    groups: dict[str, list[str]] = defaultdict(list)
    for left in left_out:
        groups[exact.get(left.path, left.rule)].append(left.path)
    return [f"left out by {rule}: {_some(names)}" for rule, names in groups.items()]


def shown_remarks(remarks: Sequence[str]) -> list[str]:
    """As many as a person reads."""
    more = len(remarks) - _REMARKS_SHOWN
    return [*remarks[:_REMARKS_SHOWN], *([f"and {more} more such remarks"] if more > 0 else [])]


def size_text(size_bytes: int) -> str:
    """A size for people."""
    if size_bytes < 1000:
        return f"{size_bytes} bytes"
    size = float(size_bytes)
    for unit in ("kB", "MB"):
        size /= 1000
        if size < 1000:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} GB"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}" if number else ""


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_A_RULE
    shown = ", ".join(names[:_NAMES_A_RULE])
    return f"{shown} and {more} more" if more > 0 else shown
