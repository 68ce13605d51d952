"""Changes of the state that come together are written together, and each is decided as if it came alone."""

import asyncio
import random
from collections.abc import Mapping

import pytest

from clusterlink_engine.control.state import State
from clusterlink_engine.errors import (
    BrokerRefusedError,
    ClusterUnavailableError,
    FailedPreconditionError,
    Side,
    StateError,
    StateUnavailableError,
)
from clusterlink_engine.model.resources import MirrorTopic, Phase, Stored


def _mirror(name: str, **fields: object) -> MirrorTopic:
    return MirrorTopic.model_validate(
        {
            "name": name,
            "link": "link",
            "source_topic": name,
            "source_topic_id": "0",
            "partition_count": 1,
            "replication_factor": 1,
            **fields,
        }
    )


class _Store:
    """A state topic in memory that can be held up, can fail, and can be deleted; it is its own home."""

    can_encrypt = True
    topic = "_state"

    def __init__(self) -> None:
        self.stored: dict[str, Stored | None] = {}
        self.topic_id = 0
        self.is_refused = self.is_away = False
        self.transactions: list[Mapping[str, Stored | None]] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.failures: list[Exception] = []

    async def write(self, changes: Mapping[str, Stored | None]) -> None:
        await self.may_go_on.wait()
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)
        self.transactions.append(dict(changes))
        self.stored.update(changes)

    write_anew = write

    def gone(self, is_gone: bool) -> None:
        self.is_gone = is_gone

    async def ensure(self) -> str:
        await asyncio.sleep(0)
        if self.is_away:
            raise ClusterUnavailableError("Away.", side=Side.LOCAL)
        if self.is_refused:
            raise BrokerRefusedError(
                "No right.", side=Side.LOCAL, code=29, name="TOPIC_AUTHORIZATION_FAILED", retriable=False
            )
        return str(self.topic_id)

    def delete(self) -> None:
        self.stored.clear()
        self.topic_id += 1


def _make() -> tuple[State, _Store, list[BaseException]]:
    store = _Store()
    fatal: list[BaseException] = []
    return State(store, store, {}, "0", fatal.append), store, fatal  # type: ignore[arg-type] # what State uses of it


async def test_what_comes_while_one_is_written_goes_together() -> None:
    state, store, fatal = _make()
    store.may_go_on.clear()
    first = asyncio.create_task(state.write(_mirror("first")))
    await asyncio.sleep(0.01)
    rest = [asyncio.create_task(state.write(_mirror(f"rest-{number}"))) for number in range(20)]
    await asyncio.sleep(0.01)
    assert (state.mirrors, store.stored) == ({}, {})
    store.may_go_on.set()
    await asyncio.gather(first, *rest)
    assert [len(changes) for changes in store.transactions] == [1, 20]
    assert len(state.mirrors) == 21
    assert not fatal


async def test_each_change_sees_those_before_and_nobody_else_does() -> None:
    state, store, _ = _make()
    await state.write(_mirror("topic", partition_count=1))
    store.may_go_on.clear()

    async def grow() -> int:
        changed = await state.change(
            state.mirrors,
            "topic",
            lambda mirror: mirror.model_copy(update={"partition_count": mirror.partition_count + 1}),
        )
        assert changed is not None
        return changed.partition_count

    grown = [asyncio.create_task(grow()) for _ in range(10)]
    await asyncio.sleep(0.01)
    assert state.mirrors["topic"].partition_count == 1
    store.may_go_on.set()
    assert await asyncio.gather(*grown) == list(range(2, 12))
    assert state.mirrors["topic"].partition_count == 11
    assert state.mirrors["topic"] == store.stored["mirror/topic"]


async def test_a_guard_sees_what_goes_with_it_and_refuses_its_own_change_only() -> None:
    state, store, fatal = _make()

    def room_for_three() -> None:
        if len(state.mirrors) >= 3:
            raise FailedPreconditionError("full", reason="FULL")

    wanted = [state.write(_mirror(f"topic-{number}"), guard=room_for_three) for number in range(5)]
    results = await asyncio.gather(*wanted, return_exceptions=True)
    assert [type(result) for result in results] == [type(None)] * 3 + [FailedPreconditionError] * 2
    assert len(state.mirrors) == 3
    assert len(store.transactions) < 3
    assert not fatal


async def test_a_deletion_in_the_same_transaction_makes_room_and_a_change_of_what_goes_is_none() -> None:
    state, _, _ = _make()
    await state.write(_mirror("old"))

    def nothing_there() -> None:
        assert not state.mirrors

    results = await asyncio.gather(
        state.write(gone=["mirror/old"]),
        state.change(state.mirrors, "old", lambda mirror: mirror),
        state.write(_mirror("new"), guard=nothing_there),
    )
    assert list(results) == [None, None, None]
    assert list(state.mirrors) == ["new"]


async def test_when_nothing_was_stored_memory_is_as_before_and_everybody_is_told() -> None:
    state, store, fatal = _make()
    await state.write(_mirror("there"))
    store.failures = [StateUnavailableError("not now")]
    wanted = [state.write(gone=["mirror/there"]), state.write(_mirror("new"))]
    results = await asyncio.gather(*wanted, return_exceptions=True)
    assert [type(result) for result in results] == [StateUnavailableError] * 2
    assert list(state.mirrors) == ["there"]
    assert not fatal
    await state.write(_mirror("new"))
    assert sorted(state.mirrors) == ["new", "there"]


