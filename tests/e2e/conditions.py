"""Waiting for something to become true, with a time limit that names what was waited for."""

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_SECONDS = 60.0
"""Far more than anything here takes: a machine that is busy must not fail a test."""

_LOOK_SECONDS = 0.02

Found = TypeVar("Found")


def eventually(
    look: Callable[[], Found | None], what: str, patience_seconds: float = PATIENCE_SECONDS
) -> Found:
    """What `look` gives as soon as that is neither None nor False.

    Raises:
        AssertionError: it never was.
    """
    deadline = time.monotonic() + patience_seconds
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        assert time.monotonic() < deadline, f"waited {patience_seconds:.0f} s in vain for {what}"
        time.sleep(_LOOK_SECONDS)
