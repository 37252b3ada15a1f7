import json

import pytest

from ci_common import errors
from ci_common.content_store import ContentsGone
from ci_common.errors import CIError, InvalidInput
from ci_server.errors import Ambiguous, NotReady, UploadRefused, answer_to, status_of
from ci_server.schemas import parse_options
from ci_server.settings import ServerSettings, described_settings
from ci_server.upload import is_too_slow


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.BundleRejected("x"), 400),
        (errors.InvalidInput("x"), 422),
        (errors.NotPermitted("x"), 401),
        (errors.NotFound("x"), 404),
        (errors.AlreadyExists("x"), 409),
        (Ambiguous("x"), 409),
        (errors.StorageFull("x"), 507),
        (errors.StorageBusy("x"), 503),
        (errors.SchemaMismatch("x"), 503),
        (errors.SchemaOutdated("x"), 503),
        (NotReady("x"), 503),
        (UploadRefused(413, "x"), 413),
        (errors.FenceLost("x"), 500),
    ],
)
def test_each_failure_has_its_status(error: CIError, status: int) -> None:
    answer = answer_to(error)
    assert status_of(error) == answer.status_code == status
    assert json.loads(bytes(answer.body)) == {"detail": "x"}
    assert ("retry-after" in answer.headers) == (status == 503)


def test_what_clients_act_on_has_a_code() -> None:
    assert json.loads(bytes(answer_to(ContentsGone("x")).body)) == {"detail": "x", "code": "contents_gone"}


def test_refused_options_do_not_show_what_was_sent() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_options(b'{"pytest_args": ["secret", 5], "tok\\u001b[2Jen": "hidden"}')
    message = str(caught.value)
    assert "secret" not in message
    assert "hidden" not in message
    assert message.isprintable()
    assert "pytest_args.1" in message


@pytest.mark.parametrize("raw", [b"", b"\xff", b"{", b"[]", b"null", b'{"pytest_args": ["\\ud800"]}'])
def test_options_that_are_no_json_object_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_options(raw)


def test_no_options_and_no_arguments_are_two_things() -> None:
    assert parse_options(b"{}").pytest_args is None
    assert parse_options(b'{"pytest_args": null}').pytest_args is None
    assert parse_options(b'{"pytest_args": []}').pytest_args == ()


def test_an_upload_is_too_slow_only_after_a_while() -> None:
    assert not is_too_slow(0, 29, 1024)
    assert is_too_slow(1024 * 30, 31, 1024)
    assert not is_too_slow(1024 * 32, 31, 1024)
    assert not is_too_slow(1, 10_000, 0)


def test_settings_come_from_the_environment_and_are_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI_MAX_UPLOAD_BYTES", "1000")
    assert ServerSettings().max_upload_bytes == 1000
    described = {name: default for name, default, text in described_settings() if text}
    assert described["CI_MAX_UPLOAD_BYTES"] == str(8 << 30)
    assert len(described) == len(ServerSettings.model_fields)
