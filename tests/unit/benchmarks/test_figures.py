import pytest

from benchmarks.figures import Figure, Judgement, RowResult, at_least, at_most
from benchmarks.samples import Spread, spread


@pytest.mark.parametrize(
    ("value", "judgement"),
    [
        (0.7, Judgement.REACHED),
        (0.75, Judgement.REACHED),
        (0.9, Judgement.FIRST_STEP),
        (1.0, Judgement.FIRST_STEP),
        (1.01, Judgement.MISSED),
    ],
)
def test_a_target_in_two_steps(value: float, judgement: Judgement) -> None:
    assert at_most(1.0, 0.75).judge(value) is judgement


@pytest.mark.parametrize(
    ("value", "judgement"), [(0.9, Judgement.REACHED), (2.0, Judgement.REACHED), (0.89, Judgement.MISSED)]
)
def test_a_target_from_below(value: float, judgement: Judgement) -> None:
    assert at_least(0.9).judge(value) is judgement


def test_what_only_explains_is_not_judged() -> None:
    assert Figure("docker run", spread([1.0])).judgement is None


def test_the_median_is_judged_and_not_the_range() -> None:
    assert Figure("÷", Spread(0.7, 0.6, 5.0), target=at_most(1.0)).judgement is Judgement.REACHED


def test_programs_are_told_all_of_it() -> None:
    figure = Figure("÷", spread([0.5]), "s", at_most(1.0), {"ours": [0.5]})
    found = RowResult("warm", "a title", (figure,), seconds=2.0, load=0.1).as_json()
    assert found == {
        "name": "warm",
        "title": "a title",
        "figures": [
            {
                "name": "÷",
                "spread": {"value": 0.5, "low": 0.5, "high": 0.5},
                "unit": "s",
                "target": {"steps": (1.0,), "at_least": False},
                "samples": {"ours": [0.5]},
                "judgement": "reached",
            }
        ],
        "remark": "",
        "failed": False,
        "seconds": 2.0,
        "load": 0.1,
    }
