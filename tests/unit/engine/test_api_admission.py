"""The API's server without Kafka: a call that was admitted is answered that no process leads.

Callers are those of users: `open_channel`, as command line and provider use it.
"""

import asyncio
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clusterlink_engine.api.access import METHODS, hash_of
from clusterlink_engine.api.meeting import Meeting
from clusterlink_engine.api.peers import Peers
from clusterlink_engine.api.server import Server
from clusterlink_engine.errors import InvalidArgumentError
from clusterlink_engine.settings import Api, Role, SettingsError
from clusterlink_engine.settings import Peers as PeerSettings
from clusterlink_proto import v1
from clusterlink_proto.channel import CredentialsError, Tls, open_channel, why_refused
from clusterlink_proto.rpc import Stub
from tests.support.certificates import Authority, Certificate

ADMITTED = (grpc.StatusCode.UNAVAILABLE, "No engine process leads at the moment; try again in a few seconds.")
WRONG = "a-token-of-nobody"
TOKENS = {role: f"token-of-{role}" for role in Role}
_SERVICES = v1.DESCRIPTOR.services_by_name.values()
_OWN = {
    f"/{service.full_name}/{method}": (service, method) for service in _SERVICES for method in service.methods_by_name
}


def made(api: Api) -> Server:
    """A server of a process that knows nobody who leads."""
    return Server(api, Meeting(api.peer_directory, PeerSettings()), Peers(), lambda: "")


@asynccontextmanager
async def serving(directory: Path, **settings: Any) -> AsyncIterator[Server]:
    """A server that listens, by the settings of `api`; its address is `server.address`."""
    api = Api.model_validate({"listen": "127.0.0.1:0", "peer_directory": str(directory), **settings})
    server = made(api)
    await server.start()
    try:
        await server.listen()
        yield server
    finally:
        await server.stop()


