"""The way of a link's password through Terraform: where it must not be, how it is rotated, and what is refused."""

import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from clusterlink_proto import v1
from tests.acceptance.terraform import Terraform, blamed
from tests.support.fake_engine import FakeEngine, Fault

LINK = "clusterlink_link.x"
FIRST, SECOND = "first-hidden-word", "second-hidden-word"

# Its value comes from the environment, or it would be in the configuration, which a plan file holds.
VARIABLE = """
variable "password" {
  type      = string
  ephemeral = true
}
"""
WRITTEN = 'sasl = { mechanism = "SCRAM-SHA-512", username = "u", password_wo = var.password, password_wo_version = %d }'
BEARER = """sasl = {
      mechanism = "OAUTHBEARER"
      oauth = {
        token_endpoint_url       = "https://tokens.example/"
        client_id                = "c"
        client_secret_wo         = var.password
        client_secret_wo_version = %d
      }
    }"""
PROTOCOL = 'security_protocol = "SASL_PLAINTEXT"'


def link(*remote: str, extra: str = "") -> str:
    lines = "\n".join(f"    {line}" for line in remote)
    return f"""
resource "clusterlink_link" "x" {{
  name           = "a"
  {extra}
  remote_cluster = {{
    bootstrap_servers = ["127.0.0.1:29092"]
{lines}
  }}
}}
"""


def contents(path: Path) -> Iterator[bytes]:
    """What a file holds; a plan is an archive, in which nothing could be found otherwise."""
    yield path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (archive.read(name) for name in archive.namelist())


def files_with(directory: Path, word: str) -> list[str]:
    found = sorted(path for path in directory.rglob("*") if path.is_file())
    return [path.name for path in found if any(word.encode() in content for content in contents(path))]


KEPT = {"password": None, "password_wo": None, "password_wo_version": 1}
NO_PASSWORD = dict.fromkeys(KEPT)
USER = {"mechanism": "SCRAM-SHA-512", "username": "u", **KEPT, "oauth": None, "aws_region": None}
CLIENT = {
    "token_endpoint_url": "https://tokens.example/",
    "client_id": "c",
    "client_secret_wo_version": 1,
    **dict.fromkeys(("client_secret", "client_secret_wo", "scope", "parameters", "extensions", "ca_pem")),
}
TOKENS = {"mechanism": "OAUTHBEARER", "username": None, **NO_PASSWORD, "oauth": CLIENT, "aws_region": None}


@pytest.mark.parametrize(("sasl", "kept"), [(WRITTEN, USER), (BEARER, TOKENS)], ids=["password", "client secret"])
def test_a_write_only_secret_is_kept_nowhere(
    shell_terraform: Terraform, fake_engine: FakeEngine, sasl: str, kept: dict[str, object]
) -> None:
    terraform = shell_terraform
    terraform.environment |= {"TF_VAR_password": FIRST, "TF_LOG_PROVIDER": "TRACE"}
    terraform.write(VARIABLE + link(PROTOCOL, sasl % 1))
    planned = terraform.run("plan", "-input=false", "-out=check.tfplan", "-no-color")
    shown = terraform.run("show", "-json", "check.tfplan")
    (change,) = json.loads(shown.output[shown.output.index('{"format_version"') :])["resource_changes"]
    assert change["change"]["after"]["remote_cluster"]["sasl"] == kept
    applied = terraform.apply()
    assert fake_engine.passwords["a"] == [FIRST]
    assert terraform.state[LINK]["remote_cluster"]["sasl"] == kept
    assert all(FIRST not in run.output for run in (planned, shown, applied))
    assert "provider.terraform-provider-clusterlink" in planned.output  # the log is there to be looked into
    assert files_with(terraform.directory, FIRST) == []


