"""One conversion for each message of `clusterlink.v1`."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError

from clusterlink_engine import __version__
from clusterlink_engine.api.details import state_detail
from clusterlink_engine.control.preflight import DEFAULT_SECONDS
from clusterlink_engine.control.restoring import Truncation
from clusterlink_engine.control.runtime import LinkRuntime
from clusterlink_engine.control.write_guard import WriteGuardWay
from clusterlink_engine.errors import InvalidArgumentError, KafkaError, Side
from clusterlink_engine.mirror.partition import Phase
from clusterlink_engine.model.acls import AclFilter, make_acl_filter
from clusterlink_engine.model.checks import Check
from clusterlink_engine.model.filters import Filter, make_filter
from clusterlink_engine.model.resources import (
    DEFAULT_ACL_SYNC_MS,
    DEFAULT_CONSUMER_OFFSET_SYNC_MS,
    DEFAULT_TOPIC_CONFIG_SYNC_MS,
    EARLIEST,
    AclSync,
    AutoCreateMirrorTopics,
    ConsumerOffsetSync,
    Direction,
    Failure,
    Link,
    LinkMode,
    MirrorTopic,
    Stop,
    TopicDisposal,
    Worker,
)
from clusterlink_engine.model.specs import LinkSpec, MirrorTopicSpec
from clusterlink_engine.model.states import Entered, LinkState, MirrorTopicState
from clusterlink_engine.model.topic_settings import CONFIGURABLE
from clusterlink_engine.replication.gap_filling import GapFillingWay
from clusterlink_engine.replication.status import PartitionStatus
from clusterlink_engine.sasl import OAuth, Sasl
from clusterlink_engine.security import Tls
from clusterlink_engine.settings import Limits
from clusterlink_engine.sync.task import SyncTask
from clusterlink_proto import v1

_STOPS = {
    None: v1.MIRROR_TOPIC_STOP_UNSPECIFIED,
    Stop.PROMOTE: v1.MIRROR_TOPIC_STOP_PROMOTE,
    Stop.FAILOVER: v1.MIRROR_TOPIC_STOP_FAILOVER,
    Stop.REVERSE_AND_START: v1.MIRROR_TOPIC_STOP_REVERSE,
    Stop.REVERSE_AND_PAUSE: v1.MIRROR_TOPIC_STOP_REVERSE,
}
_DISPOSALS = {
    v1.TOPIC_DISPOSAL_KEEP_TOPIC: TopicDisposal.KEEP_TOPIC,
    v1.TOPIC_DISPOSAL_DELETE_TOPIC: TopicDisposal.DELETE_TOPIC,
    v1.TOPIC_DISPOSAL_DELETE_TOPIC_WITH_DATA: TopicDisposal.DELETE_TOPIC_WITH_DATA,
}
_MODES = {
    v1.LINK_MODE_UNSPECIFIED: LinkMode.DESTINATION,
    v1.LINK_MODE_DESTINATION: LinkMode.DESTINATION,
    v1.LINK_MODE_BIDIRECTIONAL: LinkMode.BIDIRECTIONAL,
}
_GAP_FILLING = {
    None: v1.GAP_FILLING_UNSPECIFIED,
    GapFillingWay.MARKERS: v1.GAP_FILLING_MARKERS,
    GapFillingWay.TRANSACTIONS: v1.GAP_FILLING_EMPTY_TRANSACTIONS,
}
_WRITE_GUARD = {
    None: v1.WRITE_GUARD_UNSPECIFIED,
    WriteGuardWay.ACL: v1.WRITE_GUARD_ACL,
    WriteGuardWay.DETECTION_ONLY: v1.WRITE_GUARD_DETECTION_ONLY,
}


def link_spec(message: v1.Link) -> LinkSpec:
    """Reads what a caller wants of a link.

    Raises:
        InvalidArgumentError: The mode is not known here.
    """
    if message.mode not in _MODES:
        raise InvalidArgumentError("The link modes are DESTINATION and BIDIRECTIONAL.", field="link.mode")
    remote = message.remote_cluster
    return LinkSpec(
        name=message.name,
        mode=_MODES[message.mode],
        bootstrap_servers=tuple(remote.bootstrap_servers),
        cluster_id=remote.cluster_id,
        security_protocol=remote.security_protocol or "PLAINTEXT",
        sasl=_sasl(remote.sasl) if remote.HasField("sasl") else None,
        tls=_tls(remote.tls) if remote.HasField("tls") else None,
        topic_prefix=message.topic_prefix,
        paused=message.paused,
        mirror_start_offset=message.mirror_start_offset or EARLIEST,
        topic_config_sync_ms=message.topic_config_sync.interval_ms or DEFAULT_TOPIC_CONFIG_SYNC_MS,
        topic_config_include=tuple(message.topic_config_sync.include),
        consumer_offset_sync=_consumer_offset_sync(message.consumer_offset_sync),
        acl_sync=_acl_sync(message.acl_sync),
        auto_create_mirror_topics=AutoCreateMirrorTopics(
            enable=message.auto_create_mirror_topics.enable,
            filters=_filters(message.auto_create_mirror_topics.filters, "link.auto_create_mirror_topics.filters"),
        ),
        config=dict(message.config),
    )


def check_seconds(timeout_ms: int) -> float:
    """Reads until when a check is to answer.

    Raises:
        InvalidArgumentError: The time is too short, or too long.
    """
    if timeout_ms and not 1000 <= timeout_ms <= 60_000:
        raise InvalidArgumentError("A check takes 1000 to 60000 ms.", field="timeout_ms")
    return timeout_ms / 1000 or DEFAULT_SECONDS


def checks(rows: Iterable[Check]) -> v1.CheckLinkResponse:
    """Answers what a check of a link has found."""
    return v1.CheckLinkResponse(
        checks=[
            v1.LinkCheck(
                check=row.name,
                side=v1.LINK_SIDE_LOCAL if row.side is Side.LOCAL else v1.LINK_SIDE_REMOTE,
                needed_by=row.needed_by,
                status=v1.CheckStatus.Value(f"CHECK_STATUS_{row.status}"),
                detail=row.detail,
                command=row.command,
                required=row.is_required,
            )
            for row in rows
        ]
    )


def changed_link_spec(message: v1.Link, fields: Collection[str]) -> LinkSpec:
    """Reads what a caller wants changed of a link: who sends a link back as it was answered has none of its secrets.

    Args:
        message: The new values.
        fields: Those that count. How to authenticate and whom to trust is not looked at if it is not among them.

    Raises:
        InvalidArgumentError: See `link_spec`.
    """
    wanted = v1.Link()
    wanted.CopyFrom(message)
    if "remote_cluster.sasl" not in fields:
        wanted.remote_cluster.ClearField("sasl")
    if "remote_cluster.tls" not in fields:
        wanted.remote_cluster.ClearField("tls")
    return link_spec(wanted)


def _sasl(message: v1.Sasl) -> Sasl:
    with _checked("sasl"):
        return Sasl(
            mechanism=message.mechanism,
            username=message.username,
            password=message.password,
            oauth=_oauth(message.oauth) if message.HasField("oauth") else None,
            aws_region=message.aws_region,
        )


def _oauth(message: v1.OAuth) -> OAuth:
    with _checked("sasl.oauth"):
        return OAuth(
            token_endpoint_url=message.token_endpoint_url,
            client_id=message.client_id,
            client_secret=message.client_secret,
            scope=message.scope,
            parameters=dict(message.parameters),
            extensions=dict(message.extensions),
            ca_pem=message.ca_pem,
        )


def _tls(message: v1.Tls) -> Tls:
    with _checked("tls"):
        return Tls(
            ca_pem=message.ca_pem,
            certificate_pem=message.certificate_pem,
            key_pem=message.key_pem,
            accept_any_server_name=message.accept_any_server_name,
        )


@contextmanager
def _checked(group: str) -> Iterator[None]:
    """Makes the engine's error of what is wrong in a group of fields of the remote cluster; without the values."""
    try:
        yield
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(["link.remote_cluster", group, *map(str, first["loc"])])
        raise InvalidArgumentError(
            f"{group} is wrong: {first['msg'].removeprefix('Value error, ')}.", field=field
        ) from None


