"""Who may write which shard: a process is only ever given what nobody else can still write."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from clusterlink_engine.control.allocation import Present, allocate, wanted
from clusterlink_engine.control.shards import SHARDS, share
from clusterlink_engine.model.resources import Allocation, Worker

NAMES = st.sampled_from("abcde")


@given(owners=st.dictionaries(st.integers(0, SHARDS - 1), NAMES), members=st.sets(NAMES, min_size=1))
def test_everybody_has_the_same_and_few_shards_move(owners: dict[int, str], members: set[str]) -> None:
    shared = share(owners, members)
    counts = {member: sum(owner == member for owner in shared.values()) for member in members}
    assert shared.keys() == set(range(SHARDS))
    assert max(counts.values()) - min(counts.values()) <= 1
    for shard, owner in owners.items():
        if owner in members and shared[shard] != owner:
            # What moves, moves because its owner had more than its share.
            assert sum(other == owner for other in owners.values()) > counts[owner]
    assert share(shared, members) == shared


class Processes(RuleBasedStateMachine):
    """Processes come, stop, die, give back late, and leave something pending; the allocation is stored at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.allocation = Allocation(name="all", generation=5)
        # What each living process can write: what it was told, until it gave it back.
        self.writing: dict[str, set[int]] = {}
        self.leaving: set[str] = set()
        self.silent: set[str] = set()
        self.undrained: dict[str, set[int]] = {}
        # Shards in which something may be pending, of nobody that is there.
        self.pending: set[int] = set()
        self.generations: dict[int, int] = {}

    @rule(name=NAMES)
    def comes(self, name: str) -> None:
        if name not in self.writing and name not in self.allocation.workers:
            self.writing[name], self.undrained[name] = set(), set()

    @rule(name=NAMES)
    def wants_to_stop(self, name: str) -> None:
        self.leaving |= {name} & self.writing.keys()

    @rule(name=NAMES, silent=st.booleans())
    def is_silent(self, name: str, silent: bool) -> None:
        self.silent = self.silent | {name} if silent else self.silent - {name}

    @rule(name=NAMES, dirty=st.booleans())
    def gives_back(self, name: str, dirty: bool) -> None:
        """What it was told to: everything that it has and should not have."""
        if name in self.writing and name not in self.silent:
            plan = wanted(self.allocation, self._present())
            back = {shard for shard in self.writing[name] if plan.get(shard) != name}
            self.writing[name] -= back
            if dirty:
                self.undrained[name] |= back
                self.pending |= back

    @rule(name=NAMES)
    def dies(self, name: str) -> None:
        if name in self.writing:
            self.pending |= self.writing.pop(name)
            self.leaving.discard(name)
            del self.undrained[name]

    @rule()
    def steps(self) -> None:
        gone = {name for name in self.allocation.workers if name not in self.writing}
        present = {name: process for name, process in self._present().items() if name not in gone}
        before, self.allocation = self.allocation, allocate(self.allocation, present, gone)
        for shard, grant in self.allocation.grants.items():
            if before.grants.get(shard) == grant:
                continue
            assert grant.generation > max([*self.generations.values(), before.generation, 0])
            assert not any(shard in writing for writing in self.writing.values())
            assert not (grant.settled and shard in self.pending)
            self.pending.discard(shard)  # its new owner waits
            self.undrained[grant.member_id].discard(shard)
        self.generations = {shard: grant.generation for shard, grant in self.allocation.grants.items()}
        plan = wanted(self.allocation, present)
        for name in present:
            mine = {shard for shard, grant in self.allocation.grants.items() if grant.member_id == name}
            self.writing[name] |= {shard for shard in mine if plan.get(shard) == name}
            if name in self.leaving and name not in self.allocation.workers:
                assert not self.writing.pop(name)
                self.leaving.discard(name)

    def _present(self) -> dict[str, Present]:
        return {
            name: Present(
                worker=Worker(slot=-1, host="h", pid=1, process=name),
                released=set(range(SHARDS)) - writing,
                undrained=self.undrained[name],
                leaving=name in self.leaving,
            )
            for name, writing in self.writing.items()
            if name not in self.silent
        }

    @invariant()
    def one_writer(self) -> None:
        for name, writing in self.writing.items():
            for other, others in self.writing.items():
                assert name == other or not writing & others

    @invariant()
    def slots_differ(self) -> None:
        slots = [worker.slot for worker in self.allocation.workers.values()]
        assert len(slots) == len(set(slots))


TestProcesses = Processes.TestCase
TestProcesses.settings = settings(deadline=None)
