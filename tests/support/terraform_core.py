"""What Terraform itself does with a provider's answers: it proposes, compares and refuses, here without the binary.

Written from the rules that Terraform's documentation for providers states ("Resource Instance Change Lifecycle") and that its
core enforces (internal/plans/objchange of Terraform 1.11): a plan may differ from the configuration only where that is null and
the attribute is computed, or where it keeps the prior value; what was known in a plan must be what apply gives. The schema is
the one on the wire. `tests/acceptance/test_random_configurations.py` shows the real binary the same configurations.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from clusterlink_proto.generated import tfplugin6_pb2 as pb
from clusterlink_provider.framework import cty
from clusterlink_provider.framework.cty import SetValue, Type, Unknown, Value
from tests.support.provider_calls import ProviderCalls

Object = dict[str, Value]


@dataclass(frozen=True)
class Attribute:
    """An attribute as Terraform knows it."""

    type: Type
    nested: "Mapping[str, Attribute] | None"
    required: bool
    optional: bool
    computed: bool
    write_only: bool
    description: str


@dataclass(frozen=True)
class Stored:
    """A resource in the state; `value` is None when there is none."""

    value: Object | None = None
    private: bytes = b""


@dataclass
class Plan:
    """What was planned: `action` is one of no-op, create, update, replace, delete, error."""

    action: str
    prior: Stored
    planned: Object | None = None
    private: bytes = b""
    diagnostics: list[pb.Diagnostic] = field(default_factory=list)


class ContradictionError(AssertionError):
    """The provider has broken a rule of Terraform; the binary would say that it is a bug of the provider."""


def read_schema(schema: pb.Schema) -> dict[str, Attribute]:
    """Reads a schema off the wire."""
    return {item.name: _attribute(item) for item in schema.block.attributes}


def _attribute(item: pb.Schema.Attribute) -> Attribute:
    nested = None
    if item.HasField("nested_type"):
        assert item.nested_type.nesting == pb.Schema.Object.SINGLE
        nested = {part.name: _attribute(part) for part in item.nested_type.attributes}
        kind = cty.object_of({name: part.type for name, part in nested.items()})
    else:
        kind = Type.from_json(json.loads(item.type))
    return Attribute(kind, nested, item.required, item.optional, item.computed, item.write_only, item.description)


def to_json(value: Value) -> Any:
    """Gives what a state file holds for a value."""
    if isinstance(value, dict):
        return {key: to_json(inner) for key, inner in value.items()}
    if isinstance(value, list | SetValue):
        return [to_json(inner) for inner in value]
    return float(value) if isinstance(value, Decimal) else value


def propose(attributes: Mapping[str, Attribute], prior: Mapping[str, Value] | None, config: Object) -> Object:
    """Merges state and configuration: the configuration counts, but what is null there and computed stays as it was."""
    proposed: Object = {}
    for name, attribute in attributes.items():
        before, given = None if prior is None else prior.get(name), config.get(name)
        if attribute.computed and given is None:
            proposed[name] = before
        elif attribute.nested is not None and isinstance(given, dict):
            proposed[name] = propose(attribute.nested, before, given)
        else:
            proposed[name] = given
    return proposed


def check_plan(
    attributes: Mapping[str, Attribute],
    prior: Mapping[str, Value] | None,
    config: Mapping[str, Value] | None,
    planned: Mapping[str, Value],
    path: str = "",
) -> None:
    """Refuses a plan that a provider may not make."""
    for name, attribute in attributes.items():
        before, given = ((values or {}).get(name) for values in (prior, config))
        value, here = planned[name], f"{path}{name}"
        if same(value, given) or (before is not None and given is not None and same(value, before)):
            continue
        if attribute.write_only:
            if value is not None:
                raise ContradictionError(f"{here} is write-only, but planned")
        elif attribute.computed and (not attribute.optional or given is None):
            continue
        elif given is None:
            raise ContradictionError(f"{here} is neither configured nor computed, but planned as {value!r}")
        elif attribute.nested is None or not isinstance(value, dict) or not isinstance(given, dict):
            raise ContradictionError(f"{here} is configured as {given!r}, but planned as {value!r}; it was {before!r}")
        else:
            check_plan(attribute.nested, before, given, value, f"{here}.")


def check_result(kind: Type, planned: Value, actual: Value, path: str = "") -> None:
    """Refuses a result that contradicts the plan; what was unknown may be anything that its refinement allows."""
    if isinstance(planned, Unknown):
        if actual is None and planned.refinement is not None and b"\x01\xc2" in planned.refinement:
            raise ContradictionError(f"{path} was planned as not null, but is null")
    elif isinstance(actual, Unknown):
        raise ContradictionError(f"{path} was known in the plan, and is unknown now")
    elif planned is None or actual is None:
        if planned is not actual:
            raise ContradictionError(f"{path} was planned as {planned!r}, but is {actual!r}")
    elif kind.name == "set":
        _check_set(kind, planned, actual, path)
    elif isinstance(planned, dict):
        if planned.keys() != actual.keys():
            raise ContradictionError(f"{path} was planned with {sorted(planned)}, but has {sorted(actual)}")
        for key, value in planned.items():
            part = kind.element if kind.attributes is None else kind.attributes[key]
            assert part is not None
            check_result(part, value, actual[key], f"{path}.{key}")
    elif not same(planned, actual):
        raise ContradictionError(f"{path} was planned as {planned!r}, but is {actual!r}")


def _check_set(kind: Type, planned: SetValue, actual: SetValue, path: str) -> None:
    assert kind.element is not None

    def fits(one: Value, other: Value) -> bool:
        try:
            check_result(kind.element or kind, one, other)
        except ContradictionError:
            return False
        return True

    pairs = [(one, other) for one in planned for other in actual if fits(one, other)]
    matched = SetValue(one for one, _ in pairs), SetValue(other for _, other in pairs)
    if matched != (planned, actual) or len(actual) > len(planned):
        raise ContradictionError(f"{path} was planned as {planned!r}, but is {actual!r}")


def same(one: Value, other: Value) -> bool:
    """Compares as Terraform does: refinements of what is unknown do not count, and 1 is not true."""
    return SetValue([_bare(one)]) == SetValue([_bare(other)])


def _bare(value: Value) -> Value:
    if isinstance(value, Unknown):
        return cty.UNKNOWN
    if isinstance(value, dict):
        return {key: _bare(inner) for key, inner in value.items()}
    return SetValue(map(_bare, value)) if isinstance(value, SetValue) else value


def _without_write_only(attributes: Mapping[str, Attribute], value: Object) -> Object:
    return {
        name: None
        if attribute.write_only
        else _without_write_only(attribute.nested, value[name])
        if attribute.nested is not None and isinstance(value[name], dict)
        else value[name]
        for name, attribute in attributes.items()
    }


class TerraformCore:
    """Terraform with one resource of one type, and a provider that is configured anew for each walk."""

    def __init__(self, provider: ProviderCalls, type_name: str, endpoint: str) -> None:
        self._provider, self._type_name, self._endpoint = provider, type_name, endpoint
        schemas = provider.call("GetProviderSchema")
        self.attributes = read_schema(schemas.resource_schemas[type_name])
        self.type = cty.object_of({name: item.type for name, item in self.attributes.items()})
        provider_parts = {name: item.type for name, item in read_schema(schemas.provider).items()}
        self._provider_type = cty.object_of(provider_parts)

    def begin_walk(self) -> list[pb.Diagnostic]:
        """Configures the provider, as for each walk; gives its messages."""
        config = dict.fromkeys(self._provider_type.attributes or ()) | {"endpoint": self._endpoint}
        value = pb.DynamicValue(msgpack=cty.encode(self._provider_type, config))
        return list(self._provider.call("ConfigureProvider", config=value).diagnostics)

    def validate(self, config: Object) -> list[pb.Diagnostic]:
        """Gives the messages of `terraform validate`."""
        capabilities = pb.ClientCapabilities(write_only_attributes_allowed=True)
        response = self._call("ValidateResourceConfig", config=self._out(config), client_capabilities=capabilities)
        return list(response.diagnostics)

    def refresh(self, stored: Stored) -> tuple[Stored, list[pb.Diagnostic]]:
        """Reads a stored state and brings it up to date; with an error it stays as it was."""
        if stored.value is None:
            return stored, []
        schema_version = 0
        raw = pb.RawState(json=json.dumps(to_json(stored.value)).encode())
        upgraded = self._call("UpgradeResourceState", version=schema_version, raw_state=raw)
        if _failed(upgraded):
            return stored, list(upgraded.diagnostics)
        response = self._call("ReadResource", current_state=upgraded.upgraded_state, private=stored.private)
        if _failed(response):
            return stored, list(response.diagnostics)
        value = self._in(response.new_state)
        if not cty.is_wholly_known(value):
            raise ContradictionError("a read state has unknown parts")
        return Stored(value, response.private), list(response.diagnostics)

    def plan(self, stored: Stored, config: Object | None) -> Plan:
        """Plans in a walk of its own: refreshes, asks the provider, and checks what it answers."""
        diagnostics = self.begin_walk()
        if _errors(diagnostics):
            return Plan("error", stored, diagnostics=diagnostics)
        prior, more = self.refresh(stored)
        if _errors(more):
            return Plan("error", stored, diagnostics=more)
        planned = self.plan_change(prior, config)
        planned.diagnostics[:0] = more
        return planned

    def plan_change(self, prior: Stored, config: Object | None) -> Plan:
        """Plans from a state that is up to date."""
        if prior.value is None and config is None:
            return Plan("no-op", prior)
        answer = self._ask_for_plan(prior.value, config, prior.private)
        diagnostics = list(answer.diagnostics)
        if _errors(diagnostics):
            return Plan("error", prior, diagnostics=diagnostics)
        planned = self._in(answer.planned_state)
        if config is None:
            if planned is not None:
                raise ContradictionError("a destroy was planned as something else")
            return Plan("delete", prior, None, answer.planned_private, diagnostics)
        self._check(prior.value, config, planned)
        if prior.value is None:
            return Plan("create", prior, planned, answer.planned_private, diagnostics)
        if self._replaces(prior.value, planned, answer.requires_replace):
            answer = self._ask_for_plan(None, config, answer.planned_private)
            if _errors(answer.diagnostics):
                return Plan("error", prior, diagnostics=[*diagnostics, *answer.diagnostics])
            planned = self._in(answer.planned_state)
            self._check(None, config, planned)
            return Plan("replace", prior, planned, answer.planned_private, diagnostics)
        action = "no-op" if same(planned, prior.value) else "update"
        return Plan(action, prior, planned, answer.planned_private, diagnostics)

    def apply(self, plan: Plan, config: Object | None) -> tuple[Stored, list[pb.Diagnostic]]:
        """Applies in a walk of its own, with the configuration as it is then: wholly known. Gives what is stored afterwards."""
        assert plan.action != "error"
        assert cty.is_wholly_known(config)
        stored = plan.prior
        if plan.action == "no-op":
            return stored, []
        diagnostics = self.begin_walk()
        if _errors(diagnostics):
            return stored, diagnostics
        if plan.action in {"replace", "delete"}:
            stored, diagnostics = self._change(stored, None, None, stored.private)
            if _errors(diagnostics) or plan.action == "delete":
                return stored, diagnostics
        assert config is not None
        # With what other resources have given, Terraform plans once more, and the two plans have to agree.
        final = self.plan_change(Stored(stored.value, plan.private if stored.value is None else stored.private), config)
        if final.action == "error":
            return stored, final.diagnostics
        if final.action not in {plan.action, "create", "no-op"}:
            raise ContradictionError(f"{plan.action} was planned, and apply would {final.action}")
        check_result(self.type, plan.planned, final.planned, "final plan")
        if final.action == "no-op":
            return stored, []  # what was not known turned out to be what is there
        return self._change(stored, final.planned, config, final.private)

    def _change(
        self, stored: Stored, planned: Object | None, config: Object | None, private: bytes
    ) -> tuple[Stored, list[pb.Diagnostic]]:
        response = self._call(
            "ApplyResourceChange",
            prior_state=self._out(stored.value),
            planned_state=self._out(planned),
            config=self._out(config),
            planned_private=private,
        )
        value, diagnostics = self._in(response.new_state), list(response.diagnostics)
        if not cty.is_wholly_known(value):
            raise ContradictionError("a new state has unknown parts")
        if value is not None and not same(value, _without_write_only(self.attributes, value)):
            raise ContradictionError("a write-only value is in the state")
        if not _errors(diagnostics):
            check_result(self.type, planned, value, "result")
        return Stored(value, response.private), diagnostics

    def _ask_for_plan(self, prior: Object | None, config: Object | None, private: bytes) -> Any:
        proposed = None if config is None else propose(self.attributes, prior, config)
        return self._call(
            "PlanResourceChange",
            prior_state=self._out(prior),
            proposed_new_state=self._out(proposed),
            config=self._out(config),
            prior_private=private,
        )

    def _check(self, prior: Object | None, config: Object, planned: Object | None) -> None:
        if planned is None:
            raise ContradictionError("planned for absence, but configured")
        check_plan(self.attributes, prior, config, planned)

    def _replaces(self, prior: Object, planned: Object | None, paths: Any) -> bool:
        for path in paths:
            steps = [step.attribute_name for step in path.steps]
            before, after = _at(prior, steps), _at(planned, steps)
            if isinstance(after, Unknown) or not same(before, after):
                return True
        return False

    def _call(self, name: str, **fields: Any) -> Any:
        return self._provider.call(name, type_name=self._type_name, **fields)

    def _out(self, value: Object | None) -> pb.DynamicValue:
        return pb.DynamicValue(msgpack=cty.encode(self.type, value))

    def _in(self, message: pb.DynamicValue) -> Any:
        return cty.decode(self.type, message.msgpack) if message.msgpack else None


def _at(value: Value, names: list[str]) -> Value:
    for name in names:
        assert name, "a path of a replacement leads to an attribute"
        value = value.get(name) if isinstance(value, dict) else value
    return value


def _errors(diagnostics: Any) -> list[pb.Diagnostic]:
    return [item for item in diagnostics if item.severity == pb.Diagnostic.ERROR]


def _failed(response: Any) -> bool:
    return bool(_errors(response.diagnostics))
