"""What a resource will be after apply, computed from its state, its configuration and its schema. Pure.

The order is that of Terraform's own framework: write-only values out, since Terraform puts them into what it proposes; defaults
where the configuration is null; then, if anything differs from the prior state, each computed attribute that the configuration
leaves open becomes unknown, except those that keep their value.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clusterlink_provider.framework.cty import UNKNOWN, Unknown, Value, is_wholly_known
from clusterlink_provider.framework.paths import Path
from clusterlink_provider.framework.schema import Attribute, Schema

Object = dict[str, Value]


@dataclass(frozen=True, slots=True)
class Planned:
    """A planned state, and the attributes whose change needs a new object."""

    state: Object
    replace: tuple[Path, ...]


def plan(schema: Schema, prior: Object | None, proposed: Object, config: Object) -> Planned:
    """Plans a create (no prior state) or an update.

    Args:
        schema: The schema of the resource.
        prior: The state now; None for a create.
        proposed: Terraform's merge of state and configuration.
        config: The configuration, null where nothing is set.
    """
    state = _with_defaults(schema.attributes, schema.without_write_only(proposed), config)
    if prior is None or state != prior:
        state = _with_unknowns(schema.attributes, state, config, prior)
    return Planned(state, replacements(schema, prior, state))


def open_computed(schema: Schema, prior: Object, state: Object, config: Object) -> Object:
    """Makes unknown what a changed object may get anew: for a resource that finds a reason for a change of its own."""
    return _with_unknowns(schema.attributes, state, config, prior)


def replacements(schema: Schema, prior: Object | None, state: Object) -> tuple[Path, ...]:
    """Finds the attributes whose change needs a new object, sorted; none for a create."""
    if prior is None:
        return ()
    return tuple(sorted(_replaced(schema.attributes, prior, state, ()), key=str))


def contradicted(
    attributes: Mapping[str, Attribute], planned: Mapping[str, Value], state: Mapping[str, Value], path: Path = ()
) -> Iterator[Path]:
    """Finds the attributes that were known in the plan and are something else in a state: Terraform would call that a bug."""
    for name, attribute in attributes.items():
        before, after, here = planned.get(name), state.get(name), (*path, name)
        if attribute.nested is not None and isinstance(before, dict) and isinstance(after, dict):
            yield from contradicted(attribute.nested, before, after, here)
        elif is_wholly_known(before) and before != after:
            yield here


def fill_defaults(schema: Schema, state: Object) -> Object:
    """Puts defaults in place of null: what an import cannot know must not look like a change afterwards."""
    filled = dict(state)
    for name, attribute in schema.attributes.items():
        if filled.get(name) is None and attribute.has_default:
            filled[name] = default_of(attribute)
    return filled


def default_of(attribute: Attribute) -> Value:
    """Gives the value that stands for null; an object's open parts are unknown."""
    if attribute.nested is None:
        return attribute.default
    return {name: _start_value(part) for name, part in attribute.nested.items()}


def _start_value(attribute: Attribute) -> Value:
    if attribute.has_default:
        return default_of(attribute)
    return UNKNOWN if attribute.computed else None


def _with_defaults(attributes: Mapping[str, Attribute], proposed: Object, config: Mapping[str, Value] | None) -> Object:
    result: Object = {}
    for name, attribute in attributes.items():
        given = None if config is None else config.get(name)
        value = proposed.get(name)
        if given is None and attribute.has_default:
            # The parts of an object that the provider computes stay as they are; the others get their defaults.
            nested = attribute.nested
            value = attribute.default if nested is None else _with_defaults(nested, _parts(value, attribute), None)
        elif attribute.nested is not None and isinstance(value, dict):
            value = _with_defaults(attribute.nested, value, given if isinstance(given, dict) else None)
        result[name] = value
    return result


def _parts(value: Value, attribute: Attribute) -> Object:
    return value if isinstance(value, dict) else default_of(attribute)


def _with_unknowns(
    attributes: Mapping[str, Attribute],
    state: Object,
    config: Mapping[str, Any] | None,
    prior: Mapping[str, Any] | None,
) -> Object:
    result: Object = {}
    for name, attribute in attributes.items():
        given = None if config is None else config.get(name)
        before = None if prior is None else prior.get(name)
        value = state.get(name)
        if attribute.nested is not None and isinstance(value, dict):
            value = _with_unknowns(
                attribute.nested,
                value,
                given if isinstance(given, dict) else None,
                before if isinstance(before, dict) else None,
            )
        elif given is None and attribute.computed and not attribute.has_default:
            value = before if attribute.keep_prior and before is not None else UNKNOWN
        result[name] = value
    return result


def _replaced(
    attributes: Mapping[str, Attribute], prior: Mapping[str, Any], state: Mapping[str, Any], path: Path
) -> list[Path]:
    found: list[Path] = []
    for name, attribute in attributes.items():
        before, after = prior.get(name), state.get(name)
        if before == after:
            continue
        if attribute.replace:
            found.append((*path, name))
        elif attribute.nested is not None and isinstance(before, dict) and isinstance(after, dict):
            found.extend(_replaced(attribute.nested, before, after, (*path, name)))
    return found


def is_known(value: Value) -> bool:
    """Tells whether a value is there and known, at its top."""
    return value is not None and not isinstance(value, Unknown)
