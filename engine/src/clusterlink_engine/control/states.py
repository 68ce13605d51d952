"""Since when links and mirror topics are in their states, as far as this process has seen."""

import asyncio
import logging
from collections import Counter
from datetime import UTC, datetime

from clusterlink_engine.control.plane import Plane
from clusterlink_engine.control.view import View
from clusterlink_engine.control.workforce import Workforce
from clusterlink_engine.model.resources import Direction, Link, MirrorTopic, Phase
from clusterlink_engine.model.states import (
    Entered,
    LinkState,
    MirrorTopicFacts,
    MirrorTopicState,
    follow,
    mirror_topic_state,
)

log = logging.getLogger(__name__)

# A state that comes and goes in less may not be seen; nor one that does in so many times the time that looking takes, of very
# many partitions: some seconds, if there are ten thousand.
_LOOK_SECONDS = 0.5
_LOOK_PAUSE = 200


class StateWatch:
    """Looks at all states, again and again: most of them change without a request."""

    def __init__(self, view: View, plane: Plane, workforce: Workforce) -> None:
        self._view = view
        self._plane = plane
        self._workforce = workforce
        # By ids that are never used again: what is made anew under an old name enters its state anew.
        self._links: dict[str, Entered[LinkState]] = {}
        self._mirrors: dict[tuple[str, str], Entered[MirrorTopicState]] = {}

    async def run(self) -> None:
        """Looks for ever."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            links, mirrors = list(self._view.links.values()), list(self._view.mirrors.values())
            for link in links:
                self.link(link)
            for mirror in mirrors:
                self.mirror(mirror)
            for gone in self._links.keys() - {link.link_id for link in links}:
                del self._links[gone]
            for missing in self._mirrors.keys() - {_key(mirror) for mirror in mirrors}:
                del self._mirrors[missing]
            await asyncio.sleep(max(_LOOK_SECONDS, _LOOK_PAUSE * (loop.time() - began)))

    def counts(self) -> Counter[tuple[str, MirrorTopicState]]:
        """Answers how many mirror topics of each link were in each state when they were looked at last."""
        entered = ((mirror.link, self._mirrors.get(_key(mirror))) for mirror in self._view.mirrors.values())
        return Counter((link, each.state) for link, each in entered if each is not None)

    def link(self, link: Link) -> Entered[LinkState] | None:
        """Answers a link's state now; None if it is not at work."""
        runtime = self._plane.find(link.name)
        if runtime is None:
            return None
        before = self._links.get(link.link_id)
        entered = self._links[link.link_id] = follow(before, runtime.link_state(link), _now())
        if entered is not before:
            _tell(f"link {link.name}", entered.state)
        return entered

    def mirror(self, mirror: MirrorTopic) -> Entered[MirrorTopicState] | None:
        """Answers a mirror topic's state now; None if its link is not at work."""
        runtime = self._plane.find(mirror.link)
        if runtime is None:
            return None
        before = self._mirrors.get(_key(mirror))
        state = self._mirror_state(mirror, runtime.link_state(self._view.links[mirror.link]))
        entered = self._mirrors[_key(mirror)] = follow(before, state, _now())
        if entered is not before:
            _tell(f"mirror topic {mirror.name}", entered.state)
        return entered

    def _mirror_state(self, mirror: MirrorTopic, link: LinkState) -> MirrorTopicState:
        glance = self._workforce.glance(mirror.name)
        is_stopping, turns = (
            mirror.phase in (Phase.PROMOTING, Phase.SEALING),
            mirror.stop is not None and mirror.stop.turns,
        )
        if mirror.direction is Direction.LOCAL_TO_REMOTE and link is LinkState.UNAVAILABLE:
            link = LinkState.ACTIVE  # its source is the local cluster; its mirror is what cannot be reached
        return mirror_topic_state(
            MirrorTopicFacts(
                link=link,
                exists=mirror.phase not in (Phase.DELETING, Phase.DETACHING)
                and (mirror.restoring or mirror.phase not in (Phase.CLEARING, Phase.CREATING)),
                is_stopped=mirror.phase is Phase.STOPPED,
                is_stopping=is_stopping and not turns,
                is_synchronizing=is_stopping and turns,
                is_turning=mirror.phase is Phase.TURNING,
                is_clearing=mirror.phase is Phase.CLEARING and mirror.restoring,
                is_restoring=mirror.restoring,
                has_failed=bool(self._view.failures(mirror)),
                paused=mirror.paused,
                is_source_readable=glance.is_readable,
                is_seeding=mirror.phase is Phase.SEEDING or glance.is_seeding,
            )
        )


def _key(mirror: MirrorTopic) -> tuple[str, str]:
    return mirror.name, mirror.topic_id


def _now() -> datetime:
    return datetime.now(UTC)


def _tell(what: str, state: LinkState | MirrorTopicState) -> None:
    log.info("%s is %s%s", what, state, ", which ends by itself" if state.ends_by_itself else "")
