"""Messages of the API: what a caller sends becomes a spec, and what is stored becomes a message."""

import pytest

from clusterlink_engine import __version__
from clusterlink_engine.api import convert
from clusterlink_engine.errors import InvalidArgumentError
from clusterlink_engine.model.resources import Link, MirrorTopic, RemoteCluster, TopicConfigSync
from clusterlink_engine.model.specs import LinkSpec, MirrorTopicSpec
from clusterlink_engine.model.states import LinkState, MirrorTopicState
from clusterlink_engine.model.topic_settings import CONFIGURABLE
from clusterlink_engine.settings import Limits
from clusterlink_proto import v1

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
