"""Bad input gets a clear message at the right field, and leaves nothing behind."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_proto import v1
from tests.support import topics
from tests.support.engine import EngineProcess

StartEngine = Callable[..., EngineProcess]


@pytest.fixture(scope="module")
def engine(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EngineProcess]:
    """One engine for all these requests, with a link, a mirror topic and a limit of two links."""
    process = EngineProcess(
        destination_cluster.bootstrap_servers,
        tmp_path_factory.mktemp("engine"),
        settings={"limits": {"max_links": 2}},
    )
    process.start()
    topics.create(source_cluster.bootstrap_servers, "requests-mirrored")
    topics.create(source_cluster.bootstrap_servers, "requests-taken")
    topics.create(destination_cluster.bootstrap_servers, "requests-taken")
    process.create_link("link", source_cluster.bootstrap_servers, topic_prefix="")
    process.create_mirror("link", "requests-mirrored")
    yield process
    process.close()


class Refused:
    """What a refused call answered."""

    def __init__(self, error: Any) -> None:
        self.code: grpc.StatusCode = error.code()
        self.message: str = error.details()
        self.reason, self.field = "", ""
        for key, value in error.trailing_metadata():
            if key == "grpc-status-details-bin":
                for detail in status_pb2.Status.FromString(value).details:
                    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
                    if detail.Unpack(info):
                        self.reason = info.reason
                        assert info.domain == "clusterlink.v1"
                    if detail.Unpack(bad):
                        self.field = bad.field_violations[0].field
        assert self.reason, "no ErrorInfo"
        assert "Traceback" not in self.message


def refused(call: Callable[..., Any], *arguments: Any, **options: Any) -> Refused:
    """Makes a call that must be refused."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **options)
    return Refused(caught.value)


