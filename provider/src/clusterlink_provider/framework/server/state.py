"""UpgradeResourceState, ReadResource, ImportResourceState, MoveResourceState: what Terraform knows against what is."""

from typing import Any

from clusterlink_proto.generated import tfplugin6_pb2 as pb
from clusterlink_provider.framework import convert, cty, planning
from clusterlink_provider.framework.diagnostics import DiagnosticError, Diagnostics
from clusterlink_provider.framework.provider import StateContext
from clusterlink_provider.framework.server.core import Core, collect


def upgrade(core: Core[Any], request: pb.UpgradeResourceState.Request) -> pb.UpgradeResourceState.Response:
    """Reads a stored state into today's schema."""
    resource = core.resource(request.type_name)
    schema = resource.schema
    if request.version > schema.version:
        raise DiagnosticError.of(
            "State of a newer provider",
            f"The state of this {request.type_name} has schema version {request.version}; this provider knows "
            f"versions up "
            f"to {schema.version}. Use the provider version that wrote it, or a newer one.",
        )
    if not request.raw_state.json:
        raise DiagnosticError.of(
            "Unreadable state",
            f"The state of this {request.type_name} is in the form of Terraform before 0.12, or empty. Remove it with "
            "`terraform state rm` and import the object.",
        )
    try:
        state = cty.decode_json(schema.type, request.raw_state.json)
    except cty.InvalidValueError as error:
        raise DiagnosticError.of(
            "Unreadable state",
            f"The state of this {request.type_name} does not fit the schema: {error}. If it was edited by hand, go back to the "
            "copy from before (terraform.tfstate.backup), or remove it with `terraform state rm` and import the object.",
        ) from error
    if state is not None:
        # Attributes that came after the state was written had their default.
        state = cty.without_unknown(planning.fill_defaults(schema, state))
        if core.session is not None:
            resource.seen(core.session, state)
    return pb.UpgradeResourceState.Response(upgraded_state=convert.state_to_pb(schema, state))


def read(core: Core[Any], request: pb.ReadResource.Request) -> pb.ReadResource.Response:
    """Brings a state up to date; with an error it stays as it was."""
    resource = core.resource(request.type_name)
    schema = resource.schema
    prior = convert.value_from_pb(schema.type, request.current_state)
    response = pb.ReadResource.Response(new_state=request.current_state, private=request.private)
    session = core.session
    if prior is None or session is None:
        return response
    resource.seen(session, prior)
    context = StateContext(session, state=dict(prior), private=convert.private_from_pb(request.private))
    collect(context.diagnostics, lambda: resource.read(context))
    response.diagnostics.extend(convert.diagnostics_to_pb(context.diagnostics, schema))
    if not context.diagnostics.has_errors:
        response.new_state.CopyFrom(convert.state_to_pb(schema, context.state))
        response.private = convert.private_to_pb(context.private)
    return response


def import_state(core: Core[Any], request: pb.ImportResourceState.Request) -> pb.ImportResourceState.Response:
    """Turns an identifier into a state that Terraform then has read."""
    resource = core.resource(request.type_name)
    diagnostics = Diagnostics()
    state = resource.import_state(request.id, diagnostics)
    response = pb.ImportResourceState.Response(diagnostics=convert.diagnostics_to_pb(diagnostics))
    if not diagnostics.has_errors:
        response.imported_resources.add(
            type_name=request.type_name, state=convert.value_to_pb(resource.schema.type, state)
        )
    return response


def move(_core: Core[Any], request: pb.MoveResourceState.Request) -> pb.MoveResourceState.Response:
    """Refuses to take over the state of another type."""
    raise DiagnosticError.of(
        "Cannot move between types",
        f"A {request.source_type_name} of {request.source_provider_address} cannot become a "
        f"{request.target_type_name}. "
        "Remove it with `terraform state rm` and import the object under its new type.",
    )
