"""When this command did what, by the monotonic clock. It costs nothing to those who never ask.

What the moments are called, and what lies between them, `ci_common.job_times` knows; that is loaded only
for those who want to see it (`timing`).
"""

import time
from collections.abc import Mapping
from typing import Literal

MomentName = Literal[
    "client_started",
    "packing_began",
    "packed",
    "sending_began",
    "accepted",
    "following",
    "output_shown",
    "end_shown",
]


class Moments:
    """Of one submission; the first time of each stands."""

    def __init__(self) -> None:
        # The process has lived at least as long as it has worked.
        self._seconds: dict[MomentName, float] = {"client_started": time.monotonic() - time.process_time()}

    def mark(self, name: MomentName) -> None:
        """It is now."""
        self._seconds.setdefault(name, time.monotonic())

    @property
    def seconds(self) -> Mapping[MomentName, float]:
        """All that there were."""
        return self._seconds
