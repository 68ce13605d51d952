"""The state topic: a compacted topic with one partition, written by one transactional producer.

Opening it claims it: `init_transactions` makes Kafka refuse every later write of an older process (its producer epoch is
lower, KIP-98), and the claim record tells that process, which follows the topic, to stop. Versions are read before
anything is claimed, so that an older engine never takes over from a newer one.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka import KafkaError as LibraryError

from clusterlink_engine.errors import StateError, StateFencedError, StateTooNewError, StateUnavailableError
from clusterlink_engine.librdkafka import changed_settings
from clusterlink_engine.model.resources import Stored
from clusterlink_engine.settings import LocalCluster
from clusterlink_engine.settings import State as StateSettings
from clusterlink_engine.store.keyring import HOW_TO_MAKE_ONE, load_keyring
from clusterlink_engine.store.records import CLAIM_KEY, Claim, decode, encode, key_ids
from clusterlink_engine.tasks import FatalHandler

log = logging.getLogger(__name__)

_FENCED = (LibraryError._FENCED, LibraryError.INVALID_PRODUCER_EPOCH, LibraryError.PRODUCER_FENCED)  # noqa: SLF001
_POLL_SECONDS = 0.2
_LOOK_SECONDS = 5.0  # how often files of certificates and passwords are looked at while nothing is written
# How long a broker keeps a fetch at the end of the topic: that it is the end is known only by the answer, and a process that
# starts waits for it. Afterwards nobody is in a hurry.
_READING_WAIT_MS = 10
_FOLLOWING_WAIT_MS = 500

_CLIENT_ID = "clusterlink-state"
_TRANSACTION_SECONDS = 30.0
# The topic is there before it is written: when brokers do not know it for so long, it is gone, and a write need not wait.
_UNKNOWN_MS = 3_000
_ATTEMPTS = 5

Answer = TypeVar("Answer")
Records = dict[str, Stored]
_Values = dict[str, bytes]


class StateTopic:
    """The state topic as this process owns it.

    Attributes:
        claim_offset: Where this process's claim is, once it is open; larger than that of every earlier one.
        former_claim: The last claim before it, once it is open; None if it is the first.

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
        self._cluster = cluster
        self._settings = settings
        self._topic = settings.topic
        self._keyring = load_keyring(settings)
        self._on_lost = on_lost
        self._writes_by: dict[str, Any] = {}  # settings of the producer
        self._reads_by: dict[str, Any] = {}  # settings of the consumer
        self._waits_ms = 0
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="state-writer")
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="state-reader")
        self._closing = threading.Event()
        self._is_gone = threading.Event()  # set by who looks for the topic, cleared when it is known to be there
        self._moved = threading.Event()  # the topic is another one, which is to be followed from its begin
        self._producer: Producer | None = None
        self._consumer: Consumer | None = None
        self._claim: Claim | None = None
        self._successor: Claim | None = None  # written by the reading thread
        self.claim_offset: int = -1
        self.former_claim: Claim | None = None

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
        try:
            return await self._read_whole({}, timeout)
        finally:
            await self._run(self._reading, self._rest)

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
        former = (await self._read_whole(values, timeout)).get(CLAIM_KEY)
        self.former_claim = former if isinstance(former, Claim) else None
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

    def gone(self, is_gone: bool) -> None:
        """Tells whether the topic is gone: then what is being written is not tried again, nor asked for again."""
        if is_gone:
            self._is_gone.set()
        else:
            self._is_gone.clear()

    async def write_anew(self, records: Mapping[str, Stored | None]) -> None:
        """Writes the claim and all records in one transaction, into a topic that took the place of the one that was open.

        Raises:
            StateFencedError: Another process has claimed the new topic; this one must stop.
            StateUnavailableError: The local cluster does not take it now; nothing was stored.
        """
        await self._run(self._writing, self._transact_anew, records)
        self._moved.set()

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

    def _changed_settings(self, present: dict[str, Any]) -> dict[str, Any] | None:
        """Answers how to connect, if that is not by `present` any more; what cannot be used changes nothing."""
        try:
            return changed_settings(self._cluster.bootstrap_servers, self._cluster, present)
        except ValueError as error:
            if not present:
                raise StateError(f"The credentials for the local cluster cannot be used: {error}.") from error
            return None

    # In the writing thread.

    def _claim_topic(self, timeout: float) -> None:
        settings = self._changed_settings({})
        try:
            self._init_producer(settings or {}, timeout)
        except KafkaException as error:
            raise StateError(f'The state topic "{self._topic}" cannot be claimed: {error.args[0].str()}.') from error
        self._transact({CLAIM_KEY: self._claim})

    def _init_producer(self, settings: dict[str, Any], timeout: float) -> None:
        self._producer = None  # whatever becomes of the new one, the broker may not know the old one any more
        producer = Producer(
            {
                **settings,
                "client.id": _CLIENT_ID,
                "transactional.id": f"clusterlink-{self._topic}",
                "transaction.timeout.ms": int(_TRANSACTION_SECONDS * 1000),
                "topic.metadata.propagation.max.ms": _UNKNOWN_MS,
                "queue.buffering.max.messages": 0,  # everything must go into one transaction
            },
            logger=log.getChild("librdkafka"),
        )
        producer.init_transactions(timeout)
        self._producer, self._writes_by = producer, settings

    def _renew(self, settings: dict[str, Any]) -> None:
        """Goes on with a new producer, since certificates or a password changed.

        Raises:
            StateFencedError: The topic is not ours any more.
            StateUnavailableError: That is not known yet.
        """
        if not self._claim_again(settings):
            self._producer = None
            raise StateUnavailableError(f'The state topic "{self._topic}" is another one than before.')
        log.info("the state is written with new credentials")

    def _claim_again(self, settings: dict[str, Any]) -> bool:
        """Goes on with a new producer, and answers whether the claim of this process is in the topic.

        The producer shuts out whoever has claimed the topic meanwhile. So nothing is written before the claim is known to be
        ours, or nobody's.

        Raises:
            StateFencedError: It is somebody else's.
            StateUnavailableError: That is not known yet.
        """
        values: _Values = {}
        consumer: Consumer | None = None
        try:
            self._init_producer(settings, _TRANSACTION_SECONDS)
            consumer = self._make_consumer(settings, _READING_WAIT_MS)
            self._read_by(consumer, values, None, _TRANSACTION_SECONDS)
            last = decode(CLAIM_KEY, values[CLAIM_KEY]) if CLAIM_KEY in values else None
        except (KafkaException, StateError) as error:
            self._producer = None
            if isinstance(error, StateTooNewError):
                raise
            raise StateUnavailableError(f"The state cannot be written anew yet: {error}.") from error
        finally:
            if consumer is not None:
                consumer.close()
        if isinstance(last, Claim) and self._claim is not None and last.instance_id != self._claim.instance_id:
            self._producer = None
            raise _taken_over(last)
        return last is not None

    def _transact_anew(self, records: Mapping[str, Stored | None]) -> None:
        self._claim_again(self._changed_settings(self._writes_by) or self._writes_by)
        self._transact({CLAIM_KEY: self._claim, **records})

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
                if attempt == _ATTEMPTS - 1 or self._is_gone.is_set():
                    raise
            else:
                return

    def _try_to_transact(self, changes: Mapping[str, Stored | None]) -> None:
        renewed = self._changed_settings(self._writes_by)
        if self._writes_by and (renewed is not None or self._producer is None):
            self._renew(renewed or self._writes_by)
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

    def _commit(self, producer: Producer) -> None:
        """Commits; a commit whose answer is late is asked for again, since it must be known what became of it."""
        for attempt in range(_ATTEMPTS):
            try:
                producer.commit_transaction(_TRANSACTION_SECONDS)
            except KafkaException as error:
                if not error.args[0].retriable() or attempt == _ATTEMPTS - 1 or self._is_gone.is_set():
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
        if until_claim_of is None:
            self._keyring = load_keyring(self._settings)
        self._read_by(self._open_consumer(), values, until_claim_of, timeout)

    def _read_by(self, consumer: Consumer, values: _Values, until_claim_of: str | None, timeout: float) -> None:
        """Reads into `values`: from the begin to the end of the topic, or on to the claim of an instance."""
        if until_claim_of is None:
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

    def _open_consumer(self, wait_ms: int = _READING_WAIT_MS) -> Consumer:
        """Answers the consumer: where the last one was, if that does not connect as it has to by now."""
        wanted = self._changed_settings(self._reads_by)
        if wanted is None and wait_ms != self._waits_ms:
            wanted = self._reads_by
        if wanted is not None:
            former, self._reads_by, self._waits_ms = self._consumer, wanted, wait_ms
            self._consumer = self._make_consumer(wanted, wait_ms)
            if former is not None:
                (position,) = former.position([TopicPartition(self._topic, 0)])
                place = max(position.offset, self.claim_offset + 1)
                self._consumer.assign([TopicPartition(self._topic, 0, place)])
                former.close()
        assert self._consumer is not None  # noqa: S101 - there are no settings only at first
        return self._consumer

    def _start_again(self) -> None:
        former = self._consumer
        self._consumer = self._make_consumer(self._reads_by, self._waits_ms)
        self._consumer.assign([TopicPartition(self._topic, 0, 0)])
        self.claim_offset = -1
        if former is not None:
            former.close()

    def _rest(self) -> None:
        """Asks for nothing more until it is read again."""
        if self._consumer is not None:
            self._consumer.unassign()

    @staticmethod
    def _make_consumer(settings: dict[str, Any], wait_ms: int) -> Consumer:
        return Consumer(
            {
                **settings,
                "client.id": _CLIENT_ID,
                "group.id": "clusterlink-state",  # the library insists; nothing is committed
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": wait_ms,
            },
            logger=log.getChild("librdkafka"),
        )

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
        look_at = 0.0
        while not self._closing.is_set():
            if self._moved.is_set():
                self._moved.clear()
                self._start_again()
                look_at = 0.0
            if time.monotonic() >= look_at:
                consumer = self._open_consumer(_FOLLOWING_WAIT_MS)
                look_at = time.monotonic() + _LOOK_SECONDS
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
