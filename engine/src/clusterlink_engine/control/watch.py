"""What happens without a request: partitions fail, topics change, source topics grow."""

import asyncio
import logging

from clusterlink_engine.control.plane import Plane
from clusterlink_engine.control.state import State
from clusterlink_engine.errors import ClusterlinkError
from clusterlink_engine.mirror.batches import Refusal
from clusterlink_engine.mirror.topics import Grow, Sighting, judge_mirror, judge_source
from clusterlink_engine.model.properties import value_of
from clusterlink_engine.model.resources import MIRRORED, Direction, MirrorTopic
from clusterlink_engine.tasks import Tasks
from clusterlink_engine.wire.cluster import Metadata, TopicInfo
from clusterlink_engine.wire.codes import Code

log = logging.getLogger(__name__)

# A mirror topic that is missing for so long, at each broker that was asked, was deleted.
_MIRROR_MISSING_SECONDS = 10.0


class Watch:
    """Turns what metadata tell into failures, each process for its partitions, and into grown topics: the one that leads.

    Attributes:
        state: Of the process if it leads, else None. Written by `app`.
    """

    def __init__(self, plane: Plane, tasks: Tasks) -> None:
        self.state: State | None = None
        self._plane = plane
        self._tasks = tasks
        # When a topic was first seen to be missing, on the loop's clock, by who said so and topic.
        self._missing: dict[tuple[object, str], float] = {}
        self._growing: set[str] = set()

    def source_seen(self, link: str, direction: Direction, metadata: Metadata) -> None:
        """The source of a link described the source topics of a direction."""
        runtime, stored = self._plane.find(link), self._plane.view.links.get(link)
        if runtime is None or stored is None:
            return
        patience = value_of(stored.config, "cluster.link.retry.timeout.ms") / 1000
        for mirror in self._watched(link, direction):
            if mirror.source_topic not in metadata.topics:
                continue  # became of interest after the question was sent
            seen = self._sight((link, direction), metadata.topics[mirror.source_topic])
            if not seen.exists:
                runtime.way(direction).source.cluster.ask_another()
            verdict = judge_source(
                mirror.source_topic, mirror.source_topic_id, mirror.partition_count, seen, patience=patience
            )
            if isinstance(verdict, Refusal):
                self._condemn(mirror, verdict)
            elif isinstance(verdict, Grow) and self.state is not None and mirror.name not in self._growing:
                self._growing.add(mirror.name)
                self._tasks.start(f"grow {mirror.name}", self._grow(self.state, mirror, verdict.partition_count))

    def mirror_seen(self, link: str | None, direction: Direction, metadata: Metadata) -> None:
        """The destination of a link, or the one that all have, described the mirror topics of a direction."""
        for mirror in self._watched(link, direction):
            if mirror.name not in metadata.topics:
                continue
            seen = self._sight((link,), metadata.topics[mirror.name])
            if not seen.exists:
                self._plane.way(mirror).destination.cluster.ask_another()
            verdict = judge_mirror(mirror.name, mirror.topic_id, seen, patience=_MIRROR_MISSING_SECONDS)
            if verdict is not None:
                self._condemn(mirror, verdict)

    def _watched(self, link: str | None, direction: Direction) -> list[MirrorTopic]:
        """Mirror topics of a direction that are to be mirrored, of one link or of all."""
        view = self._plane.view
        return [
            mirror
            for mirror in view.mirrors.values()
            if mirror.phase in MIRRORED
            and link in (None, mirror.link)
            and mirror.direction is direction
            and self._plane.find(mirror.link) is not None
            and not mirror.paused
            and not view.links[mirror.link].paused
        ]

    def _sight(self, witness: object, topic: TopicInfo) -> Sighting:
        now = asyncio.get_running_loop().time()
        key = (witness, topic.name)
        if topic.error == Code.UNKNOWN_TOPIC_OR_PARTITION:
            return Sighting(False, "", 0, now - self._missing.setdefault(key, now))
        self._missing.pop(key, None)
        return Sighting(True, topic.topic_id, len(topic.partitions), 0.0)

    def _condemn(self, mirror: MirrorTopic, refusal: Refusal) -> None:
        for cursor in self._plane.cursors(mirror.name):
            cursor.apply(cursor.core.condemn(refusal))

    async def _grow(self, state: State, mirror: MirrorTopic, partition_count: int) -> None:
        """Gives a mirror topic the partitions that its source has got; a fault is tried again at the next sighting."""
        try:
            async with state.locked("mirror", mirror.name):
                destination = self._plane.way(mirror).destination
                present = await destination.topics.find(mirror.name)
                if present is None or present.topic_id != mirror.topic_id:
                    return
                if len(present.partitions) < partition_count:
                    await destination.admin.grow(mirror.name, partition_count)
                await destination.topics.visible(mirror.name, partition_count)
                grown = await state.change(
                    state.mirrors,
                    mirror.name,
                    lambda stored: stored.model_copy(update={"partition_count": partition_count}),
                )
                if grown is not None:
                    log.info("mirror topic %s has %d partitions now, as its source", mirror.name, partition_count)
        except ClusterlinkError as error:
            log.warning("adding partitions to %s: %s", mirror.name, error)
        finally:
            self._growing.discard(mirror.name)
