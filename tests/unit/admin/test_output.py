"""Tables and fields that people read and copy from."""

import json
from datetime import UTC, datetime

import pytest

from ci_admin import output


def test_a_table_pads_every_column_but_the_last() -> None:
    text = output.table(("ID", "NAME"), [("1", "Ada"), ("22", "Grace Hopper")])
    assert text == "ID  NAME\n1   Ada\n22  Grace Hopper"


def test_a_table_cuts_nothing() -> None:
    assert "x" * 500 in output.table(("A", "B"), [("x" * 500, "y")])


def test_a_table_without_rows_is_its_header() -> None:
    assert output.table(("ID", "NAME"), []) == "ID  NAME"


def test_wide_and_combining_characters_keep_the_columns_straight() -> None:
    text = output.table(("N", "X"), [("日本", "1"), ("e\N{COMBINING ACUTE ACCENT}", "2"), ("abcd", "3")])
    assert text.split("\n") == ["N     X", "日本  1", "e\N{COMBINING ACUTE ACCENT}     2", "abcd  3"]


@pytest.mark.parametrize("character", ["\n", "\r", "\t", "\x1b", "\x9b", "\x00"])
def test_control_characters_never_reach_the_terminal(character: str) -> None:
    for text in (output.table(("A",), [(f"x{character}y",)]), output.fields({"A": f"x{character}y"})):
        assert text.endswith("x\N{REPLACEMENT CHARACTER}y")


def test_fields_are_aligned() -> None:
    assert output.fields({"ID": "1", "Name": "Ada"}) == "ID:   1\nName: Ada"


def test_times_are_utc() -> None:
    assert output.moment(None) == "-"
    assert output.moment(datetime(2026, 1, 2, 3, 4, 5, 6, UTC)) == "2026-01-02 03:04:05Z"
    assert output.iso(None) is None
    assert output.iso(datetime(2026, 1, 2, 3, 4, 5, 6, UTC)) == "2026-01-02T03:04:05.000006+00:00"


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (5 << 30, "5.0 GiB"),
        (1 << 42, "4.0 TiB"),
    ],
)
def test_sizes(size_bytes: int, text: str) -> None:
    assert output.size(size_bytes) == text


def test_json_is_ascii_so_that_any_pipe_takes_it() -> None:
    text = output.as_json({"name": "Ä"})
    assert text.isascii()
    assert json.loads(text) == {"name": "Ä"}
