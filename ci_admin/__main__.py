"""Start of `ci-admin` and `python -m ci_admin`: its own errors are one line on stderr and exit 1."""

import io
import sys

import click

from ci_admin.cli import cli
from ci_common.errors import CIError


def main() -> None:
    """Run the command line and exit: 0, 1 for an own error, 2 for bad use."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a name that the terminal can't show is no failure
    try:
        cli.main(prog_name="ci-admin")
    except (CIError, OSError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
