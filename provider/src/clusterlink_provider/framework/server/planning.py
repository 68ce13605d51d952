"""PlanResourceChange: what will be, before anything is touched."""

from typing import Any

from clusterlink_proto.generated import tfplugin6_pb2 as pb
from clusterlink_provider.framework import convert, planning
from clusterlink_provider.framework.provider import PlanContext
from clusterlink_provider.framework.server.core import Core, collect
from clusterlink_provider.framework.server.identity import identify


def plan(core: Core[Any], request: pb.PlanResourceChange.Request) -> pb.PlanResourceChange.Response:
    """Plans a create, an update or a destroy."""
    resource = core.resource(request.type_name)
    schema = resource.schema
    prior = convert.value_from_pb(schema.type, request.prior_state)
    proposed = convert.value_from_pb(schema.type, request.proposed_new_state)
    config = convert.value_from_pb(schema.type, request.config)
    context = PlanContext(
        core.session,
        prior=prior,
        config=config or {},
        private=convert.private_from_pb(request.prior_private),
    )
    if proposed is not None:
        planned = planning.plan(schema, prior, proposed, config or {})
        context.planned, context.replace = planned.state, set(planned.replace)
    collect(context.diagnostics, lambda: resource.plan(context))
    is_kept = request.HasField("prior_identity") and not context.replace
    return pb.PlanResourceChange.Response(
        planned_state=convert.state_to_pb(schema, context.planned),
        requires_replace=[convert.path_to_pb(path) for path in sorted(context.replace, key=str)],
        planned_private=convert.private_to_pb(context.private),
        planned_identity=request.prior_identity if is_kept else identify(resource, core.session, context.planned),
        diagnostics=convert.diagnostics_to_pb(context.diagnostics, schema),
    )
