"""How long, and at which intervals, something that has failed for a passing reason is tried again."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from ci_client.problems import Transient, Unreachable

Result = TypeVar("Result")

FIRST_CONTACT_SECONDS = 5.0
"""For whatever leaves nothing behind: somebody waits at a prompt, and a wrong address stays wrong."""
_FIRST_DELAY_SECONDS = 0.1
_LONGEST_DELAY_SECONDS = 10.0
_WORTH_A_WORD_SECONDS = 0.5


class Patience:
    """One outage after the other, each with the same limit; says each of them once."""

    def __init__(
        self,
        limit_seconds: float,
        say: Callable[[str], None],
        *,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._limit_seconds = limit_seconds
        self._say = say
        self._pause = pause
        self._clock = clock
        self._jitter = jitter
        self._began: float | None = None
        self._delay_seconds = _FIRST_DELAY_SECONDS
        self._has_said = False

    def wait(self, problem: Transient) -> None:
        """Wait before the next try.

        Raises:
            Unreachable: the limit is reached.
        """
        now = self._clock()
        if self._began is None:
            self._began = now
        # Between half and all of it, so that clients cut off together don't come back together.
        delay = self._delay_seconds * (0.5 + self._jitter() / 2)
        delay = max(delay, problem.retry_after_seconds or 0.0)
        if now - self._began + delay > self._limit_seconds:
            raise Unreachable(str(problem)) from problem
        if not self._has_said and self._delay_seconds >= _WORTH_A_WORD_SECONDS:
            self._has_said = True
            left = self._limit_seconds - (now - self._began)
            self._say(f"{problem}; trying again for {left:.0f} s")
        self._delay_seconds = min(self._delay_seconds * 2, _LONGEST_DELAY_SECONDS)
        self._pause(delay)

    def reached(self) -> None:
        """The server has answered: the time limit begins anew with the next failure."""
        self._began = None
        if self._has_said:
            self._has_said = False
            self._say("the server answers again")

    def progressed(self) -> None:
        """Something has come of it: the next failure is tried again at once."""
        self.reached()
        self._delay_seconds = _FIRST_DELAY_SECONDS


def persistently(call: Callable[[], Result], patience: Patience) -> Result:
    """What `call` returns, tried again as long as its problem may pass.

    Raises:
        Unreachable: it didn't pass in time.
    """
    while True:
        try:
            result = call()
        except Transient as problem:
            patience.wait(problem)
        else:
            patience.progressed()
            return result
