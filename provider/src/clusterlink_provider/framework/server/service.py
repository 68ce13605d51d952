"""The service of the protocol, put together from the families of calls."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final

import grpc

from clusterlink_proto import rpc
from clusterlink_proto.generated import tfplugin6_pb2 as pb
from clusterlink_provider.framework.provider import Provider
from clusterlink_provider.framework.server import (
    about,
    applying,
    configuring,
    data,
    identity,
    planning,
    state,
    validating,
)
from clusterlink_provider.framework.server.core import Core, guarded

# Name of the call, function, type of the answer.
_CALLS: Final[Mapping[str, tuple[Callable[..., Any], Any]]] = {
    "GetMetadata": (about.get_metadata, pb.GetMetadata.Response),
    "GetProviderSchema": (about.get_provider_schema, pb.GetProviderSchema.Response),
    "GetResourceIdentitySchemas": (identity.get_identity_schemas, pb.GetResourceIdentitySchemas.Response),
    "GetFunctions": (about.get_functions, pb.GetFunctions.Response),
    "ValidateProviderConfig": (validating.validate_provider, pb.ValidateProviderConfig.Response),
    "ValidateResourceConfig": (validating.validate_resource, pb.ValidateResourceConfig.Response),
    "ValidateDataResourceConfig": (validating.validate_data_source, pb.ValidateDataResourceConfig.Response),
    "ConfigureProvider": (configuring.configure, pb.ConfigureProvider.Response),
    "UpgradeResourceState": (state.upgrade, pb.UpgradeResourceState.Response),
    "UpgradeResourceIdentity": (identity.upgrade_identity, pb.UpgradeResourceIdentity.Response),
    "ReadResource": (state.read, pb.ReadResource.Response),
    "PlanResourceChange": (planning.plan, pb.PlanResourceChange.Response),
    "ApplyResourceChange": (applying.apply, pb.ApplyResourceChange.Response),
    "ImportResourceState": (state.import_state, pb.ImportResourceState.Response),
    "MoveResourceState": (state.move, pb.MoveResourceState.Response),
    "ReadDataSource": (data.read_data_source, pb.ReadDataSource.Response),
}


class Service:
    """A provider as a gRPC service."""

    def __init__(self, provider: Provider[Any]) -> None:
        self._core: Core[Any] = Core(provider)

    def handler(self) -> "grpc.GenericRpcHandler[Any, Any]":
        """Makes the handler for a gRPC server."""
        core = self._core
        methods: dict[str, Callable[..., Any]] = {
            name: guarded(core, answer, functools.partial(function, core))
            for name, (function, answer) in _CALLS.items()
        }
        # The one answer without room for messages.
        methods["StopProvider"] = lambda request, _context: configuring.stop(core, request)
        return rpc.handlers(pb.DESCRIPTOR.services_by_name["Provider"], methods)
