"""What is remembered of the source's leader epochs does not grow without end, and the newest are always there."""

from clusterlink_engine.mirror.batches import BatchHeader
from clusterlink_engine.mirror.partition import MOST_EPOCHS, Partition, ProbeResult


def test_a_source_that_makes_up_leader_epochs_does_not_fill_the_state() -> None:
    partition = Partition("orders-0", 7)
    partition.probed(ProbeResult(0, 0, 0, None, None, True))
    count = 3 * MOST_EPOCHS
    batches = [BatchHeader(offset, offset, 1, 0, 2, 70, -1, -1, -1, offset) for offset in range(count)]
    assert len(partition.plan(batches, [])) == count
    assert partition.source_epochs == [(epoch, epoch) for epoch in range(count - MOST_EPOCHS, count)]
    assert partition.last_fetched_epoch == count - 1
