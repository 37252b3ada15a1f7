"""`python -m ci_server`, and where the installed command `ci-server` begins."""

from ci_server.cli import cli


def main() -> None:
    """Run the command."""
    cli(prog_name="ci-server")


if __name__ == "__main__":
    main()
