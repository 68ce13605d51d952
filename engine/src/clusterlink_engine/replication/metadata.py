"""Keeps what is known of a cluster's leaders and topic ids fresh."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable

from clusterlink_engine.errors import KafkaError, WrongClusterError
from clusterlink_engine.tasks import Backoff
from clusterlink_engine.wire.cluster import Cluster, Metadata

log = logging.getLogger(__name__)

# Leaders that moved are asked for at once, but not more often than this.
_SHORTEST_SECONDS = 0.1


class MetadataWatch:
    """Asks a cluster for the topics of interest, from time to time and when somebody is in a hurry.

    Attributes:
        cluster: The cluster.
        max_age: Seconds between two readings; may be written at any time.
        error: Why the last reading failed; None if it did not. Written by `run`.
        latest: The last reading that worked. Written by `run`.
    """

    def __init__(
        self,
        cluster: Cluster,
        max_age: float,
        listener: Callable[[Metadata], None],
        on_wrong_cluster: Callable[[], None],
    ) -> None:
        """Begins without a reading.

        Args:
            cluster: To ask.
            max_age: Seconds between two readings.
            listener: Told each reading.
            on_wrong_cluster: Told that something else answers than the cluster that is meant: nothing is read or written
                there until the listener is told a reading again.
        """
        self.cluster = cluster
        self.max_age = max_age
        self.error: KafkaError | None = None
        self.latest: Metadata | None = None
        self._listener = listener
        self._on_wrong_cluster = on_wrong_cluster
        self._topics: Counter[str] = Counter()
        self._hurry = asyncio.Event()

    def watch(self, topic: str) -> None:
        """The topic is of interest to one more."""
        self._topics[topic] += 1
        self.hurry()

    def unwatch(self, topic: str) -> None:
        """The topic is of interest to one less."""
        self._topics[topic] -= 1
        self._topics += Counter()  # drops what nobody is interested in

    def hurry(self) -> None:
        """Something moved: read soon."""
        self._hurry.set()

    async def run(self) -> None:
        """Reads for ever; a fault is remembered in `error` and tried again."""
        backoff = Backoff(0.2, 5.0)
        while True:
            self._hurry.clear()
            try:
                self.latest = await self.cluster.metadata(self._topics)
            except KafkaError as error:
                if self.error is None or type(error) is not type(self.error):
                    log.warning("the %s cluster does not answer: %s", self.cluster.side, error)
                self.error = error
                if isinstance(error, WrongClusterError):
                    self._on_wrong_cluster()
                await backoff.wait()
                continue
            if self.error is not None:
                log.info("the %s cluster answers again", self.cluster.side)
            self.error = None
            backoff.reset()
            self._listener(self.latest)
            await asyncio.sleep(_SHORTEST_SECONDS)
            try:
                async with asyncio.timeout(self.max_age):
                    await self._hurry.wait()
            except TimeoutError:
                pass
