"""The engine's API in memory, without Kafka: for faults of the API that a real engine cannot be made to show.

Behaves as the comments of `clusterlink.proto` say. One lock guards everything; delays are waited for outside of it.
"""

import re
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from clusterlink_proto import rpc, v1
from tests.support.certificates import Certificate
from tests.support.fake_links import RefusedError, check_link, fill_link, shown


@dataclass
class Fault:
    """What happens to the next call of a method: a delay, then an error, before or after the work was done.

    `message` is the error's sentence, `details` take the place of its machine-readable part. `change` alters the answer, or
    gives another one.
    """

    code: grpc.StatusCode | None = None
    after: bool = False
    delay: float = 0.0
    reason: str = ""
    message: str = "injected"
    details: bytes | None = None
    change: Callable[[Any], Any] | None = None


class RawAnswer:
    """Bytes in the place of a message."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def SerializeToString(self) -> bytes:  # noqa: N802 - as messages have it
        return self._data


@dataclass
class FakeEngine:
    """A server on a free port of the loopback; `links`, `topics` and `source_topics` may be changed by tests.

    `links` hold their passwords, and `passwords` all that a link was ever given, which answers do not. What takes several
    steps (promote, failover, reverse, restore) takes one at each reading of the mirror topic, none while `waits_for` is set;
    `checks` is what a check of a link answers, `truncations` what a restore discards, `disposals` what became of the topics
    of deleted mirror topics, `always` what happens to every call of a method. With a `certificate` it speaks TLS; with a
    `token` it answers nobody who has not got it.
    """

    version: str = "0.1.0"
    max_links: int = 10
    min_sync_interval_ms: int = 1000
    links: dict[str, v1.Link] = field(default_factory=dict)
    topics: dict[str, v1.MirrorTopic] = field(default_factory=dict)
    source_topics: dict[str, int] = field(default_factory=dict)
    plain_topics: set[str] = field(default_factory=set)
    source_reachable: bool = True
    calls: list[str] = field(default_factory=list)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    always: dict[str, Fault] = field(default_factory=dict)
    passwords: dict[str, list[str]] = field(default_factory=dict)
    disposals: dict[str, v1.TopicDisposal.ValueType] = field(default_factory=dict)
    checks: list[v1.LinkCheck] = field(default_factory=list)
    waits_for: str = ""
    truncations: list[v1.PartitionTruncation] = field(default_factory=list)
    local_bootstrap: str = "127.0.0.1:19092"
    remote_bootstrap: str = "127.0.0.1:29092"
    token: str = ""
    certificate: Certificate | None = None

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.tokens: dict[str, str] = {}
        self._steps: dict[str, list[v1.MirrorTopicState.ValueType]] = {}
        self.server: grpc.Server | None = None
        self.port = 0

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> "FakeEngine":
        self.server = grpc.server(ThreadPoolExecutor(32))
        services = v1.DESCRIPTOR.services_by_name
        self.server.add_generic_rpc_handlers(
            (
                rpc.handlers(services["EngineService"], self._methods("GetEngine")),
                rpc.handlers(
                    services["LinkService"],
                    self._methods(
                        *("CreateLink", "GetLink", "ListLinks", "UpdateLink", "DeleteLink", "PauseLink", "ResumeLink"),
                        *("CheckLink", "CheckNewLink"),
                    ),
                ),
                rpc.handlers(
                    services["MirrorTopicService"],
                    self._methods(
                        *("CreateMirrorTopic", "GetMirrorTopic", "ListMirrorTopics", "UpdateMirrorTopic"),
                        *("DeleteMirrorTopic", "RebuildMirrorTopic", "PauseMirrorTopic", "ResumeMirrorTopic"),
                        *("PromoteMirrorTopic", "CancelPromoteMirrorTopic", "FailoverMirrorTopic"),
                        *("ReverseMirrorTopic", "TruncateAndRestoreMirrorTopic"),
                    ),
                ),
            )
        )
        self.port = self._listen(self.server, f"127.0.0.1:{self.port}")
        self.server.start()
        return self

    def _listen(self, server: grpc.Server, address: str) -> int:
        if self.certificate is None:
            return server.add_insecure_port(address)
        pair = (self.certificate.key.encode(), self.certificate.certificate.encode())
        return server.add_secure_port(address, grpc.ssl_server_credentials([pair]))

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop(0).wait()
            self.server = None

    def create_source_topic(self, name: str, partitions: int = 1) -> None:
        self.source_topics[name] = partitions

    def fail_mirror_topic(self, name: str) -> None:
        """Makes a mirror topic fail, as a record written by somebody else does."""
        with self.lock:
            topic = self.topics[name]
            topic.state = v1.MIRROR_TOPIC_STATE_FAILED
            topic.error, topic.error_message = "FOREIGN_WRITE", "Partition 0: offset 7 was written by somebody else."

    def inject(self, method: str, *faults: Fault) -> None:
        self.faults.setdefault(method, []).extend(faults)

    def _methods(self, *names: str) -> dict[str, Callable[..., Any]]:
        return {name: self._wrap(name, getattr(self, f"_{_snake(name)}")) for name in names}

    def _wrap(self, name: str, work: Callable[[Any], Any]) -> Callable[[Any, grpc.ServicerContext], Any]:
        def handler(request: Any, context: grpc.ServicerContext) -> Any:
            kind = f"{name}(validate_only)" if getattr(request, "validate_only", False) else name
            with self.lock:
                self.calls.append(kind)
                waiting = self.faults.get(kind)
                fault = waiting.pop(0) if waiting else self.always.get(kind, Fault())
            if self.token and ("authorization", f"Bearer {self.token}") not in context.invocation_metadata():
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "This engine wants to know who calls.")
            if fault.delay:
                time.sleep(fault.delay)
            if fault.code is not None and not fault.after:
                _abort(context, RefusedError(fault.code, fault.reason, fault.message), fault.details)
            try:
                with self.lock:
                    answer = work(request)
            except RefusedError as refusal:
                _abort(context, refusal)
            if fault.code is not None:
                context.abort(fault.code, fault.message)
            return answer if fault.change is None else fault.change(_copy(answer))

        return handler

    def _get_engine(self, _request: v1.GetEngineRequest) -> v1.Engine:
        limits = v1.Limits(max_links=self.max_links, min_sync_interval_ms=self.min_sync_interval_ms)
        return v1.Engine(version=self.version, local_cluster_id="local-cluster", limits=limits, instance_id="fake")

    def _check_link(self, _request: v1.CheckLinkRequest) -> v1.CheckLinkResponse:
        return v1.CheckLinkResponse(checks=self.checks)

    def _check_new_link(self, _request: v1.CheckNewLinkRequest) -> v1.CheckLinkResponse:
        return v1.CheckLinkResponse(checks=self.checks)

    def _create_link(self, request: v1.CreateLinkRequest) -> v1.Link:
        wanted = request.link
        check_link(wanted, self.min_sync_interval_ms)
        if request.client_token and self.tokens.get(request.client_token) == wanted.name:
            return shown(self.links[wanted.name])
        if wanted.name in self.links:
            raise RefusedError(
                grpc.StatusCode.ALREADY_EXISTS, "LINK_EXISTS", f"There is a link {wanted.name}.", "link.name"
            )
        if len(self.links) >= self.max_links:
            raise RefusedError(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_LINKS", f"{self.max_links} links are allowed."
            )
        if wanted.topic_prefix and any(link.topic_prefix == wanted.topic_prefix for link in self.links.values()):
            raise RefusedError(
                grpc.StatusCode.ALREADY_EXISTS, "PREFIX_EXISTS", "The prefix is taken.", "link.topic_prefix"
            )
        link = v1.Link()
        link.CopyFrom(wanted)
        if request.validate_only:
            return shown(link)
        if "127.0.0.1:1" in wanted.remote_cluster.bootstrap_servers:
            raise RefusedError(
                grpc.StatusCode.UNAVAILABLE,
                "REMOTE_CLUSTER_UNREACHABLE",
                "No broker answers at 127.0.0.1:1.",
                "link.remote_cluster.bootstrap_servers",
            )
        cluster = "remote-cluster"
        if wanted.remote_cluster.cluster_id not in {"", cluster}:
            raise RefusedError(
                grpc.StatusCode.FAILED_PRECONDITION,
                "CLUSTER_ID_MISMATCH",
                f"The remote cluster has the id {cluster}, not {wanted.remote_cluster.cluster_id}.",
                "link.remote_cluster.cluster_id",
            )
        link.link_id = uuid.uuid4().hex
        link.remote_cluster.cluster_id = cluster
        fill_link(link)
        self.links[link.name] = link
        self.passwords[link.name] = [_secret(link)]
        self.tokens[request.client_token] = link.name
        return shown(self._link(link.name))

    def _get_link(self, request: v1.GetLinkRequest) -> v1.Link:
        return shown(self._link(request.name))

    def _list_links(self, _request: v1.ListLinksRequest) -> v1.ListLinksResponse:
        return v1.ListLinksResponse(links=[shown(self._link(name)) for name in sorted(self.links)])

    def _update_link(self, request: v1.UpdateLinkRequest) -> v1.Link:
        link = self._link(request.link.name)
        changed = v1.Link()
        changed.CopyFrom(link)
        for path in request.update_mask.paths:
            _copy_field(request.link, changed, path)
        check_link(changed, self.min_sync_interval_ms)
        fill_link(changed)
        if not request.validate_only:
            link.CopyFrom(changed)
            if "remote_cluster.sasl" in request.update_mask.paths:
                self.passwords[link.name].append(_secret(link))
        return shown(changed)

    def _delete_link(self, request: v1.DeleteLinkRequest) -> v1.DeleteLinkResponse:
        if self._link(request.name).mirror_topic_count:
            raise RefusedError(grpc.StatusCode.FAILED_PRECONDITION, "LINK_HAS_MIRROR_TOPICS", "Mirror topics are live.")
        del self.links[request.name]
        return v1.DeleteLinkResponse()

    def _pause_link(self, request: v1.PauseLinkRequest) -> v1.Link:
        link = self._link(request.name)
        link.paused, link.state = True, v1.LINK_STATE_PAUSED
        return shown(link)

    def _resume_link(self, request: v1.ResumeLinkRequest) -> v1.Link:
        link = self._link(request.name)
        link.paused, link.state = False, v1.LINK_STATE_ACTIVE
        return shown(link)

    def _create_mirror_topic(self, request: v1.CreateMirrorTopicRequest) -> v1.MirrorTopic:
        wanted = request.mirror_topic
        link = self._link(wanted.link)
        name = link.topic_prefix + wanted.source_topic
        if wanted.name not in {"", name}:
            raise RefusedError(
                grpc.StatusCode.INVALID_ARGUMENT, "NAME_MISMATCH", f"The name must be {name}.", "mirror_topic.name"
            )
        for key in wanted.config:
            if key == "retention.ms":
                raise RefusedError(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    "SYNCED_SETTING",
                    f"{key} follows the source topic.",
                    f'mirror_topic.config["{key}"]',
                )
        if request.client_token and self.tokens.get(request.client_token) == name:
            return self.topics[name]
        if name in self.topics or name in self.plain_topics:
            raise RefusedError(
                grpc.StatusCode.ALREADY_EXISTS, "TOPIC_EXISTS", f"There is a topic {name}.", "mirror_topic.source_topic"
            )
        if not self.source_reachable:
            raise RefusedError(grpc.StatusCode.UNAVAILABLE, "SOURCE_UNAVAILABLE", "The remote cluster does not answer.")
        partitions = self.source_topics.get(wanted.source_topic)
        if partitions is None:
            raise RefusedError(
                grpc.StatusCode.NOT_FOUND,
                "SOURCE_TOPIC_NOT_FOUND",
                f"The remote cluster has no topic {wanted.source_topic}.",
                "mirror_topic.source_topic",
            )
        topic = v1.MirrorTopic()
        topic.CopyFrom(wanted)
        topic.name, topic.partition_count, topic.source_topic_id = name, partitions, "source-" + wanted.source_topic
        topic.topic_id = uuid.uuid4().hex
        topic.direction = v1.MIRROR_DIRECTION_REMOTE_TO_LOCAL
        topic.replication_factor = topic.replication_factor or 1
        topic.state = v1.MIRROR_TOPIC_STATE_PAUSED if wanted.paused else v1.MIRROR_TOPIC_STATE_ACTIVE
        if not request.validate_only:
            self.topics[name] = topic
            self.tokens[request.client_token] = name
        return topic

    def _get_mirror_topic(self, request: v1.GetMirrorTopicRequest) -> v1.MirrorTopic:
        self._step(self._topic(request.name, request.link))
        topic = v1.MirrorTopic()
        topic.CopyFrom(self._topic(request.name, request.link))
        for number in range(topic.partition_count):
            topic.partitions.add(
                partition=number,
                log_start_offset=0,
                log_end_offset=5,
                source_high_watermark=7,
                lag=2,
                state="COPYING",
                source_last_stable_offset=6,
                held_by_open_transaction=True,
                offsets_filled=3,
                offsets_lost=1,
                lag_ms=1500,
            )
        return topic

    def _list_mirror_topics(self, request: v1.ListMirrorTopicsRequest) -> v1.ListMirrorTopicsResponse:
        found = [topic for topic in self.topics.values() if request.link in {"", topic.link}]
        return v1.ListMirrorTopicsResponse(mirror_topics=found)

    def _update_mirror_topic(self, request: v1.UpdateMirrorTopicRequest) -> v1.MirrorTopic:
        topic = self._topic(request.mirror_topic.name, request.mirror_topic.link)
        if not request.validate_only:
            for path in request.update_mask.paths:
                _copy_field(request.mirror_topic, topic, path)
        return topic

    def _delete_mirror_topic(self, request: v1.DeleteMirrorTopicRequest) -> v1.DeleteMirrorTopicResponse:
        topic = self._topic(request.name, request.link)
        if topic.stop and request.topic_disposal == v1.TOPIC_DISPOSAL_DELETE_TOPIC:
            raise RefusedError(grpc.StatusCode.FAILED_PRECONDITION, "MIRROR_TOPIC_STOPPED", "The topic is the user's.")
        self.disposals[request.name] = request.topic_disposal
        del self.topics[request.name]
        return v1.DeleteMirrorTopicResponse()

    def _rebuild_mirror_topic(self, request: v1.RebuildMirrorTopicRequest) -> v1.MirrorTopic:
        topic = self._live(request)
        if topic.state == v1.MIRROR_TOPIC_STATE_FAILED:
            topic.state = v1.MIRROR_TOPIC_STATE_PAUSED if topic.paused else v1.MIRROR_TOPIC_STATE_ACTIVE
            topic.error = topic.error_message = ""
            topic.topic_id = uuid.uuid4().hex
        return topic

    def _pause_mirror_topic(self, request: v1.PauseMirrorTopicRequest) -> v1.MirrorTopic:
        topic = self._topic(request.name, request.link)
        topic.paused, topic.state = True, v1.MIRROR_TOPIC_STATE_PAUSED
        return topic

    def _resume_mirror_topic(self, request: v1.ResumeMirrorTopicRequest) -> v1.MirrorTopic:
        topic = self._topic(request.name, request.link)
        topic.paused, topic.state = False, v1.MIRROR_TOPIC_STATE_ACTIVE
        return topic

    def _promote_mirror_topic(self, request: v1.PromoteMirrorTopicRequest) -> v1.MirrorTopic:
        return self._stop(request, v1.MIRROR_TOPIC_STOP_PROMOTE)

    def _failover_mirror_topic(self, request: v1.FailoverMirrorTopicRequest) -> v1.MirrorTopic:
        return self._stop(request, v1.MIRROR_TOPIC_STOP_FAILOVER)

    def _stop(self, request: Any, stop: v1.MirrorTopicStop.ValueType) -> v1.MirrorTopic:
        topic = self._live(request)
        if topic.state == v1.MIRROR_TOPIC_STATE_FAILED and stop == v1.MIRROR_TOPIC_STOP_PROMOTE:
            raise RefusedError(
                grpc.StatusCode.FAILED_PRECONDITION, "MIRROR_TOPIC_FAILED", f"{topic.name} will never have everything."
            )
        if not request.validate_only:
            topic.stop, topic.paused = stop, False
            self._begin(topic, v1.MIRROR_TOPIC_STATE_PENDING_STOPPED, v1.MIRROR_TOPIC_STATE_STOPPED)
        return topic

    def _cancel_promote_mirror_topic(self, request: v1.CancelPromoteMirrorTopicRequest) -> v1.MirrorTopic:
        topic = self._topic(request.name, request.link)
        if not self._steps.pop(topic.name, None):
            raise RefusedError(grpc.StatusCode.FAILED_PRECONDITION, "NOT_PROMOTING", f"{topic.name} does not wait.")
        topic.state, topic.stop = v1.MIRROR_TOPIC_STATE_ACTIVE, v1.MIRROR_TOPIC_STOP_UNSPECIFIED
        return topic

    def _reverse_mirror_topic(self, request: v1.ReverseMirrorTopicRequest) -> v1.MirrorTopic:
        topic = self._live(request)
        self._check_bidirectional(topic)
        if not request.validate_only:
            topic.stop, topic.paused = v1.MIRROR_TOPIC_STOP_REVERSE, request.paused
            self._begin(
                topic,
                v1.MIRROR_TOPIC_STATE_PENDING_SYNCHRONIZE,
                v1.MIRROR_TOPIC_STATE_PENDING_MIRROR,
                v1.MIRROR_TOPIC_STATE_PAUSED if request.paused else v1.MIRROR_TOPIC_STATE_ACTIVE,
            )
        return topic

    def _truncate_and_restore_mirror_topic(
        self, request: v1.TruncateAndRestoreMirrorTopicRequest
    ) -> v1.TruncateAndRestoreMirrorTopicResponse:
        topic = self._topic(request.name, request.link)
        self._check_bidirectional(topic)
        if topic.state != v1.MIRROR_TOPIC_STATE_STOPPED:
            raise RefusedError(grpc.StatusCode.FAILED_PRECONDITION, "NOT_STOPPED", f"{topic.name} is not STOPPED.")
        if not request.validate_only:
            topic.stop = v1.MIRROR_TOPIC_STOP_UNSPECIFIED
            self._begin(
                topic,
                v1.MIRROR_TOPIC_STATE_PENDING_SETUP_FOR_RESTORE,
                v1.MIRROR_TOPIC_STATE_PENDING_RESTORE,
                v1.MIRROR_TOPIC_STATE_ACTIVE,
            )
        return v1.TruncateAndRestoreMirrorTopicResponse(
            mirror_topic=topic,
            messages_truncated=sum(partition.messages_truncated for partition in self.truncations),
            partitions=self.truncations,
        )

    def _begin(self, topic: v1.MirrorTopic, *states: v1.MirrorTopicState.ValueType) -> None:
        topic.state, *self._steps[topic.name] = states

    def _step(self, topic: v1.MirrorTopic) -> None:
        """Takes the next step of what was begun; the last one out of a direction's change turns it."""
        steps = self._steps.get(topic.name)
        if not steps:
            return
        topic.state_detail = self.waits_for
        if self.waits_for:
            return
        topic.state = steps.pop(0)
        if not steps and topic.state != v1.MIRROR_TOPIC_STATE_STOPPED:
            is_reversed = topic.direction == v1.MIRROR_DIRECTION_LOCAL_TO_REMOTE
            topic.direction = (
                v1.MIRROR_DIRECTION_REMOTE_TO_LOCAL if is_reversed else v1.MIRROR_DIRECTION_LOCAL_TO_REMOTE
            )
            topic.stop = v1.MIRROR_TOPIC_STOP_UNSPECIFIED

    def _live(self, request: Any) -> v1.MirrorTopic:
        topic = self._topic(request.name, request.link)
        if topic.state == v1.MIRROR_TOPIC_STATE_STOPPED:
            raise RefusedError(
                grpc.StatusCode.FAILED_PRECONDITION, "MIRROR_TOPIC_STOPPED", f"{topic.name} has stopped its mirror."
            )
        return topic

    def _check_bidirectional(self, topic: v1.MirrorTopic) -> None:
        if self.links[topic.link].mode != v1.LINK_MODE_BIDIRECTIONAL:
            raise RefusedError(
                grpc.StatusCode.FAILED_PRECONDITION, "NOT_BIDIRECTIONAL", f"The link {topic.link} has one direction."
            )

    def _link(self, name: str) -> v1.Link:
        link = self.links.get(name)
        if link is None:
            raise RefusedError(grpc.StatusCode.NOT_FOUND, "LINK_NOT_FOUND", f"There is no link {name}.")
        live = [topic for topic in self.topics.values() if topic.state != v1.MIRROR_TOPIC_STATE_STOPPED]
        link.mirror_topic_count = sum(topic.link == name for topic in live)
        return link

    def _topic(self, name: str, link: str) -> v1.MirrorTopic:
        topic = self.topics.get(name)
        if topic is None or link not in {"", topic.link}:
            raise RefusedError(grpc.StatusCode.NOT_FOUND, "MIRROR_TOPIC_NOT_FOUND", f"There is no mirror topic {name}.")
        return topic


def _copy_field(source: Any, target: Any, path: str) -> None:
    *groups, last = path.split(".")
    for group in groups:
        source, target = getattr(source, group), getattr(target, group)
    target.ClearField(last)
    part = type(target)()
    part.CopyFrom(source)
    for other in part.DESCRIPTOR.fields:
        if other.name != last:
            part.ClearField(other.name)
    target.MergeFrom(part)


def _copy(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _abort(context: grpc.ServicerContext, refusal: RefusedError, other_details: bytes | None = None) -> NoReturn:
    status = status_pb2.Status(code=refusal.code.value[0], message=refusal.message)
    details: list[Any] = [error_details_pb2.ErrorInfo(reason=refusal.reason, domain="clusterlink.v1")]
    if refusal.where:
        violation = error_details_pb2.BadRequest.FieldViolation(field=refusal.where, description=refusal.message)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    details_bytes = status.SerializeToString() if other_details is None else other_details
    context.set_trailing_metadata((("grpc-status-details-bin", details_bytes),))
    context.abort(refusal.code, refusal.message)


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


def _secret(link: v1.Link) -> str:
    """The one that a link authenticates with."""
    sasl = link.remote_cluster.sasl
    return sasl.password or sasl.oauth.client_secret
