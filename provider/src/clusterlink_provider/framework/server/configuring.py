"""ConfigureProvider and StopProvider: the beginning and the early end of a walk."""

from typing import Any

from clusterlink_proto.generated import tfplugin6_pb2 as pb
from clusterlink_provider.framework import convert
from clusterlink_provider.framework.diagnostics import Diagnostics
from clusterlink_provider.framework.server.core import Core


def configure(core: Core[Any], request: pb.ConfigureProvider.Request) -> pb.ConfigureProvider.Response:
    """Starts a session; in reattach mode one process is configured many times, and each walk starts afresh."""
    schema = core.provider.schema
    diagnostics = Diagnostics()
    core.session = None
    core.session = core.provider.configure(convert.value_from_pb(schema.type, request.config), diagnostics)
    return pb.ConfigureProvider.Response(diagnostics=convert.diagnostics_to_pb(diagnostics, schema))


def stop(core: Core[Any], _request: pb.StopProvider.Request) -> pb.StopProvider.Response:
    """Asks the calls under way to come to an end; they still answer."""
    session = core.session
    if session is not None:
        core.provider.stop(session)
    return pb.StopProvider.Response()