@pytest.fixture
def directory() -> Iterator[Path]:
    """Not below pytest's directory, whose name may be too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="cl-") as path:
        yield Path(path)


def known(*roles: Role) -> list[dict[str, str]]:
    return [{"name": f"the-{role}", "role": role, "sha256": hash_of(TOKENS[role])} for role in roles]


def ask(
    endpoint: str,
    method: str = "/clusterlink.v1.EngineService/GetEngine",
    *,
    token: str = "",
    tls: Tls | None = None,
    request: Any = None,
) -> tuple[grpc.StatusCode, str]:
    """Calls a method and answers what became of it."""
    service, name = _OWN[method]
    if request is None:
        request = GetMessageClass(service.methods_by_name[name].input_type)()
    with open_channel(endpoint, token=token, tls=tls) as channel:
        try:
            getattr(Stub(channel, v1.DESCRIPTOR, service.name), name)(request, timeout=20)
        except grpc.RpcError as error:
            status: Any = error
            return status.code(), status.details()
    return grpc.StatusCode.OK, ""


async def asked(*arguments: Any, **options: Any) -> tuple[grpc.StatusCode, str]:
    return await asyncio.to_thread(ask, *arguments, **options)


@pytest.mark.parametrize("role", [*Role, None])
async def test_every_method_for_each_role_and_for_nobody(directory: Path, role: Role | None) -> None:
    async with serving(directory, tokens=known(*Role)) as server:
        for method in _OWN:
            code, said = await asked(server.address, method, token=TOKENS[role] if role is not None else "")
            needed = METHODS[method]
            if role is None:
                assert code is grpc.StatusCode.UNAUTHENTICATED, method
            elif role.includes(needed):
                assert (code, said) == ADMITTED, method
            else:
                name = method.rpartition("/")[2]
                assert code is grpc.StatusCode.PERMISSION_DENIED, method
                assert said == f'{name} needs the role {needed}; the token "the-{role}" has the role {role}.'


async def test_who_only_checks_needs_to_be_a_viewer(directory: Path) -> None:
    """So a viewer can plan."""
    async with serving(directory, tokens=known(Role.VIEWER)) as server:
        for method, (service, name) in _OWN.items():
            kind = service.methods_by_name[name].input_type
            if "validate_only" in kind.fields_by_name:
                request = GetMessageClass(kind)(validate_only=True)
                assert await asked(server.address, method, request=request, token=TOKENS[Role.VIEWER]) == ADMITTED
                code, _ = await asked(server.address, method, request=request)
                assert code is grpc.StatusCode.UNAUTHENTICATED


async def test_a_wrong_token_is_refused_and_in_no_log(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    pause = "/clusterlink.v1.LinkService/PauseLink"
    async with serving(directory, tokens=known(Role.ADMIN)) as server:
        code, said = await asked(server.address, pause, token=WRONG)
        assert (code, said) == (grpc.StatusCode.UNAUTHENTICATED, "This engine does not know the token.")
        assert await asked(server.address, pause, token=TOKENS[Role.ADMIN]) == ADMITTED
    assert f'{pause} by the token "the-admin"' in caplog.text
    for secret in (WRONG, TOKENS[Role.ADMIN], hash_of(TOKENS[Role.ADMIN])):
        assert secret not in caplog.text


async def test_without_callers_in_the_settings_everybody_on_this_machine_may_do_everything(directory: Path) -> None:
    async with serving(directory) as server:
        for token in ("", "whatever"):
            assert await asked(server.address, "/clusterlink.v1.LinkService/DeleteLink", token=token) == ADMITTED


async def test_health_is_for_everybody(directory: Path) -> None:
    def check(address: str) -> Any:
        with open_channel(address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            watched = next(health.Watch(health_pb2.HealthCheckRequest(), timeout=20))
            assert watched == health.Check(health_pb2.HealthCheckRequest(), timeout=20)
            return watched.status

    async with serving(directory, tokens=known(Role.ADMIN)) as server:
        assert await asyncio.to_thread(check, server.address) == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("remote", [False, True])
async def test_reflection_is_offered_on_this_machine_only(directory: Path, remote: bool, pki: "Pki") -> None:
    def reflect(address: str) -> grpc.StatusCode:
        with open_channel(address, tls=pki.client() if remote else None) as channel:
            streams: Any = channel.stream_stream
            call = streams("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
            try:
                list(call(iter([b""]), timeout=20))
            except grpc.RpcError as error:
                status: Any = error
                return grpc.StatusCode(status.code())
            return grpc.StatusCode.OK

    # Of the loopback network, but not the address that counts as this machine's own.
    settings = {"listen": "127.0.0.2:0", "tls": pki.files(clients=False), "tokens": known(Role.ADMIN)} if remote else {}
    async with serving(directory, **settings) as server:
        answered = await asyncio.to_thread(reflect, server.address)
        assert (answered is grpc.StatusCode.UNIMPLEMENTED) is remote


class Pki:
    """An authority, the API's certificate on disk, and clients'."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = Authority("authority")
        (directory / "ca.pem").write_text(self.authority.pem)
        self.write(self.authority.issue("api", "127.0.0.1", "127.0.0.2"))

    def write(self, certificate: Certificate) -> None:
        for name, text in (("api.pem", certificate.certificate), ("api.key", certificate.key)):
            (self.directory / f"{name}.new").write_text(text)
            (self.directory / f"{name}.new").rename(self.directory / name)

    def files(self, *, clients: bool) -> dict[str, str]:
        files = {"certificate_file": str(self.directory / "api.pem"), "key_file": str(self.directory / "api.key")}
        return {**files, "client_ca_file": str(self.directory / "ca.pem")} if clients else files

    def client(self, certificate: Certificate | None = None) -> Tls:
        if certificate is None:
            return Tls(self.authority.pem)
        return Tls(self.authority.pem, certificate.certificate, certificate.key)


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path)


async def test_tls_with_a_token(directory: Path, pki: Pki) -> None:
    async with serving(directory, tls=pki.files(clients=False), tokens=known(Role.VIEWER)) as server:
        assert await asked(server.address, tls=pki.client(), token=TOKENS[Role.VIEWER]) == ADMITTED
        code, _ = await asked(server.address, tls=pki.client())
        assert code is grpc.StatusCode.UNAUTHENTICATED


