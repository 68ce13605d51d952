"""Tokens: fetched once for all who wait, kept while they are good, and what endpoints, files and signers can get wrong."""

import asyncio
import threading
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import pytest

from clusterlink_engine import msk, tokens
from clusterlink_engine.librdkafka import changed_settings, librdkafka_settings
from clusterlink_engine.sasl import LocalSasl, OAuth, OAuthFiles, Sasl
from clusterlink_engine.security import Security
from clusterlink_engine.settings import SettingsError, load
from clusterlink_engine.token_endpoint import TokenError
from clusterlink_engine.tokens import Token, TokenSource, source_of
from tests.support import ways
from tests.support.certificates import Authority
from tests.support.token_server import TokenServer
from tests.support.waiting import wait_until

AUTHORITY = Authority("whom to trust")


@pytest.fixture
def server() -> Iterator[TokenServer]:
    with ways.token_server() as running:
        yield running


def sasl(server: TokenServer, **more: Any) -> Sasl:
    return Sasl.model_validate(ways.client(server, **more))


def good(value: str = "t", seconds: float = 100.0) -> Token:
    return Token(value, time.time(), time.time() + seconds)


async def test_one_fetch_is_for_all_who_wait_and_the_loop_does_not() -> None:
    let_go, fetched = threading.Event(), []

    def fetch() -> Token:
        fetched.append(threading.current_thread())
        assert let_go.wait(10)
        return good()

    source = TokenSource(fetch)
    waiting = [asyncio.ensure_future(source.token()) for _ in range(5)]
    threads = [threading.Thread(target=source.token_now) for _ in range(3)]
    for thread in threads:
        thread.start()
    waiting[0].cancel()  # which must not take the token from the others
    await asyncio.sleep(0.01)  # the loop runs while the fetch hangs
    assert not any(future.done() for future in waiting[1:])
    let_go.set()
    assert {token.value for token in await asyncio.gather(*waiting[1:])} == {"t"}
    for thread in threads:
        thread.join()
    assert len(fetched) == 1
    assert fetched[0] is not threading.main_thread()
    assert (await source.token()).value == "t"
    assert len(fetched) == 1


def test_a_token_is_replaced_before_its_end_and_kept_if_there_is_no_other() -> None:
    answers: list[Token | TokenError] = []

    def fetch() -> Token:
        answer = answers.pop(0)
        if isinstance(answer, TokenError):
            raise answer
        return answer

    def aged(value: str, share: float) -> Token:
        now = time.time()
        return Token(value, now - 1000 * share, now + 1000 * (1 - share))

    source = TokenSource(fetch)
    answers += [aged("young", 0.5)]
    assert source.token_now().value == source.token_now().value == "young"
    source = TokenSource(fetch)
    answers += [aged("old", 0.7), TokenError("away")]
    assert [source.token_now().value for _ in range(3)] == ["old", "old", "old"]
    assert answers == []  # asked once, failed once, and left in peace for a while
    source = TokenSource(fetch)
    answers += [aged("over", 1.5), TokenError("away")]
    assert source.token_now().value == "over"  # whether it is, the broker says
    for _ in range(2):
        with pytest.raises(TokenError, match="away"):
            source.token_now()


async def test_a_good_token_is_not_waited_for_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that hangs must not hold up those who have a token; without one they are told at last."""
    monkeypatch.setattr(tokens, "_SHORT_PATIENCE_SECONDS", 0.05)
    let_go, first = threading.Event(), [Token("old", time.time() - 70, time.time() + 30)]

    def fetch() -> Token:
        if first:
            return first.pop()
        assert let_go.wait(10)
        return good("new")

    source = TokenSource(fetch)
    assert [(await source.token()).value, (await source.token()).value, source.token_now().value] == ["old"] * 3
    let_go.set()
    wait_until(lambda: source.token_now().value == "new", 10, "the new token")
    let_go.clear()
    monkeypatch.setattr(tokens, "_PATIENCE_SECONDS", 0.05)
    source = TokenSource(fetch)
    for ask in (source.token, partial(asyncio.to_thread, source.token_now)):
        with pytest.raises(TokenError, match="did not answer within") as caught:
            await ask()
        assert caught.value.is_passing
    let_go.set()


def test_a_token_that_is_refused_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at once, so that the endpoint is asked in good measure; and only if it is the one that is used still."""
    clock = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    made: list[Token] = []

    def fetch() -> Token:
        made.append(good(str(len(made))))
        return made[-1]

    source = TokenSource(fetch)
    first = source.token_now()
    source.was_refused(first)
    assert source.token_now() is first
    clock += 1.1
    second = source.token_now()
    assert second is not first
    source.was_refused(first)
    clock += 1.1
    assert source.token_now() is second
    source.was_refused(second)
    clock += 1.1  # this time it takes longer
    assert source.token_now() is second
    source.was_accepted()
    clock += 100
    assert source.token_now() is second


