"""Schemas are checked when they are made, and those of the provider say all that a user needs."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from google.protobuf import message_factory

from clusterlink_proto.generated import tfplugin6_pb2 as pb
from clusterlink_provider.framework import convert, cty
from clusterlink_provider.framework.cty import UNKNOWN, SetValue
from clusterlink_provider.framework.diagnostics import Diagnostics
from clusterlink_provider.framework.paths import Key, Path
from clusterlink_provider.framework.schema import Attribute, Schema
from clusterlink_provider.resources import checks, link_schema, mirror_topic_schema
from clusterlink_provider.resources.provider import ClusterlinkProvider

PROVIDER = ClusterlinkProvider({})
SCHEMAS = {
    "provider": PROVIDER.schema,
    **{name: item.schema for name, item in PROVIDER.resources.items()},
    **{f"data.{name}": item.schema for name, item in PROVIDER.data_sources.items()},
}
NO_STARTS = [
    "",
    "EARLIEST",
    "2026",
    "2026-01-31",
    "2026-01-31T00:00:00",
    "2026-01-31 00:00:00Z",
    "2026-01-31T00:00Z",
    "2026-02-30T00:00:00Z",
    "2026-W05-1T00:00:00Z",
    "20260131T000000Z",
    "1969-12-31T23:59:59Z",
    "1970-01-01T00:00:00+00:01",
    "\u0662026-01-31T00:00:00Z",
    "2026-01-31T00:00:00Z\n",
    "123",
]


def _all(attributes: Mapping[str, Attribute]) -> Iterator[tuple[str, Attribute]]:
    for name, attribute in attributes.items():
        yield name, attribute
        yield from _all(attribute.nested or {})


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_every_attribute_is_described(schema: Schema) -> None:
    for name, attribute in _all(schema.attributes):
        assert attribute.description.endswith("."), name


@pytest.mark.parametrize("schema", [link_schema.SCHEMA, mirror_topic_schema.SCHEMA], ids=["link", "mirror_topic"])
def test_every_setting_says_its_default_and_what_a_change_does(schema: Schema) -> None:
    for name, attribute in _all(schema.attributes):
        if attribute.optional and attribute.nested is None:
            assert "Default" in attribute.description, name
        if (attribute.optional or attribute.required) and attribute.nested is None:
            assert "change" in attribute.description, name


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a", {"type": cty.STRING}, "must be required"),
        ("a", {"type": cty.STRING, "required": True, "optional": True}, "cannot be required"),
        ("a", {"type": cty.STRING, "optional": True, "default": "x"}, "has a default"),
        ("a", {"type": cty.STRING, "optional": True, "keep_prior": True}, "keeps its prior"),
        ("a", {"optional": True}, "either a type"),
        ("a", {"type": cty.STRING, "optional": True, "computed": True, "write_only": True}, "is write-only"),
        ("a", {"type": cty.STRING, "optional": True, "replace": True, "write_only": True}, "is write-only"),
        ("A", {"type": cty.STRING, "optional": True}, "not a name"),
        ("count", {"type": cty.STRING, "optional": True}, "keeps for itself"),
        ("a", {"type": cty.STRING, "optional": True, "description": ""}, "needs a description"),
    ],
)
def test_mistakes_are_found_when_a_schema_is_made(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Schema(description="x", attributes={name: Attribute(**{"description": "x", **options})})


@pytest.mark.parametrize(
    ("path", "located"),
    [
        (("remote_cluster", "bootstrap_servers"), ("remote_cluster", Key("bootstrap_servers"))),
        (("config", Key("retention.ms")), ("config", Key("retention.ms"))),
        (("name",), ("name",)),
        (("name", "x"), ("name",)),
        (("nothing",), ()),
        ((), ()),
    ],
)
def test_paths_have_the_form_that_terraform_finds(path: Path, located: Path) -> None:
    assert link_schema.SCHEMA.locate(path) == located


def test_validation_skips_only_what_is_unknown() -> None:
    config = dict.fromkeys(link_schema.SCHEMA.attributes)
    config |= {
        "name": UNKNOWN,
        "mode": "SOURCE",
        "remote_cluster": {
            "bootstrap_servers": SetValue([UNKNOWN, "no-port"]),
            "cluster_id": UNKNOWN,
            "security_protocol": "TLS",
            "sasl": {
                "mechanism": "GSSAPI",
                "username": "",
                "password": "",
                "password_wo": UNKNOWN,
                "password_wo_version": -1,
            },
        },
        "mirror_start_offset": "yesterday",
        "topic_config_sync": {"interval_ms": 999, "include": UNKNOWN},
    }
    diagnostics = Diagnostics()
    link_schema.SCHEMA.validate(config, diagnostics)
    assert {item.path for item in diagnostics} == {
        ("mode",),
        ("remote_cluster", "bootstrap_servers"),
        ("remote_cluster", "security_protocol"),
        ("remote_cluster", "sasl", "mechanism"),
        ("remote_cluster", "sasl", "username"),
        ("remote_cluster", "sasl", "password"),
        ("remote_cluster", "sasl", "password_wo_version"),
        ("mirror_start_offset",),
        ("topic_config_sync", "interval_ms"),
    }


@pytest.mark.parametrize(
    "value",
    [
        "earliest",
        "latest",
        "1970-01-01T00:00:00Z",
        "2026-01-31T23:59:59.5+02:00",
        "2026-01-31T00:00:00.123456789Z",
        "2024-02-29T00:00:00-12:30",
    ],
)
def test_starts_that_are_possible(value: str) -> None:
    diagnostics = Diagnostics()
    checks.start_offset(value, ("x",), diagnostics)
    assert list(diagnostics) == []


@pytest.mark.parametrize("value", NO_STARTS)
def test_starts_that_are_not_possible(value: str) -> None:
    diagnostics = Diagnostics()
    checks.start_offset(value, ("x",), diagnostics)
    assert [item.summary for item in diagnostics] == ["Invalid start"]


def test_a_secret_is_in_no_message_about_it() -> None:
    """Not even one that is wrong."""
    sasl = link_schema.SCHEMA.attributes["remote_cluster"].nested or {}
    attributes = dict(sasl["sasl"].nested or {})
    attributes |= attributes["oauth"].nested or {}
    for name, attribute in attributes.items():
        if attribute.sensitive:
            for validator in attribute.validators:
                diagnostics = Diagnostics()
                validator("hidden", (name,), diagnostics)
                validator("", (name,), diagnostics)
                assert len(diagnostics) == 1


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_message_of_the_protocol(schema: Schema) -> None:
    block = convert.schema_to_pb(schema).block
    assert [attribute.name for attribute in block.attributes] == list(schema.attributes)
    for attribute in block.attributes:
        assert bool(attribute.type) != attribute.HasField("nested_type")


def test_messages_have_the_numbers_of_the_protocol() -> None:
    """A few facts of the wire that a slip in the .proto would break silently."""
    assert pb.DESCRIPTOR.services_by_name["Provider"].full_name == "tfplugin6.Provider"
    numbers = {
        "PlanResourceChange.Request": {"prior_state": 2, "proposed_new_state": 3, "config": 4, "prior_private": 5},
        "PlanResourceChange.Response": {
            "planned_state": 1,
            "requires_replace": 2,
            "planned_private": 3,
            "diagnostics": 4,
        },
        "ApplyResourceChange.Response": {"new_state": 1, "private": 2, "diagnostics": 3},
        "GetProviderSchema.Response": {
            "provider": 1,
            "resource_schemas": 2,
            "data_source_schemas": 3,
            "diagnostics": 4,
        },
        "Schema.Attribute": {"type": 2, "computed": 6, "nested_type": 10, "write_only": 11},
    }
    for name, fields in numbers.items():
        outer, inner = name.split(".")
        descriptor = pb.DESCRIPTOR.message_types_by_name[outer].nested_types_by_name[inner]
        assert message_factory.GetMessageClass(descriptor)
        for field, number in fields.items():
            assert descriptor.fields_by_name[field].number == number
