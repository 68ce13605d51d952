"""The messages that are coded by hand, against two codecs that were written by others: kafka-python's and kio's."""

import struct
from importlib import import_module
from itertools import groupby
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.protocol.consumer.fetch import FetchRequest, FetchResponse
from kafka.protocol.consumer.offsets import ListOffsetsRequest, ListOffsetsResponse
from kafka.protocol.producer.produce import ProduceRequest, ProduceResponse
from kafka.protocol.producer.transaction import WriteTxnMarkersRequest, WriteTxnMarkersResponse
from kio.serial import entity_reader

from clusterlink_engine.wire import fetch, list_offsets, markers, produce
from clusterlink_engine.wire.primitives import (
    compact_string,
    read_varint,
    skip_compact_bytes,
    skip_tags,
    varint,
)

INT16 = st.integers(-(2**15), 2**15 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
# Codes that all three codecs know; kio refuses others.
CODES = st.sampled_from([-1, 0, 1, 2, 3, 6, 7, 45, 74, 75, 87, 100, 103])
INDEXES = st.integers(0, 2**31 - 1)
NUMBERS = st.tuples(INDEXES, INDEXES, INDEXES)
NAMES = st.text(st.sampled_from("abcXYZ019._-"), min_size=1, max_size=249)
IDS = st.uuids(version=4)
RECORDS = st.binary(max_size=300)
HEADER_TAGS = st.sampled_from([b"\0", b"\x01\x05\x03abc", b"\x02\x00\x00\x7f\x01z"])

_MOST = 1000  # partitions, more than any answer here has

DOCUMENTED = (ValueError, IndexError, struct.error)

FETCH_VERSIONS = pytest.mark.parametrize("version", range(fetch.LOWEST, fetch.HIGHEST + 1))
PRODUCE_VERSIONS = pytest.mark.parametrize("version", range(produce.LOWEST, produce.HIGHEST + 1))

Topic = FetchResponse.FetchableTopicResponse
Data = Topic.PartitionData
Listed = ListOffsetsResponse.ListOffsetsTopicResponse
ProducedTopic = ProduceResponse.TopicProduceResponse
Produced = ProducedTopic.PartitionProduceResponse
Marked = WriteTxnMarkersResponse.WritableTxnMarkerResult


def kio(message: str, version: int, kind: str, data: bytes) -> Any:
    """Decodes with kio; all bytes must be used."""
    name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in message)[1:]
    module = import_module(f"kio.schema.{name}.v{version}.{kind.lower()}")
    value, size = entity_reader(getattr(module, message + kind))(bytes(data), 0)
    assert size == len(data)
    return value


def key(version: int, by_id: int, topic: Any) -> str:
    name = getattr(topic, "topic", None) or getattr(topic, "name", None)
    return str(topic.topic_id.hex if version >= by_id else name)


# Primitives.


@given(st.integers(0, 2**35 - 1), st.binary(max_size=3))
def test_a_varint_comes_back_and_its_end_is_known(value: int, rest: bytes) -> None:
    data = varint(value)
    assert read_varint(memoryview(data + rest), 0) == (value, len(data))


@pytest.mark.parametrize("data", [b"\xff" * 5, b"\x80" * 5 + b"\0"])
def test_a_varint_of_more_than_five_bytes_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="five bytes"):
        read_varint(memoryview(data), 0)


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff\xff\xff"])
def test_a_varint_that_is_cut_off_is_an_index_error(data: bytes) -> None:
    with pytest.raises(IndexError):
        read_varint(memoryview(data), 0)


@given(st.dictionaries(st.integers(0, 300), st.binary(max_size=200), max_size=5), st.text(max_size=200))
def test_tagged_fields_and_strings_are_skipped_to_their_end(tags: dict[int, bytes], text: str) -> None:
    section = varint(len(tags)) + b"".join(varint(tag) + varint(len(value)) + value for tag, value in tags.items())
    data = memoryview(section + compact_string(text) + b"\0rest")
    after = skip_tags(data, 0)
    assert after == len(section)
    assert skip_compact_bytes(data, after) == len(data) - len("\0rest")
    assert skip_compact_bytes(data, len(data) - len("\0rest")) == len(data) - len("rest")  # null


# Fetch.


