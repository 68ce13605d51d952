"""Links with a user, on a cluster that looks at passwords."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_proto import v1
from clusterlink_provider.engine_client import EngineClient
from tests.acceptance.resident import ResidentProvider
from tests.acceptance.terraform import Terraform, blamed
from tests.support.engine import EngineProcess

LINK = "clusterlink_link.secured"
RIGHT, WRONG = "a-secret, with=signs", "another-word"

SASL = """sasl = {
      mechanism           = "SCRAM-SHA-512"
      username            = "mirror"
      password_wo         = var.password
      password_wo_version = %d
    }"""


@pytest.fixture(scope="module")
def secured() -> Iterator[KafkaCluster]:
    """A cluster with one user, and a listener where nobody is asked."""
    settings = {"super.users": "User:ANONYMOUS;User:mirror"}
    with KafkaCluster(users={"mirror": RIGHT}, settings=settings, name="secured") as cluster:
        yield cluster


def link(servers: str, *remote: str) -> str:
    lines = "\n    ".join(remote)
    return f"""
variable "password" {{
  type      = string
  ephemeral = true
}}
resource "clusterlink_link" "secured" {{
  name           = "secured"
  remote_cluster = {{
    bootstrap_servers = ["{servers}"]
    {lines}
  }}
}}
"""


def secured_link(secured: KafkaCluster, version: int) -> str:
    return link(secured.sasl_bootstrap_servers, 'security_protocol = "SASL_PLAINTEXT"', SASL % version)


def test_a_wrong_password_is_refused_and_changes_nothing(
    terraform: Terraform, secured: KafkaCluster, client: EngineClient
) -> None:
    terraform.environment["TF_VAR_password"] = WRONG
    terraform.write(secured_link(secured, 1))
    refused = terraform.apply(check=False)
    assert blamed(refused.error("Cannot create the link secured", 'refused the user "mirror"')) == "sasl = {"
    assert terraform.state == {}
    terraform.environment["TF_VAR_password"] = RIGHT
    terraform.step(secured_link(secured, 1), {LINK: "create"})
    terraform.environment["TF_VAR_password"] = WRONG
    terraform.write(secured_link(secured, 2))
    refused = terraform.apply(check=False)
    assert refused.error("Cannot update the link secured", 'refused the user "mirror"')
    assert terraform.state[LINK]["remote_cluster"]["sasl"]["password_wo_version"] == 1
    assert WRONG not in refused.output
    made = client.get_link("secured")
    assert made is not None
    assert made.state == v1.LINK_STATE_ACTIVE
    terraform.environment["TF_VAR_password"] = RIGHT
    terraform.step(secured_link(secured, 2), {LINK: "update"})


def test_a_link_moves_to_the_listener_that_asks_for_users(terraform: Terraform, secured: KafkaCluster) -> None:
    terraform.environment["TF_VAR_password"] = RIGHT
    terraform.step(link(secured.bootstrap_servers), {LINK: "create"})
    made = terraform.state[LINK]["link_id"]
    terraform.step(secured_link(secured, 1), {LINK: "update"})
    assert terraform.state[LINK]["link_id"] == made
    assert terraform.state[LINK]["state"] == "ACTIVE"
    terraform.step(link(secured.bootstrap_servers), {LINK: "update"})


def test_a_link_that_begins_at_the_end(terraform: Terraform, secured: KafkaCluster, client: EngineClient) -> None:
    begun = link(secured.bootstrap_servers).replace(
        "remote_cluster", 'mirror_start_offset = "latest"\n  remote_cluster'
    )
    terraform.environment["TF_VAR_password"] = ""
    terraform.step(begun, {LINK: "create"})
    made = client.get_link("secured")
    assert made is not None
    assert made.mirror_start_offset == "latest"
    terraform.step(link(secured.bootstrap_servers), {LINK: "replace"})


def test_an_engine_without_a_key_refuses_a_password_at_plan(
    secured: KafkaCluster, start_engine: Callable[..., EngineProcess], resident: ResidentProvider, tmp_path: Path
) -> None:
    engine = start_engine(state_keys=())
    terraform = Terraform(tmp_path / "work", tmp_path / "no-plugins", engine.endpoint, resident.reattach)
    terraform.environment["TF_VAR_password"] = RIGHT
    terraform.write(secured_link(secured, 1))
    refused = terraform.plan()
    assert blamed(refused.error("no key to encrypt secrets with", "clusterlink state-key new")) == "sasl = {"
    assert RIGHT not in refused.output
