import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ci_common.errors import AlreadyExists, CIError, SchemaMismatch
from ci_common.models import Outcome, Verdict
from ci_persistence.backup import backup
from ci_persistence.database_info import database_info
from ci_persistence.sqlite_repository import SQLiteJobRepository
from tests.contract.world import World, line


async def _world(path: Path) -> World:
    repository = SQLiteJobRepository(path)
    await repository.initialize()
    return await World.create(repository)


async def test_backup_is_a_database_of_its_own(tmp_path: Path) -> None:
    world = await _world(tmp_path / "ci.db")
    job = await world.running()
    await world.append(job.id, [line("before")], 1)
    copy = tmp_path / "copy.db"
    await backup(tmp_path / "ci.db", copy)
    ended = await world.repository.complete(world.fence, job.id, Verdict(Outcome.PASSED, 0))
    assert _names(tmp_path) == {"ci.db", "ci.db-shm", "ci.db-wal", "copy.db"}
    assert copy.stat().st_mode & 0o777 == 0o600

    restored = SQLiteJobRepository(copy)
    await restored.initialize()
    assert not restored.created
    assert await restored.instance_id() == await world.repository.instance_id()
    assert (await restored.get_job(job.id)).status == "running"
    assert ended.status == "completed"
    await restored.close()
    await world.repository.close()


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


async def test_nothing_is_overwritten(tmp_path: Path) -> None:
    world = await _world(tmp_path / "ci.db")
    target = tmp_path / "copy.db"
    target.write_text("precious", encoding="ascii")
    with pytest.raises(AlreadyExists):
        await backup(tmp_path / "ci.db", target)
    assert target.read_text("ascii") == "precious"
    await world.repository.close()


async def test_only_our_databases_are_copied(tmp_path: Path) -> None:
    with pytest.raises(SchemaMismatch):
        await backup(tmp_path / "absent.db", tmp_path / "copy.db")
    assert _names(tmp_path) == set()


async def test_damaged_database_is_not_kept_as_a_backup(tmp_path: Path) -> None:
    path = tmp_path / "ci.db"
    world = await _world(path)
    await world.repository.close()
    _damage(path)
    with pytest.raises(CIError, match="damaged"):
        await backup(path, tmp_path / "copy.db")
    assert _names(tmp_path) == {"ci.db"}


def _damage(path: Path) -> None:
    with closing(sqlite3.connect(path)) as sql:
        row = sql.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'api_keys_by_prefix'").fetchone()
        page_bytes = sql.execute("PRAGMA page_size").fetchone()[0]
        sql.execute("PRAGMA journal_mode = DELETE")
    with path.open("r+b") as file:
        file.seek((row[0] - 1) * page_bytes)
        file.write(b"\x0a\x00\x00\x00\x00")  # an index without entries


async def test_info_tells_version_and_sizes(tmp_path: Path) -> None:
    world = await _world(tmp_path / "ci.db")
    info = database_info(tmp_path / "ci.db")
    assert info.sqlite_version == sqlite3.sqlite_version
    assert info.database_bytes > 0
    assert info.wal_bytes > 0
    await world.repository.close()
    assert database_info(tmp_path / "ci.db").wal_bytes == 0
    assert database_info(tmp_path / "absent.db").database_bytes == 0
