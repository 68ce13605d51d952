"""All tasks of a link at once, between clusters with authorizers: what is in the way of one thing holds up nothing else."""

import re
from collections.abc import Callable, Collection
from functools import partial

import grpc
from confluent_kafka.admin import (
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_proto import v1
from tests.support import groups, produce, rights, topics, ways
from tests.support.engine import EngineProcess
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]

_SECONDS = 60.0
_CONFIGS, _GROUPS, _ACLS, _TOPICS = "TopicConfigsSync", "ConsumerOffsetSync", "AclSync", "AutoCreateMirror"
_PREFIXED, _LITERAL = ResourcePatternType.PREFIXED, ResourcePatternType.LITERAL


def _link(source: KafkaCluster, name: str, topics_of: v1.Filter, *more_groups: str, secured: bool = False) -> v1.Link:
    """A link with all tasks on: for groups and ACLs whose names begin with `name`."""
    remote = v1.RemoteCluster(bootstrap_servers=[source.bootstrap_servers])
    if secured:
        remote = ways.plain_text("somebody", "s").remote(source)
    of_groups = [v1.Filter(name=name, pattern_type="PREFIXED"), *(v1.Filter(name=group) for group in more_groups)]
    return v1.Link(
        name="link",
        remote_cluster=remote,
        topic_config_sync=v1.TopicConfigSync(interval_ms=1000),
        consumer_offset_sync=v1.ConsumerOffsetSync(enable=True, interval_ms=1000, group_filters=of_groups),
        acl_sync=v1.AclSync(enable=True, interval_ms=1000, filters=[v1.AclFilter(principal=f"User:{name}")]),
        auto_create_mirror_topics=v1.AutoCreateMirrorTopics(enable=True, filters=[topics_of]),
        config={"metadata.max.age.ms": "1000"},
    )


def _create_topic(cluster: KafkaCluster, topic: str) -> None:
    topics.create(cluster.bootstrap_servers, topic)
    produce.write(cluster.bootstrap_servers, topic, produce.varied(20))


def _allow_reading(cluster: KafkaCluster, principal: str, topic: str) -> None:
    rights.grant(cluster.bootstrap_servers, principal, [(ResourceType.TOPIC, topic, _LITERAL, AclOperation.READ)])


def _has_acl(cluster: KafkaCluster, principal: str, topic: str) -> bool:
    client = topics.admin(cluster.bootstrap_servers)
    wanted = AclBindingFilter(
        *(ResourceType.TOPIC, topic, _LITERAL, f"User:{principal}", "*", AclOperation.READ, AclPermissionType.ALLOW)
    )
    return bool(client.describe_acls(wanted).result(_SECONDS))


def _set(cluster: KafkaCluster, topic: str, segment_bytes: int) -> None:
    topics.alter(cluster.bootstrap_servers, topic, {"segment.bytes": str(segment_bytes)})


def _has(cluster: KafkaCluster, topic: str, segment_bytes: int) -> bool:
    return topics.settings(cluster.bootstrap_servers, topic)["segment.bytes"] == str(segment_bytes)


def _is_at(cluster: KafkaCluster, group: str, topic: str, offset: int) -> bool:
    return groups.committed(cluster.bootstrap_servers, group, topic, 1) == {0: offset}


def _tasks(engine: EngineProcess) -> dict[str, v1.LinkTask]:
    link = engine.links.GetLink(v1.GetLinkRequest(name="link"), timeout=30)
    return {task.name: task for task in link.tasks}


def _wait_until_told(engine: EngineProcess, task: str, *about: str, code: str = "AUTHORIZATION_ERROR") -> None:
    """Waits until a task tells one error about each of these, and no other."""

    def told() -> bool:
        errors = _tasks(engine)[task].errors
        return len(errors) == len(about) and all(
            any(error.code == code and text in error.message for error in errors) for text in about
        )

    wait_until(told, _SECONDS, f"{task} to tell of {about}")


def _wait_until_well(engine: EngineProcess, tasks: Collection[str] = (_CONFIGS, _GROUPS, _ACLS, _TOPICS)) -> None:
    wait_until(
        lambda: all(_tasks(engine)[task].state == v1.TASK_STATE_ACTIVE for task in tasks), _SECONDS, f"{tasks} to work"
    )


