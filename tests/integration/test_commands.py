"""The commands of an operator, against a running engine."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from clusterlink_engine.devkit.kafka import KafkaCluster
from tests.support import produce, topics
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal

StartEngine = Callable[..., EngineProcess]


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
    assert engine.run("link", "list").stdout.splitlines()[1].split()[:2] == ["link", "ACTIVE"]
    described = dict(line.split(None, 1) for line in engine.run("link", "describe", "link").stdout.splitlines())
    assert (described["state"], described["ConsumerOffsetSync"]) == ("ACTIVE", "NOT_CONFIGURED")
    assert described["foreign"].split(None, 1)[1] == "noticed, not prevented (DETECTION_ONLY)"
    tasks = [line.split() for line in engine.run("link", "task", "list", "link").stdout.splitlines()]
    assert tasks[0] == ["TASK", "STATE", "ERROR", "WHY"]
    assert ["TopicConfigsSync", "ACTIVE"] in tasks
    assert engine.run("mirror", "list", "--link", "link").stdout.count(" ACTIVE") == 2
    engine.run("mirror", "pause", topic_name)
    assert engine.state(topic_name) == "PAUSED"
    engine.run("mirror", "resume", topic_name)
    engine.run("link", "pause", "link")
    assert engine.state(topic_name) == "LINK_PAUSED"
    engine.run("link", "resume", "link")
    tried = json.loads(engine.run("mirror", "promote", topic_name, "--dry-run", "-o", "json").stdout)
    assert (tried["name"], len(tried["partitions"])) == (topic_name, 2)
    assert engine.state(topic_name) == "ACTIVE"
    assert "STOPPED" in engine.run("mirror", "promote", topic_name).stdout
    engine.run("link", "pause", "link")
    assert json.loads(engine.run("mirror", "promote", other, "--no-wait", "-o", "json").stdout)["stop"]
    assert "LINK_PAUSED" in engine.run("mirror", "promote", other, "--cancel").stdout
    assert "STOPPED" in engine.run("mirror", "failover", other).stdout
    refused = engine.run("mirror", "failover", other, code=1)
    assert refused.stderr == f'clusterlink: The topic "{other}" has already stopped its mirror from "link".\n'


def test_checking_a_link_that_is_there_and_one_that_is_not(
    source_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """On clusters where everybody may do everything; nothing is made."""
    engine = start_engine()
    described = ["--remote-bootstrap-server", source_cluster.bootstrap_servers, "--topic", topic_name]
    rows = json.loads(engine.run("link", "check", "link", *described, "-o", "json").stdout)["checks"]
    found = {(row["side"], row["check"]): row["status"] for row in rows}
    assert found["LINK_SIDE_LOCAL", "CREATE on mirror topics"] == "CHECK_STATUS_PRESENT"
    assert "ALTER on the cluster" not in {name for side, name in found if side == "LINK_SIDE_REMOTE"}
    assert engine.run("link", "list").stdout.splitlines()[1:] == []
    refused = engine.run("link", "check", "link", code=1)
    assert refused.stderr == 'clusterlink: There is no link "link".\n'
    engine.create_link("link", source_cluster.bootstrap_servers)
    topics.create(source_cluster.bootstrap_servers, topic_name)
    engine.create_mirror("link", topic_name)
    shown = engine.run("link", "check", "link").stdout
    assert next(line for line in shown.splitlines() if line.startswith("READ on source topics")).endswith(topic_name)
    wrong = engine.run("link", "check", "link", *described, "--remote-cluster", "another", code=1)
    assert "another was expected" in wrong.stdout


def test_making_changing_and_deleting(
    source_cluster: KafkaCluster,
    destination_cluster: KafkaCluster,
    start_engine: StartEngine,
    topic_name: str,
    tmp_path: Path,
) -> None:
    engine = start_engine()
    filters = '{"groupFilters":[{"name":"app","patternType":"PREFIXED","filterType":"INCLUDE"}]}'
    (tmp_path / "groups.json").write_text(filters)
    (tmp_path / "link.properties").write_text("# slower than usual\ntopic.config.sync.ms=9000\n")
    create = [
        *("link", "create", "link", "--source-bootstrap-server", source_cluster.bootstrap_servers),
        *("--config", "cluster.link.prefix=p.,consumer.offset.sync.enable=true,request.timeout.ms=20000"),
        *("--config-file", str(tmp_path / "link.properties")),
        *("--consumer-group-filters-json-file", str(tmp_path / "groups.json")),
    ]
    engine.run(*create, "--dry-run")
    assert json.loads(engine.run("link", "list", "-o", "json").stdout)["links"] == []
    assert "ACTIVE" in engine.run(*create).stdout
    engine.run("link", "update", "link", "--config", "topic.config.sync.include=retention.ms,segment.bytes")
    engine.run("link", "configuration", "update", "link", "--config", "acl.sync.ms=7000,request.timeout.ms=")
    listed = json.loads(engine.run("link", "configuration", "list", "link", "-o", "json").stdout)
    values = {entry["name"]: entry["value"] for entry in listed}
    assert values["consumer.offset.group.filters"] == filters
    assert values["topic.config.sync.include"] == "retention.ms,segment.bytes"
    assert (values["topic.config.sync.ms"], values["acl.sync.ms"]) == ("9000", "7000")
    assert (values["request.timeout.ms"], values["cluster.link.prefix"]) == ("30000", "p.")
    assert {entry["name"] for entry in listed if entry["read_only"] == "yes"} >= {"cluster.link.prefix", "link.mode"}
    refused = engine.run("link", "configuration", "update", "link", "--config", "cluster.link.prefix=q.", code=1)
    assert "cannot be changed" in refused.stderr

    topics.create(source_cluster.bootstrap_servers, topic_name)
    produce.write(source_cluster.bootstrap_servers, topic_name, produce.varied(100, 1))
    mirror = ("mirror", "create", topic_name, "--link", "link", "--config", "min.cleanable.dirty.ratio=0.4")
    name = f"p.{topic_name}"
    assert name in engine.run(*mirror, "--dry-run").stdout
    assert engine.run("mirror", "list").stdout.splitlines()[1:] == []
    engine.run(*mirror)
    assert_becomes_equal(source_cluster, destination_cluster, topic_name, name)
    listed_mirror = engine.run("mirror", "list").stdout.splitlines()[1].split()
    assert listed_mirror == [name, "link", topic_name, "REMOTE_TO_LOCAL", "ACTIVE"]
    assert "delete them first" in engine.run("link", "delete", "link", code=1).stderr
    engine.run("mirror", "delete", name)
    assert topics.exists(destination_cluster.bootstrap_servers, name)
    engine.run("mirror", "create", name, "--source-topic", topic_name, "--link", "link", "--config", mirror[-1])
    engine.run("mirror", "delete", name, "--delete-topic", "--yes")
    assert not topics.exists(destination_cluster.bootstrap_servers, name)
    engine.run("link", "delete", "link")
    assert engine.run("link", "list").stdout.splitlines()[1:] == []


def test_going_back(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, start_engine: StartEngine, topic_name: str
) -> None:
    """Failed over, the old primary restored with what it had alone discarded, and home again."""
    here, there = source_cluster.bootstrap_servers, destination_cluster.bootstrap_servers
    topics.create(here, topic_name, partitions=2)
    produce.write(here, topic_name, produce.varied(100, 2))
    engine = start_engine()
    engine.run("link", "create", "link", "--remote-bootstrap-server", here, "--mode", "BIDIRECTIONAL")
    engine.run("mirror", "create", topic_name, "--link", "link")
    assert_becomes_equal(source_cluster, destination_cluster, topic_name)
    engine.run("mirror", "pause", topic_name)
    produce.write(here, topic_name, [produce.Record(b"key", b"never mirrored", partition=1)] * 3)
    engine.run("mirror", "failover", topic_name)
    produce.write(there, topic_name, produce.varied(100, 2, seed=1))

    shown = engine.run("mirror", "truncate-and-restore", topic_name, "--dry-run").stdout
    assert [line.split()[-1] for line in shown.splitlines()] == ["DISCARDED", "0", "3"]
    assert "give --yes" in engine.run("mirror", "truncate-and-restore", topic_name, code=2).stderr
    assert engine.state(topic_name) == "STOPPED"
    restored = json.loads(engine.run("mirror", "truncate-and-restore", topic_name, "--yes", "-o", "json").stdout)
    assert (restored["direction"], restored["state"]) == (
        "MIRROR_DIRECTION_LOCAL_TO_REMOTE",
        "MIRROR_TOPIC_STATE_ACTIVE",
    )
    assert_becomes_equal(destination_cluster, source_cluster, topic_name, raw=False)

    own = topics.log_ends(there, topic_name)
    engine.run("mirror", "reverse-and-start", topic_name, "--dry-run")
    home = engine.run("mirror", "reverse-and-start", topic_name)
    described = dict(line.split(None, 1) for line in home.stdout.splitlines()[:5])
    assert (described["direction"], described["state"]) == ("REMOTE_TO_LOCAL", "ACTIVE")
    assert "is a mirror topic as before" not in home.stderr
    produce.write(here, topic_name, produce.varied(100, 2, seed=2))
    assert_becomes_equal(source_cluster, destination_cluster, topic_name, raw=False, own_until=own)


def test_an_engine_that_is_not_there() -> None:
    command = [sys.executable, "-m", "clusterlink_engine", "link", "list", "--engine", "127.0.0.1:1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("clusterlink: the engine at 127.0.0.1:1: ")
