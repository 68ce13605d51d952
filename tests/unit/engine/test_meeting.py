"""Where processes of one engine meet, without Kafka: who is let in, at which socket and port, and by which certificate."""

import os
import re
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc import aio

from clusterlink_engine.api.meeting import Meeting
from clusterlink_engine.api.peers import Peers
from clusterlink_engine.api.server import Server
from clusterlink_engine.control.membership import Member
from clusterlink_engine.settings import Api, PeerTls, SettingsError
from clusterlink_engine.settings import Peers as Settings
from clusterlink_proto import v1
from clusterlink_proto.rpc import Stub
from tests.support.certificates import Authority, Certificate

_NOBODY_LEADS = "No engine process leads at the moment; try again in a few seconds."
PEERS, STRANGERS = Authority("peers"), Authority("strangers")


@pytest.fixture
def directory() -> Iterator[Path]:
    """Not below pytest's directory, whose name may be too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="cl-") as path:
        yield Path(path)


def peers(directory: Path, shown: Certificate, listen: str = "", authority: Authority = PEERS) -> Settings:
    """Settings of a process with files of its own."""
    files = {"certificate_file": shown.certificate, "key_file": shown.key, "ca_file": authority.pem}
    directory.mkdir(exist_ok=True)
    for name, text in files.items():
        (directory / name).write_text(text)
    return Settings(listen=listen, tls=PeerTls.model_validate({name: directory / name for name in files}))


@asynccontextmanager
async def meeting(directory: Path, settings: Settings) -> AsyncIterator[Meeting]:
    """A process that others can reach, and that leads nobody."""
    found = Meeting(str(directory), settings)
    server = Server(Api(listen="127.0.0.1:0"), found, Peers(), lambda: "")
    await server.start()
    try:
        yield found
    finally:
        await server.stop()


async def asked(channel: aio.Channel) -> tuple[str, str]:
    """What a process answers to a call that another one passes on: code and words."""
    async with channel:
        stub = Stub(channel, v1.DESCRIPTOR, "EngineService")
        try:
            await stub.GetEngine(v1.GetEngineRequest(), timeout=10)
        except aio.AioRpcError as error:
            return error.code().name, error.details() or ""
    raise AssertionError("nobody leads, and somebody answered")


async def test_processes_of_one_machine_meet_where_only_their_user_may_look(directory: Path) -> None:
    """The socket is where no other user can enter; it answers without a token, since who asks there has asked for one."""
    private = directory / f"clusterlink-{os.getuid()}"
    private.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(private / "1-dead.sock"))
    async with meeting(directory, Settings()) as found:
        path = Path(found.socket.removeprefix("unix:"))
        assert list(private.iterdir()) == [path], "sockets of dead processes go"
        assert found.address == ""
        member = Member("any", 1, found.socket, "elsewhere:7173")
        assert found.place_of(member) == found.socket
        assert await asked(found.open(found.socket)) == ("UNAVAILABLE", _NOBODY_LEADS)
        path.unlink()  # noqa: ASYNC240 - as from another machine, which does not have it
        assert found.place_of(member) == "", "without certificates nobody on another machine is called"
    private.chmod(0o755)
    with pytest.raises(SettingsError, match=r"api\.peer_directory: .* only this user may enter"):
        async with meeting(directory, Settings()):
            pass


async def test_processes_of_other_machines_meet_by_certificates_of_their_authority(directory: Path) -> None:
    """Nobody else is let in: without a certificate, or with one of others; nor is anybody believed who has another name."""
    local = PEERS.issue("one", "127.0.0.1")
    one = peers(directory / "one", local, "127.0.0.1:0")
    async with meeting(directory, one) as found:
        assert found.address.startswith("127.0.0.1:")
        assert not found.address.endswith(":0")
        member = Member("elsewhere", 1, "unix:/nowhere", found.address)
        other = Meeting("", peers(directory / "two", PEERS.issue("two", "10.0.0.2")))
        assert other.place_of(member) == found.address
        assert await asked(other.open(found.address)) == ("UNAVAILABLE", _NOBODY_LEADS)
        refused = {
            "by no certificate": aio.secure_channel(found.address, grpc.ssl_channel_credentials(PEERS.pem.encode())),
            "by one of others": Meeting("", peers(directory / "three", STRANGERS.issue("three", "127.0.0.1"))).open(
                found.address
            ),
            "without TLS": aio.insecure_channel(found.address),
        }
        for how, channel in refused.items():
            code, text = await asked(channel)
            assert (code, _NOBODY_LEADS in text) == ("UNAVAILABLE", False), how
    async with meeting(directory, peers(directory / "one", PEERS.issue("one", "10.0.0.1"), "127.0.0.1:0")) as found:
        code, text = await asked(other.open(found.address))
        assert (code, _NOBODY_LEADS in text) == ("UNAVAILABLE", False), "its certificate is for another name"


async def test_a_new_certificate_is_shown_as_soon_as_it_is_there(directory: Path) -> None:
    """By the one who is called and by the one who calls; what cannot be used is said, and nothing breaks for good."""
    mine, yours = directory / "mine", directory / "yours"
    settings = peers(mine, PEERS.issue("one", "127.0.0.1"), "127.0.0.1:0")
    async with meeting(directory, settings) as found:
        other = Meeting("", peers(yours, PEERS.issue("two")))
        first = other.channel(found.address)
        assert other.channel(found.address) is first
        peers(mine, STRANGERS.issue("one", "127.0.0.1"), authority=STRANGERS)
        assert (await asked(other.open(found.address)))[1] != _NOBODY_LEADS
        peers(yours, STRANGERS.issue("two"), authority=STRANGERS)
        assert other.channel(found.address) is not first
        assert await asked(other.open(found.address)) == ("UNAVAILABLE", _NOBODY_LEADS)
        (yours / "key_file").write_text("no key")
        with pytest.raises(Exception, match=r"peers\.tls\.key_file") as caught:
            other.open(found.address)
        assert type(caught.value).__name__ == "NotLeadingError"
        await first.close(None)
        await other.close()


async def test_each_process_of_a_machine_takes_a_port_of_its_own(directory: Path) -> None:
    """The first free one from the port on that all of them are told."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = peers(directory / "files", PEERS.issue("one", "127.0.0.1"), f"127.0.0.1:{port}")
        async with meeting(directory, settings) as one, meeting(directory, settings) as two:
            ports = [int(found.address.rpartition(":")[2]) for found in (one, two)]
            assert port < ports[0] < ports[1] < port + 64


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"listen": "127.0.0.1:7173"}, "tls is missing"),
        ({"listen": "nowhere"}, '"nowhere" is not of the form host:port'),
        ({"listen": "0.0.0.0:7173", "tls": dict.fromkeys(PeerTls.model_fields, "x")}, "advertised is missing"),
        ({"listen": "a:1", "tls": {"certificate_file": "x", "key_file": "x"}}, "tls.ca_file"),
    ],
)
def test_what_would_let_strangers_in_or_nobody_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Settings.model_validate(given)
