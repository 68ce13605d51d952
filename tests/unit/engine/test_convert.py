"""Messages of the API: what a caller sends becomes a spec, and what is stored becomes a message."""

from typing import Any

import pytest

from clusterlink_engine import __version__
from clusterlink_engine.api import convert
from clusterlink_engine.errors import InvalidArgumentError
from clusterlink_engine.model.resources import Link, MirrorTopic, RemoteCluster, TopicConfigSync
from clusterlink_engine.model.specs import LinkSpec, MirrorTopicSpec
from clusterlink_engine.model.states import LinkState, MirrorTopicState
from clusterlink_engine.model.topic_settings import CONFIGURABLE
from clusterlink_engine.sasl import OAuth, Sasl
from clusterlink_engine.security import Tls
from clusterlink_engine.settings import Limits
from clusterlink_proto import v1
from tests.support.certificates import Authority

SPEC = LinkSpec(
    name="eu",
    bootstrap_servers=("a:1", "b:2"),
    cluster_id="c",
    topic_prefix="eu.",
    paused=True,
    topic_config_sync_ms=1500,
    topic_config_include=("segment.ms",),
    config={"replica.fetch.min.bytes": "5"},
)
LINK = Link(
    name="eu",
    link_id="id",
    remote=RemoteCluster(bootstrap_servers=("a:1", "b:2"), cluster_id="c"),
    topic_prefix="eu.",
    paused=True,
    topic_config_sync=TopicConfigSync(interval_ms=1500, include=("segment.ms",)),
    config={"replica.fetch.min.bytes": "5"},
    producer_id=7,
)
MIRROR = MirrorTopic(
    name="eu.orders",
    link="eu",
    source_topic="orders",
    source_topic_id="1" * 32,
    topic_id="2" * 32,
    partition_count=3,
    replication_factor=2,
    config={"segment.ms": "1"},
    paused=True,
)


def test_what_a_link_answers_can_be_sent_again() -> None:
    message = convert.link(LINK, None, None, 4, None)
    assert convert.link_spec(message) == SPEC
    assert (message.link_id, message.mirror_topic_count, message.state) == ("id", 4, v1.LINK_STATE_UNSPECIFIED)


def test_a_link_with_nothing_set_has_the_defaults() -> None:
    assert convert.link_spec(v1.Link(name="eu")) == LinkSpec("eu", ())


def test_a_link_that_includes_nothing_shows_what_that_means() -> None:
    plain = LINK.model_copy(update={"topic_config_sync": TopicConfigSync()})
    assert list(convert.link(plain, None, None, 0, None).topic_config_sync.include) == sorted(CONFIGURABLE)


def test_another_link_mode_is_refused() -> None:
    message = v1.Link(name="eu", mode=99)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError) as caught:
        convert.link_spec(message)
    assert caught.value.field == "link.mode"


PASSWORD = Sasl(mechanism="PLAIN", username="u", password="hidden")  # noqa: S106 - nobody's
TOKENS = Sasl(
    mechanism="OAUTHBEARER",
    oauth=OAuth(
        token_endpoint_url="https://t/",  # noqa: S106 - likewise
        client_id="c",
        client_secret="hidden",  # noqa: S106 - nobody's
        scope="s",
        parameters={"audience": "a"},
        extensions={"logicalCluster": "l"},
    ),
)
KEY = Sasl(mechanism="AWS_MSK_IAM", username="u", password="hidden", aws_region="eu-central-1")  # noqa: S106 - likewise


def secured(sasl: Sasl) -> Link:
    remote = RemoteCluster(bootstrap_servers=("a:1",), cluster_id="c", security_protocol="SASL_SSL", sasl=sasl)
    return LINK.model_copy(update={"remote": remote})


@pytest.mark.parametrize("sasl", [PASSWORD, TOKENS, KEY], ids=lambda sasl: sasl.mechanism)
def test_how_to_authenticate_is_answered_without_secrets_and_can_be_given(sasl: Sasl) -> None:
    message = convert.link(secured(sasl), None, None, 0, None)
    assert "hidden" not in str(message)
    assert convert.changed_link_spec(message, ["config"]).sasl is None
    with pytest.raises(InvalidArgumentError, match=r"needs (a client_secret|password)") as caught:
        convert.changed_link_spec(message, ["remote_cluster.sasl"])
    assert caught.value.field.startswith("link.remote_cluster.sasl")
    if sasl.oauth is not None:
        message.remote_cluster.sasl.oauth.client_secret = "hidden"  # noqa: S105 - nobody's
    else:
        message.remote_cluster.sasl.password = "hidden"  # noqa: S105 - nobody's
    assert convert.link_spec(message).sasl == sasl
    assert "hidden" not in repr(convert.link_spec(message))


