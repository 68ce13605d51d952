"""Secrets of links on real clusters: where they must not be, and what becomes of a state without the right key for them."""

import json
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from confluent_kafka import Producer

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_engine.settings import State
from clusterlink_engine.store.keyring import load_keyring, new_key
from clusterlink_proto import v1
from tests.support import produce, reading, topics, ways
from tests.support.engine import STATE_KEY, EngineProcess
from tests.support.equality import assert_becomes_equal
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]

USERS = {
    "local": "hidden-word-of-the-local-user",
    "first": "hidden-word-of-the-first",
    "second": "hidden-word-of-another",
}
WRONG = "hidden-word-that-is-wrong"


@pytest.fixture(scope="module")
def secured() -> Iterator[KafkaCluster]:
    """One cluster that is source and destination, where all users may do everything."""
    settings = {"super.users": ";".join(f"User:{name}" for name in ("ANONYMOUS", *USERS))}
    with KafkaCluster(users=USERS, settings=settings, name="secrets") as cluster:
        yield cluster


def link(cluster: KafkaCluster, user: str = "first", password: str = "", name: str = "link") -> v1.Link:
    remote = ways.plain_text(user, password or USERS[user], "PLAIN").remote(cluster)
    return v1.Link(name=name, topic_prefix=f"{name}.", remote_cluster=remote)


def create(engine: EngineProcess, wanted: v1.Link, *, validate_only: bool = False) -> v1.Link:
    request = v1.CreateLinkRequest(link=wanted, validate_only=validate_only)
    answer: v1.Link = engine.links.CreateLink(request, timeout=30)
    return answer


def update(engine: EngineProcess, wanted: v1.Link) -> v1.Link:
    request = v1.UpdateLinkRequest(link=wanted)
    request.update_mask.paths.extend(["remote_cluster.security_protocol", "remote_cluster.sasl"])
    request.update_mask.paths.append("remote_cluster.bootstrap_servers")
    answer: v1.Link = engine.links.UpdateLink(request, timeout=30)
    return answer


@contextmanager
def refused(sentence: str) -> Iterator[list[bytes]]:
    """Sees that the engine refuses with FAILED_PRECONDITION; afterwards the list holds everything that it answered."""
    told: list[bytes] = []
    with pytest.raises(grpc.RpcError) as caught:
        yield told
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert sentence in error.details()
    trailing = [value.encode() if isinstance(value, str) else value for _, value in error.trailing_metadata()]
    told += [str(error).encode(), error.debug_error_string().encode(), *trailing]


def state_records(cluster: KafkaCluster, engine: EngineProcess) -> list[tuple[bytes, bytes]]:
    return reading.keys_and_values(cluster.bootstrap_servers, engine.state_topic)


def stored(cluster: KafkaCluster, engine: EngineProcess, name: str = "link") -> Any:
    """The newest record of a link, as it is in the topic."""
    return json.loads(dict(state_records(cluster, engine))[f"link/{name}".encode()])


def store(cluster: KafkaCluster, engine: EngineProcess, record: Any, name: str = "link") -> None:
    """Overwrites the record of a link while no engine runs."""
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers})
    producer.produce(engine.state_topic, json.dumps(record).encode(), f"link/{name}")
    assert producer.flush(30) == 0


def secret_in(record: Any) -> Any:
    return record["value"]["remote"]["sasl"]["password"]


def key_id(key: str) -> str:
    return load_keyring(State(key=key)).current


def process_list() -> bytes:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except OSError:  # ended meanwhile
            continue
    return b"\n".join(found)


