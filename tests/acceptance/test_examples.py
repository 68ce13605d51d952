"""Every example is applied as its README says, against real clusters."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.acceptance.engine import RealEngine
from tests.acceptance.terraform import Terraform
from tests.support import produce, topics
from tests.support.compare import assert_mirrors
from tests.support.waiting import wait_until

EXAMPLES = Path(__file__).parents[2] / "examples" / "terraform"
TOPICS = ("orders", "payments")


def _use(terraform: Terraform, example: str) -> None:
    for file in (EXAMPLES / example).glob("*.tf"):
        shutil.copy(file, terraform.directory)
    terraform.run("init", "-no-color")


def variables(values: Mapping[str, object]) -> list[str]:
    return [f"-var={name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in values.items()]


@pytest.mark.parametrize(
    ("example", "servers", "switch"),
    [
        ("migration", "old_bootstrap_servers", "cut_over"),
        ("disaster-recovery", "primary_bootstrap_servers", "primary_is_lost"),
    ],
)
def test_topics_are_mirrored_and_then_become_topics_like_any_other(
    terraform: Terraform, engine: RealEngine, example: str, servers: str, switch: str
) -> None:
    local, remote = engine.local_bootstrap, engine.remote_bootstrap
    for name in TOPICS:
        engine.create_source_topic(name, 2)
        produce.write(remote, name, produce.varied(200, 2))
    _use(terraform, example)
    given = variables({"engine_endpoint": engine.endpoint, servers: [remote], "topics": TOPICS})
    terraform.apply(*given)
    assert terraform.plan(*given).code == 0
    ends = {name: topics.log_ends(remote, name) for name in TOPICS}
    if example == "disaster-recovery":  # it takes what is there
        _wait_until_caught_up(local, ends)
    terraform.apply(*given, f"-var={switch}=true")
    assert terraform.plan(*given, f"-var={switch}=true").code == 0
    output = json.loads(terraform.run("output", "-json").output)
    assert output["topics"]["value"] == dict.fromkeys(TOPICS, "STOPPED")
    for name in TOPICS:
        assert topics.log_ends(local, name) == {index: end + 1 for index, end in ends[name].items()}
        produce.write(local, name, [produce.Record(b"key", b"on the new cluster")])
    terraform.run("destroy", "-json", "-auto-approve", "-input=false", *given)
    assert all(topics.exists(local, name) for name in TOPICS)


def test_the_quick_start(terraform: Terraform, engine: RealEngine) -> None:
    engine.create_source_topic("orders", 3)
    produce.write(engine.remote_bootstrap, "orders", produce.varied(100, 3))
    _use(terraform, "quickstart")
    given = variables(
        {
            "engine_endpoint": engine.endpoint,
            "source_bootstrap_servers": [engine.remote_bootstrap],
            "source_topic": "orders",
        }
    )
    terraform.apply(*given)
    assert terraform.plan(*given).code == 0
    output = json.loads(terraform.run("output", "-json").output)
    assert (output["mirror_topic"]["value"], output["partitions"]["value"]) == ("orders", 3)
    ends = topics.log_ends(engine.remote_bootstrap, "orders")
    _wait_until_caught_up(engine.local_bootstrap, {"orders": ends})
    assert_mirrors(engine.remote_bootstrap, engine.local_bootstrap, "orders")
    terraform.run("destroy", "-json", "-auto-approve", "-input=false", *given)


def _wait_until_caught_up(local: str, ends: Mapping[str, Mapping[int, int]]) -> None:
    wait_until(
        lambda: all(topics.log_ends(local, name) == found for name, found in ends.items()),
        30,
        "the topics to be mirrored",
    )
