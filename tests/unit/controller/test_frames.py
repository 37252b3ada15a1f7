"""Frames come back exact, wherever the log is cut; nonsense is text and never an error."""

import base64
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_common.models import LogPosition, Phase
from ci_controller.frames import MAX_LINE_BYTES, Batch, FrameDecoder, RunnerEnd, RunnerResult

START = LogPosition()
END_FIELDS = {"end": "exited", "phase": "test", "exit_code": 0, "oom_kills": 0, "terminated": False}


def output(number: int, data: bytes, phase: str = "test") -> bytes:
    return b"%d %s %s\n" % (number, phase.encode(), base64.b64encode(data))


def frame(number: int, kind: str, **fields: object) -> bytes:
    return f"{number} {kind} {json.dumps(fields)}\n".encode()


def end_frame(number: int, **changes: object) -> bytes:
    return frame(number, "end", **{**END_FIELDS, **changes})


def decode(log: bytes) -> list[Batch]:
    decoder = FrameDecoder(START)
    return [decoder.feed(log), decoder.finish()]


def merged(batches: list[Batch]) -> list[tuple[Phase, str]]:
    chunks: list[tuple[Phase, str]] = []
    for phase, text in (chunk for batch in batches for chunk in batch.chunks):
        assert text
        if chunks and chunks[-1][0] is phase:
            chunks[-1] = (phase, chunks[-1][1] + text)
        else:
            chunks.append((phase, text))
    return chunks


def text_of(log: bytes) -> str:
    return "".join(text for _, text in merged(decode(log)))


def test_a_whole_log() -> None:
    log = (
        frame(1, "hello", version=1)
        + frame(2, "fed")
        + output(3, b"in\n", "install")
        + output(4, b"a")
        + output(5, b"b\n")
        + frame(6, "notice", text="a child was killed")
        + end_frame(7, exit_code=1, oom_kills=2)
    )
    batch = FrameDecoder(START).feed(log)
    assert batch == Batch(
        chunks=[(Phase.INSTALL, "in\n"), (Phase.TEST, "ab\n")],
        fed=True,
        notices=["a child was killed"],
        result=RunnerResult(RunnerEnd.EXITED, Phase.TEST, 1, 2, terminated=False),
        position=LogPosition(len(log)),
    )


def test_a_runner_tells_when_something_was() -> None:
    log = frame(1, "fed", since_fed_seconds={"runner_ready": -2, "feeding_began": -0.5}) + end_frame(
        2, since_fed_seconds={"test_began": 0.25, "test_ended": 1e6}
    )
    decoder = FrameDecoder(START)
    batch = decoder.feed(log)
    assert batch.since_fed_seconds == {
        "runner_ready": -2,
        "feeding_began": -0.5,
        "test_began": 0.25,
        "test_ended": 1e6,
    }
    assert decoder.finish().since_fed_seconds == {}
    assert FrameDecoder(LogPosition(len(log))).feed(log).since_fed_seconds == {}


@pytest.mark.parametrize(
    "told",
    [
        None,
        7,
        [1],
        {"test_began": "1"},
        {"test_began": True},
        {"test_began": None},
        {"test_began": float("nan")},
        {"test_began": float("-inf")},
        {"test_began": 10**400},
        {"test_began": 1e8},
        {"surprise": 1},
    ],
)
def test_moments_that_can_not_be_are_ignored(told: object) -> None:
    batch = FrameDecoder(START).feed(
        frame(1, "fed", since_fed_seconds=told) + end_frame(2, since_fed_seconds=told)
    )
    assert batch.since_fed_seconds == {}
    assert batch.fed
    assert batch.result == RunnerResult(RunnerEnd.EXITED, Phase.TEST, 0, 0, terminated=False)


def test_an_empty_log() -> None:
    assert [batch.is_empty for batch in decode(b"")] == [True, True]


def test_a_frame_counts_only_when_it_is_whole() -> None:
    decoder = FrameDecoder(START)
    line = output(1, b"abc")
    batch = decoder.feed(line[:-1])
    assert batch.is_empty
    assert batch.position == START
    assert decoder.feed(b"\n").chunks == [(Phase.TEST, "abc")]


def test_an_unfinished_line_at_the_end_is_text() -> None:
    assert text_of(output(1, b"abc") + b"2 test YW") == "abc2 test YW"


def test_an_unfinished_sequence_at_the_end_is_a_replacement_character() -> None:
    assert text_of(output(1, b"abc\xf0\x9f")) == "abc\ufffd"