def _rounds(engine: EngineProcess) -> dict[str, float]:
    found = re.findall(r'clusterlink_task_rounds_total\{link="link",task="(\w+)"\} (\S+)', engine.metrics())
    return {task: float(rounds) for task, rounds in found}


def _wait_for_rounds(engine: EngineProcess, count: int) -> None:
    """Waits until each task has ended so many more rounds."""
    before = _rounds(engine)
    assert before.keys() == {_CONFIGS, _GROUPS, _ACLS, _TOPICS}

    def passed() -> bool:
        now = _rounds(engine)
        return all(now[task] >= before[task] + count for task in before)

    wait_until(passed, _SECONDS, f"{count} rounds")


def test_changes_are_there_after_two_rounds_and_after_either_cluster_was_away(
    secured_clusters: tuple[KafkaCluster, KafkaCluster], start_engine: StartEngine, topic_name: str
) -> None:
    source, destination = secured_clusters
    first, group = f"{topic_name}-first", f"{topic_name}-group"
    for topic in (first, f"_{topic_name}"):
        _create_topic(source, topic)
    engine = start_engine(destination.bootstrap_servers, state_topic=f"_state-{topic_name}")
    link = _link(source, topic_name, v1.Filter(name="*"))
    engine.links.CreateLink(v1.CreateLinkRequest(link=link), timeout=30)
    wait_until(
        partial(engine.is_caught_up, first, source), _SECONDS, f"{first} to be mirrored"
    )  # first it must be found
    pid = engine.pid

    def change(number: int) -> None:
        _set(source, first, number << 20)
        groups.commit(source.bootstrap_servers, group, first, {0: number})
        _allow_reading(source, topic_name, f"acl-{number}")
        _create_topic(source, f"{topic_name}-{number}")

    def is_there(number: int) -> bool:
        return (
            _has(destination, first, number << 20)
            and _is_at(destination, group, first, number)
            and _has_acl(destination, topic_name, f"acl-{number}")
            and engine.is_caught_up(f"{topic_name}-{number}", source)
        )

    change(1)
    _wait_for_rounds(engine, 2)
    engine.links.PauseLink(v1.PauseLinkRequest(name="link"), timeout=30)  # what is not there now never will be
    assert engine.mirror(f"{topic_name}-1").automatic
    wait_until(
        lambda: (
            _has(destination, first, 1 << 20)
            and _is_at(destination, group, first, 1)
            and _has_acl(destination, topic_name, "acl-1")
        ),
        _SECONDS,
        "the brokers to show what was done",
    )
    engine.links.ResumeLink(v1.ResumeLinkRequest(name="link"), timeout=30)

    source.nodes[0].stop()
    wait_until(
        lambda: {task.state for task in _tasks(engine).values()} == {v1.TASK_STATE_LINK_UNAVAILABLE},
        _SECONDS,
        "the tasks to rest",
    )
    source.nodes[0].start()
    change(2)
    wait_until(lambda: is_there(2), _SECONDS, "everything to follow after the source was away")
    _wait_until_well(engine)

    destination.nodes[0].stop()
    change(3)

    def noticed() -> bool:
        try:
            return any(task.errors for task in _tasks(engine).values())
        except grpc.RpcError:
            return True  # no process leads without the local cluster

    wait_until(noticed, _SECONDS, "the tasks to notice")
    destination.nodes[0].start()
    wait_until(lambda: is_there(3), _SECONDS, "everything to follow after the local cluster was away")
    _wait_until_well(engine)
    assert engine.pid == pid
    names = {
        mirror.name for mirror in engine.mirror_topics.ListMirrorTopics(v1.ListMirrorTopicsRequest()).mirror_topics
    }
    assert {first, f"{topic_name}-3"} <= names  # whatever else this source has
    assert not [name for name in names if name.startswith("_")]
    assert engine.stop() == 0


