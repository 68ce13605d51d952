"""Counting of memory, back-off, and tasks that do not end unseen. Nothing here waits for a clock."""

import asyncio
import logging

import pytest

from clusterlink_engine.replication.buffers import Budget, Frame, Holding, Part
from clusterlink_engine.tasks import Backoff, Tasks


async def is_open(budget: Budget) -> bool:
    waiting = asyncio.ensure_future(budget.wait())
    await asyncio.sleep(0)
    done = waiting.done()
    waiting.cancel()
    return done


async def test_a_budget_is_open_until_its_limit_and_again_below_it() -> None:
    budget = Budget(100)
    assert (budget.room, await is_open(budget)) == (100, True)
    budget.take(99)
    assert (budget.room, await is_open(budget)) == (1, True)
    budget.take(50)
    assert (budget.room, await is_open(budget)) == (0, False)
    budget.give_back(49)
    assert (budget.room, await is_open(budget)) == (0, False)
    budget.give_back(1)
    assert (budget.room, await is_open(budget)) == (1, True)


async def test_who_waits_for_room_is_woken() -> None:
    budget = Budget(1)
    budget.take(1)
    waiting = asyncio.ensure_future(budget.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    budget.give_back(1)
    await asyncio.wait_for(waiting, 5)


def test_a_frame_counts_until_its_last_holder_let_go() -> None:
    budget = Budget(100)
    frame = Frame(budget, memoryview(bytearray(60)))
    part = frame.part(Holding(), None)
    part.hold()
    part.hold()
    frame.release()  # the source has cut it
    assert budget.room == 40
    part.release()
    assert budget.room == 40
    part.release()
    assert budget.room == 100


def test_each_holder_holds_a_frame_once_and_whole() -> None:
    budget = Budget(100)
    frame = Frame(budget, memoryview(bytearray(60)))
    partitions, broker = [Holding(), Holding()], Holding()
    parts = [frame.part(partition, broker) for partition in partitions]
    for part in parts:
        part.hold()
        part.hold()
    frame.release()
    assert [holding.bytes for holding in (*partitions, broker)] == [60, 60, 60]
    parts[0].release()
    parts[0].release()
    assert [holding.bytes for holding in (*partitions, broker)] == [0, 60, 60]
    parts[1].release()
    parts[1].release()
    assert [holding.bytes for holding in (*partitions, broker)] == [0, 0, 0]
    assert budget.room == 100


def held(budget: Budget, partition: Holding, broker: Holding) -> Part:
    """Lets a partition hold one byte more, in a frame of its own."""
    frame = Frame(budget, memoryview(bytearray(1)))
    part = frame.part(partition, broker)
    part.hold()
    frame.release()
    return part


def test_a_broker_that_stalls_leaves_half_to_the_others_and_a_second_one_half_of_that() -> None:
    budget = Budget(300)
    brokers = [Holding(), Holding()]
    for broker, expected in zip(brokers, (150, 75), strict=True):
        while budget.has_room_for(Holding(), broker):
            held(budget, Holding(), broker)
        assert budget.room == expected
    assert budget.has_room_for(Holding(), Holding())
    assert not budget.has_room_for(Holding(), brokers[0])


def test_a_partition_that_is_not_written_leaves_most_to_the_others() -> None:
    budget, partition, broker = Budget(100), Holding(), Holding()
    parts = []
    while budget.has_room_for(partition, broker):
        parts.append(held(budget, partition, broker))
    assert budget.room == 80
    assert budget.has_room_for(Holding(), broker)
    parts.pop().release()
    assert budget.has_room_for(partition, broker)


def test_a_frame_without_batches_counts_while_it_is_cut() -> None:
    budget = Budget(100)
    frame = Frame(budget, memoryview(bytearray(60)))
    assert budget.room == 40
    frame.release()
    assert budget.room == 100


def test_a_large_buffer_is_used_again_once_nobody_holds_it() -> None:
    budget = Budget(1 << 20)
    pool = budget.frames
    buffer = pool.take(100_000)
    frame = Frame(budget, memoryview(buffer))
    part = frame.part(Holding(), None)
    part.hold()
    frame.release()
    assert pool.take(100_000) is not buffer
    part.release()
    assert pool.take(100_000) is buffer
    assert budget.room == 1 << 20


def test_an_abandoned_buffer_is_counted_off_and_never_used_again() -> None:
    """A connection may still have to send it."""
    budget = Budget(1 << 20)
    pool = budget.frames
    buffer = pool.take(100_000)
    frame = Frame(budget, memoryview(buffer))
    part = frame.part(Holding(), None)
    part.hold()
    part.abandon()
    frame.release()
    assert budget.room == 1 << 20
    assert pool.take(100_000) is not buffer


def test_delays_double_up_to_the_longest_with_a_quarter_of_jitter() -> None:
    for _ in range(50):
        backoff = Backoff(0.1, 1.0)
        for full in (0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0):
            assert 0.75 * full <= backoff.next() <= full
        backoff.reset()
        assert 0.075 <= backoff.next() <= 0.1


def test_jitter_is_there() -> None:
    assert len({Backoff(1.0, 1.0).next() for _ in range(20)}) > 1


async def test_a_task_that_fails_is_told_with_its_name(caplog: pytest.LogCaptureFixture) -> None:
    told: list[BaseException] = []
    tasks = Tasks(told.append)

    async def fails() -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR):
        await asyncio.gather(tasks.start("the divider", fails()), return_exceptions=True)
        await asyncio.sleep(0)
    assert [type(error) for error in told] == [ZeroDivisionError]
    assert "the divider" in caplog.text


async def test_a_cancelled_or_ended_task_is_no_failure() -> None:
    told: list[BaseException] = []
    tasks = Tasks(told.append)

    async def ends() -> None:
        pass

    async def stays() -> None:
        await asyncio.Event().wait()

    await tasks.start("ends", ends())
    staying = tasks.start("stays", stays())
    await asyncio.sleep(0)
    await tasks.cancel()
    assert staying.cancelled()
    assert told == []
