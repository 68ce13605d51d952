"""The state topic as a topic of the local cluster: made where it is missing, and known by its id."""

import logging

from clusterlink_engine.control.topics import Topics
from clusterlink_engine.errors import BrokerRefusedError, KafkaError
from clusterlink_engine.settings import State as StateSettings
from clusterlink_engine.wire import logs
from clusterlink_engine.wire.codes import Code
from clusterlink_engine.wire.topic_admin import TopicAdmin

log = logging.getLogger(__name__)

_POLICY = "cleanup.policy"
_SETTINGS = {_POLICY: "compact", "min.compaction.lag.ms": "0", "compression.type": "producer"}
_REPLICAS = 3


class StateHome:
    """Where the state is kept.

    Attributes:
        topic: Its name.
    """

    def __init__(self, topics: Topics, admin: TopicAdmin, settings: StateSettings) -> None:
        """Prepares; nothing is asked.

        Args:
            topics: Of the local cluster.
            admin: Of the local cluster.
            settings: Name and replicas of the topic.
        """
        self.topic = settings.topic
        self._replicas = settings.replication_factor
        self._topics = topics
        self._admin = admin
        self._known = ""  # the id of the topic whose settings are known to be right, or to be out of reach

    async def ensure(self) -> str:
        """Creates the topic if it is not there, with three replicas where there are brokers for them, and answers its id.

        Only the controller can say that a topic is not there: a broker that is behind has not heard of it, or not yet.

        Raises:
            BrokerRefusedError: It may not be created or described, among others.
            KafkaError: The cluster does not answer.
        """
        present = await self._topics.find(self.topic)
        if present is None:
            is_ours = await self._create()
            present = await self._topics.visible(self.topic)
            if is_ours:
                self._known = present.topic_id
        if present.topic_id != self._known:
            await self._mend()
            self._known = present.topic_id
        return present.topic_id

    async def _create(self) -> bool:
        """Creates the topic, and answers whether it is new: not if another process was quicker, or the broker was behind."""
        replicas = self._replicas
        if replicas < 1:
            replicas = min(_REPLICAS, len((await self._topics.cluster.metadata([])).brokers))
        settings = {**_SETTINGS, "min.insync.replicas": "2" if replicas >= _REPLICAS else "1"}
        try:
            await logs.create_topic(
                self._topics.cluster, self.topic, partitions=1, replication_factor=replicas, settings=settings
            )
        except BrokerRefusedError as error:
            if error.code != Code.TOPIC_ALREADY_EXISTS:
                raise
            return False
        return True

    async def _mend(self) -> None:
        """Sees to it that the state does not expire where somebody else made the topic, or a broker did by itself."""
        try:
            policy = (await self._admin.settings([self.topic]))[self.topic].get(_POLICY)
            if policy != _SETTINGS[_POLICY]:
                await self._admin.alter(self.topic, {_POLICY: _SETTINGS[_POLICY]})
                log.warning("the state topic %s had the cleanup.policy %s; it is compact now", self.topic, policy)
        except KafkaError as error:
            log.warning(
                "the state topic %s must have the cleanup.policy compact, or the state expires; that cannot be seen to: %s",
                self.topic,
                error,
            )
