from datetime import UTC, datetime, timedelta

import pytest

from ci_common.clock import utc_now
from ci_common.errors import AlreadyExists, NotFound
from ci_common.ids import new_key_id, new_user_id
from ci_common.models import JobStatus, Outcome, Reason
from ci_common.repository import Repository
from tests.contract.world import World, another_user, nothing


async def test_user_is_found_by_id_and_by_email(repository: Repository) -> None:
    user = await repository.create_user("Ada", "Ada@Example.org")
    assert user.is_active
    assert await repository.get_user(user.id) == user
    assert await repository.get_user_by_email("ada@example.ORG") == user
    assert user.email == "Ada@Example.org"


@pytest.mark.parametrize("email", ["ada@example.org", "ADA@EXAMPLE.ORG", "Äda@example.org"])
async def test_email_that_exists_is_refused_in_any_case(repository: Repository, email: str) -> None:
    await repository.create_user("Ada", "ada@example.org")
    await repository.create_user("Ada", "äda@example.org")
    with pytest.raises(AlreadyExists):
        await repository.create_user("Another", email)
    assert len(await repository.list_users()) == 2


async def test_users_are_listed_oldest_first(repository: Repository) -> None:
    users = [await repository.create_user(name, f"{name}@example.org") for name in ("c", "a", "b")]
    assert list(await repository.list_users()) == users


async def test_unknown_users_are_not_found(repository: Repository) -> None:
    with pytest.raises(NotFound):
        await repository.get_user(new_user_id())
    with pytest.raises(NotFound):
        await repository.get_user_by_email("nobody@example.org")
    with pytest.raises(NotFound):
        await repository.set_user_active(new_user_id(), False)
    with pytest.raises(NotFound):
        await repository.create_key(new_user_id(), "k", "prefix", b"d", None)


async def test_key_is_stored_with_owner_and_digest(world: World) -> None:
    expires_at = datetime(2030, 1, 2, tzinfo=UTC)
    key = await world.repository.create_key(world.user_id, "ci", "prefix", b"\xff" * 32, expires_at)
    (stored,) = await world.repository.keys_with_prefix("prefix")
    assert stored.key == key
    assert stored.digest == b"\xff" * 32
    assert stored.user == await world.repository.get_user(world.user_id)
    assert (key.is_active, key.last_used_at, key.expires_at) == (True, None, expires_at)
    assert "\\xff" not in repr(stored)


async def test_keys_that_share_a_prefix_are_all_candidates(world: World) -> None:
    first = await world.repository.create_key(world.user_id, "a", "same", b"1", None)
    second = await world.repository.create_key(world.user_id, "b", "same", b"2", None)
    await world.repository.revoke_key(first.id)
    candidates = await world.repository.keys_with_prefix("same")
    assert {stored.key.id for stored in candidates} == {first.id, second.id}
    assert await world.repository.keys_with_prefix("sam") == []


async def test_keys_of_one_user_or_of_all(world: World) -> None:
    other = await another_user(world)
    mine = await world.repository.list_keys(world.user_id)
    everybodys = await world.repository.list_keys(None)
    assert [stored.key.id for stored in mine] == [world.key_id]
    assert [stored.key.id for stored in everybodys] == [world.key_id, other.key_id]
    assert await world.repository.list_keys(new_user_id()) == []


async def test_revoking_twice_is_no_error_and_leaves_jobs(world: World) -> None:
    job = await world.running()
    for _ in range(2):
        assert not (await world.repository.revoke_key(world.key_id)).is_active
    (stored,) = await world.repository.list_keys(world.user_id)
    assert not stored.key.is_active
    assert await world.repository.get_job(job.id) == job


async def test_unknown_key_is_not_found(repository: Repository) -> None:
    with pytest.raises(NotFound):
        await repository.revoke_key(new_key_id())


async def test_key_use_is_recorded_and_never_goes_back(world: World) -> None:
    now = utc_now()
    await world.repository.record_key_use([world.key_id, new_key_id()], now)
    await world.repository.record_key_use([world.key_id], now - timedelta(minutes=1))
    (stored,) = await world.repository.list_keys(world.user_id)
    assert stored.key.last_used_at == now


async def test_deactivating_cancels_what_is_unfinished(world: World) -> None:
    other = await another_user(world)
    theirs = await other.queued()
    queued, running = await world.queued(), await world.running()
    done = await world.queued()
    await world.repository.request_cancel(done.id, Reason.CANCELLED_BY_USER)

    user = await world.repository.set_user_active(world.user_id, False)

    assert not user.is_active
    ended = await world.repository.get_job(queued.id)
    assert (ended.status, ended.outcome) == (JobStatus.COMPLETED, Outcome.CANCELLED)
    assert ended.reason is Reason.USER_DEACTIVATED
    marked = await world.repository.get_job(running.id)
    assert (marked.status, marked.cancel_reason) == (JobStatus.RUNNING, Reason.USER_DEACTIVATED)
    assert (await world.repository.get_job(done.id)).reason is Reason.CANCELLED_BY_USER
    assert await world.repository.get_job(theirs.id) == theirs


async def test_activated_again_a_user_may_submit(world: World) -> None:
    await world.repository.set_user_active(world.user_id, False)
    assert (await world.repository.set_user_active(world.user_id, True)).is_active
    _, made = await world.repository.submit(world.submission(), nothing)
    assert made
