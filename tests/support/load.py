"""Writes to source topics of all kinds at once, in the background, through every fault of the source."""

import random
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException, Producer

from tests.support import produce, sources, topics

_OLD = 40_000_000_000  # in 1971
_SECONDS = 20.0


class Load:
    """The topics, and a thread for each that writes to it while the load is on.

    Attributes:
        topics: Names of the topics.
        compacted: Those of them whose source is compacted while it is written.
    """

    def __init__(self, bootstrap: str, prefix: str, seed: int) -> None:
        self._bootstrap = bootstrap
        self._seed = seed
        self._on = threading.Event()
        self._closing = threading.Event()
        self._idle = threading.Semaphore(0)
        kinds: dict[str, tuple[Callable[[str, int], None], dict[str, str], int]] = {
            "plain": (self._plain, {}, 3),
            "transactions": (self._transactions, {}, 2),
            "compacted": (self._compacted, dict(sources.COMPACTED), 1),
            "append-time": (self._append_time, {"message.timestamp.type": "LogAppendTime"}, 1),
            "old": (self._old, {"retention.ms": "-1"}, 1),
        }
        self.topics = [f"{prefix}-{kind}" for kind in kinds]
        self.compacted = [f"{prefix}-compacted"]
        self._threads = []
        for kind, (write, config, partitions) in kinds.items():
            name = f"{prefix}-{kind}"
            topics.create(bootstrap, name, partitions=partitions, config=config)
            self._threads.append(threading.Thread(target=self._run, args=(write, name), name=f"load {kind}"))
        self._working = len(self._threads)
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._on.set()
        for thread in self._threads:
            thread.join()

    def start(self) -> None:
        """Lets all write."""
        self._on.set()

    def stop(self) -> None:
        """Lets all finish what they are at, and returns when nothing is on its way and no transaction is open."""
        self._on.clear()
        with self._changed:
            assert self._changed.wait_for(lambda: not self._working, 120), "the load does not come to rest"

    def _run(self, write: Callable[[str, int], None], topic: str) -> None:
        number = 0
        while not self._closing.is_set():
            if not self._on.is_set():
                self._rest()
                continue
            number += 1
            try:
                write(topic, number)
            except (KafkaException, AssertionError):
                time.sleep(0.2)  # the source is away; what was half done is ended by its coordinator
        self._leave()

    def _rest(self) -> None:
        self._leave()
        self._on.wait()
        with self._changed:
            self._working += 1

    def _leave(self) -> None:
        with self._changed:
            self._working -= 1
            self._changed.notify_all()

    def _random(self, topic: str, number: int) -> random.Random:
        return random.Random(f"{self._seed}-{topic}-{number}")

    def _plain(self, topic: str, number: int) -> None:
        codec = produce.CODECS[number % len(produce.CODECS)]
        records = produce.varied(400, 3, seed=self._seed + number)
        produce.write(self._bootstrap, topic, records, codec, {"batch.num.messages": 20, "linger.ms": 1})

    def _old(self, topic: str, number: int) -> None:
        records = [produce.Record(b"%d" % item, b"old", timestamp=_OLD + number) for item in range(100)]
        produce.write(self._bootstrap, topic, records, settings={"batch.num.messages": 5, "linger.ms": 1})

    def _append_time(self, topic: str, number: int) -> None:
        produce.write(self._bootstrap, topic, produce.varied(100, seed=number), settings={"batch.num.messages": 10})

    def _compacted(self, topic: str, number: int) -> None:
        randomness = self._random(topic, number)
        records = [
            produce.Record(b"key-%d" % randomness.randrange(20), None if randomness.random() < 0.1 else b"%d" % item)
            for item in range(60)
        ]
        produce.write(self._bootstrap, topic, records, "lz4", {"batch.num.messages": 6, "linger.ms": 1})
        time.sleep(0.05)

    def _transactions(self, topic: str, number: int) -> None:
        """Some transactions; one that the source's fault cuts off is aborted before this returns."""
        identity = f"{topic}-{number % 3}"
        settings = {"bootstrap.servers": self._bootstrap, "transactional.id": identity, "linger.ms": 1, "log_level": 0}
        producer = Producer({**settings, "transaction.timeout.ms": 10_000})
        producer.init_transactions(_SECONDS)
        randomness = self._random(topic, number)
        try:
            for _ in range(5):
                producer.begin_transaction()
                for _ in range(randomness.randrange(1, 12)):
                    producer.produce(topic, randomness.randbytes(30), partition=randomness.randrange(2))
                if randomness.random() < 0.6:
                    producer.commit_transaction(_SECONDS)
                else:
                    producer.abort_transaction(_SECONDS)
        except KafkaException:
            self._clear(settings)
            raise

    @staticmethod
    def _clear(settings: dict[str, object]) -> None:
        """Ends what an earlier producer of this id left open."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                Producer(dict(settings)).init_transactions(_SECONDS)
            except KafkaException:
                time.sleep(0.2)
            else:
                return
