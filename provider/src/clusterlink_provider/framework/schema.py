"""Schemas of the provider, its resources and data sources: attributes, their rules, checks of a configuration, old versions."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, TypeAlias

from clusterlink_provider.framework import cty
from clusterlink_provider.framework.cty import Type, Unknown, Value
from clusterlink_provider.framework.diagnostics import Diagnostics
from clusterlink_provider.framework.paths import Key, Path, show

# Turns a stored object of one version into one of the next: what JSON has, by name.
Upgrader: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]

# Looks at one known value (never null, never unknown at its top) and reports what is wrong with it.
Validator: TypeAlias = Callable[[Value, Path, Diagnostics], None]

_NAME = re.compile(r"^[a-z][a-z0-9_]*$")
# What descriptions say of a default, a need or a change, each in a sentence of its own.
_WISHES = re.compile(r" (?:Default|Needed|A change)\b.*?\.(?= [A-Z`]|$)")
# Terraform keeps these for itself in every resource.
_RESERVED = frozenset({"connection", "count", "depends_on", "for_each", "lifecycle", "provider", "provisioner"})


class _NoDefault:
    """The type of `NO_DEFAULT`, apart from null, which would be a default too."""

    def __repr__(self) -> str:
        return "NO_DEFAULT"


NO_DEFAULT: Final = _NoDefault()


class Nesting(Enum):
    """How many objects a nested attribute has."""

    SINGLE = "single"
    LIST = "list"
    SET = "set"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """One attribute: either of a plain type, or (with `nested`) objects with attributes of their own.

    Attributes:
        type: Its type; for objects it follows from `nested`.
        description: Value, unit, default and what a change does; shown by editors.
        nested: The attributes of the object, or of each one.
        nesting: How many objects there are. Those of a list or a set have no defaults and no write-only values.
        default: What stands for null in the configuration. An object's default is made of those of its attributes.
        replace: A change makes Terraform replace the resource.
        keep_prior: The provider computes it once; an update does not change it.
        write_only: Its value is in the configuration only, never in a plan or a state (protocol 6.8).
        validators: Checks of a known value.
    """

    description: str
    type: Type | None = None
    nested: Mapping[str, "Attribute"] | None = None
    nesting: Nesting = Nesting.SINGLE
    required: bool = False
    optional: bool = False
    computed: bool = False
    sensitive: bool = False
    default: Any = NO_DEFAULT
    replace: bool = False
    keep_prior: bool = False
    write_only: bool = False
    validators: tuple[Validator, ...] = ()

    def cty_type(self) -> Type:
        """Gives the type of the attribute's values."""
        if self.nested is not None:
            one = cty.object_of({name: part.cty_type() for name, part in self.nested.items()})
            return one if self.nesting is Nesting.SINGLE else Type(self.nesting.value, element=one)
        if self.type is None:
            raise ValueError("an attribute has a type or nested attributes")
        return self.type

    @property
    def has_default(self) -> bool:
        """Whether a null in the configuration stands for something known."""
        return self.default is not NO_DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """The schema of one provider, resource or data source; checked when it is made.

    Attributes:
        description: What it is for.
        attributes: By name.
        upgraders: One for each version before this one, from version 0 on. Each says of attributes that came with its next
            version what they were for objects that were made without them: that is a fact, and no default that may change.
    """

    description: str
    attributes: Mapping[str, Attribute]
    upgraders: tuple[Upgrader, ...] = ()
    type: Type = field(init=False)

    def __post_init__(self) -> None:
        for name, attribute in self.attributes.items():
            _check(name, attribute)
            if name in _RESERVED:
                raise ValueError(f"{name} is a name that Terraform keeps for itself")
        kinds = {name: attribute.cty_type() for name, attribute in self.attributes.items()}
        object.__setattr__(self, "type", cty.object_of(kinds))

    @property
    def version(self) -> int:
        """The version of states that are written now."""
        return len(self.upgraders)

    def validate(self, config: Value, diagnostics: Diagnostics) -> None:
        """Checks each attribute by itself: unknown neighbours (in validate, every variable) hide nothing."""
        _validate_object(self.attributes, config, (), diagnostics)

    def refuse_write_only(self, config: Value, diagnostics: Diagnostics) -> None:
        """Refuses write-only attributes that are set, for a Terraform that would store them."""
        for path in _write_only_set(self.attributes, config, ()):
            diagnostics.error(
                "Write-only attribute not possible",
                f"This version of Terraform would keep `{show(path)}` in its state. Use Terraform or OpenTofu 1.11 or newer, "
                "or the sensitive attribute in its place, which is meant to be kept there.",
                path,
            )

    def without_write_only(self, values: dict[str, Value]) -> dict[str, Value]:
        """Gives a configuration or a state without the values that may be in no state."""
        return _without_write_only(self.attributes, values)

    def secrets(self, values: Value) -> Iterator[str]:
        """Gives the texts of a configuration or a state that are to be shown nowhere."""
        yield from _secrets(self.attributes, values)

    def locate(self, path: Path) -> Path:
        """Gives the part of a path that Terraform finds in a configuration: an attribute, and one step into its value.

        That step has the form of an element's key for the attributes of an object too: Terraform looks for a second attribute
        name among blocks only, finds none, and points to the first line of the resource. Elements of sets have no place.
        """
        if not path or not isinstance(path[0], str) or path[0] not in self.attributes:
            return ()
        kind = self.attributes[path[0]].cty_type().name
        if len(path) == 1 or kind not in {"object", "map", "list"}:
            return path[:1]
        step = path[1]
        return (path[0], Key(step) if isinstance(step, str) else step)


