"""Keeps docs/benchmarks.md, its plot, and the results of which both are made."""

import re
from collections.abc import Mapping
from pathlib import Path

from benchmarks import plot, results
from benchmarks.results import Result

_DOCS = Path(__file__).parent.parent / "docs"
_MARKED = re.compile(r"(<!-- results of (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def store(result: Result, docs: Path = _DOCS) -> None:
    """Puts a result in the place of the earlier one of its case."""
    known = results.load(docs / "benchmarks.json")
    known[result.case] = result
    results.save(dict(sorted(known.items())), docs / "benchmarks.json")
    write(docs)


def write(docs: Path = _DOCS) -> None:
    """Writes page and plot anew."""
    known = results.load(docs / "benchmarks.json")
    page = docs / "benchmarks.md"
    page.write_text(fill(page.read_text(), known))
    (docs / "benchmarks.svg").write_text(plot.draw(known))


def fill(page: str, known: Mapping[str, Result]) -> str:
    """Returns the page with the results between its marks."""

    def place(match: re.Match[str]) -> str:
        result = known.get(match[2])
        text = "\n".join([result.setup, "", *result.tables()]) if result else "Not measured yet."
        return f"{match[1]}{text}\n{match[3]}"

    return _MARKED.sub(place, page)
