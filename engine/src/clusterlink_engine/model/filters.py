"""Filters by name, as Cluster Linking has them: LITERAL or PREFIXED, INCLUDE or EXCLUDE; an EXCLUDE that matches wins."""

from collections.abc import Collection
from typing import Literal

from pydantic import BaseModel, ConfigDict

from clusterlink_engine.errors import InvalidArgumentError

PATTERN_TYPES = ("LITERAL", "PREFIXED")
FILTER_TYPES = ("INCLUDE", "EXCLUDE")

ANY = "*"


class Filter(BaseModel):
    """One filter; the name `*` with LITERAL stands for every name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    pattern_type: Literal["LITERAL", "PREFIXED"] = "LITERAL"
    filter_type: Literal["INCLUDE", "EXCLUDE"] = "INCLUDE"

    def matches(self, name: str) -> bool:
        """Tells whether the filter speaks of a name."""
        if self.pattern_type == "PREFIXED":
            return name.startswith(self.name)
        return self.name in (ANY, name)


def selects(filters: Collection[Filter], name: str) -> bool:
    """Tells whether filters select a name: one includes it and none excludes it."""
    matching = {entry.filter_type for entry in filters if entry.matches(name)}
    return matching == {"INCLUDE"}


def named(filters: Collection[Filter]) -> set[str]:
    """Answers the names that filters select one by one."""
    return {
        entry.name
        for entry in filters
        if entry.pattern_type == "LITERAL" and entry.name != ANY and selects(filters, entry.name)
    }


def make_filter(name: str, pattern_type: str, filter_type: str, field: str) -> Filter:
    """Makes a filter of what a caller wrote; empty types stand for LITERAL and INCLUDE.

    Raises:
        InvalidArgumentError: There is no name, or a type is not known.
    """
    if not name:
        raise InvalidArgumentError('A filter needs a name; "*" stands for every name.', field=field)
    for value, known in ((pattern_type, PATTERN_TYPES), (filter_type, FILTER_TYPES)):
        if value and value not in known:
            raise InvalidArgumentError(f'A filter says "{value}"; known are {" and ".join(known)}.', field=field)
    return Filter.model_validate(
        {"name": name, "pattern_type": pattern_type or "LITERAL", "filter_type": filter_type or "INCLUDE"}
    )


def check_filters(filters: Collection[Filter], field: str) -> None:
    """Raises InvalidArgumentError unless something can be selected: nothing included is most likely a mistake."""
    if not any(entry.filter_type == "INCLUDE" for entry in filters):
        raise InvalidArgumentError(
            'It is enabled, but no filter includes anything; add one, for example the name "*".', field=field
        )
