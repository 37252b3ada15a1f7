"""Where an installation keeps its data: one rule for server, controller and administrator.

Nothing is created here. Precedence: `CI_DATA_DIR` (default `~/.ci/data`, or the
folder of `CI_DB_PATH`); the database is `ci.db` in it unless `CI_DB_PATH` or `--db-path` names one.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_DEFAULT_DATA_DIR = "~/.ci/data"
_DATABASE_NAME = "ci.db"


@dataclass(frozen=True, slots=True)
class DataPaths:
    """Absolute paths of one installation."""

    data_dir: Path
    db_path: Path
    wake_dir: Path
    """Sockets of those who wait for changes of this database: the same however its path is spelled."""


def resolve(db_path: str | None = None, environ: Mapping[str, str] = os.environ) -> DataPaths:
    """The paths that a process uses: `db_path` (a flag) before `environ` before the default."""
    named_db = db_path or environ.get("CI_DB_PATH")
    named_dir = environ.get("CI_DATA_DIR")
    if named_db:
        database = _absolute(named_db)
        data_dir = _absolute(named_dir) if named_dir else database.parent
    else:
        data_dir = _absolute(named_dir or _DEFAULT_DATA_DIR)
        database = data_dir / _DATABASE_NAME
    return DataPaths(data_dir=data_dir, db_path=database, wake_dir=wake_dir_of(database))


def wake_dir_of(db_path: Path) -> Path:
    """The folder of wake-up sockets beside a database; two databases in one folder have two."""
    resolved = db_path.resolve()
    digest = hashlib.sha256(os.fsencode(resolved.name)).hexdigest()[:16]
    return resolved.parent / f"wake-{digest}"


def _absolute(text: str) -> Path:
    # Not resolved: a link that an administrator put there may later lead elsewhere.
    return Path(text).expanduser().absolute()
