"""Answers of a broker that wants harm, in the messages of kafka-python: refused before the library works on them."""

import struct
import tracemalloc
from typing import Any
from uuid import uuid4

import pytest
from kafka.protocol.admin import DescribeAclsResponse, ListGroupsResponse
from kafka.protocol.metadata.api_versions import ApiVersionsResponse
from kafka.protocol.metadata.metadata import MetadataResponse
from kafka.protocol.sasl import SaslHandshakeResponse

from clusterlink_engine.wire import answers
from clusterlink_engine.wire.primitives import varint

Topic = MetadataResponse.MetadataResponseTopic
VERSION = 12


def metadata(**fields: Any) -> bytes:
    values = {"throttle_time_ms": 0, "brokers": [], "cluster_id": "c", "controller_id": 1, "topics": [], **fields}
    return bytes(MetadataResponse(**values).encode(version=VERSION))


def refused(response: Any, body: bytes, version: int, reason: str) -> None:
    with pytest.raises((ValueError, IndexError, struct.error), match=reason):
        answers.decode(response, memoryview(body), version)


def test_a_good_answer_is_decoded() -> None:
    topic = Topic(error_code=0, name="orders", topic_id=uuid4(), is_internal=False, partitions=[])
    found = answers.decode(MetadataResponse, memoryview(metadata(topics=[topic])), VERSION)
    assert (found.cluster_id, found.topics[0].name) == ("c", "orders")
    assert answers.decode(MetadataResponse, memoryview(metadata(cluster_id=None)), VERSION).cluster_id is None


@pytest.mark.parametrize("missing", ["brokers", "topics"])
def test_a_null_where_there_is_none_is_refused(missing: str) -> None:
    refused(MetadataResponse, metadata(**{missing: None}), VERSION, "null")


def test_a_length_that_goes_back_is_refused() -> None:
    """The library would read the same two bytes two thousand million times."""
    body = struct.pack(">hi", 0, 2**31 - 1) + struct.pack(">h", -2)
    refused(SaslHandshakeResponse, body + bytes(100), 1, "too early")
    refused(SaslHandshakeResponse, struct.pack(">hih", 0, 1, -2), 1, "negative")
    refused(DescribeAclsResponse, struct.pack(">ihhi", 0, 0, -1, -2), 1, "negative")


@pytest.mark.parametrize("count", [2**31, 2**35 - 1])
def test_a_count_beyond_the_bytes_is_refused(count: int) -> None:
    refused(MetadataResponse, struct.pack(">i", 0) + varint(count) + bytes(1000), VERSION, "too early|five bytes")


def test_a_number_without_end_is_refused() -> None:
    refused(MetadataResponse, struct.pack(">i", 0) + b"\xff" * 1_000_000, VERSION, "five bytes")


@pytest.mark.parametrize("kind", ["groups", "numbers"])
def test_a_few_bytes_do_not_become_much_memory(kind: str) -> None:
    if kind == "groups":
        response, version = ListGroupsResponse, 5
        body = struct.pack(">ih", 0, 0) + varint(4_000_001) + b"\x01\x01\x01\x01\0" * 4_000_000 + b"\0"
    else:
        response, version = MetadataResponse, VERSION
        head = struct.pack(">i", 0) + b"\x01\x02c" + struct.pack(">i", 1) + b"\x02" + struct.pack(">h", 0)
        partition = b"\x02" + struct.pack(">hiii", 0, 0, 0, 0) + varint(10_000_001) + bytes(40_000_000)
        body = head + b"\x02t" + bytes(16) + b"\0" + partition + bytes(20)
    tracemalloc.start()
    refused(response, body, version, "memory")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_many_sections_of_tagged_fields_are_refused() -> None:
    """The library copies the rest of the answer for each."""
    group = b"\x01\x01\x01\x01" + b"\x01\x63\x01x"
    body = struct.pack(">ih", 0, 0) + varint(100_001) + group * 100_000 + b"\0"
    refused(ListGroupsResponse, body, 5, "memory")


def test_a_known_tagged_field_has_the_size_that_it_says() -> None:
    """ApiVersions has some; the library reads them wherever they end."""
    features = b"\x01" + b"\x00" + varint(5) + b"\x01\0\0\0\0"  # SupportedFeatures: none, in five bytes
    body = struct.pack(">h", 0) + b"\x01" + struct.pack(">i", 0) + features
    refused(ApiVersionsResponse, body, 3, "longer or shorter")