def test_a_sequence_cut_by_frames_is_one_character() -> None:
    smile = "\U0001f600".encode()
    assert text_of(output(1, smile[:1]) + output(2, smile[1:3]) + output(3, smile[3:])) == "\U0001f600"


def test_an_unfinished_sequence_does_not_pass_into_the_next_phase() -> None:
    log = output(1, b"\xc3", "install") + output(2, b"\xa4", "test")
    assert merged(decode(log)) == [(Phase.INSTALL, "\ufffd"), (Phase.TEST, "\ufffd")]


def test_the_position_holds_the_pending_bytes() -> None:
    batch = FrameDecoder(START).feed(output(1, b"a\xe2\x82"))
    assert batch.position.pending == b"\xe2\x82"
    assert batch.chunks == [(Phase.TEST, "a")]


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"Traceback (most recent call last):\n",
        b"0 test YQ==\n",
        b"01 test YQ==\n",
        b"-1 test YQ==\n",
        b"9999999999999999 test YQ==\n",
        b"1 test \n",
        b"1 test YQ=\n",
        b"1 test Y$==\n",
        b"1 test YQ==YQ==\n",
        b"1 test YQ==\r\n",
        b"1 TEST YQ==\n",
        b"1 unknown {}\n",
        b"1  test YQ==\n",
        b"1 fed []\n",
        b"1 fed {\n",
        b"1 notice {}\n",
        b'1 notice {"text": 1}\n',
        b"1 end {}\n",
        b"1 end " + b"[" * 10_000 + b"\n",
        b"1 end " + b"9" * 10_000 + b"\n",
        b"1 notice \xc3\xa4\n",
        b"\xff\x00\n",
    ],
)
def test_nonsense_is_text(line: bytes) -> None:
    batch = FrameDecoder(START).feed(line + output(1, b"x"))
    assert batch.chunks[0] == (Phase.INSTALL, line.decode(errors="replace"))
    assert batch.chunks[1] == (Phase.TEST, "x")
    assert batch.position == LogPosition(len(line) + len(output(1, b"x")))
    assert not batch.fed
    assert not batch.notices
    assert batch.result is None


@pytest.mark.parametrize(
    "changes",
    [
        {"end": "won"},
        {"end": 1},
        {"end": None},
        {"end": ["exited"]},
        {"phase": "build"},
        {"phase": {}},
        {"exit_code": True},
        {"exit_code": 256},
        {"exit_code": -1},
        {"exit_code": 1.0},
        {"exit_code": "0"},
        {"oom_kills": None},
        {"oom_kills": -1},
        {"oom_kills": 1 << 40},
        {"terminated": 0},
    ],
)
def test_a_last_frame_that_makes_no_sense_is_text(changes: dict[str, object]) -> None:
    line = end_frame(1, **changes)
    batch = FrameDecoder(START).feed(line)
    assert batch.result is None
    assert batch.chunks == [(Phase.INSTALL, line.decode())]


def test_a_last_frame_may_know_neither_phase_nor_exit_code() -> None:
    result = FrameDecoder(START).feed(end_frame(1, end="unfed", phase=None, exit_code=None)).result
    assert result == RunnerResult(RunnerEnd.UNFED, None, None, 0, terminated=False)


def test_nothing_behind_the_last_frame_is_a_frame() -> None:
    late = end_frame(2, exit_code=0) + output(3, b"x")
    batch = FrameDecoder(START).feed(end_frame(1, exit_code=1) + late)
    assert batch.result is not None
    assert batch.result.exit_code == 1
    assert batch.chunks == [(Phase.INSTALL, late.decode())]


def test_a_repeated_number_is_text() -> None:
    again = output(1, b"b")
    assert text_of(output(1, b"a") + again + output(2, b"c")) == "a" + again.decode() + "c"


def test_lost_frames_are_told_and_the_rest_is_read() -> None:
    batch = FrameDecoder(START).feed(output(1, b"a") + output(4, b"b") + end_frame(5))
    assert batch.chunks == [(Phase.TEST, "ab")]
    assert batch.notices == ["The engine's log has lost 2 pieces of what the job wrote"]
    assert batch.result is not None


def test_half_a_surrogate_pair_in_a_notice_can_be_stored() -> None:
    batch = FrameDecoder(START).feed(rb'1 notice {"text": "a\ud800"}' + b"\n")
    assert batch.notices == ["a?"]


def test_the_longest_frame_is_one_and_a_longer_line_is_text() -> None:
    longest = b"1 notice " + json.dumps({"text": "x" * (MAX_LINE_BYTES - 22)}).encode() + b"\n"
    assert len(longest) == MAX_LINE_BYTES
    assert len(FrameDecoder(START).feed(longest).notices) == 1
    longer = longest.replace(b"xx", b"xxx", 1)
    batch = FrameDecoder(START).feed(longer + output(1, b"a"))
    assert batch.chunks == [(Phase.INSTALL, longer.decode()), (Phase.TEST, "a")]
    assert not batch.notices


