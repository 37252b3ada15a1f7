"""What the container engine may refuse, beside `EngineUnavailable`: the errors of this room alone.

    CIError
    ├── EngineUnavailable    (ci_common) no engine, or it didn't answer within the call's time limit
    ├── EngineRefused        it answered, and the answer was no
    │   ├── NameTaken        a container of this name exists already, with its id
    │   ├── ImageMissing     the engine doesn't have the image
    │   ├── VolumeMissing    the volume that a container was to use isn't there
    │   ├── AlreadyStarted   a container is started once at most
    │   ├── StartFailed      it was created, but its process could not be started
    │   └── InUse            what was to be removed is still used by a container
    ├── FeedFailed           stdin of a container didn't take everything in time
    └── ImageBuildFailed     no way led to the image; the message says what to do

That something is gone is no error: those calls answer None, or nothing.
"""

from ci_common.errors import CIError
from ci_common.ids import ContainerId


class EngineRefused(CIError):
    """The engine answered, and the answer was no; the message is the engine's own."""


class NameTaken(EngineRefused):
    """A container of this name exists; names are the only fence that the engine itself has."""

    def __init__(self, message: str, existing: ContainerId | None) -> None:
        super().__init__(message)
        self.existing = existing
        """Its id; None where it was gone again, or the engine only reserves the name at present."""


class ImageMissing(EngineRefused):
    """The engine doesn't have the image: make sure of it again, then create again."""


class VolumeMissing(EngineRefused):
    """The volume isn't there; an empty one in its place would look like an environment."""


class AlreadyStarted(EngineRefused):
    """It ran before: started again it would run twice, and its log would hold both runs."""


class StartFailed(EngineRefused):
    """Created but not startable: no python3 in the image, the network gone, no memory left."""


class InUse(EngineRefused):
    """A container still uses it; removing the container comes first."""


class FeedFailed(CIError):
    """The container's stdin was closed early, or took nothing for too long."""


class ImageBuildFailed(CIError):
    """The image could not be made; the message names the cause and the next step."""
