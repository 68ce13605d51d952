"""Links with a user, on a cluster that looks at passwords."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_proto import v1
from clusterlink_provider.engine_client import EngineClient
from tests.acceptance.engine import RealEngine
from tests.acceptance.resident import ResidentProvider
from tests.acceptance.terraform import Terraform, blamed
from tests.support import produce, topics, ways
from tests.support.compare import assert_mirrors
from tests.support.engine import EngineProcess
from tests.support.token_server import TokenServer
from tests.support.waiting import wait_until

LINK = "clusterlink_link.secured"
RIGHT, WRONG, OTHER = ways.PASSWORD, "another-word", "one more word"

SASL = """sasl = {
      mechanism           = "SCRAM-SHA-512"
      username            = "mirror"
      password_wo         = var.password
      password_wo_version = %d
    }"""


BEARER = """sasl = {
      mechanism = "OAUTHBEARER"
      oauth = {
        token_endpoint_url       = "%s"
        client_id                = "mirror"
        client_secret_wo         = var.password
        client_secret_wo_version = %d
      }
    }"""


@pytest.fixture(scope="module")
def server() -> Iterator[TokenServer]:
    """Who grants tokens."""
    with ways.token_server() as running:
        yield running


@pytest.fixture(scope="module")
def secured(server: TokenServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """A cluster with one user, and a listener of each kind."""
    with ways.secured_cluster(server, tmp_path_factory.mktemp("keys"), name="secured") as cluster:
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


def test_the_secret_of_a_client_is_changed_in_place(
    terraform: Terraform, secured: KafkaCluster, server: TokenServer
) -> None:
    """Also one that the endpoint does not know is refused with its words, and changes nothing."""

    def config(version: int) -> str:
        sasl = BEARER % (server.url, version)
        return link(secured.sasl_bootstrap_servers, 'security_protocol = "SASL_PLAINTEXT"', sasl)

    terraform.environment["TF_VAR_password"] = ways.CLIENT_SECRET
    terraform.step(config(1), {LINK: "create"})
    made = terraform.state[LINK]["link_id"]
    terraform.environment["TF_VAR_password"] = WRONG
    terraform.write(config(2))
    refused = terraform.apply(check=False)
    error = refused.error(
        "Cannot update the link secured", "refused the client (status 401; invalid_client: Who is it?)"
    )
    assert blamed(error) == "sasl = {"
    assert WRONG not in refused.output
    terraform.environment["TF_VAR_password"] = OTHER  # the one that was refused is not asked about again at once
    try:
        server.clients["mirror"] = OTHER
        terraform.step(config(2), {LINK: "update"})
    finally:
        server.clients["mirror"] = ways.CLIENT_SECRET
    assert terraform.state[LINK]["link_id"] == made
    assert terraform.state[LINK]["remote_cluster"]["sasl"]["oauth"]["client_secret_wo"] is None
    state = (terraform.directory / "terraform.tfstate").read_text()
    assert not any(secret in state for secret in (WRONG, OTHER))


def test_a_client_certificate_is_changed_in_place(
    terraform: Terraform, secured: KafkaCluster, engine: RealEngine
) -> None:
    """Over TLS, where brokers ask for certificates: a link, its mirror topic, and another key for both."""
    name = "certified"
    topics.create(secured.bootstrap_servers, name)
    engine.source_topics.append(name)  # and the mirror topic goes with the link
    produce.write(secured.bootstrap_servers, name, produce.varied(100))

    def config(certificate: str, version: int) -> str:
        tls = f"""tls = {{
      ca_pem             = {json.dumps(ways.AUTHORITY.pem)}
      certificate_pem    = {json.dumps(certificate)}
      key_pem_wo         = var.password
      key_pem_wo_version = {version}
    }}"""
        mirror = f'resource "clusterlink_mirror_topic" "m" {{\n  link = {LINK}.name\n  source_topic = "{name}"\n}}\n'
        return link(secured.servers("MTLS"), 'security_protocol = "SSL"', tls) + mirror

    first, second, stranger = ways.CLIENT, ways.AUTHORITY.issue(ways.USER), ways.STRANGER.issue(ways.USER)
    terraform.environment["TF_VAR_password"] = first.key
    terraform.step(config(first.certificate, 1), {LINK: "create", "clusterlink_mirror_topic.m": "create"})
    made = terraform.state[LINK]["link_id"]
    terraform.environment["TF_VAR_password"] = stranger.key
    terraform.write(config(stranger.certificate, 2))
    refused = terraform.apply(check=False)
    assert blamed(refused.error("Cannot update the link secured", "refused the engine's certificate")) == "tls = {"
    terraform.environment["TF_VAR_password"] = second.key
    terraform.step(config(second.certificate, 2), {LINK: "update"})
    assert terraform.state[LINK]["link_id"] == made
    produce.write(secured.bootstrap_servers, name, produce.varied(100, seed=1))
    _wait_until_caught_up(secured, engine, name)
    assert_mirrors(secured.bootstrap_servers, engine.local_bootstrap, name)
    assert second.key.splitlines()[1] not in (terraform.directory / "terraform.tfstate").read_text()


def test_the_example_with_tokens(
    terraform: Terraform, secured: KafkaCluster, server: TokenServer, engine: RealEngine
) -> None:
    """Applied as its README says, with another secret afterwards."""
    name = "by-token"
    topics.create(secured.bootstrap_servers, name)
    engine.source_topics.append(name)
    produce.write(secured.bootstrap_servers, name, produce.varied(100))
    for file in (Path(__file__).parents[2] / "examples" / "terraform" / "oauth").glob("*.tf"):
        shutil.copy(file, terraform.directory)
    terraform.run("init", "-no-color")
    terraform.environment["TF_VAR_client_secret"] = ways.CLIENT_SECRET
    values = {
        "engine_endpoint": engine.endpoint,
        "source_bootstrap_servers": json.dumps([secured.servers("SASL_SSL")]),
        "source_ca_pem": ways.AUTHORITY.pem,
        "token_endpoint_url": server.url,
        "client_id": ways.USER,
        "topics": json.dumps([name]),
    }
    given = [f"-var={key}={value}" for key, value in values.items()]
    terraform.apply(*given)
    assert terraform.plan(*given).code == 0
    _wait_until_caught_up(secured, engine, name)
    assert_mirrors(secured.bootstrap_servers, engine.local_bootstrap, name)
    try:
        server.clients[ways.USER] = OTHER
        terraform.environment["TF_VAR_client_secret"] = OTHER
        assert terraform.apply(*given, "-var=client_secret_version=2").actions == {"clusterlink_link.source": "update"}
    finally:
        server.clients[ways.USER] = ways.CLIENT_SECRET
    terraform.run("destroy", "-json", "-auto-approve", "-input=false", *given, "-var=client_secret_version=2")


def _wait_until_caught_up(secured: KafkaCluster, engine: RealEngine, name: str) -> None:
    ends = topics.log_ends(secured.bootstrap_servers, name)
    wait_until(lambda: topics.log_ends(engine.local_bootstrap, name) == ends, 60, f"{name} to be mirrored")
