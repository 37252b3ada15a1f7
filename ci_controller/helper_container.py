"""Short-lived containers of the platform's own: trials of the network, changes of the firewall, builds.

Pure. They run our code, not a stranger's, but get no more than they need all the same, and bear our label so
that clean-up removes what a crash leaves.
"""

import uuid
from collections.abc import Sequence

from ci_common.ids import InstanceId
from ci_controller.container_view import LABEL_INSTANCE, LABEL_ROLE, Role


def helper_name(instance: InstanceId, purpose: str) -> str:
    """A name that no other container has."""
    return f"ci-{purpose}-{instance[:8]}-{uuid.uuid4().hex[:12]}"


def helper_config(
    instance: InstanceId,
    image: str,
    command: Sequence[str],
    *,
    network: str,
    capabilities: Sequence[str] = (),
    role: Role = Role.PROBE,
) -> dict[str, object]:
    """The body of `POST /containers/create`; the container writes nothing and has no input."""
    return {
        "Image": image,
        "Entrypoint": list(command),
        "Cmd": [],
        "User": "0:0",
        "WorkingDir": "/",
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": {LABEL_INSTANCE: instance, LABEL_ROLE: role.value},
        "HostConfig": {
            "NetworkMode": network,
            "CapDrop": ["ALL"],
            "CapAdd": list(capabilities),
            "SecurityOpt": ["no-new-privileges"],
            "LogConfig": {"Type": "json-file", "Config": {}},
            "PidsLimit": 64,
            "Memory": 256 << 20,
        },
    }
