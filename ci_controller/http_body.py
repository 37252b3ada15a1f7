"""Two wrappings that the engine puts around a container's output, taken off without doing any I/O.

Outermost HTTP's chunked coding, in it frames of an 8-byte head (stream number, three zeros, length) and
a payload. Both decoders take pieces cut anywhere and give what is whole, in one go for each piece.
"""

from typing import Final

STDOUT: Final = 1

_HEAD_BYTES = 8
_LARGEST_SIZE_LINE = 1024


class MalformedBody(ValueError):
    """What came is not in the coding that was announced."""


class ChunkedBody:
    """Undoes `Transfer-Encoding: chunked`."""

    def __init__(self) -> None:
        self._rest = b""
        self._missing = 0
        """Bytes of the present chunk, with the line end behind it, that have yet to come."""
        self.finished = False
        """The closing chunk has come; what follows it is of no interest."""

    def feed(self, data: bytes) -> bytes:
        """The payload in `data`.

        Raises:
            MalformedBody: this is not chunked coding.
        """
        if self._rest:
            data, self._rest = self._rest + data, b""
        parts: list[bytes] = []
        at, end = 0, len(data)
        while at < end and not self.finished:
            if self._missing == 0:
                line_end = data.find(b"\r\n", at)
                if line_end < 0:
                    self._rest = self._unfinished_line(data[at:])
                    break
                size = self._size(data[at:line_end])
                at = line_end + 2
                if size == 0:
                    self.finished = True
                else:
                    self._missing = size + 2
                continue
            taken = min(end - at, self._missing)
            payload_left = self._missing - 2
            if payload_left > 0:
                parts.append(data[at : at + min(taken, payload_left)])
            self._missing -= taken
            at += taken
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @staticmethod
    def _unfinished_line(text: bytes) -> bytes:
        if len(text) > _LARGEST_SIZE_LINE:
            raise MalformedBody("a chunk's size line has no end")
        return text

    @staticmethod
    def _size(line: bytes) -> int:
        digits = line.partition(b";")[0].strip()
        try:
            size = int(digits, 16)
        except ValueError:
            raise MalformedBody(f"{digits[:40]!r} is no chunk size") from None
        if size < 0:
            raise MalformedBody(f"{digits[:40]!r} is no chunk size")
        return size


class Demultiplexer:
    """Takes the payload of one stream (None: of all) out of the engine's frames; drops the rest."""

    def __init__(self, stream: int | None = STDOUT) -> None:
        self._stream = stream
        self._head = b""
        self._missing = 0
        self._wanted = False

    def feed(self, data: bytes) -> bytes:
        """The stream's payload in `data`, of unfinished frames too.

        Raises:
            MalformedBody: this is not the engine's framing.
        """
        if self._head:
            data, self._head = self._head + data, b""
        parts: list[bytes] = []
        at, end = 0, len(data)
        while at < end:
            if self._missing == 0:
                if end - at < _HEAD_BYTES:
                    self._head = data[at:]
                    break
                if data[at] > 3 or data[at + 1 : at + 4] != b"\0\0\0":
                    raise MalformedBody(f"{data[at : at + _HEAD_BYTES]!r} is no frame's head")
                self._wanted = self._stream is None or data[at] == self._stream
                self._missing = int.from_bytes(data[at + 4 : at + _HEAD_BYTES], "big")
                at += _HEAD_BYTES
                continue
            taken = min(end - at, self._missing)
            if self._wanted:
                parts.append(data[at : at + taken])
            self._missing -= taken
            at += taken
        return parts[0] if len(parts) == 1 else b"".join(parts)
