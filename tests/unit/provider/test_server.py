"""The calls of the protocol on a small provider: whole answers, also when the provider's own code breaks."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from clusterlink_proto.generated import tfplugin6_pb2 as pb
from clusterlink_provider.framework import convert, cty
from clusterlink_provider.framework.cty import UNKNOWN
from clusterlink_provider.framework.diagnostics import DiagnosticError, Diagnostics
from clusterlink_provider.framework.provider import ApplyContext, Context, PlanContext, StateContext
from clusterlink_provider.framework.schema import Attribute, Schema
from tests.support.provider_calls import ProviderCalls

SCHEMA = Schema(
    description="A thing.",
    version=1,
    attributes={
        "name": Attribute(description="x", type=cty.STRING, required=True, replace=True),
        "id": Attribute(description="x", type=cty.STRING, computed=True, keep_prior=True),
        "note": Attribute(description="x", type=cty.STRING, optional=True),
        "size": Attribute(description="x", type=cty.NUMBER, optional=True, computed=True, default=5),
        "secret": Attribute(description="x", type=cty.STRING, optional=True, write_only=True),
    },
)
Object = dict[str, Any]


class Thing:
    """A resource whose steps are functions that a test may replace."""

    type_name = "test_thing"
    schema = SCHEMA

    def __init__(self) -> None:
        self.seen_names: list[str] = []
        self.step: Callable[[ApplyContext[str]], None] = self._finish
        self.found: Object | None = None

    def _finish(self, context: ApplyContext[str]) -> None:
        context.state = {**context.planned, "id": "1"} if context.planned else None

    def validate(self, config: Object, diagnostics: Diagnostics) -> None:
        if config["note"] == "bad":
            diagnostics.error("Bad note", "x", ("note",))

    def seen(self, _session: str, state: Object) -> None:
        self.seen_names.append(state["name"])

    def read(self, context: StateContext[str]) -> None:
        context.state = self.found

    def plan(self, context: PlanContext[str]) -> None:
        if context.planned is None:
            context.diagnostics.warning("Going", "x")
        context.private["count"] = context.private.get("count", 0) + 1

    def create(self, context: ApplyContext[str]) -> None:
        self.step(context)

    def update(self, context: ApplyContext[str]) -> None:
        self.step(context)

    def delete(self, context: ApplyContext[str]) -> None:
        self.step(context)

    def import_state(self, identifier: str, _diagnostics: Diagnostics) -> Object:
        return {"name": identifier}


class Source:
    """A data source."""

    type_name = "test_source"
    schema = Schema(description="x", attributes={"id": Attribute(description="x", type=cty.STRING, computed=True)})

    def read(self, context: Context[str], _config: Object) -> Object:
        return {"id": context.session}


class TinyProvider:
    """A provider with one of each."""

    schema = Schema(description="x", attributes={"url": Attribute(description="x", type=cty.STRING, optional=True)})

    def __init__(self, thing: Thing) -> None:
        self.resources = {"test_thing": thing}
        self.data_sources = {"test_source": Source()}
        self.stopped: list[str] = []

    def configure(self, config: Object, _diagnostics: Diagnostics) -> str | None:
        url: str | None = config["url"]
        return url

    def stop(self, session: str) -> None:
        self.stopped.append(session)


class Caller(ProviderCalls):
    """The small provider, configured."""

    def __init__(self) -> None:
        self.thing = Thing()
        self.provider = TinyProvider(self.thing)
        super().__init__(self.provider)
        self.call("ConfigureProvider", config=convert.value_to_pb(TinyProvider.schema.type, {"url": "u"}))

    def apply(self, prior: Object | None, planned: Object | None) -> Any:
        return self.call(
            "ApplyResourceChange",
            type_name="test_thing",
            prior_state=value(prior),
            planned_state=value(planned),
            config=value(planned),
            planned_private=b'{"count": 1}',
        )


def value(state: Object | None) -> pb.DynamicValue:
    return convert.value_to_pb(SCHEMA.type, state)


def state_of(message: pb.DynamicValue) -> Any:
    return convert.value_from_pb(SCHEMA.type, message)


def summaries(response: Any) -> list[str]:
    return [item.summary for item in response.diagnostics]


@pytest.fixture
def caller() -> Caller:
    return Caller()


REST = {"note": None, "size": 5, "secret": None}
PRIOR = {"name": "a", "id": "1", **REST}


def test_about(caller: Caller) -> None:
    schemas = caller.call("GetProviderSchema")
    assert schemas.server_capabilities.plan_destroy
    assert schemas.server_capabilities.get_provider_schema_optional
    assert schemas.resource_schemas["test_thing"].version == 1
    assert [item.type_name for item in caller.call("GetMetadata").data_sources] == ["test_source"]
    assert not caller.call("GetFunctions").diagnostics


def test_validate(caller: Caller) -> None:
    response = caller.call(
        "ValidateResourceConfig",
        type_name="test_thing",
        config=value({**REST, "name": UNKNOWN, "id": None, "note": "bad"}),
    )
    assert summaries(response) == ["Bad note"]
    assert response.diagnostics[0].attribute.steps[0].attribute_name == "note"


def test_write_only_values_need_a_terraform_that_knows_them(caller: Caller) -> None:
    request = {"type_name": "test_thing", "config": value({**PRIOR, "id": None, "secret": "hidden"})}
    response = caller.call("ValidateResourceConfig", **request)
    assert summaries(response) == ["Write-only attribute not possible"]
    assert response.diagnostics[0].attribute.steps[0].attribute_name == "secret"
    assert "hidden" not in str(response)
    able = pb.ClientCapabilities(write_only_attributes_allowed=True)
    assert not caller.call("ValidateResourceConfig", **request, client_capabilities=able).diagnostics


def test_write_only_values_are_in_no_plan_and_no_state(caller: Caller) -> None:
    secret = {**PRIOR, "secret": "hidden"}
    planned = caller.call(
        "PlanResourceChange", type_name="test_thing", proposed_new_state=value(secret), config=value(secret)
    )
    assert state_of(planned.planned_state)["secret"] is None
    caller.thing.step = lambda context: setattr(context, "state", context.config)
    applied = caller.apply(None, secret)
    assert state_of(applied.new_state)["secret"] is None
    caller.thing.found = secret
    read = caller.call("ReadResource", type_name="test_thing", current_state=value(PRIOR))
    assert state_of(read.new_state)["secret"] is None


def test_unknown_type(caller: Caller) -> None:
    assert summaries(caller.call("ValidateResourceConfig", type_name="test_nothing")) == ["Unknown resource type"]
    assert summaries(caller.call("ReadDataSource", type_name="test_nothing")) == ["Unknown data source type"]


def test_plan(caller: Caller) -> None:
    config = {**REST, "name": "b", "id": None}
    response = caller.call(
        "PlanResourceChange",
        type_name="test_thing",
        prior_state=value(PRIOR),
        proposed_new_state=value({**config, "id": "1"}),
        config=value(config),
        prior_private=b'{"count": 1}',
    )
    assert state_of(response.planned_state) == {**REST, "name": "b", "id": "1"}
    assert [path.steps[0].attribute_name for path in response.requires_replace] == ["name"]
    assert json.loads(response.planned_private) == {"count": 2}


def test_plan_of_a_destroy(caller: Caller) -> None:
    response = caller.call(
        "PlanResourceChange", type_name="test_thing", prior_state=value(PRIOR), proposed_new_state=value(None)
    )
    assert state_of(response.planned_state) is None
    assert summaries(response) == ["Going"]


def test_apply(caller: Caller) -> None:
    response = caller.apply(None, {**PRIOR, "id": UNKNOWN})
    assert state_of(response.new_state) == PRIOR
    assert response.private == b'{"count": 1}'
    assert state_of(caller.apply(PRIOR, None).new_state) is None


def test_bug_becomes_a_message_and_state_is_kept(caller: Caller, caplog: pytest.LogCaptureFixture) -> None:
    def broken(context: ApplyContext[str]) -> None:
        raise KeyError("oops")

    caller.thing.step = broken
    for prior, planned in ((PRIOR, {**PRIOR, "note": "x"}), (PRIOR, None)):
        response = caller.apply(prior, planned)
        assert state_of(response.new_state) == prior
        assert "bug in the provider" in response.diagnostics[0].detail
        assert "Traceback" not in response.diagnostics[0].detail
    assert "Traceback" in caplog.text
    assert state_of(caller.apply(None, PRIOR).new_state) is None


def test_error_keeps_what_was_reached(caller: Caller) -> None:
    def half(context: ApplyContext[str]) -> None:
        context.state = {**PRIOR, "note": UNKNOWN}
        raise DiagnosticError.of("Half way", "x", ("note",))

    caller.thing.step = half
    response = caller.apply(None, {**PRIOR, "id": UNKNOWN, "note": "n"})
    assert state_of(response.new_state) == PRIOR
    assert summaries(response) == ["Half way"]


def test_unknown_in_a_new_state_is_a_bug(caller: Caller) -> None:
    caller.thing.step = lambda context: setattr(context, "state", context.planned)
    response = caller.apply(None, {**PRIOR, "id": UNKNOWN})
    assert summaries(response) == ["Incomplete result"]
    assert state_of(response.new_state) == {**PRIOR, "id": None}


def test_unreadable_request_keeps_the_state(caller: Caller) -> None:
    response = caller.call(
        "ApplyResourceChange",
        type_name="test_thing",
        prior_state=value(PRIOR),
        planned_state=pb.DynamicValue(msgpack=b"\xc1"),
        planned_private=b"{}",
    )
    assert state_of(response.new_state) == PRIOR
    assert summaries(response) == ["Value does not fit the schema"]


def test_read(caller: Caller) -> None:
    request = {"type_name": "test_thing", "current_state": value(PRIOR)}
    assert state_of(caller.call("ReadResource", **request).new_state) is None
    caller.thing.found = {**PRIOR, "note": "new"}
    assert state_of(caller.call("ReadResource", **request).new_state)["note"] == "new"
    assert caller.thing.seen_names == ["a", "a"]


def test_upgrade(caller: Caller) -> None:
    raw = pb.RawState(json=json.dumps({"name": "a", "old": 1}).encode())
    response = caller.call("UpgradeResourceState", type_name="test_thing", version=1, raw_state=raw)
    assert state_of(response.upgraded_state) == {**PRIOR, "id": None}
    assert caller.thing.seen_names == ["a"]
    newer = caller.call("UpgradeResourceState", type_name="test_thing", version=2, raw_state=raw)
    assert summaries(newer) == ["State of a newer provider"]
    ancient = pb.RawState(flatmap={"name": "a"})
    old = caller.call("UpgradeResourceState", type_name="test_thing", version=0, raw_state=ancient)
    assert summaries(old) == ["Unreadable state"]


def test_import_and_move(caller: Caller) -> None:
    response = caller.call("ImportResourceState", type_name="test_thing", id="a")
    assert state_of(response.imported_resources[0].state) == {**PRIOR, "id": None, "size": None}
    assert summaries(caller.call("MoveResourceState", target_type_name="test_thing")) == ["Cannot move between types"]


def test_data_source_and_stop(caller: Caller) -> None:
    response = caller.call("ReadDataSource", type_name="test_source", config=pb.DynamicValue(msgpack=b"\x80"))
    assert convert.value_from_pb(Source.schema.type, response.state) == {"id": "u"}
    assert caller.call("StopProvider").Error == ""
    assert caller.provider.stopped == ["u"]


def test_unknown_provider_configuration_reads_nothing(caller: Caller) -> None:
    caller.call("ConfigureProvider", config=convert.value_to_pb(TinyProvider.schema.type, {"url": None}))
    response = caller.call("ReadResource", type_name="test_thing", current_state=value(PRIOR))
    assert state_of(response.new_state) == PRIOR
