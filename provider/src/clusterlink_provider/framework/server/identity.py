"""GetResourceIdentitySchemas, UpgradeResourceIdentity, and the identities in the answers of other calls."""

from typing import Any

from clusterlink_proto.generated import tfplugin6_pb2 as pb
from clusterlink_provider.framework import convert, cty
from clusterlink_provider.framework.diagnostics import DiagnosticError
from clusterlink_provider.framework.planning import Object
from clusterlink_provider.framework.provider import Resource
from clusterlink_provider.framework.server.core import Core
from clusterlink_provider.framework.server.upgrading import upgraded


def get_identity_schemas(
    core: Core[Any], _request: pb.GetResourceIdentitySchemas.Request
) -> pb.GetResourceIdentitySchemas.Response:
    """Gives the schema of each resource's identity."""
    return pb.GetResourceIdentitySchemas.Response(
        identity_schemas={
            name: convert.identity_schema_to_pb(item.identity) for name, item in core.provider.resources.items()
        }
    )


def upgrade_identity(
    core: Core[Any], request: pb.UpgradeResourceIdentity.Request
) -> pb.UpgradeResourceIdentity.Response:
    """Reads a stored identity into today's."""
    identity = core.resource(request.type_name).identity
    found = upgraded(
        *("identity", request.type_name, request.version, request.raw_identity), identity.type, identity.upgraders
    )
    return pb.UpgradeResourceIdentity.Response(upgraded_identity=convert.identity_to_pb(identity, found))


def identify(resource: Resource[Any], session: Any, state: Object | None) -> pb.ResourceIdentityData | None:
    """Gives the identity of an object; None if there is no object, or not all of it is known."""
    if state is None or session is None:
        return None
    found = resource.identify(session, state)
    is_complete = cty.is_wholly_known(found) and None not in found.values()
    return convert.identity_to_pb(resource.identity, found) if is_complete else None


def refuse_another(resource: Resource[Any], session: Any, state: Object, stored: pb.ResourceIdentityData) -> None:
    """Refuses to go on with an object whose identity says that it is not to be found here.

    Raises:
        DiagnosticError: It is another one.
    """
    before = convert.identity_from_pb(resource.identity, stored)
    now = resource.identify(session, state)
    differing = [name for name, value in (before or {}).items() if value is not None and value != now[name]]
    if before is not None and differing:
        name = differing[0]
        raise DiagnosticError.of(
            "Object of another place",
            f'The state of this {resource.type_name} was made with {name} = "{before[name]}", and the provider is now at '
            f'"{now[name]}". Nothing was read. Check the provider\'s configuration; if the object is to be made there, '
            "remove it from the state with `terraform state rm`.",
        )
