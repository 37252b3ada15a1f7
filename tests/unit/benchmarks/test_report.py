import pytest

from benchmarks.figures import Figure, RowResult, at_least, at_most
from benchmarks.report import markdown_table, number_text, text_table
from benchmarks.samples import Spread

RESULTS = [
    RowResult(
        "warm",
        "second submission beside `docker run`",
        (
            Figure("÷ docker run", Spread(0.9, 0.85, 1.2), target=at_most(1.0, 0.75)),
            Figure("docker run", Spread(0.4321, 0.4321, 0.4321), "s"),
        ),
        load=0.5,
    ),
    RowResult("rate", "jobs", (Figure("jobs", Spread(12.0, 11.0, 13.0), "/s", at_least(0.9)),), load=2.5),
    RowResult("history", "a long one", remark="left out by --quick: it takes minutes"),
    RowResult("idle", "nothing to do", remark="RuntimeError: no engine", failed=True),
]


def test_the_table_for_a_terminal() -> None:
    assert text_table(RESULTS).splitlines() == [
        "row      figure        measured  least to greatest          target",
        "-------  ------------  --------  -----------------  --------------  ----------",
        "warm     ÷ docker run      0.90       0.85 to 1.20  ≤ 1, then 0.75  first step",
        "         docker run      0.43 s",
        "rate     jobs           12.0 /s       11.0 to 13.0        ≥ 0.9 /s  reached",
        "history  left out",
        "idle     failed",
        "",
        "history: left out by --quick: it takes minutes",
        "idle: RuntimeError: no engine",
        "Load average when the rows began: 0.5 to 2.5.",
    ]


def test_the_table_for_a_page() -> None:
    assert markdown_table(RESULTS[:1]).splitlines() == [
        "| row | figure | measured | least to greatest | target |  |",
        "| --- | --- | ---: | ---: | ---: | --- |",
        "| warm | ÷ docker run | 0.90 | 0.85 to 1.20 | ≤ 1, then 0.75 | first step |",
        "|  | docker run | 0.43 s |  |  |  |",
        "",
        "- **warm**: second submission beside `docker run`.",
        "",
        "Load average when the rows began: 0.5 to 0.5.",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.1234, "0.12"), (0.01234, "0.012")],
)
def test_numbers_have_the_digits_that_they_deserve(value: float, text: str) -> None:
    assert number_text(value) == text
