from pathlib import Path

import pytest

from ci_client import config_file
from ci_client.problems import BadUse, KeyRefused
from ci_client.settings import Flags, Settings, config_path, load, resolve

PATH = Path("/home/ada/.ci/config")


def settled(
    flags: Flags | None = None, config: dict[str, str] | None = None, environ: dict[str, str] | None = None
) -> Settings:
    return resolve(flags or Flags(), environ or {}, config or {}, PATH)


def test_flag_before_environment_before_file_before_default() -> None:
    config = {"api_key": "ci_file", "server": "http://file"}
    environ = {"CI_API_KEY": "ci_env", "CI_API_URL": "http://env"}
    all_three = settled(Flags("ci_flag", "http://flag"), config, environ)
    assert (all_three.api_key, all_three.server) == ("ci_flag", "http://flag")
    assert (all_three.api_key_source, all_three.server_source) == ("--api-key", "--server")
    two = settled(config=config, environ=environ)
    assert (two.api_key, two.server) == ("ci_env", "http://env")
    one = settled(config=config)
    assert (one.api_key, one.server, one.server_source) == ("ci_file", "http://file", str(PATH))
    none = settled()
    assert (none.api_key, none.server) == (None, "http://localhost:8000")


def test_an_empty_variable_counts_as_unset() -> None:
    found = settled(config={"api_key": "ci_file"}, environ={"CI_API_KEY": " ", "CI_API_URL": ""})
    assert (found.api_key, found.server) == ("ci_file", "http://localhost:8000")


@pytest.mark.parametrize(
    ("environ", "server"),
    [
        ({"CI_SERVER_URL": "http://old"}, "http://old"),
        ({"CI_SERVER_URL": "http://old", "CI_API_URL": "http://new"}, "http://new"),
        ({"CI_SERVER_URL": "https://gitlab.example", "GITLAB_CI": "true"}, "http://file"),
    ],
)
def test_the_earlier_systems_variable_counts_outside_gitlab(environ: dict[str, str], server: str) -> None:
    assert settled(config={"server": "http://file"}, environ=environ).server == server


@pytest.mark.parametrize(
    ("server", "kept"),
    [
        ("http://x/", "http://x"),
        ("https://x.example/ci//", "https://x.example/ci"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_addresses(server: str, kept: str) -> None:
    assert settled(Flags(server=server)).server == kept


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ("localhost:8000", r"from --server has no scheme; did you mean http://localhost:8000 \?"),
        ("ftp://x", "must begin with http"),
        ("http://", "names no host"),
        ("http://a b", "names no host"),
        ("http://x:y", "is no URL"),
        ("http://u:p@x", "user name"),
        ("http://x/?a=1", "query"),
    ],
)
def test_bad_addresses_name_their_source(server: str, words: str) -> None:
    with pytest.raises(BadUse, match=words):
        settled(Flags(server=server))


@pytest.mark.parametrize("key", ["ci_\nx", "ci_ü", "ci_ x"])
def test_keys_that_no_header_can_hold(key: str) -> None:
    with pytest.raises(KeyRefused, match="from CI_API_KEY"):
        settled(environ={"CI_API_KEY": key})


def test_a_missing_key_says_where_to_put_one() -> None:
    with pytest.raises(KeyRefused, match=r"ci login.*CI_API_KEY.*--api-key.*\.ci/config"):
        settled().required_key()


@pytest.mark.parametrize("text", ["x", "-1", "nan", "1e99"])
def test_bad_patience(text: str) -> None:
    with pytest.raises(BadUse, match="CI_RETRY_SECONDS"):
        settled(environ={"CI_RETRY_SECONDS": text})


def test_the_key_is_not_in_any_representation() -> None:
    assert "ci_secret" not in repr(settled(environ={"CI_API_KEY": "ci_secret"}))


def test_the_file_is_found_and_read(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("\ufeff# comment\n\napi_key = 'ci_x'\nserver=http://a=b\nfuture=1\n", encoding="utf-8")
    found = load(Flags(), {"CI_CONFIG": str(file)})
    assert (found.api_key, found.server) == ("ci_x", "http://a=b")
    assert load(Flags(), {"CI_CONFIG": str(tmp_path / "none")}).api_key is None
    assert config_path({}) == Path.home() / ".ci" / "config"


def test_a_file_that_is_no_config(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name, words in [("binary", "not UTF-8"), ("", "can't read")]:
        with pytest.raises(BadUse, match=words):
            load(Flags(), {"CI_CONFIG": str(tmp_path / name)})


def test_writing_keeps_what_it_does_not_know(tmp_path: Path) -> None:
    file = tmp_path / "new" / "config"
    config_file.write(file, {"api_key": "a", "server": "s"})
    assert file.read_text() == "api_key=a\nserver=s\n"
    file.write_text("# top\nserver = old\nother=1\nserver=older\n")
    config_file.write(file, {"api_key": "a", "server": "s"})
    assert file.read_text() == "# top\nserver=s\nother=1\napi_key=a\n"
    assert list(file.parent.iterdir()) == [file]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadUse, match="CI_CONFIG can name another file"):
        config_file.write(tmp_path / "file" / "config", {"api_key": "a"})


@pytest.mark.parametrize("server", ["https://bob:s3cret@h", "bob:s3cret@h"])
def test_a_password_in_the_address_is_never_shown(server: str) -> None:
    with pytest.raises(BadUse) as caught:
        settled(Flags(server=server))
    assert "s3cret" not in str(caught.value)
    assert "***@h" in str(caught.value)
