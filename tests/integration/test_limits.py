"""Mirroring yields to others: limits of links and of the engine, changed live, and the quotas of brokers."""

import asyncio
import re
import time
from collections.abc import Callable

import pytest
from kafka.protocol.admin.client_quotas import AlterClientQuotasRequest, AlterClientQuotasResponse

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_engine.errors import Side
from clusterlink_engine.model.properties import MAX_BYTES_PER_SECOND
from clusterlink_engine.security import Security
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_proto import v1
from tests.support import produce, topics
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal

StartEngine = Callable[..., EngineProcess]

_VALUE = 1000
_BATCH = 16 * 1024
_RATE = 1_000_000
_PARTITIONS = 4


def _write(cluster: KafkaCluster, topic: str, megabytes: int) -> None:
    records = produce.random_bytes(megabytes * 1000, _VALUE, partitions=_PARTITIONS, seed=1)
    produce.write(cluster.bootstrap_servers, topic, records, settings={"batch.size": _BATCH, "linger.ms": 100})


def _metric(engine: EngineProcess, name: str, **labels: str) -> float:
    text = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return sum(float(value) for value in re.findall(rf"(?m)^{name}\{{{text}\}} (\S+)$", engine.metrics()))


def _limit(engine: EngineProcess, link: str, rate: int) -> None:
    changed = v1.Link(name=link, config={MAX_BYTES_PER_SECOND: str(rate)})
    request = v1.UpdateLinkRequest(link=changed)
    request.update_mask.paths.append("config")
    engine.links.UpdateLink(request, timeout=60)


def _assert_kept(cluster: KafkaCluster, topic: str, began: float, seconds: float) -> None:
    """Looks for so long whether more has arrived than the limit allows, by the test's own clock."""
    while time.monotonic() < began + seconds:
        arrived = sum(topics.log_ends(cluster.bootstrap_servers, topic).values()) * _VALUE
        passed = time.monotonic() - began
        assert arrived <= _RATE * (passed + 0.5 + 0.25) + _BATCH, f"{arrived} bytes in {passed:.2f} s"
        time.sleep(0.1)  # between two looks


def test_a_link_keeps_its_limit_which_changes_live_and_holds_up_no_other(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    here = source_cluster.bootstrap_servers
    other = f"{topic_name}-other"
    for name, megabytes in ((topic_name, 8), (other, 2)):
        topics.create(here, name, partitions=_PARTITIONS)
        _write(source_cluster, name, megabytes)
    engine = start_engine()
    began = time.monotonic()
    engine.create_link("limited", here, config={MAX_BYTES_PER_SECOND: str(_RATE)})
    engine.create_link("free", here)
    engine.create_mirror("limited", topic_name)
    engine.create_mirror("free", other)
    assert_becomes_equal(source_cluster, destination_cluster, other)
    _assert_kept(destination_cluster, topic_name, began, 4)
    assert _metric(engine, "clusterlink_link_limit_bytes_per_second", link="limited") == _RATE
    assert _metric(engine, "clusterlink_link_limited_seconds_total", link="limited") > 0
    assert _metric(engine, "clusterlink_link_limited_seconds_total", link="free") == 0
    _limit(engine, "limited", 0)
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)
    assert _metric(engine, "clusterlink_link_limit_bytes_per_second", link="limited") == 0
    assert _metric(engine, "clusterlink_link_fetched_bytes_total", link="limited") >= 8_000_000, "it was never stopped"
    assert engine.links.GetLink(v1.GetLinkRequest(name="limited"), timeout=60).config[MAX_BYTES_PER_SECOND] == "0"


def test_processes_share_the_limit_of_the_engine_by_their_partitions(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """All links together; a process that ends leaves its part to the others."""
    topics.create(source_cluster.bootstrap_servers, topic_name, partitions=_PARTITIONS)
    settings = {"replication": {"max_bytes_per_second": _RATE}}
    first = start_engine(settings=settings)
    first.create_link("link", source_cluster.bootstrap_servers, config={MAX_BYTES_PER_SECOND: str(4 * _RATE)})
    second = start_engine(state_topic=first.state_topic, settings=settings)
    first.wait_for_shares(second)
    began = time.monotonic()
    first.create_mirror("link", topic_name)
    _write(source_cluster, topic_name, 6)
    _assert_kept(destination_cluster, topic_name, began, 4)
    parts = [_metric(engine, "clusterlink_link_limit_bytes_per_second", link="link") for engine in (first, second)]
    assert sum(parts) == 4 * _RATE
    assert max(parts) < 4 * _RATE
    assert second.stop() == 0
    first.wait_for_shares()
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)
    assert _metric(first, "clusterlink_link_limit_bytes_per_second", link="link") == 4 * _RATE


def _quota(cluster: KafkaCluster, key: str, value: float | None) -> None:
    """Sets or removes the quota of the engine's client id."""

    async def alter() -> None:
        entry = AlterClientQuotasRequest.EntryData
        request = AlterClientQuotasRequest(
            entries=[
                entry(
                    entity=[entry.EntityData(entity_type="client-id", entity_name="clusterlink")],
                    ops=[entry.OpData(key=key, value=value or 0.0, remove=value is None)],
                )
            ],
            validate_only=False,
        )
        asked = Cluster(Side.LOCAL, [cluster.bootstrap_servers], Security())
        answer = await asked.call(-1, request, AlterClientQuotasResponse, (0, 1))
        asked.close()
        assert [entry.error_code for entry in answer.entries] == [0]

    asyncio.run(alter())


@pytest.mark.parametrize("side", ["source", "destination"])
def test_quotas_of_brokers_are_obeyed(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
    side: str,
) -> None:
    """A broker is left alone for as long as it wants, nothing is lost, and it shows for how long that was."""
    cluster, key = {
        "source": (source_cluster, "consumer_byte_rate"),
        "destination": (destination_cluster, "producer_byte_rate"),
    }[side]
    topics.create(source_cluster.bootstrap_servers, topic_name, partitions=_PARTITIONS)
    _write(source_cluster, topic_name, 4)
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    _quota(cluster, key, 300_000.0)  # of which ten seconds' worth may come at once
    try:
        engine.create_mirror("link", topic_name)
        assert_becomes_equal(source_cluster, destination_cluster, topic_name)
    finally:
        _quota(cluster, key, None)
    read = _metric(engine, "clusterlink_link_throttled_seconds_total", link="link")
    written = _metric(engine, "clusterlink_write_throttled_seconds_total", cluster="local")
    assert ((read > 0), (written > 0)) == ((side == "source"), (side == "destination"))
