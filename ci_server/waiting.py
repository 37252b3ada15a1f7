"""Why a job waits, in a sentence for its owner.

`ControllerWatch` finds out whether a controller lives by its beat, measured with this process's own
monotonic clock, since wall clocks jump; the sentence itself is a pure function.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from ci_common.clock import utc_now
from ci_common.ids import Fence
from ci_common.models import ControllerState, Lease
from ci_common.repository import JobRepository, QueuePlace

BEAT_STALE_SECONDS = 10.0
"""A controller whose beat stood still for longer is taken for dead."""
PATIENCE_SECONDS = 1.0
"""A job that is next and no longer waits than this is merely being started."""
_VIEW_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class ControllerView:
    """What is known of the leading controller."""

    is_alive: bool
    state: ControllerState
    detail: str


NO_CONTROLLER = ControllerView(is_alive=False, state=ControllerState.STOPPED, detail="")


def reason_to_wait(standing: QueuePlace, controller: ControllerView, waited_seconds: float) -> str | None:
    """Why this queued job hasn't started; None while there is nothing worth saying."""
    if not controller.is_alive:
        return "waiting: no controller is running on the build machine"
    by_state = {
        ControllerState.STOPPED: "waiting: the controller has been stopped",
        ControllerState.STARTING: "waiting: the controller is starting",
        ControllerState.NO_ENGINE: "waiting: the container engine can't be reached",
        ControllerState.BUILDING_IMAGE: "waiting: a base image is being built",
    }
    if controller.state in by_state:
        sentence = by_state[controller.state]
        return f"{sentence} ({controller.detail})" if controller.detail else sentence
    if standing.waiting is not None:
        return f"waiting: {standing.waiting}"
    if standing.place > 1:
        return f"waiting: number {standing.place} in the queue"
    return "waiting: next in the queue" if waited_seconds >= PATIENCE_SECONDS else None


class ControllerWatch:
    """Follows the leader's beat; one for a replica."""

    def __init__(
        self,
        jobs: JobRepository,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._jobs = jobs
        self._monotonic = monotonic
        self._now = now
        self._beat: tuple[Fence, int] | None = None
        self._beat_at = 0.0
        self._view = NO_CONTROLLER
        self._viewed_at = float("-inf")

    async def view(self) -> ControllerView:
        """What is known now, not older than half a second."""
        if self._monotonic() - self._viewed_at >= _VIEW_SECONDS:
            self._view = self._judge(await self._jobs.lease())
            self._viewed_at = self._monotonic()
        return self._view

    def _judge(self, lease: Lease | None) -> ControllerView:
        if lease is None or lease.holder is None:
            return NO_CONTROLLER
        moment = self._monotonic()
        beat = (lease.fence, lease.beat)
        if self._beat is None:
            # Of a beat that was never seen to change, only the wall clock tells its age.
            self._beat_at = moment - max(0.0, (self._now() - lease.beat_time).total_seconds())
        elif beat != self._beat:
            self._beat_at = moment
        self._beat = beat
        is_alive = moment - self._beat_at <= BEAT_STALE_SECONDS
        return ControllerView(is_alive=is_alive, state=lease.state, detail=lease.detail)