def test_what_fails_otherwise_is_told_to_who_waits() -> None:
    def fetch() -> Token:
        raise RuntimeError("a secret")

    with pytest.raises(TokenError, match="RuntimeError") as caught:
        TokenSource(fetch).token_now()
    assert "a secret" not in str(caught.value)


def test_a_definition_has_one_source_while_it_is_used(server: TokenServer) -> None:
    one = source_of(sasl(server))
    assert source_of(sasl(server)) is one
    assert source_of(sasl(server, scope="other")) is not one
    security = Security(security_protocol="SASL_PLAINTEXT", sasl=sasl(server))
    settings = librdkafka_settings(["a:1"], security)
    value, ends, _, _ = settings["oauth_cb"]("")
    assert value == one.token_now().value
    assert time.time() < ends < time.time() + 0.8 * server.lifetime  # asked for again before the token's end is near
    assert len(server.asked) == 1
    assert changed_settings(["a:1"], security, settings) is None
    other = Security(security_protocol="SASL_PLAINTEXT", sasl=sasl(server, scope="other"))
    assert changed_settings(["a:1"], other, settings) is not None


def test_the_endpoint_is_asked_as_the_standard_says(server: TokenServer) -> None:
    """With a secret that has to be encoded, as the server finds out."""
    token = source_of(sasl(server, scope="a b", parameters={"audience": "x", "resource": "y&z"})).token_now()
    assert server.asked == [
        {"client": "mirror", "grant_type": "client_credentials", "scope": "a b", "audience": "x", "resource": "y&z"}
    ]
    assert "audience x, subject mirror, good for" in token.described()
    assert token.value not in repr(token)


def test_the_endpoint_must_be_the_one_that_is_trusted(tmp_path: Path) -> None:
    with ways.token_server(certificate=AUTHORITY.issue("tokens", "127.0.0.1")) as server:
        with pytest.raises(TokenError, match=r"certificate of the token endpoint https://127.* is not accepted"):
            source_of(sasl(server)).token_now()
        ca_file = tmp_path / "ca.pem"
        ca_file.write_text(AUTHORITY.pem)
        assert source_of(sasl(server, ca_pem=AUTHORITY.pem)).token_now()
        assert source_of(LocalSasl.model_validate(ways.client(server, ca_file=ca_file))).token_now()
    misnamed = AUTHORITY.issue("tokens", "elsewhere.example")
    with ways.token_server(certificate=misnamed) as server, pytest.raises(TokenError, match="IP address mismatch"):
        source_of(sasl(server, ca_pem=AUTHORITY.pem)).token_now()


def test_an_error_of_the_endpoint_shows_no_secret(server: TokenServer) -> None:
    text = f'{{"error": "x", "error_description": "it was {ways.CLIENT_SECRET}\\u0007"}}'
    server.answer = (400, {}, text.encode())
    with pytest.raises(TokenError, match=r"refused the client \(status 400; x: it was \*\*\*\)") as caught:
        source_of(sasl(server)).token_now()
    assert ways.CLIENT_SECRET not in str(caught.value)