def _consumer_offset_sync(message: v1.ConsumerOffsetSync) -> ConsumerOffsetSync:
    return ConsumerOffsetSync(
        enable=message.enable,
        interval_ms=message.interval_ms or DEFAULT_CONSUMER_OFFSET_SYNC_MS,
        group_prefix=message.group_prefix,
        group_filters=_filters(message.group_filters, "link.consumer_offset_sync.group_filters"),
    )


def _acl_sync(message: v1.AclSync) -> AclSync:
    filters = {
        make_acl_filter({name: getattr(entry, name) for name in AclFilter.model_fields}, "link.acl_sync.filters")
        for entry in message.filters
    }
    return AclSync(
        enable=message.enable,
        interval_ms=message.interval_ms or DEFAULT_ACL_SYNC_MS,
        filters=tuple(sorted(filters, key=str)),
    )


def _filters(messages: Iterable[v1.Filter], at: str) -> tuple[Filter, ...]:
    found = {make_filter(message.name, message.pattern_type, message.filter_type, at) for message in messages}
    return tuple(sorted(found, key=lambda entry: (entry.name, entry.pattern_type, entry.filter_type)))


def mirror_spec(message: v1.MirrorTopic) -> MirrorTopicSpec:
    """Reads what a caller wants of a mirror topic."""
    return MirrorTopicSpec(
        link=message.link,
        source_topic=message.source_topic,
        name=message.name,
        replication_factor=message.replication_factor,
        config=dict(message.config),
        paused=message.paused,
    )


