"""ApplyResourceChange: create, update, delete. Whatever goes wrong, the answer is the state that is true."""

from typing import Any

from clusterlink_proto.generated import tfplugin6_pb2 as pb
from clusterlink_provider.framework import convert, cty, planning
from clusterlink_provider.framework.paths import show
from clusterlink_provider.framework.provider import ApplyContext
from clusterlink_provider.framework.server.core import Core, collect


def apply(core: Core[Any], request: pb.ApplyResourceChange.Request) -> pb.ApplyResourceChange.Response:
    """Makes the world what was planned."""
    resource = core.resource(request.type_name)
    schema = resource.schema
    prior = convert.value_from_pb(schema.type, request.prior_state)
    planned = convert.value_from_pb(schema.type, request.planned_state)
    context = ApplyContext(
        core.session,
        prior=prior,
        planned=planned or {},
        config=convert.value_from_pb(schema.type, request.config) or {},
        state=prior,
        private=convert.private_from_pb(request.planned_private),
    )
    step = resource.delete if planned is None else resource.create if prior is None else resource.update
    collect(context.diagnostics, lambda: step(context))
    state = context.state
    if not cty.is_wholly_known(state):
        # Terraform refuses a state with unknown parts and would drop all of it.
        state = cty.without_unknown(state)
        if not context.diagnostics.has_errors:
            context.diagnostics.error(
                "Incomplete result",
                "This is a bug in the provider: a value is not known after apply. Please report it.",
            )
    if planned is not None and state is not None and not context.diagnostics.has_errors:
        for path in planning.contradicted(schema.attributes, schema.without_write_only(planned), state):
            context.diagnostics.error(
                "Not what was planned",
                f"After apply `{show(path)}` is something else than the plan said. Somebody has changed it meanwhile, or "
                "the engine did not do what it was asked for. The state holds what is there now; plan again.",
                path,
            )
    return pb.ApplyResourceChange.Response(
        new_state=convert.state_to_pb(schema, state),
        private=convert.private_to_pb(context.private),
        diagnostics=convert.diagnostics_to_pb(context.diagnostics, schema),
    )
