"""The commands of an operator, against a running engine."""

import json
import subprocess
import sys
from collections.abc import Callable

from clusterlink_engine.devkit.kafka import KafkaCluster
from tests.support import produce, topics
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal

StartEngine = Callable[..., EngineProcess]


def _run(engine: EngineProcess, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clusterlink_engine", *arguments, "--engine", engine.endpoint]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done


def test_looking_pausing_promoting_and_failing_over(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    other = f"{topic_name}-2"
    engine = start_engine()
    engine.create_link("link", source_cluster.bootstrap_servers)
    for name in (topic_name, other):
        topics.create(source_cluster.bootstrap_servers, name, partitions=2)
        produce.write(source_cluster.bootstrap_servers, name, produce.varied(100, 2))
        engine.create_mirror("link", name)
        assert_becomes_equal(source_cluster, destination_cluster, name)
    assert _run(engine, "link", "list").stdout.splitlines()[1].split()[:2] == ["link", "ACTIVE"]
    described = dict(line.split(None, 1) for line in _run(engine, "link", "describe", "link").stdout.splitlines())
    assert (described["state"], described["ConsumerOffsetSync"]) == ("ACTIVE", "NOT_CONFIGURED")
    tasks = [line.split() for line in _run(engine, "link", "task", "list", "link").stdout.splitlines()]
    assert tasks[0] == ["TASK", "STATE", "ERROR", "WHY"]
    assert ["TopicConfigsSync", "ACTIVE"] in tasks
    assert _run(engine, "mirror", "list", "--link", "link").stdout.count(" ACTIVE") == 2
    _run(engine, "mirror", "pause", topic_name)
    assert engine.state(topic_name) == "PAUSED"
    _run(engine, "mirror", "resume", topic_name)
    _run(engine, "link", "pause", "link")
    assert engine.state(topic_name) == "LINK_PAUSED"
    _run(engine, "link", "resume", "link")
    tried = json.loads(_run(engine, "mirror", "promote", topic_name, "--dry-run", "-o", "json").stdout)
    assert (tried["name"], len(tried["partitions"])) == (topic_name, 2)
    assert engine.state(topic_name) == "ACTIVE"
    assert "STOPPED" in _run(engine, "mirror", "promote", topic_name).stdout
    _run(engine, "link", "pause", "link")
    assert json.loads(_run(engine, "mirror", "promote", other, "--no-wait", "-o", "json").stdout)["stop"]
    assert "LINK_PAUSED" in _run(engine, "mirror", "promote", other, "--cancel").stdout
    assert "STOPPED" in _run(engine, "mirror", "failover", other).stdout
    refused = _run(engine, "mirror", "failover", other, code=1)
    assert refused.stderr == f'clusterlink: The topic "{other}" has already stopped its mirror from "link".\n'


def test_an_engine_that_is_not_there() -> None:
    command = [sys.executable, "-m", "clusterlink_engine", "link", "list", "--engine", "127.0.0.1:1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("clusterlink: the engine at 127.0.0.1:1: ")
