"""Terraform's types and values, and their msgpack and JSON encodings.

A value is a plain Python one: `None` (null), `str`, `bool`, `int` or `Decimal`, `list`, `dict` (map and object),
`SetValue`, or an `Unknown`. Floats do not occur: they would change numbers on the way through.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

import msgpack

Value: TypeAlias = Any

_UNKNOWN_CODE = 0
_REFINED_CODE = 12
# Numbers outside of 64 bits travel as decimal text; msgpack has no wider integer.
_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**64 - 1


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value that is known only after apply.

    Terraform may say a little about it (`refinement`, for example the start of a string). That is kept byte for
    byte, because Terraform compares the planned value with its own.
    """

    refinement: bytes | None = None


UNKNOWN = Unknown()


@dataclass(frozen=True, slots=True)
class Type:
    """A type: a primitive by name, or a collection with its parts."""

    name: str
    element: "Type | None" = None
    attributes: Mapping[str, "Type"] | None = None
    elements: tuple["Type", ...] = ()

    def to_json(self) -> Any:
        """Gives the form that `json.dumps` turns into Terraform's spelling of the type."""
        if self.element is not None:
            return [self.name, self.element.to_json()]
        if self.attributes is not None:
            return [self.name, {name: part.to_json() for name, part in self.attributes.items()}]
        if self.name == "tuple":
            return [self.name, [part.to_json() for part in self.elements]]
        return self.name

    @classmethod
    def from_json(cls, data: Any) -> "Type":
        """Reads Terraform's spelling of a type.

        Raises:
            ValueError: It is no type.
        """
        if isinstance(data, str) and data in {"string", "number", "bool", "dynamic"}:
            return cls(data)
        if isinstance(data, list) and len(data) >= 2:
            kind, part = data[0], data[1]
            if kind in {"list", "set", "map"}:
                return cls(kind, element=cls.from_json(part))
            if kind == "object":
                return cls(kind, attributes={name: cls.from_json(inner) for name, inner in part.items()})
            if kind == "tuple":
                return cls(kind, elements=tuple(cls.from_json(inner) for inner in part))
        raise ValueError(f"not a Terraform type: {data!r}")


STRING = Type("string")
NUMBER = Type("number")
BOOL = Type("bool")
DYNAMIC = Type("dynamic")


def list_of(element: Type) -> Type:
    """Makes the type of a list."""
    return Type("list", element=element)


def set_of(element: Type) -> Type:
    """Makes the type of a set."""
    return Type("set", element=element)


def map_of(element: Type) -> Type:
    """Makes the type of a map with text keys."""
    return Type("map", element=element)


def object_of(attributes: Mapping[str, Type]) -> Type:
    """Makes the type of an object."""
    return Type("object", attributes=dict(attributes))


@dataclass(frozen=True, slots=True)
class Dynamic:
    """A value that brings its type along."""

    type: Type
    value: Value


class SetValue:
    """A set whose elements may be anything, objects and unknown values included; the order means nothing."""

    __slots__ = ("elements",)

    def __init__(self, elements: Iterable[Value] = ()) -> None:
        unique = {_fingerprint(element): element for element in elements}
        self.elements: tuple[Value, ...] = tuple(unique[key] for key in sorted(unique))

    def __iter__(self) -> Iterator[Value]:
        return iter(self.elements)

    def __len__(self) -> int:
        return len(self.elements)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SetValue) and _fingerprint(self) == _fingerprint(other)

    def __hash__(self) -> int:
        return hash(_fingerprint(self))

    def __repr__(self) -> str:
        return f"SetValue({list(self.elements)!r})"


