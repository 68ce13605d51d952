"""Draws the results of the copying of backlogs as bars, as an SVG file of its own."""

from collections.abc import Mapping
from html import escape

from benchmarks.results import CLIENT_LOOP, COLUMNS, ENGINE, MM2_DEFAULT, MM2_TUNED, Result

_PANELS = (
    ("w1", "mb_s"),
    ("w1", "copier_cpu_gb"),
    ("w2", "mb_s"),
    ("w2", "copier_cpu_million"),
    ("w3", "records_s"),
    ("w3", "copier_cpu_million"),
    ("w5", "p50_ms"),
    ("w7", "mb_s"),
)
_BARS = {ENGINE: "#1f6feb", CLIENT_LOOP: "#8b949e", MM2_TUNED: "#d29922", MM2_DEFAULT: "#b35900"}

_WIDTH, _LABEL, _VALUE, _BAR, _GAP, _TITLE = 860, 180, 150, 18, 6, 30


def draw(results: Mapping[str, Result]) -> str:
    """Returns the text of the file: for each figure a panel with the medians and, as thin lines, the ranges of all runs."""
    panels, top = [], 10
    for case, key in _PANELS:
        if case in results and results[case].median(ENGINE, key) is not None:
            lines, height = _panel(results[case], key, top)
            panels += lines
            top += height
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" font-family="sans-serif" font-size="13">'
    )
    return "\n".join([head, f'<rect width="{_WIDTH}" height="{top}" fill="white"/>', *panels, "</svg>", ""])


def _panel(result: Result, key: str, top: int) -> tuple[list[str], int]:
    """Returns the elements of a panel and its height."""
    column = COLUMNS[key]
    better = "more" if column.more_is_better else "less"
    lines = [_text(10, top + 16, f"{result.title}: {column.heading} ({better} is better)", "bold")]
    rows = {row: result.runs[row][key] for row in _BARS if key in result.runs.get(row, {})}
    scale = (_WIDTH - _LABEL - _VALUE) / max(max(values) for values in rows.values())
    y = top + _TITLE
    for row, values in rows.items():
        middle = result.median(row, key) or 0.0
        width, low, high = (round(value * scale, 1) for value in (middle, min(values), max(values)))
        lines.append(_text(10, y + 14, row))
        lines.append(f'<rect x="{_LABEL}" y="{y}" width="{width}" height="{_BAR}" fill="{_BARS[row]}"/>')
        if len(values) > 1:
            at = y + _BAR / 2
            ends = f'x1="{_LABEL + low}" x2="{_LABEL + high}" y1="{at}" y2="{at}"'
            lines.append(f'<line {ends} stroke="black" stroke-width="1"/>')
        lines.append(_text(_LABEL + max(width, high) + 8, y + 14, f"{middle:,.{column.digits}f}"))
        y += _BAR + _GAP
    return lines, y - top + 14


def _text(x: float, y: float, text: str, weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y}" font-weight="{weight}">{escape(text)}</text>'
