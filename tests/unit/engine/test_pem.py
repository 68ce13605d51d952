"""What is taken for certificates and keys, and what is said of the rest."""

import base64
import ssl
from pathlib import Path

import pytest

from clusterlink_engine import pem
from clusterlink_engine.librdkafka import changed_settings, librdkafka_settings
from clusterlink_engine.security import Security, Tls, TlsFiles
from tests.support.certificates import Authority

AUTHORITY = Authority("tests")
CLIENT, OTHER = AUTHORITY.issue("mirror"), AUTHORITY.issue("other")
BOTH = f"Bag Attributes\n{CLIENT.key}\nsubject=Müller\n{CLIENT.certificate}".encode()
_JKS, _PKCS12 = b"\xfe\xed\xfe\xed\0\0\0\x02", b"\x30\x82\x0a\x11"


def test_blocks_are_found_among_others() -> None:
    assert pem.blocks(BOTH, pem.CERTIFICATE) == CLIENT.certificate
    assert pem.blocks(BOTH, pem.PRIVATE_KEY) == CLIENT.key


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (_JKS, ("a JKS store", "keytool -importkeystore", "openssl pkcs12")),
        (base64.b64encode(_JKS), ("a JKS store", "keytool -importkeystore")),
        (_PKCS12, ("a PKCS#12 store", "openssl pkcs12")),
        (base64.b64encode(_PKCS12), ("a PKCS#12 store", "openssl pkcs12")),
        (
            b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nx\n-----END ENCRYPTED PRIVATE KEY-----",
            ("encrypted", "openssl pkey"),
        ),
        (b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n-----END RSA PRIVATE KEY-----", ("encrypted",)),
        (CLIENT.certificate.encode(), ("no PEM block",)),
        (b"", ("no PEM block",)),
    ],
)
def test_what_is_no_key_is_refused_with_what_to_do(data: bytes, words: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=words[0]) as caught:
        pem.blocks(data, pem.PRIVATE_KEY)
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_context_verifies_and_is_not_old() -> None:
    for any_name in (True, False):
        pems = pem.Pems(AUTHORITY.pem, CLIENT.certificate, CLIENT.key)
        context = pem.client_context(pems, accept_any_server_name=any_name)
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, not any_name)
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize(
    ("pems", "words"),
    [
        (pem.Pems(AUTHORITY.pem, CLIENT.certificate, OTHER.key), "the key belongs to another certificate"),
        (pem.Pems(AUTHORITY.pem.replace("M", "!", 1)), "authorities cannot be read"),
        (pem.Pems(AUTHORITY.pem, CLIENT.certificate, CLIENT.key.replace("M", "!", 1)), "cannot be used together"),
    ],
)
def test_what_does_not_go_together_makes_no_context(pems: pem.Pems, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pem.client_context(pems, accept_any_server_name=False)


def test_a_key_is_not_shown() -> None:
    line = CLIENT.key.splitlines()[1]
    tls = Tls(certificate_pem=CLIENT.certificate, key_pem=CLIENT.key)
    assert line not in repr(tls)
    assert line not in repr(tls.pems())
    assert line not in repr(Security(security_protocol="SSL", tls=tls))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"certificate_pem": CLIENT.certificate}, "together"),
        ({"key_pem": CLIENT.key}, "together"),
        ({"ca_pem": CLIENT.key}, "no PEM block"),
        ({"certificate_pem": BOTH.decode(), "key_pem": CLIENT.key}, "private key in it"),
    ],
)
def test_halves_and_wrong_places_are_refused_without_being_shown(fields: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        Tls(**fields)  # type: ignore[arg-type] # by name
    assert CLIENT.key.splitlines()[1] not in str(caught.value)


@pytest.mark.parametrize(
    ("protocol", "sasl", "tls", "words"),
    [
        ("PLAINTEXT", False, True, "tls is given, but security_protocol is PLAINTEXT"),
        ("SSL", True, False, "sasl is given, but security_protocol is SSL"),
        ("SASL_SSL", False, True, "SASL_SSL needs sasl"),
    ],
)
def test_what_does_not_fit_the_protocol_is_refused(protocol: str, sasl: bool, tls: bool, words: str) -> None:
    user = {"mechanism": "PLAIN", "username": "u", "password": "hidden"}
    values = {"security_protocol": protocol, "sasl": user if sasl else None, "tls": {} if tls else None}
    with pytest.raises(ValueError, match=words) as caught:
        Security.model_validate(values)
    assert "hidden" not in str(caught.value)


def test_the_library_connects_the_same_way(tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(BOTH)
    tls = TlsFiles(ca_pem=AUTHORITY.pem, certificate_file=both, key_file=both, accept_any_server_name=True)
    security = Security(security_protocol="SSL", tls=tls)
    settings = librdkafka_settings(["a:1"], security)
    assert (settings["ssl.ca.pem"], settings["ssl.certificate.pem"]) == (AUTHORITY.pem, CLIENT.certificate)
    assert (settings["ssl.key.pem"], settings["security.protocol"]) == (CLIENT.key, "SSL")
    assert settings["ssl.endpoint.identification.algorithm"] == "none"
    assert changed_settings(["a:1"], security, settings) is None
    both.write_text(OTHER.certificate + CLIENT.key)
    with pytest.raises(ValueError, match="another certificate"):
        changed_settings(["a:1"], security, settings)
    both.write_text(OTHER.certificate + OTHER.key)
    changed = changed_settings(["a:1"], security, settings)
    assert changed is not None
    assert changed["ssl.key.pem"] == OTHER.key
