"""Stubs and handlers for gRPC services, made from the service descriptors.

The usual generated `*_pb2_grpc.py` insist on a grpcio at least as new as their generator; walking the descriptor has no such
bound, and gives server and client one list of methods.
"""

from collections.abc import Callable, Mapping
from typing import Any

import grpc
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass


def _codec(method: MethodDescriptor) -> tuple[Any, Any]:
    return GetMessageClass(method.input_type), GetMessageClass(method.output_type)


def handlers(
    service: ServiceDescriptor, methods: Mapping[str, Callable[..., Any]]
) -> "grpc.GenericRpcHandler[Any, Any]":
    """Makes the handler of a service from its methods by name; a method left out answers UNIMPLEMENTED.

    Server-streaming methods are given as generator functions. Works for `grpc` and `grpc.aio` servers.

    Raises:
        ValueError: A name is not a method of the service.
    """
    table: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
    for name, function in methods.items():
        method = service.methods_by_name.get(name)
        if method is None:
            raise ValueError(f"{service.full_name} has no method {name}")
        request, _ = _codec(method)
        kind = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[(bool(method.client_streaming), bool(method.server_streaming))]
        table[name] = kind(function, request_deserializer=request.FromString, response_serializer=_serialize)
    return grpc.method_handlers_generic_handler(service.full_name, table)


def _serialize(message: Any) -> bytes:
    return bytes(message.SerializeToString())


class Stub:
    """The unary methods of one service on a channel (`grpc` or `grpc.aio`), as callables under their own names."""

    def __init__(self, channel: Any, file: FileDescriptor, service: str) -> None:
        """Binds the methods of `service` (its short name) of the `file` to the `channel`."""
        descriptor = file.services_by_name[service]
        for method in descriptor.methods:
            if not (method.client_streaming or method.server_streaming):
                _, response = _codec(method)
                call = channel.unary_unary(
                    f"/{descriptor.full_name}/{method.name}",
                    request_serializer=_serialize,
                    response_deserializer=response.FromString,
                )
                setattr(self, method.name, call)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Only for names that are no method: the type of the others."""
        raise AttributeError(name)
