"""What the process that leads and the others tell each other: orders one way, reports the other, as JSON between processes."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from clusterlink_engine.replication.status import PartitionStatus

Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Order:
    """What a process is to do from now on; parts that are None stay as they were.

    Attributes:
        number: Grows with each order to a process.
        records: Stored objects by key, encoded with their secrets as they are; None for those that are gone.
        is_snapshot: Whether `records` is everything, and what is known from before counts no more.
        slot: Of the process; it never changes.
        grants: All shards of the process: generation, and whether nothing of an earlier owner can be pending.
        fillers: All producer ids that fill gaps, or may have filled some.
        holds: By partition, nothing that ends above this offset is to be written.
        goodbye: The process has nothing any more, and that is stored: it may end.
    """

    number: int = 0
    records: Mapping[str, str | None] | None = field(default=None, repr=False)
    is_snapshot: bool = False
    slot: int | None = None
    grants: Mapping[int, tuple[int, bool]] | None = None
    fillers: tuple[int, ...] | None = None
    holds: Mapping[Key, int] | None = None
    goodbye: bool = False

    def encode(self) -> bytes:
        """Encodes the order for another process."""
        values = {name: value for name, value in asdict(self).items() if value is not None and value is not False}
        if self.holds is not None:
            values["holds"] = [[*key, offset] for key, offset in self.holds.items()]
        return json.dumps(values).encode()

    @staticmethod
    def decode(data: bytes) -> "Order":
        """Decodes what `encode` made."""
        values: dict[str, Any] = json.loads(data)
        if "grants" in values:
            values["grants"] = {int(shard): (grant[0], grant[1]) for shard, grant in values["grants"].items()}
        if "fillers" in values:
            values["fillers"] = tuple(values["fillers"])
        if "holds" in values:
            values["holds"] = {(topic, index): offset for topic, index, offset in values["holds"]}
        return Order(**values)


@dataclass(frozen=True, slots=True)
class Report:
    """What a process does at the moment.

    Attributes:
        member_id: Of the process in the group.
        host: Where it runs.
        pid: Its number there.
        process: As `processes.identity` has it.
        number: Of the last order that it has carried out, as far as it did not have to wait.
        changed: Partitions whose status changed since the last report.
        gone: Partitions that it does not have any more.
        claimed: Producer ids of its transactional ids.
        undrained: Shards that it gave back, and whose brokers may still have something of it pending.
        leaving: Whether it wants to end.
    """

    member_id: str
    host: str
    pid: int
    process: str
    number: int = 0
    changed: Mapping[Key, PartitionStatus] = field(default_factory=dict)
    gone: tuple[Key, ...] = ()
    claimed: tuple[int, ...] = ()
    undrained: tuple[int, ...] = ()
    leaving: bool = False

    def encode(self) -> bytes:
        """Encodes the report for another process."""
        values = {name: getattr(self, name) for name in self.__slots__}
        values["changed"] = [[*key, status] for key, status in self.changed.items()]
        return json.dumps(values).encode()

    @staticmethod
    def decode(data: bytes) -> "Report":
        """Decodes what `encode` made."""
        values: dict[str, Any] = json.loads(data)
        values["changed"] = {(topic, index): PartitionStatus(*status) for topic, index, status in values["changed"]}
        values["gone"] = tuple((topic, index) for topic, index in values["gone"])
        values["claimed"], values["undrained"] = tuple(values["claimed"]), tuple(values["undrained"])
        return Report(**values)