@pytest.mark.parametrize(
    ("fields", "field", "text"),
    [
        ({"name": ""}, "link.name", "is empty"),
        ({"name": "a/b"}, "link.name", 'The link name "a/b" is not allowed'),
        ({"name": "x" * 250}, "link.name", "250 characters; 249 are allowed"),
        ({"topic_prefix": "much.too.long."}, "link.topic_prefix", "12 are allowed"),
        ({"config": {"no.such": "1"}}, 'link.config["no.such"]', "known are replica.fetch.max.bytes"),
        ({"config": {"cluster.link.paused": "1"}}, 'link.config["cluster.link.paused"]', "it is the attribute paused"),
        ({"config": {"replica.fetch.max.bytes": "much"}}, 'link.config["replica.fetch.max.bytes"]', "allowed are 1 to"),
        (
            {"topic_config_sync": v1.TopicConfigSync(interval_ms=999)},
            "link.topic_config_sync.interval_ms",
            "at least 1000 ms",
        ),
        (
            {"topic_config_sync": v1.TopicConfigSync(include=["placement"])},
            "link.topic_config_sync.include",
            '"placement" cannot be synced',
        ),
        ({"bootstrap_servers": []}, "link.remote_cluster.bootstrap_servers", "at least one host:port"),
        ({"bootstrap_servers": ["nowhere"]}, "link.remote_cluster.bootstrap_servers", "not of the form host:port"),
        (
            {"security_protocol": "TLS"},
            "link.remote_cluster.security_protocol",
            "use one of PLAINTEXT, SSL, SASL_PLAINTEXT",
        ),
    ],
)
@pytest.mark.parametrize("validate_only", [True, False])
def test_a_wrong_link(
    engine: EngineProcess, fields: dict[str, Any], field: str, text: str, validate_only: bool
) -> None:
    """Whatever is wrong by itself is told at its field, at validation already."""
    fields = dict(fields)
    remote = v1.RemoteCluster(
        bootstrap_servers=fields.pop("bootstrap_servers", ["127.0.0.1:1"]),
        security_protocol=fields.pop("security_protocol", ""),
    )
    link = v1.Link(**{"name": "wrong", "remote_cluster": remote, **fields})
    answer = refused(engine.links.CreateLink, v1.CreateLinkRequest(link=link, validate_only=validate_only))
    assert (answer.code, answer.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    assert text in answer.message
    assert [link.name for link in engine.links.ListLinks(v1.ListLinksRequest()).links] == ["link"]


def test_a_remote_cluster_that_cannot_be_reached(engine: EngineProcess) -> None:
    """The message names the address and what happened."""
    answer = refused(engine.create_link, "unreachable", "127.0.0.1:1")
    assert answer.code is grpc.StatusCode.FAILED_PRECONDITION
    assert answer.field == "link.remote_cluster.bootstrap_servers"
    assert answer.reason == "BOOTSTRAP_TCP_CONNECTION_FAILED_ERROR"
    assert "127.0.0.1:1 cannot be reached" in answer.message
    answer = refused(engine.create_link, "unresolvable", "no-such-host.invalid:9092")
    assert answer.reason == "UNRESOLVABLE_BOOTSTRAP_ERROR"


def test_the_wrong_remote_cluster(
    engine: EngineProcess, source_cluster: KafkaCluster, destination_cluster: KafkaCluster
) -> None:
    """A cluster with another id than the one asked for, and the local cluster itself, are refused."""
    answer = refused(engine.create_link, "wrong", source_cluster.bootstrap_servers, cluster_id="another")
    assert answer.field == "link.remote_cluster.cluster_id"
    assert source_cluster.cluster_id in answer.message
    answer = refused(engine.create_link, "wrong", destination_cluster.bootstrap_servers)
    assert answer.reason == "SAME_CLUSTER"


def test_names_limits_and_prefixes(engine: EngineProcess, source_cluster: KafkaCluster) -> None:
    """A name twice, a prefix twice, and one link too many are refused; the token of the first create is not."""
    bootstrap = source_cluster.bootstrap_servers
    answer = refused(engine.create_link, "link", bootstrap)
    assert (answer.code, answer.reason) == (grpc.StatusCode.ALREADY_EXISTS, "LINK_EXISTS")
    engine.create_link("second", bootstrap, topic_prefix="p.")
    try:
        answer = refused(engine.create_link, "third", bootstrap)
        assert (answer.code, answer.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_LINKS")
        assert "has 2 links, and 2 are allowed" in answer.message
    finally:
        engine.links.DeleteLink(v1.DeleteLinkRequest(name="second"))
    answer = refused(engine.links.DeleteLink, v1.DeleteLinkRequest(name="link"))
    assert answer.reason == "LINK_HAS_MIRROR_TOPICS"
    assert "requests-mirrored" in answer.message


@pytest.mark.parametrize(
    ("fields", "code", "field", "text"),
    [
        ({"link": "none"}, "NOT_FOUND", "mirror_topic.link", 'no link "none"'),
        ({"source_topic": "a b"}, "INVALID_ARGUMENT", "mirror_topic.source_topic", "is not allowed"),
        (
            {"source_topic": "__consumer_offsets"},
            "INVALID_ARGUMENT",
            "mirror_topic.source_topic",
            "topic of Kafka itself",
        ),
        ({"source_topic": "requests-no"}, "FAILED_PRECONDITION", "mirror_topic.source_topic", "does not exist"),
        (
            {"source_topic": "requests-taken"},
            "ALREADY_EXISTS",
            "mirror_topic.source_topic",
            'topic "requests-taken" already',
        ),
        ({"name": "other"}, "INVALID_ARGUMENT", "mirror_topic.name", "topics cannot be renamed"),
        ({"config": {"no.such": "1"}}, "INVALID_ARGUMENT", 'mirror_topic.config["no.such"]', "knows no topic setting"),
        (
            {"config": {"retention.ms": "1"}},
            "INVALID_ARGUMENT",
            'mirror_topic.config["retention.ms"]',
            "follows the source topic",
        ),
        ({"replication_factor": -2}, "INVALID_ARGUMENT", "mirror_topic.replication_factor", "not possible"),
        ({"source_topic": "requests-mirrored"}, "ALREADY_EXISTS", "mirror_topic.source_topic", "import it as link/"),
    ],
)
@pytest.mark.parametrize("validate_only", [True, False])
def test_a_wrong_mirror_topic(
    engine: EngineProcess,
    source_cluster: KafkaCluster,
    fields: dict[str, Any],
    code: str,
    field: str,
    text: str,
    validate_only: bool,
) -> None:
    """Whatever can be known before the topic is created is told at its field."""
    mirror = v1.MirrorTopic(**{"link": "link", "source_topic": "requests-other", **fields})
    if not topics.exists(source_cluster.bootstrap_servers, "requests-other"):
        topics.create(source_cluster.bootstrap_servers, "requests-other")
    request = v1.CreateMirrorTopicRequest(mirror_topic=mirror, validate_only=validate_only)
    answer = refused(engine.mirror_topics.CreateMirrorTopic, request)
    assert (answer.code.name, answer.field) == (code, field)
    assert text in answer.message


def test_what_only_the_cluster_can_refuse_leaves_nothing(
    engine: EngineProcess, source_cluster: KafkaCluster, destination_cluster: KafkaCluster
) -> None:
    """A replication factor that the cluster cannot give: told at its field, no topic, no record."""
    topics.create(source_cluster.bootstrap_servers, "requests-replicas")
    answer = refused(engine.create_mirror, "link", "requests-replicas", replication_factor=5)
    assert (answer.field, answer.reason) == ("mirror_topic.replication_factor", "INVALID_REPLICATION_FACTOR")
    names = [m.name for m in engine.mirror_topics.ListMirrorTopics(v1.ListMirrorTopicsRequest()).mirror_topics]
    assert names == ["requests-mirrored"]
    assert not topics.exists(destination_cluster.bootstrap_servers, "requests-replicas")
    assert engine.create_mirror("link", "requests-replicas").state == v1.MIRROR_TOPIC_STATE_ACTIVE
    engine.delete_mirror("requests-replicas")


def test_a_link_is_changed_in_place(engine: EngineProcess, source_cluster: KafkaCluster) -> None:
    """What can change changes, a new address of another cluster is refused, what cannot change says so."""

    def update(*paths: str, **fields: Any) -> v1.Link:
        request = v1.UpdateLinkRequest(link=v1.Link(name="link", **fields))
        request.update_mask.paths.extend(paths)
        answer: v1.Link = engine.links.UpdateLink(request)
        return answer

    before = engine.links.GetLink(v1.GetLinkRequest(name="link"))
    sync = v1.TopicConfigSync(interval_ms=2000, include=["retention.ms"])
    changed = update("topic_config_sync", "config", topic_config_sync=sync, config={"replica.fetch.min.bytes": "2"})
    assert changed.topic_config_sync == sync
    assert dict(changed.config) == {"replica.fetch.min.bytes": "2"}
    assert changed.link_id == before.link_id
    elsewhere = v1.RemoteCluster(bootstrap_servers=["127.0.0.1:1"])
    assert "cannot be reached" in refused(update, "remote_cluster.bootstrap_servers", remote_cluster=elsewhere).message
    assert refused(update, "topic_prefix", topic_prefix="p.").reason == "IMMUTABLE_FIELD"
    after = engine.links.GetLink(v1.GetLinkRequest(name="link"))
    assert after.remote_cluster == before.remote_cluster
    assert after.state == v1.LINK_STATE_ACTIVE
    update("topic_config_sync", "config")


def test_health_and_reflection(engine: EngineProcess) -> None:
    """The standard services answer."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    with grpc.insecure_channel(engine.endpoint) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "clusterlink.v1.LinkService"):
            request = health_pb2.HealthCheckRequest(service=service)
            assert health.Check(request).status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        question = reflection_pb2.ServerReflectionRequest(list_services="")
        answer = next(iter(reflection.ServerReflectionInfo(iter([question]))))
        names = {service.name for service in answer.list_services_response.service}
        assert {"clusterlink.v1.EngineService", "clusterlink.v1.MirrorTopicService"} <= names
