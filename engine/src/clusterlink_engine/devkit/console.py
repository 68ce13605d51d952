"""What the demo prints: numbered steps with times, commands, progress, a table."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_BAR = 30


class Console:
    """Prints the steps of the demo."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._number = 0
        self._begun = time.monotonic()

    @property
    def seconds(self) -> float:
        """Returns the time since the beginning."""
        return time.monotonic() - self._begun

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Prints a numbered title, and at the end how long it took."""
        self._number += 1
        print(f"\n{self._strong(f'{self._number}. {title}')}", flush=True)
        begun = time.monotonic()
        yield
        print(self._faint(f"   {time.monotonic() - begun:.1f} s"), flush=True)

    def say(self, text: str) -> None:
        """Prints an indented text."""
        for line in text.splitlines():
            print(f"   {line}", flush=True)

    def command(self, text: str) -> None:
        """Prints a command that is about to be run."""
        print(f"   {self._strong('$ ' + text)}", flush=True)

    def progress(self, what: str, done: int, total: int) -> None:
        """Draws a bar over the last one; without a terminal only the full bar is printed."""
        filled = _BAR * done // total if total else _BAR
        line = f"   {what} {'#' * filled}{'.' * (_BAR - filled)} {done:,} / {total:,}"
        if self._live:
            print(f"\r{line}\033[K", end="\n" if done >= total else "", flush=True)
        elif done >= total:
            print(line, flush=True)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Prints right-aligned columns."""
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        for row in [head, ["-" * width for width in widths], *rows]:
            print("   " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))

    def _strong(self, text: str) -> str:
        return f"\033[1m{text}\033[0m" if self._live else text

    def _faint(self, text: str) -> str:
        return f"\033[2m{text}\033[0m" if self._live else text
