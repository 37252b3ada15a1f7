"""pytest's own words, with what changes from run to run and from version to version taken out."""

import re

_CHANGING = (
    (re.compile(r"^(platform linux) -- Python \S+, pytest-\S+, pluggy-\S+"), r"\1 -- VERSIONS"),
    (re.compile(r"^=+ (.*) in [0-9.]+s(?: \([0-9:]+\))? =+$"), r"== \1 in TIME =="),
    (re.compile(r"^(=+|_+) (.*?) \1?[=_]+$"), r"== \2 =="),
    (re.compile(r"^(plugins: ).*"), r"\1PLUGINS"),
)


def steady(output: bytes) -> list[str]:
    """The lines of a run, fit for comparison."""
    return [_steady_line(line) for line in output.decode().splitlines()]


def _steady_line(line: str) -> str:
    for pattern, replacement in _CHANGING:
        line = pattern.sub(replacement, line)
    return line
