from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from ci_persistence.sqlite_repository import SQLiteJobRepository
from tests.integration.client.client_command import Client, make_project
from tests.integration.client.worker import Worker
from tests.integration.server.serving import Account, Driver, ServerProcess, new_account

StartServer = Callable[[], ServerProcess]


@pytest.fixture(scope="module")
def shared_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data") / "ci.db"


@pytest.fixture(scope="module")
def server(shared_db: Path) -> Iterator[ServerProcess]:
    """One server for all tests of a module; each test has a user of its own."""
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
async def account(repository: SQLiteJobRepository) -> Account:
    return await new_account(repository)


@pytest.fixture
async def worker(repository: SQLiteJobRepository, account: Account, shared_db: Path) -> Worker:
    return Worker(await Driver.leading(repository), account, shared_db)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def client(home: Path, server: ServerProcess, account: Account) -> Client:
    return Client(home, server.url, account.key)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")
