"""Every example is applied as its README says, against real clusters."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_proto import v1
from clusterlink_provider.engine_client import EngineClient
from tests.acceptance.engine import RealEngine
from tests.acceptance.terraform import Terraform
from tests.support import produce, topics
from tests.support.compare import assert_mirrors
from tests.support.waiting import wait_until

EXAMPLES = Path(__file__).parents[2] / "examples" / "terraform"
TOPICS = ("orders", "payments")


def _use(terraform: Terraform, example: str) -> None:
    for file in (EXAMPLES / example).iterdir():
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
    assert _outputs(terraform)["topics"] == dict.fromkeys(TOPICS, "STOPPED")
    for name in TOPICS:
        assert topics.log_ends(local, name) == {index: end + 1 for index, end in ends[name].items()}
        produce.write(local, name, [produce.Record(b"key", b"on the new cluster")])
    _destroy(terraform, [*given, f"-var={switch}=true"])  # else the plan before it is an error
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
    output = _outputs(terraform)
    assert (output["mirror_topic"], output["partitions"]) == ("orders", 3)
    ends = topics.log_ends(engine.remote_bootstrap, "orders")
    _wait_until_caught_up(engine.local_bootstrap, {"orders": ends})
    assert_mirrors(engine.remote_bootstrap, engine.local_bootstrap, "orders")
    _destroy(terraform, given)


def _outputs(terraform: Terraform) -> dict[str, object]:
    found = json.loads(terraform.run("output", "-json").output)
    return {name: output["value"] for name, output in found.items()}


def _destroy(terraform: Terraform, given: list[str]) -> None:
    terraform.run("destroy", "-json", "-auto-approve", "-input=false", *given)


def test_every_example_is_formatted_and_has_a_readme() -> None:
    listed = (EXAMPLES / "README.md").read_text()
    for example in (entry for entry in EXAMPLES.iterdir() if entry.is_dir()):
        assert (example / "README.md").is_file(), example
        assert f"[{example.name}]({example.name})" in listed
    checked = subprocess.run(
        ["terraform", "fmt", "-check", "-recursive", str(EXAMPLES)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


def test_disaster_recovery_takes_along_what_was_made_by_itself(terraform: Terraform, engine: RealEngine) -> None:
    prefix = "shop-dr."
    engine.create_source_topic(f"{prefix}orders")
    _use(terraform, "disaster-recovery")
    given = variables(
        {
            "engine_endpoint": engine.endpoint,
            "primary_bootstrap_servers": [engine.remote_bootstrap],
            "topics": [],
            "automatic_prefixes": [prefix],
        }
    )
    terraform.apply(*given)
    engine.create_source_topic(f"{prefix}later")
    wait_until(lambda: topics.exists(engine.local_bootstrap, f"{prefix}later"), 60, "the later topic to be mirrored")
    names = (f"{prefix}later", f"{prefix}orders")
    wait_until(lambda: _are_active(engine, *names), 60, "both topics to be ACTIVE")
    terraform.apply(*given)
    assert _outputs(terraform)["topics"] == dict.fromkeys(names, "ACTIVE")
    assert terraform.plan(*given).code == 0
    terraform.apply(*given, "-var=primary_is_lost=true")
    assert _outputs(terraform)["topics"] == dict.fromkeys(names, "STOPPED")
    assert terraform.plan(*given, "-var=primary_is_lost=true").code == 0
    _destroy(terraform, [*given, "-var=primary_is_lost=true"])


def test_three_sources_side_by_side(
    terraform: Terraform, engine: RealEngine, start_cluster: Callable[..., KafkaCluster]
) -> None:
    places = {"berlin": engine.remote_bootstrap, "madrid": "", "oslo": ""}
    for name, found in places.items():
        places[name] = found or start_cluster().bootstrap_servers
        if found:
            engine.create_source_topic("orders", 2)
        else:
            topics.create(places[name], "orders", 2)
        produce.write(places[name], "orders", produce.varied(50 + len(name), 2, seed=len(name)))
    _use(terraform, "aggregation")
    sources = {name: [servers] for name, servers in places.items()}
    given = variables({"engine_endpoint": engine.endpoint, "sources": sources, "topics": ["orders"]})
    terraform.apply(*given)
    assert terraform.plan(*given).code == 0
    assert _outputs(terraform)["mirror_topics"] == [f"{name}.orders" for name in places]
    for name, servers in places.items():
        mirror = f"{name}.orders"
        _wait_until_caught_up(engine.local_bootstrap, {mirror: topics.log_ends(servers, "orders")})
        assert_mirrors(servers, engine.local_bootstrap, "orders", mirror)
    _destroy(terraform, given)


def test_drift_is_found_by_the_commands_of_ci(terraform: Terraform, engine: RealEngine) -> None:
    engine.create_source_topic("orders")
    _use(terraform, "drift-detection")
    values = {"engine_endpoint": engine.endpoint, "source_bootstrap_servers": [engine.remote_bootstrap]}
    given = variables({**values, "topics": ["orders"]})
    terraform.apply(*given)

    def check(*more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["./check-drift.sh", *given, *more],
            cwd=terraform.directory,
            env=terraform.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    untouched = check()
    assert (untouched.returncode, untouched.stdout.splitlines()[-1]) == (0, "No drift."), untouched.stderr
    EngineClient(engine.endpoint).set_mirror_topic_paused("orders", "from-primary", True, seconds=30)
    drifted = check()
    assert drifted.returncode == 2
    assert re.search(r'status += "PAUSED" -> "ACTIVE"', drifted.stdout)
    terraform.apply(*given)
    assert check().returncode == 0
    assert check("-var=engine_endpoint=127.0.0.1:9").returncode == 1
    secured = check("-var=engine_tls={}")  # which this engine does not speak
    assert secured.returncode == 1
    assert "No secure connection to the engine" in secured.stdout + secured.stderr
    _destroy(terraform, given)


def test_the_workflow_runs_those_commands() -> None:
    workflow = (EXAMPLES / "drift-detection" / "drift.yml").read_text()
    assert "run: ./check-drift.sh" in workflow
    assert "terraform_wrapper: false" in workflow


def test_what_exists_is_imported_and_nothing_changes(
    terraform: Terraform, engine: RealEngine, client: EngineClient
) -> None:
    for name in TOPICS:
        engine.create_source_topic(name)
    remote = v1.RemoteCluster(bootstrap_servers=[engine.remote_bootstrap])
    client.create_link(v1.Link(name="by-hand", remote_cluster=remote), token="", seconds=60)
    for name in TOPICS:
        client.create_mirror_topic(v1.MirrorTopic(link="by-hand", source_topic=name), token="", seconds=60)
    _use(terraform, "importing")
    given = variables(
        {
            "engine_endpoint": engine.endpoint,
            "link": "by-hand",
            "source_bootstrap_servers": [engine.remote_bootstrap],
        }
    )
    imported = terraform.apply(*given)
    summary = next(event for event in imported.events if event["type"] == "change_summary")["changes"]
    assert (summary["import"], summary["add"], summary["change"], summary["remove"]) == (3, 0, 0, 0)
    assert _outputs(terraform)["imported"] == sorted(TOPICS)
    assert terraform.plan(*given).code == 0
    _destroy(terraform, given)


def test_a_password_that_is_kept_nowhere(
    terraform: Terraform, engine: RealEngine, start_cluster: Callable[..., KafkaCluster]
) -> None:
    first, second = "first-secret", "second-secret"
    settings = {"super.users": "User:ANONYMOUS;User:mirror"}
    source = start_cluster(users={"mirror": first}, settings=settings)
    topics.create(source.bootstrap_servers, "orders")
    _use(terraform, "ephemeral-secrets")
    values = {"engine_endpoint": engine.endpoint, "source_bootstrap_servers": [source.sasl_bootstrap_servers]}
    given = variables({**values, "username": "mirror"})
    printed = ""
    for number, password in enumerate((first, second), start=1):
        source.set_password("mirror", password)
        terraform.environment["TF_VAR_password"] = password
        printed += terraform.apply(*given, f"-var=password_version={number}").output
        assert terraform.plan(*given, f"-var=password_version={number}").code == 0
        produce.write(source.bootstrap_servers, "orders", produce.varied(20, 1, seed=number))
    _wait_until_caught_up(engine.local_bootstrap, {"orders": topics.log_ends(source.bootstrap_servers, "orders")})
    state = (terraform.directory / "terraform.tfstate").read_text()
    assert "password_wo_version" in state
    assert not any(secret in printed + state for secret in (first, second))
    _destroy(terraform, [*given, "-var=password_version=2"])
    topics.delete(engine.local_bootstrap, "orders")


def test_a_read_replica_finds_its_topics_by_itself(terraform: Terraform, engine: RealEngine) -> None:
    prefix = "shop-replica."
    for name in ("orders", "secrets"):
        engine.create_source_topic(f"{prefix}{name}")
    _use(terraform, "read-replica")
    given = variables(
        {
            "engine_endpoint": engine.endpoint,
            "production_bootstrap_servers": [engine.remote_bootstrap],
            "prefixes": [prefix],
            "excluded": [f"{prefix}secrets"],
        }
    )
    terraform.apply(*given)
    wait_until(lambda: _are_active(engine, f"{prefix}orders"), 60, "the topic to be mirrored")
    engine.create_source_topic(f"{prefix}later")
    wait_until(lambda: _are_active(engine, f"{prefix}later"), 60, "the later topic to be mirrored")
    terraform.apply(*given)
    assert _outputs(terraform)["topics"] == [f"{prefix}later", f"{prefix}orders"]
    assert terraform.plan(*given).code == 0
    client = EngineClient(engine.endpoint)
    for name in ("orders", "later"):
        client.delete_mirror_topic(f"{prefix}{name}", "from-production", v1.TOPIC_DISPOSAL_KEEP_TOPIC, seconds=60)
    _destroy(terraform, given)


def test_a_filtered_set_of_topics_is_shared(terraform: Terraform, engine: RealEngine) -> None:
    for name in TOPICS:
        engine.create_source_topic(name, 2)
        produce.write(engine.remote_bootstrap, name, produce.varied(50, 2))
    _use(terraform, "sharing")
    values = {"engine_endpoint": engine.endpoint, "owner_bootstrap_servers": [engine.remote_bootstrap], "owner": "shop"}
    given = variables({**values, "topics": ["orders"]})
    terraform.apply(*given)
    assert terraform.plan(*given).code == 0
    assert _outputs(terraform)["topics"] == {"orders": "shop.orders"}
    _wait_until_caught_up(engine.local_bootstrap, {"shop.orders": topics.log_ends(engine.remote_bootstrap, "orders")})
    assert_mirrors(engine.remote_bootstrap, engine.local_bootstrap, "orders", "shop.orders")
    assert not topics.exists(engine.local_bootstrap, "shop.payments")
    terraform.apply(*given, "-var=paused=true")
    assert terraform.plan(*given, "-var=paused=true").code == 0
    _destroy(terraform, given)


def _are_active(engine: RealEngine, *names: str) -> bool:
    client = EngineClient(engine.endpoint)
    found = [client.get_mirror_topic(name) for name in names]
    return all(topic is not None and topic.state == v1.MIRROR_TOPIC_STATE_ACTIVE for topic in found)


def _wait_until_caught_up(local: str, ends: Mapping[str, Mapping[int, int]]) -> None:
    wait_until(
        lambda: all(topics.log_ends(local, name) == found for name, found in ends.items()),
        30,
        "the topics to be mirrored",
    )
