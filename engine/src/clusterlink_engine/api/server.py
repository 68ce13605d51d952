"""The gRPC server: the services of `clusterlink.v1`, health and reflection."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from clusterlink_engine.api import convert
from clusterlink_engine.api.errors import code_of, details_of
from clusterlink_engine.control.links import Links
from clusterlink_engine.control.mirrors import MirrorTopics
from clusterlink_engine.control.runtime import Runtimes
from clusterlink_engine.control.states import StateWatch
from clusterlink_engine.errors import ClusterlinkError, InvalidArgumentError
from clusterlink_engine.model.resources import Link, MirrorTopic
from clusterlink_engine.settings import Limits, parse_address
from clusterlink_proto import rpc, v1

log = logging.getLogger(__name__)

Request = TypeVar("Request")
Response = TypeVar("Response")
Method = Callable[[Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Engine:
    """What the services work on."""

    links: Links
    mirror_topics: MirrorTopics
    runtimes: Runtimes
    states: StateWatch
    limits: Limits
    local_cluster_id: str
    instance_id: str


class Server:
    """The API of an engine on one address.

    Attributes:
        address: `host:port` that it listens on, once started.
    """

    def __init__(self, engine: Engine, listen: str) -> None:
        self.address = ""
        self._engine = engine
        self._listen = listen
        self._server = aio.server(options=[("grpc.so_reuseport", 0)])
        self._running: set[asyncio.Task[Any]] = set()
        self._health: Any = health.aio.HealthServicer()  # type: ignore[attr-defined] # the stubs lack it

    async def start(self) -> None:
        """Begins to answer.

        Raises:
            InvalidArgumentError: The address cannot be listened on.
        """
        services = v1.DESCRIPTOR.services_by_name
        tables = {"EngineService": self._engine_methods(), "LinkService": self._link_methods()}
        tables["MirrorTopicService"] = self._mirror_methods()
        for name, methods in tables.items():
            guarded = {method: self._guarded(function) for method, function in methods.items()}
            self._server.add_generic_rpc_handlers((rpc.handlers(services[name], guarded),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [services[name].full_name for name in tables]
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server)
        try:
            port = self._server.add_insecure_port(self._listen)
        except RuntimeError as error:
            raise InvalidArgumentError(f"api.listen: {self._listen} cannot be listened on; is it in use?") from error
        await self._server.start()
        host, _ = parse_address(self._listen)
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        for name in ["", *names]:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace: float) -> None:
        """Takes no new calls and lets those under way finish, for at most `grace` seconds."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)
        await asyncio.gather(*self._running, return_exceptions=True)  # what was begun for callers that went away

    def _engine_methods(self) -> dict[str, Method]:
        async def get(_: v1.GetEngineRequest) -> v1.Engine:
            engine = self._engine
            return convert.engine(engine.local_cluster_id, engine.limits, engine.instance_id)

        return {"GetEngine": get}

    def _link_methods(self) -> dict[str, Method]:
        links, answer = self._engine.links, self._link

        async def create(request: v1.CreateLinkRequest) -> v1.Link:
            spec = convert.link_spec(request.link)
            link = await links.create(spec, request.client_token, validate_only=request.validate_only)
            return answer(link)

        async def update(request: v1.UpdateLinkRequest) -> v1.Link:
            spec, fields = convert.link_spec(request.link), list(request.update_mask.paths)
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

        return {
            "CreateLink": create,
            "GetLink": get,
            "ListLinks": list_all,
            "UpdateLink": update,
            "DeleteLink": delete,
            "PauseLink": pause,
            "ResumeLink": resume,
        }

    def _mirror_methods(self) -> dict[str, Method]:
        topics, answer = self._engine.mirror_topics, self._mirror_topic

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
            return answer(topics.get(request.name, request.link), partitions=True)

        async def list_all(request: v1.ListMirrorTopicsRequest) -> v1.ListMirrorTopicsResponse:
            return v1.ListMirrorTopicsResponse(mirror_topics=[answer(mirror) for mirror in topics.list(request.link)])

        async def delete(request: v1.DeleteMirrorTopicRequest) -> v1.DeleteMirrorTopicResponse:
            disposal = request.topic_disposal
            if disposal == v1.TOPIC_DISPOSAL_UNSPECIFIED:
                raise InvalidArgumentError(
                    "Say what becomes of the topic: KEEP_TOPIC or DELETE_TOPIC.", field="topic_disposal"
                )
            keep = disposal == v1.TOPIC_DISPOSAL_KEEP_TOPIC
            await topics.delete(request.name, request.link, keep_topic=keep)
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
            "PauseMirrorTopic": pause,
            "ResumeMirrorTopic": resume,
        }

    def _link(self, link: Link) -> v1.Link:
        engine = self._engine
        count = len(engine.mirror_topics.list(link.name))
        return convert.link(link, engine.runtimes.find(link.name), engine.states.link(link), count)

    def _mirror_topic(self, mirror: MirrorTopic, *, partitions: bool = False) -> v1.MirrorTopic:
        runtime, entered = self._engine.runtimes.find(mirror.link), self._engine.states.mirror(mirror)
        return convert.mirror_topic(mirror, runtime, entered, partitions=partitions)

    def _guarded(self, function: Method) -> Callable[[Any, aio.ServicerContext[Any, Any]], Awaitable[Any]]:
        """Turns the errors of a method into gRPC answers, and lets the method end whatever the caller does.

        A caller that goes away, or whose deadline passes, must not cut off a change between two of its steps. A bug answers
        INTERNAL without its inside; the log has the rest.
        """

        async def call(request: Any, context: aio.ServicerContext[Any, Any]) -> Any:
            task = asyncio.ensure_future(function(request))
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
