"""The core against a model of a broker's log, with faults in any order: a batch never comes to another offset than its own."""

from itertools import accumulate, cycle

from hypothesis import given, settings
from hypothesis import strategies as st

from clusterlink_engine.mirror.batches import CONTROL_BIT, BatchHeader
from clusterlink_engine.mirror.partition import WINDOW, Phase
from clusterlink_engine.model.states import MirrorError
from tests.property.broker_model import MARKER, MODULUS, Broker, Entry, Writer, kept

_WORK = ["fetch", "send", "send", "arrive", "answer", "probe", "probe"]
_LOSS = ["cut", "stale", "lose_again", "watch", "commit"]
_ROUNDS = 2000

Event = tuple[str, int, int]


def _source(start: int, counts: list[int]) -> list[BatchHeader]:
    ends = list(accumulate(counts, initial=start))
    return [
        BatchHeader(base, base + count - 1, count, 0, 2, 100, -1, -1, -1)
        for base, count in zip(ends, counts, strict=False)
    ]


def _events(kinds: list[str]) -> st.SearchStrategy[list[Event]]:
    """Events as bytes: quick to draw, and they shrink well."""

    def event(byte: int) -> Event:
        rest, kind = divmod(byte, len(kinds))
        amount, number = divmod(rest, 3)
        return kinds[kind], number, amount

    return st.binary(min_size=40, max_size=200).map(lambda data: [event(byte) for byte in data])


# How many records the mirror has at the beginning: none, or so many that sequences wrap soon.
_STARTS = st.sampled_from([0, MODULUS - 6])
_COUNTS = st.lists(st.integers(1, 4), min_size=8, max_size=25)


# How many batches each fetch merges at most: none, or another number each time, so that whoever takes over cuts differently.
_CUTS = st.just([1]) | st.lists(st.integers(1, 10), min_size=2, max_size=6)


def _begin(start: int, counts: list[int], writers: int, cuts: list[int]) -> tuple[Broker, list[Writer]]:
    broker = Broker()
    if start:
        copied = Entry(0, start, 0, 0)
        broker.epoch = 0
        broker.entries.append(copied)
        broker.remembered.append(copied)
    broker.watermark = broker.end
    source = _source(start, counts)
    cutting = cycle(cuts)
    begun = [Writer(broker, source, cuts=cutting) for _ in range(writers)]
    for writer in begun:
        for step in (writer.probe, writer.probe, writer.probe, writer.fetch):
            step()
    return broker, begun


def _happen(event: Event, broker: Broker, writers: list[Writer]) -> None:  # noqa: C901 - a table, in truth
    kind, number, amount = event
    writer = writers[number % len(writers)]
    match kind:
        case "cut":
            if writer.in_flight:
                writer.cut(amount)
        case "reconnect":
            if writer.in_flight:
                writer.cut(amount)
                if amount % 2:
                    writer.cut(amount)  # and then the leader moves
            for step in (*[writer.probe] * 4, writer.fetch, writer.send, writer.arrive):
                step()
        case "forget_and_stale":
            broker.forget()
            writer.apply_stale()
        case "lose_again":
            writer.cut(amount)
        case "send":
            for _ in range(amount + 1):
                writer.send()
        case "stale":
            writer.apply_stale()
        case "commit":
            broker.watermark = broker.end
        case "foreign":
            broker.foreign(amount + 1)
        case "forget":
            broker.forget()
        case "restart":
            if not writer.in_flight:
                writer.restart()
        case "succeed":
            writers[number % len(writers)] = writer.succeed()
        case "forget_and_restart":
            if not writer.in_flight:
                writer.restart()
                broker.forget()
        case "truncate":
            quiet = not any(other.in_flight or other.stale for other in writers)
            if quiet and len(broker.remembered) > 1:
                broker.truncate()
        case "truncate_and_lose":
            # No leader loses records without a restart or another one's election, and both break connections.
            if not any(other.in_flight or other.stale for other in writers) and len(broker.entries) > 1:
                broker.truncate()
                for other in writers:
                    other.cut(0)
        case _:
            getattr(writer, kind)()


def _finish(broker: Broker, writers: list[Writer]) -> None:
    """No more faults: everything under way arrives, and all writers come to rest."""
    for _ in range(_ROUNDS):
        for writer in writers:
            writer.work()
        if all(writer.is_done for writer in writers):
            break
    else:
        raise AssertionError(f"never done: {[writer.partition for writer in writers]}")
    for writer in writers:
        for step in (writer.watch, *[writer.probe] * 8):
            step()