def test_no_secret_is_in_a_trace_a_diagnostic_or_a_crash_message(
    shell_terraform: Terraform, fake_engine: FakeEngine, tmp_path: Path
) -> None:
    """Neither one in the state nor one that is kept nowhere; not when the engine refuses, nor when the provider breaks."""
    terraform = shell_terraform
    terraform.environment |= {
        "TF_VAR_password": FIRST,
        "TF_VAR_stored": SECOND,
        "TF_LOG": "TRACE",
        "TF_LOG_PATH": str(tmp_path / "trace.log"),
    }
    variables = VARIABLE + 'variable "stored" {\n  type = string\n  sensitive = true\n}\n'
    stored = WRITTEN.replace("password_wo = var.password, password_wo_version = %d", "password = var.stored")
    second = link(PROTOCOL, stored).replace('"x"', '"y"').replace('"a"', '"b"')
    config = variables + link(PROTOCOL, WRITTEN % 1) + second
    terraform.write(config)
    runs = [terraform.plan(), terraform.apply(), terraform.plan()]
    fake_engine.inject("UpdateLink", *[Fault(grpc.StatusCode.INTERNAL)] * 2)
    terraform.write(config.replace("password_wo_version = 1", "password_wo_version = 2").replace('"u"', '"other"'))
    runs.append(terraform.apply(check=False))
    assert len(runs[-1].diagnostics()) == 2
    # A bug whose exception has the very secret in its text.
    script = (
        "import runpy, sys\n"
        "from clusterlink_provider.resources import link_convert\n"
        "def broken(remote, config):\n    raise RuntimeError(f'cannot write {remote} of {config}')\n"
        "link_convert._sasl_to_message = broken\n"
        "sys.argv = ['clusterlink_provider']\n"
        "runpy.run_module('clusterlink_provider', run_name='__main__')\n"
    )
    (tmp_path / "broken.py").write_text(script)
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I "{tmp_path}/broken.py"\n')
    python.chmod(0o755)
    terraform.environment["CLUSTERLINK_TERRAFORM_PYTHON"] = str(python)
    runs.append(terraform.plan())
    assert len([item for item in runs[-1].diagnostics() if "cannot write" in item["detail"]]) == 2
    trace = (tmp_path / "trace.log").read_text()
    assert "unexpected exception" in trace
    for secret in (FIRST, SECOND):
        assert all(secret not in run.output for run in runs)
        assert secret not in trace


def test_a_write_only_password_is_rotated_by_its_version(terraform: Terraform, fake_engine: FakeEngine) -> None:
    terraform.environment["TF_VAR_password"] = FIRST
    terraform.step(VARIABLE + link(PROTOCOL, WRITTEN % 1), {LINK: "create"})
    made = terraform.state[LINK]["link_id"]
    terraform.environment["TF_VAR_password"] = SECOND
    terraform.expect_no_changes()
    assert fake_engine.passwords["a"] == [FIRST]
    terraform.step(VARIABLE + link(PROTOCOL, WRITTEN % 2), {LINK: "update"})
    assert fake_engine.passwords["a"] == [FIRST, SECOND]
    # Other changes send no password.
    terraform.step(VARIABLE + link(PROTOCOL, WRITTEN % 2, extra="paused = true"), {LINK: "update"})
    assert fake_engine.passwords["a"] == [FIRST, SECOND]
    assert terraform.state[LINK]["link_id"] == made
    assert files_with(terraform.directory, SECOND) == []


def test_a_password_in_the_state_is_sensitive(terraform: Terraform, fake_engine: FakeEngine) -> None:
    sasl = 'sasl = { mechanism = "PLAIN", username = "u", password = "%s" }'
    config = link(PROTOCOL, sasl % FIRST)
    terraform.write(config)
    output = terraform.run("plan", "-input=false", "-out=check.tfplan", "-no-color").output
    assert "(sensitive value)" in output
    # Where such a one is, one that is write-only is not: the search finds what is there.
    assert files_with(terraform.directory, FIRST) == ["check.tfplan", "main.tf"]
    assert "Password readable on the way" in output
    terraform.step(config, {LINK: "create"})
    assert terraform.state[LINK]["remote_cluster"]["sasl"]["password"] == FIRST
    assert "terraform.tfstate" in files_with(terraform.directory, FIRST)
    quiet = terraform.plan()
    assert (quiet.code, quiet.diagnostics("warning")) == (0, [])
    terraform.step(link(PROTOCOL, sasl % SECOND), {LINK: "update"})
    assert fake_engine.passwords["a"] == [FIRST, SECOND]


def test_a_link_begins_and_ceases_to_authenticate_in_place(terraform: Terraform, fake_engine: FakeEngine) -> None:
    terraform.environment["TF_VAR_password"] = FIRST
    terraform.step(link(), {LINK: "create"})
    terraform.step(VARIABLE + link(PROTOCOL, WRITTEN % 1), {LINK: "update"})
    assert fake_engine.links["a"].remote_cluster.sasl.username == "u"
    terraform.step(link(), {LINK: "update"})
    assert not fake_engine.links["a"].remote_cluster.HasField("sasl")
    assert terraform.state[LINK]["remote_cluster"]["sasl"] is None