def test_secrets_are_nowhere(secured: KafkaCluster, start_engine: StartEngine, topic_name: str, tmp_path: Path) -> None:
    """Given in every way and seen by two processes, they are in nothing that anybody can read; what is beside them is there."""
    topics.create(secured.bootstrap_servers, topic_name)
    produce.write(secured.bootstrap_servers, topic_name, produce.varied(100))
    as_user = ways.plain_text("local", USERS["local"]).settings()
    options: dict[str, Any] = {"settings": as_user, "log_level": "debug"}
    engine = start_engine(secured.sasl_bootstrap_servers, **options)
    with refused('refused the user "first"') as errors:
        create(engine, link(secured, password=WRONG))
    answers: list[object] = [create(engine, link(secured), validate_only=True), create(engine, link(secured))]
    engine.create_mirror("link", topic_name)
    mirror = f"link.{topic_name}"
    other = start_engine(secured.sasl_bootstrap_servers, state_topic=engine.state_topic, **options)
    engine.wait_for_shares(other)
    answers.append(update(engine, link(secured, "second")))
    (tmp_path / "password").write_text(USERS["first"])
    answers.append(
        engine.run("link", "update", "link", "--username", "first", "--password-file", str(tmp_path / "password"))
    )
    with refused('refused the user "second"') as more_errors:
        update(engine, link(secured, "second", password=WRONG))
    produce.write(secured.bootstrap_servers, topic_name, produce.varied(100, seed=1))
    for process in (engine, other):
        process.wait_until_caught_up(mirror, secured)
        answers += [process.links.GetLink(v1.GetLinkRequest(name="link"), timeout=30), process.mirror(mirror)]
        answers.append(process.links.ListLinks(v1.ListLinksRequest(), timeout=30))
    answers += [engine.run("link", "describe", "link", "-o", "json"), engine.run("link", "list")]
    answers += [engine.run("link", "configuration", "list", "link"), engine.verify("link")]
    processes, metrics = process_list(), (engine.metrics() + other.metrics()).encode()
    records = b"\n".join(b" ".join(pair) for pair in state_records(secured, engine))
    assert (other.stop(), engine.stop()) == (0, 0)

    places = {  # each with a word that is there, so that the search is known to find something
        "answers": ("\n".join(str(answer) for answer in answers).encode(), b"SASL_PLAINTEXT"),
        "errors": (b"\n".join(errors + more_errors), b"refused the user"),
        "logs": ((engine.log() + other.log()).encode(), b"link link"),
        "metrics": (metrics, b'link="link"'),
        "state": (records, b'"username": "second"'),
        "processes": (processes, str(engine.config_file).encode()),
    }
    assert " DEBUG " in engine.log()
    assert " DEBUG " in other.log()
    for place, (text, word) in places.items():
        assert word in text, place
        for secret in (*USERS.values(), WRONG, STATE_KEY):
            for form in (secret, b64encode(secret.encode()).decode()):
                assert form.encode() not in text, f"{secret} in {place}"
        assert b64decode(STATE_KEY) not in text, place
        assert b"hidden-word" not in text, place


