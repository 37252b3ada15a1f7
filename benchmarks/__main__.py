"""Measures the whole platform on this machine, each row beside its baseline, and prints the table.

    python -m benchmarks [--quick] [--rows warm,cold] [--peers] [--json FILE] [--markdown FILE]

Needs a Docker engine on a Unix socket and a package index. It makes installations of its own and removes
all that it made, also when it is interrupted. Exits 1 when a row could not be measured; whether a target
is reached never decides the exit code.
"""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.catalogue import PEERS, ROWS, Row
from benchmarks.figures import RowResult
from benchmarks.report import markdown_table, text_table

_INTERRUPTED = 130


def main() -> int:
    """Do it; the exit code."""
    arguments = _parser().parse_args(namespace=_Arguments())
    rows = [*ROWS, PEERS]
    if arguments.list:
        for row in rows:
            print(f"{row.name:<12}{row.title}{'' if row.quick else ' (not with --quick)'}")
        return 0
    wanted = arguments.rows.split(",") if arguments.rows else [row.name for row in ROWS]
    unknown = set(wanted) - {row.name for row in rows}
    if unknown:
        print(f"no such row: {', '.join(sorted(unknown))}; --list shows all", file=sys.stderr)
        return 2
    chosen = [row for row in rows if row.name in wanted or (row is PEERS and arguments.peers)]
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # they, too, must leave nothing behind
    when, results, code = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), list[RowResult](), 0
    try:
        with (
            tempfile.TemporaryDirectory(prefix="ci-benchmarks-") as folder,
            Bench(Path(folder), arguments.quick) as bench,
        ):
            for row in chosen:
                results.append(_measure(bench, row))
    except KeyboardInterrupt:
        print("interrupted; the table has what was measured before", file=sys.stderr)
        code = _INTERRUPTED
    print(text_table(results))
    if arguments.markdown:
        arguments.markdown.write_text(markdown_table(results), encoding="utf-8")
    if arguments.json:
        arguments.json.write_text(_json(when, arguments.quick, results), encoding="utf-8")
    return code or int(any(result.failed for result in results))


class _Arguments(argparse.Namespace):
    quick: bool
    rows: str | None
    peers: bool
    list: bool
    json: Path | None
    markdown: Path | None


def _measure(bench: Bench, row: Row) -> RowResult:
    load, began = os.getloadavg()[0], time.monotonic()
    if bench.quick and not row.quick:
        return RowResult(row.name, row.title, remark="left out by --quick: it takes minutes")
    bench.progress.row(row.name)
    try:
        figures = tuple(row.measure(bench))
    except Exception as problem:  # noqa: BLE001 - whatever it is, the other rows can be measured
        bench.progress.tell(f"failed: {problem}")
        return RowResult(row.name, row.title, remark=f"{type(problem).__name__}: {problem}", failed=True)
    return RowResult(row.name, row.title, figures, seconds=time.monotonic() - began, load=load)


def _json(when: str, quick: bool, results: Sequence[RowResult]) -> str:
    machine = {
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_after": os.getloadavg(),
    }
    rows = [result.as_json() for result in results]
    return json.dumps({"when": when, "quick": quick, "machine": machine, "rows": rows}, indent=1) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="few repetitions, small sizes: a minute or two")
    parser.add_argument("--rows", metavar="NAME,…", help="only these; --list shows all")
    parser.add_argument("--peers", action="store_true", help="Buildbot beside it, from the package index")
    parser.add_argument("--list", action="store_true", help="show the rows and end")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures and samples there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there for a page")
    return parser


if __name__ == "__main__":
    sys.exit(main())
