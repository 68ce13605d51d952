"""A broker's answers from a file: a connection that gives recorded answers, damaged or not, to whoever asks."""

import asyncio
import base64
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from clusterlink_engine.errors import Side
from clusterlink_engine.sasl import Sasl
from clusterlink_engine.security import Security
from clusterlink_engine.wire.cluster import NO_TOPIC_ID, Cluster
from clusterlink_engine.wire.connection import Connection

RECORDED = Path(__file__).with_name("answers.jsonl")
TIMEOUT = 5.0
SCRAM = "scram"
USERS = {"somebody": "s"}
SECURITY = {
    is_scram: Security(
        security_protocol="SASL_PLAINTEXT",
        sasl=Sasl(mechanism="SCRAM-SHA-256" if is_scram else "PLAIN", username="somebody", password="s"),  # noqa: S106
    )
    for is_scram in (False, True)
}


class Answer(NamedTuple):
    """The body of an answer, with the tagged fields of its header where it has some."""

    api_key: int
    version: int
    body: bytes


class Recording(NamedTuple):
    """What a broker answered while a scenario went its way; `oldest` if it was asked in the oldest versions."""

    scenario: str
    oldest: bool
    answers: list[Answer]


def load() -> list[Recording]:
    """Reads all recordings."""
    return [
        Recording(
            line["scenario"],
            line["oldest"],
            [Answer(key, version, base64.b64decode(body)) for key, version, body in line["answers"]],
        )
        for line in map(json.loads, RECORDED.read_text().splitlines())
    ]


class ReplayedConnection(Connection):
    """Answers each request with what was recorded for its kind, in the order of the recording."""

    def __init__(self, recording: Recording, hurt: Callable[[Answer], bytes]) -> None:
        super().__init__(Side.REMOTE, "replay:9092", TIMEOUT)
        self._waiting: dict[tuple[int, int], list[Answer]] = defaultdict(list)
        for answer in recording.answers:
            self._waiting[answer.api_key, answer.version].append(answer)
            lowest, highest = self.versions.get(answer.api_key, (answer.version, answer.version))
            self.versions[answer.api_key] = min(lowest, answer.version), max(highest, answer.version)
        self._hurt = hurt

    @property
    def is_open(self) -> bool:
        return self._error is None

    def send(self, api_key: int, api_version: int, *_: Any, **__: Any) -> "asyncio.Future[memoryview]":
        if self._error is not None:
            raise self._error
        future: asyncio.Future[memoryview] = asyncio.get_running_loop().create_future()
        answers = self._waiting[api_key, api_version]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        future.set_result(memoryview(bytearray(self._hurt(answer))))
        return future


class AskedCluster(Cluster):
    """A cluster with a topic that scenarios are about."""

    topic_id = NO_TOPIC_ID


class ReplayedCluster(AskedCluster):
    """A cluster whose brokers all are the recording."""

    def __init__(self, recording: Recording, hurt: Callable[[Answer], bytes]) -> None:
        super().__init__(Side.REMOTE, ["127.0.0.1:9"], SECURITY[recording.scenario == SCRAM], timeout=TIMEOUT)
        self._brokers = {1: ("127.0.0.1", 9)}
        self._recording = recording
        self._hurt = hurt

    async def _open(self, *_: Any) -> Connection:
        connection = ReplayedConnection(self._recording, self._hurt)

        async def opened(*_: Any, **__: Any) -> Connection:
            return connection

        with patch.object(Connection, "open", opened):
            return await super()._open("127.0.0.1", 9)

    async def _api_versions(self, connection: Connection) -> dict[int, tuple[int, int]]:
        await super()._api_versions(connection)
        return connection.versions  # those of the recording, whatever was offered
