"""The command tree of `ci-admin`. Front door: commands live beside it, one noun a file.

A command's module is imported when it is asked for: users and keys need no engine, nor the time that
its library takes to load.
"""

import importlib

import click

from ci_admin.options import database_option

_MODULES = {
    "user": "ci_admin.user_commands",
    "key": "ci_admin.key_commands",
    "status": "ci_admin.status_command",
    "job": "ci_admin.job_commands",
    "image": "ci_admin.image_commands",
    "gc": "ci_admin.gc_command",
    "backup": "ci_admin.backup_command",
}
"""Where each command is, as an attribute of the command's own name."""


class _LateGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULES:
            return None
        command: object = getattr(importlib.import_module(_MODULES[cmd_name]), cmd_name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_LateGroup, context_settings={"help_option_names": ["-h", "--help"]})
@database_option
def cli() -> None:
    r"""Users, keys, jobs, base images and upkeep of one installation.

    \b
    Environment:
      CI_DATA_DIR  where data lies (default ~/.ci/data, or the folder of CI_DB_PATH)
      CI_DB_PATH   the database (default ci.db in the data directory)
      DOCKER_HOST  the container engine (default the usual socket of this machine)
    """
