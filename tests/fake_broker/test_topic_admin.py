"""The administration of topics, asked of a broker that answers damage: that is an error with a name, and never a crash."""

import asyncio
from collections.abc import Callable

import pytest
from kafka.protocol.admin import DescribeConfigsResponse, IncrementalAlterConfigsResponse

from clusterlink_engine.errors import BrokerRefusedError, KafkaError, ProtocolViolationError
from clusterlink_engine.wire.cluster import Cluster
from clusterlink_engine.wire.topic_admin import TopicAdmin
from tests.fake_broker.broker import TOPIC, FakeBroker, Request, frame

_DESCRIBE_CONFIGS, _INCREMENTAL_ALTER_CONFIGS = 32, 44
_VALUE = b"value-of-a-setting"


@pytest.fixture
def admin(broker: FakeBroker, cluster: Cluster) -> TopicAdmin:
    broker.offered |= {_DESCRIBE_CONFIGS: (1, 4), _INCREMENTAL_ALTER_CONFIGS: (0, 1)}
    return TopicAdmin(cluster)


def described(*names: str, error: int = 0, damage: Callable[[bytes], bytes] = bytes) -> Callable[..., object]:
    """Answers the settings of topics, after `damage`."""
    result = DescribeConfigsResponse.DescribeConfigsResult
    setting = result.DescribeConfigsResourceResult

    async def handle(_: FakeBroker, request: Request, writer: asyncio.StreamWriter) -> None:
        common = {"read_only": False, "is_sensitive": False, "synonyms": [], "documentation": None}
        configs = [
            setting(name="segment.bytes", value=_VALUE.decode(), config_source=1, config_type=5, **common),
            setting(name="cleanup.policy", value="delete", config_source=5, config_type=7, **common),
            setting(name="secret", value=None, config_source=1, config_type=9, **common),
        ]
        results = [
            result(error_code=error, error_message="no\x1b", resource_type=2, resource_name=name, configs=configs)
            for name in names
        ]
        body = DescribeConfigsResponse(throttle_time_ms=0, results=results).encode(version=request.version)
        writer.write(frame(request.correlation, b"\0" + damage(bytes(body))))

    return handle


async def test_settings_are_read_and_those_of_the_topic_itself_told_apart(
    broker: FakeBroker, admin: TopicAdmin
) -> None:
    broker.handlers[_DESCRIBE_CONFIGS] = described(TOPIC)  # type: ignore[assignment]
    assert await admin.settings([TOPIC]) == {TOPIC: {"segment.bytes": _VALUE.decode(), "cleanup.policy": "delete"}}
    assert await admin.own_settings(TOPIC) == {"segment.bytes": _VALUE.decode()}
    assert await admin.settings([]) == {}


@pytest.mark.parametrize(
    "damage",
    [
        lambda body: body.replace(_VALUE, b"\xff" * len(_VALUE)),  # no UTF-8
        lambda body: body[: len(body) // 2],
        lambda body: body[:5] + b"\xff\xff\xff\xff\x07" + body[5:],
        lambda _: b"",
    ],
    ids=["no-text", "cut", "many", "empty"],
)
async def test_a_damaged_answer_ends_the_connection_and_nothing_else(
    broker: FakeBroker, admin: TopicAdmin, damage: Callable[[bytes], bytes]
) -> None:
    """With text that is no UTF-8 a library in the process ended it."""
    broker.handlers[_DESCRIBE_CONFIGS] = described(TOPIC, damage=damage)  # type: ignore[assignment]
    with pytest.raises(ProtocolViolationError):
        await admin.settings([TOPIC])
    broker.handlers[_DESCRIBE_CONFIGS] = described(TOPIC)  # type: ignore[assignment]
    assert TOPIC in await admin.settings([TOPIC])


@pytest.mark.parametrize("names", [(), ("another",), (TOPIC, "another")])
async def test_an_answer_about_other_topics_is_none(
    broker: FakeBroker, admin: TopicAdmin, names: tuple[str, ...]
) -> None:
    broker.handlers[_DESCRIBE_CONFIGS] = described(*names)  # type: ignore[assignment]
    with pytest.raises(KafkaError):
        await admin.settings([TOPIC])


async def test_a_refusal_names_the_topic_the_side_and_the_reason(broker: FakeBroker, admin: TopicAdmin) -> None:
    broker.handlers[_DESCRIBE_CONFIGS] = described(TOPIC, error=29)  # type: ignore[assignment]
    with pytest.raises(BrokerRefusedError, match=f'settings of the topic "{TOPIC}" was refused .*TOPIC_AUTHORIZATION'):
        await admin.settings([TOPIC])

    async def refuses(_: FakeBroker, request: Request, writer: asyncio.StreamWriter) -> None:
        response = IncrementalAlterConfigsResponse.AlterConfigsResourceResponse
        refused = response(error_code=40, error_message="no such value", resource_type=2, resource_name=TOPIC)
        answer = IncrementalAlterConfigsResponse(throttle_time_ms=0, responses=[refused])
        writer.write(frame(request.correlation, b"\0" + bytes(answer.encode(version=request.version))))

    broker.handlers[_INCREMENTAL_ALTER_CONFIGS] = refuses
    with pytest.raises(BrokerRefusedError, match=f'Changing settings of the topic "{TOPIC}" .*no such value'):
        await admin.alter(TOPIC, {"segment.bytes": "1"})
    await admin.alter(TOPIC, {})
