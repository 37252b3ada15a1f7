"""Who is calling: the Bearer key of a request, judged against the database each time.

Nothing is cached, so that a revoked key or a deactivated user is refused at once by every replica.
Keys are found by their visible prefix and compared by their SHA-256 in constant time. That a key was
used is noted in the background, at most once a minute: no request waits for it.
"""

import asyncio
import hmac
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ci_common.api_keys import digest_of, is_well_formed, prefix_of
from ci_common.clock import utc_now
from ci_common.errors import CIError, NotPermitted
from ci_common.ids import KeyId
from ci_common.models import APIKey, StoredKey, User
from ci_common.repository import AccountRepository

USE_RECORDED_EVERY = timedelta(minutes=1)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Credential:
    """What is left of a key once it has been read: enough to judge it again, not to use it."""

    prefix: str
    digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Caller:
    """A user with the key that proved it."""

    user: User
    key: APIKey
    credential: Credential


def credential_in(authorization: str | None) -> Credential:
    """The key in an `Authorization` header.

    Raises:
        NotPermitted: no header, another scheme, or what can't be a key.
    """
    if authorization is None:
        raise NotPermitted("an API key is required, as 'Authorization: Bearer ci_…'")
    scheme, _, text = authorization.strip().partition(" ")
    if scheme.lower() != "bearer":
        raise NotPermitted("an API key is required, as 'Authorization: Bearer ci_…'")
    text = text.strip()
    if not is_well_formed(text):
        raise NotPermitted("the API key is not valid: one has 'ci_' and 43 characters")
    return Credential(prefix=prefix_of(text), digest=digest_of(text))


def judge(candidates: Sequence[StoredKey], credential: Credential, now: datetime) -> Caller:
    """The caller whose key it is, if it is good. Pure.

    Raises:
        NotPermitted: unknown, revoked or expired, or its user is deactivated.
    """
    found: StoredKey | None = None
    for candidate in candidates:
        # All are compared, so that the time taken doesn't tell which one was near.
        if hmac.compare_digest(candidate.digest, credential.digest):
            found = candidate
    if found is None:
        raise NotPermitted("the API key is not valid")
    if not found.key.is_active:
        raise NotPermitted("the API key has been revoked")
    if found.key.expires_at is not None and found.key.expires_at <= now:
        raise NotPermitted("the API key has expired")
    if not found.user.is_active:
        raise NotPermitted("the user has been deactivated")
    return Caller(user=found.user, key=found.key, credential=credential)


class Authenticator:
    """Judges keys; used by every request, and again by open streams."""

    def __init__(
        self,
        accounts: AccountRepository,
        note_use: Callable[[APIKey], None],
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._accounts = accounts
        self._note_use = note_use
        self._now = now

    async def authenticate(self, authorization: str | None) -> Caller:
        """The caller that an `Authorization` header proves.

        Raises:
            NotPermitted: it proves none.
        """
        caller = await self.check(credential_in(authorization))
        self._note_use(caller.key)
        return caller

    async def check(self, credential: Credential) -> Caller:
        """The caller that a key proves at present; it doesn't count as a use.

        Raises:
            NotPermitted: it proves none.
        """
        candidates = await self._accounts.keys_with_prefix(credential.prefix)
        return judge(candidates, credential, self._now())


class KeyUseRecorder:
    """Notes the last use of keys in the background, a key at most once a minute on all replicas."""

    def __init__(self, accounts: AccountRepository, now: Callable[[], datetime] = utc_now) -> None:
        self._accounts = accounts
        self._now = now
        self._noted: dict[KeyId, datetime] = {}
        self._pending: set[KeyId] = set()
        self._wake = asyncio.Event()

    def note(self, key: APIKey) -> None:
        """The key was used just now."""
        now = self._now()
        last = max(filter(None, (self._noted.get(key.id), key.last_used_at)), default=None)
        # A clock that was set back must not keep a key's use from being noted.
        if last is not None and timedelta(0) <= now - last < USE_RECORDED_EVERY:
            return
        self._noted[key.id] = now
        self._pending.add(key.id)
        self._wake.set()

    async def run(self) -> None:
        """Write down what was noted, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            keys, self._pending = sorted(self._pending), set()
            try:
                await self._accounts.record_key_use(keys, self._now())
            except CIError as error:
                # Of interest to people alone; the next use is noted again.
                _log.warning("the use of %d keys could not be recorded: %s", len(keys), error)
