import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ci_common.errors import CIError, SchemaMismatch, SchemaOutdated
from ci_persistence.migrations_runner import MIGRATIONS, create_if_empty, migrate
from ci_persistence.sqlite_repository import SQLiteJobRepository
from tests.contract.world import World

NEXT = "CREATE TABLE added (\n    number INTEGER -- a column; with a semicolon\n) STRICT;\n"
BROKEN = "CREATE TABLE half (number INTEGER);\nINSERT INTO missing VALUES (1);\n"


def _user_version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as sql:
        version: int = sql.execute("PRAGMA user_version").fetchone()[0]
        return version


def _tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as sql:
        return {name for (name,) in sql.execute("SELECT name FROM sqlite_schema").fetchall()}


async def test_absent_database_is_created_with_its_folders(tmp_path: Path) -> None:
    repository = SQLiteJobRepository(tmp_path / "deep" / "data" / "ci.db")
    await repository.initialize()
    assert repository.created
    await World.create(repository)
    await repository.close()


async def test_empty_file_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "ci.db"
    path.touch()
    repository = SQLiteJobRepository(path)
    await repository.initialize()
    assert repository.created
    await repository.close()


async def test_what_exists_is_opened_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ci.db"
    first = SQLiteJobRepository(path)
    await first.initialize()
    instance_id = await first.instance_id()
    await first.close()
    second = SQLiteJobRepository(str(path))
    await second.initialize()
    assert not second.created
    assert await second.instance_id() == instance_id
    await second.close()


async def test_installations_have_different_ids(tmp_path: Path) -> None:
    ids: set[str] = set()
    for name in ("a.db", "b.db"):
        repository = SQLiteJobRepository(tmp_path / name)
        await repository.initialize()
        ids.add(await repository.instance_id())
        await repository.close()
    assert len(ids) == 2


async def test_group_may_use_what_is_created(tmp_path: Path) -> None:
    path = tmp_path / "data" / "ci.db"
    previous = os.umask(0o077)
    try:
        repository = SQLiteJobRepository(path)
        await repository.initialize()
        await World.create(repository)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o2770
    files = sorted(path.parent.glob("ci.db*"))
    assert [file.name for file in files] == ["ci.db", "ci.db-shm", "ci.db-wal"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o660}
    await repository.close()


async def test_folder_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(0o750)
    folder.chmod(0o750)
    await create_if_empty(folder / "ci.db")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750


def _state(path: Path) -> object:
    return path.read_bytes(), path.stat().st_mtime_ns, sorted(path.parent.iterdir())


def _remove_files(folder: Path) -> None:
    for file in folder.glob("ci.db*"):
        file.unlink()


def _foreign_sqlite(path: Path) -> None:
    with closing(sqlite3.connect(path)) as sql:
        sql.execute("CREATE TABLE jobs (id TEXT)")
        sql.commit()


def _foreign_wal(path: Path) -> None:
    with closing(sqlite3.connect(path)) as sql:
        sql.execute("PRAGMA journal_mode = WAL")
        sql.execute("CREATE TABLE jobs (id TEXT)")
        sql.execute("PRAGMA user_version = 1")
        sql.commit()


def _without_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as sql:
        sql.execute("VACUUM")


def _text(path: Path) -> None:
    path.write_text("api_key=secret\n" * 100, encoding="ascii")


def _short(path: Path) -> None:
    path.write_bytes(b"x")


@pytest.mark.parametrize("make", [_foreign_sqlite, _foreign_wal, _without_tables, _text, _short])
@pytest.mark.parametrize("may_upgrade", [False, True])
async def test_foreign_file_is_refused_untouched(
    tmp_path: Path, make: Callable[[Path], None], may_upgrade: bool
) -> None:
    path = tmp_path / "ci.db"
    make(path)
    before = _state(path)
    with pytest.raises(SchemaMismatch, match="--db-path") as refusal:
        await (migrate(path) if may_upgrade else create_if_empty(path))
    assert not isinstance(refusal.value, SchemaOutdated)
    assert _state(path) == before


async def test_folder_in_place_of_a_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaMismatch):
        await create_if_empty(tmp_path)


