"""Calls of a provider's service as gRPC would make them, without a socket."""

from typing import Any

from clusterlink_proto.generated import tfplugin6_pb2 as pb
from clusterlink_provider.framework.server import Service


class ProviderCalls:
    """A provider in this process; requests and answers go through their bytes, as on the wire."""

    def __init__(self, provider: Any) -> None:
        self._handler = Service(provider).handler()

    def call(self, name: str, **fields: Any) -> Any:
        """Makes one call with the fields of its request; gives the answer."""
        details: Any = type("Details", (), {"method": f"/tfplugin6.Provider/{name}", "invocation_metadata": ()})()
        method: Any = self._handler.service(details)
        request = method.request_deserializer(getattr(pb, name).Request(**fields).SerializeToString())
        answer = method.unary_unary(request, None)
        return type(answer).FromString(method.response_serializer(answer))
