"""What stands before the services where users call: who it is, whether they may, and whether there is room."""

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from clusterlink_engine.api.access import FOR_EVERYBODY, Access, Caller, Rates, Slots, authorize, names_of, role_for
from clusterlink_engine.api.errors import code_of, details_of
from clusterlink_engine.errors import ClusterlinkError, InvalidArgumentError
from clusterlink_engine.settings import Api, Role

log = logging.getLogger(__name__)


class Admission(aio.ServerInterceptor):  # type: ignore[type-arg] # the class itself has none
    """Admits calls, or refuses them: those of callers it does not know before anything of the request is read."""

    def __init__(self, api: Api) -> None:
        """Prepares, by the settings of the API."""
        self._access = Access(api)
        self._rates = Rates(api.max_calls_per_second, time.monotonic)
        self._slots = Slots(api.max_concurrent_calls)
        # Whoever is not asked for a name must not keep out those who are.
        self._open_slots = Slots(api.max_concurrent_calls)

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        """Puts itself before a method."""
        handler = await continuation(details)
        method = details.method
        if handler is None or handler.request_streaming:
            # Reflection. No other method takes a stream; one that did would not be answered before it is admitted here.
            return handler if method in FOR_EVERYBODY else None
        answer = handler.unary_stream or handler.unary_unary

        async def admitted(requests: AsyncIterator[bytes], context: aio.ServicerContext[Any, Any]) -> Any:
            try:
                caller = self._identify(method, context)
                with (self._slots if caller is not None else self._open_slots).taken():
                    request = await _read(requests, handler.request_deserializer)
                    if caller is not None:
                        self._authorize(caller, method, request)
                    return await answer(request, context)
            except ClusterlinkError as error:
                await context.abort(code_of(error), str(error), details_of(error))

        # A handler of streams gets the call before the request; on the wire there is no difference.
        kind = grpc.stream_stream_rpc_method_handler if handler.unary_stream else grpc.stream_unary_rpc_method_handler
        return kind(admitted, None, handler.response_serializer)

    def _identify(self, method: str, context: aio.ServicerContext[Any, Any]) -> Caller | None:
        """Answers who calls; None for a method that everybody may call."""
        host = context.peer().rpartition(":")[0]
        if method in FOR_EVERYBODY:
            self._rates.take(host)
            return None
        given = [str(value) for key, value in context.invocation_metadata() or () if key == "authorization"]
        authorization = given[0] if len(given) == 1 else "" if given else None
        caller = self._access.identify(authorization, names_of(context.auth_context()), host)
        self._rates.take(caller.name)
        return caller

    def _authorize(self, caller: Caller, method: str, request: Any) -> None:
        needed = role_for(method, only_checks=getattr(request, "validate_only", False))
        authorize(caller, method, needed)
        if needed is not Role.VIEWER and not self._access.is_open:
            log.info("%s by %s", method, caller.name)


async def _read(requests: AsyncIterator[bytes], parse: Callable[[bytes], Any]) -> Any:
    data = await anext(aiter(requests), None)
    if data is None:
        raise InvalidArgumentError("The call has no request.")
    try:
        return parse(data)
    except DecodeError as error:
        raise InvalidArgumentError("The request is not a message of this method.") from error
