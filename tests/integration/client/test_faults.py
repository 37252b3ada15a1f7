"""Faults between client and server: cuts, proxies, silence, lost answers."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.integration.client.client_command import client_of
from tests.integration.client.scripted_server import (
    GATEWAY_PAGE,
    JOB_ID,
    Exchange,
    Handler,
    complete,
    event,
    job,
    log,
    position_of,
    scripted_server,
)
from tests.integration.client.worker import finished

STREAM = "^GET /jobs/[^/]*/stream$"
SUBMIT = "^POST /submit-async$"


def one_after_the_other(*handlers: Handler) -> Handler:
    """Each request gets the next handler, the last one stays."""
    left = list(handlers)

    async def handle(exchange: Exchange) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(exchange)

    return handle


def page(status: int, body: bytes = GATEWAY_PAGE, **headers: str) -> Handler:
    async def handle(exchange: Exchange) -> None:
        await exchange.answer(status, body, "text/html", **headers)

    return handle


def problem(status: int, detail: str) -> Handler:
    async def handle(exchange: Exchange) -> None:
        await exchange.json(status, {"detail": detail})

    return handle


def cutting_stream(events: list[bytes], cut: Callable[[Exchange, int], Awaitable[bool]]) -> Handler:
    """Sends what is missing, cut as `cut` wants it."""
    count = 0

    async def handle(exchange: Exchange) -> None:
        nonlocal count
        count += 1
        position = position_of(exchange)
        await exchange.begin_events()
        await exchange.send(f"id: {position}\n\n: ping\n\n".encode())
        for part in events[position:]:
            if await cut(exchange, count):
                await exchange.send(part[: count * 7 % len(part)])
                if count % 2:
                    exchange.reset()
                return
            await exchange.send(part)

    return handle


async def test_cuts_anywhere_lose_and_repeat_nothing(home: Path) -> None:
    lines = [f"line {number} ünï\r\n" * 3 for number in range(1, 21)]
    events = [log(number, line) for number, line in enumerate(lines, start=1)] + [complete(21)]

    async def cut(exchange: Exchange, count: int) -> bool:
        sent = getattr(exchange, "sent_events", 0)
        exchange.__dict__["sent_events"] = sent + 1
        return count < 15 and sent >= count % 3

    async with scripted_server({STREAM: cutting_stream(events, cut)}) as server:
        done = await finished(client_of(home, server.url).start("wait", JOB_ID, "--all"))
        assert len(server.made(STREAM)) >= 15
    assert (done.exit_code, done.stdout.decode()) == (0, "".join(lines))


async def test_repeated_events_are_shown_once(home: Path) -> None:
    async def handle(exchange: Exchange) -> None:
        await exchange.begin_events()
        twice = log(1, "one\n") * 2 + log(2, "two\n") + log(1, "one\n") + log(2, "two\n")
        await exchange.send(b"id: 0\n\n" + twice + event(3, "new-kind", x=1) + complete(4))

    async with scripted_server({STREAM: handle}) as server:
        done = await finished(client_of(home, server.url).start("wait", JOB_ID, "--all"))
    assert (done.exit_code, done.stdout) == (0, b"one\ntwo\n")


async def test_a_gap_is_asked_for_again(home: Path) -> None:
    async def gap(exchange: Exchange) -> None:
        await exchange.begin_events()
        await exchange.send(log(1, "one\n") + log(3, "three\n") + complete(4))

    async def rest(exchange: Exchange) -> None:
        assert position_of(exchange) == 1
        await exchange.begin_events()
        await exchange.send(b"id: 1\n\n" + log(2, "two\n") + log(3, "three\n") + complete(4))

    async with scripted_server({STREAM: one_after_the_other(gap, rest)}) as server:
        done = await finished(client_of(home, server.url).start("wait", JOB_ID, "--all"))
    assert (done.exit_code, done.stdout) == (0, b"one\ntwo\nthree\n")


async def test_nonsense_for_events_is_an_internal_error(home: Path) -> None:
    async def handle(exchange: Exchange) -> None:
        await exchange.begin_events()
        await exchange.send(b"id: 1\nevent: log\ndata: {nonsense\n\n")

    async with scripted_server({STREAM: handle}) as server:
        done = await finished(client_of(home, server.url).start("wait", JOB_ID, "--all"))
    assert done.exit_code == 70
    assert f"ci wait {JOB_ID}" in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_gateway_that_finds_nobody_is_tried_again(home: Path, project: Path) -> None:
    async def sound(exchange: Exchange) -> None:
        await exchange.begin_events()
        await exchange.send(b"id: 0\n\n" + log(1, "fine\n") + complete(2))

    handlers = {
        STREAM: one_after_the_other(page(502), page(503, Retry_After="1"), page(504), sound),
        SUBMIT: one_after_the_other(page(502), _accept),
    }
    async with scripted_server(handlers) as server:
        done = await finished(client_of(home, server.url).start("submit", "test", cwd=project))
        keys = {request.headers["idempotency-key"] for request in server.made(SUBMIT)}
    assert (done.exit_code, done.stdout) == (0, b"fine\n")
    assert len(keys) == 1


async def _accept(exchange: Exchange) -> None:
    await exchange.read_body()
    await exchange.json(202, {"job_id": exchange.headers["idempotency-key"], "status": "queued"})


@pytest.mark.parametrize(
    ("handler", "code", "words"),
    [
        (page(413), 69, "client_max_body_size"),
        (page(404), 69, "no ci server"),
        (page(401), 69, "refuses before the ci server is asked"),
        (page(301, b"", Location="https://elsewhere.example/submit"), 69, "redirects to https://elsewhere"),
        (page(200, b"<html>please log in</html>"), 69, "a web page"),
        (problem(413, "larger than 8 GiB"), 64, "larger than 8 GiB"),
        (problem(422, "options: no"), 64, "options: no"),
        (problem(507, "below the reserve"), 69, "no room"),
        (problem(401, "the key is revoked"), 77, "the key is revoked"),
        (problem(500, "internal error"), 70, "internal error"),
    ],
)
async def test_every_other_answer_is_explained_in_one_line(
    home: Path, project: Path, handler: Handler, code: int, words: str
) -> None:
    async def handle(exchange: Exchange) -> None:
        await exchange.read_body()
        await handler(exchange)

    async with scripted_server({SUBMIT: handle}) as server:
        done = await finished(client_of(home, server.url).start("submit", "test", cwd=project))
        assert len(server.made(SUBMIT)) == 1
    assert (done.exit_code, done.stdout) == (code, b"")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


async def test_a_lost_answer_makes_no_second_job(home: Path, project: Path) -> None:
    async def lose(exchange: Exchange) -> None:
        await exchange.read_body()
        exchange.reset()

    async with scripted_server({SUBMIT: one_after_the_other(lose, lose, _accept)}) as server:
        done = await finished(client_of(home, server.url).start("submit", "test", cwd=project))
        keys = [request.headers["idempotency-key"] for request in server.made(SUBMIT)]
        bodies = {request.body.split(b"\r\n", 1)[1] for request in server.made(SUBMIT)}
    assert (done.exit_code, done.stdout) == (0, b"fine\n")
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert len(bodies) == 1


def large(project: Path) -> Path:
    """More than fits into any socket's buffers."""
    with (project / "large.zip").open("wb") as file:
        file.truncate(40 << 20)
    return project


