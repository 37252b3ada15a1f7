from pathlib import Path

import pytest

from ci_common.errors import InvalidInput
from ci_controller.engine_address import EngineAddress


def test_without_settings_it_is_the_usual_socket() -> None:
    address = EngineAddress.from_environ({})
    assert (address.socket_path, address.is_local) == ("/var/run/docker.sock", True)
    assert address.client_url() == "http+unix:///var/run/docker.sock"
    assert address.ssl_context() is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("unix:///run/user/1000/docker.sock", "http+unix:///run/user/1000/docker.sock"),
        ("tcp://10.0.0.5", "http://10.0.0.5:2375"),
        ("tcp://engine.example:4000", "http://engine.example:4000"),
        ("tcp://[fd00::1]:2375", "http://[fd00::1]:2375"),
    ],
)
def test_addresses_without_tls(url: str, expected: str) -> None:
    address = EngineAddress.from_environ({"DOCKER_HOST": url})
    assert (address.client_url(), address.certificates) == (expected, None)
    assert address.client_tls() is False


def test_tls_brings_its_own_port_and_folder() -> None:
    environ = {"DOCKER_HOST": "tcp://engine.example", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certs"}
    address = EngineAddress.from_environ(environ)
    assert address.client_url() == "https://engine.example:2376"
    assert (address.certificates, address.verify) == (Path("/certs"), True)


@pytest.mark.parametrize(
    "url", ["ssh://host", "unix://", "tcp://", "tcp://host:port", "/var/run/docker.sock"]
)
def test_what_does_not_work_is_refused_by_name(url: str) -> None:
    with pytest.raises(InvalidInput, match="DOCKER_HOST"):
        EngineAddress.from_environ({"DOCKER_HOST": url})
