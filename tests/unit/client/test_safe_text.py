import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_client.safe_text import SafeText, defused

ALLOWED = re.compile("\x1b\\[[0-9;:]*[mK]")
FORBIDDEN = re.compile("[\x00-\x07\x0b\x0c\x0e-\x1f\x7f-\x9f]")
terminal_text = st.text(st.sampled_from("ab\x1b[0;1mK2J\r\n\t\x08\x07\x9b\x00]é\u2028"), max_size=60)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é ✓ \U0001f600\r\n\t\x08", "plain é ✓ \U0001f600\r\n\t\x08"),
        ("\x1b[1;38:2:1:2:3mx\x1b[0m\x1b[2K", "\x1b[1;38:2:1:2:3mx\x1b[0m\x1b[2K"),
        ("\x1b[2J\x1b[1;1H", "␛[2J␛[1;1H"),
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("\x1b[?25l\x1bc\x1b(0", "␛[?25l␛c␛(0"),
        ("\x00\x0e\x7f\x9b31m\x85", "␀␎␡\ufffd31m\ufffd"),
    ],
)
def test_what_passes_and_what_is_shown(text: str, shown: str) -> None:
    assert defused(text) == shown


@given(terminal_text)
def test_nothing_but_harmless_escapes_remains(text: str) -> None:
    assert not FORBIDDEN.search(ALLOWED.sub("", defused(text)))


@given(terminal_text, st.lists(st.integers(0, 60)))
def test_pieces_give_what_the_whole_gives(text: str, cuts: list[int]) -> None:
    safe = SafeText()
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [safe.feed(text[start:end]) for start, end in pairwise(bounds)]
    assert ("".join(pieces) + safe.finish()).removesuffix("\x1b[0m") == defused(text).removesuffix("\x1b[0m")


def test_an_endless_escape_is_not_held_back_for_ever() -> None:
    assert SafeText().feed("\x1b[" + "1" * 100) == "␛[" + "1" * 100


def test_colours_end_with_the_output() -> None:
    safe = SafeText()
    assert safe.feed("\x1b[31mred") == "\x1b[31mred"
    assert safe.finish() == "\x1b[0m"
    assert safe.finish() == ""
    safe.feed("\x1b[31mred\x1b[m")
    assert safe.finish() == ""