async def test_an_upload_that_is_cut_is_sent_again(home: Path, project: Path) -> None:
    async def cut(exchange: Exchange) -> None:
        await exchange.reader.readexactly(1 << 20)
        exchange.reset()

    async with scripted_server({SUBMIT: one_after_the_other(cut, _accept)}) as server:
        done = await finished(client_of(home, server.url).start("submit", "test", cwd=large(project)))
    assert (done.exit_code, done.stdout) == (0, b"fine\n")
    assert "were sent; sending again" in done.stderr


async def test_an_upload_that_is_always_cut_is_given_up_and_names_the_proxy(
    home: Path, project: Path
) -> None:
    async def cut(exchange: Exchange) -> None:
        await exchange.reader.readexactly(1 << 20)
        exchange.reset()

    async with scripted_server({SUBMIT: cut}) as server:
        done = await finished(client_of(home, server.url).start("submit", "test", cwd=large(project)))
        assert len(server.made(SUBMIT)) == 5
    assert done.exit_code == 69
    assert "no job was made" in done.stderr.splitlines()[-1]
    assert "client_max_body_size" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_while_sending_leaves_nothing(home: Path, project: Path, number: signal.Signals) -> None:
    started = asyncio.Event()
    released = asyncio.Event()

    async def stall(exchange: Exchange) -> None:
        await exchange.reader.readexactly(1 << 20)
        started.set()
        await released.wait()
        await exchange.read_body()

    async with scripted_server({SUBMIT: stall}) as server:
        running = client_of(home, server.url).start("submit", "test", cwd=large(project))
        await started.wait()
        running.send(number)
        done = await finished(running)
        released.set()
        assert server.made("cancel") == []
    assert done.exit_code == 128 + number
    assert done.stderr.splitlines()[-1] == "ci: ✗ cancelled; nothing was submitted"
    assert all(request.body == b"" for request in server.made(SUBMIT))


