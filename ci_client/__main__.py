"""The entry of `ci` and of `python -m ci_client`; loads the rest where Ctrl-C can't leave a traceback."""

import sys
from typing import NoReturn

_EXIT_CANCELLED = 130


def main() -> NoReturn:
    """Run the command line of this process."""
    try:
        from ci_client import entry
    except KeyboardInterrupt:
        sys.exit(_EXIT_CANCELLED)
    entry.run()


if __name__ == "__main__":
    main()
