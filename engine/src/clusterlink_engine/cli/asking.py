"""What the commands that ask an engine have in common: their parsers, the services, and questions to the user."""

import argparse
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import grpc

from clusterlink_engine.cli.printing import FORMS, complain
from clusterlink_proto import v1
from clusterlink_proto.rpc import Stub

DEFAULT_ENDPOINT = "127.0.0.1:7171"
TOKEN_VARIABLE = "CLUSTERLINK_TOKEN"  # noqa: S105 - the name of the variable
CALL_SECONDS = 60.0

Command = Callable[[grpc.Channel, argparse.Namespace], int]

# A value may hold commas, as in cleanup.policy=compact,delete or in JSON: only one before the next name separates.
_NEXT_PROPERTY = re.compile(r",(?=[a-z][a-z0-9._-]*=)")


class UsageError(Exception):
    """The arguments are wrong; the text says which, and what to do."""


def verb(verbs: Any, name: str, text: str, function: Command) -> argparse.ArgumentParser:
    """Adds a command with the options that all have."""
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument("--engine", metavar="HOST:PORT", help=f"the engine ($CLUSTERLINK_ENDPOINT, {DEFAULT_ENDPOINT})")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help=f"the token to show (${TOKEN_VARIABLE})")
    parser.add_argument("--tls", action="store_true", help="encrypt, and trust whom this system trusts")
    parser.add_argument("--ca-file", type=Path, metavar="FILE", help="encrypt, and trust these CAs (PEM)")
    parser.add_argument("--certificate-file", type=Path, metavar="FILE", help="your own certificate (PEM)")
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="its private key (PEM)")
    parser.add_argument("-o", "--output", choices=FORMS, default="table", help="how to print")
    parser.set_defaults(run=function)
    return parser


def verbs_of(commands: Any, name: str, text: str, *, dest: str = "verb") -> Any:
    """Adds a command that has commands of its own; answers where to add those."""
    return commands.add_parser(name, help=text).add_subparsers(dest=dest, required=True, metavar="VERB")


def add_properties(parser: argparse.ArgumentParser, what: str) -> None:
    """Adds the option for properties, which may be repeated."""
    parser.add_argument(
        "--config", action="append", default=[], metavar="NAME=VALUE[,...]", help=f"{what}; may be repeated"
    )


def add_question(parser: argparse.ArgumentParser) -> None:
    """Adds the option that answers the question of `is_confirmed`."""
    parser.add_argument("--yes", action="store_true", help="do not ask; needed where nobody can be asked")


def properties(texts: Iterable[str]) -> dict[str, str]:
    """Reads properties as a user wrote them, `name=value` with commas between.

    Raises:
        UsageError: A part is none.
    """
    found: dict[str, str] = {}
    for part in (part for text in texts for part in _NEXT_PROPERTY.split(text)):
        name, equals, value = part.partition("=")
        if not name or not equals:
            raise UsageError(f'"{part}" is no property; expected NAME=VALUE')
        found[name.strip()] = value.strip()
    return found


def read_file(path: Path) -> str:
    """Reads a file that the user named.

    Raises:
        UsageError: It cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error


def is_confirmed(options: argparse.Namespace, what: str) -> bool:
    """Says what will be lost and asks whether that is meant, unless `--yes` says so.

    Raises:
        UsageError: Nobody is there to be asked.
    """
    print(what, file=sys.stderr)
    if options.yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask at; give --yes if that is meant")
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        answer = ""
        print(file=sys.stderr)
    if answer.strip().lower() in ("y", "yes"):
        return True
    complain("nothing was changed.")
    return False


def links(channel: grpc.Channel) -> Any:
    """Answers the service for links."""
    return Stub(channel, v1.DESCRIPTOR, "LinkService")


def mirrors(channel: grpc.Channel) -> Any:
    """Answers the service for mirror topics."""
    return Stub(channel, v1.DESCRIPTOR, "MirrorTopicService")
