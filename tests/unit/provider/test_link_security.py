"""How a link connects and authenticates: the rules over several attributes, and the way of the password."""

from typing import Any

import pytest

from clusterlink_proto import v1
from clusterlink_provider.framework.cty import UNKNOWN, SetValue
from clusterlink_provider.framework.diagnostics import Diagnostics
from clusterlink_provider.framework.provider import PlanContext
from clusterlink_provider.resources import link_convert, link_security

Object = dict[str, Any]
NOTHING = {"password": None, "password_wo": None, "password_wo_version": None}
SCRAM: Object = {"mechanism": "SCRAM-SHA-256", "username": "u", **NOTHING, "oauth": None, "aws_region": None}
PASSWORD = {**SCRAM, "password": "hidden"}
WRITTEN = {**SCRAM, "password_wo": "hidden", "password_wo_version": 1}
SASL = ("remote_cluster", "sasl")
OAUTH: Object = {
    "token_endpoint_url": "https://t/",
    "client_id": "c",
    "client_secret": "hidden",
    **dict.fromkeys(("client_secret_wo", "client_secret_wo_version", "scope", "parameters", "extensions", "ca_pem")),
}
WRITTEN_OAUTH = {**OAUTH, "client_secret": None, "client_secret_wo": "hidden", "client_secret_wo_version": 1}
BEARER = {**SCRAM, "mechanism": "OAUTHBEARER", "username": None, "oauth": OAUTH}
MSK = {**PASSWORD, "mechanism": "AWS_MSK_IAM", "aws_region": "eu-central-1"}
NO_TLS: Object = {
    **dict.fromkeys(("ca_pem", "certificate_pem", "key_pem", "key_pem_wo", "key_pem_wo_version")),
    "accept_any_server_name": False,
}
KEY = {**NO_TLS, "ca_pem": "a", "certificate_pem": "c", "key_pem": "hidden"}
WRITTEN_KEY = {**KEY, "key_pem": None, "key_pem_wo": "hidden", "key_pem_wo_version": 1}
TLS = ("remote_cluster", "tls")


def remote(protocol: Any, sasl: Any = None, tls: Any = None) -> Object:
    servers = SetValue(["a:1"])
    return {"bootstrap_servers": servers, "cluster_id": None, "security_protocol": protocol, "sasl": sasl, "tls": tls}


@pytest.mark.parametrize(
    ("protocol", "sasl", "summary", "path"),
    [
        (None, None, None, ()),
        ("PLAINTEXT", None, None, ()),
        ("SASL_PLAINTEXT", None, "Missing sasl", ("remote_cluster", "security_protocol")),
        ("SASL_PLAINTEXT", PASSWORD, None, ()),
        ("SASL_PLAINTEXT", WRITTEN, None, ()),
        ("SASL_PLAINTEXT", UNKNOWN, None, ()),
        (UNKNOWN, None, None, ()),
        (UNKNOWN, PASSWORD, None, ()),
        (None, PASSWORD, "No place for sasl", SASL),
        ("PLAINTEXT", WRITTEN, "No place for sasl", SASL),
        ("SSL", PASSWORD, "No place for sasl", SASL),
        ("SASL_SSL", None, "Missing sasl", ("remote_cluster", "security_protocol")),
        ("SASL_SSL", PASSWORD, None, ()),
        ("SASL_PLAINTEXT", SCRAM, "Missing password", SASL),
        ("SASL_PLAINTEXT", {**SCRAM, "password": UNKNOWN}, None, ()),
        ("SASL_PLAINTEXT", {**SCRAM, "password_wo": UNKNOWN}, None, ()),
        ("SASL_PLAINTEXT", {**PASSWORD, "password_wo": UNKNOWN}, None, ()),
        ("SASL_PLAINTEXT", {**WRITTEN, "password": "hidden"}, "Two values of password", (*SASL, "password_wo")),
        (
            "SASL_PLAINTEXT",
            {**WRITTEN, "password_wo_version": None},
            "Missing version of password",
            (*SASL, "password_wo"),
        ),
        ("SASL_PLAINTEXT", {**WRITTEN, "password_wo_version": UNKNOWN}, None, ()),
        (
            "SASL_PLAINTEXT",
            {**PASSWORD, "password_wo_version": 1},
            "Version without password_wo",
            (*SASL, "password_wo_version"),
        ),
        ("SASL_SSL", BEARER, None, ()),
        ("SASL_SSL", {**BEARER, "oauth": WRITTEN_OAUTH}, None, ()),
        ("SASL_SSL", {**BEARER, "oauth": UNKNOWN}, None, ()),
        ("SASL_SSL", {**BEARER, "mechanism": UNKNOWN}, None, ()),
        ("SASL_SSL", {**BEARER, "oauth": None}, "Missing oauth", SASL),
        ("SASL_SSL", {**BEARER, "username": "u"}, "No place for username", (*SASL, "username")),
        ("SASL_SSL", {**BEARER, "password": "hidden"}, "No place for password", (*SASL, "password")),
        ("SASL_SSL", {**PASSWORD, "oauth": OAUTH}, "No place for oauth", (*SASL, "oauth")),
        ("SASL_SSL", {**BEARER, "oauth": {**OAUTH, "client_secret": None}}, "Missing client_secret", (*SASL, "oauth")),
        (
            "SASL_SSL",
            {**BEARER, "oauth": {**OAUTH, "client_secret_wo": "hidden"}},
            "Two values of client_secret",
            (*SASL, "oauth", "client_secret_wo"),
        ),
        (
            "SASL_SSL",
            {**BEARER, "oauth": {**WRITTEN_OAUTH, "client_secret_wo_version": None}},
            "Missing version of client_secret",
            (*SASL, "oauth", "client_secret_wo"),
        ),
        ("SASL_SSL", MSK, None, ()),
        ("SASL_SSL", {**MSK, "aws_region": None}, "Missing aws_region", SASL),
        ("SASL_SSL", {**MSK, "username": None}, "Missing username", SASL),
        ("SASL_SSL", {**PASSWORD, "aws_region": "x"}, "No place for aws_region", (*SASL, "aws_region")),
    ],
)
def test_rules(protocol: Any, sasl: Any, summary: str | None, path: tuple[str, ...]) -> None:
    diagnostics = Diagnostics()
    link_security.validate({"remote_cluster": remote(protocol, sasl)}, diagnostics)
    assert [(item.summary, item.path) for item in diagnostics] == ([(summary, path)] if summary else [])
    assert "hidden" not in str(diagnostics)


