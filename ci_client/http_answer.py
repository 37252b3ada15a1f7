"""HTTP/1.1 answers, read from a stream of bytes. Pure but for the `receive` that it is given.

Takes what RFC 9112 lets a server send to a client that has asked for one thing without conditions:
interim answers, then a body of announced length, in chunks, or up to the connection's end. Lengths are
bounded, so that a stranger on the port costs no memory.
"""

import re
from collections.abc import Callable, Iterator, Mapping

Receive = Callable[[], bytes]
"""The next bytes of the connection; none at its end."""

_LONGEST_HEAD_BYTES = 128 << 10
_LONGEST_LINE_BYTES = 16 << 10
_MOST_INTERIM_ANSWERS = 10
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: .*)?")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")
_BODILESS = frozenset({204, 304})


class NotHttp(ValueError):
    """What came is no answer."""


class CutOff(Exception):
    """The connection has ended in the middle."""


class HttpAnswer:
    """One answer; `pieces` may be read once."""

    def __init__(self, receive: Receive) -> None:
        """Read its head.

        Raises:
            NotHttp: it is none.
            CutOff: the connection ended before.
        """
        self._receive = receive
        self._buffer = b""
        self._at = 0
        """What lies before it in the buffer has been read."""
        self.status = 0
        self.headers: Mapping[str, str] = {}
        for _ in range(_MOST_INTERIM_ANSWERS):
            is_newest_version = self._read_head()
            if self.status >= 200:
                break
        else:
            raise NotHttp("interim answers without an end")
        says_close = "close" in self.headers.get("connection", "").lower()
        self.is_complete = False
        """Whether the body was read to its end, and nothing came behind it."""
        self._stays_open = is_newest_version and not says_close

    @property
    def may_go_on(self) -> bool:
        """Whether the connection can carry another exchange."""
        return self.is_complete and self._stays_open

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes.

        Raises:
            NotHttp: its framing is broken.
            CutOff: it has an end, which didn't come.
        """
        encoding = self.headers.get("transfer-encoding")
        length = self.headers.get("content-length")
        if self.status in _BODILESS:
            body: Iterator[bytes] = iter(())
        elif encoding is not None:
            if encoding.lower() != "chunked":
                raise NotHttp(f"the transfer encoding {encoding!r}")
            body = self._chunks()
        elif length is not None:
            if not (length.isascii() and length.isdecimal() and len(length) < 20):
                raise NotHttp(f"the length {length!r}")
            body = self._exactly(int(length))
        else:
            self._stays_open = False
            body = self._until_end()
        yield from body
        self.is_complete = self._at == len(self._buffer)

    def _read_head(self) -> bool:
        first, *lines = self._up_to(b"\r\n\r\n", _LONGEST_HEAD_BYTES).split(b"\r\n")
        status_line = _STATUS_LINE.fullmatch(first)
        if status_line is None:
            raise NotHttp(repr(first[:40]))
        self.status = int(status_line[2])
        self.headers = _headers(lines)
        return status_line[1] == b"1"

    def _up_to(self, end_mark: bytes, longest_bytes: int) -> bytes:
        """What comes before `end_mark`, which is taken away too."""
        while (end := self._buffer.find(end_mark, self._at)) < 0:
            came_bytes = len(self._buffer) - self._at
            if came_bytes > longest_bytes:
                raise NotHttp("a line or head without an end")
            if not self.status and not b"HTTP/1.".startswith(self._buffer[:7]):
                raise NotHttp(repr(self._buffer[:40]))
            self._read_on()
        found = self._buffer[self._at : end]
        self._at = end + len(end_mark)
        return found

    def _read_on(self) -> None:
        piece = self._receive()
        if not piece:
            raise CutOff
        self._buffer = self._buffer[self._at :] + piece
        self._at = 0

    def _some(self, most_bytes: int) -> bytes:
        """What has come and isn't read yet, at least one byte."""
        if self._at == len(self._buffer):
            self._read_on()
        piece = self._buffer[self._at : self._at + most_bytes]
        self._at += len(piece)
        return piece

    def _exactly(self, left: int) -> Iterator[bytes]:
        while left:
            piece = self._some(left)
            left -= len(piece)
            yield piece

    def _until_end(self) -> Iterator[bytes]:
        if self._at < len(self._buffer):
            yield self._some(len(self._buffer))
        while piece := self._receive():
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while True:
            size = self._line().partition(b";")[0].strip()
            if not _CHUNK_SIZE.fullmatch(size):
                raise NotHttp(f"a chunk of {size[:20]!r}")
            if not int(size, 16):
                break
            yield from self._exactly(int(size, 16))
            if self._line():
                raise NotHttp("a chunk that is longer than announced")
        trailer_bytes = 0
        while line := self._line():
            trailer_bytes += len(line)
            if trailer_bytes > _LONGEST_HEAD_BYTES:
                raise NotHttp("a trailer without an end")

    def _line(self) -> bytes:
        return self._up_to(b"\r\n", _LONGEST_LINE_BYTES)


def _headers(lines: list[bytes]) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not name or name != name.strip():
            raise NotHttp(f"the header {line[:40]!r}")
        name = name.lower()
        value = value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
