"""The one place that turns the framework's values, schemas and messages into those of the protocol, and back."""

import json
from collections.abc import Iterable
from typing import Any

from clusterlink_proto.generated import tfplugin6_pb2 as pb
from clusterlink_provider.framework import cty
from clusterlink_provider.framework.cty import InvalidValueError, Type, Value
from clusterlink_provider.framework.diagnostics import Diagnostic, DiagnosticError, Diagnostics, Severity
from clusterlink_provider.framework.paths import Path
from clusterlink_provider.framework.schema import Attribute, Schema

_SEVERITIES = {Severity.ERROR: pb.Diagnostic.ERROR, Severity.WARNING: pb.Diagnostic.WARNING}


def value_from_pb(kind: Type, message: pb.DynamicValue) -> Value:
    """Reads a value; an empty message is null.

    Raises:
        DiagnosticError: It is no value of the type.
    """
    try:
        if message.msgpack:
            return cty.decode(kind, message.msgpack)
        return cty.decode_json(kind, message.json) if message.json else None
    except InvalidValueError as error:
        raise DiagnosticError.of(
            "Value does not fit the schema",
            f"Terraform sent a value that does not fit this provider's schema: {error}. If a plan file of another provider "
            "version is applied, plan again; otherwise please report it.",
        ) from error


def value_to_pb(kind: Type, value: Value) -> pb.DynamicValue:
    """Writes a value."""
    return pb.DynamicValue(msgpack=cty.encode(kind, value))


def state_to_pb(schema: Schema, state: dict[str, Value] | None) -> pb.DynamicValue:
    """Writes a state; what may be in no state is left out, whoever put it there."""
    return value_to_pb(schema.type, None if state is None else schema.without_write_only(state))


def path_to_pb(path: Path) -> pb.AttributePath:
    """Writes a path."""
    steps = []
    for step in path:
        if isinstance(step, str):
            steps.append(pb.AttributePath.Step(attribute_name=step))
        elif isinstance(step.value, int):
            steps.append(pb.AttributePath.Step(element_key_int=step.value))
        else:
            steps.append(pb.AttributePath.Step(element_key_string=step.value))
    return pb.AttributePath(steps=steps)


def diagnostics_to_pb(diagnostics: Diagnostics, schema: Schema | None = None) -> list[pb.Diagnostic]:
    """Writes messages, with their paths as Terraform finds them in a configuration."""
    return [_diagnostic_to_pb(item, schema) for item in diagnostics]


def _diagnostic_to_pb(item: Diagnostic, schema: Schema | None) -> pb.Diagnostic:
    message = pb.Diagnostic(severity=_SEVERITIES[item.severity], summary=item.summary, detail=item.detail)
    path = item.path if schema is None else schema.locate(item.path)
    if path:
        message.attribute.CopyFrom(path_to_pb(path))
    return message


def schema_to_pb(schema: Schema) -> pb.Schema:
    """Writes a schema."""
    block = pb.Schema.Block(
        version=schema.version,
        attributes=_attributes_to_pb(schema.attributes.items()),
        description=schema.description,
        description_kind=pb.MARKDOWN,
    )
    return pb.Schema(version=schema.version, block=block)


def _attributes_to_pb(attributes: Iterable[tuple[str, Attribute]]) -> list[pb.Schema.Attribute]:
    return [_attribute_to_pb(name, attribute) for name, attribute in attributes]


def _attribute_to_pb(name: str, attribute: Attribute) -> pb.Schema.Attribute:
    message = pb.Schema.Attribute(
        name=name,
        description=attribute.description,
        description_kind=pb.MARKDOWN,
        required=attribute.required,
        optional=attribute.optional,
        computed=attribute.computed,
        sensitive=attribute.sensitive,
        write_only=attribute.write_only,
    )
    if attribute.nested is None:
        message.type = json.dumps(attribute.cty_type().to_json()).encode()
    else:
        message.nested_type.CopyFrom(
            pb.Schema.Object(nesting=pb.Schema.Object.SINGLE, attributes=_attributes_to_pb(attribute.nested.items()))
        )
    return message


def private_from_pb(data: bytes) -> dict[str, Any]:
    """Reads what the provider keeps beside the state; nothing yet, and what cannot be read, is an empty table."""
    try:
        loaded = json.loads(data) if data else {}
    except (ValueError, RecursionError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def private_to_pb(private: dict[str, Any]) -> bytes:
    """Writes what the provider keeps beside the state."""
    return json.dumps(private, sort_keys=True).encode() if private else b""
