import asyncio
import socket
import subprocess
from urllib.parse import urlsplit

import pytest
from pip._internal.models.index import PyPI

from ci_controller import isolation
from ci_controller.container_manager import ContainerManager
from ci_controller.network import NetworkPolicy, Networks
from tests.integration.engine.bench import Bench, docker
from tests.integration.engine.conftest import new_instance

CONNECT = """
import socket, sys
for address, port in {targets!r}:
    try:
        socket.create_connection((address, port), timeout=3).close()
        print("open")
    except OSError:
        print("closed")
"""


def rules() -> str:
    return subprocess.run(
        ["/usr/sbin/iptables", "-w", "-S"], capture_output=True, text=True, check=True
    ).stdout


def own_address() -> str:
    """This machine's address on the way out; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


async def test_jobs_reach_neither_host_nor_each_other(bench: Bench, base_image: str) -> None:
    state = await bench.manager.ensure_network(NetworkPolicy(), base_image)
    assert state.reason == ""
    assert state.name is not None
    neighbour = await bench.started(
        "import socket; s = socket.create_server(('0.0.0.0', 7777)); print('ready', flush=True); s.accept()",
        request=bench.request(network=state.name),
    )
    gateway, neighbour_address = addresses(state.name, neighbour)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "0.0.0.0", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        targets = [(gateway, port), (own_address(), port), ("172.17.0.1", port), (neighbour_address, 7777)]
        output, _ = await bench.run(CONNECT.format(targets=targets), bench.request(network=state.name))
    assert output.split() == [b"closed"] * len(targets)


PACKAGE_INDEX = urlsplit(PyPI.simple_url).hostname
"""What pip itself would ask."""


async def test_names_are_resolved_there(bench: Bench, base_image: str) -> None:
    state = await bench.manager.ensure_network(NetworkPolicy(), base_image)
    assert state.name is not None
    source = f"import socket; print(socket.gethostbyname({PACKAGE_INDEX!r}))"
    output, view = await bench.run(source, bench.request(network=state.name))
    assert view.exit_code == 0, output


async def test_an_index_on_the_host_itself_stays_within_reach(bench: Bench, base_image: str) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "0.0.0.0", 0)
    async with server:
        port: int = server.sockets[0].getsockname()[1]
        policy = NetworkPolicy(index_hosts=frozenset({(own_address(), port)}))
        state = await bench.manager.ensure_network(policy, base_image)
        assert state.name is not None
        targets = [(own_address(), port), (own_address(), 1)]
        output, _ = await bench.run(CONNECT.format(targets=targets), bench.request(network=state.name))
    assert output.split() == [b"open", b"closed"]


async def test_doing_it_again_changes_nothing_and_removal_leaves_nothing(
    bench: Bench, base_image: str
) -> None:
    tag = bench.instance.replace("-", "")[:12]
    await bench.manager.ensure_network(NetworkPolicy(), base_image)
    once = [line for line in rules().splitlines() if tag in line]
    await bench.manager.ensure_network(NetworkPolicy(), base_image)
    assert [line for line in rules().splitlines() if tag in line] == once
    await bench.manager.remove_network()
    assert tag not in rules()
    await bench.manager.remove_network()


async def test_an_open_network_is_found_out(bench: Bench, base_image: str, opened: None) -> None:
    state = await bench.manager.ensure_network(NetworkPolicy(), base_image)
    assert state.name is None
    assert "could reach the host" in state.reason
    allowed = await bench.manager.ensure_network(NetworkPolicy(allow_host=True), base_image)
    assert allowed.name is not None
    assert "allowed by setting" in allowed.reason


async def test_a_network_that_can_not_be_tried_is_not_used(bench: Bench) -> None:
    state = await bench.manager.ensure_network(NetworkPolicy(), "ci-test-nowhere:1")
    assert state.name is None
    assert "could not be tried" in state.reason


async def test_without_root_it_is_closed_from_a_container(
    bench: Bench, base_image: str, elsewhere: None
) -> None:
    state = await bench.manager.ensure_network(NetworkPolicy(), base_image)
    assert (state.name is not None, state.reason) == (True, "")
    await bench.manager.remove_network(base_image)
    assert bench.instance.replace("-", "")[:12] not in rules()


async def test_a_foreign_network_of_the_same_name_is_not_used(base_image: str) -> None:
    instance = new_instance()
    name = f"ci-{instance.replace('-', '')[:12]}"
    docker("network", "create", name)
    try:
        async with ContainerManager(instance) as manager:
            state = await manager.ensure_network(NetworkPolicy(), base_image)
        assert state.name is None
        assert "not made by this platform" in state.reason
    finally:
        docker("network", "rm", name)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules are not put in place, and nothing says so."""

    async def nothing(*_: object) -> None:
        return

    monkeypatch.setattr(Networks, "_change_firewall", nothing)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where this process is not root, or where the engine isn't."""

    def nowhere(_: Networks) -> bool:
        return False

    async def refused(*_: object) -> asyncio.Server:
        raise OSError("no such address here")

    monkeypatch.setattr(Networks, "_is_root_there", nowhere)
    monkeypatch.setattr(isolation.asyncio, "start_server", refused)


def addresses(network: str, container: str) -> tuple[str, str]:
    """The host's address on the network, and the container's."""

    gateway = docker("inspect", network, "--format", "{{(index .IPAM.Config 0).Gateway}}")
    own = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return gateway, docker("inspect", container, "--format", own)
