"""The commands and their options; what they do is elsewhere, and imported when it is needed.

That keeps `ci --help` instant: neither settings nor HTTP nor bundling are loaded for it.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from ci_client.settings import Settings
    from ci_client.terminal import Console

_DEFAULT_LIMIT = 100

Command = TypeVar("Command", bound=Callable[..., int])

SETTINGS_HELP = """\b
Settings, in this order: option, environment variable, config file.
  --api-key  CI_API_KEY        api_key=  your key, from an administrator
  --server   CI_API_URL        server=   address of the server (http://localhost:8000);
                                         CI_SERVER_URL is taken too, outside GitLab jobs
             CI_CONFIG                   the config file (~/.ci/config), see `ci login`
             CI_CA_BUNDLE                certificates to trust beside the system's, PEM
             CI_RETRY_SECONDS            how long to try to reach the server again once a
                                         job exists (600)
             CI_TRACEBACK                show where an internal error comes from (unset)
             HTTP_PROXY, HTTPS_PROXY, NO_PROXY, NO_COLOR: as everywhere
"""

EXIT_CODES_HELP = """\b
Exit codes: those of the tests' process pass through (pytest's 0 to 5, 139 for a segfault). Else
  64 bad use   65 job ended in error   66 no such job     69 server unreachable
  70 internal  75 job lost             77 key refused    124 timed out
 130 cancelled                        137 killed for memory
"""


def _connection_options(command: Command) -> Command:
    """The options that every command takes."""
    key = click.option("--api-key", metavar="KEY", help="Your API key (CI_API_KEY).")
    server = click.option("--server", metavar="URL", help="Address of the server (CI_API_URL).")
    return key(server(command))


def _settings(api_key: str | None, server: str | None) -> "tuple[Settings, Console]":
    from ci_client.settings import Flags, load
    from ci_client.terminal import standard_console

    return load(Flags(api_key, server)), standard_console()


class _WithArguments(click.Command):
    """A command whose arguments behind `--` are kept apart, however many stand before it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take what stands behind the first `--` out of click's sight."""
        ctx.meta[__name__] = None
        if "--" in args:
            border = args.index("--")
            ctx.meta[__name__] = args[border + 1 :]
            args = args[:border]
        return super().parse_args(ctx, args)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"{SETTINGS_HELP}\n{EXIT_CODES_HELP}",
)
@click.version_option(package_name="ci-platform", prog_name="ci")
def ci() -> None:
    """Run this project's tests on a clean machine, as if they ran here."""


@ci.group()
def submit() -> None:
    """Send the project and run something on it."""


@submit.command("test", cls=_WithArguments)
@click.argument("path", default=".", metavar="[PATH] [-- PYTEST_ARGS…]")
@click.option("--async", "is_async", is_flag=True, help="Print the job's id and don't wait for its end.")
@click.option("--fresh", is_flag=True, help="Install anew instead of using a cached environment.")
@click.option("-v", "--verbose", is_flag=True, help="Say what is left out, and by which rule.")
@click.option("--timing", is_flag=True, help="Show at the end where the time went.")
@click.option("--timing-json", "timing_file", metavar="FILE", help="… and write it into FILE.")
@_connection_options
@click.pass_context
def submit_test(
    ctx: click.Context,
    *,
    path: str,
    is_async: bool,
    fresh: bool,
    verbose: bool,
    timing: bool,
    timing_file: str | None,
    api_key: str | None,
    server: str | None,
) -> int:
    """Send PATH (the present folder unless told) and run its tests.

    The tests' output goes to stdout, all else to stderr, and the exit code is that of pytest.
    PYTEST_ARGS stand in place of -v. What .gitignore excludes stays behind, as do names that begin
    with a dot and virtual environments; .ciignore has the last word. Ctrl-C cancels the job.
    """
    from ci_client.submitting import Request, submit

    if is_async and (timing or timing_file is not None):
        raise click.UsageError("--timing waits for the job's end, --async doesn't; see `ci status --timing`")
    settings, console = _settings(api_key, server)
    arguments: Sequence[str] | None = ctx.meta[__name__]
    at_end = None
    if timing or timing_file is not None:
        from ci_client.timing_report import TimingReport

        at_end = TimingReport(console, timing, timing_file).tell
    return submit(settings, console, Request(path, arguments, is_async, fresh, verbose, at_end))


@ci.command()
@click.argument("job")
@click.option("--all", "from_start", is_flag=True, help="Show the output from the first line on.")
@_connection_options
def wait(job: str, *, from_start: bool, api_key: str | None, server: str | None) -> int:
    """Follow JOB to its end; exits as `ci submit test` would have.

    JOB is a job's id or the beginning of one. Ctrl-C stops the waiting alone.
    """
    from ci_client import watching

    settings, console = _settings(api_key, server)
    return watching.wait(settings, console, job, from_start=from_start)


@ci.command("list")
@click.option("--json", "as_json", is_flag=True, help="A JSON array of job objects.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=_DEFAULT_LIMIT, show_default=True, help="How many jobs."
)
@click.option("--status", type=click.Choice(["queued", "running", "completed"]), help="Only such jobs.")
@_connection_options
def list_jobs(
    *, as_json: bool, limit: int, status: str | None, api_key: str | None, server: str | None
) -> int:
    """Your jobs, the newest first."""
    from ci_client import inspecting

    settings, console = _settings(api_key, server)
    return inspecting.list_jobs(settings, console, limit=limit, status=status, as_json=as_json)


@ci.command()
@click.argument("job")
@click.option("--all", "everything", is_flag=True, help="The installation's output, too.")
@_connection_options
def logs(job: str, *, everything: bool, api_key: str | None, server: str | None) -> int:
    """What the tests of JOB have printed so far."""
    from ci_client import inspecting

    settings, console = _settings(api_key, server)
    return inspecting.show_logs(settings, console, job, everything=everything)


@ci.command()
@click.argument("job")
@click.option("--timing", is_flag=True, help="And where its time went, phase by phase.")
@click.option("--json", "as_json", is_flag=True, help="The job as a JSON object.")
@_connection_options
def status(job: str, *, timing: bool, as_json: bool, api_key: str | None, server: str | None) -> int:
    """Where JOB stands."""
    from ci_client import inspecting

    settings, console = _settings(api_key, server)
    if timing:
        from ci_client import timing_report

        return timing_report.show_status(settings, console, job, as_json=as_json)
    return inspecting.show_status(settings, console, job, as_json=as_json)


@ci.command()
@click.argument("job")
@_connection_options
def cancel(job: str, *, api_key: str | None, server: str | None) -> int:
    """Stop JOB; of a finished one, say how it ended."""
    from ci_client import inspecting

    settings, console = _settings(api_key, server)
    return inspecting.cancel_job(settings, console, job)


@ci.command()
@_connection_options
def login(*, api_key: str | None, server: str | None) -> int:
    """Ask for server and key, try them, and keep them in the config file.

    Without a terminal the key is read from stdin.
    """
    from ci_client import logging_in
    from ci_client.settings import Flags
    from ci_client.terminal import standard_console

    return logging_in.login(Flags(api_key, server), standard_console())


@ci.command()
@click.argument("path", default=".")
@_connection_options
def doctor(path: str, *, api_key: str | None, server: str | None) -> int:
    """Check key, server, versions, clock and the project in PATH."""
    from ci_client import doctor as examination

    settings, console = _settings(api_key, server)
    return examination.examine(settings, console, path)