@st.composite
def fetch_entries(draw: st.DrawFn) -> list[fetch.FetchPartition]:
    topics = draw(st.lists(st.tuples(NAMES, IDS), max_size=5, unique_by=(lambda pair: pair[0], lambda pair: pair[1])))
    return [
        fetch.FetchPartition(
            name, topic_id.hex, draw(INDEXES), draw(st.integers(0, 2**63 - 1)), draw(st.integers(1, 2**31 - 1))
        )
        for name, topic_id in topics
        for _ in range(draw(st.integers(1, 4)))
    ]


@FETCH_VERSIONS
@given(
    entries=fetch_entries(),
    forgotten=fetch_entries(),
    session=st.builds(fetch.Session, INDEXES, INT32),
    numbers=NUMBERS,
)
def test_a_fetch_request_is_what_others_read(
    version: int,
    entries: list[fetch.FetchPartition],
    forgotten: list[fetch.FetchPartition],
    session: fetch.Session,
    numbers: tuple[int, int, int],
) -> None:
    wait, least, most = numbers
    data = fetch.encode(
        version, entries, max_wait_ms=wait, min_bytes=least, max_bytes=most, session=session, forgotten=forgotten
    )
    theirs = FetchRequest.decode(data, version=version)
    assert (theirs.replica_id, theirs.max_wait_ms, theirs.min_bytes, theirs.max_bytes) == (-1, wait, least, most)
    assert (theirs.isolation_level, theirs.session_id, theirs.session_epoch) == (1, *session)
    assert theirs.rack_id == ""
    second = kio("Fetch", version, "Request", data)
    for decoded in (theirs, second):
        assert decoded.isolation_level == 1
        assert [
            (key(version, 13, topic), partition)
            for topic in decoded.forgotten_topics_data
            for partition in topic.partitions
        ] == [entry.key(version) for entry in forgotten]
        assert [
            (key(version, 13, topic), p.partition, p.fetch_offset, p.partition_max_bytes)
            for topic in decoded.topics
            for p in topic.partitions
        ] == [
            (entry.topic_id if version >= 13 else entry.topic, entry.partition, entry.offset, entry.max_bytes)
            for entry in entries
        ]
        assert {
            (p.current_leader_epoch, p.last_fetched_epoch, p.log_start_offset)
            for topic in decoded.topics
            for p in topic.partitions
        } <= {(-1, -1, -1)}
    assert len(theirs.topics) == len(list(groupby(entries, key=lambda entry: entry.topic)))


def test_a_fetch_request_is_of_no_session_unless_it_is_said() -> None:
    theirs = FetchRequest.decode(fetch.encode(12, [], max_wait_ms=0, min_bytes=0, max_bytes=1), version=12)
    assert (theirs.session_id, theirs.session_epoch, theirs.forgotten_topics_data) == (0, -1, [])


@st.composite
def fetched(draw: st.DrawFn) -> Any:
    aborted = st.builds(Data.AbortedTransaction, producer_id=INT64, first_offset=INT64)
    partitions = st.builds(
        Data,
        partition_index=INDEXES,
        error_code=CODES,
        high_watermark=INT64,
        last_stable_offset=INT64,
        log_start_offset=INT64,
        diverging_epoch=st.none() | st.builds(Data.EpochEndOffset, epoch=INT32, end_offset=INT64),
        current_leader=st.none() | st.builds(Data.LeaderIdAndEpoch, leader_id=INT32, leader_epoch=INT32),
        snapshot_id=st.none() | st.builds(Data.SnapshotId, end_offset=INT64, epoch=INT32),
        aborted_transactions=st.none() | st.lists(aborted, max_size=3),
        preferred_read_replica=INT32,
        records=st.none() | RECORDS,
    )
    topics = st.builds(Topic, topic=NAMES, topic_id=IDS, partitions=st.lists(partitions, max_size=3))
    return FetchResponse(
        throttle_time_ms=draw(INDEXES),
        error_code=draw(CODES),
        session_id=draw(INDEXES),
        responses=draw(st.lists(topics, max_size=3)),
    )


