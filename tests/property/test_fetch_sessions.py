"""What a source asks in a fetch session, against a model of what a broker makes of it (KIP-227, and Kafka's FetchSession).

Whatever is wanted, dropped or renewed, and whatever the broker forgets: each answer is for what the broker was told, and once
nothing changes any more the broker has exactly what is wanted, and has answered the ends of each partition since it was wanted.
"""

from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from clusterlink_engine.wire.codes import Code
from clusterlink_engine.wire.fetch import FetchPartition
from clusterlink_engine.wire.fetch_session import FetchRequest, FetchSession

_TOPICS = {"orders": "a" * 32, "users": "b" * 32}
_KEYS = st.tuples(st.sampled_from(sorted(_TOPICS)), st.integers(0, 3))
_LAST_EPOCH = 2**31 - 1


class Owner:
    """Somebody who wants a partition; others are not equal."""


class Kept(NamedTuple):
    """What the broker keeps of a partition: what is asked, and the end that it answered last, -1 for none."""

    partition: FetchPartition
    answered_end: int


class ModelBroker:
    """A broker's one session, and the ends of its logs."""

    def __init__(self) -> None:
        self.session_id = 0
        self.epoch = 0
        self.has_room = True
        self.kept: dict[tuple[str, int], Kept] = {}
        self.ends: dict[tuple[str, int], int] = {}
        self.made = 0

    def fetch(self, request: FetchRequest) -> tuple[int, int, dict[tuple[str, int], FetchPartition]]:
        """Answers an error code, a session id, and what was answered for, with what was asked."""
        session_id, epoch = request.session
        if epoch == 0:
            assert not request.forgotten
            if session_id == self.session_id:
                self.session_id = 0
            answered = {(entry.topic, entry.partition): entry for entry in request.partitions}
            assert len(answered) == len(request.partitions)
            if self.has_room:
                self.made += 1
                self.session_id, self.epoch = self.made, 1
                self.kept = {key: Kept(entry, self.ends.get(key, 0)) for key, entry in answered.items()}
                return 0, self.session_id, answered
            return 0, 0, answered
        if session_id != self.session_id or not session_id:
            return Code.FETCH_SESSION_ID_NOT_FOUND, 0, {}
        if epoch != self.epoch:
            return Code.INVALID_FETCH_SESSION_EPOCH, 0, {}
        for entry in request.partitions:
            key = (entry.topic, entry.partition)
            self.kept[key] = Kept(entry, self.kept[key].answered_end if key in self.kept else -1)
        for entry in request.forgotten:  # after what is asked
            del self.kept[entry.topic, entry.partition]
        assert self.kept, "a session without partitions ends, and its request is in vain"
        self.epoch = self.epoch % _LAST_EPOCH + 1
        answered = {}
        for key, kept in self.kept.items():
            end = self.ends.get(key, 0)
            if end != kept.answered_end or end > kept.partition.offset:
                answered[key] = kept.partition
                self.kept[key] = kept._replace(answered_end=end)
        return 0, self.session_id, answered