@pytest.mark.parametrize(
    ("protocol", "tls", "summary", "path"),
    [
        ("SSL", NO_TLS, None, ()),
        ("SSL", UNKNOWN, None, ()),
        ("SSL", KEY, None, ()),
        ("SSL", WRITTEN_KEY, None, ()),
        ("SSL", {**WRITTEN_KEY, "key_pem_wo": UNKNOWN}, None, ()),
        (None, NO_TLS, "No place for tls", TLS),
        ("SASL_PLAINTEXT", KEY, "No place for tls", TLS),
        (UNKNOWN, KEY, None, ()),
        ("SSL", {**NO_TLS, "certificate_pem": "c"}, "Missing private key", TLS),
        ("SSL", {**KEY, "certificate_pem": None}, "Private key without its certificate", TLS),
        ("SSL", {**KEY, "key_pem_wo": "hidden"}, "Two values of key_pem", (*TLS, "key_pem_wo")),
        ("SSL", {**WRITTEN_KEY, "key_pem_wo_version": None}, "Missing version of key_pem", (*TLS, "key_pem_wo")),
        ("SSL", {**KEY, "key_pem_wo_version": 1}, "Version without key_pem_wo", (*TLS, "key_pem_wo_version")),
    ],
)
def test_rules_of_tls(protocol: Any, tls: Any, summary: str | None, path: tuple[str, ...]) -> None:
    diagnostics = Diagnostics()
    sasl = PASSWORD if isinstance(protocol, str) and protocol.startswith("SASL_") else None
    link_security.validate({"remote_cluster": remote(protocol, sasl, tls)}, diagnostics)
    assert [(item.summary, item.path) for item in diagnostics] == ([(summary, path)] if summary else [])
    assert "hidden" not in str(diagnostics)


def test_nothing_is_said_of_a_cluster_that_is_not_known() -> None:
    diagnostics = Diagnostics()
    link_security.validate({"remote_cluster": UNKNOWN}, diagnostics)
    assert list(diagnostics) == []


@pytest.mark.parametrize(
    ("before", "after", "warns"),
    [
        (None, "PLAIN", True),
        (None, "SCRAM-SHA-512", False),
        ("SCRAM-SHA-512", "PLAIN", True),
        ("PLAIN", "PLAIN", False),
        (None, "OAUTHBEARER", True),
        ("SCRAM-SHA-512", "AWS_MSK_IAM", True),
        (None, None, False),
    ],
)
def test_a_password_that_can_be_read_on_the_way_is_warned_of_once(
    before: str | None, after: str | None, warns: bool
) -> None:
    def state(mechanism: str | None) -> Object:
        sasl = mechanism and {**SCRAM, "mechanism": mechanism}
        return {"remote_cluster": remote("SASL_PLAINTEXT" if sasl else "PLAINTEXT", sasl)}

    context: PlanContext[Any] = PlanContext(None, prior=state(before) if before else None)
    link_security.warn_of_plain(context, state(after))
    assert len(context.diagnostics) == warns
    assert not context.diagnostics.has_errors


def planned(protocol: str, sasl: Any = None, tls: Any = None) -> Object:
    return {
        "name": "a",
        "mode": "DESTINATION",
        "remote_cluster": remote(protocol, sasl, tls),
        "mirror_start_offset": "latest",
        "paused": False,
    }


