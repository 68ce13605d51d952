"""Values go through both encodings unchanged."""

import json
from decimal import Decimal

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterlink_provider.framework import cty
from clusterlink_provider.framework.cty import UNKNOWN, SetValue, Type, Unknown

_TEXT = st.text(max_size=8)
_NUMBERS = st.one_of(
    st.integers(), st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9)
)


def _values(kind: Type) -> st.SearchStrategy[object]:
    special: st.SearchStrategy[object] = st.sampled_from([None, UNKNOWN, Unknown(msgpack.packb({1: False}))])
    return special | _known(kind)


def _known(kind: Type) -> st.SearchStrategy[object]:
    if kind.element is not None:
        parts = _values(kind.element)
        if kind.name == "map":
            return st.dictionaries(_TEXT, parts, max_size=3)
        lists = st.lists(parts, max_size=3)
        return lists.map(SetValue) if kind.name == "set" else lists
    if kind.attributes is not None:
        return st.fixed_dictionaries({name: _values(part) for name, part in kind.attributes.items()})
    numbers = _NUMBERS.map(lambda number: int(number) if number == int(number) else number)
    return {"string": _TEXT, "bool": st.booleans(), "number": numbers}[kind.name]


_PRIMITIVES = st.sampled_from([cty.STRING, cty.NUMBER, cty.BOOL])
_TYPES = st.recursive(
    _PRIMITIVES,
    lambda inner: st.one_of(
        inner.map(cty.list_of),
        inner.map(cty.set_of),
        inner.map(cty.map_of),
        st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3).map(cty.object_of),
    ),
    max_leaves=6,
)


@given(_TYPES.flatmap(lambda kind: st.tuples(st.just(kind), _values(kind))))
def test_msgpack_round_trip(case: tuple[Type, object]) -> None:
    kind, value = case
    assert cty.decode(kind, cty.encode(kind, value)) == value


@given(_TYPES)
def test_type_round_trip(kind: Type) -> None:
    assert Type.from_json(json.loads(json.dumps(kind.to_json()))) == kind


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        (b"\xd4\x00\x00", UNKNOWN),
        (b"\xc7\x03\x0c\x81\x01\xc2", Unknown(b"\x81\x01\xc2")),
        (b"\xd4\x07\x00", UNKNOWN),
        (b"\xc0", None),
        (b"\xa1x", "x"),
    ],
    ids=["unknown", "refined", "unknown of a newer Terraform", "null", "text"],
)
def test_vectors(encoded: bytes, expected: object) -> None:
    assert cty.decode(cty.STRING, encoded) == expected


@pytest.mark.parametrize("encoded", [b"\xd4\x00\x00", b"\xc7\x03\x0c\x81\x01\xc2"])
def test_unknown_is_kept_byte_for_byte(encoded: bytes) -> None:
    assert cty.encode(cty.STRING, cty.decode(cty.STRING, encoded)) == encoded


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        (0.1, Decimal("0.1")),
        (3.0, 3),
        ("12345678901234567890123", 12345678901234567890123),
        ("0.12345678901234567890123456789012345", Decimal("0.12345678901234567890123456789012345")),
        (2**64 - 1, 2**64 - 1),
        ("1e3", 1000),
    ],
)
def test_numbers(raw: object, number: object) -> None:
    decoded = cty.decode(cty.NUMBER, msgpack.packb(raw))
    assert decoded == number
    assert type(decoded) is type(number)
    assert cty.decode(cty.NUMBER, cty.encode(cty.NUMBER, decoded)) == number


def test_long_numbers_differ_in_a_set() -> None:
    assert len(SetValue([Decimal("0." + "1" * 40), Decimal("0." + "1" * 39 + "2")])) == 2


def test_set_has_no_order() -> None:
    assert SetValue(["a", "b", "a"]) == SetValue(["b", "a"])
    assert SetValue([{"x": 1}, UNKNOWN]) == SetValue([UNKNOWN, {"x": 1}])
    assert hash(SetValue([1, 2])) == hash(SetValue([2, 1]))
    assert SetValue(["1"]) != SetValue([1])
    assert SetValue([True]) != SetValue([1])


def test_json_fills_what_is_missing() -> None:
    kind = cty.object_of({"a": cty.STRING, "n": cty.NUMBER, "s": cty.set_of(cty.STRING)})
    decoded = cty.decode_json(kind, b'{"n": 1.10, "s": ["b", "a"], "gone": true}')
    assert decoded == {"a": None, "n": Decimal("1.1"), "s": SetValue(["a", "b"])}


def test_dynamic() -> None:
    value = cty.Dynamic(cty.list_of(cty.STRING), ["x", UNKNOWN])
    assert cty.decode(cty.DYNAMIC, cty.encode(cty.DYNAMIC, value)) == value
    assert not cty.is_wholly_known(value)


def test_tuple() -> None:
    kind = Type.from_json(["tuple", ["string", "number"]])
    assert cty.decode(kind, cty.encode(kind, ["a", 1])) == ["a", 1]


@pytest.mark.parametrize(("kind", "raw"), [(cty.STRING, 1), (cty.BOOL, "x"), (cty.NUMBER, True)])
def test_wrong_type(kind: Type, raw: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        cty.decode(kind, msgpack.packb(raw))


def test_without_unknown() -> None:
    value = {"a": UNKNOWN, "b": [UNKNOWN, 1], "c": SetValue(["x", UNKNOWN]), "d": "e"}
    known = cty.without_unknown(value)
    assert known == {"a": None, "b": [None, 1], "c": SetValue(["x"]), "d": "e"}
    assert cty.is_wholly_known(known)
