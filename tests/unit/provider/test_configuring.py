"""How the provider comes to an engine: what it shows of itself, from where, and what it says when it is refused."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from clusterlink_provider.framework.cty import UNKNOWN
from clusterlink_provider.framework.diagnostics import DiagnosticError, Diagnostics
from clusterlink_provider.resources.provider import ClusterlinkProvider
from clusterlink_provider.resources.session import Session
from tests.support.certificates import Authority
from tests.support.fake_engine import FakeEngine, Fault

TOKEN = "the-token"  # noqa: S105
_AUTHORITY = Authority("authority")
_TLS = {"ca_pem": _AUTHORITY.pem, "certificate_pem": None, "key_pem": None, "server_name": None}


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    engine = FakeEngine(certificate=_AUTHORITY.issue("api", "127.0.0.1"), token=TOKEN).start()
    yield engine
    engine.stop()


def configure(environment: dict[str, str], **given: Any) -> Session | None:
    config = {"endpoint": None, "token": None, "tls": None, **given}
    diagnostics = Diagnostics()
    session = ClusterlinkProvider(environment).configure(config, diagnostics)
    if diagnostics.has_errors:
        raise DiagnosticError(diagnostics)
    return session


def test_the_token_comes_from_the_attribute_or_the_environment(engine: FakeEngine) -> None:
    variable = {"CLUSTERLINK_TOKEN": TOKEN, "CLUSTERLINK_ENDPOINT": engine.endpoint}
    for environment, given in (({}, TOKEN), (variable, None), ({"CLUSTERLINK_TOKEN": "wrong"}, TOKEN)):
        session = configure(environment, endpoint=engine.endpoint, token=given, tls=_TLS)
        assert session is not None
        assert session.client.list_links() == []


def test_who_has_no_token_is_told_where_it_goes(engine: FakeEngine) -> None:
    with pytest.raises(DiagnosticError, match="The provider has no token: set `token`, or CLUSTERLINK_TOKEN"):
        configure({}, endpoint=engine.endpoint, tls=_TLS)
    with pytest.raises(DiagnosticError, match="Check the provider's `token`, or CLUSTERLINK_TOKEN") as caught:
        configure({}, endpoint=engine.endpoint, token="wrong-one", tls=_TLS)  # noqa: S106
    assert "wrong-one" not in str(caught.value)


def test_credentials_that_cannot_be_used_are_refused_before_anything_is_sent(engine: FakeEngine) -> None:
    for given in (
        {"tls": {**_TLS, "key_pem": "-----BEGIN PRIVATE KEY-----"}},
        {"tls": {**_TLS, "ca_pem": "x"}},
        {"token": "a b"},
    ):
        with pytest.raises(DiagnosticError, match="Unusable credentials"):
            configure({}, endpoint=engine.endpoint, **given)
    assert engine.calls == []


@pytest.mark.parametrize("given", [{"token": UNKNOWN}, {"tls": {**_TLS, "ca_pem": UNKNOWN}}, {"tls": UNKNOWN}])
def test_nothing_is_asked_before_all_is_known(engine: FakeEngine, given: dict[str, Any]) -> None:
    assert configure({}, endpoint=engine.endpoint, **given) is None
    assert engine.calls == []


def test_too_many_calls_are_tried_again(engine: FakeEngine) -> None:
    session = configure({}, endpoint=engine.endpoint, token=TOKEN, tls=_TLS)
    assert session is not None
    engine.inject("ListLinks", Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, reason="TOO_MANY_CALLS"))
    assert session.client.list_links() == []
    assert engine.calls.count("ListLinks") == 2


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        (_TLS | {"ca_pem": Authority("other").pem}, "certificate is not trusted"),
        (_TLS | {"server_name": "elsewhere.example"}, "certificate is for another name"),
        (None, "the engine may speak TLS only"),
    ],
)
def test_connections_that_are_not_secure_say_why(engine: FakeEngine, tls: dict[str, Any] | None, words: str) -> None:
    with pytest.raises(DiagnosticError, match=words) as caught:
        configure({}, endpoint=engine.endpoint, token=TOKEN, tls=tls)
    assert "No secure connection to the engine" in str(caught.value)
