"""Damaged requests to the API of a real engine: each is answered with a status that is no crash, and the state stays whole."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_proto import v1
from tests.support import topics
from tests.support.engine import EngineProcess
from tests.support.mutation import mutated

StartEngine = Callable[..., EngineProcess]

_AT_ONCE = 8
_SECONDS = 20.0
_LINK, _TOPIC = "link", "orders"

_TEXTS = (
    *(
        "",
        " ",
        ".",
        "..",
        "_",
        "\x00",
        "\x1b[2J\x1b]0;x\x07",
        "a\nb\r\nERROR fake",
        "\u202egnp.exe",
        "\ud7ff",
        "é" * 40,
    ),
    *(
        "a" * 249,
        "a" * 250,
        "x" * 100_000,
        "漢" * 5000,
        "-1",
        "1e999",
        "NaN",
        "9" * 5000,
        "*",
        "%s%n{0}",
        "../../etc/passwd",
    ),
    *(_LINK, _TOPIC, "2024-02-30T25:61:61Z", "127.0.0.1:0", "127.0.0.1:99999", ":9092", "[::1]:1", "127.0.0.1:1"),
)
_NUMBERS = (0, 1, -1, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63))


def _methods() -> dict[str, type[Message]]:
    """The path of each method, and its request."""
    return {
        f"/{service.full_name}/{method.name}": getattr(v1, method.input_type.name)
        for service in v1.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


def _fill(randomness: random.Random, message: Any, bootstrap: str, part: float, depth: int = 0) -> None:
    """Gives some fields of a message values, good ones and hostile ones."""
    for field in message.DESCRIPTOR.fields:
        if randomness.random() < part and depth < 5:
            _fill_field(randomness, message, field, bootstrap, part, depth)


def _fill_field(
    randomness: random.Random, message: Any, field: FieldDescriptor, bootstrap: str, part: float, depth: int
) -> None:
    times = randomness.choice((1, 1, 2, 300)) if field.is_repeated else 1
    for _ in range(times if depth < 2 else min(times, 2)):
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)[_value(randomness, field.message_type.fields[0], bootstrap)] = (
                randomness.choice(_TEXTS)
            )
        elif field.message_type is not None:
            child = getattr(message, field.name).add() if field.is_repeated else getattr(message, field.name)
            child.SetInParent()
            _fill(randomness, child, bootstrap, max(part, 0.3), depth + 1)
        elif field.is_repeated:
            getattr(message, field.name).append(_value(randomness, field, bootstrap))
        else:
            setattr(message, field.name, _value(randomness, field, bootstrap))


def _value(randomness: random.Random, field: FieldDescriptor, bootstrap: str) -> Any:
    if field.type == FieldDescriptor.TYPE_STRING:
        good = {
            "bootstrap_servers": bootstrap,
            "link": _LINK,
            "source_topic": _TOPIC,
            "name": randomness.choice((_LINK, _TOPIC)),
        }
        return good[field.name] if field.name in good and randomness.random() < 0.6 else randomness.choice(_TEXTS)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return randomness.randbytes(20)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return randomness.random() < 0.5
    if field.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return randomness.choice((float("nan"), float("inf"), -0.0, 1e300))
    if field.type == FieldDescriptor.TYPE_ENUM:
        return randomness.choice((0, 1, 2, -1, 99, 2**31 - 1))
    number = randomness.choice(_NUMBERS)
    unsigned = field.type in (FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_UINT64)
    narrow = field.type in (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_UINT32)
    return (
        (abs(number) if unsigned else number) % 2**31
        if narrow and abs(number) > 2**31 - 1
        else abs(number) % 2**63
        if unsigned
        else number
    )


def _make_good(message: Any, bootstrap: str) -> None:
    """Gives a request what it needs to be carried out, but for another that came before."""
    fields = message.DESCRIPTOR.fields_by_name
    if "mirror_topic" in fields:
        message.mirror_topic.CopyFrom(v1.MirrorTopic(link=_LINK, source_topic=_TOPIC, name=_TOPIC))
    elif "link" in fields and fields["link"].message_type is not None:
        remote = v1.RemoteCluster(bootstrap_servers=[bootstrap])
        message.link.CopyFrom(v1.Link(name=_LINK, remote_cluster=remote))
    elif "name" in fields:
        message.name = _TOPIC if "link" in fields else _LINK
    if "topic_disposal" in fields:
        message.topic_disposal = v1.TOPIC_DISPOSAL_DELETE_TOPIC


def _request(randomness: random.Random, kind: type[Message], bootstrap: str) -> bytes:
    message: Any = kind()
    if randomness.random() < 0.5:
        _make_good(message, bootstrap)
        _fill(randomness, message, bootstrap, 0.03)
    else:
        _fill(randomness, message, bootstrap, 0.5)
    data = message.SerializeToString()
    return mutated(randomness, data) if randomness.random() < 0.4 else data


def _call(channel: grpc.Channel, bootstrap: str, seed: int, case: int) -> tuple[str, grpc.StatusCode, str]:
    randomness = random.Random(f"{seed}-{case}")
    path, kind = randomness.choice(list(_methods().items()))
    try:
        channel.unary_unary(path, None, None)(_request(randomness, kind, bootstrap), timeout=_SECONDS)
    except grpc.RpcError as error:
        status: Any = error
        return path, status.code(), status.details()
    return path, grpc.StatusCode.OK, ""


def _stored(engine: EngineProcess) -> tuple[list[bytes], list[tuple[str, str, str]]]:
    """What the state says: links but for what changes by itself, and mirror topics."""
    with engine.api() as api:
        links = list(api.links.ListLinks(v1.ListLinksRequest(), timeout=60).links)
        mirrors = api.mirror_topics.ListMirrorTopics(v1.ListMirrorTopicsRequest(), timeout=60).mirror_topics
    for link in links:
        for field in ("state", "state_since", "error", "error_message", "tasks", "gap_filling", "write_guard"):
            link.ClearField(field)
    return [link.SerializeToString(deterministic=True) for link in links], [
        (m.name, m.link, m.source_topic) for m in mirrors
    ]


@pytest.fixture
def engine(source_cluster: KafkaCluster, start_engine: StartEngine) -> Iterator[EngineProcess]:
    topics.create(source_cluster.bootstrap_servers, _TOPIC, partitions=2)
    running = start_engine(settings={"api": {"max_calls_per_second": 100_000}})
    running.create_link(_LINK, source_cluster.bootstrap_servers)
    yield running
    topics.delete(source_cluster.bootstrap_servers, _TOPIC)


@pytest.mark.parametrize(
    ("seed", "cases"), [(0, 1500), *(pytest.param(seed, 100_000, marks=pytest.mark.slow) for seed in (1, 2))]
)
def test_damaged_requests(engine: EngineProcess, source_cluster: KafkaCluster, seed: int, cases: int) -> None:
    bootstrap = source_cluster.bootstrap_servers
    outcomes: Counter[str] = Counter()
    done: Counter[str] = Counter()
    with grpc.insecure_channel(engine.endpoint) as channel, ThreadPoolExecutor(_AT_ONCE) as pool:
        calls = pool.map(lambda case: _call(channel, bootstrap, seed, case), range(cases))
        for case, (path, code, details) in enumerate(calls):
            outcomes[code.name] += 1
            done[path] += code is grpc.StatusCode.OK
            wrong = f"seed {seed}, case {case}: {path} was answered with {code.name}: {details}"
            assert code not in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL), wrong
            assert details.isprintable(), wrong
    print(dict(outcomes), dict(done))
    assert outcomes["OK"] > cases / 50
    assert outcomes["INVALID_ARGUMENT"] > cases / 20
    before = _stored(engine)
    engine.stop()
    engine.start()
    assert _stored(engine) == before
    assert "a bug in the engine" not in engine.log()
    assert "\x1b" not in engine.log()
