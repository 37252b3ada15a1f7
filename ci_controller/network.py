"""The one network of an installation, on which jobs reach the internet, but neither each other nor the host.

One network for all jobs (one for each would use up the engine's address pools after some thirty). Closed by
`firewall`, tried by `isolation`; where it can't be shown to be closed, jobs run without a network, unless the
administrator allows it by CI_JOB_NETWORK_ALLOW_HOST. Only `container_manager` calls this.
"""

import asyncio
import inspect
import json
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ci_common.ids import InstanceId
from ci_controller import engine_json, firewall, isolation
from ci_controller.container_view import LABEL_INSTANCE
from ci_controller.containers import Containers
from ci_controller.engine_calls import EngineCalls
from ci_controller.engine_errors import EngineRefused, InUse
from ci_controller.helper_container import helper_config, helper_name
from ci_controller.threads import in_thread

_FIREWALL_SECONDS = 120
_LOOKUP_SECONDS = 20
_ENGINE_SETTINGS = Path("/etc/docker/daemon.json")


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """What the administrator wants of the jobs' network."""

    allow_host: bool = False
    """Let jobs have the network even where it could not be closed against the host."""
    index_hosts: frozenset[tuple[str, int]] = frozenset()
    """Hosts and ports of package indexes, reachable wherever they are (`index_hosts.index_hosts`)."""


@dataclass(frozen=True, slots=True)
class NetworkState:
    """Whether jobs may have a network, and which."""

    name: str | None
    """What `ContainerRequest.network` takes; None: jobs run without a network."""
    reason: str
    """One line for people: why there is none, or what is unsafe about it; empty where all is well."""


