"""Who may write which shard: the next allocation follows from the present one and from what processes report; pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from clusterlink_engine.control.shards import SHARDS, share
from clusterlink_engine.model.resources import Allocation, Grant, Worker

NAME = "all"


@dataclass(frozen=True, slots=True)
class Present:
    """A process that reports.

    Attributes:
        worker: Who it is; its slot counts only if it has none yet, and is not looked at.
        claimed: Producer ids of its transactional ids.
        released: Shards that it was told to give back, and has nothing of any more.
        undrained: Shards of those whose brokers may still have something of it pending.
        leaving: Whether it wants to end.
    """

    worker: Worker
    claimed: Collection[int] = ()
    released: Collection[int] = ()
    undrained: Collection[int] = ()
    leaving: bool = False


def wanted(allocation: Allocation, present: Mapping[str, Present]) -> dict[int, str]:
    """Answers who is to own each shard: the processes that report and stay, as evenly as can be."""
    staying = [member for member, process in present.items() if not process.leaving]
    return share({shard: grant.member_id for shard, grant in allocation.grants.items()}, staying)


def allocate(allocation: Allocation, present: Mapping[str, Present], gone: Collection[str]) -> Allocation:
    """Answers the next allocation; the same one if nothing changes.

    A shard goes to another process only when the one that had it gave it back, or is gone.

    Args:
        allocation: The present one.
        present: The processes that report now, by member id.
        gone: Members that are dead, or whose lease has run out, and whose transactional ids are fenced.
    """
    plan = wanted(allocation, present)
    grants, unsettled, workers = dict(allocation.grants), set(allocation.unsettled), dict(allocation.workers)
    generation = allocation.generation
    for shard, grant in allocation.grants.items():
        process = present.get(grant.member_id)
        if grant.member_id in gone:
            del grants[shard]
            unsettled.add(shard)
        elif process is not None and plan.get(shard) != grant.member_id and shard in process.released:
            del grants[shard]
            if shard in process.undrained:
                unsettled.add(shard)
    for member in gone:
        workers.pop(member, None)
    for member, process in present.items():
        if process.leaving and not any(grant.member_id == member for grant in grants.values()):
            workers.pop(member, None)
        elif member not in workers and member not in gone:
            taken = {worker.slot for worker in workers.values()}
            workers[member] = process.worker.model_copy(
                update={"slot": min(slot for slot in range(len(taken) + 1) if slot not in taken)}
            )
    for shard in range(SHARDS):
        member = plan.get(shard, "")
        if shard not in grants and member in workers and member not in gone:
            generation += 1
            grants[shard] = Grant(member_id=member, generation=generation, settled=shard not in unsettled)
            unsettled.discard(shard)
    claimed = {producer_id for process in present.values() for producer_id in process.claimed}
    return allocation.model_copy(
        update={
            "generation": generation,
            "grants": dict(sorted(grants.items())),
            "unsettled": tuple(sorted(unsettled)),
            "workers": workers,
            "fillers": tuple(sorted(claimed.union(allocation.fillers))),
        }
    )
