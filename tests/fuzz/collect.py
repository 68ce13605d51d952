"""Writes `answers.jsonl`: what a real broker answers in each scenario, in the newest versions and in the oldest that we take.

.venv/bin/python -m tests.fuzz.collect
"""

import asyncio
import base64
import json
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar
from unittest.mock import patch

warnings.filterwarnings("ignore", category=DeprecationWarning)  # kafka-python, on Python 3.11 and 3.12

from clusterlink_engine.devkit.kafka import KafkaCluster  # noqa: E402
from clusterlink_engine.errors import Side  # noqa: E402
from clusterlink_engine.model.acls import Acl  # noqa: E402
from clusterlink_engine.security import Security  # noqa: E402
from clusterlink_engine.wire import acls  # noqa: E402
from clusterlink_engine.wire import cluster as cluster_module  # noqa: E402
from clusterlink_engine.wire.cluster import Cluster  # noqa: E402
from clusterlink_engine.wire.connection import Connection  # noqa: E402
from tests.fuzz.replay import RECORDED, SCRAM, SECURITY, USERS, Answer, AskedCluster  # noqa: E402
from tests.fuzz.scenarios import SCENARIOS, TOPIC  # noqa: E402
from tests.support import groups, produce, topics  # noqa: E402

_ATTEMPTS = 40

# The oldest versions that the engine takes, of those APIs of which it takes several, by API key.
_OLDEST = {0: 9, 1: 12, 2: 4, 3: 10, 15: 3, 16: 3, 21: 1, 22: 3, 26: 3, 29: 1, 30: 1, 31: 1, 32: 1, 36: 0, 69: 0}
# InitProducerId is asked for in two ways, of which one takes older ones; who knows two protocols of groups tells which it is.
_OLDEST_OF = {"producers": {22: 1}, "members": {16: 5}}


class _RecordingConnection(Connection):
    answers: ClassVar[list[Answer]] = []

    def send(self, api_key: int, api_version: int, body: Sequence[Any], **options: Any) -> "asyncio.Future[memoryview]":
        future = super().send(api_key, api_version, body, **options)

        def done(future: "asyncio.Future[memoryview]") -> None:
            if not future.cancelled() and future.exception() is None:
                self.answers.append(Answer(api_key, api_version, bytes(future.result())))

        future.add_done_callback(done)
        return future


class _RecordingCluster(AskedCluster):
    most: dict[int, int] | None = None

    async def _api_versions(self, connection: Connection) -> dict[int, tuple[int, int]]:
        found = await super()._api_versions(connection)
        if self.most is not None:
            found |= {key: (min(found[key][0], most), most) for key, most in self.most.items() if key in found}
        return found


async def _record(kafka: KafkaCluster, scenario: str, topic_id: str, oldest: bool) -> dict[str, object]:
    for attempt in range(_ATTEMPTS):
        answers: list[Answer] = []
        cluster = _RecordingCluster(
            Side.REMOTE, [kafka.sasl_bootstrap_servers], SECURITY[scenario == SCRAM], timeout=15.0
        )
        cluster.topic_id = topic_id
        if oldest:
            cluster.most = _OLDEST | _OLDEST_OF.get(scenario, {})
        _RecordingConnection.answers = answers
        try:
            await cluster.metadata([TOPIC])
            await SCENARIOS[scenario](cluster)
        except Exception:
            if attempt == _ATTEMPTS - 1:
                raise
            await asyncio.sleep(0.5)  # coordinators come up late, and ACLs go by a moment after they were made
            continue
        finally:
            cluster.close()
        encoded = [(key, version, base64.b64encode(body).decode()) for key, version, body in answers]
        return {"scenario": scenario, "oldest": oldest, "answers": encoded}
    raise AssertionError("unreachable")


async def _collect(kafka: KafkaCluster) -> list[dict[str, object]]:
    local = Cluster(Side.LOCAL, [kafka.bootstrap_servers], Security(), timeout=15.0)
    topic_id = (await local.metadata([TOPIC])).topics[TOPIC].topic_id
    everything = [("TOPIC", "*"), ("GROUP", "*"), ("CLUSTER", "kafka-cluster"), ("TRANSACTIONAL_ID", "*")]
    rights = [
        Acl(
            resource_type=kind,
            resource_name=name,
            pattern_type="LITERAL",
            principal="User:somebody",
            host="*",
            operation="ALL",
            permission_type="ALLOW",
        )
        for kind, name in everything
    ]
    await acls.create_acls(local, rights)
    local.close()
    return [await _record(kafka, scenario, topic_id, oldest) for scenario in SCENARIOS for oldest in (False, True)]


def main() -> None:
    """Starts a broker and records."""
    with patch.object(cluster_module, "Connection", _RecordingConnection), KafkaCluster(users=USERS) as kafka:
        topics.create(kafka.bootstrap_servers, TOPIC, partitions=2)
        produce.write(kafka.bootstrap_servers, TOPIC, produce.varied(12, 2))
        here = kafka.bootstrap_servers
        newer = {"group.protocol": "consumer"}
        with groups.member(here, "classic-group", TOPIC), groups.member(here, "newer-group", TOPIC, **newer):
            lines = [json.dumps(entry) for entry in asyncio.run(_collect(kafka))]
    RECORDED.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
