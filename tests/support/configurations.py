"""Configurations that a schema allows, at random: each attribute set, left out, or not known before apply."""

import re
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from clusterlink_provider.framework import cty
from clusterlink_provider.framework.cty import SetValue, Type, Unknown, Value
from tests.support.terraform_core import Attribute, Object

# A value that is not known yet; sometimes Terraform knows that it will not be null, or how it begins.
_NOT_NULL = Unknown(b"\x81\x01\xc2")
_CHOICE = re.compile(r"`([A-Z][A-Z0-9_-]+)`")

_FILTER = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["*", "orders", "a.b", "_internal"]),
        "pattern_type": st.sampled_from(["LITERAL", "PREFIXED"]),
        "filter_type": st.sampled_from(["INCLUDE", "EXCLUDE"]),
    }
)
_ACL_FILTER = st.fixed_dictionaries(
    {
        "resource_type": st.sampled_from(["ANY", "TOPIC", "GROUP"]),
        "resource_name": st.sampled_from(["", "orders"]),
        "pattern_type": st.sampled_from(["ANY", "LITERAL"]),
        "principal": st.sampled_from(["", "User:app"]),
        "host": st.sampled_from(["", "*"]),
        "operation": st.sampled_from(["ANY", "READ"]),
        "permission_type": st.sampled_from(["ANY", "ALLOW"]),
    }
)


def _set(elements: "st.SearchStrategy[Any]", least: int = 1) -> "st.SearchStrategy[SetValue]":
    return st.lists(elements, min_size=least, max_size=3).map(SetValue)


# By the last two names of an attribute's path, or its last one. What is not here is made from the schema alone.
_VALUES: Mapping[str, "st.SearchStrategy[Any]"] = {
    "name": st.just("link"),
    "link": st.sampled_from(["plain", "prefixed"]),
    "source_topic": st.sampled_from(["orders", "payments"]),
    "bootstrap_servers": _set(st.sampled_from(["127.0.0.1:29092", "b-1:9092", "[::1]:9093"])),
    "cluster_id": st.just("remote-cluster"),
    "topic_prefix": st.sampled_from(["p.", "q-"]),
    "mirror_start_offset": st.sampled_from(["earliest", "latest", "2026-01-31T00:00:00Z"]),
    "interval_ms": st.sampled_from([1000, 5000, 30_000, 2**40]),
    "include": _set(st.sampled_from(["retention.ms", "cleanup.policy", "max.message.bytes"])),
    "group_filters": _set(_FILTER),
    "auto_create_mirror_topics.filters": _set(_FILTER),
    "acl_sync.filters": _set(_ACL_FILTER),
    "config": st.dictionaries(
        st.sampled_from(["replica.fetch.max.bytes", "request.timeout.ms"]), st.sampled_from(["50000", "60000"])
    ),
    "mechanism": st.sampled_from(["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]),
    "create": st.sampled_from(["30s", "1m", "1h30m"]),
    "update": st.sampled_from(["30s", "1m"]),
    "delete": st.sampled_from(["30s", "1m"]),
    "status": st.sampled_from(["ACTIVE", "ACTIVE", "PAUSED", "PROMOTED", "FAILED_OVER"]),
}


def configurations(
    attributes: Mapping[str, Attribute],
    path: tuple[str, ...] = (),
    special: Mapping[str, "st.SearchStrategy[Any]"] | None = None,
) -> "st.SearchStrategy[Object]":
    """Makes configurations of a schema."""
    return st.fixed_dictionaries({name: _attribute(item, (*path, name)) for name, item in attributes.items()})


def _attribute(attribute: Attribute, path: tuple[str, ...]) -> "st.SearchStrategy[Value]":
    if not (attribute.required or attribute.optional):
        return st.none()
    values = _given(attribute, path)
    return values if attribute.required else st.none() | values


def _given(attribute: Attribute, path: tuple[str, ...]) -> "st.SearchStrategy[Value]":
    if attribute.nested is not None:
        return configurations(attribute.nested, path)
    for key in (".".join(path[-2:]), path[-1]):
        if key in _VALUES:
            return _VALUES[key]
    choices = _CHOICE.findall(attribute.description)
    if attribute.type == cty.STRING and choices:
        return st.sampled_from(choices)
    return _any(attribute.type)


def _any(kind: Type) -> "st.SearchStrategy[Value]":
    if kind.element is not None:
        parts = _any(kind.element)
        if kind.name == "map":
            return st.dictionaries(st.sampled_from(["a", "b"]), parts, max_size=2)
        return _set(parts) if kind.name == "set" else st.lists(parts, max_size=2)
    if kind.attributes is not None:
        return st.fixed_dictionaries({name: _any(part) for name, part in kind.attributes.items()})
    return {"bool": st.booleans(), "number": st.integers(1, 3)}.get(kind.name, st.sampled_from(["one", "two"]))


@st.composite
def with_unknown(draw: "st.DrawFn", attributes: Mapping[str, Attribute], config: Object) -> Object:
    """Makes what is known of a configuration before apply: some of it is not."""
    result: Object = {}
    for name, attribute in attributes.items():
        value = config[name]
        settable = attribute.required or attribute.optional
        if settable and draw(st.integers(0, 9)) == 0:
            result[name] = draw(st.sampled_from([cty.UNKNOWN, _NOT_NULL] if value is not None else [cty.UNKNOWN]))
        elif attribute.nested is not None and isinstance(value, dict):
            result[name] = draw(with_unknown(attribute.nested, value))
        elif isinstance(value, SetValue) and draw(st.integers(0, 9)) == 0:
            result[name] = SetValue([*list(value)[1:], cty.UNKNOWN])
        elif isinstance(value, dict) and value and draw(st.integers(0, 9)) == 0:
            result[name] = {**value, min(value): cty.UNKNOWN}
        else:
            result[name] = value
    return result