async def test_doubt_about_the_state_is_fatal() -> None:
    state, store, fatal = _make()
    store.failures = [StateError("nobody knows")]
    with pytest.raises(StateError, match="nobody knows"):
        await state.write(_mirror("new"))
    assert [str(error) for error in fatal] == ["nobody knows"]
    assert not state.mirrors


async def test_whoever_is_cancelled_does_not_keep_memory_from_following() -> None:
    state, store, _ = _make()
    store.may_go_on.clear()
    impatient = asyncio.create_task(state.write(_mirror("new")))
    await asyncio.sleep(0.01)
    impatient.cancel()
    await asyncio.gather(impatient, return_exceptions=True)
    store.may_go_on.set()
    await state.write(_mirror("next"))
    assert sorted(state.mirrors) == ["new", "next"]


@pytest.mark.parametrize("seed", range(20))
async def test_the_outcome_is_that_of_one_after_the_other(seed: int) -> None:
    """Random writes, changes, deletions and failures at once: memory, store and listeners agree, and no change is lost."""
    chance = random.Random(seed)
    state, store, _ = _make()
    heard: dict[str, Stored | None] = {}
    state.listeners.append(heard.update)
    names = [f"topic-{number}" for number in range(4)]
    sums = dict.fromkeys(names, 0)

    async def act() -> None:
        for _ in range(30):
            name = chance.choice(names)
            kind = chance.random()
            if chance.random() < 0.02:
                store.failures.append(StateUnavailableError("not now"))
            try:
                if kind < 0.2:
                    await state.write(gone=[f"mirror/{name}"])
                elif kind < 0.4:
                    await state.write(_mirror(name))
                else:
                    added = await state.change(
                        state.mirrors,
                        name,
                        lambda mirror: mirror.model_copy(update={"partition_count": mirror.partition_count + 1}),
                    )
                    sums[name] += added is not None
            except StateUnavailableError:
                pass
            await asyncio.sleep(0)

    await asyncio.gather(*(act() for _ in range(8)))
    present = {key: value for key, value in store.stored.items() if value is not None}
    assert {f"mirror/{name}": mirror for name, mirror in state.mirrors.items()} == present
    assert {key: value for key, value in heard.items() if value is not None} == present
    assert any(sums.values())


async def test_what_is_decided_sees_what_was_decided_a_moment_before() -> None:
    """A mirror topic that is stopped in the same transaction goes with its link, and is not left behind."""
    state, store, _ = _make()
    await state.write(_mirror("topic"))
    store.may_go_on.clear()
    stopped = asyncio.create_task(state.change_mirror("topic", {"phase": Phase.STOPPED}))
    gone = asyncio.create_task(
        state.transact(
            lambda: {f"mirror/{name}": None for name, at in state.mirrors.items() if at.phase is Phase.STOPPED}
        )
    )
    await asyncio.sleep(0.01)
    store.may_go_on.set()
    await asyncio.gather(stopped, gone)
    assert state.mirrors == {}
    assert len(store.transactions) == 2


async def test_a_topic_that_was_deleted_gets_everything() -> None:
    state, store, fatal = _make()
    await state.write(_mirror("there"), _mirror("gone"))
    store.delete()
    store.failures = [StateUnavailableError("there is no such topic")]
    await state.write(_mirror("new"), gone=["mirror/gone"])
    assert {key for key, value in store.stored.items() if value is not None} == {"mirror/there", "mirror/new"}
    store.delete()
    await state.look()
    assert sorted(store.stored) == ["mirror/new", "mirror/there"]
    await state.look()
    assert len(store.transactions) == 3, "it was written though it is there"
    assert not fatal


async def test_a_topic_that_is_deleted_while_it_is_written() -> None:
    """Whatever became of the transaction does not matter: nobody will read it."""
    state, store, fatal = _make()
    await state.write(_mirror("there"))
    store.may_go_on.clear()
    writing = asyncio.create_task(state.write(_mirror("new")))
    await asyncio.sleep(0.01)
    store.delete()
    store.failures = [StateError("nobody knows")]
    store.may_go_on.set()
    await writing
    assert sorted(store.stored) == ["mirror/new", "mirror/there"]
    assert not fatal


async def test_what_could_not_be_written_anew_is_written_later() -> None:
    state, store, fatal = _make()
    await state.write(_mirror("there"))
    store.delete()
    store.failures = [StateUnavailableError("there is no such topic"), StateUnavailableError("not now")]
    with pytest.raises(StateUnavailableError, match="not now"):
        await state.write(_mirror("new"))
    store.is_refused = True
    with pytest.raises(StateUnavailableError, match="nor made anew: No right"):
        await state.write(_mirror("new"))
    await state.look()
    assert not store.stored
    store.is_refused = False
    await state.write(_mirror("other"))
    assert sorted(store.stored) == ["mirror/other", "mirror/there"]
    assert not fatal


async def test_where_nobody_can_be_asked_the_topic_is_taken_to_be_there() -> None:
    state, store, fatal = _make()
    await state.write(_mirror("there"))
    store.is_away = True
    await state.look()
    store.failures = [StateUnavailableError("not now")]
    with pytest.raises(StateUnavailableError, match="not now"):
        await state.write(_mirror("new"))
    await state.write(_mirror("new"))
    assert len(store.transactions) == 2
    store.is_away = False
    store.delete()
    store.failures = [StateUnavailableError("not now")]
    await state.look()
    store.is_away = True
    with pytest.raises(StateUnavailableError, match="cannot be looked for: Away"):
        await state.write(_mirror("other"))
    assert not store.stored
    assert not fatal
