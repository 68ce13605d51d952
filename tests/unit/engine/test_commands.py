"""The commands of an operator against the engine in memory: waiting, cancelling, asking, passwords."""

import getpass
import io
import json
import re
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from clusterlink_engine.api.access import Access
from clusterlink_engine.cli import main, mirror_transitions
from clusterlink_engine.settings import Api, Role
from clusterlink_proto import v1
from tests.support.certificates import Authority
from tests.support.fake_engine import FakeEngine

TOKEN = "the-token"  # noqa: S105


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    """An engine with a link of both directions and a mirror topic on it; commands find it and look often."""
    engine = FakeEngine().start()
    engine.create_source_topic("orders")
    engine.links["dr"] = v1.Link(name="dr", mode=v1.LINK_MODE_BIDIRECTIONAL)
    engine.topics["orders"] = v1.MirrorTopic(
        link="dr",
        name="orders",
        source_topic="orders",
        state=v1.MIRROR_TOPIC_STATE_ACTIVE,
        direction=v1.MIRROR_DIRECTION_REMOTE_TO_LOCAL,
    )
    engine.truncations = [
        v1.PartitionTruncation(partition=0, offset_truncated_to=100, messages_truncated=0),
        v1.PartitionTruncation(partition=1, offset_truncated_to=120, messages_truncated=17),
    ]
    monkeypatch.setenv("CLUSTERLINK_ENDPOINT", engine.endpoint)
    monkeypatch.setattr(mirror_transitions, "_LOOK_SECONDS", 0.01)
    yield engine
    engine.stop()


def run(*arguments: str) -> int:
    return main.main(arguments)


def stopped(engine: FakeEngine) -> None:
    topic = engine.topics["orders"]
    topic.state, topic.stop = v1.MIRROR_TOPIC_STATE_STOPPED, v1.MIRROR_TOPIC_STOP_FAILOVER


class Terminal(io.StringIO):
    """A terminal at which somebody has typed already."""

    def isatty(self) -> bool:
        return True


def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))


def terminal(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))


def test_checking_a_link_prints_a_table_and_the_commands_that_mend_it(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.checks = [
        v1.LinkCheck(
            check="bootstrap servers",
            side=v1.LINK_SIDE_REMOTE,
            needed_by="mirroring",
            status=v1.CHECK_STATUS_PRESENT,
            required=True,
        ),
        v1.LinkCheck(check="clock", side=v1.LINK_SIDE_LOCAL, needed_by="mirroring", status=v1.CHECK_STATUS_UNKNOWN),
    ]
    assert run("link", "check", "dr") == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["CHECK", "CLUSTER", "NEEDED", "BY", "STATUS", "DETAIL"],
        ["bootstrap", "servers", "remote", "mirroring", "PRESENT"],
        ["clock", "local", "mirroring", "UNKNOWN"],
    ]
    missing = v1.LinkCheck(check="READ on source topics", status=v1.CHECK_STATUS_MISSING, command="kafka-acls.sh --add")
    engine.checks += [missing, missing]  # by one command
    assert run("link", "check", "new", "--remote-bootstrap-server", "a:1", "--topic", "orders") == 1
    assert capsys.readouterr().out.endswith("\n\nWhat is missing can be given by:\nkafka-acls.sh --add\n")
    assert engine.calls[-2:] == ["CheckLink", "CheckNewLink"]
    assert run("link", "check", "dr", "-o", "json") == 1
    assert [row["required"] for row in json.loads(capsys.readouterr().out)["checks"]] == [True, False, False, False]
    assert run("link", "check", "new", "--mode", "BIDIRECTIONAL") == 2
    assert "--remote-bootstrap-server" in capsys.readouterr().err


