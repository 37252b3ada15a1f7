"""The file in which a user's key and server are kept: `key=value` lines, `~/.ci/config` unless told.

It holds a secret: written with mode 0600 from the first byte, replaced in one step, and lines that
this version doesn't know are kept.
"""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from ci_client.problems import BadUse, cause_of


def read(path: Path) -> dict[str, str]:
    """The values in the file; empty where there is none.

    Raises:
        BadUse: the file exists but can't be read or understood.
    """
    return parse(_text(path), path)


def parse(text: str, path: Path) -> dict[str, str]:
    """The values in `text`, the last one of each name.

    Raises:
        BadUse: a line is neither `name=value`, comment nor blank.
    """
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.partition("=")
        if not equals:
            raise BadUse(f"{path}, line {number} is not of the form name=value; correct it")
        values[name.strip()] = _unquoted(value.strip())
    return values


def write(path: Path, values: Mapping[str, str]) -> None:
    """Set `values` in the file, which appears complete or not at all; its other lines stay.

    Raises:
        BadUse: the file can't be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(path, merged(_text(path), values))
    except OSError as error:
        raise BadUse(f"can't write {path}: {cause_of(error)}; CI_CONFIG can name another file") from error


def merged(text: str, values: Mapping[str, str]) -> str:
    """`text` with its lines for `values` replaced, and those it lacks added."""
    left = dict(values)
    lines: list[str] = []
    for line in text.splitlines():
        name = line.partition("=")[0].strip()
        if name in values:
            if name in left:
                lines.append(f"{name}={left.pop(name)}")
            continue
        lines.append(line)
    lines += [f"{name}={value}" for name, value in left.items()]
    return "\n".join(lines) + "\n"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise BadUse(f"can't read {path}: {cause_of(error)}") from error
    except UnicodeDecodeError:
        raise BadUse(f"{path} is not UTF-8 text; correct it, or move it away and run `ci login`") from None


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value


def _replace(path: Path, text: str) -> None:
    # A link to the real file (dotfile managers make them) stays a link.
    import tempfile  # noqa: PLC0415 - reading the file needs none

    target = path.resolve()
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
