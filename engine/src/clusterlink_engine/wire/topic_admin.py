"""Settings and partitions of topics: described, altered and added by whichever broker answers."""

from collections.abc import Collection, Mapping
from typing import Any

from kafka.protocol.admin import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)

from clusterlink_engine.wire.brokers import TOPIC, described
from clusterlink_engine.wire.cluster import Cluster, as_many
from clusterlink_engine.wire.codes import refused

_INCREMENTAL_ALTER_CONFIGS = (0, 1)  # API key 44 (KIP-339)
_CREATE_PARTITIONS = (1, 3)  # API key 37; any broker passes it on to the controller
_SET, _DELETE = 0, 1  # operations of KIP-339
_OWN = 1  # the source of a setting that the topic has itself: DYNAMIC_TOPIC_CONFIG
_TIMEOUT_MS = 30_000


class TopicAdmin:
    """The administration of a cluster's topics."""

    def __init__(self, cluster: Cluster) -> None:
        """Takes the cluster to ask."""
        self._cluster = cluster

    async def settings(self, topics: Collection[str]) -> dict[str, dict[str, str]]:
        """Answers the effective settings, defaults included, of each topic.

        Raises:
            BrokerRefusedError: One of the topics may not be described, or does not exist.
            KafkaError: No broker could be asked.
        """
        found = await self._described(topics)
        return {
            topic: {entry.name: entry.value for entry in entries if entry.value is not None}
            for topic, entries in found.items()
        }

    async def own_settings(self, topic: str) -> dict[str, str]:
        """Answers the settings that a topic has itself, defaults left out.

        Raises:
            KafkaError: As `settings`.
        """
        entries = (await self._described([topic]))[topic]
        return {entry.name: entry.value for entry in entries if entry.config_source == _OWN and entry.value is not None}

    async def _described(self, topics: Collection[str]) -> dict[str, list[Any]]:
        if not topics:
            return {}
        what = f"Reading the settings of {_names(topics)}"
        results = await described(self._cluster, -1, TOPIC, topics)
        found: dict[str, list[Any]] = {}
        for result in as_many(self._cluster, what, results, len(set(topics))):
            if result.error_code:
                raise refused(result.error_code, what, self._cluster.side, result.error_message)
            found[result.resource_name] = list(result.configs)
        as_many(self._cluster, what, list(set(topics) & found.keys()), len(set(topics)))  # each of them once
        return found

    async def alter(self, topic: str, changes: Mapping[str, str]) -> None:
        """Sets some settings of a topic and leaves the others.

        Raises:
            BrokerRefusedError: A setting is not known, or its value not allowed; nothing was changed.
            KafkaError: The cluster could not be asked; the settings may have been changed.
        """
        await self._alter(topic, _SET, changes)

    async def reset(self, topic: str, names: Collection[str]) -> None:
        """Gives settings of a topic their default values back.

        Raises:
            KafkaError: As `alter`.
        """
        await self._alter(topic, _DELETE, dict.fromkeys(names))

    async def _alter(self, topic: str, operation: int, values: Mapping[str, str | None]) -> None:
        if not values:
            return
        resource_class = IncrementalAlterConfigsRequest.AlterConfigsResource
        entry = resource_class.AlterableConfig
        configs = [entry(name=name, config_operation=operation, value=value) for name, value in values.items()]
        resource = resource_class(resource_type=TOPIC, resource_name=topic, configs=configs)
        request = IncrementalAlterConfigsRequest(resources=[resource], validate_only=False)
        answer = await self._cluster.call(-1, request, IncrementalAlterConfigsResponse, _INCREMENTAL_ALTER_CONFIGS)
        result = as_many(self._cluster, "IncrementalAlterConfigs", answer.responses, 1)[0]
        if result.error_code:
            what = f'Changing settings of the topic "{topic}"'
            raise refused(result.error_code, what, self._cluster.side, result.error_message)

    async def grow(self, topic: str, partition_count: int) -> None:
        """Gives a topic more partitions.

        Raises:
            BrokerRefusedError: Among others INVALID_PARTITIONS if it has as many already.
            KafkaError: The cluster could not be asked; the partitions may have been added.
        """
        entry = CreatePartitionsRequest.CreatePartitionsTopic(name=topic, count=partition_count, assignments=None)
        request = CreatePartitionsRequest(topics=[entry], timeout_ms=_TIMEOUT_MS, validate_only=False)
        answer = await self._cluster.call(-1, request, CreatePartitionsResponse, _CREATE_PARTITIONS)
        result = as_many(self._cluster, "CreatePartitions", answer.results, 1)[0]
        if result.error_code:
            what = f'Adding partitions to the topic "{topic}"'
            raise refused(result.error_code, what, self._cluster.side, result.error_message)


def _names(topics: Collection[str]) -> str:
    first, *others = sorted(topics)
    return f'the topic "{first}"' + (f" and {len(others)} others" if others else "")
