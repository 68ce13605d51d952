"""Checks of single values that several attributes share."""

import re
from collections.abc import Sequence
from datetime import datetime

from clusterlink_provider.framework.cty import Unknown, Value
from clusterlink_provider.framework.diagnostics import Diagnostics
from clusterlink_provider.framework.paths import Key, Path
from clusterlink_provider.framework.schema import Validator

_LEGAL = re.compile(r"^[a-zA-Z0-9._-]+$")
# The date and time of Python's parser are wider than RFC 3339: weeks, and times without minutes.
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_KAFKA_NAME = re.compile(r"[A-Z_]+")
_PORT = re.compile(r"^.+:([0-9]{1,5})$")
# Kafka's own limit for the name of a topic.
TOPIC_NAME_LIMIT = 249


def any_of(choices: Sequence[str]) -> str:
    """Writes choices as people do: `"a", "b" or "c"`."""
    *others, last = (f'"{choice}"' for choice in choices)
    return f"{', '.join(others)} or {last}" if others else last


def one_of(*allowed: str, later: tuple[str, ...] = ()) -> Validator:
    """Makes a check for a fixed list; values of `later` get the word that this version does not have them yet."""

    def check(value: Value, path: Path, diagnostics: Diagnostics) -> None:
        choices = any_of(allowed)
        if value in later:
            diagnostics.error(
                "Not in this version", f'This version of clusterlink does not have "{value}" yet. Use {choices}.', path
            )
        elif value not in allowed:
            diagnostics.error("Invalid value", f'Expected {choices}, got "{value}".', path)

    return check


def at_least(minimum: int, unit: str) -> Validator:
    """Makes a check for a whole number with a lower bound."""

    def check(value: Value, path: Path, diagnostics: Diagnostics) -> None:
        if not isinstance(value, int):
            diagnostics.error("Invalid value", f"Expected a whole number of {unit}, got {value}.", path)
        elif value < minimum:
            diagnostics.error("Value too small", f"Expected at least {minimum} ({unit}), got {value}.", path)

    return check


def name_filters(value: Value, path: Path, diagnostics: Diagnostics) -> None:
    """Checks filters by name; what is not known yet is left alone."""
    types = {"pattern_type": ("LITERAL", "PREFIXED"), "filter_type": ("INCLUDE", "EXCLUDE")}
    for entry in value:
        if not isinstance(entry, dict):
            continue
        if entry["name"] in ("", None):
            diagnostics.error("Invalid filter", 'A filter needs a name; "*" stands for every name.', path)
        for key, known in types.items():
            found = entry[key]
            if not isinstance(found, Unknown) and found not in known:
                shown = "null" if found is None else f'"{found}"'
                diagnostics.error("Invalid filter", f"Expected {any_of(known)} as {key}, got {shown}.", path)


def acl_filters(value: Value, path: Path, diagnostics: Diagnostics) -> None:
    """Checks filters of ACLs: names are upper case, so that they read back as written; the engine knows which there are."""
    for entry in value:
        for key in ("resource_type", "pattern_type", "operation", "permission_type"):
            found = entry[key] if isinstance(entry, dict) else None
            if isinstance(found, str) and not _KAFKA_NAME.fullmatch(found):
                diagnostics.error(
                    "Invalid filter", f'Expected a name as "ANY" or "TOPIC" as {key}, got "{found}".', path
                )


def legal_name(value: Value, path: Path, diagnostics: Diagnostics) -> None:
    """Checks that a text could be (part of) the name of a topic: the same letters are legal for links."""
    if not value:
        diagnostics.error("Invalid name", "The name is empty. Leave the attribute out, or give a name.", path)
    elif not _LEGAL.match(value) or value in {".", ".."}:
        diagnostics.error(
            "Invalid name",
            f'"{value}" is not legal: use letters and digits of ASCII, ".", "_" and "-".',
            path,
        )
    elif len(value) > TOPIC_NAME_LIMIT:
        diagnostics.error(
            "Name too long", f"The name has {len(value)} characters; {TOPIC_NAME_LIMIT} are allowed.", path
        )


def not_blank(value: Value, path: Path, diagnostics: Diagnostics) -> None:
    """Checks that a text is not empty; the text itself may be a secret and is not shown."""
    if not value:
        diagnostics.error("Empty value", "Expected a text that is not empty.", path)


def start_offset(value: Value, path: Path, diagnostics: Diagnostics) -> None:
    """Checks where mirror topics begin."""
    if value in {"earliest", "latest"}:
        return
    if not _RFC_3339.fullmatch(value) or not _is_time(value):
        diagnostics.error(
            "Invalid start",
            f'Expected "earliest", "latest", or an RFC 3339 time as "2026-01-31T00:00:00Z", got "{value}".',
            path,
        )
    elif datetime.fromisoformat(value).timestamp() < 0:
        diagnostics.error("Invalid start", f'"{value}" lies before 1970. Use "earliest".', path)


def _is_time(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def not_empty(value: Value, path: Path, diagnostics: Diagnostics) -> None:
    """Checks that a set has elements."""
    if not len(value):
        diagnostics.error("Empty set", "Expected at least one element. For the default leave the attribute out.", path)


def no_null_values(value: Value, path: Path, diagnostics: Diagnostics) -> None:
    """Checks that each element of a map is set."""
    for key, element in value.items():
        if element is None:
            diagnostics.error("Missing value", f'"{key}" is null. Leave it out, or give it a value.', (*path, Key(key)))


def host_and_port(value: Value, path: Path, diagnostics: Diagnostics) -> None:
    """Checks the addresses of a set. The path ends at the set, since its elements have no address of their own."""
    for element in value:
        if isinstance(element, Unknown):
            continue
        match = _PORT.match(element or "")
        if match is None or not 0 < int(match[1]) < 65536:
            diagnostics.error(
                "Invalid address", f'Expected host:port, for example broker-1:9092, got "{element}".', path
            )
