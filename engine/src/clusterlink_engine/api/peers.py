"""What engine processes tell each other: orders and reports over one stream, and what is to be stored. JSON over gRPC.

This is no API: both ends are of one version, or refuse each other.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
from grpc import aio

from clusterlink_engine import __version__
from clusterlink_engine.control.orders import Key, Order, Report
from clusterlink_engine.control.plane import Plane
from clusterlink_engine.control.workforce import Workforce
from clusterlink_engine.errors import ClusterlinkError, NotLeadingError, StateFencedError
from clusterlink_engine.model.resources import PartitionProgress
from clusterlink_engine.replication.status import PartitionStatus
from clusterlink_engine.store.records import decode, encode, key_of

log = logging.getLogger(__name__)

_SERVICE = "clusterlink.peers.Work"
_WORK, _STORE = "Work", "Store"
_REPORT_SECONDS = 0.3
_STORE_SECONDS = 30.0
_VERSION = "clusterlink-version"


def _same(data: bytes) -> bytes:
    return data


class Peers:
    """The side of the process that leads.

    Attributes:
        workforce: Of this process once it leads; None before. Written by `app`.
    """

    def __init__(self) -> None:
        self.workforce: Workforce | None = None

    def handler(self) -> "grpc.GenericRpcHandler[Any, Any]":
        """Answers the service for a gRPC server."""
        return grpc.method_handlers_generic_handler(
            _SERVICE,
            {
                _WORK: grpc.stream_stream_rpc_method_handler(self._work, _same, _same),
                _STORE: grpc.unary_unary_rpc_method_handler(self._store, _same, _same),
            },
        )

    async def _work(
        self, requests: AsyncIterator[bytes], context: aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[bytes]:
        workforce = await self._leading(context)
        orders: asyncio.Queue[Order] = asyncio.Queue()
        send = orders.put_nowait
        first = Report.decode(await anext(requests))
        try:
            workforce.join(first, send)
        except NotLeadingError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        reading = asyncio.create_task(_read(requests, workforce))
        getting = asyncio.create_task(orders.get())
        try:
            while True:
                await asyncio.wait([getting, reading], return_when=asyncio.FIRST_COMPLETED)
                if not getting.done():
                    break
                order, getting = getting.result(), asyncio.create_task(orders.get())
                yield order.encode()
        finally:
            reading.cancel()
            getting.cancel()
            workforce.part(first.member_id, send)

    async def _store(self, data: bytes, context: aio.ServicerContext[Any, Any]) -> bytes:
        workforce = await self._leading(context)
        message = json.loads(data)
        records = [decode("partition/", record.encode()) for record in message["records"]]
        try:
            await workforce.store(message["member_id"], records)  # type: ignore[arg-type] # of that kind
        except StateFencedError as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except ClusterlinkError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        return b""

    async def _leading(self, context: aio.ServicerContext[Any, Any]) -> Workforce:
        version = dict(context.invocation_metadata() or ()).get(_VERSION)
        if version != __version__:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"The process that leads has the version {__version__}.")
        if self.workforce is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "This process does not lead.")
        assert self.workforce is not None  # noqa: S101 - abort raises
        return self.workforce


async def _read(requests: AsyncIterator[bytes], workforce: Workforce) -> None:
    async for data in requests:
        workforce.report(Report.decode(data))


class Following:
    """The side of a process that does not lead: it reports, and does what it is told."""

    def __init__(
        self,
        plane: Plane,
        open_channel: Callable[[str], aio.Channel],
        about: Callable[[], Report],
        is_leaving: Callable[[], bool],
    ) -> None:
        """Prepares.

        Args:
            plane: Of this process.
            open_channel: Opens one to the process at a place.
            about: Answers who this process is now.
            is_leaving: Tells whether it wants to end.
        """
        self._plane = plane
        self._open_channel = open_channel
        self._about = about
        self._is_leaving = is_leaving
        self._channel: aio.Channel | None = None
        self._told: dict[Key, PartitionStatus] = {}

    async def follow(self, place: str) -> None:
        """Works for the process at a place until the connection breaks.

        Raises:
            NotLeadingError: It broke; what this process has it keeps while its lease holds.
        """
        self._told = {}
        async with self._open_channel(place) as channel:
            self._channel = channel
            work = channel.stream_stream(f"/{_SERVICE}/{_WORK}", request_serializer=_same, response_deserializer=_same)
            stream = work(self._reports(), metadata=((_VERSION, __version__),))
            try:
                async for data in stream:
                    self._plane.apply(Order.decode(data))
            except aio.AioRpcError as error:
                raise NotLeadingError(f"The engine that leads does not answer: {error.details()}") from error
            finally:
                stream.cancel()
                self._channel = None
        raise NotLeadingError("The engine that leads closed the connection.")

    async def _reports(self) -> AsyncIterator[bytes]:
        changed = asyncio.Event()
        self._plane.on_change = changed.set
        while True:
            changed.clear()
            yield self._report().encode()
            try:
                async with asyncio.timeout(_REPORT_SECONDS):
                    await changed.wait()
            except TimeoutError:
                pass

    def _report(self) -> Report:
        statuses, told = self._plane.statuses(), self._told
        self._told = statuses
        about = self._about()
        return Report(
            member_id=about.member_id,
            host=about.host,
            pid=about.pid,
            process=about.process,
            number=self._plane.number,
            changed={key: status for key, status in statuses.items() if told.get(key) != status},
            gone=tuple(told.keys() - statuses.keys()),
            claimed=tuple(sorted(self._plane.gaps.claimed)),
            undrained=self._plane.undrained,
            leaving=self._is_leaving(),
        )

    async def store(self, records: Sequence[PartitionProgress]) -> None:
        """Has the process that leads store what this one has learnt.

        Raises:
            StateFencedError: The partitions belong to another process.
            NotLeadingError: Nothing is known of a leader now; it may be stored or not.
        """
        if self._channel is None:
            raise NotLeadingError("No engine process leads at the moment.")
        encoded = [encode(key_of("partition", record.name), record).decode() for record in records]
        message = {"member_id": self._about().member_id, "records": encoded}
        call = self._channel.unary_unary(f"/{_SERVICE}/{_STORE}", request_serializer=_same, response_deserializer=_same)
        try:
            await call(json.dumps(message).encode(), metadata=((_VERSION, __version__),), timeout=_STORE_SECONDS)
        except aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                raise StateFencedError(error.details() or "") from error
            raise NotLeadingError(f"The engine that leads does not answer: {error.details()}") from error
        self._plane.view.take({key_of("partition", record.name): record for record in records})
