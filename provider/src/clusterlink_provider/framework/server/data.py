"""ReadDataSource: reads what is not managed."""

from typing import Any

from clusterlink_proto.generated import tfplugin6_pb2 as pb
from clusterlink_provider.framework import convert
from clusterlink_provider.framework.provider import Context
from clusterlink_provider.framework.server.core import Core, collect


def read_data_source(core: Core[Any], request: pb.ReadDataSource.Request) -> pb.ReadDataSource.Response:
    """Gives the data of one data source."""
    source = core.data_source(request.type_name)
    schema = source.schema
    config = convert.value_from_pb(schema.type, request.config)
    context = Context(core.session)
    response = pb.ReadDataSource.Response()

    def work() -> None:
        response.state.CopyFrom(convert.value_to_pb(schema.type, source.read(context, config)))

    collect(context.diagnostics, work)
    response.diagnostics.extend(convert.diagnostics_to_pb(context.diagnostics, schema))
    return response
