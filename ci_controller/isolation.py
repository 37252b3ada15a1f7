"""Tries whether a container on the jobs' network can reach the host: a list of rules is no proof.

A listener is opened on the host's side of the network, and a container on that network must fail to connect
to it. The listener is the controller's own where that lives on the engine's machine, else a container on
the host's network. That the listener can be reached at all is tried first, from the host's side.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from ci_common.ids import InstanceId
from ci_controller import log_stream
from ci_controller.containers import Containers
from ci_controller.engine_calls import EngineCalls
from ci_controller.engine_errors import EngineRefused
from ci_controller.helper_container import helper_config, helper_name
from ci_controller.http_body import Demultiplexer

_PROBE_SECONDS = 60
_PROBE_ISOLATED = 10
_PROBE_CONNECTED = 11

_PROBE_SOURCE = f"""
import socket, sys
for target in sys.argv[1:]:
    address, port = target.rsplit(":", 1)
    try:
        socket.create_connection((address, int(port)), timeout=2).close()
    except OSError:
        continue
    print("connected to", target)
    sys.exit({_PROBE_CONNECTED})
addresses = open("/proc/net/if_inet6").read().splitlines()
if any(not line.endswith(" lo") for line in addresses):
    print("connected by IPv6")
    sys.exit({_PROBE_CONNECTED})
sys.exit({_PROBE_ISOLATED})
"""

_LISTENER_SOURCE = f"""
import socket, sys
server = socket.create_server((sys.argv[1], 0))
server.settimeout({_PROBE_SECONDS})
print(server.getsockname()[1], flush=True)
while True:
    server.accept()[0].close()
"""

_CLOUD_METADATA = "169.254.169.254:80"


@dataclass(frozen=True, slots=True)
class Finding:
    """What the trial showed."""

    isolated: bool
    reason: str
    """Why not, for people; empty where it is."""


async def verify(
    calls: EngineCalls,
    containers: Containers,
    instance: InstanceId,
    *,
    network: str,
    gateway: str,
    image: str,
) -> Finding:
    """Whether a container on `network` fails to reach the host at `gateway`."""
    try:
        async with _listener(calls, containers, instance, gateway, image) as port:
            config = helper_config(
                instance,
                image,
                ["python3", "-I", "-S", "-c", _PROBE_SOURCE, f"{gateway}:{port}", _CLOUD_METADATA],
                network=network,
            )
            probe = await containers.create_from(helper_name(instance, "probe"), config)
            try:
                code = await containers.run_to_end(probe, _PROBE_SECONDS)
                said = await output_of(calls, probe)
            finally:
                await containers.remove(probe)
    except EngineRefused as error:
        return Finding(isolated=False, reason=f"the network could not be tried: {error}")
    if code == _PROBE_ISOLATED:
        return Finding(isolated=True, reason="")
    if code == _PROBE_CONNECTED:
        return Finding(
            isolated=False, reason=f"a container on the jobs' network could reach the host ({said})"
        )
    return Finding(isolated=False, reason=f"the network could not be tried (exit {code}): {said}")


@asynccontextmanager
async def _listener(
    calls: EngineCalls, containers: Containers, instance: InstanceId, gateway: str, image: str
) -> AsyncGenerator[int, None]:
    """The port of a listener on the host's side of the network."""
    try:
        server = await asyncio.start_server(_hang_up, gateway, 0)
    except OSError:
        # The gateway's address isn't this machine's: the engine runs elsewhere, or around this container.
        async with _listener_container(calls, containers, instance, gateway, image) as port:
            yield port
        return
    async with server:
        port: int = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection(gateway, port)
        writer.close()
        yield port


async def _hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


@asynccontextmanager
async def _listener_container(
    calls: EngineCalls, containers: Containers, instance: InstanceId, gateway: str, image: str
) -> AsyncGenerator[int, None]:
    command = ["python3", "-I", "-S", "-c", _LISTENER_SOURCE, gateway]
    config = helper_config(instance, image, command, network="host")
    container = await containers.create_from(helper_name(instance, "listener"), config)
    try:
        await containers.start(container)
        said = b""
        async with aclosing(log_stream.follow(calls.address, calls.limits, container)) as log:
            async for piece in log:
                said += piece
                if b"\n" in said:
                    break
        if not said.strip().isdigit():
            raise EngineRefused(f"the trial's listener didn't start: {said.decode(errors='replace')}")
        yield int(said)
    finally:
        await containers.remove(container)


async def output_of(calls: EngineCalls, container: str) -> str:
    """The last words of a helper container, in one line for people."""
    answer = await calls.look(f"/containers/{container}/logs", {"stdout": 1, "stderr": 1})
    text = Demultiplexer(stream=None).feed(answer.content).decode(errors="replace")
    return " ".join(text.split())[-500:]
