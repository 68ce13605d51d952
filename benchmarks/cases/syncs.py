"""What the syncs of a link take: with brokers that have authorizers, and the engine alone."""

import re
import time
import urllib.request
from functools import partial

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)
from google.protobuf.field_mask_pb2 import FieldMask

from benchmarks import measuring, pair, writing
from benchmarks.copiers.engine import LINK, describe, mirror
from benchmarks.pair import Pair, wait
from benchmarks.results import Result
from benchmarks.running import Options, Rows, rounds
from clusterlink_engine.devkit import ports
from clusterlink_engine.devkit.engine import EngineApi
from clusterlink_proto import v1

_SECONDS = 300.0
_PARTITIONS = 20
_TOPIC = "measured"


def syncs(options: Options) -> Result:
    """Syncs: rounds of the offset sync, automatic mirror topics, a setting, and an ACL."""
    what = "both with authorizers; rounds are timed by the engine itself, and the offsets of all groups are compared after each"
    result = options.result("syncs", "Syncs", what)
    with pair.running(options.kafka, users={"somebody": "s"}) as clusters:
        metrics = f"127.0.0.1:{ports.free_port()}"
        engine = describe(clusters.places, clusters.new_directory(), settings={"http": {"listen": metrics}})
        with engine, engine.api() as api:
            work = _Syncs(clusters, api, engine.pid, metrics, options)
            work.set_up()
            jobs = {"offsets": work.offsets, "topics": work.topics, "setting": work.setting, "acl": work.acl}
            rounds(result, options.runs, jobs, warm_up=("offsets",))
    result.notes.append(
        "The interval of the offset sync is 30 s by default, that of settings and ACLs 5 s. The mirror topics of earlier runs "
        "are still there in the later ones."
    )
    return result


