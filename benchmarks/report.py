"""The table of results, as text, as Markdown and as JSON. Pure."""

from collections.abc import Iterator, Sequence

from benchmarks.figures import Figure, RowResult, Target

_HEADINGS = ("row", "figure", "measured", "least to greatest", "target", "")
_NUMBERS = (2, 3, 4)
"""Columns that are aligned to the right."""


def text_table(results: Sequence[RowResult]) -> str:
    """For a terminal."""
    lines = [_HEADINGS, *_cells(results)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    aligned = [_aligned(line, widths) for line in lines]
    return "\n".join(
        [aligned[0], "  ".join("-" * width for width in widths), *aligned[1:], "", *_remarks(results)]
    )


def markdown_table(results: Sequence[RowResult]) -> str:
    """For a page."""
    marks = ["---:" if column in _NUMBERS else "---" for column in range(len(_HEADINGS))]
    rows = [_HEADINGS, marks, *_cells(results)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    titles = [f"- **{result.name}**: {result.title}." for result in results]
    return "\n".join([table, "", *titles, "", *_remarks(results)]).rstrip() + "\n"


def number_text(value: float) -> str:
    """A number with as many digits as it deserves."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"


def _cells(results: Sequence[RowResult]) -> Iterator[tuple[str, ...]]:
    for result in results:
        if not result.figures:
            yield (result.name, "failed" if result.failed else "left out", "", "", "", "")
        for number, figure in enumerate(result.figures):
            yield ("" if number else result.name, *_figure_cells(figure))


def _figure_cells(figure: Figure) -> tuple[str, ...]:
    spread, unit = figure.spread, f" {figure.unit}" if figure.unit else ""
    noise = "" if spread.low == spread.high else f"{number_text(spread.low)} to {number_text(spread.high)}"
    judgement = figure.judgement
    return (
        figure.name,
        number_text(spread.value) + unit,
        noise,
        "" if figure.target is None else _target_text(figure.target, unit),
        "" if judgement is None else judgement.value,
    )


def _target_text(target: Target, unit: str) -> str:
    sign = "≥" if target.at_least else "≤"
    return f"{sign} {', then '.join(f'{step:.3g}' for step in target.steps)}{unit}"


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.rjust(width) if column in _NUMBERS else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _remarks(results: Sequence[RowResult]) -> list[str]:
    said = [f"{result.name}: {result.remark}" for result in results if result.remark]
    loads = [result.load for result in results if result.figures]
    if loads:
        said.append(f"Load average when the rows began: {min(loads):.1f} to {max(loads):.1f}.")
    return said
