"""The picture of a submission: medians of traces, and an SVG that any reader of XML takes."""

import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.waterfall import (
    Bar,
    Side,
    bars_of,
    draw,
    median_times,
    read_traces,
    side_of,
    tick_step,
    times_of_both,
)
from ci_common.job_times import JobTimes, Milestone

ZERO = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"


def timing(**milliseconds: float) -> dict[str, str]:
    return {name: (ZERO + timedelta(milliseconds=value)).isoformat() for name, value in milliseconds.items()}


def drawn(bars: list[Bar], title: str = "Title") -> tuple[list[str], list[ET.Element]]:
    """All texts, and the bars without page and legend."""
    root = ET.fromstring(draw(bars, title, "medians"))
    texts = [element.text or "" for element in root.iter(f"{SVG}text")]
    boxes = [box for box in root.iter(f"{SVG}rect") if box.get("height") == "14.0"]
    return texts, boxes


def at(**milliseconds: float) -> JobTimes:
    return JobTimes(
        {Milestone(name): ZERO + timedelta(milliseconds=value) for name, value in milliseconds.items()}
    )


def test_both_sides_of_a_submission_are_counted_from_its_first_moment() -> None:
    trace = {
        "job_id": "j",
        "timing": timing(received=110, uploaded=115.5, unheard_of=1),
        "client_timing": timing(client_started=0, packing_began=100),
    }
    assert bars_of(times_of_both(trace)) == [Bar("client: start", 0, 100), Bar("server: receive", 110, 5.5)]
    alone = {"job_id": "j", "timing": timing(received=110, uploaded=115)}
    assert bars_of(times_of_both(alone)) == [Bar("server: receive", 0, 5)]
    assert bars_of(times_of_both({"timing": None, "client_timing": 7})) == []


def test_one_submission_stands_for_all() -> None:
    traces = [
        at(received=0, uploaded=1, checked=10),
        at(received=500, uploaded=502, checked=505, fed=900),
        at(received=7, uploaded=16, checked=20),
    ]
    assert bars_of(median_times(traces)) == [
        Bar("server: receive", 0, 2),
        Bar("server: check archive", 2, 4),
    ]
    assert bars_of(median_times([])) == []


@given(
    st.lists(
        st.dictionaries(st.sampled_from(list(Milestone)), st.floats(0, 1e4), min_size=2).map(
            lambda moments: at(**{name.value: value for name, value in moments.items()})
        ),
        min_size=1,
        max_size=5,
    )
)
def test_whatever_was_measured_is_drawn(traces: list[JobTimes]) -> None:
    bars = bars_of(median_times(traces))
    assert all(bar.start_milliseconds >= 0 and bar.milliseconds >= 0 for bar in bars)
    _, boxes = drawn(bars)
    assert len(boxes) == len(bars)
    assert all(float(box.get("x", "")) + float(box.get("width", "")) < 960 for box in boxes)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("client: pack", Side.CLIENT),
        ("server: store", Side.SERVER),
        ("queue", Side.CONTROLLER),
        ("container: start", Side.ENGINE),
        ("tests", Side.CONTAINER),
        ("tests: start", Side.CONTAINER),
    ],
)
def test_who_is_at_work(name: str, side: Side) -> None:
    assert side_of(name) is side


@pytest.mark.parametrize(
    ("total", "step"), [(0, 2e-4), (0.8, 0.1), (7, 1), (420, 100), (900, 200), (3000, 500), (8001, 2000)]
)
def test_the_axis_has_few_round_lines(total: float, step: float) -> None:
    assert tick_step(total) == pytest.approx(step)


def test_a_bar_a_phase_labelled_with_its_milliseconds() -> None:
    texts, boxes = drawn([Bar("queue", 0, 100), Bar("tests", 100, 300), Bar("complete", 400, 0)])
    assert {"Title", "medians", "queue", "100.0 ms", "300.0 ms", "0.0 ms", "ms", "0", "200"} <= set(texts)
    lefts = [float(box.get("x", "")) for box in boxes]
    widths = [float(box.get("width", "")) for box in boxes]
    assert lefts[0] < lefts[1] < lefts[2]
    assert widths[1] == pytest.approx(3 * widths[0], abs=0.3)
    assert lefts[1] == pytest.approx(lefts[0] + widths[0], abs=0.3)
    assert widths[2] > 0


def test_both_brightnesses_and_any_text() -> None:
    picture = draw([Bar("<&>", 0, 1)], 'a < b & "c"')
    root = ET.fromstring(picture)
    assert root.findtext(f"{SVG}title") == 'a < b & "c"'
    assert "prefers-color-scheme: dark" in picture


def test_nothing_to_draw_is_a_picture_too() -> None:
    assert drawn([])[1] == []


def test_traces_are_objects_or_arrays_of_them() -> None:
    assert read_traces(['{"a": 1}', '[{"b": 2}, {"c": 3}]']) == [{"a": 1}, {"b": 2}, {"c": 3}]
    for nonsense in ("7", "[7]", "{", '[{"client_timing": {}}, {}]'):
        with pytest.raises(ValueError, match=r"."):
            read_traces([nonsense])
