"""The gRPC servers: the services of `clusterlink.v1`, health and reflection; and what processes ask each other."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from clusterlink_engine.api import convert
from clusterlink_engine.api.admission import Admission
from clusterlink_engine.api.certificates import Certificates
from clusterlink_engine.api.errors import code_of, details_of
from clusterlink_engine.api.listening import add_address
from clusterlink_engine.api.meeting import Meeting
from clusterlink_engine.api.peers import Peers
from clusterlink_engine.control.links import Links
from clusterlink_engine.control.mirrors import MirrorTopics
from clusterlink_engine.control.plane import Plane
from clusterlink_engine.control.restoring import Restores
from clusterlink_engine.control.state import State
from clusterlink_engine.control.states import StateWatch
from clusterlink_engine.control.stops import Stops
from clusterlink_engine.control.workforce import Workforce
from clusterlink_engine.control.write_guard import WriteGuard
from clusterlink_engine.errors import ClusterlinkError, NotLeadingError
from clusterlink_engine.model.resources import Link, MirrorTopic, Phase
from clusterlink_engine.settings import Api, Limits, parse_address
from clusterlink_proto import rpc, v1

log = logging.getLogger(__name__)

Request = TypeVar("Request")
Response = TypeVar("Response")
Method = Callable[[Any], Awaitable[Any]]

_FORWARDED = "clusterlink-forwarded"
_FORWARD_SECONDS = 300.0  # for callers without a deadline


@dataclass(frozen=True, slots=True)
class Engine:
    """What the services work on, in the process that leads."""

    links: Links
    mirror_topics: MirrorTopics
    stops: Stops
    restores: Restores
    guard: WriteGuard
    state: State
    plane: Plane
    workforce: Workforce
    states: StateWatch
    limits: Limits
    local_cluster_id: str
    instance_id: str

    def waits_for(self, mirror: str) -> str:
        """Answers what something that was begun with a mirror topic waits for, for people; empty if for nothing."""
        return self.stops.waits_for(mirror) or self.mirror_topics.waits_for(mirror) or self.restores.waits_for(mirror)


class Server:
    """The services, at the address for users and at the one for other processes.

    The process that leads answers; the others ask it, for callers that they have admitted.

    Attributes:
        address: `host:port` or socket for users, once it listens there.
    """

    def __init__(self, api: Api, meeting: Meeting, peers: Peers, leader: Callable[[], str]) -> None:
        """Prepares.

        Args:
            api: Where users call, and who may.
            meeting: Where other processes call.
            peers: What they call.
            leader: Answers the place of another process that leads; empty if none does.

        Raises:
            SettingsError: A certificate cannot be used.
        """
        self.address = ""
        self._api = api
        self._meeting = meeting
        self._certificates = Certificates(api.tls) if api.tls is not None else None
        self._peers = peers
        self._leader = leader
        self._engine: Engine | None = None
        self._methods: dict[str, Mapping[str, Method]] = {}
        self._for_users: aio.Server | None = None
        self._for_processes: aio.Server | None = None
        self._refuses = False
        self._running: set[asyncio.Task[Any]] = set()
        self._health: Any = health.aio.HealthServicer()  # type: ignore[attr-defined] # the stubs lack it

    async def start(self) -> None:
        """Begins to answer other processes, which have asked their callers who they are.

        Raises:
            SettingsError: They cannot meet as the settings say.
        """
        server = self._for_processes = self._make()
        server.add_generic_rpc_handlers((self._peers.handler(),))
        self._meeting.listen(server)
        await server.start()

    async def listen(self) -> None:
        """Begins to answer users.

        Raises:
            InvalidArgumentError: The address cannot be listened on.
        """
        server = self._make(
            interceptors=[Admission(self._api)],
            options=[("grpc.max_receive_message_length", self._api.max_message_bytes)],
        )
        names = [service.full_name for service in v1.DESCRIPTOR.services_by_name.values()]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if self._api.is_local:
            reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
        port = add_address(server, self._api, self._certificates)
        await server.start()
        self._for_users = server
        self.address = self._api.listen
        if self._api.socket is None:
            host, _ = parse_address(self._api.listen)
            self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        for name in ["", *names]:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    def lead(self, engine: Engine) -> None:
        """This process leads: from now on it answers for itself."""
        self._engine = engine
        self._methods = {
            "EngineService": self._engine_methods(engine),
            "LinkService": self._link_methods(engine),
            "MirrorTopicService": {**self._mirror_methods(engine), **self._stop_methods(engine)},
        }

    async def refuse(self, grace: float) -> None:
        """Takes no new calls and lets those under way finish, for at most `grace` seconds; other processes are heard on."""
        self._refuses = True
        await self._health.enter_graceful_shutdown()
        if self._for_users is not None:
            await self._for_users.stop(grace)
        await asyncio.gather(*self._running, return_exceptions=True)  # what was begun for callers that went away

    async def stop(self) -> None:
        """Answers nobody any more."""
        await asyncio.gather(
            *(server.stop(0) for server in (self._for_users, self._for_processes) if server is not None)
        )
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._meeting.close()

    def _make(self, *, interceptors: Sequence[Admission] = (), options: Sequence[tuple[str, int]] = ()) -> aio.Server:
        server = aio.server(interceptors=interceptors, options=[("grpc.so_reuseport", 0), *options])
        for service in v1.DESCRIPTOR.services_by_name.values():
            methods = {name: self._answer(service.name, name) for name in service.methods_by_name}
            server.add_generic_rpc_handlers((rpc.handlers(service, methods),))
        return server

    @staticmethod
    def _engine_methods(engine: Engine) -> dict[str, Method]:
        async def get(_: v1.GetEngineRequest) -> v1.Engine:
            return convert.engine(
                engine.local_cluster_id, engine.limits, engine.instance_id, engine.workforce.processes()
            )

        return {"GetEngine": get}

    @staticmethod
    def _link_methods(engine: Engine) -> dict[str, Method]:
        links, answer = engine.links, partial(_link, engine)

        async def create(request: v1.CreateLinkRequest) -> v1.Link:
            spec = convert.link_spec(request.link)
            link = await links.create(spec, request.client_token, validate_only=request.validate_only)
            return answer(link)

        async def update(request: v1.UpdateLinkRequest) -> v1.Link:
            fields = list(request.update_mask.paths)
            spec = convert.changed_link_spec(request.link, fields)
            return answer(await links.update(spec, fields, validate_only=request.validate_only))

        async def get(request: v1.GetLinkRequest) -> v1.Link:
            return answer(links.get(request.name))

        async def list_all(_: v1.ListLinksRequest) -> v1.ListLinksResponse:
            return v1.ListLinksResponse(links=[answer(link) for link in links.list()])

        async def delete(request: v1.DeleteLinkRequest) -> v1.DeleteLinkResponse:
            await links.delete(request.name)
            return v1.DeleteLinkResponse()

        async def pause(request: v1.PauseLinkRequest) -> v1.Link:
            return answer(await links.pause(request.name))

        async def resume(request: v1.ResumeLinkRequest) -> v1.Link:
            return answer(await links.resume(request.name))

        async def check(request: v1.CheckLinkRequest) -> v1.CheckLinkResponse:
            seconds = convert.check_seconds(request.timeout_ms)
            return convert.checks(await links.check(request.name, request.source_topics, seconds))

        async def check_new(request: v1.CheckNewLinkRequest) -> v1.CheckLinkResponse:
            spec, seconds = convert.link_spec(request.link), convert.check_seconds(request.timeout_ms)
            return convert.checks(await links.check_new(spec, request.source_topics, seconds))

        return {
            "CheckLink": check,
            "CheckNewLink": check_new,
            "CreateLink": create,
            "GetLink": get,
            "ListLinks": list_all,
            "UpdateLink": update,
            "DeleteLink": delete,
            "PauseLink": pause,
            "ResumeLink": resume,
        }

    @staticmethod
    def _mirror_methods(engine: Engine) -> dict[str, Method]:
        topics, answer = engine.mirror_topics, partial(_mirror_topic, engine)

        async def create(request: v1.CreateMirrorTopicRequest) -> v1.MirrorTopic:
            spec = convert.mirror_spec(request.mirror_topic)
            return answer(await topics.create(spec, request.client_token, validate_only=request.validate_only))

        async def update(request: v1.UpdateMirrorTopicRequest) -> v1.MirrorTopic:
            wanted = request.mirror_topic
            mirror = await topics.update(
                wanted.name,
                wanted.link,
                dict(wanted.config),
                list(request.update_mask.paths),
                validate_only=request.validate_only,
            )
            return answer(mirror)

        async def get(request: v1.GetMirrorTopicRequest) -> v1.MirrorTopic:
            return answer(engine.state.mirror(request.name, request.link), partitions=True)

        async def list_all(request: v1.ListMirrorTopicsRequest) -> v1.ListMirrorTopicsResponse:
            return v1.ListMirrorTopicsResponse(mirror_topics=[answer(mirror) for mirror in topics.list(request.link)])

        async def rebuild(request: v1.RebuildMirrorTopicRequest) -> v1.MirrorTopic:
            return answer(await topics.rebuild(request.name, request.link))

        async def delete(request: v1.DeleteMirrorTopicRequest) -> v1.DeleteMirrorTopicResponse:
            await topics.delete(request.name, request.link, convert.disposal(request.topic_disposal))
            return v1.DeleteMirrorTopicResponse()

        async def pause(request: v1.PauseMirrorTopicRequest) -> v1.MirrorTopic:
            return answer(await topics.pause(request.name, request.link))

        async def resume(request: v1.ResumeMirrorTopicRequest) -> v1.MirrorTopic:
            return answer(await topics.resume(request.name, request.link))

        return {
            "CreateMirrorTopic": create,
            "GetMirrorTopic": get,
            "ListMirrorTopics": list_all,
            "UpdateMirrorTopic": update,
            "DeleteMirrorTopic": delete,
            "RebuildMirrorTopic": rebuild,
            "PauseMirrorTopic": pause,
            "ResumeMirrorTopic": resume,
        }

    @staticmethod
    def _stop_methods(engine: Engine) -> dict[str, Method]:
        """Those that end, or turn, the mirroring of a topic."""
        stops, answer = engine.stops, partial(_mirror_topic, engine)

        async def promote(request: v1.PromoteMirrorTopicRequest) -> v1.MirrorTopic:
            mirror = await stops.promote(request.name, request.link, validate_only=request.validate_only)
            return answer(mirror, partitions=True)

        async def cancel_promote(request: v1.CancelPromoteMirrorTopicRequest) -> v1.MirrorTopic:
            return answer(await stops.cancel_promote(request.name, request.link))

        async def failover(request: v1.FailoverMirrorTopicRequest) -> v1.MirrorTopic:
            mirror = await stops.failover(request.name, request.link, validate_only=request.validate_only)
            return answer(mirror, partitions=True)

        async def reverse(request: v1.ReverseMirrorTopicRequest) -> v1.MirrorTopic:
            only = request.validate_only
            mirror = await stops.reverse(request.name, request.link, paused=request.paused, validate_only=only)
            return answer(mirror, partitions=True)

        async def restore(
            request: v1.TruncateAndRestoreMirrorTopicRequest,
        ) -> v1.TruncateAndRestoreMirrorTopicResponse:
            mirror, truncations = await engine.restores.truncate_and_restore(
                request.name, request.link, request.start_offset, validate_only=request.validate_only
            )
            return convert.truncations(answer(mirror), truncations)

        return {
            "PromoteMirrorTopic": promote,
            "CancelPromoteMirrorTopic": cancel_promote,
            "FailoverMirrorTopic": failover,
            "ReverseMirrorTopic": reverse,
            "TruncateAndRestoreMirrorTopic": restore,
        }

    def _answer(self, service: str, method: str) -> Callable[[Any, aio.ServicerContext[Any, Any]], Awaitable[Any]]:
        """Answers a method by this process if it leads, else by the one that does.

        Errors become gRPC answers. A caller that goes away, or whose deadline passes, must not cut off a change between two of
        its steps. A bug answers INTERNAL without its inside; the log has the rest.
        """

        async def call(request: Any, context: aio.ServicerContext[Any, Any]) -> Any:
            if self._engine is None or self._refuses:
                return await self._forward(service, method, request, context)
            task = asyncio.ensure_future(self._methods[service][method](request))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            try:
                return await asyncio.shield(task)
            except ClusterlinkError as error:
                await context.abort(code_of(error), str(error), details_of(error))
            except Exception:
                log.exception("a bug in the engine")
                await context.abort(grpc.StatusCode.INTERNAL, "A bug in the engine; its log says more.")

        return call

    async def _forward(self, service: str, method: str, request: Any, context: aio.ServicerContext[Any, Any]) -> Any:
        leader = self._leader()
        was_forwarded = any(key == _FORWARDED for key, _ in context.invocation_metadata() or ())
        try:
            if not leader or was_forwarded:
                raise NotLeadingError("No engine process leads at the moment; try again in a few seconds.")
            stub = rpc.Stub(self._meeting.channel(leader), v1.DESCRIPTOR, service)
        except NotLeadingError as error:
            await context.abort(code_of(error), str(error), details_of(error))
        try:
            return await getattr(stub, method)(
                request, metadata=((_FORWARDED, "1"),), timeout=context.time_remaining() or _FORWARD_SECONDS
            )
        except aio.AioRpcError as error:
            metadata: Any = error.trailing_metadata()  # the stubs do not know that it is what abort takes
            await context.abort(error.code(), error.details() or "", tuple(metadata or ()))


def _link(engine: Engine, link: Link) -> v1.Link:
    count = sum(mirror.phase is not Phase.STOPPED for mirror in engine.mirror_topics.list(link.name))
    return convert.link(link, engine.plane.find(link.name), engine.states.link(link), count, engine.guard.way)


def _mirror_topic(engine: Engine, mirror: MirrorTopic, *, partitions: bool = False) -> v1.MirrorTopic:
    runtime, entered = engine.plane.find(mirror.link), engine.states.mirror(mirror)
    if runtime is None or entered is None:
        return convert.mirror_topic(mirror, None)
    progress = {
        index: engine.state.progress(mirror.name, mirror.topic_id, index)
        for index in range(mirror.partition_count if partitions else 0)
    }
    now = convert.MirrorNow(
        entered,
        runtime.error,
        engine.state.failures(mirror),
        engine.workforce.statuses(mirror.name),
        {index: found.lost_offsets for index, found in progress.items()},
        engine.waits_for(mirror.name) or engine.guard.obstacle(mirror),
    )
    return convert.mirror_topic(mirror, now, partitions=partitions)