def _assert_exact(broker: Broker, source: list[BatchHeader], writers: list[Writer]) -> None:
    assert [writer.partition.failure for writer in writers] == [None] * len(writers)
    assert broker.misplaced == 0
    copied = [entry for entry in broker.entries if entry.base >= source[0].base_offset]
    ends = {batch.last_offset + 1 for batch in source}
    assert {entry.base + entry.size for entry in copied} <= ends
    assert sum(entry.size for entry in copied) == sum(batch.records for batch in source)
    assert broker.end == max(ends)


@settings(max_examples=150)
@given(
    start=_STARTS,
    counts=_COUNTS,
    cuts=_CUTS,
    number=st.integers(1, 3),
    events=_events([*_WORK, *_LOSS, "refuse", "doubt", "restart", "truncate"]),
)
def test_uncoordinated_writers_with_every_fault_leave_an_exact_log(
    start: int, counts: list[int], cuts: list[int], number: int, events: list[Event]
) -> None:
    broker, writers = _begin(start, counts, number, cuts)
    for event in events:
        _happen(event, broker, writers)
        assert broker.misplaced == 0
    _finish(broker, writers)
    _assert_exact(broker, writers[0].source, writers)


@settings(max_examples=400)
@given(
    start=_STARTS,
    counts=_COUNTS,
    cuts=_CUTS,
    events=_events([*_WORK, *_LOSS, "reconnect", "doubt", "restart", "forget", "forget_and_stale"]),
)
def test_a_broker_that_forgets_at_any_time_does_not_shift_the_only_writer(
    start: int, counts: list[int], cuts: list[int], events: list[Event]
) -> None:
    broker, writers = _begin(start, counts, 1, cuts)
    for event in events:
        _happen(event, broker, writers)
        assert broker.misplaced == 0
    _finish(broker, writers)
    _assert_exact(broker, writers[0].source, writers)


@settings(max_examples=150)
@given(
    start=_STARTS, counts=_COUNTS, cuts=_CUTS, events=_events([*_WORK, *_LOSS, "refuse", "doubt", "forget_and_restart"])
)
def test_a_restart_after_the_broker_forgot_is_exact_whatever_is_refused(
    start: int, counts: list[int], cuts: list[int], events: list[Event]
) -> None:
    broker, writers = _begin(start, counts, 1, cuts)
    for event in events:
        _happen(event, broker, writers)
        assert broker.misplaced == 0
    _finish(broker, writers)
    _assert_exact(broker, writers[0].source, writers)


@settings(max_examples=150)
@given(
    start=_STARTS,
    counts=_COUNTS,
    cuts=_CUTS,
    number=st.integers(1, 2),
    before=_events([*_WORK, *_LOSS, "doubt"]),
    foreign=st.integers(0, 3),
    after=_events([*_WORK, *_LOSS, "doubt", "foreign"]),
)
def test_a_foreign_write_shifts_what_is_in_flight_at_most_and_is_found(
    start: int, counts: list[int], cuts: list[int], number: int, before: list[Event], foreign: int, after: list[Event]
) -> None:
    broker, writers = _begin(start, counts, number, cuts)
    for event in before:
        _happen(event, broker, writers)
    assert broker.misplaced == 0
    broker.foreign(foreign + 1)
    for event in after:
        _happen(event, broker, writers)
    _finish(broker, writers)
    assert broker.misplaced <= WINDOW * number
    for writer in writers:
        assert writer.partition.phase is Phase.FAILED, writer.partition
        assert writer.partition.failure is not None
        assert writer.partition.failure.error is MirrorError.FOREIGN_WRITE
    exact = [entry for entry in broker.entries if entry.base < (broker.foreign_from or 0)]
    assert all(entry.base == entry.source for entry in exact)


@settings(max_examples=150)
@given(
    start=_STARTS,
    counts=_COUNTS,
    cuts=_CUTS,
    before=_events([*_WORK, *_LOSS, "doubt", "forget", "restart"]),
    foreign=st.integers(0, 3),
    after=_events([*_WORK, *_LOSS, "doubt", "forget", "restart", "foreign"]),
)
def test_a_foreign_write_is_found_even_if_the_broker_forgets(
    start: int, counts: list[int], cuts: list[int], before: list[Event], foreign: int, after: list[Event]
) -> None:
    """The last batch tells: it is somebody else's, or ours at another offset than its sequence says."""
    broker, writers = _begin(start, counts, 1, cuts)
    for event in before:
        _happen(event, broker, writers)
    assert broker.misplaced == 0
    broker.foreign(foreign + 1)
    for event in after:
        _happen(event, broker, writers)
    _finish(broker, writers)
    assert broker.misplaced <= WINDOW
    failure = writers[0].partition.failure
    assert failure is not None
    assert failure.error is MirrorError.FOREIGN_WRITE


