"""Values go through both encodings unchanged, as the plugin protocol has them; other bytes are refused by name."""

import json
import unicodedata
from decimal import Decimal

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterlink_provider.framework import cty
from clusterlink_provider.framework.cty import UNKNOWN, InvalidValueError, SetValue, Type, Unknown

# In the normal form that every text of Terraform has.
_TEXT = st.text(max_size=8).map(lambda text: unicodedata.normalize("NFC", text))
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
    if kind == cty.DYNAMIC:
        return _TEXT.map(lambda text: cty.Dynamic(cty.STRING, text))
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
        (b"\xc7\x09\x0c\x82\x01\xc2\x02\xa4from", Unknown(b"\x82\x01\xc2\x02\xa4from")),
        (b"\xd4\x07\x00", UNKNOWN),
        (b"\xd4\x0c\x00", UNKNOWN),
        (b"\xc7\x00\x00", UNKNOWN),
        (b"\xd6\xff\x00\x00\x00\x00", UNKNOWN),
        (b"\xc0", None),
        (b"\xa1x", "x"),
    ],
    ids=[
        "unknown",
        "refined: not null",
        "refined: not null, with a prefix",
        "unknown of a newer Terraform",
        "refined by nothing",
        "of no length",
        "with the code that msgpack has for times",
        "null",
        "text",
    ],
)
def test_vectors(encoded: bytes, expected: object) -> None:
    assert cty.decode(cty.STRING, encoded) == expected


@pytest.mark.parametrize("encoded", [b"\xd4\x00\x00", b"\xc7\x03\x0c\x81\x01\xc2"])
def test_unknown_is_kept_byte_for_byte(encoded: bytes) -> None:
    assert cty.encode(cty.STRING, cty.decode(cty.STRING, encoded)) == encoded


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        # The decimal 0.1 comes as text; the float nearest to it is another number, for Terraform too.
        ("0.1", Decimal("0.1")),
        (0.1, Decimal("0.1000000000000000055511151231257827021181583404541015625")),
        (0.5, Decimal("0.5")),
        (3.0, 3),
        (-(2**63), -(2**63)),
        (str(2**64), 2**64),
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


@pytest.mark.parametrize(
    ("number", "encoded"),
    [
        (1, "01"),
        (-1, "ff"),
        (128, "cc80"),
        (2**63 - 1, "cf7fffffffffffffff"),
        (-(2**63), "d38000000000000000"),
        (Decimal("0.5"), "cb3fe0000000000000"),
        (Decimal("0.1"), "a3302e31"),  # text: no float is 0.1
        (2**64, "b43138343436373434303733373039353531363136"),
    ],
)
def test_number_vectors(number: int | Decimal, encoded: str) -> None:
    """Each encoding of a number that Terraform reads and writes, byte by byte."""
    assert cty.encode(cty.NUMBER, number).hex() == encoded
    assert cty.decode(cty.NUMBER, bytes.fromhex(encoded)) == number


@pytest.mark.parametrize("raw", ["NaN", "Infinity", "1_000", " 1", "", "0x10", "1e999999999", "1" * 5000, "٣"])
def test_what_is_no_number(raw: str) -> None:
    with pytest.raises(InvalidValueError, match="expected a number"):
        cty.decode(cty.NUMBER, msgpack.packb(raw))
    with pytest.raises(InvalidValueError):
        cty.decode(cty.NUMBER, msgpack.packb(float("inf")))


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


_PAIR = cty.object_of({"a": cty.STRING, "b": cty.STRING})


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (cty.STRING, 1),
        (cty.STRING, b"bytes"),
        (cty.BOOL, "x"),
        (cty.NUMBER, True),
        (cty.NUMBER, b"1"),
        (cty.NUMBER, []),
        (cty.list_of(cty.STRING), "abc"),
        (cty.set_of(cty.STRING), {"a": "b"}),
        (cty.map_of(cty.STRING), ["a"]),
        (cty.map_of(cty.STRING), {1: "a"}),
        (_PAIR, ["a", "b"]),
        (cty.DYNAMIC, {"type": "string"}),
    ],
)
def test_wrong_type(kind: Type, raw: object) -> None:
    with pytest.raises(InvalidValueError, match="expected"):
        cty.decode(kind, msgpack.packb(raw))


def test_null_against_missing() -> None:
    assert cty.decode(_PAIR, msgpack.packb({"a": "x"})) == {"a": "x", "b": None}
    assert cty.decode(_PAIR, msgpack.packb(None)) is None
    # What is null is written, never left out: Terraform counts the attributes.
    assert msgpack.unpackb(cty.encode(_PAIR, {"a": "x"})) == {"a": "x", "b": None}
    assert cty.decode(cty.map_of(cty.STRING), msgpack.packb({"k": None})) == {"k": None}
    with pytest.raises(InvalidValueError, match=r"unexpected attributes: \['c'\]"):
        cty.decode(_PAIR, msgpack.packb({"a": "x", "b": "y", "c": "z"}))


_COMPOSED, _DECOMPOSED = "\u00e9", "e\u0301"