def computed(description: str, kind: Type) -> Attribute:
    """Makes an attribute that the provider fills and nobody sets."""
    return Attribute(description=description, type=kind, computed=True)


def computed_objects(description: str, nested: Mapping[str, Attribute], nesting: Nesting = Nesting.LIST) -> Attribute:
    """Makes an attribute with objects that the provider fills and nobody sets."""
    return Attribute(description=description, nested=nested, nesting=nesting, computed=True)


def as_computed(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    """Makes of a resource's attributes those of a data source: without secrets, and without the sentences for who sets them."""
    return {
        name: Attribute(
            description=_WISHES.sub("", attribute.description),
            type=attribute.type,
            nested=None if attribute.nested is None else as_computed(attribute.nested),
            nesting=attribute.nesting,
            computed=True,
        )
        for name, attribute in attributes.items()
        if not attribute.sensitive and not _is_of_write_only(name, attributes)
    }


def _is_of_write_only(name: str, attributes: Mapping[str, Attribute]) -> bool:
    owner = attributes.get(name.removesuffix("_version"))
    return owner is not None and owner.write_only


def _check(name: str, attribute: Attribute) -> None:
    if not _NAME.match(name):
        raise ValueError(f"{name!r} is not a name for an attribute")
    if not attribute.description:
        raise ValueError(f"{name} needs a description")
    if (attribute.type is None) == (attribute.nested is None):
        raise ValueError(f"{name} needs either a type or nested attributes")
    if not (attribute.required or attribute.optional or attribute.computed):
        raise ValueError(f"{name} must be required, optional or computed")
    if attribute.required and (attribute.optional or attribute.computed):
        raise ValueError(f"{name} cannot be required and optional or computed")
    if attribute.has_default and not (attribute.optional and attribute.computed):
        raise ValueError(f"{name} has a default, so it must be optional and computed")
    if attribute.keep_prior and not attribute.computed:
        raise ValueError(f"{name} keeps its prior value, so it must be computed")
    if attribute.write_only and (attribute.computed or attribute.nested is not None or attribute.replace):
        raise ValueError(f"{name} is write-only, so it cannot be computed or nested, and no change of it can be seen")
    for inner, part in (attribute.nested or {}).items():
        _check(inner, part)
        if attribute.nesting is not Nesting.SINGLE and (
            attribute.has_default or part.has_default or part.write_only or part.replace
        ):
            raise ValueError(
                f"{inner} is one of many, so neither it nor {name} can have a default, be write-only or replace by itself"
            )


def _write_only_set(attributes: Mapping[str, Attribute], values: Mapping[str, Value], path: Path) -> Iterator[Path]:
    for name, attribute in attributes.items():
        value, here = values.get(name), (*path, name)
        if attribute.write_only and value is not None:
            yield here
        elif attribute.nested is not None and isinstance(value, dict):
            yield from _write_only_set(attribute.nested, value, here)


def _secrets(attributes: Mapping[str, Attribute], values: Value) -> Iterator[str]:
    for name, attribute in attributes.items() if isinstance(values, dict) else ():
        value = values.get(name)
        if attribute.nested is not None and value is not None and not isinstance(value, Unknown):
            for one in [value] if attribute.nesting is Nesting.SINGLE else value:
                yield from _secrets(attribute.nested, one)
        elif (attribute.sensitive or attribute.write_only) and isinstance(value, str) and value:
            yield value


def _without_write_only(attributes: Mapping[str, Attribute], values: dict[str, Value]) -> dict[str, Value]:
    result = dict(values)
    for name, attribute in attributes.items():
        value = result.get(name)
        if attribute.write_only:
            result[name] = None
        elif attribute.nested is not None and isinstance(value, dict):
            result[name] = _without_write_only(attribute.nested, value)
    return result


def _validate_object(
    attributes: Mapping[str, Attribute], values: Mapping[str, Value], path: Path, diagnostics: Diagnostics
) -> None:
    for name, attribute in attributes.items():
        value = values.get(name)
        if value is None or isinstance(value, Unknown):
            continue
        here = (*path, name)
        for validator in attribute.validators:
            validator(value, here, diagnostics)
        if attribute.nested is not None:
            for one in [value] if attribute.nesting is Nesting.SINGLE else value:
                if isinstance(one, dict):
                    _validate_object(attribute.nested, one, here, diagnostics)
