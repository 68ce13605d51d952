"""How commands print what the engine answers: tables for people, JSON for scripts."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from clusterlink_engine.printable import printable


def show(
    options: argparse.Namespace, message: Message, header: Sequence[str] | None, rows: Iterable[Sequence[str]]
) -> int:
    """Prints a message as JSON or its rows as a table, as the options say; answers the exit code 0."""
    if is_json(options):
        print(MessageToJson(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True))
    else:
        table([*([header] if header else []), *rows])
    return 0


def show_list(options: argparse.Namespace, header: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Prints rows that are no message; their JSON has the header's words as keys. Answers the exit code 0."""
    if is_json(options):
        keys = [word.lower().replace(" ", "_") for word in header]
        print(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=2))
    else:
        table([header, *rows])
    return 0


def is_json(options: argparse.Namespace) -> bool:
    """Tells whether the user wants JSON."""
    return bool(options.output == "json")


def table(rows: Sequence[Sequence[str]], file: TextIO | None = None) -> None:
    """Prints rows in columns, with nothing in them that a terminal would obey; nothing if there are none."""
    if not rows:
        return
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(line.rstrip(), file=file or sys.stdout)


def complain(text: str) -> None:
    """Prints what went wrong on standard error, with nothing in it that a terminal would obey."""
    print(f"clusterlink: {printable(text)}", file=sys.stderr)


def name_of(enum: Any, value: int) -> str:
    """Answers the name of an enum's value without the enum's own."""
    name: str = enum.Name(value)
    return name.removeprefix(_prefix(enum))


def number(value: int) -> str:
    """Answers a number, or nothing for one that is not known."""
    return "" if value < 0 else str(value)


def _prefix(enum: Any) -> str:
    unspecified: str = enum.Name(0)
    return unspecified.removesuffix("UNSPECIFIED")
