"""Properties of a link as text: what the command line takes must come out again, and nothing else may be taken."""

import pytest

from clusterlink_engine.cli.asking import UsageError, properties
from clusterlink_engine.cli.link_properties import from_lines, put, read
from clusterlink_engine.model.properties import ATTRIBUTES, PROPERTIES
from clusterlink_engine.model.topic_settings import CONFIGURABLE
from clusterlink_proto import v1

GROUPS = '{"groupFilters":[{"name":"*","patternType":"LITERAL","filterType":"INCLUDE"}]}'
TOPICS = '{"topicFilters":[{"name":"orders","patternType":"PREFIXED","filterType":"EXCLUDE"}]}'
ACLS = (
    '{"aclFilters":[{"resourceFilter":{"resourceType":"TOPIC","patternType":"ANY","name":"orders"},'
    '"accessFilter":{"operation":"READ","permissionType":"ALLOW","principal":"User:x","host":"*"}}]}'
)
VALUES = {
    "bootstrap.servers": "a:9092,b:9092",
    "security.protocol": "SASL_PLAINTEXT",
    "sasl.mechanism": "PLAIN",
    "sasl.oauthbearer.token.endpoint.url": "https://t/",
    "sasl.oauthbearer.client.credentials.client.id": "c",
    "sasl.oauthbearer.scope": "a b",
    "sasl.oauthbearer.parameters": "audience=x,resource=y=z",
    "sasl.oauthbearer.extensions": "logicalCluster=l",
    "https.ca.pem": "-----BEGIN\\nCA",
    "aws.region": "eu-central-1",
    "ssl.truststore.certificates": "-----BEGIN\\nCA",
    "ssl.keystore.certificate.chain": "-----BEGIN\\nCERTIFICATE",
    "ssl.endpoint.identification.algorithm": "none",
    "mirror.start.offset.spec": "latest",
    "cluster.link.prefix": "p.",
    "cluster.link.paused": "true",
    "link.mode": "BIDIRECTIONAL",
    "acl.sync.enable": "true",
    "acl.sync.ms": "6000",
    "acl.filters": ACLS,
    "auto.create.mirror.topics.enable": "true",
    "auto.create.mirror.topics.filters": TOPICS,
    "consumer.offset.sync.enable": "true",
    "consumer.offset.sync.ms": "7000",
    "consumer.offset.group.filters": GROUPS,
    "consumer.group.prefix.enable": "true",
    "topic.config.sync.ms": "8000",
    "topic.config.sync.include": "retention.ms,segment.bytes",
    "request.timeout.ms": "20000",
}


def test_every_property_comes_out_as_it_went_in() -> None:
    secrets = {"sasl.jaas.config", "sasl.oauthbearer.client.credentials.client.secret", "ssl.keystore.key"}
    assert ATTRIBUTES.keys() - VALUES.keys() == secrets
    link = v1.Link(name="x")
    fields = put(link, VALUES)
    assert fields == [
        *("acl_sync", "auto_create_mirror_topics", "config", "consumer_offset_sync", "mirror_start_offset", "mode"),
        *("paused", "remote_cluster.bootstrap_servers", "remote_cluster.sasl", "remote_cluster.security_protocol"),
        "remote_cluster.tls",
        *("topic_config_sync", "topic_prefix"),
    ]
    found = {entry.name: entry.value for entry in read(link)}
    assert found == {**{name: str(entry.default) for name, entry in PROPERTIES.items()}, **VALUES}
    read_only = {entry.name for entry in read(link) if entry.is_read_only}
    assert read_only == {"link.mode", "cluster.link.prefix", "mirror.start.offset.spec"}
    assert link.remote_cluster.tls.ca_pem == "-----BEGIN\nCA"
    # What is taken out again leaves nothing.
    put(link, dict.fromkeys(VALUES, ""))
    left = v1.Link(name="x")
    left.remote_cluster.SetInParent()
    left.remote_cluster.sasl.oauth.SetInParent()
    left.remote_cluster.tls.SetInParent()
    for sync in (left.acl_sync, left.auto_create_mirror_topics, left.consumer_offset_sync, left.topic_config_sync):
        sync.SetInParent()
    assert link == left


def test_names_of_kafka_may_be_in_lower_case_and_parts_be_left_out() -> None:
    link = v1.Link()
    put(link, {"acl.filters": '{"aclFilters":[{"resourceFilter":{"resourceType":"topic","patternType":"any"}}]}'})
    assert list(link.acl_sync.filters) == [v1.AclFilter(resource_type="TOPIC", pattern_type="ANY")]
    put(link, {"acl.filters": '{"aclFilters":[{}]}'})
    assert list(link.acl_sync.filters) == [v1.AclFilter()]


def test_the_engines_own_list_of_settings_is_not_fixed_by_another_change() -> None:
    link = v1.Link(topic_config_sync=v1.TopicConfigSync(include=sorted(CONFIGURABLE)))
    assert put(link, {"topic.config.sync.ms": "9000"}) == ["topic_config_sync"]
    assert list(link.topic_config_sync.include) == []
    put(link, {"topic.config.sync.include": "retention.ms"})
    assert list(link.topic_config_sync.include) == ["retention.ms"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("cluster.link.paused", "yes", "true or false"),
        ("acl.sync.ms", "soon", "whole number"),
        ("acl.sync.ms", "1" * 30, "whole number"),
        ("link.mode", "SOURCE", "SOURCE"),
        ("acl.filters", "[]", "object of JSON"),
        ("acl.filters", "{", "Expecting"),
        ("acl.filters", '{"groupFilters":[]}', "unknown key groupFilters"),
        ("acl.filters", '{"aclFilters":[{"resourceFilter":{"resource":"x"}}]}', "unknown key resource"),
        ("consumer.offset.group.filters", '{"groupFilters":["x"]}', "object of JSON"),
        ("consumer.offset.group.filters", '{"groupFilters":[{"name":1}]}', "expected texts"),
        ("auto.create.mirror.topics.filters", '{"topicFilters":{}}', "expected a list"),
        ("sasl.jaas.config", "x", "--password-file"),
        ("sasl.oauthbearer.client.credentials.client.secret", "x", "--password-file"),
        ("sasl.oauthbearer.extensions", "x", "NAME=VALUE"),
        ("ssl.keystore.key", "x", "--tls-key-file"),
        ("ssl.endpoint.identification.algorithm", "x", "https or none"),
    ],
)
def test_what_is_no_value_is_refused_by_name(name: str, text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        put(v1.Link(), {name: text})
    assert name in str(caught.value)
    assert words in str(caught.value)


def test_a_comma_separates_before_a_name_only() -> None:
    assert properties(["cleanup.policy=compact,delete,retention.ms=1", f"acl.filters={ACLS}", "x="]) == {
        "cleanup.policy": "compact,delete",
        "retention.ms": "1",
        "acl.filters": ACLS,
        "x": "",
    }
    with pytest.raises(UsageError, match="no property"):
        properties(["retention.ms"])


def test_a_file_has_a_property_on_each_line() -> None:
    assert from_lines("# a comment\n\n acl.sync.ms = 5000\nlink.mode=DESTINATION\n") == {
        "acl.sync.ms": "5000",
        "link.mode": "DESTINATION",
    }
    with pytest.raises(UsageError, match="no property"):
        from_lines("nothing")