def disposal(message: v1.TopicDisposal.ValueType) -> TopicDisposal:
    """Answers what becomes of a topic.

    Raises:
        InvalidArgumentError: The request does not say.
    """
    if message not in _DISPOSALS:
        raise InvalidArgumentError(
            f"Say what becomes of the topic: {', '.join(TopicDisposal)}.", field="topic_disposal"
        )
    return _DISPOSALS[message]


def engine(
    cluster_id: str, limits: Limits, instance_id: str, processes: Iterable[tuple[Worker, int]] = ()
) -> v1.Engine:
    """Describes this engine, and its processes with the number of shards that each has."""
    return v1.Engine(
        version=__version__,
        local_cluster_id=cluster_id,
        limits=v1.Limits(max_links=limits.max_links, min_sync_interval_ms=limits.min_sync_interval_ms),
        instance_id=instance_id,
        processes=[v1.EngineProcess(host=worker.host, pid=worker.pid, shards=shards) for worker, shards in processes],
    )


def link(
    stored: Link,
    runtime: LinkRuntime | None,
    entered: Entered[LinkState] | None,
    mirror_topics: int,
    write_guard: WriteGuardWay | None,
) -> v1.Link:
    """Describes a link; without a runtime it was only checked and has no state."""
    message = v1.Link(
        name=stored.name,
        link_id=stored.link_id,
        mode=v1.LinkMode.Value(f"LINK_MODE_{stored.mode}"),
        remote_cluster=v1.RemoteCluster(
            bootstrap_servers=stored.remote.bootstrap_servers,
            cluster_id=stored.remote.cluster_id,
            security_protocol=stored.remote.security_protocol,
        ),
        topic_prefix=stored.topic_prefix,
        paused=stored.paused,
        mirror_start_offset=stored.mirror_start_offset,
        topic_config_sync=v1.TopicConfigSync(
            interval_ms=stored.topic_config_sync.interval_ms,
            include=stored.topic_config_sync.include or sorted(CONFIGURABLE),
        ),
        consumer_offset_sync=v1.ConsumerOffsetSync(
            enable=stored.consumer_offset_sync.enable,
            interval_ms=stored.consumer_offset_sync.interval_ms,
            group_prefix=stored.consumer_offset_sync.group_prefix,
            group_filters=[v1.Filter(**entry.model_dump()) for entry in stored.consumer_offset_sync.group_filters],
        ),
        acl_sync=v1.AclSync(
            enable=stored.acl_sync.enable,
            interval_ms=stored.acl_sync.interval_ms,
            filters=[v1.AclFilter(**entry.model_dump()) for entry in stored.acl_sync.filters],
        ),
        auto_create_mirror_topics=v1.AutoCreateMirrorTopics(
            enable=stored.auto_create_mirror_topics.enable,
            filters=[v1.Filter(**entry.model_dump()) for entry in stored.auto_create_mirror_topics.filters],
        ),
        config=stored.config,
        mirror_topic_count=mirror_topics,
    )
    if stored.remote.sasl is not None:
        message.remote_cluster.sasl.CopyFrom(_shown_sasl(stored.remote.sasl))
    tls = stored.remote.tls
    if tls is not None:
        shown = v1.Tls(
            ca_pem=tls.ca_pem,
            certificate_pem=tls.certificate_pem,
            accept_any_server_name=tls.accept_any_server_name,
        )
        message.remote_cluster.tls.CopyFrom(shown)
    if runtime is not None and entered is not None:
        message.gap_filling = _GAP_FILLING[runtime.gap_filling]
        message.write_guard = _WRITE_GUARD[write_guard]
        state = entered.state
        message.state = v1.LinkState.Value(f"LINK_STATE_{state}")
        message.state_since.FromDatetime(entered.since)
        if state in (LinkState.UNAVAILABLE, LinkState.FAILED) and runtime.error is not None:
            message.error, message.error_message = runtime.error.reason, str(runtime.error)
        message.tasks.extend(_task(name, tasks, state) for name, tasks in runtime.syncs.items())
    return message


