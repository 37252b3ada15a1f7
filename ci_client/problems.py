"""What ends a command of `ci`, each kind with its exit code, and how it is put into one line.

    CIError
    └── ClientError            anything that ends the command: one line, one exit code
        ├── BadUse             64: the command, the settings or the project's layout
        │   └── ContentsMissing    a submission names what the server hasn't got: send all of it
        ├── NoSuchJob          66: none, or somebody else's
        ├── Unreachable        69: no answer, or one that isn't the server's
        │   └── Transient      may go away by itself: whoever can, tries again
        ├── InternalFault      70
        ├── KeyRefused         77
        └── OutputClosed       141: whoever read our output has left
            └── ReaderLeft     in the middle of an answer, which needs no words

Messages name the cause and the next step; they are shown as they are.
"""

from typing import ClassVar

from ci_common.errors import CIError
from ci_common.exit_codes import (
    EXIT_BAD_USE,
    EXIT_INTERNAL,
    EXIT_NO_SUCH_JOB,
    EXIT_NOT_PERMITTED,
    EXIT_UNREACHABLE,
)

EXIT_OUTPUT_CLOSED = 141
"""What a shell gives for a process that SIGPIPE has ended."""


class ClientError(CIError):
    """Ends the command with one line on stderr."""

    exit_code: ClassVar[int] = EXIT_INTERNAL


class BadUse(ClientError):
    """The command line, a setting, or the project can't be used as it is."""

    exit_code = EXIT_BAD_USE


class ContentsMissing(BadUse):
    """The server hasn't got contents that a submission names; all of it must be sent."""


class NoSuchJob(ClientError):
    """There is no such job, or it is somebody else's."""

    exit_code = EXIT_NO_SUCH_JOB


class Unreachable(ClientError):
    """The server doesn't answer, or something else answers in its place."""

    exit_code = EXIT_UNREACHABLE


class Transient(Unreachable):
    """It may work in a moment."""

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        """How long the server asks to be left alone, where it does."""


class InternalFault(ClientError):
    """The platform itself is at fault."""


class KeyRefused(ClientError):
    """The key is missing, wrong, revoked or expired."""

    exit_code = EXIT_NOT_PERMITTED


class OutputClosed(ClientError):
    """Nobody reads stdout any more."""

    exit_code = EXIT_OUTPUT_CLOSED


class ReaderLeft(OutputClosed):
    """Nobody reads on, and nothing goes on without a reader."""


def cause_of(error: OSError) -> str:
    """The system's own words, without the number and the path around them."""
    return error.strerror or str(error) or type(error).__name__