def _fingerprint(value: Value) -> str:
    """Gives a text that is the same for equal values only, and sorts."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{_fingerprint(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_fingerprint, value)) + "]"
    if isinstance(value, SetValue):
        return "<" + ",".join(map(_fingerprint, value.elements)) + ">"
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        number = _number(value)
        return f"n{number}" if isinstance(number, int) else f"n{number:f}".rstrip("0")
    return repr(value)


def is_wholly_known(value: Value) -> bool:
    """Tells whether no part of the value is unknown."""
    if isinstance(value, Unknown):
        return False
    if isinstance(value, dict):
        return all(map(is_wholly_known, value.values()))
    if isinstance(value, list | SetValue):
        return all(map(is_wholly_known, value))
    return is_wholly_known(value.value) if isinstance(value, Dynamic) else True


def without_unknown(value: Value) -> Value:
    """Gives the value with null in place of each unknown part (in a set: left out)."""
    if isinstance(value, Unknown):
        return None
    if isinstance(value, dict):
        return {key: without_unknown(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_unknown(inner) for inner in value]
    if isinstance(value, SetValue):
        return SetValue(element for element in value if is_wholly_known(element))
    return value


def decode(kind: Type, data: bytes) -> Value:
    """Reads the msgpack encoding of a value of a type."""
    raw = msgpack.unpackb(data, raw=False, strict_map_key=False, ext_hook=_extension)
    return _from_raw(kind, raw)


def encode(kind: Type, value: Value) -> bytes:
    """Writes the msgpack encoding of a value of a type."""
    return bytes(msgpack.packb(_to_raw(kind, value), use_bin_type=True))


def load_json(text: bytes) -> Any:
    """Reads JSON with every number as it is written."""
    return json.loads(text, parse_float=Decimal)


def decode_json(kind: Type, text: bytes) -> Value:
    """Reads the JSON encoding (a state file's), filling attributes that are missing there with null."""
    return from_json(kind, load_json(text))


def from_json(kind: Type, loaded: Any) -> Value:
    """As `decode_json`, of what `load_json` gave."""
    return _from_raw(kind, loaded, typed=False)


def _extension(code: int, data: bytes) -> Unknown:
    # Any extension is an unknown value, also one with a code that a newer Terraform may bring.
    return Unknown(data) if code == _REFINED_CODE else UNKNOWN


def _from_raw(kind: Type, raw: Any, *, typed: bool = True) -> Value:
    if raw is None or isinstance(raw, Unknown):
        return raw
    if kind.element is not None:
        if kind.name == "map":
            return {key: _from_raw(kind.element, inner, typed=typed) for key, inner in raw.items()}
        items = [_from_raw(kind.element, inner, typed=typed) for inner in raw]
        return SetValue(items) if kind.name == "set" else items
    if kind.attributes is not None:
        return {name: _from_raw(part, raw.get(name), typed=typed) for name, part in kind.attributes.items()}
    if kind.name == "tuple":
        return [_from_raw(part, inner, typed=typed) for part, inner in zip(kind.elements, raw, strict=True)]
    if kind.name == "dynamic":
        spelled, inner = (json.loads(raw[0]), raw[1]) if typed else (raw["type"], raw["value"])
        actual = Type.from_json(spelled)
        return Dynamic(actual, _from_raw(actual, inner, typed=typed))
    return _number(raw) if kind.name == "number" else _primitive(kind, raw)


def _primitive(kind: Type, raw: Any) -> Value:
    expected = bool if kind.name == "bool" else str
    if not isinstance(raw, expected):
        raise ValueError(f"expected a {kind.name}, got {type(raw).__name__}")
    return raw


def _number(raw: Any) -> int | Decimal:
    if isinstance(raw, bool):
        raise ValueError("expected a number, got bool")
    if isinstance(raw, int):
        return raw
    # repr() of a float is the shortest text that gives the same float: 0.1 stays 0.1.
    number = Decimal(repr(raw)) if isinstance(raw, float) else Decimal(raw)
    return int(number) if number == number.to_integral_value() else number


def _to_raw(kind: Type, value: Value) -> Any:
    if value is None:
        return None
    if isinstance(value, Unknown):
        if value.refinement is None:
            return msgpack.ExtType(_UNKNOWN_CODE, b"\x00")
        return msgpack.ExtType(_REFINED_CODE, value.refinement)
    if kind.element is not None:
        if kind.name == "map":
            return {key: _to_raw(kind.element, inner) for key, inner in value.items()}
        items = SetValue(value) if kind.name == "set" else value
        return [_to_raw(kind.element, inner) for inner in items]
    if kind.attributes is not None:
        return {name: _to_raw(part, value.get(name)) for name, part in kind.attributes.items()}
    if kind.name == "tuple":
        return [_to_raw(part, inner) for part, inner in zip(kind.elements, value, strict=True)]
    if kind.name == "dynamic":
        return [json.dumps(value.type.to_json()).encode(), _to_raw(value.type, value.value)]
    return _number_to_raw(value) if kind.name == "number" else _primitive(kind, value)


def _number_to_raw(value: Any) -> int | float | str:
    number = _number(value)
    if isinstance(number, int):
        return number if _INTEGER_MIN <= number <= _INTEGER_MAX else str(number)
    as_float = float(number)
    return as_float if Decimal(repr(as_float)) == number else str(number)
