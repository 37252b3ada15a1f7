"""What may fail, as one small tree; every room raises these, its borders translate them.

    CIError
    ├── InvalidInput          the caller's words are wrong (HTTP 400/422, exit 64, `ci-admin` exit 1)
    │   └── BundleRejected    the uploaded archive breaks a rule of `ci_common.bundle`
    ├── NotFound              no such job, user or key, or somebody else's
    ├── AlreadyExists         e-mail taken, or a job id that belongs to another submission
    ├── NotPermitted          key missing, wrong, revoked or expired, or its user deactivated
    ├── FenceLost             this controller is no longer the leader; it must stop at once
    ├── StorageFull           below the reserve of free disk, or the database's log has grown too far
    ├── StorageBusy           another process held the database's write lock for too long
    ├── SchemaMismatch        the database is newer or somebody else's: this version can't use it
    │   └── SchemaOutdated    it is older: the controller upgrades it, until then one waits
    └── EngineUnavailable     the container engine can't be reached or doesn't answer

A message names the cause and, where there is one, the next step: it is shown to people as it is.
"""


class CIError(Exception):
    """Base of all failures that the platform expects."""


class InvalidInput(CIError):
    """What was asked for makes no sense; nothing was changed."""


class BundleRejected(InvalidInput):
    """An uploaded archive breaks a rule; no job was made of it."""


class NotFound(CIError):
    """It does not exist, or not for this caller."""


class AlreadyExists(CIError):
    """It exists already, and is not what the caller would have made."""


class NotPermitted(CIError):
    """The key is missing, wrong, revoked or expired, or its user is deactivated."""


class FenceLost(CIError):
    """Another controller has taken the lease; nothing was written."""


class StorageFull(CIError):
    """There is no room to accept more; what was accepted is safe."""


class StorageBusy(CIError):
    """Another process held the write lock for longer than we wait; nothing was changed."""


class SchemaMismatch(CIError):
    """The database's schema isn't the one that this version works with; the file was not touched."""


class SchemaOutdated(SchemaMismatch):
    """The database is of an older version; it works again once the controller has upgraded it."""


class EngineUnavailable(CIError):
    """The container engine can't be reached, or a call to it exceeded its time limit."""
