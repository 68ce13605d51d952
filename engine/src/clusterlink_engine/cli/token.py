"""The command `clusterlink token new`."""

import argparse
import json
import secrets
import sys
from typing import Any

from pydantic import ValidationError

from clusterlink_engine.api.access import hash_of
from clusterlink_engine.cli.asking import verbs_of
from clusterlink_engine.cli.printing import complain
from clusterlink_engine.settings import Role, Token

_PREFIX = "clusterlink-"  # so that programs which look for secrets in texts find it
_BYTES = 32


def add(commands: Any) -> None:
    """Adds the command to the parser's."""
    new = verbs_of(commands, "token", "tokens for the API").add_parser(
        "new",
        help="make a token",
        description="Prints a new token once, on standard output, and the line for the settings of the engine, on standard "
        "error. Nothing is stored.",
    )
    new.add_argument("name", help="who it is for")
    new.add_argument("--role", choices=list(Role), default=Role.VIEWER, help="what it may do (default: viewer)")


def run(options: argparse.Namespace) -> int:
    """Prints a token and its line; answers the exit code."""
    text = _PREFIX + secrets.token_urlsafe(_BYTES)
    try:
        token = Token(name=options.name, role=options.role, sha256=hash_of(text))
    except ValidationError:
        complain(f'"{options.name}" is no name: letters, digits, and any of _ . @ -')
        return 2
    print(text)
    fields = ", ".join(f"{key} = {json.dumps(value)}" for key, value in token.model_dump(mode="json").items())
    print(
        f"Keep the token; it cannot be printed again. In the settings of the engine:\n\n[api]\ntokens = [{{ {fields} }}]",
        file=sys.stderr,
    )
    return 0
