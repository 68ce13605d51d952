"""Terraform and an engine that speaks TLS and asks who calls."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clusterlink_engine.api.access import hash_of
from clusterlink_engine.devkit.kafka import KafkaCluster
from clusterlink_engine.settings import Role
from clusterlink_proto.channel import Tls
from tests.acceptance.resident import ResidentProvider
from tests.acceptance.terraform import Terraform
from tests.support.certificates import Authority, Certificate
from tests.support.engine import EngineProcess

LINK = "clusterlink_link.primary"
TOKENS = {role: f"the-token-of-{role}" for role in Role}


@dataclass(frozen=True)
class Guarded:
    """An engine with a token for each role, and what it needs of a caller."""

    engine: EngineProcess
    authority: Authority
    certificate: Certificate


@pytest.fixture(scope="module")
def guarded(
    destination_cluster: KafkaCluster, log_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    """An engine that wants a certificate and a token of everybody."""
    directory, authority = tmp_path_factory.mktemp("api"), Authority("authority")
    issued, own = authority.issue("api", "engine.example"), authority.issue("terraform")
    texts = {"certificate_file": issued.certificate, "key_file": issued.key, "client_ca_file": authority.pem}
    for name, text in texts.items():
        (directory / name).write_text(text)
    tokens = [{"name": f"the-{role}", "role": role, "sha256": hash_of(token)} for role, token in TOKENS.items()]
    engine = EngineProcess(
        destination_cluster.bootstrap_servers,
        log_directory,
        settings={"api": {"tls": {name: directory / name for name in texts}, "tokens": tokens}},
        token=TOKENS[Role.ADMIN],
        tls=Tls(authority.pem, own.certificate, own.key, "engine.example"),
    )
    try:
        engine.start()
        yield Guarded(engine, authority, own)
    finally:
        engine.close()


@pytest.fixture
def guarded_terraform(tmp_path: Path, guarded: Guarded, resident: ResidentProvider) -> Terraform:
    """Terraform with a resident provider, to be configured for that engine."""
    return Terraform(tmp_path / "work", tmp_path / "no-plugins", guarded.engine.endpoint, resident.reattach)


def provider(guarded: Guarded, *, token: str = "", ca: str = "", name: str = "engine.example") -> str:
    """The provider's block."""
    own = guarded.certificate
    parts = {"ca_pem": ca or guarded.authority.pem, "certificate_pem": own.certificate, "key_pem": own.key}
    lines = "\n".join(f"    {key} = <<-EOT\n{text.strip()}\nEOT" for key, text in parts.items())
    given = f'  token = "{token}"\n' if token else ""
    return f'''
provider "clusterlink" {{
  endpoint = "{guarded.engine.endpoint}"
{given}  tls = {{
    server_name = "{name}"
{lines}
  }}
}}
'''


def link(source: KafkaCluster) -> str:
    """A link's block."""
    return f'''
resource "clusterlink_link" "primary" {{
  name           = "a"
  remote_cluster = {{ bootstrap_servers = ["{source.bootstrap_servers}"] }}
}}
'''


def test_a_link_over_tls_with_a_token(
    guarded_terraform: Terraform, guarded: Guarded, source_cluster: KafkaCluster
) -> None:
    """Refused without, with a wrong one, and with one whose role is too small; then made, changed by nobody, destroyed."""
    terraform, config = guarded_terraform, link(source_cluster)
    terraform.write(config, provider=provider(guarded))
    assert terraform.plan().error("Not known to the engine", "The provider has no token")
    terraform.write(config, provider=provider(guarded, token="a-wrong-token"))  # noqa: S106
    refused = terraform.plan()
    assert refused.error("Not known to the engine", "does not know the token")
    assert "a-wrong-token" not in refused.output
    terraform.write(config, provider=provider(guarded, token=TOKENS[Role.VIEWER]))
    assert terraform.plan().actions == {LINK: "create"}
    refused = terraform.apply(check=False)
    assert refused.error(
        "Cannot create the link a", "needs the role admin", 'the token "the-viewer" has the role viewer'
    )
    admin = provider(guarded, token=TOKENS[Role.ADMIN])
    terraform.write(config, provider=admin)
    output = terraform.apply().output
    assert terraform.plan().actions == {}
    state = (terraform.directory / "terraform.tfstate").read_text()
    terraform.write("", provider=admin)
    terraform.apply()
    for secret in (*TOKENS.values(), guarded.certificate.key.splitlines()[1]):
        assert secret not in output
        assert secret not in state
        assert secret not in guarded.engine.log()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"name": "elsewhere.example"}, "certificate is for another name"),
        ({"ca": Authority("other").pem}, "certificate is not trusted"),
    ],
)
def test_connections_that_are_not_secure_say_why(
    guarded_terraform: Terraform, guarded: Guarded, source_cluster: KafkaCluster, how: dict[str, str], words: str
) -> None:
    block = provider(guarded, token=TOKENS[Role.ADMIN], **how)
    guarded_terraform.write(link(source_cluster), provider=block)
    assert guarded_terraform.plan().error("No secure connection to the engine", words)


def test_a_token_is_not_sent_where_everybody_can_read_it(guarded_terraform: Terraform) -> None:
    block = 'provider "clusterlink" {\n  endpoint = "engine.example:7171"\n  token = "secret"\n}\n'
    guarded_terraform.write('data "clusterlink_links" "all" {}\n', provider=block)
    assert guarded_terraform.plan().error("Unusable credentials", "could read the token")
