"""What an API key looks like and how it is kept: made by `ci-admin`, judged by the server.

`ci_` and 43 characters of URL-safe base64, which are 256 random bits. Only the SHA-256 of the whole
text is stored; random keys need no slow hash. The prefix, the first characters behind `ci_`, is
stored in clear: it finds the row, and people tell keys apart by it.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass, field

KEY_MARK = "ci_"
_RANDOM_BYTES = 32
_PREFIX_CHARACTERS = 8
_SHAPE = re.compile(r"ci_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made: the one moment at which its text is known."""

    text: str = field(repr=False)
    prefix: str
    digest: bytes = field(repr=False)


def new_key() -> NewKey:
    """A fresh random key."""
    text = KEY_MARK + secrets.token_urlsafe(_RANDOM_BYTES)
    return NewKey(text=text, prefix=prefix_of(text), digest=digest_of(text))


def is_well_formed(text: str) -> bool:
    """Whether `text` could be a key at all; what isn't need not be looked up."""
    return _SHAPE.fullmatch(text) is not None


def prefix_of(text: str) -> str:
    """The part of a key that is stored and shown in clear, without `ci_`."""
    start = len(KEY_MARK)
    return text[start : start + _PREFIX_CHARACTERS]


def digest_of(text: str) -> bytes:
    """SHA-256 of a key's text, as stored."""
    return hashlib.sha256(text.encode()).digest()
