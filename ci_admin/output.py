"""How results are printed: tables and fields for people, JSON for programs; pure text building.

Nothing is ever cut to a width, for ids are copied from here and pipes have none. Control characters,
which could rewrite a terminal's earlier lines, are shown as U+FFFD.
"""

import json
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime

from ci_common.clock import to_iso

_GAP = "  "


def as_json(value: object) -> str:
    """`value` as indented JSON."""
    return json.dumps(value, indent=2)


def can_show(text: str) -> bool:
    """Whether stdout's encoding has these characters."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell, the last one unpadded."""
    lines = [header, *([_printable(cell) for cell in row] for row in rows)]
    widths = [max(_columns(line[index]) for line in lines) for index in range(len(header))]
    return "\n".join(_GAP.join(map(_padded, line, widths)).rstrip() for line in lines)


def fields(pairs: Mapping[str, str]) -> str:
    """One `name: value` a line, the values aligned."""
    widest = max(_columns(name) for name in pairs)
    return "\n".join(
        f"{_padded(name + ':', widest + 1)} {_printable(value)}" for name, value in pairs.items()
    )


def moment(value: datetime | None) -> str:
    """A time for a table, in UTC to the second; `-` where there is none."""
    return "-" if value is None else value.strftime("%Y-%m-%d %H:%M:%SZ")


def iso(value: datetime | None) -> str | None:
    """A time for JSON; None where there is none."""
    return None if value is None else to_iso(value)


def size(size_bytes: int) -> str:
    """A number of bytes for people: `512 B`, `1.5 MiB`."""
    value = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def _printable(text: str) -> str:
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) == "Cc" else c for c in text)


def _columns(text: str) -> int:
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _columns(text))
