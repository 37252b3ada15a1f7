"""The engine without the platform: what baselines need of it, over its socket or by `docker run`.

The calls go straight to the socket, with no SDK in between: that would make the baseline slower and the
platform look better. Everything made here bears a label by which it is all found again and removed.
"""

import contextlib
import http.client
import json
import os
import secrets
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import quote

_DEFAULT_HOST = "unix:///var/run/docker.sock"
_CALL_SECONDS = 120.0

Json = Mapping[str, object]


class EngineFault(RuntimeError):
    """The engine refused something that a measurement needs."""


class _Connection(http.client.HTTPConnection):
    """HTTP over the engine's Unix socket."""

    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@dataclass(slots=True)
class EngineCaller:
    """One connection, for one thread."""

    connection: _Connection

    def call(self, method: str, path: str, body: Json | None = None) -> object:
        """The answer's JSON, None where it has none.

        Raises:
            EngineFault: it refused.
        """
        content = None if body is None else json.dumps(body)
        headers = {} if content is None else {"Content-Type": "application/json"}
        self.connection.request(method, path, content, headers)
        answer = self.connection.getresponse()
        data = answer.read()
        if answer.status >= 400:
            raise EngineFault(f"{method} {path}: {data.decode(errors='replace')}")
        return json.loads(data) if data else None

    def close(self) -> None:
        """End it, also under a thread that reads."""
        with contextlib.suppress(OSError):  # it has ended by itself
            self.connection.sock.shutdown(socket.SHUT_RDWR)

    def create(self, config: Json) -> str:
        """A new container's id."""
        answer = self.call("POST", "/containers/create", config)
        return str(cast("Json", answer)["Id"])  # the engine's documented answer


@dataclass(slots=True)
class Engine:
    """The engine that DOCKER_HOST names, and what one run of the benchmarks has in it."""

    label: str = field(default_factory=lambda: f"ci.benchmark={secrets.token_hex(6)}")
    images: list[str] = field(default_factory=list[str])

    def caller(self, timeout: float | None = _CALL_SECONDS) -> EngineCaller:
        """A connection of its own.

        Raises:
            EngineFault: the engine is not on this machine, so it would not be a fair neighbour.
        """
        host = os.environ.get("DOCKER_HOST") or _DEFAULT_HOST
        scheme, _, path = host.partition("://")
        if scheme != "unix":
            raise EngineFault(f"DOCKER_HOST={host}: the benchmarks measure an engine on a Unix socket")
        return EngineCaller(_Connection(path, timeout))

    def containers_of(self, instance: str) -> frozenset[tuple[str, str]]:
        """Name and state of each container of an installation."""
        filters = quote(json.dumps({"label": [f"ci.instance={instance}"]}))
        caller = self.caller()
        try:
            found = cast("list[Json]", caller.call("GET", f"/containers/json?all=1&filters={filters}"))
        finally:
            caller.close()
        return frozenset(
            (str(cast("list[str]", each["Names"])[0]).removeprefix("/"), str(each["State"])) for each in found
        )

    def inspect(self, container: str) -> Json | None:
        """What the engine says of a container; None where it is gone."""
        try:
            return cast("Json", self.caller().call("GET", f"/containers/{container}/json"))
        except EngineFault:
            return None

    def version(self) -> str:
        """The engine's own."""
        return str(cast("Json", self.caller().call("GET", "/version"))["Version"])

    def labels(self) -> dict[str, str]:
        """For what is made over the socket."""
        name, _, value = self.label.partition("=")
        return {name: value}

    def run_command(self, *options: str) -> list[str]:
        """`docker run …` of a container that is removed when it ends."""
        return ["docker", "run", "--rm", "--label", self.label, *options]

    def events(self, caller: EngineCaller) -> Iterator[Json]:
        """The engine's news of containers, all from this call on, until the caller is closed."""
        filters = quote(json.dumps({"type": ["container"], "event": ["start", "rename"]}))
        caller.connection.request("GET", f"/events?filters={filters}")
        answer = caller.connection.getresponse()
        return (cast("Json", json.loads(line)) for line in answer if line.strip())

    def commit(self, options: Sequence[str], name: str) -> str:
        """Run a container to its end and keep what it has become as image `name`.

        Raises:
            EngineFault: it failed.
        """
        container = f"{name}-build"
        ran = subprocess.run(
            ["docker", "run", "--name", container, "--label", self.label, *options],
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode != 0:
            raise EngineFault(f"the image of the baseline can't be made:\n{ran.stdout}{ran.stderr}")
        self.images.append(name)
        subprocess.run(["docker", "commit", container, name], check=True, capture_output=True)
        subprocess.run(["docker", "rm", container], check=True, capture_output=True)
        return name

    def clean_up(self) -> None:
        """Remove all that was made through this object."""
        listed = subprocess.run(
            ["docker", "ps", "--all", "--quiet", "--filter", f"label={self.label}"],
            capture_output=True,
            text=True,
            check=False,
        )
        for container in listed.stdout.split():
            subprocess.run(["docker", "rm", "--force", container], capture_output=True, check=False)
        for image in self.images:
            subprocess.run(["docker", "rmi", image], capture_output=True, check=False)
        self.images.clear()
