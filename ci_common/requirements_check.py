"""Whether a `requirements.txt` can lead to pytest at all: the one fault that is certain beforehand. Pure.

Whoever finds a fault here may refuse the project at once. The reverse doesn't hold: a file that passes
may still install no pytest, which only the installation shows.
"""

import codecs
import re

FILE_NAME = "requirements.txt"

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_COMMENT = re.compile(r"(?:^|\s)#.*$")
_CONTINUED = re.compile(r"\\\r?\n")
_LEADS_ELSEWHERE = re.compile(
    r"://|@|^-e|^--editable|^-r|^--requirement|\$\{|^[^;\[]*[/\\]|^\.|\.(?:whl|zip|tar)"
)
"""Another file, a path, an archive, a URL, or a name that a variable decides."""


def requirements_fault(content: bytes) -> str | None:
    """What is certainly wrong with the content of a `requirements.txt`, as one line; else None."""
    for line in _lines(content):
        if "pytest" in line.lower() or _LEADS_ELSEWHERE.search(line):
            return None
    return f"{FILE_NAME} names nothing that could bring pytest; add a line `pytest` to it"


def _lines(content: bytes) -> list[str]:
    text = _CONTINUED.sub("", _decoded(content))
    stripped = (_COMMENT.sub("", line).strip() for line in text.splitlines())
    return [line for line in stripped if line]


def _decoded(content: bytes) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, errors="replace")
    return content.decode("utf-8", errors="replace")
