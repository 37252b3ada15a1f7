"""Identifiers as types, so that a user's id can't be passed where a job's is meant.

Each is the canonical text of a UUID (lower case, with hyphens); `parse_*` is the only way in from
outside.
"""

import uuid
from typing import NewType

from ci_common.errors import InvalidInput

JobId = NewType("JobId", str)
UserId = NewType("UserId", str)
KeyId = NewType("KeyId", str)
ContainerId = NewType("ContainerId", str)
"""The engine's own id of a container: containers are addressed by it, never by name."""
VolumeName = NewType("VolumeName", str)
InstanceId = NewType("InstanceId", str)
"""Random id of one installation, kept in its database; labels everything it has in the engine."""
Fence = NewType("Fence", int)
"""Number of one leadership: grows by one each time a controller takes the lease."""

SHORTEST_PREFIX = 4
"""Characters of a job id that a user must give at least."""


def _canonical(text: str, noun: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise InvalidInput(f"{text!r} is not a {noun} id: a UUID is expected") from None


def parse_job_id(text: str) -> JobId:
    """The job id in `text`, in canonical form.

    Raises:
        InvalidInput: `text` is not a UUID.
    """
    return JobId(_canonical(text, "job"))


def parse_user_id(text: str) -> UserId:
    """The user id in `text`, in canonical form.

    Raises:
        InvalidInput: `text` is not a UUID.
    """
    return UserId(_canonical(text, "user"))


def parse_key_id(text: str) -> KeyId:
    """The key id in `text`, in canonical form.

    Raises:
        InvalidInput: `text` is not a UUID.
    """
    return KeyId(_canonical(text, "key"))


def parse_job_prefix(text: str) -> str:
    """`text` as the lower-case beginning of a job id.

    Raises:
        InvalidInput: too short, too long, or with characters that no job id has.
    """
    prefix = text.strip().lower()
    if not SHORTEST_PREFIX <= len(prefix) <= 36 or set(prefix) - set("0123456789abcdef-"):
        raise InvalidInput(
            f"{text!r} is neither a job id nor the beginning of one "
            f"(at least {SHORTEST_PREFIX} characters of a UUID)"
        )
    return prefix


def new_job_id() -> JobId:
    """A fresh random job id."""
    return JobId(str(uuid.uuid4()))


def new_user_id() -> UserId:
    """A fresh random user id."""
    return UserId(str(uuid.uuid4()))


def new_key_id() -> KeyId:
    """A fresh random key id."""
    return KeyId(str(uuid.uuid4()))