class _Syncs:
    """A link, and what is done with it; each case answers the figures of one run."""

    def __init__(self, clusters: Pair, api: EngineApi, pid: int, metrics: str, options: Options) -> None:
        self._clusters = clusters
        self._source, self._destination = (clusters.admin(c) for c in (clusters.source, clusters.destination))
        self._api = api
        self._pid = pid
        self._metrics = metrics
        self._groups = [f"group-{number}" for number in range(options.groups)]
        self._topics = options.topics
        self._moves = 0

    def set_up(self) -> None:
        """Mirrors a topic that has something in each partition."""
        topics = {_TOPIC: _PARTITIONS}
        self._clusters.create(self._clusters.source, topics)
        for _ in range(100):
            writing.one_each(self._clusters.source.bootstrap_servers, topics, b"x")
        mirror(self._api, self._clusters.places, topics)
        self._clusters.wait_equal(topics, _SECONDS)
        # The topic of the groups' offsets is made by the first commit, and its coordinators are not there at once.
        _commit(self._destination, ConsumerGroupTopicPartitions("local", [TopicPartition(_TOPIC, 0, 0)]))

    def offsets(self) -> Rows:
        """Seconds of a round after all groups moved, of the next, in which none had, and of the engine's processor."""
        self._moves += 1
        for group in self._groups:
            _commit(self._source, self._places(group))
        before = measuring.usage(self._clusters, self._pid)
        moved, still = self._rounds()
        cpu = (measuring.usage(self._clusters, self._pid) - before).copier
        for group in self._groups:
            asked = ConsumerGroupTopicPartitions(group)
            found = self._destination.list_consumer_group_offsets([asked])[group].result(_SECONDS)
            assert found.topic_partitions is not None
            places = {(place.topic, place.partition, place.offset) for place in found.topic_partitions}
            assert places == {(_TOPIC, index, self._moves) for index in range(_PARTITIONS)}, f"{group} is at {places}"
        groups = f"{len(self._groups):,} groups with {_PARTITIONS} partitions each"
        return {
            f"{groups}: a round in which all moved, s": {"figure": moved},
            f"{groups}: a round in which none moved, s": {"figure": still},
            f"{groups}: both, the engine's processor, s": {"figure": cpu},
        }

    def _rounds(self) -> tuple[float, float]:
        """Lets the sync do two rounds."""
        filters = [v1.Filter(name="*", pattern_type="LITERAL")]
        sync = v1.ConsumerOffsetSync(enable=True, interval_ms=1000, group_filters=filters)
        done = self._metric("rounds_total", "ConsumerOffsetSync")
        self._update(v1.Link(name=LINK, consumer_offset_sync=sync), "consumer_offset_sync")
        seconds = []
        for number in (1, 2):
            wait(partial(self._has_done, done + number), "a round is done", _SECONDS)
            assert not self._metric("errors", "ConsumerOffsetSync"), "a round had errors"
            seconds.append(self._metric("round_seconds", "ConsumerOffsetSync"))
        self._update(v1.Link(name=LINK, consumer_offset_sync=v1.ConsumerOffsetSync()), "consumer_offset_sync")
        return seconds[0], seconds[1]

    def _has_done(self, rounds_total: float) -> bool:
        return self._metric("rounds_total", "ConsumerOffsetSync") >= rounds_total

    def _places(self, group: str) -> ConsumerGroupTopicPartitions:
        return ConsumerGroupTopicPartitions(
            group, [TopicPartition(_TOPIC, index, self._moves) for index in range(_PARTITIONS)]
        )

    def topics(self) -> Rows:
        """Seconds from the enabling until all topics are mirrored."""
        self._moves += 1
        prefix = f"many-{self._moves}-"
        self._clusters.create(self._clusters.source, {f"{prefix}{number}": 1 for number in range(self._topics)})
        auto = v1.AutoCreateMirrorTopics(enable=True, filters=[v1.Filter(name=prefix, pattern_type="PREFIXED")])
        began = time.monotonic()
        self._update(v1.Link(name=LINK, auto_create_mirror_topics=auto), "auto_create_mirror_topics")
        request = v1.ListMirrorTopicsRequest(link=LINK)

        def active() -> int:
            found = self._api.mirror_topics.ListMirrorTopics(request, timeout=_SECONDS).mirror_topics
            return sum(
                mirror.name.startswith(prefix) and mirror.state == v1.MIRROR_TOPIC_STATE_ACTIVE for mirror in found
            )

        wait(
            lambda: active() == self._topics, "all topics are mirrored", _SECONDS, 0.5
        )  # listing them is work for the engine
        return {f"{self._topics} topics become mirror topics, s": {"figure": time.monotonic() - began}}

    def setting(self) -> Rows:
        """Seconds from a change of a topic's setting until the mirror has it."""
        self._moves += 1
        value = str((self._moves + 100) << 20)
        resource = ConfigResource(ResourceType.TOPIC, _TOPIC)
        entry = ConfigEntry("segment.bytes", value, incremental_operation=AlterConfigOpType.SET)
        change = ConfigResource(ResourceType.TOPIC, _TOPIC, incremental_configs=[entry])
        self._source.incremental_alter_configs([change])[change].result(_SECONDS)

        def present() -> str:
            found: str = self._destination.describe_configs([resource])[resource].result(_SECONDS)[entry.name].value
            return found

        seconds = wait(lambda: present() == value, "the mirror has the setting", _SECONDS)
        return {"a setting that changed at the source is on the mirror, s": {"figure": seconds}}

    def acl(self) -> Rows:
        """Seconds from the creation of an ACL until the local cluster has it."""
        self._moves += 1
        fields = (ResourceType.TOPIC, f"acl-{self._moves}", ResourcePatternType.LITERAL, "User:somebody", "*")
        allow = (AclOperation.READ, AclPermissionType.ALLOW)
        sync = v1.AclSync(enable=True, interval_ms=5000, filters=[v1.AclFilter(resource_type="TOPIC")])
        self._update(v1.Link(name=LINK, acl_sync=sync), "acl_sync")
        acl = AclBinding(*fields, *allow)
        self._source.create_acls([acl])[acl].result(_SECONDS)
        wanted = AclBindingFilter(*fields, *allow)

        def present() -> bool:
            return bool(self._destination.describe_acls(wanted).result(_SECONDS))

        seconds = wait(present, "the local cluster has the ACL", _SECONDS)
        return {"an ACL of the source is on the local cluster, s": {"figure": seconds}}

    def _update(self, link: v1.Link, field: str) -> None:
        request = v1.UpdateLinkRequest(link=link, update_mask=FieldMask(paths=[field]))
        self._api.links.UpdateLink(request, timeout=_SECONDS)

    def _metric(self, name: str, task: str) -> float:
        with urllib.request.urlopen(f"http://{self._metrics}/metrics", timeout=_SECONDS) as answer:
            text = answer.read().decode()
        found = re.search(rf'^clusterlink_task_{name}\{{.*task="{task}".*\}} (\S+)$', text, re.MULTILINE)
        assert found is not None, f"there is no metric of {task}"
        return float(found[1])


def _commit(admin: AdminClient, places: ConsumerGroupTopicPartitions) -> None:
    """Puts a group somewhere, as soon as its coordinator is there: what it refuses is said of each partition alone."""

    def is_done() -> bool:
        answer = admin.alter_consumer_group_offsets([places])[places.group_id].result(_SECONDS)
        return not any(place.error for place in answer.topic_partitions or [])

    wait(is_done, f"{places.group_id} is committed", _SECONDS)
