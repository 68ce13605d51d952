"""ValidateProviderConfig, ValidateResourceConfig, ValidateDataResourceConfig: checks without an engine."""

from typing import Any

from clusterlink_proto.generated import tfplugin6_pb2 as pb
from clusterlink_provider.framework import convert
from clusterlink_provider.framework.diagnostics import Diagnostics
from clusterlink_provider.framework.server.core import Core


def validate_provider(
    core: Core[Any], request: pb.ValidateProviderConfig.Request
) -> pb.ValidateProviderConfig.Response:
    """Checks the provider's own configuration."""
    schema = core.provider.schema
    diagnostics = Diagnostics()
    schema.validate(convert.value_from_pb(schema.type, request.config), diagnostics)
    return pb.ValidateProviderConfig.Response(diagnostics=convert.diagnostics_to_pb(diagnostics, schema))


def validate_resource(
    core: Core[Any], request: pb.ValidateResourceConfig.Request
) -> pb.ValidateResourceConfig.Response:
    """Checks the configuration of a resource."""
    resource = core.resource(request.type_name)
    config = convert.value_from_pb(resource.schema.type, request.config)
    diagnostics = Diagnostics()
    resource.schema.validate(config, diagnostics)
    if not request.client_capabilities.write_only_attributes_allowed:
        resource.schema.refuse_write_only(config, diagnostics)
    resource.validate(config, diagnostics)
    return pb.ValidateResourceConfig.Response(diagnostics=convert.diagnostics_to_pb(diagnostics, resource.schema))


def validate_data_source(
    core: Core[Any], request: pb.ValidateDataResourceConfig.Request
) -> pb.ValidateDataResourceConfig.Response:
    """Checks the configuration of a data source."""
    schema = core.data_source(request.type_name).schema
    diagnostics = Diagnostics()
    schema.validate(convert.value_from_pb(schema.type, request.config), diagnostics)
    return pb.ValidateDataResourceConfig.Response(diagnostics=convert.diagnostics_to_pb(diagnostics, schema))
