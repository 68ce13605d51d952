"""Holds producers off a topic that is to become a mirror: Kafka has no switch for it, but topics can refuse batches by size."""

import asyncio

from clusterlink_engine.control.state import State
from clusterlink_engine.control.way import End
from clusterlink_engine.model.resources import MirrorTopic, Phase

# The size of a control batch: the end of a transaction that is open may still be written. A producer's batch of one record
# with nothing but a few bytes passes, too, and is noticed as everything is that a producer writes meanwhile.
_SETTINGS = {"max.message.bytes": "78"}

# A setting that was altered reaches the brokers a moment after it can be read.
_SETTING_SECONDS = 1.0

# Longer they are not held off for nothing: then they go on for a while, and it is tried again.
_LONGEST_SECONDS, _BREAK_SECONDS = 15.0, 5.0


class HoldingOff:
    """The holding of producers off the source of one mirror topic, by one process."""

    def __init__(self, name: str, state: State) -> None:
        """Prepares; `name` is the mirror topic's."""
        self._name = name
        self._state = state
        self._since: float | None = None
        self._not_before = 0.0

    async def hold(self, source: End, mirror: MirrorTopic) -> bool:
        """Holds them off; answers whether that is in force. To be called again and again.

        Raises:
            KafkaError: The source does not answer, or refuses.
            StateError: It could not be stored; nothing was done.
        """
        now = asyncio.get_running_loop().time()
        if now < self._not_before:
            return False
        present = (await source.admin.settings([mirror.source_topic]))[mirror.source_topic]
        if not mirror.held_off:
            before = {name: present[name] for name in _SETTINGS}
            stored = await self._state.change(
                self._state.mirrors,
                self._name,
                lambda found: found.model_copy(update={"held_off": before}) if found.phase is Phase.PROMOTING else None,
            )
            if stored is None:
                return False  # cancelled
        if any(present[name] != value for name, value in _SETTINGS.items()):
            await source.admin.alter(mirror.source_topic, _SETTINGS)
            self._since = now
        elif self._since is None:
            self._since = now
        return now - self._since >= _SETTING_SECONDS

    @property
    def is_overdue(self) -> bool:
        """Whether they have been held off for too long."""
        return self._since is not None and asyncio.get_running_loop().time() - self._since > _LONGEST_SECONDS

    async def let_go(self, source: End, mirror: MirrorTopic) -> None:
        """Lets producers write as before.

        Raises:
            KafkaError: The source does not answer, or refuses; they are held off still.
            StateError: They are not held off any more, but that could not be stored.
        """
        topic = mirror.source_topic
        await source.admin.reset(topic, mirror.held_off)  # what it had by default stays a default
        present = (await source.admin.settings([topic]))[topic]
        own = {name: value for name, value in mirror.held_off.items() if present[name] != value}
        await source.admin.alter(topic, own)
        self._since, self._not_before = None, asyncio.get_running_loop().time() + _BREAK_SECONDS
        await self._state.change_mirror(self._name, {"held_off": {}})
