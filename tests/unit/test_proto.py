"""The generated messages are those of the .proto files, and stubs and handlers follow the service."""

import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest

from clusterlink_proto import rpc, v1

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "proto/src/clusterlink_proto/generated"
SERVICES = list(v1.DESCRIPTOR.services_by_name.values())


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.suffix in (".py", ".pyi")
    }


def test_the_generated_messages_are_up_to_date(tmp_path: Path) -> None:
    python = ROOT / ".venv-proto/bin/python"
    subprocess.run([python, ROOT / "proto/generate.py", tmp_path / "out"], check=True, timeout=60)
    made, kept = contents(tmp_path / "out"), contents(GENERATED)
    assert made
    assert sorted(made) == sorted(kept)
    different = [name for name in made if made[name] != kept[name]]
    assert different == [], "run `make proto`"


class Channel:
    """Remembers which methods a stub binds."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def unary_unary(self, path: str, **_: Any) -> str:
        self.paths.append(path)
        return path


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_a_stub_has_every_unary_method_and_no_other(service: Any) -> None:
    channel = Channel()
    stub = rpc.Stub(channel, v1.DESCRIPTOR, service.name)
    unary = [method for method in service.methods if not (method.client_streaming or method.server_streaming)]
    assert unary
    assert channel.paths == [f"/{service.full_name}/{method.name}" for method in unary]
    for method in unary:
        assert getattr(stub, method.name) == f"/{service.full_name}/{method.name}"
    with pytest.raises(AttributeError, match="Nonsense"):
        stub.Nonsense  # noqa: B018 - the look is the test


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_handlers_serve_what_they_were_given_and_nothing_else(service: Any) -> None:
    first, *others = [method.name for method in service.methods]
    handler = rpc.handlers(service, {first: lambda request, _: request})

    class Details(grpc.HandlerCallDetails):
        def __init__(self, method: str) -> None:
            self.method = method
            self.invocation_metadata = ()

    assert handler.service(Details(f"/{service.full_name}/{first}")) is not None
    for other in others:
        assert handler.service(Details(f"/{service.full_name}/{other}")) is None


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_handlers_refuse_a_name_that_is_no_method(service: Any) -> None:
    with pytest.raises(ValueError, match=f"{service.full_name} has no method Nonsense"):
        rpc.handlers(service, {"Nonsense": lambda request, _: request})
