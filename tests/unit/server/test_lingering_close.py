import asyncio
from collections.abc import Iterable

from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from ci_server.lingering_close import LingeringClose


class Exchange:
    """One request, a body in pieces, and what was answered when."""

    def __init__(self, body: Iterable[bytes], headers: list[tuple[bytes, bytes]]) -> None:
        self.body = list(body)
        self.headers = headers
        self.happened: list[str] = []
        self.started: Message = {}

    async def receive(self) -> Message:
        if not self.body:
            await asyncio.Event().wait()
        piece = self.body.pop(0)
        self.happened.append(f"read {len(piece)}")
        return {"type": "http.request", "body": piece, "more_body": bool(self.body)}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = message
            self.happened.append("start")
        else:
            self.happened.append("more" if message.get("more_body") else "end")

    async def run(self, status: int, *, reads_body: bool = False) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            while reads_body and (await receive())["more_body"]:
                pass
            await PlainTextResponse("answer", status_code=status)(scope, receive, send)

        scope: Scope = {"type": "http", "method": "POST", "path": "/", "headers": self.headers}
        await LingeringClose(app, idle_seconds=0.05)(scope, self.receive, self.send)

    def closes(self) -> bool:
        return (b"connection", b"close") in self.started["headers"]


LENGTH = [(b"content-length", b"100")]


async def test_an_early_refusal_is_sent_whole_before_the_rest_is_read() -> None:
    exchange = Exchange([b"1", b"22", b"333"], LENGTH)
    await exchange.run(401)
    assert exchange.happened == ["start", "more", "read 1", "read 2", "read 3", "end"]
    assert exchange.closes()


async def test_a_body_without_end_is_read_in_part_only() -> None:
    exchange = Exchange((bytes(16 << 20) for _ in range(20)), [(b"transfer-encoding", b"chunked")])
    await exchange.run(413)
    assert exchange.happened == ["start", "more", *["read 16777216"] * 4, "end"]


async def test_a_client_that_waits_to_be_told_is_not_waited_for() -> None:
    exchange = Exchange([b"1"], [*LENGTH, (b"expect", b"100-continue")])
    await exchange.run(401)
    assert exchange.happened == ["start", "more", "end"]


async def test_a_refusal_behind_the_body_keeps_the_connection() -> None:
    exchange = Exchange([b"1", b"2"], LENGTH)
    await exchange.run(400, reads_body=True)
    assert exchange.happened == ["read 1", "read 1", "start", "end"]
    assert not exchange.closes()


async def test_what_has_no_body_or_succeeds_passes_untouched() -> None:
    for headers, status in (([], 404), ([(b"content-length", b"0")], 404), (LENGTH, 200)):
        exchange = Exchange([b"1"], headers)
        await exchange.run(status)
        assert exchange.happened == ["start", "end"]
        assert not exchange.closes()


async def test_a_client_that_falls_silent_is_not_waited_for_long() -> None:
    exchange = Exchange([], LENGTH)
    await exchange.run(401)
    assert exchange.happened == ["start", "more", "end"]
