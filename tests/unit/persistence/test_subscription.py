import asyncio

from ci_common.ids import JobId
from ci_persistence.subscription import Subscription, Wake

A, B = JobId("a"), JobId("b")


def _subscription() -> Subscription:
    return Subscription(None, lambda _: None)


async def test_what_came_before_the_wait_is_told() -> None:
    subscription = _subscription()
    subscription.tell([A])
    subscription.tell([B])
    assert await subscription.wait(60) == Wake(frozenset({A, B}))


async def test_news_is_told_once() -> None:
    subscription = _subscription()
    subscription.tell([A])
    subscription.tell_everything()
    assert await subscription.wait(60) == Wake(frozenset({A}), everything=True)
    assert await subscription.wait(0) == Wake()


async def test_a_waiter_is_woken() -> None:
    subscription = _subscription()
    waiter = asyncio.create_task(subscription.wait(60))
    await asyncio.sleep(0)
    subscription.tell([A])
    assert await waiter == Wake(frozenset({A}))


async def test_a_cancelled_wait_loses_nothing() -> None:
    subscription = _subscription()
    waiter = asyncio.create_task(subscription.wait(60))
    await asyncio.sleep(0)
    subscription.tell([A])
    waiter.cancel()
    await asyncio.wait([waiter])
    assert waiter.cancelled()
    assert await subscription.wait(60) == Wake(frozenset({A}))


def test_closing_tells_the_feed() -> None:
    closed: list[Subscription] = []
    subscription = Subscription(A, closed.append)
    subscription.close()
    assert closed == [subscription]