def test_a_failed_rotation_is_planned_again(terraform: Terraform, fake_engine: FakeEngine) -> None:
    terraform.environment["TF_VAR_password"] = FIRST
    terraform.step(VARIABLE + link(PROTOCOL, WRITTEN % 1), {LINK: "create"})
    terraform.environment["TF_VAR_password"] = ""
    terraform.write(VARIABLE + link(PROTOCOL, WRITTEN % 2))
    assert terraform.apply(check=False).error("Empty value")
    assert terraform.state[LINK]["remote_cluster"]["sasl"]["password_wo_version"] == 1
    assert terraform.plan().code == 1
    terraform.environment["TF_VAR_password"] = SECOND
    assert terraform.plan().actions == {LINK: "update"}
    assert fake_engine.passwords["a"] == [FIRST]


def test_an_unknown_password_does_not_stop_a_plan(terraform: Terraform, fake_engine: FakeEngine) -> None:
    late = f'resource "terraform_data" "late" {{ input = "{FIRST}" }}\n'
    sasl = 'sasl = { mechanism = "PLAIN", username = "u", password = terraform_data.late.output }'
    terraform.step(late + link(PROTOCOL, sasl), {"terraform_data.late": "create", LINK: "create"})
    assert fake_engine.passwords["a"] == [FIRST]


def test_an_imported_link_gets_its_password_once(terraform: Terraform, fake_engine: FakeEngine) -> None:
    terraform.environment["TF_VAR_password"] = FIRST
    config = VARIABLE + link(PROTOCOL, WRITTEN % 1)
    terraform.step(config, {LINK: "create"})
    terraform.run("state", "rm", LINK)
    terraform.run("import", "-input=false", LINK, "a")
    terraform.step(config, {LINK: "update"})
    assert fake_engine.passwords["a"] == [FIRST, FIRST]


_BOTH = 'sasl = { mechanism = "PLAIN", username = "u", password = "x", password_wo = "y", password_wo_version = 1 }'
_NONE = 'sasl = { mechanism = "PLAIN", username = "u" }'
_NO_VERSION = 'sasl = { mechanism = "PLAIN", username = "u", password_wo = "y" }'
_VERSION_ALONE = 'sasl = { mechanism = "PLAIN", username = "u", password = "x", password_wo_version = 1 }'
_UNKNOWN_MECHANISM = 'sasl = { mechanism = "GSSAPI", username = "u", password = "x" }'
_TLS = 'tls = { ca_pem = "x" }'
_NO_KEY = 'tls = { certificate_pem = "x" }'
_KEY_ALONE = 'tls = { key_pem = "x" }'
_NO_KEY_VERSION = 'tls = { certificate_pem = "x", key_pem_wo = "y" }'
_PLAIN = 'sasl = { mechanism = "PLAIN", username = "u", password = "x" }'


@pytest.mark.parametrize(
    ("remote", "summary", "line"),
    [
        ((PROTOCOL,), "Missing sasl", PROTOCOL),
        ((_PLAIN,), "No place for sasl", _PLAIN),
        ((PROTOCOL, _BOTH), "Two values of password", _BOTH),
        ((PROTOCOL, _NONE), "Missing password", _NONE),
        ((PROTOCOL, _NO_VERSION), "Missing version of password", _NO_VERSION),
        ((PROTOCOL, _VERSION_ALONE), "Version without password_wo", _VERSION_ALONE),
        ((PROTOCOL, _UNKNOWN_MECHANISM), "Not in this version", _UNKNOWN_MECHANISM),
        (('security_protocol = "SSL"', _PLAIN), "No place for sasl", _PLAIN),
        (('security_protocol = "SASL_SSL"',), "Missing sasl", 'security_protocol = "SASL_SSL"'),
        ((_TLS,), "No place for tls", _TLS),
        (('security_protocol = "SSL"', _NO_KEY), "Missing private key", _NO_KEY),
        (('security_protocol = "SSL"', _KEY_ALONE), "Private key without its certificate", _KEY_ALONE),
        (('security_protocol = "SSL"', _NO_KEY_VERSION), "Missing version of key_pem", _NO_KEY_VERSION),
    ],
)
def test_what_does_not_fit_is_refused_at_its_line(
    terraform: Terraform, remote: tuple[str, ...], summary: str, line: str
) -> None:
    terraform.write(link(*remote))
    (error,) = terraform.validate()
    assert (error["summary"], blamed(error)) == (summary, line)


