"""What stands between client and server: certificates and proxies."""

import ssl
from pathlib import Path

import pytest

from tests.integration.client.client_command import client_of
from tests.integration.client.scripted_server import Exchange, Handler, complete, log, scripted_server
from tests.integration.client.worker import finished

TLS = Path(__file__).parents[2] / "fixtures" / "tls"


async def test_a_certificate_must_be_trusted_and_can_be(home: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "cert.pem", TLS / "key.pem")

    async def none(exchange: Exchange) -> None:
        await exchange.json(200, [])

    async with scripted_server({"^GET /jobs$": none}, context) as server:
        refused = await finished(client_of(home, server.url).start("list"))
        trusted = await finished(
            client_of(home, server.url, CI_CA_BUNDLE=str(TLS / "cert.pem")).start("list", "--json")
        )
        bad = await finished(client_of(home, server.url, CI_CA_BUNDLE="/dev/null").start("list"))
        missing = await finished(client_of(home, server.url, CI_CA_BUNDLE="/nowhere").start("list"))
        plain = await finished(client_of(home, f"http://127.0.0.1:{server.port}").start("list", "--json"))
    assert refused.exit_code == 69
    assert "isn't trusted" in refused.stderr
    assert "CI_CA_BUNDLE" in refused.stderr
    assert (trusted.exit_code, trusted.stdout) == (0, b"[]\n")
    assert (bad.exit_code, missing.exit_code) == (64, 64)
    assert plain.exit_code == 69


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "nonsense://x", "http://127.0.0.1:9"])
async def test_proxies_are_for_other_machines_and_their_faults_are_named(home: Path, proxy: str) -> None:
    async def none(exchange: Exchange) -> None:
        await exchange.json(200, [])

    settings = {"HTTP_PROXY": proxy, "http_proxy": proxy, "NO_PROXY": "", "no_proxy": ""}
    async with scripted_server({"^GET /jobs$": none}) as server:
        here = await finished(client_of(home, server.url, **settings).start("list", "--json"))
    there = await finished(client_of(home, "http://ci.invalid", **settings).start("list"))
    assert (here.exit_code, here.stdout) == (0, b"[]\n")
    assert there.exit_code in {64, 69}
    assert len(there.stderr.splitlines()[-1]) > 20
    assert "Traceback" not in there.stderr


async def test_a_proxy_carries_all_that_a_submission_needs(home: Path, project: Path) -> None:
    async def submitted(exchange: Exchange) -> None:
        await exchange.read_body()
        await exchange.json(202, {"job_id": exchange.headers["idempotency-key"], "status": "queued"})

    async def events(exchange: Exchange) -> None:
        await exchange.begin_events()
        await exchange.send(b"id: 0\n\n" + log(1, "fine\n") + complete(2))

    handlers: dict[str, Handler] = {
        "^POST http://ci.invalid/submit-async$": submitted,
        "^GET http://ci.invalid/jobs/[^/]*/stream$": events,
    }
    async with scripted_server(handlers) as proxy:
        settings = {"HTTP_PROXY": proxy.url, "http_proxy": proxy.url, "NO_PROXY": "", "no_proxy": ""}
        client = client_of(home, "http://ci.invalid", **settings)
        done = await finished(client.start("submit", "test", cwd=project))
        assert all(b'name="file"' in request.body for request in proxy.made("^POST"))
    assert (done.exit_code, done.stdout) == (0, b"fine\n")


async def test_a_server_under_a_path_is_asked_there(home: Path) -> None:
    async def none(exchange: Exchange) -> None:
        assert exchange.query == "limit=101"
        await exchange.json(200, [])

    async with scripted_server({"^GET /under/a%20path/jobs$": none}) as server:
        done = await finished(client_of(home, f"{server.url}/under/a%20path").start("list", "--json"))
    assert (done.exit_code, done.stdout) == (0, b"[]\n")
