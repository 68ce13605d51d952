"""Plans, as pure functions: for any configuration, plan, apply, plan again is empty."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterlink_provider.framework import cty, planning
from clusterlink_provider.framework.cty import UNKNOWN, SetValue, Unknown
from clusterlink_provider.framework.schema import Attribute, Schema

Object = dict[str, Any]

SCHEMA = Schema(
    description="A thing.",
    attributes={
        "id": Attribute(description="x", type=cty.STRING, computed=True, keep_prior=True),
        "name": Attribute(description="x", type=cty.STRING, required=True, replace=True),
        "size": Attribute(description="x", type=cty.NUMBER, optional=True, computed=True, default=5),
        "note": Attribute(description="x", type=cty.STRING, optional=True),
        "tags": Attribute(description="x", type=cty.set_of(cty.STRING), optional=True),
        "zone": Attribute(
            description="x", type=cty.STRING, optional=True, computed=True, keep_prior=True, replace=True
        ),
        "state": Attribute(description="x", type=cty.STRING, computed=True),
        "sync": Attribute(
            description="x",
            optional=True,
            computed=True,
            default={},
            nested={
                "interval": Attribute(description="x", type=cty.NUMBER, optional=True, computed=True, default=100),
                "list": Attribute(
                    description="x", type=cty.set_of(cty.STRING), optional=True, computed=True, keep_prior=True
                ),
            },
        ),
        "remote": Attribute(
            description="x",
            required=True,
            nested={
                "address": Attribute(description="x", type=cty.STRING, required=True),
                "cluster": Attribute(
                    description="x", type=cty.STRING, optional=True, computed=True, keep_prior=True, replace=True
                ),
                "secret": Attribute(description="x", type=cty.STRING, optional=True, write_only=True),
            },
        ),
    },
)


def proposed(config: Object, prior: Object | None) -> Object:
    """What Terraform proposes: the configuration, with the prior value where that is null and the provider may compute."""
    return _merge(SCHEMA.attributes, config, prior)


def _merge(attributes: Any, config: Object, prior: Object | None) -> Object:
    merged: Object = {}
    for name, attribute in attributes.items():
        given, before = config.get(name), (prior or {}).get(name)
        if given is None:
            merged[name] = before if attribute.computed else None
        elif attribute.nested is not None and isinstance(given, dict):
            merged[name] = _merge(attribute.nested, given, before if isinstance(before, dict) else None)
        else:
            merged[name] = given
    return merged


def apply(planned: Object) -> Object:
    """A world that answers every open question, each time in another way."""
    return {key: _resolve(key, value) for key, value in planned.items()}


_counter = iter(range(10**9))


def _resolve(key: str, value: Any) -> Any:
    if isinstance(value, Unknown):
        return SetValue(["x"]) if key == "list" else f"{key}-{next(_counter)}"
    return apply(value) if isinstance(value, dict) else value


_TEXT = st.none() | st.sampled_from(["a", "b"])
_SETS = st.none() | st.sets(st.sampled_from("abc"), min_size=1).map(SetValue)
CONFIGS = st.fixed_dictionaries(
    {
        "id": st.none(),
        "name": st.sampled_from(["n1", "n2"]),
        "size": st.none() | st.integers(1, 3),
        "note": _TEXT,
        "tags": _SETS,
        "zone": _TEXT,
        "state": st.none(),
        "sync": st.none() | st.fixed_dictionaries({"interval": st.none() | st.integers(1, 3), "list": _SETS}),
        "remote": st.fixed_dictionaries(
            {"address": st.sampled_from(["x", "y"]), "cluster": _TEXT, "secret": st.none() | st.just("hidden")}
        ),
    }
)


def step(config: Object, prior: Object | None) -> planning.Planned:
    return planning.plan(SCHEMA, prior, proposed(config, prior), config)


@given(CONFIGS)
def test_second_plan_is_empty(config: Object) -> None:
    state = apply(step(config, None).state)
    again = step(config, state)
    assert again.state == state
    assert again.replace == ()


@given(CONFIGS, CONFIGS)
def test_plan_after_an_update_is_empty(first: Object, second: Object) -> None:
    state = apply(step(first, None).state)
    changed = step(second, state)
    state = apply(step(second, None).state if changed.replace else changed.state)
    assert step(second, state).state == state


@given(CONFIGS, CONFIGS)
def test_plan_keeps_to_the_configuration(first: Object, second: Object) -> None:
    state = apply(step(first, None).state)
    planned = step(second, state).state
    for name, attribute in SCHEMA.attributes.items():
        if second[name] is not None and attribute.nested is None:
            assert planned[name] == second[name]


@given(CONFIGS, CONFIGS)
def test_write_only_values_are_in_no_plan_and_make_no_change(first: Object, second: Object) -> None:
    state = apply(step(first, None).state)
    assert "hidden" not in repr(state)
    assert "hidden" not in repr(step(second, state).state)
    rotated = {**first, "remote": {**first["remote"], "secret": "another"}}
    assert step(rotated, state).state == state


def _config(**given: Any) -> Object:
    base: Object = dict.fromkeys(SCHEMA.attributes)
    return {**base, "name": "n", "remote": {"address": "x", "cluster": None, "secret": None}, **given}


def test_create_leaves_open_what_only_the_world_knows() -> None:
    planned = step(_config(), None).state
    assert planned == {
        "id": UNKNOWN,
        "name": "n",
        "size": 5,
        "note": None,
        "tags": None,
        "zone": UNKNOWN,
        "state": UNKNOWN,
        "sync": {"interval": 100, "list": UNKNOWN},
        "remote": {"address": "x", "cluster": UNKNOWN, "secret": None},
    }


def test_update_keeps_ids_and_opens_the_rest() -> None:
    state = apply(step(_config(), None).state)
    planned = step(_config(note="new"), state).state
    assert planned["id"] == state["id"]
    assert planned["zone"] == state["zone"]
    assert planned["sync"] == state["sync"]
    assert planned["state"] is UNKNOWN


def test_volatile_drift_alone_is_no_change() -> None:
    state = {**apply(step(_config(), None).state), "state": "something else"}
    assert step(_config(), state).state == state


@pytest.mark.parametrize(
    ("changed", "paths"),
    [
        ({"name": "other"}, (("name",),)),
        ({"zone": "z"}, (("zone",),)),
        ({"remote": {"address": "y", "cluster": None}}, ()),
        ({"remote": {"address": "x", "cluster": "other"}}, (("remote", "cluster"),)),
        ({"name": UNKNOWN}, (("name",),)),
    ],
)
def test_replacement(changed: Object, paths: tuple[object, ...]) -> None:
    state = apply(step(_config(), None).state)
    assert step(_config(**changed), state).replace == paths


def test_unknown_object_stays_unknown() -> None:
    assert step(_config(remote=UNKNOWN), None).state["remote"] is UNKNOWN


def test_defaults_after_import() -> None:
    filled = planning.fill_defaults(SCHEMA, {"name": "n", "size": None})
    assert filled["size"] == 5
