"""The syntax of a requirements file, line by line, as pip reads it. Pure.

Follows pip's own parser where a difference could be seen: encodings, continuations, comments, where
options begin, which of them a line may bear. The files come from strangers, so every step takes time
in proportion to the text, and sizes are bounded by the caller.
"""

import codecs
import optparse
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from ci_common.bundle_paths import shown
from ci_common.errors import InvalidInput

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CODING = re.compile(rb"coding[:=]\s*([-\w.]+)")
_MAX_LINE_CHARACTERS = 64 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """One logical line, continuations joined."""

    where: str
    """File and number of its first physical line, for messages."""
    requirement: str | None
    """What is to be installed, without the line's options; None on a line of options alone."""
    editable: bool = False
    hashes: tuple[str, ...] = ()
    """As in `--hash`."""
    nested_requirements: str | None = None
    nested_constraints: str | None = None
    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    no_index: bool = False
    find_links: tuple[str, ...] = ()
    no_binary: tuple[str, ...] = ()
    only_binary: tuple[str, ...] = ()
    prereleases: bool = False
    require_hashes: bool = False
    trusted_hosts: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    """Options that the installer has no counterpart of."""


def decode(data: bytes, name: str) -> str:
    """The text of a requirements file.

    Raises:
        InvalidInput: it is not in the encoding that it announces, UTF-8 unless told.
    """
    encoding = "utf-8"
    for bom, its_encoding in _BOMS:
        if data.startswith(bom):
            data, encoding = data[len(bom) :], its_encoding
            break
    else:
        for line in data.split(b"\n")[:2]:
            announced = _CODING.search(line) if line.startswith(b"#") else None
            if announced is not None:
                encoding = announced.group(1).decode("ascii", "replace")
    try:
        return data.decode(encoding)
    except (LookupError, ValueError):
        raise InvalidInput(f"{name} can't be read as {shown(encoding)} text; save it as UTF-8") from None


def read_lines(text: str, name: str) -> Iterator[Line]:
    """The logical lines that say something.

    Raises:
        InvalidInput: a line is not what pip would take; the message names it.
    """
    for number, text_line in _joined_lines(text):
        content = _without_comment(text_line).strip()
        if not content:
            continue
        where = f"{name}, line {number}"
        if len(content) > _MAX_LINE_CHARACTERS:
            raise InvalidInput(f"{where}: longer than {_MAX_LINE_CHARACTERS} characters")
        yield _parse(content, where)


def _joined_lines(text: str) -> Iterator[tuple[int, str]]:
    first_number = 0
    parts: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        is_comment = line.lstrip().startswith("#")
        if not parts:
            first_number = number
        if line.endswith("\\") and not is_comment:
            parts.append(line.strip("\\"))
            continue
        # A comment ends a continued line; the blank keeps it from being taken for part of a word.
        parts.append(f" {line}" if is_comment else line)
        yield first_number, "".join(parts)
        parts = []
    if parts:
        yield first_number, "".join(parts)


def _without_comment(line: str) -> str:
    at = line.find("#")
    while at > 0 and not line[at - 1].isspace():
        at = line.find("#", at + 1)
    return line if at < 0 else line[:at]


class _LineParser(optparse.OptionParser):
    def exit(self, status: int = 0, msg: str | None = None) -> NoReturn:
        raise InvalidInput(msg or "an option is wrong")

    def error(self, msg: str) -> NoReturn:
        raise InvalidInput(msg)


_VALUE_OPTIONS: dict[str, tuple[str, ...]] = {
    "index_url": ("-i", "--index-url", "--pypi-url"),
    "extra_index_urls": ("--extra-index-url",),
    "find_links": ("-f", "--find-links"),
    "no_binary": ("--no-binary",),
    "only_binary": ("--only-binary",),
    "trusted_hosts": ("--trusted-host",),
    "requirements": ("-r", "--requirement"),
    "constraints": ("-c", "--constraint"),
    "editables": ("-e", "--editable"),
    "hashes": ("--hash",),
    "global_options": ("--global-option",),
    "config_settings": ("-C", "--config-setting", "--config-settings"),
    "features": ("--use-feature",),
}
_FLAGS: dict[str, tuple[str, ...]] = {
    "no_index": ("--no-index",),
    "pre": ("--pre",),
    "require_hashes": ("--require-hashes",),
    "prefer_binary": ("--prefer-binary",),
}
_IGNORED = {
    "global_options": "--global-option",
    "config_settings": "--config-settings",
    "features": "--use-feature",
    "prefer_binary": "--prefer-binary",
}


def _line_parser() -> _LineParser:
    parser = _LineParser(add_help_option=False, usage=optparse.SUPPRESS_USAGE)
    for destination, names in _VALUE_OPTIONS.items():
        parser.add_option(*names, dest=destination, action="append")
    for destination, names in _FLAGS.items():
        parser.add_option(*names, dest=destination, action="store_true", default=False)
    return parser


_PARSER = _line_parser()


def _parse(content: str, where: str) -> Line:
    requirement, options_text = _split_options(content)
    try:
        values, _ = _PARSER.parse_args(shlex.split(options_text))
    except (InvalidInput, ValueError) as error:
        raise InvalidInput(f"{where}: {error} in {shown(content)}") from None

    def texts(name: str) -> tuple[str, ...]:
        return tuple(getattr(values, name) or ())

    ignored = tuple(option for name, option in _IGNORED.items() if getattr(values, name))
    if requirement or texts("editables"):
        return Line(
            where=where,
            requirement=requirement or texts("editables")[0],
            editable=not requirement,
            hashes=texts("hashes"),
            ignored=ignored,
        )
    nested = texts("requirements")
    return Line(
        where=where,
        requirement=None,
        nested_requirements=nested[0] if nested else None,
        nested_constraints=texts("constraints")[0] if texts("constraints") and not nested else None,
        index_url=texts("index_url")[-1] if texts("index_url") else None,
        extra_index_urls=texts("extra_index_urls"),
        no_index=bool(values.no_index),
        find_links=texts("find_links"),
        no_binary=texts("no_binary"),
        only_binary=texts("only_binary"),
        prereleases=bool(values.pre),
        require_hashes=bool(values.require_hashes),
        trusted_hosts=texts("trusted_hosts"),
        ignored=ignored,
    )


def _split_options(content: str) -> tuple[str, str]:
    # Options begin at the first word with a hyphen; what is before them may hold quotes of its own.
    words = content.split(" ")
    for index, word in enumerate(words):
        if word.startswith("-"):
            return " ".join(words[:index]).strip(), " ".join(words[index:])
    return content, ""