def _shown_sasl(sasl: Sasl) -> v1.Sasl:
    """Describes how a link authenticates, without the secrets."""
    message = v1.Sasl(mechanism=sasl.mechanism, username=sasl.username, aws_region=sasl.aws_region)
    if sasl.oauth is not None:
        oauth = v1.OAuth(
            token_endpoint_url=sasl.oauth.token_endpoint_url,
            client_id=sasl.oauth.client_id,
            scope=sasl.oauth.scope,
            parameters=sasl.oauth.parameters,
            extensions=sasl.oauth.extensions,
            ca_pem=sasl.oauth.ca_pem,
        )
        message.oauth.CopyFrom(oauth)
    return message


def _task(name: str, tasks: Sequence[SyncTask], link_state: LinkState) -> v1.LinkTask:
    """Describes a task of a link as one, in whatever directions it works."""
    message = v1.LinkTask(name=name)
    if not any(task.is_enabled for task in tasks):
        message.state = v1.TASK_STATE_NOT_CONFIGURED
    elif link_state is not LinkState.ACTIVE:
        message.state = v1.TaskState.Value(f"TASK_STATE_LINK_{link_state}")
    else:
        errors = [error for task in tasks for error in task.errors]
        message.state = v1.TASK_STATE_IN_ERROR if errors else v1.TASK_STATE_ACTIVE
        message.errors.extend(v1.TaskError(code=error.code, message=error.message) for error in errors)
    return message


@dataclass(frozen=True, slots=True)
class MirrorNow:
    """What a mirror topic does at the moment, beside what is stored of it.

    Attributes:
        entered: Its state.
        error: Why the link's remote cluster cannot be used; None if it can.
        failures: Why partitions stopped for good.
        statuses: Of the partitions that a process mirrors.
        lost_offsets: By partition, how many offsets the source deleted before they were mirrored.
        waits_for: What a verb that was begun waits for, or what keeps others from writing after it; empty if nothing.
    """

    entered: Entered[MirrorTopicState]
    error: KafkaError | None
    failures: Mapping[int, Failure]
    statuses: Mapping[int, PartitionStatus]
    lost_offsets: Mapping[int, int]
    waits_for: str


