"""Transactions without data (KIP-98): a partition that is added to one gets a marker when it ends, whatever was written.

Needed: WRITE on the transactional id and on the topic. The end is answered *before* the marker is in the log, and a coordinator
that dies in between writes it again.
"""

import asyncio
from collections.abc import Collection
from typing import NamedTuple

from kafka.protocol.producer.transaction import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    EndTxnRequest,
    EndTxnResponse,
    InitProducerIdRequest,
    InitProducerIdResponse,
)

from clusterlink_engine.errors import BrokerRefusedError, is_retriable
from clusterlink_engine.tasks import Backoff
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.codes import refused
from clusterlink_engine.wire.groups import TRANSACTION, find_coordinator
from clusterlink_engine.wire.logs import TopicPartition, by_topic

_INIT_PRODUCER_ID = (3, 4)  # API key 22
_ADD_PARTITIONS = (3, 3)  # API key 24; from version 4 on it is for brokers
_END_TRANSACTION = (3, 4)  # API key 26; from version 5 on each end raises the producer's epoch (KIP-890)

# What an unfinished transaction of a process that died may hold up.
_TIMEOUT_MS = 10_000
_PATIENCE_SECONDS = 30.0


class TransactionalProducer(NamedTuple):
    """A producer that Kafka knows by a transactional id; an earlier one of the same id is fenced.

    Attributes:
        transactional_id: Given by us.
        producer_id: Given by Kafka.
        epoch: Likewise; grows with each `init_producer`.
        coordinator: Node id of the broker that coordinates its transactions.
    """

    transactional_id: str
    producer_id: int
    epoch: int
    coordinator: int


async def init_producer(cluster: Cluster, transactional_id: str) -> TransactionalProducer:
    """Begins to work under a transactional id, after what was unfinished there has been ended and its markers are written.

    That is waited for, and so is a cluster that has just started.

    Raises:
        KafkaError: The cluster could not be asked, or refused.
    """
    backoff = Backoff(0.02, 1.0)
    give_up_at = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
    while True:
        try:
            return await _claim(cluster, transactional_id)
        except BrokerRefusedError as error:
            if not is_retriable(error) or asyncio.get_running_loop().time() > give_up_at:
                raise
        await backoff.wait()


async def _claim(cluster: Cluster, transactional_id: str) -> TransactionalProducer:
    coordinator = await find_coordinator(cluster, transactional_id, TRANSACTION)
    await cluster.metadata([])  # the coordinator's address may be new
    request = InitProducerIdRequest(
        transactional_id=transactional_id, transaction_timeout_ms=_TIMEOUT_MS, producer_id=-1, producer_epoch=-1
    )
    answer = await cluster.call(coordinator, request, InitProducerIdResponse, _INIT_PRODUCER_ID)
    if answer.error_code:
        raise refused(answer.error_code, f'InitProducerId of "{transactional_id}"', cluster.side)
    return TransactionalProducer(transactional_id, int(answer.producer_id), int(answer.producer_epoch), coordinator)


async def add_partitions(
    cluster: Cluster, producer: TransactionalProducer, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, int]:
    """Adds partitions to the producer's transaction, which begins with the first; all of them, or none.

    Returns:
        Kafka's error code by partition.

    Raises:
        KafkaError: The coordinator could not be asked.
    """
    topic_class = AddPartitionsToTxnRequest.AddPartitionsToTxnTopic
    request = AddPartitionsToTxnRequest(
        v3_and_below_transactional_id=producer.transactional_id,
        v3_and_below_producer_id=producer.producer_id,
        v3_and_below_producer_epoch=producer.epoch,
        v3_and_below_topics=[
            topic_class(name=name, partitions=indexes) for name, indexes in by_topic(partitions).items()
        ],
    )
    answer = await cluster.call(producer.coordinator, request, AddPartitionsToTxnResponse, _ADD_PARTITIONS)
    return {
        (topic.name, partition.partition_index): int(partition.partition_error_code)
        for topic in answer.results_by_topic_v3_and_below
        for partition in topic.results_by_partition
    }


async def end_transaction(cluster: Cluster, producer: TransactionalProducer) -> None:
    """Aborts the producer's transaction: each of its partitions gets a marker, a moment after this returns.

    Raises:
        KafkaError: The coordinator could not be asked, or refused; the markers may be written all the same.
    """
    request = EndTxnRequest(
        transactional_id=producer.transactional_id,
        producer_id=producer.producer_id,
        producer_epoch=producer.epoch,
        committed=False,
    )
    answer = await cluster.call(producer.coordinator, request, EndTxnResponse, _END_TRANSACTION)
    if answer.error_code:
        raise refused(answer.error_code, f'EndTxn of "{producer.transactional_id}"', cluster.side)
