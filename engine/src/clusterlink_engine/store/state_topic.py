"""The state topic: a compacted topic with one partition, written by one transactional producer.

Opening it claims it: `init_transactions` makes Kafka refuse every later write of an older process (its producer epoch is
lower, KIP-98), and the claim record tells that process, which follows the topic, to stop. Versions are read before
anything is claimed, so that an older engine never takes over from a newer one.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka import KafkaError as LibraryError

from clusterlink_engine.errors import StateError, StateFencedError, StateUnavailableError
from clusterlink_engine.model.resources import Stored
from clusterlink_engine.settings import LocalCluster, librdkafka_settings
from clusterlink_engine.settings import State as StateSettings
from clusterlink_engine.store.keyring import HOW_TO_MAKE_ONE, load_keyring
from clusterlink_engine.store.records import CLAIM_KEY, Claim, decode, encode, key_ids
from clusterlink_engine.tasks import FatalHandler

log = logging.getLogger(__name__)

_FENCED = (LibraryError._FENCED, LibraryError.INVALID_PRODUCER_EPOCH, LibraryError.PRODUCER_FENCED)  # noqa: SLF001
_POLL_SECONDS = 0.2
_TRANSACTION_SECONDS = 30.0
_ATTEMPTS = 5

Answer = TypeVar("Answer")
Records = dict[str, Stored]
_Values = dict[str, bytes]


class StateTopic:
    """The state topic as this process owns it.

    Attributes:
        claim_offset: Where this process's claim is, once it is open; larger than that of every earlier one.

    Reading and writing happen in two threads of their own, since the library blocks; results arrive on the event loop.
    """

    def __init__(self, cluster: LocalCluster, settings: StateSettings, on_lost: FatalHandler) -> None:
        """Prepares; nothing is contacted before `read` and `open`.

        Args:
            cluster: Where the topic is.
            settings: Its name (it must exist), and the keys of its secrets: looked at now, and anew whenever it is read.
            on_lost: Told on the event loop when another process has claimed the state, or when it can no longer be followed.

        Raises:
            SettingsError: What is given as keys is none.
        """
        self._settings = settings
        self._topic = settings.topic
        self._keyring = load_keyring(settings)
        self._on_lost = on_lost
        self._common: dict[str, Any] = {
            **librdkafka_settings(cluster.bootstrap_servers, cluster),
            "client.id": "clusterlink-state",
        }
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="state-writer")
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="state-reader")
        self._closing = threading.Event()
        self._producer: Producer | None = None
        self._consumer: Consumer | None = None
        self._claim: Claim | None = None
        self._successor: Claim | None = None  # written by the reading thread
        self.claim_offset: int = -1

    @property
    def can_encrypt(self) -> bool:
        """Returns whether secrets that are written are encrypted."""
        return bool(self._keyring.current)

    async def read(self, timeout: float) -> Records:
        """Answers everything in the state, by key, without claiming it.

        Raises:
            StateTooNewError: A newer engine has worked here.
            SettingsError: There are secrets whose key is not given.
            StateError: The topic cannot be read within `timeout` seconds, or holds what is no record.
        """
        return await self._read_whole({}, timeout)

    async def open(self, claim: Claim, timeout: float) -> Records:
        """Claims the state and answers everything in it, by key, claims left out.

        Secrets that are not encrypted, or with an older key, are written anew with the first of the keys.

        Args:
            claim: Who this process is.
            timeout: In seconds, for each of three steps.

        Raises:
            StateTooNewError: A newer engine has worked here; nothing was claimed.
            SettingsError: There are secrets whose key is not given; nothing was claimed.
            StateError: The topic cannot be read or claimed within `timeout` seconds, or holds what is no record.
        """
        self._claim = claim
        values: _Values = {}
        await self._read_whole(values, timeout)
        await self._run(self._writing, self._claim_topic, timeout)
        await self._run(self._reading, self._read, values, claim.instance_id, timeout)
        records = await self._run(self._reading, self._decode, values)
        await self._run(self._writing, self._encrypt_anew, values, records)
        loop = asyncio.get_running_loop()
        loop.run_in_executor(self._reading, self._follow, loop)
        return {key: value for key, value in records.items() if not isinstance(value, Claim)}

    async def _read_whole(self, values: _Values, timeout: float) -> Records:
        await self._run(self._reading, self._read, values, None, timeout)
        return await self._run(self._reading, self._decode, values)

    async def write(self, changes: Mapping[str, Stored | None]) -> None:
        """Writes records in one transaction; None deletes. When it returns, they are stored; when it raises, none is.

        Raises:
            StateFencedError: Another process has taken over; this one must stop.
            StateUnavailableError: The local cluster does not take it now.
        """
        await self._run(self._writing, self._transact, changes)

    async def close(self) -> None:
        """Stops following; nothing can be written after."""
        self._closing.set()
        await asyncio.get_running_loop().run_in_executor(None, self._shut_down)

    def _shut_down(self) -> None:
        self._reading.shutdown()
        self._writing.shutdown()
        if self._consumer is not None:
            self._consumer.close()

    @staticmethod
    async def _run(executor: ThreadPoolExecutor, function: Callable[..., Answer], *arguments: Any) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(executor, function, *arguments)

    # In the writing thread.

    def _claim_topic(self, timeout: float) -> None:
        self._producer = Producer(
            {
                **self._common,
                "transactional.id": f"clusterlink-{self._topic}",
                "transaction.timeout.ms": int(_TRANSACTION_SECONDS * 1000),
            },
            logger=log.getChild("librdkafka"),
        )
        try:
            self._producer.init_transactions(timeout)
        except KafkaException as error:
            raise StateError(f'The state topic "{self._topic}" cannot be claimed: {error.args[0].str()}.') from error
        self._transact({CLAIM_KEY: self._claim})

    def _encrypt_anew(self, values: _Values, records: Records) -> None:
        """Writes the secrets anew that are stored as they are, or encrypted with an older key."""
        used = {key: ids for key, data in values.items() if (ids := key_ids(key, data))}
        stale = sorted(key for key, ids in used.items() if not self.can_encrypt or ids != {self._keyring.current})
        if stale and not self.can_encrypt:
            log.warning(
                "the secrets of %s are stored as they are, for want of a key; %s", ", ".join(stale), HOW_TO_MAKE_ONE
            )
            return
        if stale:
            self._transact({key: records[key] for key in stale})
            log.info("the secrets of %s are encrypted with the key %s now", ", ".join(stale), self._keyring.current)
        if self._keyring.older:
            log.info("keys that are not needed any more: %s", ", ".join(self._keyring.older))

    def _transact(self, changes: Mapping[str, Stored | None]) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                self._try_to_transact(changes)
            except StateUnavailableError:
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return

    def _try_to_transact(self, changes: Mapping[str, Stored | None]) -> None:
        producer = self._producer
        if producer is None:
            raise StateUnavailableError("The state topic is not open.")
        try:
            producer.begin_transaction()
            for key, value in changes.items():
                data = encode(key, value, self._keyring) if value is not None else None
                producer.produce(self._topic, key=key.encode(), value=data)
            self._commit(producer)
        except KafkaException as error:
            self._give_up(producer, error)

    @staticmethod
    def _commit(producer: Producer) -> None:
        """Commits; a commit whose answer is late is asked for again, since it must be known what became of it."""
        for attempt in range(_ATTEMPTS):
            try:
                producer.commit_transaction(_TRANSACTION_SECONDS)
            except KafkaException as error:
                if not error.args[0].retriable() or attempt == _ATTEMPTS - 1:
                    raise
            else:
                return

    def _give_up(self, producer: Producer, error: KafkaException) -> None:
        """Aborts the transaction, so that surely nothing was written, and raises.

        Raises:
            StateFencedError, StateError, StateUnavailableError: As the cause says.
        """
        cause: Any = error.args[0]
        if cause.code() in _FENCED:
            raise StateFencedError("Another engine process has taken over this state.") from error
        if cause.fatal():
            raise StateError(f"The state topic cannot be written any more: {cause.str()}.") from error
        try:
            producer.abort_transaction(_TRANSACTION_SECONDS)
        except KafkaException as second:
            if second.args[0].code() in _FENCED:
                raise StateFencedError("Another engine process has taken over this state.") from second
            # Neither committed nor aborted for sure: this process does not know its own state any more.
            raise StateError(f"It is not known whether the state was written: {second.args[0].str()}.") from second
        raise StateUnavailableError(f"The state could not be written: {cause.str()}.") from error

    # In the reading thread.

    def _decode(self, values: _Values) -> Records:
        """Decodes what was read; only then, since what was overwritten may be encrypted with a key that nobody has any more."""
        return {key: decode(key, data, self._keyring) for key, data in values.items()}

    def _read(self, values: _Values, until_claim_of: str | None, timeout: float) -> None:
        """Reads into `values`: from the begin to the end of the topic, or on to the claim of an instance."""
        consumer = self._open_consumer()
        if until_claim_of is None:
            self._keyring = load_keyring(self._settings)
            consumer.assign([TopicPartition(self._topic, 0, 0)])  # the library tells the end once for each assignment
        waited = 0.0
        while waited < timeout:
            message = consumer.poll(_POLL_SECONDS)
            if message is None:
                waited += _POLL_SECONDS
                continue
            error = message.error()
            if error is not None:
                if error.code() == LibraryError._PARTITION_EOF:  # noqa: SLF001 - the library's public constant
                    if until_claim_of is None:
                        return
                    continue
                if error.retriable() or error.code() < 0:
                    waited += _POLL_SECONDS
                    continue
                raise StateError(f'The state topic "{self._topic}" cannot be read: {error.str()}.')
            key, data = (message.key() or b"").decode(), message.value()
            if data is None:
                values.pop(key, None)
                continue
            values[key] = data
            if key == CLAIM_KEY and until_claim_of == _instance_of(data):
                self.claim_offset = int(message.offset() or 0)
                return
        raise StateError(f'The state topic "{self._topic}" could not be read to its end within {timeout:g} s.')

    def _open_consumer(self) -> Consumer:
        if self._consumer is None:
            self._consumer = Consumer(
                {
                    **self._common,
                    "group.id": "clusterlink-state",  # the library insists; nothing is committed
                    "enable.auto.commit": False,
                    "enable.partition.eof": True,
                    "isolation.level": "read_committed",
                    "auto.offset.reset": "earliest",
                },
                logger=log.getChild("librdkafka"),
            )
        return self._consumer

    def _follow(self, loop: asyncio.AbstractEventLoop) -> None:
        """Looks for the claim of another process until the topic is closed."""
        try:
            self._wait_for_claim()
        except Exception as error:
            loop.call_soon_threadsafe(self._on_lost, error)
        else:
            if self._successor is not None:
                loop.call_soon_threadsafe(self._on_lost, _taken_over(self._successor))

    def _wait_for_claim(self) -> None:
        consumer = self._open_consumer()
        while not self._closing.is_set():
            message = consumer.poll(_POLL_SECONDS)
            if message is None or message.error() is not None:
                continue
            key, data = message.key(), message.value()
            if key != CLAIM_KEY.encode() or data is None:
                continue
            claim = decode(CLAIM_KEY, data)
            if isinstance(claim, Claim) and self._claim and claim.instance_id != self._claim.instance_id:
                self._successor = claim
                return


def _taken_over(other: Claim) -> StateFencedError:
    return StateFencedError(
        f"Another engine process (pid {other.pid} on {other.host}, version {other.version}) has taken over the state topic; "
        "this one stops. Run one engine for each state topic."
    )


def _instance_of(data: bytes) -> str:
    claim = decode(CLAIM_KEY, data)
    return claim.instance_id if isinstance(claim, Claim) else ""
