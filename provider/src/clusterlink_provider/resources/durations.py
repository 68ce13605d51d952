"""Durations as Terraform users write them: `30s`, `2m`, `1h30m`."""

import re
from typing import Final

from clusterlink_provider.framework import cty
from clusterlink_provider.framework.cty import Value
from clusterlink_provider.framework.diagnostics import Diagnostics
from clusterlink_provider.framework.paths import Path
from clusterlink_provider.framework.schema import Attribute

_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
DEFAULTS: Final = {"create": "2m", "update": "2m", "delete": "5m"}


def seconds(text: str) -> float:
    """Reads a duration.

    Raises:
        ValueError: It is none, or not above zero.
    """
    parts = _PART.findall(text)
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or total <= 0:
        raise ValueError(f'"{text}" is not a duration above zero, such as 30s, 2m or 1h30m')
    return total


def valid_duration(value: Value, path: Path, diagnostics: Diagnostics) -> None:
    """Checks a duration."""
    try:
        seconds(value)
    except ValueError as error:
        diagnostics.error("Invalid duration", f"{error}.", path)


def timeouts_attribute() -> Attribute:
    """Makes the attribute `timeouts` of a resource."""
    return Attribute(
        description="How long operations may take, as durations such as `30s`, `2m` or `1h30m`. A change touches "
        "nothing.",
        optional=True,
        nested={
            name: Attribute(
                description=f"Longest time for {name}, retries included. Default `{default}`. A change touches "
                f"nothing.",
                type=cty.STRING,
                optional=True,
                validators=(valid_duration,),
            )
            for name, default in DEFAULTS.items()
        },
    )


def timeout(state: dict[str, Value], operation: str) -> float:
    """Gives the seconds that an operation of a resource may take."""
    given = (state.get("timeouts") or {}).get(operation)
    return seconds(given or DEFAULTS[operation])
