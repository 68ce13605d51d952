"""States as the API tells them, with the time of entry and what is waited for."""

import re
import time
from collections.abc import Callable

from confluent_kafka import Producer

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_engine.model.states import MirrorTopicState
from clusterlink_proto import v1
from tests.support import produce, topics
from tests.support.engine import EngineProcess
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]


def test_an_open_transaction_holds_a_mirror_topic_and_says_so(
    source_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    topics.create(source_cluster.bootstrap_servers, topic_name, partitions=2)
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(10, partitions=1))
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    engine.create_mirror("link", topic_name)
    writer = Producer({"bootstrap.servers": source_cluster.bootstrap_servers, "transactional.id": topic_name})
    writer.init_transactions(30)
    writer.begin_transaction()
    writer.produce(topic_name, b"not yet", partition=0)
    writer.flush(30)
    sentence = "held at the last stable offset 10 of partition 0 by an open transaction"
    wait_until(lambda: engine.mirror(topic_name).state_detail == sentence, 30, "the mirror topic to be held")
    held = engine.mirror(topic_name).partitions
    labels = f'{{link="link",partition="0",topic="{topic_name}"}}'
    assert f"clusterlink_mirror_held_by_open_transaction{labels} 1.0" in engine.metrics()
    assert f"clusterlink_mirror_lag_offsets{labels} 1.0" in engine.metrics()
    assert [partition.held_by_open_transaction for partition in held] == [True, False]
    assert (held[0].source_last_stable_offset, held[0].source_high_watermark, held[0].lag) == (10, 11, 1)
    writer.commit_transaction(30)
    wait_until(lambda: not engine.mirror(topic_name).state_detail, 30, "the mirror topic to go on")
    assert engine.state(topic_name) == "ACTIVE"
    assert f"clusterlink_mirror_held_by_open_transaction{labels} 0.0" in engine.metrics()


def test_the_metrics_count_mirror_topics_by_state(
    source_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """What is paused has no lag: an alarm needs something else to look at."""
    names = [f"{topic_name}-{number}" for number in range(2)]
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    for name in names:
        topics.create(source_cluster.bootstrap_servers, name)
        engine.create_mirror("link", name)

    def counts() -> dict[str, float]:
        found = re.findall(r'clusterlink_mirror_topics\{link="link",state="(\w+)"\} (\S+)', engine.metrics())
        assert {state for state, _ in found} == set(MirrorTopicState)
        return {state: float(count) for state, count in found if float(count)}

    wait_until(lambda: counts() == {"ACTIVE": 2}, 30, "both to be told of as ACTIVE")
    engine.pause(names[0])
    wait_until(lambda: counts() == {"ACTIVE": 1, "PAUSED": 1}, 30, "one to be told of as PAUSED")
    engine.delete_mirror(names[0])
    wait_until(lambda: counts() == {"ACTIVE": 1}, 30, "what is gone not to be told of")


def test_the_time_of_entry_is_stamped_once(
    source_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """It stays while the state does, whatever else happens to the link, and is new in a new state."""
    before = time.time() - 1
    topics.create(source_cluster.bootstrap_servers, topic_name)
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    engine.create_mirror("link", topic_name)
    wait_until(lambda: engine.state(topic_name) == "ACTIVE", 30, "the mirror topic to be ACTIVE")
    active = engine.mirror(topic_name).state_since
    link = engine.links.GetLink(v1.GetLinkRequest(name="link"), timeout=30)
    assert before < link.state_since.seconds <= time.time()
    assert before < active.seconds <= time.time()
    changed = v1.UpdateLinkRequest(link=v1.Link(name="link", config={"replica.fetch.wait.max.ms": "100"}))
    changed.update_mask.paths.append("config")
    assert engine.links.UpdateLink(changed, timeout=30).state_since == link.state_since
    engine.pause(topic_name)
    paused = engine.mirror(topic_name).state_since
    assert (paused.seconds, paused.nanos) > (active.seconds, active.nanos)
    assert engine.mirror(topic_name).state_since == paused