class Sessions(RuleBasedStateMachine):
    """Owners come and go, and the broker forgets."""

    def __init__(self) -> None:
        super().__init__()
        self.broker = ModelBroker()
        self.session: FetchSession[Owner] = FetchSession(12)
        self.wanted: dict[tuple[str, int], tuple[Owner, FetchPartition]] = {}
        self.unanswered: set[tuple[str, int]] = set()

    @initialize(epoch=st.sampled_from([1, _LAST_EPOCH - 1]))
    def begin_late(self, epoch: int) -> None:
        """Epochs end and begin again."""
        self.want(("orders", 0), 0, True)
        self.fetch()
        self.broker.epoch = self.session._epoch = epoch

    @rule(key=_KEYS, offset=st.integers(0, 3), other=st.booleans())
    def want(self, key: tuple[str, int], offset: int, other: bool) -> None:
        owner = self.wanted[key][0] if key in self.wanted and not other else Owner()
        if key not in self.wanted or other:
            self.unanswered.add(key)
        partition = FetchPartition(key[0], _TOPICS[key[0]], key[1], offset, 100)
        self.wanted[key] = owner, partition
        self.session.want(owner, partition)

    @rule(key=_KEYS)
    def drop(self, key: tuple[str, int]) -> None:
        owner, _ = self.wanted.pop(key, (Owner(), None))
        self.unanswered.discard(key)
        self.session.drop(owner, key)

    @rule(key=_KEYS)
    def drop_by_somebody_else(self, key: tuple[str, int]) -> None:
        self.session.drop(Owner(), key)

    @rule(key=_KEYS)
    def renew(self, key: tuple[str, int]) -> None:
        if key in self.wanted:
            self.unanswered.add(key)
        self.session.renew(key)

    @rule(key=_KEYS, more=st.integers(1, 2))
    def write(self, key: tuple[str, int], more: int) -> None:
        self.broker.ends[key] = self.broker.ends.get(key, 0) + more

    @rule()
    def forget_session(self) -> None:
        self.broker.session_id = 0

    @rule()
    def lose_count(self) -> None:
        self.broker.epoch = 7

    @rule(has_room=st.booleans())
    def make_room(self, has_room: bool) -> None:
        self.broker.has_room = has_room
        if not has_room:
            self.broker.session_id = 0

    @rule()
    def break_connection(self) -> None:
        self.session = FetchSession(12, self.session.id)
        for owner, partition in self.wanted.values():
            self.session.want(owner, partition)
        self.unanswered = set(self.wanted)

    @rule()
    def fetch(self) -> None:
        if not self.session.wanted:
            return
        code, session_id, answered = self.broker.fetch(self.session.request())
        if code:
            assert self.session.refused(code)
            return
        self.session.answered(session_id)
        assert len(answered) <= self.session.told
        for key, partition in answered.items():
            asked = self.session.asked(key)
            assert asked is not None
            assert asked.partition == partition
            if key in self.wanted and asked.owner is self.wanted[key][0]:
                self.unanswered.discard(key)

    @invariant()
    def what_is_wanted_is_counted(self) -> None:
        assert self.session.wanted == len(self.wanted)

    def teardown(self) -> None:
        """Nothing changes any more: refused once at most, then told, forgotten and told again."""
        for _ in range(4):
            self.fetch()
        if self.wanted:
            assert not self.unanswered
            assert not self.session.is_behind
            if self.broker.has_room:
                kept = {key: kept.partition for key, kept in self.broker.kept.items()}
                assert kept == {key: partition for key, (_, partition) in self.wanted.items()}


TestSessions = Sessions.TestCase
TestSessions.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_what_others_refuse_is_no_session_that_is_lost() -> None:
    session: FetchSession[Owner] = FetchSession(12)
    session.want(Owner(), FetchPartition("orders", "a" * 32, 0, 0, 1))
    session.request()
    assert not session.refused(Code.FETCH_SESSION_ID_NOT_FOUND)  # there was none
    session.answered(5)
    session.request()
    assert session.refused(Code.FETCH_SESSION_TOPIC_ID_ERROR)
    assert session.request().session == (5, 0)
    session.answered(6)
    session.request()
    assert not session.refused(Code.NOT_LEADER_OR_FOLLOWER)


def test_a_session_that_a_broker_may_fail_at_is_not_named_again() -> None:
    session: FetchSession[Owner] = FetchSession(12, 5)
    session.want(Owner(), FetchPartition("orders", "a" * 32, 0, 0, 1))
    assert session.request().session == (5, 0)
    assert not session.refused(-1)  # UNKNOWN_SERVER_ERROR
    assert FetchSession(12, session.id).request().session == (0, 0)


def test_without_a_session_another_partition_comes_first_each_time() -> None:
    session: FetchSession[Owner] = FetchSession(12)
    for index in range(3):
        session.want(Owner(), FetchPartition("orders", "a" * 32, index, 0, 1))
    firsts = []
    for _ in range(3):
        firsts.append(session.request().partitions[0].partition)
        session.answered(0)
    assert sorted(firsts) == [0, 1, 2]


def test_idle_partitions_are_in_no_request() -> None:
    session: FetchSession[Owner] = FetchSession(13)
    for index in range(1000):
        session.want(Owner(), FetchPartition("orders", "a" * 32, index, 0, 1))
    assert len(session.request().partitions) == 1000
    session.answered(9)
    assert session.request() == ((9, 1), [], [])
