"""The small pure parts: events, answers, patience, requirements, results, tables."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_client.answers import Answer, not_ours, problem_of
from ci_client.problems import (
    BadUse,
    ClientError,
    InternalFault,
    KeyRefused,
    NoSuchJob,
    Transient,
    Unreachable,
)
from ci_client.results import duration_text, exit_code_of, sentence_of
from ci_client.retrying import Patience, persistently
from ci_client.sse import NotSse, SseDecoder, SseEvent
from ci_client.tables import job_lines, job_table
from ci_client.wire import Completion, JobView, Malformed, account, completion, job_view, json_value
from ci_common.requirements_check import requirements_fault

# Events


@given(st.lists(st.integers(0, 200)))
def test_events_cut_anywhere(cuts: list[int]) -> None:
    data = (
        b": ping\r\n\r\nid: 1\r\nevent: log\r\ndata: a\r\n\r\nid:2\n\nevent: notice\ndata: b\ndata: c\n\n"
        b"retry: 5\nid\n\ndata:x\n\nid: 9\nevent: cut\n"
    )
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    decoder = SseDecoder()
    events = [event for start, end in pairwise(bounds) for event in decoder.feed(data[start:end])]
    assert events == [
        SseEvent("log", "a", "1"),
        SseEvent("", "", "2"),
        SseEvent("notice", "b\nc", None),
        SseEvent("", "", ""),
        SseEvent("", "x", None),
    ]


def test_a_line_without_end_is_no_stream() -> None:
    decoder = SseDecoder()
    with pytest.raises(NotSse):
        for _ in range(70):
            decoder.feed(b"x" * (1 << 20))


# Answers


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"detail": "x"}', BadUse),
        (401, b'{"detail": "x"}', KeyRefused),
        (404, b'{"detail": "no such job"}', NoSuchJob),
        (404, b'{"detail": "Not Found"}', Unreachable),
        (404, b"<html>", Unreachable),
        (409, b'{"detail": "ambiguous"}', BadUse),
        (413, b'{"detail": "x"}', BadUse),
        (413, b"<html>", Unreachable),
        (422, b'{"detail": [1]}', Unreachable),
        (429, b"", Transient),
        (500, b"Internal Server Error", Transient),
        (500, b'{"detail": "x"}', InternalFault),
        (502, b"<html>", Transient),
        (503, b'{"detail": "the database is older"}', Transient),
        (507, b'{"detail": "x"}', Unreachable),
        (302, b"", Unreachable),
        (418, b"teapot", Unreachable),
    ],
)
def test_whose_answer_it_is(status: int, body: bytes, kind: type[ClientError]) -> None:
    assert type(problem_of(Answer(status, {}, body, "http://x"))) is kind


def test_how_long_the_server_wants_to_be_left_alone() -> None:
    def asked(text: str) -> float | None:
        problem = problem_of(Answer(503, {"retry-after": text}, b"", "http://x"))
        assert isinstance(problem, Transient)
        return problem.retry_after_seconds

    assert [asked("2"), asked("100000"), asked("Wed, 21 Oct 2026"), asked("-1")] == [2, 60, None, None]


def test_a_page_instead_of_an_answer() -> None:
    assert "a web page" in str(not_ours("http://x", "text/html"))
    assert "something without a type" in str(not_ours("http://x", ""))


# Patience


def unheard(_text: str) -> None:
    """Nobody listens."""


def test_patience_waits_longer_each_time_and_says_so_once() -> None:
    waits: list[float] = []
    said: list[str] = []
    patience = Patience(30, said.append, pause=waits.append, clock=lambda: sum(waits), jitter=lambda: 1.0)
    with pytest.raises(Unreachable):
        while True:
            patience.wait(Transient("down"))
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0])
    assert said == ["down; trying again for 29 s"]
    patience.reached()
    assert said[1:] == ["the server answers again"]
    patience.progressed()
    patience.wait(Transient("down"))
    assert waits[-1] == pytest.approx(0.1)


def test_the_servers_wish_is_respected() -> None:
    waits: list[float] = []
    patience = Patience(30, unheard, pause=waits.append, clock=lambda: 0.0, jitter=lambda: 0.0)
    patience.wait(Transient("busy", retry_after_seconds=3))
    assert waits == [3]


def test_persistently() -> None:
    left = [Transient("a"), Transient("b")]

    def call() -> str:
        if left:
            raise left.pop()
        return "done"

    assert persistently(call, Patience(30, unheard, pause=lambda _: None)) == "done"


# Requirements


@pytest.mark.parametrize(
    "text",
    [
        "pytest", "PyTest>=8", "numpy\npytest-cov\n", "  pytest ; python_version > '3'", "-r other.txt",
        "-rother.txt", "--requirement other.txt", ".", "-e .", "-e.[test]", "./lib", "lib/thing", "/abs/path",
        "thing.whl", "..\\lib", "https://x.example/a.tar.gz", "git+ssh://x", "name @ file:///x", "${NAME}",
        "tox[pytest]", "--editable=.", "num\\\npy\npytest", "thing.zip",
    ],
)  # fmt: skip
def test_requirements_that_may_bring_pytest(text: str) -> None:
    assert requirements_fault(text.encode()) is None
    assert requirements_fault(text.encode("utf-16")) is None
    assert requirements_fault(text.encode("utf-8-sig")) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# pytest\n",
        "numpy\nrequests # pytest\n",
        "\n\n",
        "numpy>=1 ; python_version < '3'",
        "-c x",
        "a==1.0",
    ],
)
def test_requirements_that_certainly_do_not(text: str) -> None:
    fault = requirements_fault(text.encode())
    assert fault is not None
    assert "pytest" in fault


# What a job is and how it ended


def completed(**more: object) -> JobView:
    return job_view(
        {
            "job_id": "a" * 36,
            "status": "completed",
            "outcome": "failed",
            "exit_code": 2,
            "submit_time": "2026-01-01T10:00:00.000000+00:00",
            "start_time": "2026-01-01T10:00:01.000000+00:00",
            "end_time": "2026-01-01T10:01:05.500000+00:00",
            "attempt": 2,
            "future": True,
            **more,
        }
    )


def test_a_job_as_a_value() -> None:
    job = completed()
    assert (job.is_completed, job.success, job.exit_code, job.attempt) == (True, False, 2, 2)
    assert job.submit_time == datetime(2026, 1, 1, 10, tzinfo=UTC)
    assert job.raw["future"] is True
    assert completed(end_time="nonsense", exit_code=True).exit_code is None


@pytest.mark.parametrize("value", [None, [], {"job_id": 1, "status": "queued"}, {"job_id": "x"}])
def test_what_is_no_job(value: object) -> None:
    with pytest.raises(Malformed):
        job_view(value)


def test_what_is_no_json_or_no_end() -> None:
    for text in (b"", b"{", b"[" * 100_000, b"\xff"):
        with pytest.raises(Malformed):
            json_value(text)
    values: list[object] = [{}, [], {"outcome": 1}]
    for value in values:
        with pytest.raises(Malformed):
            completion(value)
    assert account({}).user_name == "?"


@pytest.mark.parametrize(
    ("end", "code", "sentence"),
    [
        (Completion("passed", 0, None), 0, "passed"),
        (Completion("failed", 5, None), 5, "failed with exit code 5"),
        (Completion("failed", 139, None), 139, "failed with exit code 139 (SIGSEGV)"),
        (Completion("cancelled", None, "cancelled_by_user"), 130, "cancelled"),
        (Completion("error", None, "new_reason"), 65, "error: new_reason"),
        (Completion("out_of_memory", None, None), 137, "out of memory"),
        (Completion("frozen", 7, None), 7, "frozen"),
    ],
)
def test_ends(end: Completion, code: int, sentence: str) -> None:
    assert (exit_code_of(end), sentence_of(end)) == (code, sentence)


def test_an_unknown_end_without_a_code() -> None:
    with pytest.raises(InternalFault):
        exit_code_of(Completion("frozen", None, None))


def test_tables_show_ids_whole() -> None:
    waiting = completed(status="queued", outcome=None, start_time=None, end_time=None, exit_code=None)
    lines = job_table([completed(), waiting], lambda _: True)
    assert [line.split()[0] for line in lines[1:]] == ["a" * 36] * 2
    assert lines[1].split()[2] == "✗"
    assert lines[2].split()[1:] == ["queued", "-", "-", "-", "-", "-"]
    assert job_table([completed()], lambda _: False)[1].split()[2] == "no"


def test_narrow_terminals_get_narrower_tables() -> None:
    jobs = [completed(job_id="a" * 36), completed(job_id="aaaaaaaaa" + "b" * 27)]
    whole = job_table(jobs, lambda _: True)
    assert job_table(jobs, lambda _: True, 200) == whole
    for width in (115, 100, 80):
        lines = job_table(jobs, lambda _: True, width)
        assert max(map(len, lines)) <= width
        assert lines[0].split("  ")[0] == "JOB ID"
        assert "END TIME" in lines[0]
    assert [line.split()[0] for line in lines[1:]] == ["a" * 10, "a" * 9 + "b"]
    assert "a" * 36 in "".join(job_table(jobs, lambda _: True, 100))


def test_one_job_in_lines() -> None:
    lines = job_lines(completed(reason="time_limit"))
    assert "Outcome:   failed (time_limit)" in lines
    assert "Duration:  1 min 04 s" in lines
    assert "Attempt:   2" in lines
    ending = completed(status="running", cancel_requested=True, waiting="no engine", outcome=None)
    assert "Status:    running, cancellation requested" in job_lines(ending)
    assert "Waiting:   no engine" in job_lines(ending)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0.0 s"), (59.94, "59.9 s"), (60, "1 min 00 s"), (3725, "1 h 02 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
