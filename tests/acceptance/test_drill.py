"""The disaster drill, from the first apply until everything is at home again, as examples/terraform/going-back describes it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka.admin import (
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from clusterlink_engine.devkit.kafka import KafkaCluster
from tests.acceptance.resident import ResidentProvider
from tests.acceptance.terraform import Terraform
from tests.acceptance.test_examples import EXAMPLES, variables
from tests.support import groups, produce, reading, rights, sources, topics
from tests.support.engine import EngineProcess
from tests.support.equality import assert_becomes_equal
from tests.support.waiting import wait_until

TOPICS = {"orders": 3, "payments": 2}


def _write(cluster: KafkaCluster, seed: int) -> None:
    """Plain records, committed and aborted ones, on both topics."""
    for topic, partitions in TOPICS.items():
        records = produce.varied(200, partitions, seed=seed)
        produce.write(cluster.bootstrap_servers, topic, records, settings={"batch.num.messages": 20})
        sources.write_transactions(cluster.bootstrap_servers, topic, partitions=partitions, rounds=20, seed=seed)


def test_the_whole_way_to_the_other_cluster_and_home(
    start_cluster: Callable[..., KafkaCluster], log_directory: Path, tmp_path: Path, resident: ResidentProvider
) -> None:
    primary, dr = (start_cluster(users={"app": "s"}, name=name) for name in ("primary", "dr"))
    for topic, partitions in TOPICS.items():
        config = {"retention.ms": "86400000000", "compression.type": "zstd"}
        topics.create(primary.bootstrap_servers, topic, partitions=partitions, config=config)
    rights.grant(
        primary.bootstrap_servers,
        "app",
        [(ResourceType.TOPIC, "orders", ResourcePatternType.LITERAL, AclOperation.READ)],
    )
    engine = EngineProcess(dr.bootstrap_servers, log_directory)
    terraform = Terraform(tmp_path / "work", tmp_path / "no-plugins", engine.endpoint, resident.reattach)
    for file in (EXAMPLES / "going-back").glob("*.tf"):
        shutil.copy(file, terraform.directory)
    given = variables(
        {
            "engine_endpoint": engine.endpoint,
            "primary_bootstrap_servers": [primary.bootstrap_servers],
            "topics": list(TOPICS),
            "copy_acls": "true",
        }
    )
    lost = [*given, "-var=primary_is_lost=true"]
    billing = groups.MovingGroup("billing", "orders", TOPICS["orders"])

    def is_in_step() -> bool:
        return billing.places(primary.bootstrap_servers) == billing.places(dr.bootstrap_servers)

    engine.start()
    try:
        # Every day.
        terraform.run("init", "-no-color")
        terraform.apply(*given)
        _write(primary, 1)
        billing.read(primary.bootstrap_servers, most=150)
        for topic in TOPICS:
            assert_becomes_equal(primary, dr, topic, raw=False)
        wait_until(
            is_in_step,
            60,
            "the group's offsets to come over",
        )
        wait_until(lambda: _acls(primary) <= _acls(dr), 60, "the ACL to come over")
        assert terraform.plan(*given).code == 0

        # The worst night.
        common = {topic: topics.log_ends(primary.bootstrap_servers, topic) for topic in TOPICS}
        primary.nodes[0].kill()
        terraform.apply(*lost)
        assert terraform.plan(*lost).code == 0
        for topic, ends in common.items():
            assert topics.settings(dr.bootstrap_servers, topic)["retention.ms"] == "86400000000"
            sealed = {index: end + 1 for index, end in ends.items()}
            assert topics.log_ends(dr.bootstrap_servers, topic) == sealed
        billing.read(dr.bootstrap_servers)
        _write(dr, 2)
        billing.read(dr.bootstrap_servers)
        assert sorted(billing.seen) == reading.visible(dr.bootstrap_servers, "orders"), "a record twice, or none"

        # The primary is back, and somebody has not heard of the move.
        primary.nodes[0].start()
        _write(primary, 3)
        alone = {
            topic: sum(topics.log_ends(primary.bootstrap_servers, topic).values()) - sum(ends.values())
            for topic, ends in common.items()
        }
        wait_until(lambda: engine.run("link", "list").stdout.count("ACTIVE") == 1, 60, "the primary to be seen")
        assert terraform.plan(*lost).code == 0
        for topic in TOPICS:
            asked = engine.run("mirror", "truncate-and-restore", topic, "--dry-run").stdout
            assert sum(int(line.split()[2].replace(",", "")) for line in asked.splitlines()[1:]) == alone[topic]
            engine.run("mirror", "truncate-and-restore", topic, "--yes")
            assert_becomes_equal(dr, primary, topic, raw=False)
        engine.verify("primary", "--at-rest")
        wait_until(
            is_in_step,
            60,
            "the group's offsets to come back",
        )
        assert terraform.plan(*lost).diagnostics("warning")[0]["summary"] == "Mirror topic was reversed"
        assert set(terraform.apply(*given).actions.values()) == {"update"}, "it takes note, and changes nothing"
        assert terraform.plan(*given).code == 0

        # Home.
        own = {topic: topics.log_ends(dr.bootstrap_servers, topic) for topic in TOPICS}
        for topic in TOPICS:
            engine.run("mirror", "reverse-and-start", topic)
        _write(primary, 4)
        for topic in TOPICS:
            assert_becomes_equal(primary, dr, topic, raw=False, own_until=own[topic])
        billing.read(primary.bootstrap_servers)
        assert sorted(billing.seen) == reading.visible(primary.bootstrap_servers, "orders"), "a record twice, or none"
        wait_until(
            is_in_step,
            60,
            "the group's offsets to come over again",
        )
        assert terraform.plan(*given).code == 0
        engine.verify("primary", "--at-rest")
        terraform.run("destroy", "-json", "-auto-approve", "-input=false", *given)
    finally:
        engine.close()


def _acls(cluster: KafkaCluster) -> set[str]:
    client = topics.admin(cluster.bootstrap_servers)
    everything: Any = (
        ResourceType.ANY,
        None,
        ResourcePatternType.ANY,
        None,
        None,
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    return {str(acl) for acl in client.describe_acls(AclBindingFilter(*everything)).result(30)}