@pytest.mark.parametrize("given", [PASSWORD, WRITTEN])
def test_the_password_reaches_the_engine_and_comes_back_from_the_plan_only(given: Object) -> None:
    state = planned("SASL_PLAINTEXT", {**given, "password_wo": None})
    config = {"remote_cluster": remote("SASL_PLAINTEXT", given)}
    message = link_convert.to_message(state, config)
    sasl = message.remote_cluster.sasl
    assert (sasl.mechanism, sasl.username, sasl.password) == ("SCRAM-SHA-256", "u", "hidden")
    assert message.mirror_start_offset == "latest"
    message.remote_cluster.sasl.ClearField("password")
    message.state = v1.LINK_STATE_ACTIVE
    seen = link_convert.from_message(message, state)
    assert seen["remote_cluster"] == {**state["remote_cluster"], "cluster_id": None}
    assert seen["mirror_start_offset"] == "latest"


@pytest.mark.parametrize("given", [OAUTH, WRITTEN_OAUTH])
def test_the_clients_secret_reaches_the_engine_and_comes_back_from_the_plan_only(given: Object) -> None:
    given = {**given, "scope": "kafka", "parameters": {"audience": "a"}, "extensions": {"logicalCluster": "l"}}
    state = planned("SASL_SSL", {**BEARER, "oauth": {**given, "client_secret_wo": None}})
    config = {"remote_cluster": remote("SASL_SSL", {**BEARER, "oauth": given})}
    message = link_convert.to_message(state, config)
    oauth = message.remote_cluster.sasl.oauth
    assert (oauth.token_endpoint_url, oauth.client_id, oauth.client_secret) == ("https://t/", "c", "hidden")
    assert (oauth.scope, dict(oauth.parameters), dict(oauth.extensions)) == (
        *("kafka", {"audience": "a"}),
        {"logicalCluster": "l"},
    )
    oauth.ClearField("client_secret")
    message.state = v1.LINK_STATE_ACTIVE
    assert link_convert.from_message(message, state)["remote_cluster"]["sasl"] == state["remote_cluster"]["sasl"]


@pytest.mark.parametrize("given", [KEY, WRITTEN_KEY])
def test_the_key_reaches_the_engine_and_comes_back_from_the_plan_only(given: Object) -> None:
    state = planned("SSL", tls={**given, "key_pem_wo": None})
    message = link_convert.to_message(state, {"remote_cluster": remote("SSL", tls=given)})
    tls = message.remote_cluster.tls
    assert (tls.ca_pem, tls.certificate_pem, tls.key_pem) == ("a", "c", "hidden")
    tls.ClearField("key_pem")
    message.state = v1.LINK_STATE_ACTIVE
    assert link_convert.from_message(message, state)["remote_cluster"] == state["remote_cluster"]


def test_a_link_without_sasl_has_none() -> None:
    state = planned("PLAINTEXT", None)
    message = link_convert.to_message(state, {"remote_cluster": remote("PLAINTEXT", None)})
    assert not message.remote_cluster.HasField("sasl")
    assert link_convert.from_message(message, planned("SASL_PLAINTEXT", PASSWORD))["remote_cluster"]["sasl"] is None


def test_an_import_knows_no_password() -> None:
    message = v1.Link(name="a", mode=v1.LINK_MODE_DESTINATION)
    message.remote_cluster.sasl.mechanism, message.remote_cluster.sasl.username = "SCRAM-SHA-256", "u"
    assert link_convert.from_message(message, {"name": "a"})["remote_cluster"]["sasl"] == SCRAM


@pytest.mark.parametrize(
    ("change", "mask"),
    [
        ({}, []),
        ({"password_wo_version": 2}, ["remote_cluster.sasl"]),
        ({"username": "v"}, ["remote_cluster.sasl"]),
        ({"password": "other", "password_wo_version": None}, ["remote_cluster.sasl"]),
    ],
)
def test_what_changes_is_named(change: Object, mask: list[str]) -> None:
    sasl = {**WRITTEN, "password_wo": None}
    before, after = planned("SASL_PLAINTEXT", sasl), planned("SASL_PLAINTEXT", {**sasl, **change})
    assert link_convert.changed_fields(before, after) == mask


@pytest.mark.parametrize(
    "change", [{"key_pem_wo_version": 2}, {"certificate_pem": "d"}, {"ca_pem": None}, {"accept_any_server_name": True}]
)
def test_a_change_of_certificates_is_named(change: Object) -> None:
    tls = {**WRITTEN_KEY, "key_pem_wo": None}
    before, after = planned("SSL", tls=tls), planned("SSL", tls={**tls, **change})
    assert link_convert.changed_fields(before, after) == ["remote_cluster.tls"]


def test_a_link_can_begin_to_authenticate() -> None:
    before, after = planned("PLAINTEXT", None), planned("SASL_PLAINTEXT", PASSWORD)
    assert link_convert.changed_fields(before, after) == ["remote_cluster.security_protocol", "remote_cluster.sasl"]