def test_secret_and_token_are_read_again_from_files(server: TokenServer, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("wrong-one\n")
    oauth = {"token_endpoint_url": server.url, "client_id": "mirror", "client_secret_file": secret}
    source = source_of(LocalSasl.model_validate({"mechanism": "OAUTHBEARER", "oauth": oauth}))
    with pytest.raises(TokenError, match="status 401"):
        source.token_now()
    secret.write_text(ways.CLIENT_SECRET)

    def is_right() -> bool:
        try:
            return bool(source.token_now())
        except TokenError:
            return False

    wait_until(is_right, 10, "the new secret to be used")
    file = tmp_path / "token"
    file.write_text(server.token("one") + "\n")
    source = source_of(LocalSasl.model_validate({"mechanism": "OAUTHBEARER", "oauth": {"token_file": file}}))
    assert "subject one" in source.token_now().described()
    file.write_text(server.token("two"))
    assert "subject two" in source.token_now().described()
    file.unlink()
    assert "subject two" in source.token_now().described()
    file.write_text("not a token")
    with pytest.raises(TokenError, match="is none"):
        source.token_now()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mechanism": "PLAIN", "username": "u"}, "needs password, or password_file"),
        ({"mechanism": "PLAIN", "username": "u", "password": "hidden", "password_file": "FILE"}, "not both"),
        ({"mechanism": "PLAIN", "password_file": "FILE"}, "PLAIN needs username"),
        ({"mechanism": "PLAIN", "username": "u", "password_file": "/nowhere"}, "/nowhere cannot be read"),
        ({"mechanism": "PLAIN", "username": "u", "password_file": "EMPTY"}, "does not hold one line"),
        ({"mechanism": "OAUTHBEARER"}, "needs oauth"),
        ({"mechanism": "OAUTHBEARER", "password_file": "FILE", "oauth": {"token_file": "FILE"}}, "no password_file"),
        ({"mechanism": "OAUTHBEARER", "oauth": {}}, "oauth needs token_file, or token_endpoint_url"),
        (
            {"mechanism": "OAUTHBEARER", "oauth": {"token_file": "FILE", "client_id": "c"}},
            "token_file or client_id, not both",
        ),
        (
            {"mechanism": "OAUTHBEARER", "oauth": {"client_id": "c", "client_secret_file": "FILE"}},
            "token_endpoint_url and",
        ),
        ({"mechanism": "AWS_MSK_IAM"}, "needs aws_region"),
        ({"mechanism": "AWS_MSK_IAM", "aws_region": "x", "username": "u"}, "needs password"),
    ],
)
def test_settings_that_do_not_go_together(given: dict[str, Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hidden")
    (tmp_path / "empty").write_text("\n")

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: filled(part) for name, part in value.items()}
        return {"FILE": str(tmp_path / "file"), "EMPTY": str(tmp_path / "empty")}.get(value, value)

    local = {"bootstrap_servers": ["a:1"], "security_protocol": "SASL_SSL", "sasl": filled(given)}
    with pytest.raises(SettingsError, match=said) as caught:
        load(None, {}, {"local_cluster": local})
    assert "local_cluster.sasl" in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_links_have_no_files_and_no_identity_of_the_machine() -> None:
    assert not {"token_file", "client_secret_file", "ca_file"} & OAuth.model_fields.keys()
    assert "token_file" in OAuthFiles.model_fields
    assert "password_file" not in Sasl.model_fields
    with pytest.raises(ValueError, match="AWS_MSK_IAM needs username"):
        Sasl(mechanism="AWS_MSK_IAM", aws_region="eu-central-1")
    assert LocalSasl(mechanism="AWS_MSK_IAM", aws_region="eu-central-1").username == ""


def test_a_token_of_msk_is_a_signed_url() -> None:
    source = source_of(
        Sasl(mechanism="AWS_MSK_IAM", username="AKIAEXAMPLE", password="hidden", aws_region="eu-central-1")  # noqa: S106
    )
    token = source.token_now()
    url = urlsplit(urlsafe_b64decode(token.value + "=" * (-len(token.value) % 4)).decode())
    fields = parse_qs(url.query)
    assert (url.scheme, url.hostname) == ("https", "kafka.eu-central-1.amazonaws.com")
    assert fields["Action"] == ["kafka-cluster:Connect"]
    assert fields["X-Amz-Credential"][0].startswith("AKIAEXAMPLE/")
    assert fields["X-Amz-Credential"][0].endswith("/eu-central-1/kafka-cluster/aws4_request")
    assert 0 < token.until - time.time() <= 900
    assert source.token_now() is token


def test_without_the_extra_it_is_said_what_to_install() -> None:
    missing = patch.dict("sys.modules", {"aws_msk_iam_sasl_signer": None})
    with missing, pytest.raises(TokenError, match=r"pip install 'clusterlink-engine\[msk\]'"):
        msk.sign("eu-central-1", "AKIAEXAMPLE", "hidden")


def test_a_machine_without_an_identity_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(TokenError, match="no token for MSK could be signed"):
        msk.sign("eu-central-1", "", "")


def test_what_is_no_jwt_says_nothing() -> None:
    assert [tokens._token(text, 60).described() for text in ("opaque", "a.b.c", "a.bm8.c", "a..c")] == ["", "", "", ""]
