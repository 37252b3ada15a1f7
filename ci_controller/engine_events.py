"""What happens to this installation's containers, as the engine tells it: a hint that makes things fast.

The engine keeps 256 events and drops slow readers, so that nothing may depend on seeing one.
"""

import json
import time
from collections.abc import AsyncGenerator

from ci_common.errors import EngineUnavailable
from ci_common.ids import ContainerId, InstanceId
from ci_controller import engine_json
from ci_controller.container_view import instance_label
from ci_controller.engine_address import EngineAddress
from ci_controller.engine_calls import TimeLimits
from ci_controller.engine_stream import open_stream

_KINDS = ("start", "die", "oom", "destroy")
_CLOCK_SLACK_SECONDS = 1


def watch(
    address: EngineAddress, limits: TimeLimits, instance: InstanceId
) -> AsyncGenerator[ContainerId, None]:
    """See `ContainerManager.engine_events`."""
    since = f"{time.time() - _CLOCK_SLACK_SECONDS:.6f}"
    filters = {"type": ["container"], "event": list(_KINDS), "label": [instance_label(instance)]}
    return _events(address, limits, {"since": since, "filters": json.dumps(filters)})


async def _events(
    address: EngineAddress, limits: TimeLimits, query: dict[str, str]
) -> AsyncGenerator[ContainerId, None]:
    async with open_stream(address, "GET", "/events", query, limit_seconds=limits.look_seconds) as stream:
        if stream.status != 200:
            raise EngineUnavailable(f"the engine gave no events: {await stream.refusal()}")
        async for event in stream.json_lines():
            if container_id := engine_json.text(engine_json.mapping(event, "Actor"), "ID"):
                yield ContainerId(container_id)
    raise EngineUnavailable("the engine ended its stream of events")
