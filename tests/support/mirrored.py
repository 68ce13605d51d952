"""A mirror topic with records, transactions and gaps that has caught up: where tests of transitions begin."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_proto import v1
from tests.support import produce, sources, topics
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal

StartEngine = Callable[..., EngineProcess]

PARTITIONS = 3


def mirrored(
    source: KafkaCluster,
    destination: KafkaCluster,
    engine: EngineProcess,
    topic: str,
    *,
    config: Mapping[str, str] | None = None,
    mode: "v1.LinkMode.ValueType" = v1.LINK_MODE_DESTINATION,
) -> EngineProcess:
    """Answers the engine when it mirrors the topic, by a link of this mode, and has caught up."""
    config = {"compression.type": "lz4", "retention.ms": "86400000000", **(config or {})}
    topics.create(source.bootstrap_servers, topic, partitions=PARTITIONS, config=config)
    write(source, topic, 1)
    engine.create_link("link", source.bootstrap_servers, mode=mode)
    engine.create_mirror("link", topic)
    assert_becomes_equal(source, destination, topic, raw=False)
    return engine


def write(cluster: KafkaCluster, topic: str, seed: int) -> None:
    """Writes records of each kind, and transactions that commit and abort."""
    records = produce.varied(200, PARTITIONS, seed=seed)
    produce.write(cluster.bootstrap_servers, topic, records, settings={"batch.num.messages": 20})
    sources.write_transactions(cluster.bootstrap_servers, topic, partitions=PARTITIONS, rounds=20, seed=seed)


@contextmanager
def refused(reason: str) -> Iterator[None]:
    """Asserts that the engine refuses what is in the block, with this reason."""
    with pytest.raises(grpc.RpcError) as caught:
        yield
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION, error
    assert any(reason.encode() in value for _, value in error.trailing_metadata())
