"""GetMetadata, GetProviderSchema, GetFunctions: what the provider is."""

from typing import Any

from clusterlink_proto.generated import tfplugin6_pb2 as pb
from clusterlink_provider.framework import convert
from clusterlink_provider.framework.server.core import Core


def _capabilities() -> pb.ServerCapabilities:
    # Destroys are planned for their warnings; the schema never changes, so that Terraform may read it once per command; moves
    # are refused, with a word of ours.
    return pb.ServerCapabilities(plan_destroy=True, get_provider_schema_optional=True, move_resource_state=True)


def get_metadata(core: Core[Any], _request: pb.GetMetadata.Request) -> pb.GetMetadata.Response:
    """Names the types on offer."""
    return pb.GetMetadata.Response(
        server_capabilities=_capabilities(),
        resources=[pb.GetMetadata.ResourceMetadata(type_name=name) for name in core.provider.resources],
        data_sources=[pb.GetMetadata.DataSourceMetadata(type_name=name) for name in core.provider.data_sources],
    )


def get_provider_schema(core: Core[Any], _request: pb.GetProviderSchema.Request) -> pb.GetProviderSchema.Response:
    """Gives all schemas."""
    provider = core.provider
    return pb.GetProviderSchema.Response(
        provider=convert.schema_to_pb(provider.schema),
        resource_schemas={name: convert.schema_to_pb(item.schema) for name, item in provider.resources.items()},
        data_source_schemas={name: convert.schema_to_pb(item.schema) for name, item in provider.data_sources.items()},
        server_capabilities=_capabilities(),
    )


def get_functions(_core: Core[Any], _request: pb.GetFunctions.Request) -> pb.GetFunctions.Response:
    """Says that there are no functions."""
    return pb.GetFunctions.Response()