@pytest.mark.parametrize(("verb", "state"), [("reverse-and-start", "ACTIVE"), ("reverse-and-pause", "PAUSED")])
def test_reversing_waits_until_the_direction_is_turned(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str], verb: str, state: str
) -> None:
    assert run("mirror", verb, "orders", "--dry-run") == 0
    assert "REMOTE_TO_LOCAL" in capsys.readouterr().out
    assert engine.topics["orders"].stop == v1.MIRROR_TOPIC_STOP_UNSPECIFIED
    assert run("mirror", verb, "orders", "-o", "json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["direction"], shown["state"]) == ("MIRROR_DIRECTION_LOCAL_TO_REMOTE", f"MIRROR_TOPIC_STATE_{state}")
    assert run("mirror", "list") == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["orders", "dr", "orders", "LOCAL_TO_REMOTE", state]


def test_what_is_waited_for_is_said_once_and_can_be_cancelled(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.waits_for = "producers still write to partition 0"
    assert run("mirror", "reverse-and-start", "orders", "--no-wait") == 0
    assert "PENDING_SYNCHRONIZE" in capsys.readouterr().out
    looks: list[float] = []

    def cancelled_by_somebody_else(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            assert run("mirror", "reverse-and-start", "orders", "--cancel") == 0

    monkeypatch.setattr(time, "sleep", cancelled_by_somebody_else)
    assert run("mirror", "reverse-and-start", "orders") == 1
    assert capsys.readouterr().err == (
        "waiting: producers still write to partition 0\n"
        "clusterlink: orders is a mirror topic as before: somebody cancelled it.\n"
    )


def test_an_interrupt_leaves_it_to_the_engine(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.waits_for = "something"

    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    assert run("mirror", "promote", "orders") == 1
    assert "the engine goes on with it" in capsys.readouterr().err
    assert engine.topics["orders"].stop == v1.MIRROR_TOPIC_STOP_PROMOTE


def test_a_link_of_one_direction_does_not_go_back(engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    engine.links["dr"].mode = v1.LINK_MODE_DESTINATION
    assert run("mirror", "reverse-and-start", "orders") == 1
    assert capsys.readouterr().err == "clusterlink: The link dr has one direction.\n"


def test_what_a_restore_discards_is_shown(engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    stopped(engine)
    assert run("mirror", "truncate-and-restore", "orders", "--dry-run") == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["PARTITION", "TRUNCATED", "TO", "DISCARDED"],
        ["0", "100", "0"],
        ["1", "120", "17"],
    ]
    assert run("mirror", "truncate-and-restore", "orders", "--dry-run", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["messages_truncated"] == "17"
    assert engine.topics["orders"].state == v1.MIRROR_TOPIC_STATE_STOPPED


def test_nothing_is_discarded_unless_somebody_agrees(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(engine)
    no_terminal(monkeypatch)
    assert run("mirror", "truncate-and-restore", "orders") == 2
    printed = capsys.readouterr().err
    assert "on the remote cluster is deleted" in printed
    assert "17 offsets that it has alone are discarded" in printed
    assert printed.endswith("clusterlink: there is no terminal to ask at; give --yes if that is meant\n")
    for answer in ("n\n", "\n", ""):
        terminal(monkeypatch, answer)
        assert run("mirror", "truncate-and-restore", "orders") == 1
        assert capsys.readouterr().err.endswith("Go on? [y/N] clusterlink: nothing was changed.\n")
    assert "TruncateAndRestoreMirrorTopic" not in engine.calls


@pytest.mark.parametrize("arguments", [["--yes"], []])
def test_a_restore_is_waited_for(
    engine: FakeEngine,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
) -> None:
    stopped(engine)
    terminal(monkeypatch, "y\n")
    assert run("mirror", "truncate-and-restore", "orders", *arguments) == 0
    printed = capsys.readouterr()
    assert ("Go on?" in printed.err) == (not arguments)
    assert dict(line.split(None, 1) for line in printed.out.splitlines()[:5])["direction"] == "LOCAL_TO_REMOTE"


def test_a_topic_is_only_deleted_with_its_mirror_if_somebody_agrees(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.topics["orders"].direction = v1.MIRROR_DIRECTION_LOCAL_TO_REMOTE
    no_terminal(monkeypatch)
    assert run("mirror", "delete", "orders", "--delete-topic") == 2
    assert "on the remote cluster is deleted with its data" in capsys.readouterr().err
    assert run("mirror", "delete", "orders", "--delete-topic", "--yes") == 0
    assert engine.disposals == {"orders": v1.TOPIC_DISPOSAL_DELETE_TOPIC}


def test_a_topic_that_failed_is_rebuilt_only_if_somebody_agrees(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    no_terminal(monkeypatch)
    assert run("mirror", "rebuild", "orders") == 0
    assert capsys.readouterr().err == "orders has not failed: nothing is changed.\n"
    engine.fail_mirror_topic("orders")
    assert run("mirror", "rebuild", "orders") == 2
    printed = capsys.readouterr().err
    assert (
        "The topic of orders on the local cluster is deleted with its data, and mirrored anew from the start."
        in printed
    )
    assert engine.topics["orders"].state == v1.MIRROR_TOPIC_STATE_FAILED
    assert run("mirror", "rebuild", "orders", "--yes") == 0
    assert engine.topics["orders"].state == v1.MIRROR_TOPIC_STATE_ACTIVE


@pytest.mark.parametrize("state", ["CREATING", "SEEDING"])
def test_one_that_is_not_finished_takes_its_topic_along_only_if_somebody_agrees(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    engine.topics["orders"].state = v1.MirrorTopicState.Value(f"MIRROR_TOPIC_STATE_{state}")
    no_terminal(monkeypatch)
    assert run("mirror", "delete", "orders") == 2
    assert f"is deleted with its data: it is {state} and not what its source is." in capsys.readouterr().err
    assert not engine.disposals
    assert run("mirror", "delete", "orders", "--yes") == 0
    assert engine.disposals == {"orders": v1.TOPIC_DISPOSAL_KEEP_TOPIC}


CREATE = ("link", "create", "new", "--remote-bootstrap-server", "b:9092", "--username", "u")
SASL = ("--config", "security.protocol=SASL_PLAINTEXT,sasl.mechanism=PLAIN")


def test_a_password_comes_from_a_file_the_environment_or_a_terminal(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    no_terminal(monkeypatch)
    assert run(*CREATE, *SASL) == 2
    assert "--password-file or $CLUSTERLINK_REMOTE_PASSWORD" in capsys.readouterr().err
    monkeypatch.setenv("CLUSTERLINK_REMOTE_PASSWORD", "of the environment")
    assert run(*CREATE, *SASL) == 0
    (tmp_path / "secret").write_text("of the file\n")
    assert run("link", "update", "new", "--password-file", str(tmp_path / "secret")) == 0
    monkeypatch.delenv("CLUSTERLINK_REMOTE_PASSWORD")
    terminal(monkeypatch, "")
    monkeypatch.setattr(getpass, "getpass", lambda prompt: f"of the terminal ({prompt.strip()})")
    assert run("link", "update", "new", "--config", "sasl.mechanism=SCRAM-SHA-512") == 0
    assert engine.passwords["new"] == ["of the environment", "of the file", "of the terminal (Password of u:)"]
    # A client's secret goes the same ways, and nothing of the other mechanism stays.
    bearer = "sasl.mechanism=OAUTHBEARER,sasl.oauthbearer.client.credentials.client.id=c"
    assert run("link", "update", "new", "--config", bearer, "--password-file", str(tmp_path / "secret")) == 0
    sasl = engine.links["new"].remote_cluster.sasl
    assert (sasl.username, sasl.password, sasl.oauth.client_id, sasl.oauth.client_secret) == (
        "",
        "",
        "c",
        "of the file",
    )
    assert run("link", "update", "new", "--username", "u", "--password-file", str(tmp_path / "secret")) == 2
    plain = ("--config", "sasl.mechanism=PLAIN", "--username", "u", "--password-file", str(tmp_path / "secret"))
    assert run("link", "update", "new", *plain) == 0
    assert not engine.links["new"].remote_cluster.sasl.HasField("oauth")
    # And without SASL there is none.
    assert run("link", "configuration", "update", "new", "--config", "security.protocol=,sasl.mechanism=") == 0
    assert not engine.links["new"].remote_cluster.HasField("sasl")
    assert "of the" not in capsys.readouterr().out


def test_certificates_come_from_files(engine: FakeEngine, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    authority = Authority("tests")
    client = authority.issue("mirror")
    (tmp_path / "ca.pem").write_text(authority.pem)
    (tmp_path / "both.pem").write_text(client.key + client.certificate)
    (tmp_path / "store.jks").write_bytes(b"\xfe\xed\xfe\xed")
    ca, both, store = ([str(tmp_path / name)] for name in ("ca.pem", "both.pem", "store.jks"))
    create = ("link", "create", "new", "--remote-bootstrap-server", "b:9092", "--config", "security.protocol=SSL")
    assert run(*create, "--tls-ca-file", *store) == 2
    assert "keytool -importkeystore" in capsys.readouterr().err
    assert run(*create, "--tls-ca-file", *ca) == 0
    assert engine.links["new"].remote_cluster.tls == v1.Tls(ca_pem=authority.pem)
    assert run("link", "update", "new", "--tls-certificate-file", *both) == 2
    assert "give --tls-key-file" in capsys.readouterr().err
    assert run("link", "update", "new", "--tls-certificate-file", *both, "--tls-key-file", *both) == 0
    tls = engine.links["new"].remote_cluster.tls
    assert (tls.ca_pem, tls.certificate_pem, tls.key_pem) == (authority.pem, client.certificate, client.key)
    assert run("link", "configuration", "update", "new", "--config", "security.protocol=PLAINTEXT") == 0
    assert not engine.links["new"].remote_cluster.HasField("tls")
    assert client.key.splitlines()[1] not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["link", "update", "dr"], "nothing to change"),
        (["link", "update", "dr", "--config", "nonsense"], "no property"),
        (["link", "update", "dr", "--config-file", "/nonexistent"], "/nonexistent: cannot be read"),
        (["link", "update", "dr", "--config", "acl.sync.ms=soon"], "whole number"),
    ],
)
def test_wrong_arguments_have_a_line_and_an_exit_code_of_their_own(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert run(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("clusterlink: ")
    assert words in line


def test_a_new_token_is_printed_once_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The token alone on standard output; the line, as it goes into the settings, has its hash only."""
    assert run("token", "new", "ci", "--role", "operator") == 0
    printed = capsys.readouterr()
    token = printed.out.removesuffix("\n")
    settings = Api.model_validate(tomllib.loads(printed.err[printed.err.index("[api]") :])["api"])
    assert token not in printed.err
    assert Access(settings).identify(f"Bearer {token}", [], "h") == ('the token "ci"', Role.OPERATOR)
    assert run("token", "new", "ci") == 0
    assert capsys.readouterr().out != printed.out
    assert run("token", "new", "no name") == 2
    assert capsys.readouterr().out == ""


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[FakeEngine]:
    """An engine that speaks TLS, and knows one token, which is in the file `token`."""
    authority = Authority("authority")
    issued = authority.issue("api", "127.0.0.1")
    (tmp_path / "ca.pem").write_text(authority.pem)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    engine = FakeEngine(certificate=issued, token=TOKEN).start()
    yield engine
    engine.stop()


def test_a_token_and_an_authority_from_files(
    guarded: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("link", "list", "--engine", guarded.endpoint)
    trusting = (*command, "--ca-file", str(tmp_path / "ca.pem"))
    assert run(*trusting, "--token-file", str(tmp_path / "token")) == 0
    capsys.readouterr()
    assert run(*trusting) == 1
    assert "wants to know who calls" in capsys.readouterr().err
    monkeypatch.setenv("CLUSTERLINK_TOKEN", TOKEN)
    assert run(*trusting) == 0
    capsys.readouterr()
    assert run(*command, "--tls") == 1
    assert "the engine's certificate is not trusted" in capsys.readouterr().err
    assert run(*command) == 1
    assert "the engine may speak TLS only" in capsys.readouterr().err
    assert run(*trusting, "--key-file", str(tmp_path / "token")) == 2
    assert run(*trusting, "--token-file", str(tmp_path / "missing")) == 2
    assert TOKEN not in capsys.readouterr().err


def test_the_engine_is_refused_by_key_where_it_would_be_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "clusterlink.toml"
    servers = '[local_cluster]\nbootstrap_servers = ["127.0.0.1:1"]\n'
    file.write_text(servers + '[api]\nlisten = "0.0.0.0:7171"\n')
    assert run("serve", "--config", str(file)) == 2
    assert capsys.readouterr().err.startswith("clusterlink: api.listen: 0.0.0.0:7171 is not a loopback address")
    file.write_text(servers + '[api]\ntls = { certificate_file = "/missing.pem", key_file = "/missing.key" }\n')
    assert run("serve", "--config", str(file)) == 2
    assert capsys.readouterr().err.startswith("clusterlink: api.tls.certificate_file: /missing.pem cannot be read")


def test_yaml_says_what_json_says(engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    engine.topics["orders"].state_detail = "a: b, \x1b[31mred\n- no list"
    for command in (("mirror", "list"), ("mirror", "describe", "orders"), ("link", "configuration", "list", "dr")):
        assert run(*command, "-o", "json") == 0
        told = re.sub('"state_since": ".*"', '"state_since": ""', capsys.readouterr().out)
        assert run(*command, "-o", "yaml") == 0
        printed = re.sub("state_since: .*", "state_since: ''", capsys.readouterr().out)
        assert yaml.safe_load(printed) == json.loads(told)
        assert "\x1b" not in printed
