import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_server.errors import UploadRefused
from ci_server.multipart_form import MAX_OPTIONS_BYTES, SubmissionForm

TYPE = "multipart/form-data; boundary=limit"
FILE = b'--limit\r\nContent-Disposition: form-data; name="file"; filename="p.zip"\r\n\r\n'
OPTIONS = b'--limit\r\nContent-Disposition: form-data; name="options"\r\n\r\n'
END = b"\r\n--limit--\r\n"


def parsed(body: bytes, cuts: list[int], content_type: str = TYPE) -> tuple[bytes, bytes | None]:
    file = bytearray()
    form = SubmissionForm(content_type, file.extend)
    previous = 0
    for cut in [*sorted(cuts), len(body)]:
        form.feed(body[previous:cut])
        previous = cut
    form.finish()
    return bytes(file), form.options


@given(
    st.lists(
        st.sampled_from([b"\r", b"\n", b"-", b"--limit", b"\r\n--lim", b"\r\n--limi", b"it", b"x", b"\0"])
    ),
    st.lists(st.integers(0, 400), max_size=20),
)
def test_a_file_is_exact_wherever_the_body_is_cut(pieces: list[bytes], cuts: list[int]) -> None:
    content = b"".join(pieces)
    if b"\r\n--limit" in b"\r\n" + content:
        return
    body = FILE + content + b"\r\n" + OPTIONS + b"{}" + END
    assert parsed(body, [cut for cut in cuts if cut < len(body)]) == (content, b"{}")


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_no_body_raises_anything_but_a_refusal(body: bytes, cuts: list[int]) -> None:
    with pytest.raises(UploadRefused):
        parsed(body, [cut for cut in cuts if cut < len(body)])


def test_every_truncation_is_refused() -> None:
    body = FILE + b"content" + END
    for length in range(len(body) - 2):
        with pytest.raises(UploadRefused) as caught:
            parsed(body[:length], [])
        assert 400 <= caught.value.status < 500


def test_options_are_bounded() -> None:
    with pytest.raises(UploadRefused) as caught:
        parsed(FILE + b"1\r\n" + OPTIONS + b" " * (MAX_OPTIONS_BYTES + 1) + END, [])
    assert caught.value.status == 413


def test_a_boundary_in_quotes_and_extra_parameters_pass() -> None:
    body = (FILE + b"1" + END).replace(b"--limit", b"--a b")
    assert parsed(body, [], 'Multipart/Form-Data; charset=utf-8; boundary="a b"') == (b"1", None)


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "multipart/mixed; boundary=x", ";;;"])
def test_other_types_are_refused(content_type: str | None) -> None:
    with pytest.raises(UploadRefused) as caught:
        SubmissionForm(content_type, bytearray().extend)
    assert caught.value.status == 415


def test_a_type_without_a_boundary_is_refused() -> None:
    for content_type in ("multipart/form-data", "multipart/form-data; boundary="):
        with pytest.raises(UploadRefused) as caught:
            SubmissionForm(content_type, bytearray().extend)
        assert caught.value.status == 400
