"""Which verb is refused in which state of a mirror topic, and changes nothing. What is allowed is shown where it is done."""

from collections.abc import Callable

import grpc
import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_proto import v1
from tests.support import produce, topics
from tests.support.engine import EngineProcess
from tests.support.waiting import wait_until

StartEngine = Callable[..., EngineProcess]

VERBS: dict[str, Callable[[EngineProcess, str], object]] = {
    "pause": EngineProcess.pause,
    "resume": EngineProcess.resume,
    "promote": EngineProcess.promote,
    "cancel": EngineProcess.cancel_promote,
    "failover": EngineProcess.failover,
    "reverse-and-start": EngineProcess.reverse,
    "reverse-and-pause": lambda engine, name: engine.reverse(name, paused=True),
    "truncate-and-restore": EngineProcess.restore,
    "delete with its topic": EngineProcess.delete_mirror,
    "create": lambda engine, name: engine.create_mirror("both", name),
}

# A verb that is asked for again while it is under way is no refusal, and what a state is there for is done elsewhere.
REFUSED: dict[str, set[str]] = {
    "ACTIVE": {"cancel", "truncate-and-restore", "create"},
    "PAUSED": {"cancel", "truncate-and-restore", "create"},
    "LINK_PAUSED": {"cancel", "truncate-and-restore", "create"},
    "FAILED": {"cancel", "promote", "reverse-and-start", "reverse-and-pause", "truncate-and-restore", "create"},
    "PENDING_STOPPED": {
        "pause",
        "resume",
        "reverse-and-start",
        "reverse-and-pause",
        "truncate-and-restore",
        "create",
    },
    "PENDING_SYNCHRONIZE": {"pause", "resume", "promote", "reverse-and-pause", "truncate-and-restore", "create"},
    "STOPPED": {
        "pause",
        "resume",
        "promote",
        "cancel",
        "failover",
        "reverse-and-start",
        "reverse-and-pause",
        "delete with its topic",
        "create",
    },
}


def _bring_about(engine: EngineProcess, destination: KafkaCluster, name: str, state: str) -> None:
    """Brings a mirror topic that is ACTIVE into a state that lasts."""
    if state == "PAUSED":
        engine.pause(name)
    elif state == "FAILED":
        produce.write(destination.bootstrap_servers, name, [produce.Record(b"k", b"foreign")])
    elif state == "STOPPED":
        engine.failover(name)
    elif state in ("LINK_PAUSED", "PENDING_STOPPED", "PENDING_SYNCHRONIZE"):
        engine.links.PauseLink(v1.PauseLinkRequest(name="both"), timeout=60)
        if state == "PENDING_STOPPED":
            engine.promote(name)
        elif state == "PENDING_SYNCHRONIZE":
            engine.reverse(name)
    wait_until(lambda: engine.state(name) == state, 60, f"the mirror topic to be {state}")


def test_what_a_state_refuses(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    engine = start_engine()
    engine.create_link("both", source_cluster.bootstrap_servers, mode=v1.LINK_MODE_BIDIRECTIONAL)
    for state, refused in REFUSED.items():
        name = f"{topic_name}-{state}"
        topics.create(source_cluster.bootstrap_servers, name)
        produce.write(source_cluster.bootstrap_servers, name, produce.varied(20))
        engine.create_mirror("both", name)
        engine.wait_until_caught_up(name, source_cluster)
        _bring_about(engine, destination_cluster, name, state)
        for verb in sorted(refused):
            with pytest.raises(grpc.RpcError) as caught:
                VERBS[verb](engine, name)
            code = caught.value.code()
            wanted = grpc.StatusCode.ALREADY_EXISTS if verb == "create" else grpc.StatusCode.FAILED_PRECONDITION
            assert code is wanted, f"{verb} in {state}: {caught.value}"
            assert engine.state(name) == state, f"{verb} in {state}"
        engine.links.ResumeLink(v1.ResumeLinkRequest(name="both"), timeout=60)
