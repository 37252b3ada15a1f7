"""`ci-admin status`: controller, queue, engine and disk at one look."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from ci_admin import database, output
from ci_admin.controller_sign import Sign, holder_of, last_sign
from ci_admin.options import database_option, json_option
from ci_common.clock import utc_now
from ci_common.errors import CIError
from ci_common.ids import InstanceId
from ci_common.models import Lease
from ci_common.repository import ControllerRepository, QueueCounts
from ci_controller.container_manager import ContainerManager
from ci_controller.engine_status import EngineStatus
from ci_controller.leadership import is_alive
from ci_persistence.data_paths import DataPaths
from ci_persistence.database_info import DatabaseInfo, database_info


@dataclass(frozen=True, slots=True)
class _Disk:
    bundles_bytes: int
    free_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class _Report:
    instance: InstanceId
    lease: Lease | None
    sign: Sign
    queue: QueueCounts
    engine: EngineStatus | str
    """Or why it can't be asked."""
    database: DatabaseInfo
    disk: _Disk


@click.command()
@json_option
@database_option
def status(as_json: bool) -> None:
    """Show controller, queue, engine and disk."""
    paths = database.paths()

    async def look(repository: ControllerRepository) -> _Report:
        lease = await repository.lease()
        holder = holder_of(lease)
        lives = holder is not None and is_alive(holder)
        instance = await repository.instance_id()
        return _Report(
            instance=instance,
            lease=lease,
            sign=last_sign(lease, holder_lives=lives, now=utc_now()),
            queue=await repository.queue_counts(),
            engine=await _ask_engine(instance),
            database=database_info(paths.db_path),
            disk=_look_at_disk(paths, instance),
        )

    report = database.run(look)
    if as_json:
        click.echo(output.as_json(_described(report, paths)))
    else:
        click.echo(output.fields(_worded(report, paths)))


async def _ask_engine(instance: InstanceId) -> EngineStatus | str:
    try:
        async with ContainerManager(instance) as engine:
            return await engine.status()
    except CIError as error:
        return str(error)


def _look_at_disk(paths: DataPaths, instance: InstanceId) -> _Disk:
    usage = shutil.disk_usage(paths.data_dir if paths.data_dir.exists() else paths.db_path.parent)
    return _Disk(
        bundles_bytes=sum(
            _size_bytes(path) for path in (paths.data_dir / "bundles" / instance).glob("*.zip")
        ),
        free_bytes=usage.free,
        total_bytes=usage.total,
    )


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _described(report: _Report, paths: DataPaths) -> dict[str, object]:
    lease = report.lease
    holder = None if lease is None else lease.holder
    return {
        "database": {"path": str(paths.db_path), **asdict(report.database)},
        "data_dir": str(paths.data_dir),
        "instance": report.instance,
        "controller": {
            "is_running": report.sign.is_fresh,
            "state": None if lease is None else lease.state.value,
            "detail": None if lease is None else lease.detail,
            "pid": None if holder is None else holder.pid,
            "fence": None if lease is None else lease.fence,
            "last_beat": None if lease is None else output.iso(lease.beat_time),
        },
        "queue": asdict(report.queue),
        "engine": {"answers": False, "error": report.engine}
        if isinstance(report.engine, str)
        else {"answers": True, **asdict(report.engine)},
        "disk": asdict(report.disk),
    }


def _worded(report: _Report, paths: DataPaths) -> Mapping[str, str]:
    disk = report.disk
    stored = report.database
    sizes = f"{output.size(stored.database_bytes)} and a log of {output.size(stored.wal_bytes)}"
    return {
        "Database": f"{paths.db_path}, {sizes}, SQLite {stored.sqlite_version}",
        "Instance": report.instance,
        "Controller": report.sign.words,
        "Queue": f"{report.queue.queued} queued, {report.queue.running} running",
        "Engine": report.engine if isinstance(report.engine, str) else _engine_words(report.engine),
        "In engine": _holdings(report.engine),
        "Uploads": f"{output.size(disk.bundles_bytes)} in {paths.data_dir / 'bundles'}",
        "Disk": f"{output.size(disk.free_bytes)} free of {output.size(disk.total_bytes)}",
    }


def _engine_words(engine: EngineStatus) -> str:
    return (
        f"{engine.version} at {engine.address}, {engine.cpus} CPUs, "
        f"{output.size(engine.memory_bytes)} memory, "
        f"{engine.storage_driver}, cgroups v{engine.cgroup_version}"
    )


def _holdings(engine: EngineStatus | str) -> str:
    if isinstance(engine, str):
        return "not known"
    return f"{engine.containers} containers, {engine.volumes} environments, {engine.job_images} job images"
