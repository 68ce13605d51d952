"""UpgradeResourceState, ReadResource, ImportResourceState, MoveResourceState: what Terraform knows against what is."""

from typing import Any

from clusterlink_proto.generated import tfplugin6_pb2 as pb
from clusterlink_provider.framework import convert, cty, planning
from clusterlink_provider.framework.diagnostics import DiagnosticError, Diagnostics
from clusterlink_provider.framework.provider import StateContext
from clusterlink_provider.framework.server.core import Core, collect
from clusterlink_provider.framework.server.identity import identify, refuse_another
from clusterlink_provider.framework.server.upgrading import upgraded


def upgrade(core: Core[Any], request: pb.UpgradeResourceState.Request) -> pb.UpgradeResourceState.Response:
    """Reads a stored state into today's schema."""
    resource = core.resource(request.type_name)
    schema = resource.schema
    state = upgraded("state", request.type_name, request.version, request.raw_state, schema.type, schema.upgraders)
    if state is not None:
        # What came without a new version had its default.
        state = cty.without_unknown(planning.fill_defaults(schema, state))
        if core.session is not None:
            resource.seen(core.session, state)
    return pb.UpgradeResourceState.Response(upgraded_state=convert.state_to_pb(schema, state))


def read(core: Core[Any], request: pb.ReadResource.Request) -> pb.ReadResource.Response:
    """Brings a state up to date; with an error it stays as it was."""
    resource = core.resource(request.type_name)
    schema = resource.schema
    prior = convert.value_from_pb(schema.type, request.current_state)
    response = pb.ReadResource.Response(
        new_state=request.current_state,
        private=request.private,
        new_identity=request.current_identity if request.HasField("current_identity") else None,
    )
    session = core.session
    if prior is None or session is None:
        return response
    resource.seen(session, prior)
    context = StateContext(session, state=dict(prior), private=convert.private_from_pb(request.private))

    def work() -> None:
        refuse_another(resource, session, prior, request.current_identity)
        resource.read(context)

    collect(context.diagnostics, work)
    response.diagnostics.extend(convert.diagnostics_to_pb(context.diagnostics, schema))
    if not context.diagnostics.has_errors:
        response.new_state.CopyFrom(convert.state_to_pb(schema, context.state))
        response.private = convert.private_to_pb(context.private)
        if (found := identify(resource, session, context.state)) is not None:
            response.new_identity.CopyFrom(found)
    return response


def import_state(core: Core[Any], request: pb.ImportResourceState.Request) -> pb.ImportResourceState.Response:
    """Turns an identifier, or an identity, into a state that Terraform then has read."""
    resource = core.resource(request.type_name)
    diagnostics = Diagnostics()
    identity = convert.identity_from_pb(resource.identity, request.identity)
    if request.id or identity is None:
        state = resource.import_state(request.id, diagnostics)
    elif core.session is not None:
        state = resource.import_identity(core.session, identity, diagnostics)
    else:
        raise DiagnosticError.of(
            "Provider not configured",
            "An import by identity needs the provider's configuration, which is not known yet. Import by id instead.",
        )
    response = pb.ImportResourceState.Response(diagnostics=convert.diagnostics_to_pb(diagnostics))
    if not diagnostics.has_errors:
        response.imported_resources.add(
            type_name=request.type_name,
            state=convert.value_to_pb(resource.schema.type, state),
            identity=identify(resource, core.session, state),
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
