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
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.catalogue import PEERS, ROWS, Row
from benchmarks.engine import Engine
from benchmarks.figures import RowResult
from benchmarks.report import markdown_table, text_table

_INTERRUPTED = 130
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Do it; the exit code."""
    arguments = _parser().parse_args(namespace=_Arguments())
    rows = [*ROWS, PEERS]
    if arguments.list:
        for row in rows:
            print(f"{row.name:<12}{row.title}{'' if row.quick else ' (with --quick only if it is named)'}")
        return 0
    wanted = arguments.rows.split(",") if arguments.rows else [row.name for row in ROWS]
    unknown = set(wanted) - {row.name for row in rows}
    if unknown:
        print(f"no such row: {', '.join(sorted(unknown))}; --list shows all", file=sys.stderr)
        return 2
    chosen = [row for row in rows if row.name in wanted or (row is PEERS and arguments.peers)]
    for number in _ENDING:
        signal.signal(number, _interrupt)
    machine, results, code = _machine(quick=arguments.quick), list[RowResult](), 0
    try:
        with (
            tempfile.TemporaryDirectory(prefix="ci-benchmarks-") as folder,
            Bench(Path(folder), arguments.quick) as bench,
        ):
            for row in chosen:
                is_left_out = arguments.quick and not (row.quick or arguments.rows)
                results.append(_left_out(row) if is_left_out else _measure(bench, row))
    except KeyboardInterrupt:
        print("interrupted; the table has what was measured before", file=sys.stderr)
        code = _INTERRUPTED
    print(text_table(results))
    if arguments.markdown:
        arguments.markdown.write_text(markdown_table(results), encoding="utf-8")
    if arguments.json:
        arguments.json.write_text(_json(machine, results), encoding="utf-8")
    return code or int(any(result.failed for result in results))


def _interrupt(*_: object) -> None:
    """The first one ends the measuring; none must end the cleaning up."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


class _Arguments(argparse.Namespace):
    quick: bool
    rows: str | None
    peers: bool
    list: bool
    json: Path | None
    markdown: Path | None


def _left_out(row: Row) -> RowResult:
    return RowResult(
        row.name, row.title, remark=f"left out by --quick; --quick --rows {row.name} measures it"
    )


def _measure(bench: Bench, row: Row) -> RowResult:
    load, began = os.getloadavg()[0], time.monotonic()
    bench.progress.row(row.name)
    try:
        figures = tuple(row.measure(bench))
    except Exception as problem:  # noqa: BLE001 - whatever it is, the other rows can be measured
        bench.progress.tell(f"failed: {problem}")
        return RowResult(row.name, row.title, remark=f"{type(problem).__name__}: {problem}", failed=True)
    return RowResult(row.name, row.title, figures, seconds=time.monotonic() - began, load=load)


def _machine(*, quick: bool) -> dict[str, object]:
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "quick": quick,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "engine": Engine().version(),
        "load_before": os.getloadavg(),
    }


def _json(machine: Mapping[str, object], results: Sequence[RowResult]) -> str:
    rows = [result.as_json() for result in results]
    return json.dumps({**machine, "load_after": os.getloadavg(), "rows": rows}, indent=1) + "\n"


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