async def test_ctrl_c_between_body_and_answer_cancels_what_comes_of_it(home: Path, project: Path) -> None:
    received = asyncio.Event()
    released = asyncio.Event()

    async def hold(exchange: Exchange) -> None:
        await exchange.read_body()
        received.set()
        await released.wait()
        await exchange.json(202, {"job_id": exchange.headers["idempotency-key"], "status": "queued"})

    async def cancelled(exchange: Exchange) -> None:
        await exchange.json(200, job("completed", "cancelled"))

    async def ended(exchange: Exchange) -> None:
        await exchange.begin_events()
        await exchange.send(complete(1, "cancelled", None))

    handlers = {
        STREAM: ended,
        SUBMIT: hold,
        "cancel$": one_after_the_other(problem(404, "no such job"), problem(404, "no such job"), cancelled),
    }
    async with scripted_server(handlers) as server:
        running = client_of(home, server.url).start("submit", "test", cwd=project)
        await received.wait()
        running.send(signal.SIGINT)
        await server.until_made("cancel$", 2)
        released.set()
        done = await finished(running)
        assert len(server.made("cancel$")) == 3
    assert done.exit_code == 130
    assert "cancelled" in done.stderr.splitlines()[-1]


async def test_a_cancellation_that_does_not_get_through_is_not_called_one(home: Path, project: Path) -> None:
    async def quiet(exchange: Exchange) -> None:
        await exchange.begin_events()
        await exchange.send(b"id: 0\n\n" + log(1, "on\n"))
        await asyncio.Event().wait()

    async with scripted_server({STREAM: quiet, "cancel$": problem(500, "broken")}) as server:
        running = client_of(home, server.url).start("submit", "test", cwd=project)
        await asyncio.to_thread(running.stdout.wait_for, b"on\n")
        running.send(signal.SIGINT)
        done = await finished(running)
    assert done.exit_code == 70
    assert "cancelled" not in done.stderr.splitlines()[-1]


async def test_a_key_that_is_revoked_meanwhile_ends_the_watching(home: Path) -> None:
    async def cut(exchange: Exchange) -> None:
        await exchange.begin_events()
        await exchange.send(b"id: 0\n\n" + log(1, "one\n"))

    handlers = {STREAM: one_after_the_other(cut, problem(401, "the key is revoked"))}
    async with scripted_server(handlers) as server:
        done = await finished(client_of(home, server.url).start("wait", JOB_ID, "--all"))
    assert (done.exit_code, done.stdout) == (77, b"one\n")
    assert f"ci wait {JOB_ID}" in done.stderr


async def test_an_outage_beyond_patience_names_the_way_back(home: Path) -> None:
    async with scripted_server({STREAM: page(502)}) as server:
        client = client_of(home, server.url, CI_RETRY_SECONDS="2")
        done = await finished(client.start("wait", JOB_ID))
    assert done.exit_code == 69
    assert f"ci wait {JOB_ID}" in done.stderr.splitlines()[-1]
    assert "trying again" in done.stderr


async def test_a_log_that_is_cut_is_read_on_where_it_broke(home: Path) -> None:
    text = "".join(f"line {number} ü\n" for number in range(2000)).encode()

    async def cut(exchange: Exchange) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\n\r\n"
        await exchange.send(head.encode() + text[:7001])
        exchange.reset()

    async def whole(exchange: Exchange) -> None:
        await exchange.answer(200, text, "text/plain; charset=utf-8")

    async with scripted_server({"/logs$": one_after_the_other(cut, cut, whole)}) as server:
        done = await finished(client_of(home, server.url).start("logs", JOB_ID))
    assert (done.exit_code, done.stdout) == (0, text)


async def test_a_list_is_fetched_page_by_page_and_says_that_there_is_more(home: Path) -> None:
    async def some(exchange: Exchange) -> None:
        query = dict(pair.split("=") for pair in exchange.query.split("&"))
        start = int(query["before"][-4:], 16) if "before" in query else 9999
        ids = [f"{JOB_ID[:-4]}{start - 1 - number:04x}" for number in range(int(query["limit"]))]
        await exchange.json(200, [{**job(), "job_id": name} for name in ids])

    async with scripted_server({"^GET /jobs$": some}) as server:
        done = await finished(client_of(home, server.url).start("list", "--limit", "2500"))
        assert len(server.made("^GET /jobs$")) == 3
    lines = done.stdout.decode().splitlines()
    assert len(lines) == 2501
    assert len({line.split()[0] for line in lines}) == 2501
    assert done.stderr == "ci: there are more than 2500; --limit shows more\n"


@pytest.mark.parametrize(
    ("limits", "words"),
    [({"max_upload_bytes": 100}, "the server takes 100 bytes"), ({"max_bundle_entries": 1}, "takes 1;")],
)
async def test_more_than_the_server_takes_is_not_sent(
    home: Path, project: Path, limits: dict[str, int], words: str
) -> None:
    async def me(exchange: Exchange) -> None:
        await exchange.json(200, {"limits": limits})

    async with scripted_server({"^GET /me$": me}) as server:
        done = await finished(client_of(home, server.url).start("submit", "test", cwd=large(project)))
        assert server.made(SUBMIT) == []
    assert done.exit_code == 64
    assert words in done.stderr