async def test_certificates_of_clients(directory: Path, pki: Pki) -> None:
    """By common name and by alternative name; one that is signed but not listed needs a token, and the token decides."""
    listed = [{"name": "ci", "role": "operator"}, {"name": "eye.example", "role": "viewer"}]
    link = "/clusterlink.v1.LinkService"
    issue = pki.authority.issue
    settings = {"tls": pki.files(clients=True), "certificates": listed, "tokens": known(Role.ADMIN)}
    async with serving(directory, **settings) as server:

        async def code(method: str, certificate: Certificate, token: str = "") -> grpc.StatusCode:
            found, _ = await asked(server.address, f"{link}/{method}", tls=pki.client(certificate), token=token)
            return found

        by_name, by_other_name, unlisted = issue("ci"), issue("somebody", "eye.example"), issue("stranger")
        assert await code("PauseLink", by_name) is ADMITTED[0]
        assert await code("DeleteLink", by_name) is grpc.StatusCode.PERMISSION_DENIED
        assert await code("ListLinks", by_other_name) is ADMITTED[0]
        assert await code("PauseLink", by_other_name) is grpc.StatusCode.PERMISSION_DENIED
        assert await code("ListLinks", unlisted) is grpc.StatusCode.UNAUTHENTICATED
        assert await code("DeleteLink", unlisted, TOKENS[Role.ADMIN]) is ADMITTED[0]
        assert await code("DeleteLink", by_name, TOKENS[Role.ADMIN]) is ADMITTED[0]
        assert await code("ListLinks", by_name, "wrong") is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("other authority", "the engine's certificate is not trusted"),
        ("other name", "the engine's certificate is for another name"),
        ("no certificate", "the engine may want a certificate of the caller"),
        ("certificate of another authority", "the engine may not trust the caller's certificate"),
        ("no TLS", "the engine may speak TLS only"),
        ("expired", "the engine's certificate is not trusted (certificate has expired)"),
    ],
)
async def test_connections_that_are_not_secure_say_why(directory: Path, pki: Pki, how: str, said: str) -> None:
    other, own = Authority("other"), pki.authority.issue("ci")
    tls = {
        "other authority": Tls(other.pem, own.certificate, own.key),
        "other name": Tls(pki.authority.pem, own.certificate, own.key, server_name="elsewhere.example"),
        "no certificate": pki.client(),
        "certificate of another authority": pki.client(other.issue("ci")),
        "no TLS": None,
        "expired": pki.client(own),
    }[how]
    if how == "expired":
        pki.write(pki.authority.issue("api", "127.0.0.1", expired=True))
    listed = [{"name": "ci", "role": "admin"}]
    async with serving(directory, tls=pki.files(clients=True), certificates=listed) as server:
        code, details = await asked(server.address, tls=tls)
        assert code is grpc.StatusCode.UNAVAILABLE
        assert said in why_refused(details, tls), details


async def test_tls_where_the_engine_has_none(directory: Path, pki: Pki) -> None:
    async with serving(directory) as server:
        _, details = await asked(server.address, tls=pki.client())
        assert why_refused(details, pki.client()) == "the engine does not speak TLS there"