def test_a_state_without_a_key_and_what_an_older_version_left_in_it(
    secured: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """No secret is stored; one that is there as it is works, with a warning, and is encrypted with each new key at a start."""
    topics.create(secured.bootstrap_servers, topic_name)
    produce.write(secured.bootstrap_servers, topic_name, produce.varied(100))
    keyless = start_engine(secured.bootstrap_servers, state_keys=())
    for validate_only in (True, False):
        with refused("no key to encrypt secrets with, and stores none without; `clusterlink state-key new`") as errors:
            create(keyless, link(secured), validate_only=validate_only)
        assert b"link.remote_cluster.sasl.password" in b"".join(errors)
    keyless.create_link("link", secured.bootstrap_servers, topic_prefix="link.")
    with refused("no key to encrypt secrets with"):
        update(keyless, link(secured))
    assert b"hidden-word" not in b"".join(value for _, value in state_records(secured, keyless))
    assert keyless.stop() == 0

    record = stored(secured, keyless)
    sasl = {"mechanism": "PLAIN", "username": "first", "password": USERS["first"]}
    record["value"]["remote"] |= {"security_protocol": "SASL_PLAINTEXT", "sasl": sasl}
    record["value"]["remote"]["bootstrap_servers"] = [secured.sasl_bootstrap_servers]
    store(secured, keyless, record)
    keyless.start()
    assert "WARNING store.state_topic: the secrets of link/link are stored as they are" in keyless.log()
    keyless.create_mirror("link", topic_name)
    assert_becomes_equal(secured, secured, topic_name, f"link.{topic_name}")
    keyless.links.PauseLink(v1.PauseLinkRequest(name="link"), timeout=30)
    keyless.links.ResumeLink(v1.ResumeLinkRequest(name="link"), timeout=30)
    with refused("no key to encrypt secrets with"):
        update(keyless, link(secured, "second"))
    assert secret_in(stored(secured, keyless)) == USERS["first"]
    assert keyless.stop() == 0

    engine = start_engine(secured.bootstrap_servers, state_topic=keyless.state_topic)
    assert f"the secrets of link/link are encrypted with the key {key_id(STATE_KEY)} now" in engine.log()
    assert secret_in(stored(secured, engine)).keys() == {"key_id", "nonce", "ciphertext"}

    key = new_key()
    for keys in ((key, STATE_KEY), (key,)):
        engine.key_file.write_text("\n".join(keys))
        assert engine.stop() == 0
        engine.start()
        assert secret_in(stored(secured, engine))["key_id"] == key_id(key)
    assert engine.log().count(f"keys that are not needed any more: {key_id(STATE_KEY)}") == 1
    produce.write(secured.bootstrap_servers, topic_name, produce.varied(100, seed=1))
    assert_becomes_equal(secured, secured, topic_name, f"link.{topic_name}")


def test_a_wrong_key_and_secrets_that_were_changed(secured: KafkaCluster, start_engine: StartEngine) -> None:
    """The engine ends with one line that says which key or which record; nobody else is disturbed by it."""
    engine = start_engine(secured.bootstrap_servers)
    for name in ("a", "b"):
        create(engine, link(secured, name=name))

    def tried(code: int, keys: tuple[str, ...]) -> tuple[EngineProcess, str]:
        process = start_engine(secured.bootstrap_servers, state_topic=engine.state_topic, state_keys=keys, wait=False)
        assert process.wait(60) == code, process.log_tail()
        assert "Traceback" not in process.log()
        return process, process.log().splitlines()[-1]

    for keys in ((), (new_key(),)):
        process, line = tried(2, keys)
        assert line.startswith(f'clusterlink: state.key_file: the key "{key_id(STATE_KEY)}" is needed for the secret')
        assert process.verify("a", code=2).stderr == f"{line}\n"
    assert len(engine.shards()) == 1
    assert engine.links.GetLink(v1.GetLinkRequest(name="a"), timeout=30).state == v1.LINK_STATE_ACTIVE
    assert engine.stop() == 0

    record = stored(secured, engine, "a")
    secret = secret_in(record)
    for wrong in ({**secret, "ciphertext": secret["ciphertext"][:8]}, secret_in(stored(secured, engine, "b"))):
        record["value"]["remote"]["sasl"]["password"] = wrong
        store(secured, engine, record, "a")
        _, line = tried(1, (STATE_KEY,))
        assert 'state record "link/a" cannot be decrypted: it was changed, or belongs to another place' in line
    record["value"]["remote"]["sasl"]["password"] = secret
    store(secured, engine, record, "a")
    engine.start()


@pytest.mark.slow
def test_the_key_is_changed_under_load(secured: KafkaCluster, start_engine: StartEngine, topic_name: str) -> None:
    """Two processes are restarted in turn with a new key before the old one, then without the old one; nothing is lost."""
    topics.create(secured.bootstrap_servers, topic_name, partitions=4)
    first = start_engine(secured.bootstrap_servers)
    create(first, link(secured))
    first.create_mirror("link", topic_name)
    mirror = f"link.{topic_name}"
    second = start_engine(secured.bootstrap_servers, state_topic=first.state_topic)
    first.wait_for_shares(second)
    closing = threading.Event()

    def write() -> None:
        seed = 0
        while not closing.is_set():
            seed += 1
            produce.write(secured.bootstrap_servers, topic_name, produce.varied(200, 4, seed=seed))

    writing = threading.Thread(target=write)
    writing.start()
    try:
        key = new_key()
        for keys in ((key, STATE_KEY), (key,)):
            for restarted, stays in ((first, second), (second, first)):
                restarted.key_file.write_text("\n".join(keys))
                assert restarted.stop() == 0
                before = sum(topics.log_ends(secured.bootstrap_servers, mirror).values())
                wait_until(
                    lambda known=before: sum(topics.log_ends(secured.bootstrap_servers, mirror).values()) > known,  # type: ignore[misc]
                    30,
                    "the other process to go on",
                )
                restarted.start()
                stays.wait_for_shares(restarted)
            assert secret_in(stored(secured, first))["key_id"] == key_id(key)
    finally:
        closing.set()
        writing.join()
    assert_becomes_equal(secured, secured, topic_name, mirror)
    logs = first.log() + second.log()
    assert f"the secrets of link/link are encrypted with the key {key_id(key)} now" in logs
    assert f"keys that are not needed any more: {key_id(STATE_KEY)}" in logs
    assert (first.stop(), second.stop()) == (0, 0)
