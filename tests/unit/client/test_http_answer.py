"""Answers of sound servers, cut anywhere; and of what is no web server."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_client.http_answer import CutOff, HttpAnswer, NotHttp

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n1;x=y\r\n \r\n6\r\nworld!\r\n0\r\nTrailer: t\r\n\r\n"
)
SIZED = b"HTTP/1.1 201 Created\r\nContent-Length: 12\r\nX-A: 1\r\nx-a: 2\r\n\r\nhello world!"
OPEN_ENDED = b"HTTP/1.0 200 OK\r\n\r\nhello world!"


def answer_of(stream: bytes, cuts: list[int]) -> HttpAnswer:
    places = [0, *sorted(cut for cut in set(cuts) if 0 < cut < len(stream)), len(stream)]
    pieces: Iterator[bytes] = (stream[a:b] for a, b in pairwise(places))
    return HttpAnswer(lambda: next(pieces, b""))


@given(st.sampled_from([CHUNKED, SIZED, OPEN_ENDED]), st.lists(st.integers(0, 200)))
def test_cuts_anywhere_change_nothing(stream: bytes, cuts: list[int]) -> None:
    answer = answer_of(stream, cuts)
    assert b"".join(answer.pieces()) == b"hello world!"
    assert answer.is_complete
    assert answer.may_go_on == (stream is not OPEN_ENDED)


@given(st.sampled_from([CHUNKED, SIZED]), st.integers(0, 200))
def test_a_cut_is_told_from_an_end(stream: bytes, end: int) -> None:
    cut = stream[: end % len(stream)]
    with pytest.raises(CutOff):
        list(answer_of(cut, []).pieces())


@given(st.binary(max_size=300), st.lists(st.integers(0, 300)))
def test_whatever_comes_ends(garbage: bytes, cuts: list[int]) -> None:
    for stream in (garbage, CHUNKED[:60] + garbage, SIZED[:30] + garbage):
        try:
            list(answer_of(stream, cuts).pieces())
        except (NotHttp, CutOff):
            continue


def test_names_are_lower_case_and_repeated_ones_are_joined() -> None:
    answer = answer_of(SIZED, [])
    assert (answer.status, answer.headers["x-a"]) == (201, "1, 2")


def test_interim_answers_are_passed_over() -> None:
    answer = answer_of(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + SIZED, [])
    assert (answer.status, "link" in answer.headers) == (201, False)


@pytest.mark.parametrize("status", [204, 304])
def test_some_answers_have_no_body(status: int) -> None:
    answer = answer_of(f"HTTP/1.1 {status} X\r\n\r\n".encode(), [])
    assert list(answer.pieces()) == []
    assert answer.may_go_on


def test_a_connection_that_the_server_closes_is_not_kept() -> None:
    answer = answer_of(SIZED.replace(b"X-A: 1", b"Connection: Close"), [])
    list(answer.pieces())
    assert not answer.may_go_on


def test_bytes_behind_the_answer_spoil_the_connection() -> None:
    answer = answer_of(SIZED + b"?", [])
    assert b"".join(answer.pieces()) == b"hello world!"
    assert not answer.may_go_on


@pytest.mark.parametrize(
    "stream",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 2OO OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded: line\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfive\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * (200 << 10),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * (40 << 10),
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
    ],
)
def test_what_is_no_answer_is_refused(stream: bytes) -> None:
    with pytest.raises(NotHttp):
        list(answer_of(stream, list(range(0, len(stream), 1000))).pieces())