class Networks:
    """The network of one installation."""

    def __init__(self, calls: EngineCalls, containers: Containers, instance: InstanceId) -> None:
        self._calls = calls
        self._containers = containers
        self._instance = instance
        self._tag = instance.replace("-", "")[:12]
        self.name = f"ci-{self._tag}"
        """Of the network and, being as long as such a name may be, of its bridge on the host."""

    async def ensure(self, policy: NetworkPolicy, image: str) -> NetworkState:
        """See `ContainerManager.ensure_network`."""
        try:
            gateway = await self._made()
        except EngineRefused as error:
            return NetworkState(None, f"jobs run without a network: {error}")
        finding = await self._closed(policy, gateway, image)
        if finding.isolated:
            return NetworkState(self.name, "")
        if policy.allow_host:
            return NetworkState(self.name, f"jobs may reach this host (allowed by setting): {finding.reason}")
        return NetworkState(None, f"jobs run without a network: {finding.reason}")

    async def _closed(self, policy: NetworkPolicy, gateway: str, image: str) -> isolation.Finding:
        """Close the network against the host, and try that it is."""
        try:
            await self._change_firewall("close", await _addresses(policy.index_hosts), image)
        except EngineRefused as error:
            return isolation.Finding(isolated=False, reason=str(error))
        return await isolation.verify(
            self._calls, self._containers, self._instance, network=self.name, gateway=gateway, image=image
        )

    async def remove(self, image: str | None) -> None:
        """See `ContainerManager.remove_network`."""
        if await self._gateway() is None:
            return
        if image is not None or self._is_root_there():
            await self._change_firewall("open", [], image)
        answer = await self._calls.change("DELETE", f"/networks/{self.name}")
        if answer.status == 403:
            raise InUse(answer.message)
        if answer.status != 404:
            answer.accepted(f"remove network {self.name}")

    async def _made(self) -> str:
        """Make the network where it is missing; its gateway's address."""
        gateway = await self._gateway()
        if gateway is not None:
            return gateway
        answer = await self._calls.change("POST", "/networks/create", body=self._description())
        if answer.status != 409:
            answer.accepted(f"create network {self.name}")
        gateway = await self._gateway()
        if gateway is None:
            raise EngineRefused(f"network {self.name} is gone as soon as it was made")
        return gateway

    def _description(self) -> dict[str, object]:
        return {
            "Name": self.name,
            "CheckDuplicate": True,
            "Driver": "bridge",
            "EnableIPv6": False,
            "Labels": {LABEL_INSTANCE: self._instance},
            "Options": {
                "com.docker.network.bridge.name": self.name,
                "com.docker.network.bridge.enable_icc": "false",
            },
        }

    async def _gateway(self) -> str | None:
        """The host's address on the network; None where there is no network.

        Raises:
            EngineRefused: a network of this name isn't ours, or not as we make it.
        """
        answer = await self._calls.look(f"/networks/{self.name}")
        if answer.status == 404:
            return None
        answer.accepted(f"look at network {self.name}")
        labels = engine_json.mapping(answer.object, "Labels")
        options = engine_json.mapping(answer.object, "Options")
        configs = engine_json.mappings(engine_json.mapping(answer.object, "IPAM").get("Config"))
        gateways = [found for config in configs if (found := engine_json.text(config, "Gateway"))]
        if (
            engine_json.text(labels, LABEL_INSTANCE) != self._instance
            or engine_json.text(options, "com.docker.network.bridge.enable_icc") != "false"
            or engine_json.text(options, "com.docker.network.bridge.name") != self.name
            or not gateways
        ):
            raise EngineRefused(f"network {self.name} was not made by this platform; remove it")
        return gateways[0]

    def _is_root_there(self) -> bool:
        """This process has root's rights in the network namespace in which the bridge is."""
        return os.geteuid() == 0 and Path(f"/sys/class/net/{self.name}").exists()

    async def _change_firewall(
        self, action: str, allowed: Sequence[tuple[str, int]], image: str | None
    ) -> None:
        order = json.dumps(
            {
                "action": action,
                "bridge": self.name,
                "tag": self._tag,
                "instance": self._instance,
                "resolvers": engine_resolvers() if self._calls.address.is_local else [],
                "allowed": list(allowed),
            }
        )
        if self._is_root_there():
            await _run_here(order)
        elif image is not None:
            await self._run_in_container(order, image)
        else:
            raise EngineRefused("the firewall can be changed by root alone")

    async def _run_in_container(self, order: str, image: str) -> None:
        config = helper_config(
            self._instance,
            image,
            ["python3", "-I", "-S", "-c", inspect.getsource(firewall), order],
            network="host",
            capabilities=["NET_ADMIN", "NET_RAW"],
        )
        container = await self._containers.create_from(helper_name(self._instance, "firewall"), config)
        try:
            code = await self._containers.run_to_end(container, _FIREWALL_SECONDS)
            if code != 0:
                said = await isolation.output_of(self._calls, container)
                raise EngineRefused(f"the network could not be closed from a container: {said}")
        finally:
            await self._containers.remove(container)


async def _run_here(order: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        firewall.__file__,
        order,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_FIREWALL_SECONDS):
            _, said = await process.communicate()
    except TimeoutError:
        raise EngineRefused("the network could not be closed: iptables doesn't answer") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise EngineRefused(f"the network could not be closed: {said.decode(errors='replace').strip()}")


async def _addresses(hosts: frozenset[tuple[str, int]]) -> Sequence[tuple[str, int]]:
    """The IPv4 addresses of these hosts; one that has none is left out, since nobody can reach it."""

    def look_up() -> Sequence[tuple[str, int]]:
        found: set[tuple[str, int]] = set()
        for host, port in hosts:
            try:
                answers = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)
            except OSError:
                continue
            found.update((str(address[0]), port) for *_, address in answers)
        return sorted(found)

    if not hosts:
        return []
    try:
        async with asyncio.timeout(_LOOKUP_SECONDS):
            return await in_thread(look_up, name="index hosts")
    except TimeoutError:
        raise EngineRefused("the names of the package indexes in CI_PIP_CONF can't be looked up") from None


def engine_resolvers(settings: Path = _ENGINE_SETTINGS) -> Sequence[str]:
    """The name servers that a local engine's settings give to containers, where they name any."""
    try:
        found: object = json.loads(settings.read_text())
    except (OSError, ValueError):
        return []
    if not engine_json.is_mapping(found):
        return []
    return [address for address in engine_json.strings(found, "dns") if firewall.is_usable_resolver(address)]