@FETCH_VERSIONS
@given(answer=fetched(), tags=HEADER_TAGS)
def test_a_fetch_answer_is_read_as_others_wrote_it(version: int, answer: Any, tags: bytes) -> None:
    data = bytes(answer.encode(version=version))
    ours = fetch.decode(version, memoryview(bytearray(tags + data)), _MOST)
    second = kio("Fetch", version, "Response", data)
    assert (ours.throttle_ms, ours.error) == (answer.throttle_time_ms, answer.error_code)
    assert ours.session_id == answer.session_id
    assert second.error_code == answer.error_code
    for topics in (answer.responses, second.responses):
        assert [
            (
                key(version, 13, topic),
                p.partition_index,
                int(p.error_code),
                p.high_watermark,
                p.last_stable_offset,
                p.log_start_offset,
                bytes(p.records or b""),
            )
            for topic in topics
            for p in topic.partitions
        ] == [(*entry[:6], bytes(entry.records)) for entry in ours.partitions]
    assert not any(entry.records.readonly for entry in ours.partitions)


@FETCH_VERSIONS
@given(answer=fetched())
def test_more_partitions_than_were_asked_for_are_refused(version: int, answer: Any) -> None:
    data = memoryview(b"\0" + bytes(answer.encode(version=version)))
    count = len(fetch.decode(version, data, _MOST).partitions)
    assert len(fetch.decode(version, data, count).partitions) == count
    if count:
        with pytest.raises(ValueError, match="more partitions"):
            fetch.decode(version, data, count - 1)