def test_text_is_normal() -> None:
    """Terraform has every text in the form NFC; in a set, two spellings are one element."""
    raw = msgpack.packb([_COMPOSED, _DECOMPOSED])
    assert cty.decode(cty.set_of(cty.STRING), raw) == SetValue([_COMPOSED])
    assert cty.decode(cty.map_of(cty.STRING), msgpack.packb({_DECOMPOSED: _DECOMPOSED})) == {_COMPOSED: _COMPOSED}
    assert cty.decode_json(cty.STRING, json.dumps(_DECOMPOSED).encode()) == _COMPOSED
    assert cty.encode(cty.STRING, _DECOMPOSED) == cty.encode(cty.STRING, _COMPOSED)


def test_sets() -> None:
    kind = cty.set_of(cty.NUMBER)
    assert cty.decode(kind, msgpack.packb([3, 1, 3, "1", 1.0])) == SetValue([1, 3])
    assert cty.decode(kind, cty.encode(kind, [2, 1, 2])) == SetValue([1, 2])
    assert cty.decode(kind, msgpack.packb([])) == SetValue()
    unknown = cty.decode(kind, msgpack.packb([1, msgpack.ExtType(0, b"\0")]))
    assert unknown == SetValue([UNKNOWN, 1])


@pytest.mark.parametrize(
    ("spelled", "raw", "value"),
    [
        ('"string"', "x", cty.Dynamic(cty.STRING, "x")),
        ('["list","number"]', [1, None], cty.Dynamic(cty.list_of(cty.NUMBER), [1, None])),
        ('["object",{"a":["set","bool"]}]', {"a": [True]}, None),
        ('["tuple",["string","dynamic"]]', ["x", None], None),
    ],
)
def test_dynamic_vectors(spelled: str, raw: object, value: object) -> None:
    """A value of a dynamic type is a pair: its type's JSON as bytes, and itself."""
    encoded = msgpack.packb([spelled.encode(), raw])
    decoded = cty.decode(cty.DYNAMIC, encoded)
    assert value is None or decoded == value
    assert cty.decode(cty.DYNAMIC, cty.encode(cty.DYNAMIC, decoded)) == decoded


def test_nested_deeply() -> None:
    kind = cty.STRING
    value: object = "x"
    for _ in range(100):
        kind, value = cty.list_of(kind), [value]
    assert cty.decode(kind, cty.encode(kind, value)) == value
    deep = b'["list",' * 100_000 + b'"string"' + b"]" * 100_000
    for encoded in (msgpack.packb([deep, "x"]), b"\x91" * 100_000 + b"\xc0"):
        with pytest.raises(InvalidValueError):
            cty.decode(cty.DYNAMIC, encoded)
    with pytest.raises(InvalidValueError, match="deep"):
        cty.decode_json(cty.list_of(cty.STRING), b"[" * 100_000)


@given(_TYPES.flatmap(lambda kind: st.tuples(st.just(kind), _values(kind))), st.data())
def test_cut_off(case: tuple[Type, object], data: st.DataObject) -> None:
    """The beginning of a value is no value, wherever it was cut."""
    kind, value = case
    encoded = cty.encode(kind, value)
    with pytest.raises(InvalidValueError):
        cty.decode(kind, encoded[: data.draw(st.integers(0, len(encoded) - 1))])
    with pytest.raises(InvalidValueError):
        cty.decode(kind, encoded + b"\xc0")


_ANY_TYPE = _TYPES | st.just(cty.DYNAMIC) | st.just(cty.object_of({"d": cty.DYNAMIC}))


@given(_ANY_TYPE, st.binary(max_size=40))
def test_any_bytes_are_a_value_or_a_named_error(kind: Type, data: bytes) -> None:
    for read in (cty.decode, cty.decode_json):
        try:
            value = read(kind, data)
        except InvalidValueError:
            continue
        assert cty.decode(kind, cty.encode(kind, value)) == value


@given(_ANY_TYPE.flatmap(lambda kind: st.tuples(st.just(kind), _values(kind))), st.data())
def test_changed_bytes_are_a_value_or_a_named_error(case: tuple[Type, object], data: st.DataObject) -> None:
    kind, value = case
    encoded = bytearray(cty.encode(kind, value))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        changed = cty.decode(kind, bytes(encoded))
    except InvalidValueError:
        return
    assert cty.decode(kind, cty.encode(kind, changed)) == changed


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT | st.integers(0, 3), inner, max_size=3),
    max_leaves=8,
)


@given(_ANY_TYPE, _JSON)
def test_any_msgpack_is_a_value_or_a_named_error(kind: Type, raw: object) -> None:
    try:
        data = msgpack.packb(raw)
    except OverflowError:
        return
    try:
        cty.decode(kind, data)
    except InvalidValueError:
        return


def test_halves_of_characters() -> None:
    with pytest.raises(InvalidValueError):
        cty.decode_json(cty.STRING, b'"\\ud800"')


@pytest.mark.parametrize(
    "data", ['["list"]', '["object",["a"]]', '["tuple","string"]', '["map",1]', '"any"', "[{},1]", "1"]
)
def test_what_is_no_type(data: str) -> None:
    with pytest.raises(InvalidValueError, match="not a Terraform type"):
        Type.from_json(json.loads(data))


def test_without_unknown() -> None:
    value = {"a": UNKNOWN, "b": [UNKNOWN, 1], "c": SetValue(["x", UNKNOWN]), "d": "e"}
    known = cty.without_unknown(value)
    assert known == {"a": None, "b": [None, 1], "c": SetValue(["x"]), "d": "e"}
    assert cty.is_wholly_known(known)
