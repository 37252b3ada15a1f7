"""Short calls to the engine: question, answer, done; each in a thread of its own and within a time limit.

The Docker SDK gives the connection (`engine_transport`); requests are made from the engine's API directly,
since their answers then come typed and each call can have its own limit. What streams (logs, stdin, events)
has connections of its own: `engine_stream`.

Invariants: no call outlasts its limit for its caller; the thread behind it ends by the socket's own
time-out. Only parts of `container_manager` call this.
"""

import asyncio
import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import IO

import requests
from docker import APIClient
from docker.errors import DockerException

from ci_common.errors import EngineUnavailable
from ci_controller import engine_json
from ci_controller.engine_address import EngineAddress
from ci_controller.engine_errors import EngineRefused
from ci_controller.engine_transport import make_client
from ci_controller.threads import in_thread

Query = Mapping[str, str | int | bool]


@dataclass(frozen=True, slots=True)
class Tar:
    """A body that is an archive, sent as it is read."""

    data: IO[bytes] | Iterable[bytes]


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How long the engine may take, by kind of call."""

    look_seconds: float = 20
    """Looks and signals."""
    change_seconds: float = 120
    """Create, start, remove: on a loaded machine a start waits for others."""
    image_seconds: float = 1800
    """Pull, import, commit."""
    stall_seconds: float = 60
    """A stream that takes nothing for so long is broken."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the engine said, whatever the status."""

    status: int
    content: bytes

    @property
    def ok(self) -> bool:
        """The engine did what was asked, or had nothing to do."""
        return self.status < 400

    @property
    def json(self) -> object:
        """The body, decoded; None where it isn't JSON."""
        try:
            decoded: object = json.loads(self.content)
        except ValueError:
            return None
        return decoded

    @property
    def object(self) -> engine_json.Json:
        """The body as a JSON object, else an empty one."""
        return engine_json.parsed(self.content)

    @property
    def message(self) -> str:
        """Why the engine refused."""
        said = engine_json.text(self.object, "message") or self.content.decode(errors="replace")
        return said.strip() or f"status {self.status} without a reason"

    def accepted(self, what: str) -> "Answer":
        """This answer, where it isn't a refusal.

        Raises:
            EngineRefused: it is one.
        """
        if self.ok:
            return self
        raise EngineRefused(f"the engine could not {what}: {self.message}")


class EngineCalls:
    """Asks one engine; any number of calls side by side."""

    def __init__(self, address: EngineAddress, limits: TimeLimits) -> None:
        self.address = address
        self.limits = limits
        self._lock = threading.Lock()
        self._client: APIClient | None = None

    def close(self) -> None:
        """Close idle connections; calls under way end by themselves."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    async def ping(self) -> None:
        """Raises EngineUnavailable where the engine doesn't answer."""
        (await self.look("/_ping")).accepted("answer")

    async def look(self, path: str, query: Query | None = None) -> Answer:
        """A GET that changes nothing and is answered at once."""
        return await self.request("GET", path, query, limit_seconds=self.limits.look_seconds)

    async def change(
        self, method: str, path: str, query: Query | None = None, body: engine_json.Json | None = None
    ) -> Answer:
        """A call that makes, changes or removes something."""
        return await self.request(method, path, query, body=body, limit_seconds=self.limits.change_seconds)

    async def request(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        body: engine_json.Json | Tar | None = None,
        limit_seconds: float,
    ) -> Answer:
        """Any call; its answer is read whole.

        Raises:
            EngineUnavailable: no connection, or no answer within `limit_seconds`.
        """

        def ask() -> Answer:
            client = self._connected()
            url = f"{client.base_url}{path}"
            archive = body if isinstance(body, Tar) else None
            described = None if isinstance(body, Tar) else body
            with client.request(
                method,
                url,
                params=query,
                json=described,
                data=None if archive is None else archive.data,
                headers=None if archive is None else {"Content-Type": "application/x-tar"},
                timeout=limit_seconds,
            ) as response:
                return Answer(response.status_code, response.content)

        what = f"{method} {path}"
        try:
            async with asyncio.timeout(limit_seconds):
                return await in_thread(ask, name=f"engine {what}")
        except TimeoutError:
            raise EngineUnavailable(
                f"the engine at {self.address.url} did not answer {what} within {limit_seconds:g} s"
            ) from None
        except (requests.RequestException, DockerException, OSError) as error:
            raise EngineUnavailable(f"no answer from the engine at {self.address.url}: {error}") from error

    def _connected(self) -> APIClient:
        """The one client, made by whichever call comes first; runs in a call's thread."""
        with self._lock:
            if self._client is None:
                self._client = make_client(self.address)
            return self._client