async def test_a_certificate_is_read_again_when_it_changes(
    directory: Path, pki: Pki, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a restart; one that cannot be used leaves the old one in place."""
    caplog.set_level("INFO")
    first = pki.client()
    async with serving(directory, tls=pki.files(clients=False)) as server:
        assert await asked(server.address, tls=first) == ADMITTED
        pki.authority = Authority("the next one")
        pki.write(pki.authority.issue("api", "127.0.0.1"))
        assert await asked(server.address, tls=pki.client()) == ADMITTED
        assert (await asked(server.address, tls=first)) != ADMITTED
        (pki.directory / "api.key").write_text("no key")
        assert await asked(server.address, tls=pki.client()) == ADMITTED
        assert "the certificate that was in use stays: api.tls.key_file" in caplog.text


@pytest.mark.parametrize(
    ("file", "content", "key"),
    [
        ("api.pem", None, "api.tls.certificate_file"),
        ("api.key", None, "api.tls.key_file"),
        ("ca.pem", None, "api.tls.client_ca_file"),
        ("api.key", Authority("x").issue("x").key, "api.tls.key_file"),
        ("api.pem", "no PEM", "api.tls.key_file"),
        ("ca.pem", "no PEM", "api.tls.client_ca_file"),
    ],
)
def test_files_that_cannot_be_used_are_refused_by_key(pki: Pki, file: str, content: str | None, key: str) -> None:
    if content is None:
        (pki.directory / file).unlink()
    else:
        (pki.directory / file).write_text(content)
    with pytest.raises(SettingsError) as caught:
        made(Api.model_validate({"tls": pki.files(clients=True)}))
    assert str(caught.value).startswith(f"{key}: ")
    assert "\n" not in str(caught.value)


def leave_socket(path: Path) -> None:
    """Makes a socket on which nobody listens any more, as a process that was killed leaves it."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))


async def test_a_socket_is_for_its_user_alone(directory: Path) -> None:
    """One that a dead process left is used again; one on which a process listens is left to it, until it has stopped."""
    path = directory / "api.sock"
    leave_socket(path)
    api = Api(listen=f"unix://{path}", peer_directory=str(directory))
    second = made(api)
    async with serving(directory, listen=api.listen) as server:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert await asked(api.listen) == ADMITTED
        with pytest.raises(InvalidArgumentError, match=r"api\.listen: .* is it in use\?"):
            await second.listen()
        assert await asked(server.address) == ADMITTED
    await second.listen()
    assert await asked(api.listen) == ADMITTED
    await second.stop()
    assert not path.exists()


async def test_nothing_else_is_listened_on(directory: Path) -> None:
    """No port of the loopback address is a way around."""
    before = _listening()
    async with serving(directory, tokens=known(Role.ADMIN)) as server:
        assert _listening() - before == {int(server.address.rpartition(":")[2])}


def _listening() -> set[int]:
    found = psutil.Process().net_connections(kind="tcp")
    return {connection.laddr.port for connection in found if connection.status == psutil.CONN_LISTEN}


async def test_a_request_that_is_too_long_is_refused(directory: Path) -> None:
    method = "/clusterlink.v1.LinkService/CreateLink"
    async with serving(directory, max_message_bytes=65536) as server:

        async def create(size: int) -> grpc.StatusCode:
            link = v1.Link(name="x" * size)
            code, _ = await asked(server.address, method, request=v1.CreateLinkRequest(link=link))
            return code

        assert await create(60_000) is ADMITTED[0]
        assert await create(70_000) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await asked(server.address) == ADMITTED


async def test_nothing_is_read_of_a_request_of_nobody(directory: Path) -> None:
    """Not even whether it is too long."""
    request = v1.CreateLinkRequest(link=v1.Link(name="x" * 1_000_000))
    async with serving(directory, max_message_bytes=65536, tokens=known(Role.ADMIN)) as server:
        code, _ = await asked(server.address, "/clusterlink.v1.LinkService/CreateLink", request=request)
        assert code is grpc.StatusCode.UNAUTHENTICATED


async def test_callers_have_a_rate_each(directory: Path) -> None:
    def many(address: str, token: str) -> set[tuple[grpc.StatusCode, str]]:
        with open_channel(address, token=token) as channel, ThreadPoolExecutor(8) as pool:
            stub: Any = Stub(channel, v1.DESCRIPTOR, "EngineService")

            def once(_: int) -> tuple[grpc.StatusCode, str]:
                try:
                    stub.GetEngine(v1.GetEngineRequest(), timeout=20)
                except grpc.RpcError as error:
                    status: Any = error
                    return status.code(), status.details()
                return grpc.StatusCode.OK, ""

            return set(pool.map(once, range(60)))

    async with serving(directory, tokens=known(Role.VIEWER, Role.ADMIN), max_calls_per_second=1) as server:
        refused = (grpc.StatusCode.RESOURCE_EXHAUSTED, "More than 1 calls in a second; try again a little later.")
        assert refused in await asyncio.to_thread(many, server.address, TOKENS[Role.VIEWER])
        assert await asked(server.address, token=TOKENS[Role.ADMIN]) == ADMITTED


async def test_calls_at_the_same_time_are_limited_apart_from_those_of_nobody(directory: Path) -> None:
    """Whoever watches the health and never ends keeps out others who do, but no caller who is known."""

    def watch(address: str) -> tuple[grpc.StatusCode, str]:
        with open_channel(address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            watching = health.Watch(health_pb2.HealthCheckRequest(), timeout=60)
            next(watching)
            with pytest.raises(grpc.RpcError) as caught:
                health.Check(health_pb2.HealthCheckRequest(), timeout=20)
            status: Any = caught.value
            assert status.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            found = ask(address, token=TOKENS[Role.VIEWER])
            assert watching.is_active()
            return found

    async with serving(directory, tokens=known(Role.VIEWER), max_concurrent_calls=1) as server:
        assert await asyncio.to_thread(watch, server.address) == ADMITTED


async def test_a_request_that_is_no_message_is_refused_without_its_inside(directory: Path) -> None:
    def send(address: str, *requests: bytes) -> tuple[grpc.StatusCode, str]:
        with open_channel(address) as channel:
            streams: Any = channel.stream_stream
            try:
                list(streams("/clusterlink.v1.LinkService/GetLink")(iter(requests), timeout=20))
            except grpc.RpcError as error:
                status: Any = error
                return status.code(), status.details()
            return grpc.StatusCode.OK, ""

    async with serving(directory) as server:
        refused = (grpc.StatusCode.INVALID_ARGUMENT, "The request is not a message of this method.")
        assert await asyncio.to_thread(send, server.address, b"\xff\xff\xff") == refused
        code, _ = await asyncio.to_thread(send, server.address)
        assert code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("token", ["a b", "line\n", "ü"])
def test_what_no_header_can_carry_is_refused_and_not_repeated(token: str) -> None:
    with pytest.raises(CredentialsError) as caught:
        open_channel("127.0.0.1:1", token=token)
    assert token not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["10.0.0.1:7171", "engine.example:7171", "127.0.0.1.example:1", "unix.example:1"])
def test_a_token_is_not_sent_where_anybody_can_read_it(endpoint: str) -> None:
    with pytest.raises(CredentialsError, match="could read the token"):
        open_channel(endpoint, token=WRONG)


@pytest.mark.parametrize("parts", [{"ca_pem": "x"}, {"certificate_pem": "x"}, {"key_pem": "x"}])
def test_what_is_no_pem_is_refused(parts: dict[str, str]) -> None:
    with pytest.raises(CredentialsError):
        open_channel("127.0.0.1:1", tls=Tls(**parts))
    assert "'x'" not in repr(Tls(key_pem="x"))
