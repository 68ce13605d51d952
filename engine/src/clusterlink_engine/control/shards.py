"""Shards: what the mirror partitions are divided into, so that several processes share the work; pure."""

from collections.abc import Collection, Mapping
from zlib import crc32

# Enough for an even share among a dozen processes, and few enough to be stored as one record.
SHARDS = 64


def shard_of(topic: str, index: int) -> int:
    """Answers the shard of a mirror partition: the same in every process, for ever."""
    return crc32(f"{topic}/{index}".encode()) % SHARDS


def share(owners: Mapping[int, str], members: Collection[str]) -> dict[int, str]:
    """Answers who is to own each shard: nobody has two more than another, and as few as possible move.

    Args:
        owners: Who owns shards now; members or not.
        members: Who can own shards. None: nobody gets anything.
    """
    if not members:
        return {}
    kept: dict[str, list[int]] = {member: [] for member in sorted(members)}
    for shard in range(SHARDS):
        if owners.get(shard, "") in kept:
            kept[owners[shard]].append(shard)
    least, with_one_more = divmod(SHARDS, len(kept))
    # Who has most keeps the one more: that moves fewest.
    order = sorted(kept, key=lambda member: (-len(kept[member]), member))
    room = {member: least + (place < with_one_more) for place, member in enumerate(order)}
    result = {shard: member for member in order for shard in kept[member][: room[member]]}
    free = (shard for shard in range(SHARDS) if shard not in result)
    for member in order:
        for _ in range(room[member] - min(len(kept[member]), room[member])):
            result[next(free)] = member
    return result