def test_a_right_that_is_missing_for_one_thing_is_told_and_the_others_go_on(
    secured_clusters: tuple[KafkaCluster, KafkaCluster], start_engine: StartEngine, topic_name: str
) -> None:
    """One of each kind has all rights; one lacks one at the source, and one on the local cluster."""
    source, destination = secured_clusters
    here, there, user = source.bootstrap_servers, destination.bootstrap_servers, "somebody"
    good, far, near = (f"{topic_name}-{which}" for which in ("good", "far", "near"))
    state_topic = f"_state-{topic_name}"
    for name in (good, far, near):
        _create_topic(source, name)
        rights.grant(here, user, rights.remote(name))
        rights.grant(there, user, rights.local(name, state_topic))
    for name in (good, near):
        rights.grant(here, user, [rights.group(name, AclOperation.DESCRIBE)])
    for name in (good, far):
        rights.grant(there, user, [rights.group(name, AclOperation.READ)])
    as_user = ways.plain_text(user, "s").settings()
    engine = start_engine(destination.sasl_bootstrap_servers, state_topic=state_topic, settings=as_user)
    mine = v1.Filter(name=topic_name, pattern_type="PREFIXED")
    link = _link(source, topic_name, mine, far, secured=True)
    hidden = f"{topic_name}-hidden"
    link.auto_create_mirror_topics.filters.append(v1.Filter(name=hidden))
    engine.links.CreateLink(v1.CreateLinkRequest(link=link), timeout=30)
    for name in (good, far, near):
        engine.wait_until_caught_up(name, source)

    # Topics: one may not be described at the source, of one the settings not be read there, one not be created here.
    unread, unmade = f"{topic_name}-unread", f"{topic_name}-unmade"
    describe = (ResourceType.TOPIC, unread, _LITERAL, AclOperation.DESCRIBE)
    rights.grant(here, user, [describe, *rights.remote(unmade)])
    rights.grant(there, user, rights.local(unread, state_topic))
    rights.grant(there, user, [right for right in rights.local(unmade, state_topic) if right[3] != AclOperation.CREATE])
    for name in (hidden, unread, unmade, f"{good}-too"):
        _create_topic(source, name)
    wait_until(lambda: engine.is_caught_up(f"{good}-too", source), _SECONDS, "the other topic to be mirrored")
    _wait_until_told(
        engine, _TOPICS, hidden, f'{unread}" was refused by the remote', f'{unmade}" was refused by the local'
    )

    # Groups: one may not be described at the source, one not be read here.
    for name in (good, far, near):
        groups.commit(here, name, good, {0: 5})
    wait_until(lambda: _is_at(destination, good, good, 5), _SECONDS, "the group to be synced")
    _wait_until_told(engine, _GROUPS, far, near)

    # Settings: those of one may not be read at the source, those of one not be changed here.
    unreadable = (ResourceType.TOPIC, far, _PREFIXED, AclOperation.DESCRIBE_CONFIGS)
    unchangeable = (ResourceType.TOPIC, near, _PREFIXED, AclOperation.ALTER_CONFIGS)
    rights.take_away(here, user, unreadable)
    rights.take_away(there, user, unchangeable)
    for name in (good, far, near):
        _set(source, name, 7 << 20)
    wait_until(lambda: _has(destination, good, 7 << 20), _SECONDS, "the settings to follow")
    _wait_until_told(engine, _CONFIGS, far, near)

    # ACLs: the right is one for all of them.
    _allow_reading(source, topic_name, good)
    cluster = (ResourceType.BROKER, "kafka-cluster", _LITERAL)
    _wait_until_told(engine, _ACLS, "remote")
    rights.grant(here, user, [(*cluster, AclOperation.DESCRIBE)])
    _wait_until_told(engine, _ACLS, "local")
    rights.grant(there, user, [(*cluster, AclOperation.DESCRIBE)])
    _wait_until_told(engine, _ACLS, good)
    assert not _has_acl(destination, topic_name, good)

    # Given later, each right is enough.
    rights.grant(there, user, [rights.MARKERS, unchangeable, *rights.local(topic_name, state_topic)])
    rights.grant(there, user, [rights.group(near, AclOperation.READ)])
    rights.grant(here, user, [unreadable, *rights.remote(topic_name), rights.group(far, AclOperation.DESCRIBE)])
    _wait_until_well(engine)
    wait_until(lambda: _has_acl(destination, topic_name, good), _SECONDS, "the ACL to be created")
    for name in (far, near):
        wait_until(partial(_has, destination, name, 7 << 20), _SECONDS, f"the settings of {name}")
        wait_until(partial(_is_at, destination, name, good, 5), _SECONDS, f"the group {name}")
    for name in (hidden, unread, unmade):
        engine.wait_until_caught_up(name, source)
    assert engine.stop() == 0