@FETCH_VERSIONS
@given(answer=fetched(), data=st.data())
def test_a_fetch_answer_that_is_cut_off_is_an_error(version: int, answer: Any, data: st.DataObject) -> None:
    whole = b"\0" + bytes(answer.encode(version=version))
    cut = memoryview(whole)[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        ours = fetch.decode(version, cut, _MOST)
    except DOCUMENTED:
        return
    assert len(whole) - len(cut) <= 2, "something that means nothing was missing, at most"
    assert ours == fetch.decode(version, memoryview(whole), _MOST)


@FETCH_VERSIONS
@given(data=st.binary(max_size=300))
def test_random_bytes_are_no_fetch_answer_or_an_empty_one(version: int, data: bytes) -> None:
    try:
        ours = fetch.decode(version, memoryview(bytearray(data)), _MOST)
    except DOCUMENTED:
        return
    assert sum(len(entry.records) for entry in ours.partitions) <= len(data)


# ListOffsets.

LIST_OFFSETS_VERSIONS = pytest.mark.parametrize("version", range(list_offsets.LOWEST, list_offsets.HIGHEST + 1))
OFFSET_TOPICS = st.dictionaries(NAMES, st.lists(INDEXES, min_size=1, max_size=5), max_size=4)


@LIST_OFFSETS_VERSIONS
@given(topics=OFFSET_TOPICS, timestamp=INT64, replica_id=INT32, isolation=st.sampled_from([0, 1]))
def test_a_list_offsets_request_is_what_others_read(
    version: int, topics: dict[str, list[int]], timestamp: int, replica_id: int, isolation: int
) -> None:
    data = list_offsets.encode(version, topics, timestamp=timestamp, replica_id=replica_id, isolation=isolation)
    for decoded in (ListOffsetsRequest.decode(data, version=version), kio("ListOffsets", version, "Request", data)):
        assert (int(decoded.replica_id), int(decoded.isolation_level)) == (replica_id, isolation)
        assert {topic.name: [p.partition_index for p in topic.partitions] for topic in decoded.topics} == topics
        assert {(p.current_leader_epoch, p.timestamp) for topic in decoded.topics for p in topic.partitions} <= {
            (-1, timestamp)
        }


@st.composite
def listed(draw: st.DrawFn) -> Any:
    partitions = st.builds(
        Listed.ListOffsetsPartitionResponse,
        partition_index=INDEXES,
        error_code=CODES,
        timestamp=INT64,
        offset=INT64,
        leader_epoch=INT32,
    )
    topics = st.builds(Listed, name=NAMES, partitions=st.lists(partitions, max_size=3))
    return ListOffsetsResponse(throttle_time_ms=draw(INDEXES), topics=draw(st.lists(topics, max_size=3)))


@LIST_OFFSETS_VERSIONS
@given(answer=listed(), tags=HEADER_TAGS, data=st.data())
def test_a_list_offsets_answer_is_read_as_others_wrote_it(
    version: int, answer: Any, tags: bytes, data: st.DataObject
) -> None:
    whole = (tags if version >= list_offsets.FLEXIBLE else b"") + bytes(answer.encode(version=version))
    expected = [
        (topic.name, p.partition_index, p.offset, int(p.error_code))
        for topic in answer.topics
        for p in topic.partitions
    ]
    assert list_offsets.decode(version, memoryview(whole), len(expected)) == expected
    if expected:
        with pytest.raises(ValueError, match="more partitions"):
            list_offsets.decode(version, memoryview(whole), len(expected) - 1)
    cut = memoryview(whole)[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        assert list_offsets.decode(version, cut, len(expected)) == expected
    except DOCUMENTED:
        return
    assert len(whole) - len(cut) <= 2, "something that means nothing was missing, at most"


@LIST_OFFSETS_VERSIONS
@given(data=st.binary(max_size=300))
def test_random_bytes_are_no_list_offsets_answer_or_few_offsets(version: int, data: bytes) -> None:
    try:
        assert len(list_offsets.decode(version, memoryview(data), 10)) <= 10
    except DOCUMENTED:
        return


# Produce.


@st.composite
def produce_entries(draw: st.DrawFn) -> list[produce.ProducePartition]:
    topics = draw(st.lists(st.tuples(NAMES, IDS), max_size=5, unique_by=(lambda pair: pair[0], lambda pair: pair[1])))
    return [
        produce.ProducePartition(name, topic_id.hex, draw(INDEXES), memoryview(draw(RECORDS.filter(bool))))
        for name, topic_id in topics
        for _ in range(draw(st.integers(1, 4)))
    ]


@PRODUCE_VERSIONS
@given(entries=produce_entries(), timeout=INDEXES)
def test_a_produce_request_is_what_others_read(
    version: int, entries: list[produce.ProducePartition], timeout: int
) -> None:
    buffers = produce.encode(version, entries, timeout_ms=timeout)
    assert [part for part in buffers if isinstance(part, memoryview)] == [entry.batch for entry in entries]
    data = b"".join(buffers)
    theirs = ProduceRequest.decode(data, version=version)
    assert (theirs.transactional_id, theirs.acks, theirs.timeout_ms) == (None, -1, timeout)
    second = kio("Produce", version, "Request", data)
    assert (second.transactional_id, second.acks) == (None, -1)
    for decoded in (theirs, second):
        assert [
            (key(version, 13, topic), p.index, bytes(p.records))
            for topic in decoded.topic_data
            for p in topic.partition_data
        ] == [
            (entry.topic_id if version >= 13 else entry.topic, entry.partition, bytes(entry.batch)) for entry in entries
        ]
    assert len(theirs.topic_data) == len(list(groupby(entries, key=lambda entry: entry.topic)))


@st.composite
def produced(draw: st.DrawFn, version: int) -> Any:
    details = st.builds(
        Produced.BatchIndexAndErrorMessage,
        batch_index=INT32,
        batch_index_error_message=st.none() | st.text(max_size=40),
    )
    leader = st.none() | st.builds(Produced.LeaderIdAndEpoch, leader_id=INT32, leader_epoch=INT32)
    partitions = st.builds(
        Produced,
        index=INDEXES,
        error_code=CODES,
        base_offset=INT64,
        log_append_time_ms=st.just(-1) | st.integers(0, 2**41),
        log_start_offset=INT64,
        record_errors=st.lists(details, max_size=3),
        error_message=st.none() | st.text(max_size=200),
        current_leader=leader if version >= 10 else st.none(),
    )
    topics = st.builds(ProducedTopic, name=NAMES, topic_id=IDS, partition_responses=st.lists(partitions, max_size=3))
    return ProduceResponse(responses=draw(st.lists(topics, max_size=3)), throttle_time_ms=draw(INDEXES))


@PRODUCE_VERSIONS
@given(data=st.data(), tags=HEADER_TAGS)
def test_a_produce_answer_is_read_as_others_wrote_it(version: int, data: st.DataObject, tags: bytes) -> None:
    answer = data.draw(produced(version))
    encoded = bytes(answer.encode(version=version))
    ours = produce.decode(version, memoryview(tags + encoded))
    second = kio("Produce", version, "Response", encoded)
    for topics in (answer.responses, second.responses):
        assert [
            (key(version, 13, topic), p.index, int(p.error_code), p.base_offset, p.error_message or "")
            for topic in topics
            for p in topic.partition_responses
        ] == ours.partitions
    assert ours.throttle_ms == answer.throttle_time_ms


@PRODUCE_VERSIONS
@given(data=st.data())
def test_a_produce_answer_that_is_cut_off_is_an_error(version: int, data: st.DataObject) -> None:
    answer = data.draw(produced(version))
    whole = b"\0" + bytes(answer.encode(version=version))
    cut = memoryview(whole)[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        ours = produce.decode(version, cut)
    except DOCUMENTED:
        return
    assert len(whole) - len(cut) <= 2, "what means nothing was missing, at most"
    assert ours == produce.decode(version, memoryview(whole))


@PRODUCE_VERSIONS
@given(data=st.binary(max_size=300))
def test_random_bytes_are_no_produce_answer_or_a_short_one(version: int, data: bytes) -> None:
    try:
        ours = produce.decode(version, memoryview(data))
    except DOCUMENTED:
        return
    assert len(ours.partitions) <= len(data)


# WriteTxnMarkers.

PARTITIONS = st.lists(st.tuples(NAMES, INDEXES), min_size=1, max_size=5, unique=True)
MARKERS = st.builds(markers.Marker, INT64, INT16, INT32, PARTITIONS.map(tuple))


@given(st.lists(MARKERS, max_size=4))
def test_a_request_for_markers_is_what_others_read(written: list[markers.Marker]) -> None:
    data = markers.encode(written)
    version = markers.HIGHEST
    theirs = WriteTxnMarkersRequest.decode(data, version=version)
    for decoded in (theirs, kio("WriteTxnMarkers", version, "Request", data)):
        assert [
            (
                marker.producer_id,
                marker.producer_epoch,
                marker.coordinator_epoch,
                [(topic.name, index) for topic in marker.topics for index in topic.partition_indexes],
            )
            for marker in decoded.markers
        ] == [(*marker[:3], sorted(marker.partitions)) for marker in written]
        assert not any(marker.transaction_result for marker in decoded.markers), "they end what never was"


@given(MARKERS)
def test_a_marker_names_no_partition_twice(marker: markers.Marker) -> None:
    with pytest.raises(ValueError, match="twice"):
        markers.encode([marker._replace(partitions=(*marker.partitions, marker.partitions[0]))])


@st.composite
def marked(draw: st.DrawFn) -> Any:
    topic_class = Marked.WritableTxnMarkerTopicResult
    partition_class = topic_class.WritableTxnMarkerPartitionResult
    partitions = st.builds(partition_class, partition_index=st.integers(0, 3), error_code=CODES)
    topics = st.builds(topic_class, name=st.sampled_from("ab"), partitions=st.lists(partitions, max_size=3))
    results = st.builds(Marked, producer_id=INT64, topics=st.lists(topics, max_size=3))
    return WriteTxnMarkersResponse(markers=draw(st.lists(results, max_size=3)))


@given(answer=marked(), tags=HEADER_TAGS, data=st.data())
def test_an_answer_of_markers_is_read_as_others_wrote_it(answer: Any, tags: bytes, data: st.DataObject) -> None:
    """An error of one of several entries for a partition is not lost."""
    whole = tags + bytes(answer.encode(version=markers.HIGHEST))
    codes: dict[tuple[str, int], int] = {}
    for result in answer.markers:
        for topic in result.topics:
            for partition in topic.partitions:
                place = (topic.name, partition.partition_index)
                codes[place] = codes.get(place) or int(partition.error_code)
    assert markers.decode(memoryview(whole), list(codes)) == codes
    with pytest.raises(ValueError, match="nothing of c-7"):
        markers.decode(memoryview(whole), [*codes, ("c", 7)])
    cut = memoryview(whole)[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        assert markers.decode(cut, list(codes)) == codes
    except DOCUMENTED:
        return
    assert len(whole) - len(cut) <= 3, "something that means nothing was missing, at most"


@given(st.binary(max_size=300))
def test_random_bytes_are_no_answer_of_markers_or_one_of_few(data: bytes) -> None:
    try:
        assert len(markers.decode(memoryview(data), [])) <= len(data)
    except DOCUMENTED:
        return


def test_ids_and_names_do_not_mix() -> None:
    """A version that asks by id must not carry the name, and the other way round."""
    topic_id = "0123456789abcdef" * 2
    entry = fetch.FetchPartition("orders", topic_id, 0, 0, 1)
    by_name, by_id = (fetch.encode(v, [entry], max_wait_ms=0, min_bytes=0, max_bytes=1) for v in (12, 13))
    assert b"orders" in by_name
    assert UUID(topic_id).bytes not in by_name
    assert b"orders" not in by_id
    assert UUID(topic_id).bytes in by_id
