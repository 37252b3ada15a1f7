import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from ci_common.api_keys import NewKey, digest_of, is_well_formed, new_key, prefix_of
from ci_common.errors import NotPermitted, StorageBusy
from ci_common.ids import KeyId
from ci_common.models import APIKey, StoredKey
from ci_server.auth import (
    USE_RECORDED_EVERY,
    Authenticator,
    Credential,
    KeyUseRecorder,
    credential_in,
    judge,
)
from tests.fakes.memory_repository import MemoryRepository

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
A_KEY = "ci_" + "k" * 43


async def with_key(
    repository: MemoryRepository, expires_at: datetime | None = None
) -> tuple[NewKey, Credential, StoredKey]:
    key = new_key()
    user = await repository.create_user("ann", f"{key.prefix}@example.org")
    await repository.create_key(user.id, "laptop", key.prefix, key.digest, expires_at)
    (stored,) = await repository.keys_with_prefix(key.prefix)
    return key, Credential(key.prefix, key.digest), stored


def test_new_keys_have_the_promised_form() -> None:
    keys = [new_key() for _ in range(100)]
    assert len({key.text for key in keys}) == 100
    for key in keys:
        assert key.text.startswith("ci_")
        assert is_well_formed(key.text)
        assert len(key.text) == 3 + 43
        assert key.prefix == prefix_of(key.text) == key.text[3:11]
        assert key.digest == digest_of(key.text)
        assert len(key.digest) == 32
        assert key.text not in repr(key)


@pytest.mark.parametrize("text", ["", "ci_", "x", "ci_" + "a" * 42, "ci_" + "a" * 44, "ci_" + "ä" * 43])
def test_what_is_no_key_is_told_by_its_form(text: str) -> None:
    assert not is_well_formed(text)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic x", "Bearer x", f"Basic {A_KEY}", A_KEY])
def test_a_header_without_a_key_proves_nothing(header: str | None) -> None:
    with pytest.raises(NotPermitted):
        credential_in(header)


def test_a_header_with_a_key_is_read() -> None:
    key = new_key()
    for header in (f"Bearer {key.text}", f"bearer   {key.text}", f" BEARER {key.text} "):
        assert credential_in(header) == Credential(key.prefix, key.digest)


async def test_a_good_key_proves_its_user() -> None:
    _, credential, stored = await with_key(MemoryRepository())
    caller = judge([stored], credential, NOON)
    assert (caller.user, caller.key) == (stored.user, stored.key)


async def test_a_shared_prefix_is_no_proof() -> None:
    _, credential, stored = await with_key(MemoryRepository())
    other = Credential(credential.prefix, digest_of("ci_other"))
    with pytest.raises(NotPermitted, match="not valid"):
        judge([stored], other, NOON)
    with pytest.raises(NotPermitted, match="not valid"):
        judge([], credential, NOON)


async def test_of_several_with_one_prefix_the_right_one_is_found() -> None:
    repository = MemoryRepository()
    stored = [await with_key(repository) for _ in range(3)]
    for _, credential, expected in stored:
        assert judge([one for _, _, one in stored], credential, NOON).key == expected.key


async def test_revoked_expired_and_deactivated_are_refused_each_with_its_reason() -> None:
    repository = MemoryRepository()
    authenticator = Authenticator(repository, lambda _: None, lambda: NOON)
    _, revoked, stored = await with_key(repository)
    await authenticator.check(revoked)
    await repository.revoke_key(stored.key.id)
    _, expired, _ = await with_key(repository, expires_at=NOON)
    _, deactivated, stored = await with_key(repository)
    await repository.set_user_active(stored.user.id, is_active=False)
    for credential, reason in ((revoked, "revoked"), (expired, "expired"), (deactivated, "deactivated")):
        with pytest.raises(NotPermitted, match=reason):
            await authenticator.check(credential)
    _, lasting, _ = await with_key(repository, expires_at=NOON + timedelta(seconds=1))
    await authenticator.check(lasting)


async def test_only_a_request_counts_as_a_use() -> None:
    repository = MemoryRepository()
    used: list[KeyId] = []
    authenticator = Authenticator(repository, lambda key: used.append(key.id))
    key, credential, stored = await with_key(repository)
    await authenticator.check(credential)
    assert used == []
    await authenticator.authenticate(f"Bearer {key.text}")
    assert used == [stored.key.id]


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


class Noting(MemoryRepository):
    """Says which uses were written, and fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[Sequence[KeyId]] = []
        self.is_busy = False
        self.asked = asyncio.Event()

    async def record_key_use(self, key_ids: Sequence[KeyId], moment: datetime) -> None:
        self.asked.set()
        if self.is_busy:
            raise StorageBusy("locked")
        await super().record_key_use(key_ids, moment)
        self.written.append(key_ids)


async def uses_written(repository: Noting, recorder: KeyUseRecorder, *keys: APIKey) -> None:
    repository.asked.clear()
    for key in keys:
        recorder.note(key)
    await repository.asked.wait()


async def test_uses_are_written_together_and_at_most_once_a_minute() -> None:
    repository, clock = Noting(), Clock()
    recorder = KeyUseRecorder(repository, clock)
    (_, _, first), (_, _, second) = [await with_key(repository) for _ in range(2)]
    running = asyncio.create_task(recorder.run())
    await uses_written(repository, recorder, first.key, second.key, first.key)
    clock.now += USE_RECORDED_EVERY - timedelta(seconds=1)
    recorder.note(first.key)
    clock.now += timedelta(seconds=1)
    await uses_written(repository, recorder, first.key)
    running.cancel()
    assert repository.written == [sorted([first.key.id, second.key.id]), [first.key.id]]


async def test_what_another_replica_wrote_is_not_written_again() -> None:
    repository, clock = Noting(), Clock()
    recorder = KeyUseRecorder(repository, clock)
    _, credential, stored = await with_key(repository)
    await repository.record_key_use([stored.key.id], NOON - timedelta(seconds=30))
    repository.written.clear()
    (seen,) = await repository.keys_with_prefix(credential.prefix)
    _, _, other = await with_key(repository)
    running = asyncio.create_task(recorder.run())
    await uses_written(repository, recorder, seen.key, other.key)
    running.cancel()
    assert repository.written == [[other.key.id]]


async def test_a_clock_that_was_set_back_does_not_stop_it() -> None:
    repository, clock = Noting(), Clock()
    recorder = KeyUseRecorder(repository, clock)
    _, _, stored = await with_key(repository)
    running = asyncio.create_task(recorder.run())
    await uses_written(repository, recorder, stored.key)
    clock.now -= timedelta(hours=1)
    await uses_written(repository, recorder, stored.key)
    running.cancel()
    assert len(repository.written) == 2


async def test_a_busy_database_does_not_end_it() -> None:
    repository = Noting()
    recorder = KeyUseRecorder(repository, lambda: NOON)
    (_, _, first), (_, _, second) = [await with_key(repository) for _ in range(2)]
    running = asyncio.create_task(recorder.run())
    repository.is_busy = True
    await uses_written(repository, recorder, first.key)
    repository.is_busy = False
    await uses_written(repository, recorder, second.key)
    running.cancel()
    assert repository.written == [[second.key.id]]
