from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from ci_persistence.sqlite_repository import SQLiteJobRepository
from tests.contract.world import World
from tests.integration.persistence.child import Child


@pytest.fixture
def db_path(tmp_path: Path) -> Path:
    return tmp_path / "ci.db"


@pytest.fixture
async def world(db_path: Path) -> AsyncIterator[World]:
    """As the controller sees it: this process owns the checkpoints."""
    repository = SQLiteJobRepository(db_path, owns_checkpoints=True)
    await repository.initialize()
    yield await World.create(repository)
    await repository.close()


@pytest.fixture
def start_child(world: World, db_path: Path) -> Iterator[Callable[[], Child]]:
    """Start other processes on the same database; all are ended."""
    del world  # only so that the database exists first
    children: list[Child] = []

    def start() -> Child:
        children.append(Child(db_path))
        return children[-1]

    yield start
    for child in children:
        child.kill()
