"""How commands print what the engine answers: tables for people, JSON or YAML for scripts."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from clusterlink_engine.printable import printable

FORMS = ("table", "json", "yaml")


def show(
    options: argparse.Namespace, message: Message, header: Sequence[str] | None, rows: Iterable[Sequence[str]]
) -> int:
    """Prints a message whole or its rows as a table, as the options say; answers the exit code 0."""
    if is_for_scripts(options):
        content = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        for_scripts(options, content)
    else:
        table([*([header] if header else []), *rows])
    return 0


def show_list(options: argparse.Namespace, header: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Prints rows that are no message; for scripts the header's words are keys. Answers the exit code 0."""
    if is_for_scripts(options):
        keys = [word.lower().replace(" ", "_") for word in header]
        for_scripts(options, [dict(zip(keys, row, strict=True)) for row in rows])
    else:
        table([header, *rows])
    return 0


def is_for_scripts(options: argparse.Namespace) -> bool:
    """Tells whether the user wants JSON or YAML."""
    return bool(options.output != "table")


def for_scripts(options: argparse.Namespace, content: Any) -> None:
    """Prints what is made of dictionaries, lists and plain values, as JSON or YAML."""
    if options.output == "yaml":
        import yaml  # not needed otherwise

        print(yaml.safe_dump(content, sort_keys=False), end="")
    else:
        print(json.dumps(content, indent=2))


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
