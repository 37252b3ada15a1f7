"""Many readers of one job's events in one process that does almost nothing else.

    python -m benchmarks.sse_load HOST PORT JOB STREAMS SECONDS       (the key comes in CI_API_KEY)

opens the streams, says `open` on stdout when each has begun, collects for that long what comes and when,
says `read`, waits for a line on stdin, and says as JSON how late the lines were. One thread and the kernel's
own poll; nothing is parsed until all has come, so that the readers don't take the processor from the server
that they measure.
"""

import json
import os
import re
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field

from benchmarks.samples import percentile

_PIECE_BYTES = 1 << 16
_TICK = re.compile(rb"@(\d+) \d+")
_CONNECTING_AT_ONCE = 50
_READY_SECONDS = 60.0


@dataclass(slots=True)
class _Stream:
    connection: socket.socket
    pieces: list[tuple[int, bytes]] = field(default_factory=list[tuple[int, bytes]])


def main(arguments: list[str]) -> int:
    """Do it."""
    host, port, job_id, count, seconds = arguments
    key = os.environ["CI_API_KEY"]
    request = (
        f"GET /jobs/{job_id}/stream?from_beginning=false HTTP/1.1\r\nHost: {host}\r\n"
        f"Authorization: Bearer {key}\r\nAccept: text/event-stream\r\n\r\n"
    ).encode()
    selector = selectors.DefaultSelector()
    streams: list[_Stream] = []
    for number in range(int(count)):
        connection = socket.create_connection((host, int(port)))
        connection.sendall(request)
        streams.append(_Stream(connection))
        selector.register(connection, selectors.EVENT_READ, streams[-1])
        if number % _CONNECTING_AT_ONCE == 0:
            _collect(selector, time.monotonic() + 0.01)
    deadline = time.monotonic() + _READY_SECONDS
    while not all(stream.pieces for stream in streams):
        if time.monotonic() > deadline:
            return 1
        _collect(selector, time.monotonic() + 0.1)
    print("open", flush=True)
    began_ns = time.monotonic_ns()
    _collect(selector, time.monotonic() + float(seconds))
    open_still = len(selector.get_map())
    print("read", flush=True)  # whoever started this looks at the server now, while all are open
    sys.stdin.readline()
    for stream in streams:
        stream.connection.close()
    print(json.dumps(_result(streams, began_ns) | {"open_still": open_still}), flush=True)
    return 0


def _collect(selector: selectors.BaseSelector, until: float) -> None:
    while (left := until - time.monotonic()) > 0:
        for ready, _ in selector.select(left):
            stream: _Stream = ready.data
            piece = stream.connection.recv(_PIECE_BYTES)
            if piece:
                stream.pieces.append((time.monotonic_ns(), piece))
            else:
                selector.unregister(stream.connection)
                stream.connection.close()


def _result(streams: list[_Stream], began_ns: int) -> dict[str, float]:
    late: list[float] = []
    for stream in streams:
        rest = b""
        for arrived_ns, piece in stream.pieces:
            rest += piece
            # Up to the end of a line: a number that is cut in two waits for its other half.
            whole, _, rest = rest.rpartition(b"\n")
            late += [
                (arrived_ns - printed_ns) / 1e6
                for printed_ns in map(int, _TICK.findall(whole))
                if printed_ns >= began_ns
            ]
    if not late:
        return {"lines": 0}
    return {"lines": len(late), "p50_ms": percentile(late, 50), "p99_ms": percentile(late, 99)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
