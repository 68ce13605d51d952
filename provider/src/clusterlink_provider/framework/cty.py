"""Terraform's types and values, and their msgpack and JSON encodings.

A value is a plain Python one: `None` (null), `str`, `bool`, `int` or `Decimal`, `list`, `dict` (map and object),
`SetValue`, or an `Unknown`. Floats do not occur: they would change numbers on the way through. Text is in the normal form NFC,
into which Terraform brings every text that it reads: two spellings of one name are one element of a set for both.

The encoding is that of the plugin protocol ("Wire Format for Terraform Objects", with go-cty's package msgpack as its reader).
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

import msgpack

Value: TypeAlias = Any

_UNKNOWN_CODE = 0
_REFINED_CODE = 12
# Numbers outside of 64 bits travel as decimal text; msgpack has no wider integer.
_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**64 - 1
_NUMBER_TEXT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,9})?", re.ASCII)
# Terraform's own numbers have 512 bits, about 155 digits; this leaves room, and no short text becomes a gigabyte of digits.
_MOST_DIGITS = 4000


class InvalidValueError(ValueError):
    """What was to be read or written is no value of the type that it should be of."""


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
            InvalidValueError: It is no type.
        """
        if isinstance(data, str) and data in {"string", "number", "bool", "dynamic"}:
            return cls(data)
        if isinstance(data, list) and len(data) >= 2:
            kind, part = data[0], data[1]
            if kind in ("list", "set", "map"):
                return cls(kind, element=cls.from_json(part))
            if kind == "object" and isinstance(part, dict):
                return cls(kind, attributes={name: cls.from_json(inner) for name, inner in part.items()})
            if kind == "tuple" and isinstance(part, list):
                return cls(kind, elements=tuple(cls.from_json(inner) for inner in part))
        raise InvalidValueError(f"not a Terraform type: {data!r:.100}")


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
    """Reads the msgpack encoding of a value of a type.

    Attributes of an object that are missing are null; those that the type does not have are an error.

    Raises:
        InvalidValueError: The bytes are no such value, whatever else they are.
    """
    return _decoding(kind, lambda: msgpack.unpackb(data, strict_map_key=False, ext_hook=_extension), typed=True)


def encode(kind: Type, value: Value) -> bytes:
    """Writes the msgpack encoding of a value of a type."""
    return bytes(msgpack.packb(_to_raw(kind, value), use_bin_type=True))


def decode_json(kind: Type, text: bytes) -> Value:
    """Reads the JSON encoding (a state file's), filling attributes that are missing there with null; others are left out.

    Raises:
        InvalidValueError: The text is no such value.
    """
    return _decoding(kind, lambda: json.loads(text, parse_float=Decimal, parse_constant=_no_number), typed=False)


def _decoding(kind: Type, parse: Callable[[], Any], *, typed: bool) -> Value:
    try:
        return _from_raw(kind, parse(), typed=typed)
    except InvalidValueError:
        raise
    except RecursionError:
        raise InvalidValueError("it is nested too deeply") from None
    # msgpack's errors are of many classes, among them plain ones of Python.
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise InvalidValueError(f"it cannot be read ({type(error).__name__}: {error})") from error


def _extension(code: int, data: bytes) -> Unknown:
    # Any extension is an unknown value, also one with a code that a newer Terraform may bring.
    return Unknown(data) if code == _REFINED_CODE and len(data) > 1 else UNKNOWN


def _no_number(text: str) -> Any:
    raise InvalidValueError(f"expected a number, got {text}")


def _from_raw(kind: Type, raw: Any, *, typed: bool = True) -> Value:
    if raw is None or isinstance(raw, Unknown):
        return raw
    if isinstance(raw, msgpack.Timestamp):
        return UNKNOWN  # the one extension that msgpack reads by itself
    if kind.element is not None:
        return _collection(kind, kind.element, raw, typed)
    if kind.attributes is not None:
        _expect(kind, raw, dict)
        if typed and (extra := raw.keys() - kind.attributes.keys()):
            raise InvalidValueError(f"unexpected attributes: {sorted(map(str, extra))}")
        return {name: _from_raw(part, raw.get(name), typed=typed) for name, part in kind.attributes.items()}
    if kind.name == "tuple":
        _expect(kind, raw, list)
        return [_from_raw(part, inner, typed=typed) for part, inner in zip(kind.elements, raw, strict=True)]
    if kind.name == "dynamic":
        return _dynamic(raw, typed)
    return _number(raw) if kind.name == "number" else _primitive(kind, raw)


def _collection(kind: Type, element: Type, raw: Any, typed: bool) -> Value:
    if kind.name == "map":
        _expect(kind, raw, dict)
        return {_primitive(STRING, key): _from_raw(element, inner, typed=typed) for key, inner in raw.items()}
    _expect(kind, raw, list)
    items = [_from_raw(element, inner, typed=typed) for inner in raw]
    return SetValue(items) if kind.name == "set" else items


def _dynamic(raw: Any, typed: bool) -> Dynamic:
    if typed:
        _expect(DYNAMIC, raw, list)
        spelled, inner = raw
        spelled = json.loads(spelled)
    else:
        _expect(DYNAMIC, raw, dict)
        spelled, inner = raw.get("type"), raw.get("value")
    actual = Type.from_json(spelled)
    return Dynamic(actual, _from_raw(actual, inner, typed=typed))


def _name(raw: Any) -> str:
    names = {str: "string", bool: "bool", int: "number", float: "number", Decimal: "number", list: "list", dict: "map"}
    return f"a {names.get(type(raw), 'value of another kind')}"


def _expect(kind: Type, raw: Any, container: type) -> None:
    if not isinstance(raw, container):
        raise InvalidValueError(f"expected a {kind.name}, got {_name(raw)}")


def _primitive(kind: Type, raw: Any) -> Value:
    expected = bool if kind.name == "bool" else str
    if not isinstance(raw, expected):
        raise InvalidValueError(f"expected a {kind.name}, got {_name(raw)}")
    if isinstance(raw, str) and not raw.isascii():
        raw.encode()  # JSON can spell halves of characters, which no encoding can carry
        return unicodedata.normalize("NFC", raw)
    return raw


def _number(raw: Any) -> int | Decimal:
    if isinstance(raw, bool) or not isinstance(raw, int | float | str | Decimal):
        raise InvalidValueError(f"expected a number, got {_name(raw)}")
    if isinstance(raw, int):
        return raw
    if isinstance(raw, str) and not _NUMBER_TEXT.fullmatch(raw):
        raise InvalidValueError(f"expected a number, got {raw!r:.100}")
    # A float is exactly what its bits say, as for Terraform, which sends 0.1 as text because no float is 0.1.
    number = Decimal(raw)
    if not number.is_finite() or abs(number.adjusted()) > _MOST_DIGITS or len(number.as_tuple().digits) > _MOST_DIGITS:
        raise InvalidValueError(f"expected a number of at most {_MOST_DIGITS} digits, got {raw!r:.100}")
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
    return as_float if Decimal(as_float) == number else str(number)
