"""Values of the API's enums by their names, those of a newer engine too."""

from typing import Any


def name_of(enum: Any, value: int, prefix: str) -> str:
    """Gives the name of a value without the prefix of its enum; `UNKNOWN_<number>` for one that this provider does not know.

    For what is only shown. What a plan depends on is checked when it comes in (`EngineClient.checked_link`).
    """
    return str(enum.Name(value)).removeprefix(prefix) if value in enum.values() else f"UNKNOWN_{value}"
