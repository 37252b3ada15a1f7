"""The entry of `ci` and of `python -m ci_client`; loads the rest where Ctrl-C can't leave a traceback."""

import gc
import sys
from typing import NoReturn

_EXIT_CANCELLED = 130
_OBJECTS_BEFORE_COLLECTION = 50_000
"""Loading makes many objects, and all of them stay: to look for garbage among them costs milliseconds."""


def main() -> NoReturn:
    """Run the command line of this process."""
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTION)
    try:
        from ci_client import entry
    except KeyboardInterrupt:
        sys.exit(_EXIT_CANCELLED)
    entry.run()


if __name__ == "__main__":
    main()