@pytest.mark.parametrize(
    ("sasl", "field", "said"),
    [
        ({"mechanism": "GSSAPI"}, "mechanism", 'mechanism "GSSAPI" is not known; use one of PLAIN'),
        ({"mechanism": ""}, "mechanism", "is not known"),
        ({"mechanism": "PLAIN", "password": "hidden"}, "username", "PLAIN needs username"),
        ({"mechanism": "PLAIN", "username": "u"}, "password", "PLAIN needs password"),
        ({"mechanism": "OAUTHBEARER"}, "oauth", "OAUTHBEARER needs oauth"),
        ({"mechanism": "OAUTHBEARER", "password": "hidden"}, "password", "OAUTHBEARER has no password"),
        ({"mechanism": "AWS_MSK_IAM", "username": "u", "password": "hidden"}, "aws_region", "needs aws_region"),
        ({"mechanism": "AWS_MSK_IAM", "aws_region": "x"}, "username", "AWS_MSK_IAM needs username"),
    ],
)
def test_what_is_missing_to_authenticate_is_named(sasl: dict[str, Any], field: str, said: str) -> None:
    message = v1.Link(name="l", remote_cluster=v1.RemoteCluster(security_protocol="SASL_SSL", sasl=v1.Sasl(**sasl)))
    with pytest.raises(InvalidArgumentError, match=said) as caught:
        convert.link_spec(message)
    assert caught.value.field == f"link.remote_cluster.sasl.{field}"
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("oauth", "field", "said"),
    [
        ({"client_secret": ""}, "", "oauth needs a client_secret"),
        ({"token_endpoint_url": ""}, "", "oauth needs a token_endpoint_url"),
        ({"token_endpoint_url": "http://t.example/"}, ".token_endpoint_url", "use https, except on this machine"),
        ({"token_endpoint_url": "http://127.0.0.1.example/"}, ".token_endpoint_url", "use https"),
        ({"token_endpoint_url": "file:///etc/passwd"}, ".token_endpoint_url", "expected https://HOST"),
        ({"token_endpoint_url": "https://u:p@t/"}, ".token_endpoint_url", "no user"),
        ({"token_endpoint_url": "https://t/\r\nX: y"}, ".token_endpoint_url", "expected https://HOST"),
        ({"token_endpoint_url": "https://t:x/"}, ".token_endpoint_url", "is no URL"),
        ({"client_id": "a\nb"}, ".client_id", "control character"),
        ({"parameters": {"client_secret": "x"}}, ".parameters", "client_secret has another place"),
        ({"extensions": {"auth": "x"}}, ".extensions", "is no name of an extension"),
        ({"extensions": {"a": "x\x01y"}}, ".extensions", "cannot be sent"),
        ({"ca_pem": "x"}, ".ca_pem", "no PEM block"),
    ],
)
def test_what_is_wrong_with_a_token_endpoint_is_named(oauth: dict[str, Any], field: str, said: str) -> None:
    given = {"token_endpoint_url": "https://t/", "client_id": "c", "client_secret": "hidden", **oauth}
    sasl = v1.Sasl(mechanism="OAUTHBEARER", oauth=v1.OAuth(**given))
    message = v1.Link(name="l", remote_cluster=v1.RemoteCluster(security_protocol="SASL_SSL", sasl=sasl))
    with pytest.raises(InvalidArgumentError, match=said) as caught:
        convert.link_spec(message)
    assert caught.value.field == f"link.remote_cluster.sasl.oauth{field}"
    assert "hidden" not in str(caught.value)


def test_a_link_with_a_certificate_can_be_changed_without_its_key() -> None:
    """What the API answers has no key, and goes back to it when something else is changed."""
    client = Authority("tests").issue("mirror")
    tls = Tls(certificate_pem=client.certificate, key_pem=client.key)
    remote = RemoteCluster(bootstrap_servers=("a:1",), cluster_id="c", security_protocol="SSL", tls=tls)
    message = convert.link(LINK.model_copy(update={"remote": remote}), None, None, 0, None)
    assert convert.changed_link_spec(message, ["config"]).config == LINK.config
    with pytest.raises(InvalidArgumentError, match="certificate and its key"):
        convert.changed_link_spec(message, ["remote_cluster.tls"])


def test_what_a_mirror_topic_answers_can_be_sent_again() -> None:
    message = convert.mirror_topic(MIRROR, None, partitions=True)
    assert convert.mirror_spec(message) == MirrorTopicSpec(
        link="eu",
        source_topic="orders",
        name="eu.orders",
        replication_factor=2,
        config={"segment.ms": "1"},
        paused=True,
    )
    assert (message.source_topic_id, message.topic_id, message.partition_count) == ("1" * 32, "2" * 32, 3)
    assert message.state == v1.MIRROR_TOPIC_STATE_UNSPECIFIED


def test_a_replication_factor_that_is_not_known_yet_is_not_shown() -> None:
    unknown = MIRROR.model_copy(update={"replication_factor": -1})
    assert convert.mirror_topic(unknown, None).replication_factor == 0


def test_the_engine_tells_version_cluster_and_limits() -> None:
    message = convert.engine("cluster", Limits(max_links=3, min_sync_interval_ms=50), "instance")
    assert (message.version, message.local_cluster_id, message.instance_id) == (__version__, "cluster", "instance")
    assert (message.limits.max_links, message.limits.min_sync_interval_ms) == (3, 50)


@pytest.mark.parametrize("state", LinkState)
def test_every_link_state_is_in_the_api(state: LinkState) -> None:
    assert v1.LinkState.Value(f"LINK_STATE_{state}") > 0


@pytest.mark.parametrize("state", MirrorTopicState)
def test_every_mirror_topic_state_is_in_the_api(state: MirrorTopicState) -> None:
    assert v1.MirrorTopicState.Value(f"MIRROR_TOPIC_STATE_{state}") > 0
