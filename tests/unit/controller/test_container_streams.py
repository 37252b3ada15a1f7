from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_controller.http_body import ChunkedBody, Demultiplexer, MalformedBody

payloads = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=300)), max_size=12)
cuts = st.lists(st.integers(min_value=1, max_value=40), max_size=200)


def frame(stream: int, payload: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


def chunk(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def pieces(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    found: list[bytes] = []
    at = 0
    for size in sizes:
        found.append(data[at : at + size])
        at += size
    return [*found, data[at:]]


@given(payloads, cuts)
def test_one_stream_comes_out_of_the_frames_wherever_they_are_cut(
    frames: list[tuple[int, bytes]], sizes: list[int]
) -> None:
    data = b"".join(frame(stream, payload) for stream, payload in frames)
    stdout, everything = Demultiplexer(), Demultiplexer(stream=None)
    parts = pieces(data, sizes)
    assert b"".join(map(stdout.feed, parts)) == b"".join(p for stream, p in frames if stream == 1)
    assert b"".join(map(everything.feed, parts)) == b"".join(p for _, p in frames)


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=12), cuts)
def test_a_chunked_body_comes_out_whole_wherever_it_is_cut(chunks: list[bytes], sizes: list[int]) -> None:
    body = ChunkedBody()
    data = b"".join(map(chunk, chunks)) + b"0\r\n\r\n"
    assert b"".join(map(body.feed, pieces(data, sizes))) == b"".join(chunks)
    assert body.finished


def test_a_body_that_breaks_off_is_not_finished() -> None:
    body = ChunkedBody()
    assert body.feed(b"5\r\nhel") == b"hel"
    assert not body.finished
    assert body.feed(b"lo\r\n") == b"hello"[3:]
    assert not body.finished


def test_chunk_extensions_are_passed_over() -> None:
    assert ChunkedBody().feed(b"3;name=value\r\nabc\r\n0\r\n\r\n") == b"abc"


@pytest.mark.parametrize("nonsense", [b"xyz\r\n", b"-5\r\nhello\r\n", b"\r\n\r\n", b"1" * 5000])
def test_what_is_no_chunked_body_is_refused(nonsense: bytes) -> None:
    with pytest.raises(MalformedBody):
        ChunkedBody().feed(nonsense)


def test_what_has_no_frames_is_refused() -> None:
    with pytest.raises(MalformedBody):
        Demultiplexer().feed(b"raw output of a terminal")