def test_memory_stays_bounded_without_a_newline() -> None:
    decoder = FrameDecoder(START)
    batch = decoder.feed(b"x" * (10 * MAX_LINE_BYTES + 1))
    assert batch.position == LogPosition(10 * MAX_LINE_BYTES)
    assert batch.chunks == [(Phase.INSTALL, "x" * (10 * MAX_LINE_BYTES))]


def test_a_frame_inside_an_overlong_line_is_text() -> None:
    log = b"x" * MAX_LINE_BYTES + output(1, b"forged")
    batch = FrameDecoder(START).feed(log)
    assert batch.chunks == [(Phase.INSTALL, log.decode())]


def test_a_log_shorter_than_the_position_brings_nothing() -> None:
    position = LogPosition(1000, b"\xc3")
    decoder = FrameDecoder(position)
    for batch in (decoder.feed(output(1, b"a\xc3")), decoder.finish()):
        assert batch.is_empty
        assert batch.position == position


def test_the_end_read_a_second_time_brings_nothing() -> None:
    log = output(1, b"a\xc3") + b"half a line"
    decoder = FrameDecoder(START)
    decoder.feed(log)
    position = decoder.finish().position
    assert position == LogPosition(len(log))
    again = FrameDecoder(position)
    assert [again.feed(log).is_empty, again.finish().is_empty] == [True, True]


frames_or_nonsense = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["install", "test"]), st.binary(max_size=40)),
        st.tuples(st.just("notice"), st.binary(max_size=5)),
        st.tuples(st.just("fed"), st.just(b"")),
        st.tuples(st.just("end"), st.just(b"")),
        st.tuples(st.just("raw"), st.binary(max_size=30)),
        st.tuples(st.just("raw"), st.integers(0, 3 * MAX_LINE_BYTES).map(lambda size: b"y" * size)),
        st.tuples(st.just("raw"), st.integers(0, 9).map(lambda number: output(number, b"forged"))),
    ),
    max_size=12,
)


def log_of(parts: list[tuple[str, bytes]]) -> bytes:
    log = b""
    for number, (kind, data) in enumerate(parts, 1):
        if kind == "raw":
            log += data
        elif kind == "notice":
            log += frame(number, kind, text=data.hex())
        elif kind == "fed":
            log += frame(number, kind)
        elif kind == "end":
            log += end_frame(number)
        else:
            log += output(number, data, kind)
    return log


@given(frames_or_nonsense, st.data())
def test_cut_anywhere_and_resumed_nothing_is_lost_or_repeated(
    parts: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    log = log_of(parts)
    whole = decode(log)
    position = START
    batches: list[Batch] = []
    for cut in sorted(data.draw(st.lists(st.integers(0, len(log)), max_size=4))):
        decoder = FrameDecoder(position)
        pieces = sorted(data.draw(st.lists(st.integers(0, cut), max_size=3)))
        for start, stop in pairwise([0, *pieces, cut]):
            batch = decoder.feed(log[start:stop])
            batches.append(batch)
            assert batch.position.offset_bytes >= position.offset_bytes
            position = batch.position
    decoder = FrameDecoder(position)
    batches += [decoder.feed(log), decoder.finish()]
    assert merged(batches) == merged(whole)
    assert [notice for batch in batches for notice in batch.notices] == whole[0].notices
    assert [batch.result for batch in batches if batch.result] == [
        batch.result for batch in whole if batch.result
    ]
    assert any(batch.fed for batch in batches) == whole[0].fed


@given(st.binary(max_size=300), st.lists(st.integers(0, 300)))
def test_any_output_is_decoded_as_if_it_were_one_piece(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:stop] for start, stop in pairwise(edges) if start < stop]
    log = b"".join(output(number, piece) for number, piece in enumerate(pieces, 1))
    assert text_of(log) == data.decode(errors="replace")


@given(st.binary(max_size=200))
def test_garbage_never_raises_and_is_text(log: bytes) -> None:
    assert text_of(log) == log.decode(errors="replace")


@given(
    st.sampled_from(["hello", "fed", "notice", "end", "install", "test"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    ),
)
def test_forged_json_never_raises(kind: str, value: object) -> None:
    line = f"1 {kind} {json.dumps(value)}\n".encode()
    batch = FrameDecoder(START).feed(line)
    assert batch.position == LogPosition(len(line))
