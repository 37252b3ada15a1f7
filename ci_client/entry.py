"""Runs the command line: turns every end into an exit code and at most one line.

Never a traceback: what nobody has foreseen is one line and exit code 70 (CI_TRACEBACK=1 shows it whole).
"""

import os
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from ci_client.cli import ci
from ci_client.problems import ClientError, ReaderLeft
from ci_common.exit_codes import EXIT_BAD_USE, EXIT_CANCELLED, EXIT_INTERNAL

if TYPE_CHECKING:
    from ci_client.terminal import Console


def run() -> NoReturn:
    """Run the command line of this process, and leave it."""
    _leave(_exit_code())


def _exit_code() -> int:
    try:
        result: object = ci.main(prog_name="ci", standalone_mode=False)
    except ReaderLeft as error:
        return error.exit_code  # as others do who write into a pipe
    except ClientError as error:
        _console().error(str(error))
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return EXIT_BAD_USE
    except click.UsageError as error:
        _console().error(_usage_line(error))
        return EXIT_BAD_USE
    except (click.Abort, KeyboardInterrupt):
        _console().note("interrupted")
        return EXIT_CANCELLED
    except click.ClickException as error:
        _console().error(error.format_message())
        return EXIT_BAD_USE
    except Exception as error:  # noqa: BLE001 - the last line of defence, and it is told
        return _unforeseen(error)
    return result if isinstance(result, int) else 0


def _console() -> "Console":
    from ci_client.terminal import standard_console  # noqa: PLC0415 - help needs none

    return standard_console()


def _usage_line(error: click.UsageError) -> str:
    message = error.format_message().rstrip(".")
    context = error.ctx
    command = context.command_path if context is not None else "ci"
    if isinstance(error, click.NoSuchOption) and command == "ci submit test":
        return f"{message}; arguments for pytest go behind `--`: ci submit test -- {error.option_name} …"
    return f"{message}; see: {command} --help"


def _unforeseen(error: Exception) -> int:
    import traceback  # noqa: PLC0415 - its import takes time, and this never happens

    if os.environ.get("CI_TRACEBACK"):
        traceback.print_exception(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(where.filename)}:{where.lineno}"  # noqa: PTH119 - a name for people
    _console().error(
        f"internal error: {type(error).__name__}: {error} ({place}); please report it with what "
        "CI_TRACEBACK=1 shows beside"
    )
    return EXIT_INTERNAL


def _leave(exit_code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue  # closed; there is nobody to tell
    # Neither is a thread that waits for the network waited for, nor does anything need to be taken down.
    os._exit(exit_code)