def test_another_start_replaces_the_link(terraform: Terraform, fake_engine: FakeEngine) -> None:
    terraform.step(link(), {LINK: "create"})
    assert terraform.state[LINK]["mirror_start_offset"] == "earliest"
    terraform.step(link(extra='mirror_start_offset = "earliest"'), {})
    terraform.write(link(extra='mirror_start_offset = "2026-01-31T00:00:00+01:00"'))
    assert terraform.replace_paths(LINK) == [["mirror_start_offset"]]
    terraform.apply()
    terraform.expect_no_changes()
    assert fake_engine.links["a"].mirror_start_offset == "2026-01-31T00:00:00+01:00"
    wrong = 'mirror_start_offset = "2026-01-31"'
    terraform.write(link(extra=wrong))
    (error,) = terraform.validate()
    assert (error["summary"], blamed(error)) == ("Invalid start", wrong)


def test_the_state_of_an_earlier_provider_is_no_change(terraform: Terraform) -> None:
    """It has none of the attributes that came later; nothing is replaced for that, refreshed or not."""
    terraform.step(link(), {LINK: "create"})
    path = terraform.directory / "terraform.tfstate"
    stored = json.loads(path.read_text())
    attributes = stored["resources"][0]["instances"][0]["attributes"]
    del attributes["mirror_start_offset"], attributes["remote_cluster"]["sasl"]
    path.write_text(json.dumps(stored))
    assert terraform.plan("-refresh=false").code == 0
    terraform.expect_no_changes()


@pytest.mark.parametrize("state", sorted(set(v1.MirrorTopicState.values()) - {0, v1.MIRROR_TOPIC_STATE_FAILED}))
def test_states_that_come_and_go_are_no_change(
    terraform: Terraform, fake_engine: FakeEngine, state: v1.MirrorTopicState.ValueType
) -> None:
    """But for FAILED, and PAUSED by a user, which says so itself."""
    fake_engine.create_source_topic("orders")
    mirror = (
        'resource "clusterlink_mirror_topic" "o" {\n  link = clusterlink_link.x.name\n  source_topic = "orders"\n}\n'
    )
    terraform.step(link() + mirror, {LINK: "create", "clusterlink_mirror_topic.o": "create"})
    topic = fake_engine.topics["orders"]
    topic.state, topic.error, topic.error_message = state, "SOME_ERROR", "A sentence."
    topic.state_detail = "seeding: 1 of 2 offsets"
    if state != v1.MIRROR_TOPIC_STATE_PAUSED:
        terraform.expect_no_changes()
        fake_engine.links["a"].state = v1.LINK_STATE_UNAVAILABLE
        terraform.expect_no_changes()
        name = v1.MirrorTopicState.Name(state).removeprefix("MIRROR_TOPIC_STATE_")
        terraform.run("apply", "-refresh-only", "-auto-approve")
        assert terraform.state["clusterlink_mirror_topic.o"]["observed_status"] == name


def test_details_of_partitions_are_in_the_data_source(terraform: Terraform, fake_engine: FakeEngine) -> None:
    fake_engine.create_source_topic("orders")
    terraform.write(
        link()
        + 'resource "clusterlink_mirror_topic" "o" {\n  link = clusterlink_link.x.name\n  source_topic = "orders"\n}\n'
        + 'data "clusterlink_mirror_topic" "o" {\n  link = "a"\n  name = clusterlink_mirror_topic.o.name\n}\n'
    )
    terraform.apply()
    fake_engine.topics["orders"].state_detail = "held at the last stable offset 6 of partition 0 by an open transaction"
    terraform.apply()
    data = terraform.state["data.clusterlink_mirror_topic.o"]
    assert data["state_detail"] == "held at the last stable offset 6 of partition 0 by an open transaction"
    assert data["partitions"] == [
        {
            "partition": 0,
            "log_start_offset": 0,
            "log_end_offset": 5,
            "source_high_watermark": 7,
            "lag": 2,
            "lag_seconds": 1.5,
            "source_last_stable_offset": 6,
            "held_by_open_transaction": True,
            "offsets_filled": 3,
            "offsets_lost": 1,
            "state": "COPYING",
            "error": None,
        }
    ]
