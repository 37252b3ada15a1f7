import asyncio
import hashlib
import itertools
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from ci_controller.engine_errors import FeedFailed
from tests.integration.engine.bench import Bench, docker, program, until

LINES = b"".join(b"%07d %b\n" % (number, b"x" * 90) for number in range(100_000))


async def test_output_is_exact_live_and_again_later_without_stderr(bench: Bench) -> None:
    source = """
import sys
for number in range(100_000):
    print(f"{number:07d} " + "x" * 90)
    if number % 10_000 == 0:
        print("not this", file=sys.stderr)
"""
    container = await bench.started(source)
    assert await bench.output(container) == LINES
    assert await bench.output(container) == LINES
    assert (await bench.ended(container)).exit_code == 0


async def test_a_line_arrives_while_the_container_runs_on(bench: Bench) -> None:
    container = await bench.started("import sys\nprint('first', flush=True)\nimport time\ntime.sleep(600)")
    async with aclosing(bench.manager.follow(container)) as log:
        assert await until(log, b"first") == b"first\n"
    assert not (await bench.seen(container, lambda _: True)).status.has_ended


async def test_a_reader_that_stands_still_holds_nobody_up(bench: Bench) -> None:
    source = """
import sys
line = "x" * 999 + "\\n"
for _ in range(30_000):
    sys.stdout.write(line)
"""
    container = await bench.started(source)
    async with aclosing(bench.manager.follow(container)) as log:
        size = len(await anext(log))
        assert (await bench.ended(container)).exit_code == 0
        async for piece in log:
            size += len(piece)
    assert size == 30_000_000


async def test_following_what_was_never_started_ends_or_waits_but_gives_nothing(bench: Bench) -> None:
    container = await bench.manager.create(bench.request())
    async with aclosing(bench.manager.follow(container)) as log:
        reading = asyncio.ensure_future(anext(log, b""))
        await bench.manager.remove(container)
        assert await reading == b""


async def test_a_cancelled_reader_lets_go_at_once(bench: Bench) -> None:
    container = await bench.started("print('ready', flush=True)\nimport time\ntime.sleep(600)")
    ready = asyncio.Event()

    async def read() -> None:
        async with aclosing(bench.manager.follow(container)) as log:
            async for _ in log:
                ready.set()

    reading = asyncio.create_task(read())
    await ready.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await bench.manager.remove(container)


async def test_all_that_is_fed_arrives_and_stdin_then_ends(bench: Bench) -> None:
    data = hashlib.shake_128(b"files").digest(5_000_000)
    source = "import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())"
    container = await bench.started(source, data)
    assert (await bench.output(container)).decode().strip() == hashlib.sha256(data).hexdigest()


async def test_what_a_slow_container_has_not_read_yet_is_not_lost(bench: Bench) -> None:
    """The feeder is long gone when the container begins to read."""
    source = """
import hashlib, os, sys
while not os.path.exists("/tmp/go"):
    pass
print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())
"""
    data = hashlib.shake_128(b"files").digest(100_000)
    container = await bench.started(source, data)
    docker("exec", container, "touch", "/tmp/go")
    assert (await bench.output(container)).decode().strip() == hashlib.sha256(data).hexdigest()


async def test_a_source_that_fails_fails_the_feeding_and_ends_stdin(bench: Bench) -> None:
    container = await bench.manager.create(bench.request())
    await bench.manager.start(container)

    def source() -> Iterator[bytes]:
        yield program("import sys; print(len(sys.stdin.buffer.read()))")
        yield b"x" * 3_000_000
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await bench.manager.feed(container, source())
    assert int(await bench.output(container)) <= 3_000_000


async def test_nobody_continues_what_an_earlier_feeder_began(bench: Bench) -> None:
    container = await bench.started(
        "import sys, time; print(len(sys.stdin.buffer.read()), flush=True); time.sleep(600)", b"abc"
    )
    async with aclosing(bench.manager.follow(container)) as log:
        assert await until(log, b"\n") == b"3\n"
    with pytest.raises(FeedFailed):
        await bench.manager.feed(container, iter([b"more" * 100_000]))


async def test_a_container_that_takes_nothing_fails_the_feeding_in_time(bench: Bench) -> None:
    container = await bench.manager.create(bench.request())
    await bench.manager.start(container)
    endless = (b"x" * 65_536 for _ in range(1_000))
    with pytest.raises(FeedFailed, match="took nothing"):
        await bench.manager.feed(container, prepend(program("import time; time.sleep(600)"), endless))


async def test_what_has_ended_or_is_gone_can_not_be_fed(bench: Bench) -> None:
    _, view = await bench.run("pass")
    with pytest.raises(FeedFailed):
        await bench.manager.feed(view.id, (b"x" * 65_536 for _ in range(100)))
    await bench.manager.remove(view.id)
    with pytest.raises(FeedFailed, match="gone"):
        await bench.manager.feed(view.id, iter([b"x"]))


async def test_a_cancelled_feeding_ends_stdin_and_leaves_the_source_alone(bench: Bench) -> None:
    container = await bench.manager.create(bench.request())
    await bench.manager.start(container)
    taken = asyncio.Event()
    loop = asyncio.get_running_loop()

    def source() -> Iterator[bytes]:
        yield program("import sys; sys.stdin.buffer.read(); print('ended')")
        for number in itertools.count():
            yield b"x" * 65_536
            if number == 100:
                loop.call_soon_threadsafe(taken.set)

    stream = source()
    feeding = asyncio.create_task(bench.manager.feed(container, stream))
    await taken.wait()
    feeding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await feeding
    next(stream)
    assert await bench.output(container) == b"ended\n"


async def test_starts_and_ends_are_told_while_watching(bench: Bench) -> None:
    async with aclosing(bench.manager.engine_events()) as events:
        container = await bench.started("pass")
        await bench.ended(container)
        await bench.manager.remove(container)
        told = 0
        while told < 3:
            told += await anext(events) == container


def prepend(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