async def test_older_schema_waits_for_the_controller(tmp_path: Path) -> None:
    path = tmp_path / "ci.db"
    await create_if_empty(path)
    newer_release = [*MIGRATIONS, NEXT]
    with pytest.raises(SchemaOutdated, match="ci-controller"):
        await create_if_empty(path, newer_release)
    assert _user_version(path) == len(MIGRATIONS)

    change = await migrate(path, newer_release)
    assert (change.created, change.before, change.after) == (False, len(MIGRATIONS), len(newer_release))
    assert "added" in _tables(path)
    assert not (await create_if_empty(path, newer_release)).created
    assert (await migrate(path, newer_release)).before == len(newer_release)


async def test_installation_under_way_keeps_its_key_over_the_upgrade(tmp_path: Path) -> None:
    path, key = tmp_path / "ci.db", "0123456789abcdef" * 4
    await create_if_empty(path, MIGRATIONS[:1])
    with closing(sqlite3.connect(path)) as sql, sql:
        sql.execute("INSERT INTO users VALUES (1, 'u', 'Ada', 'a@example.org', 'a@example.org', 1, '2026')")
        sql.execute(
            "INSERT INTO jobs (id, user_id, status, options, bundle_bytes, submit_time, attempt, last_seq, "
            "run_stage, run_container_id, run_fence, run_environment, run_offset_bytes, run_fed) "
            "VALUES ('j', 'u', 'running', '{}', 1, '2026', 1, 0, 'install', 'c', 1, ?, 0, 1)",
            [f"ci-env-01234567-{key}-89abcdef"],
        )
    await migrate(path)
    with closing(sqlite3.connect(path)) as sql:
        assert sql.execute("SELECT run_environment_key FROM jobs").fetchall() == [(key,)]


async def test_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ci.db"
    await migrate(path, [*MIGRATIONS, NEXT])
    repository = SQLiteJobRepository(path)
    with pytest.raises(SchemaMismatch, match="upgrade this installation") as refusal:
        await repository.initialize()
    assert not isinstance(refusal.value, SchemaOutdated)
    with pytest.raises(SchemaMismatch, match="upgrade this installation"):
        await migrate(path)
    await repository.close()


async def test_open_repository_stops_working_once_the_schema_is_newer(tmp_path: Path) -> None:
    path = tmp_path / "ci.db"
    repository = SQLiteJobRepository(path)
    await repository.initialize()
    await migrate(path, [*MIGRATIONS, NEXT])
    with pytest.raises(SchemaMismatch):
        await repository.create_user("Ada", "ada@example.org")
    with pytest.raises(SchemaMismatch):
        await repository.queue_counts()
    await repository.close()


async def test_migration_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ci.db"
    await create_if_empty(path)
    with pytest.raises(sqlite3.OperationalError, match="missing"):
        await migrate(path, [*MIGRATIONS, BROKEN])
    assert _user_version(path) == len(MIGRATIONS)
    assert "half" not in _tables(path)


async def test_creation_that_fails_leaves_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "ci.db"
    with pytest.raises(sqlite3.OperationalError, match="missing"):
        await create_if_empty(path, [*MIGRATIONS, BROKEN])
    assert path.stat().st_size == 0
    assert (await create_if_empty(path)).created


def test_many_processes_create_one_database(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from ci_persistence.sqlite_repository import SQLiteJobRepository\n"
        "async def main() -> None:\n"
        "    repository = SQLiteJobRepository(sys.argv[1])\n"
        "    await repository.initialize()\n"
        "    print(repository.created, await repository.instance_id())\n"
        "    await repository.close()\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "ci.db")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    answers = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [created for created, _ in answers].count("True") == 1
    assert len({instance_id for _, instance_id in answers}) == 1


async def test_two_tasks_create_one_database(tmp_path: Path) -> None:
    changes = await asyncio.gather(*(create_if_empty(tmp_path / "ci.db") for _ in range(4)))
    assert [change.created for change in changes].count(True) == 1


async def test_database_that_vanished_is_an_error_and_stays_away(tmp_path: Path) -> None:
    path = tmp_path / "ci.db"
    await create_if_empty(path)
    repository = SQLiteJobRepository(path)
    await repository.initialize()
    _remove_files(tmp_path)
    with pytest.raises(CIError, match="can't be opened"):
        await repository.list_users()
    assert not path.exists()
    await repository.close()
