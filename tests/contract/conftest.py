from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ci_common.repository import Repository
from tests.contract.world import IMPLEMENTATIONS, World, make_repository


@pytest.fixture(params=IMPLEMENTATIONS)
async def repository(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Repository]:
    made = make_repository(str(request.param), tmp_path)
    await made.initialize()
    yield made
    await made.close()


@pytest.fixture
async def world(repository: Repository) -> World:
    return await World.create(repository)
