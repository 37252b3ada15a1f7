from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from ci_persistence.sqlite_repository import SQLiteJobRepository
from tests.integration.server.serving import Account, Driver, ServerProcess, new_account

StartServer = Callable[..., ServerProcess]


@pytest.fixture(scope="module")
def shared_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data") / "ci.db"


@pytest.fixture(scope="module")
def server(shared_db: Path) -> Iterator[ServerProcess]:
    """One server for all tests of a module that don't harm it; each test has users of its own."""
    process = ServerProcess(shared_db, shared_db.with_name("server.log"))
    yield process
    process.stop()


@pytest.fixture
async def repository(server: ServerProcess, shared_db: Path) -> AsyncIterator[SQLiteJobRepository]:
    opened = SQLiteJobRepository(shared_db, owns_checkpoints=True)
    await opened.initialize()
    yield opened
    await opened.close()


@pytest.fixture
async def client(server: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, timeout=30, trust_env=False) as opened:
        yield opened


@pytest.fixture
async def account(repository: SQLiteJobRepository) -> Account:
    return await new_account(repository)


@pytest.fixture
async def driver(repository: SQLiteJobRepository) -> Driver:
    return await Driver.leading(repository)


@pytest.fixture
def own_db(tmp_path: Path) -> Path:
    return tmp_path / "own" / "ci.db"


@pytest.fixture
async def own_repository(own_db: Path) -> AsyncIterator[SQLiteJobRepository]:
    own_db.parent.mkdir(exist_ok=True)
    opened = SQLiteJobRepository(own_db, owns_checkpoints=True)
    await opened.initialize()
    yield opened
    await opened.close()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Start servers with settings of their own; they are stopped at the end, and were never at fault."""
    started: list[ServerProcess] = []

    def start(db_path: Path, settings: Mapping[str, str] | None = None, **kwargs: Any) -> ServerProcess:
        process = ServerProcess(db_path, tmp_path / f"server-{len(started)}.log", settings, **kwargs)
        started.append(process)
        return process

    yield start
    for process in started:
        process.stop()