def mirror_topic(stored: MirrorTopic, now: MirrorNow | None, *, partitions: bool = False) -> v1.MirrorTopic:
    """Describes a mirror topic, with its partitions if asked; without `now` it was only checked and has no state."""
    message = v1.MirrorTopic(
        link=stored.link,
        source_topic=stored.source_topic,
        name=stored.name,
        source_topic_id=stored.source_topic_id,
        topic_id=stored.topic_id,
        partition_count=stored.partition_count,
        replication_factor=max(stored.replication_factor, 0),
        config=stored.config,
        paused=stored.paused,
        stop=_STOPS[stored.stop],
        automatic=stored.automatic,
        direction=v1.MirrorDirection.Value(f"MIRROR_DIRECTION_{stored.direction}"),
    )
    if now is not None:
        state = now.entered.state
        message.state = v1.MirrorTopicState.Value(f"MIRROR_TOPIC_STATE_{state}")
        message.state_since.FromDatetime(now.entered.since)
        seconds = (datetime.now(UTC) - now.entered.since).total_seconds()
        detail = state_detail(state, stored, now.failures.keys(), now.statuses, seconds)
        message.state_detail = now.waits_for or detail
        if state is MirrorTopicState.ACTIVE and stored.direction is Direction.LOCAL_TO_REMOTE and now.error is not None:
            message.state_detail = f"the remote cluster, where the mirror is, cannot be used: {now.error}"
        if state is MirrorTopicState.FAILED:
            failure = now.failures[min(now.failures)]
            message.error, message.error_message = failure.error, failure.message
        elif state in (MirrorTopicState.SOURCE_UNAVAILABLE, MirrorTopicState.LINK_FAILED) and now.error is not None:
            message.error, message.error_message = now.error.reason, str(now.error)
        if partitions:
            message.partitions.extend(_partition(index, now) for index in range(stored.partition_count))
    return message


def truncations(mirror: v1.MirrorTopic, found: Mapping[int, Truncation]) -> v1.TruncateAndRestoreMirrorTopicResponse:
    """Describes what is discarded, by partition."""
    return v1.TruncateAndRestoreMirrorTopicResponse(
        mirror_topic=mirror,
        messages_truncated=sum(truncation.count for truncation in found.values()),
        partitions=[
            v1.PartitionTruncation(
                partition=index, offset_truncated_to=truncation.offset, messages_truncated=truncation.count
            )
            for index, truncation in sorted(found.items())
        ],
    )


def _partition(index: int, now: MirrorNow) -> v1.MirrorPartition:
    failure, status = now.failures.get(index), now.statuses.get(index)
    message = v1.MirrorPartition(
        partition=index,
        log_start_offset=-1,
        log_end_offset=-1,
        source_high_watermark=-1,
        source_last_stable_offset=-1,
        lag=-1,
        lag_ms=-1,
        state="STOPPED",
        offsets_lost=now.lost_offsets.get(index, 0),
    )
    if status is not None:
        message.state = status.phase
        message.source_last_stable_offset = status.source_last_stable
        message.held_by_open_transaction = status.is_held
        message.offsets_filled = status.offsets_filled
        message.log_start_offset, message.log_end_offset = status.log_start, status.log_end
        message.source_high_watermark = status.source_high_watermark
        if status.log_end >= 0 and status.source_high_watermark >= 0:
            message.lag = max(status.source_high_watermark - status.log_end, 0)
            message.lag_ms = max(time.time_ns() // 1_000_000 - status.behind_since, 0) if status.behind_since else 0
    if failure is not None:
        message.state = Phase.FAILED.value
        message.error, message.error_message = failure.error, failure.message
    return message