# What a log can hold, one letter a batch: whole ones of 1 to 4 records, one with every second record of 5, a marker, a hole
# of 3 before a whole one, and an emptied batch of 2.
_KINDS = st.lists(st.sampled_from("1234hm_e"), min_size=8, max_size=25)


def _log(start: int, kinds: list[str]) -> list[BatchHeader]:
    batches: list[BatchHeader] = []
    base = start
    for kind in kinds:
        size = {"h": 5, "m": 1, "_": 1, "e": 2}.get(kind) or int(kind)
        base += 3 if kind == "_" else 0
        records = {"h": 3, "e": 0}.get(kind, size)
        attributes = CONTROL_BIT if kind == "m" else 0
        batches.append(
            BatchHeader(base, base + size - 1, records, attributes, 2, 100, -1, -1, -1, leader_epoch=len(batches) // 5)
        )
        base += size
    return batches


def _assert_exact_with_gaps(broker: Broker, source: list[BatchHeader], writer: Writer) -> None:
    assert writer.partition.failure is None
    assert broker.misplaced == 0
    start = source[0].base_offset
    visible = broker.visible
    written = [entry for entry in broker.entries if entry.base + entry.size > start]
    filled = [entry.base for entry in written if entry.sequence == MARKER]
    copied = [
        offset for entry in written if entry.sequence != MARKER for offset in range(entry.base, entry.base + entry.size)
    ]
    assert sorted(offset for offset in copied if offset >= start) == sorted(visible)
    assert len(filled) == len(set(filled))
    assert not visible.intersection(filled)
    assert broker.end == source[-1].last_offset + 1


@settings(max_examples=400)
@given(
    start=st.sampled_from([0, 1000]),
    kinds=_KINDS,
    cuts=_CUTS,
    events=_events([*_WORK, *_WORK, *_LOSS, "refuse", "doubt", "restart", "succeed", "truncate_and_lose"]),
)
def test_gaps_are_filled_once_and_data_is_never_shifted_whatever_fails(
    start: int, kinds: list[str], cuts: list[int], events: list[Event]
) -> None:
    broker, writers = _begin_log(start, kinds, cuts)
    for event in events:
        _happen(event, broker, writers)
        assert broker.misplaced == 0
    _finish(broker, writers)
    _assert_exact_with_gaps(broker, writers[0].source, writers[0])


@settings(max_examples=200)
@given(
    kinds=_KINDS,
    cuts=_CUTS,
    events=_events([*_WORK, *_WORK, *_LOSS, "doubt", "restart", "succeed", "forget"]),
)
def test_gaps_are_filled_once_even_if_the_broker_forgets(
    kinds: list[str], cuts: list[int], events: list[Event]
) -> None:
    broker, writers = _begin_log(0, kinds, cuts)
    for event in events:
        _happen(event, broker, writers)
        assert broker.misplaced == 0
    _finish(broker, writers)
    _assert_exact_with_gaps(broker, writers[0].source, writers[0])


@settings(max_examples=200)
@given(
    kinds=_KINDS,
    cuts=_CUTS,
    before=_events([*_WORK, *_WORK, "commit"]),
    foreign=st.integers(0, 3),
    after=_events([*_WORK, *_WORK, "commit", "watch"]),
)
def test_a_foreign_write_is_found_in_a_log_with_gaps(
    kinds: list[str], cuts: list[int], before: list[Event], foreign: int, after: list[Event]
) -> None:
    """Unless, in the same moment, a connection breaks, and as many markers are lost as somebody else wrote."""
    broker, writers = _begin_log(0, kinds, cuts)
    for event in before:
        _happen(event, broker, writers)
    broker.foreign(foreign + 1)
    for event in after:
        _happen(event, broker, writers)
    _finish(broker, writers)
    failure = writers[0].partition.failure
    assert failure is not None
    assert failure.error is MirrorError.FOREIGN_WRITE


def _begin_log(start: int, kinds: list[str], cuts: list[int]) -> tuple[Broker, list[Writer]]:
    broker, writers = _begin(start, [1], 1, cuts)
    source = _log(start, kinds)
    broker.visible = frozenset(offset for batch in source for offset in kept(batch))
    writers = [Writer(broker, source, cuts=cycle(cuts))]
    for step in (writers[0].probe, writers[0].probe, writers[0].probe, writers[0].fetch):
        step()
    return broker, writers
