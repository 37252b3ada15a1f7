import asyncio
import signal

import pytest
import uvicorn
from sse_starlette.sse import AppStatus

from ci_server.quiet_server import QuietServer


class Counting(QuietServer):
    def __init__(self) -> None:
        super().__init__(uvicorn.Config("nothing:app", log_config=None))
        self.ticks = 0
        self.has_ticked = asyncio.Event()

    async def on_tick(self, counter: int) -> bool:
        self.ticks += 1
        self.has_ticked.set()
        return await super().on_tick(counter)


@pytest.fixture(autouse=True)
def other_servers_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AppStatus, "should_exit", False)


async def test_a_signal_ends_it_at_once() -> None:
    server = Counting()
    serving = asyncio.create_task(server.main_loop())
    await server.has_ticked.wait()
    server.handle_exit(signal.SIGTERM, None)
    await serving
    assert server.ticks == 2
    assert [name for name, _ in server.server_state.default_headers] == [b"date"]


async def test_a_signal_before_it_serves_is_not_lost() -> None:
    server = Counting()
    server.handle_exit(signal.SIGTERM, None)
    await server.main_loop()
    assert server.ticks == 1
