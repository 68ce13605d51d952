"""The parts of the plugin process that need no Terraform: certificate, socket, log lines."""

import json
import logging
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.verification import PolicyBuilder, Store

from clusterlink_provider.plugin import der, hclog, listening
from clusterlink_provider.plugin.tls import make_identity


def test_certificate_is_read_by_an_x509_library() -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    identity = make_identity(now)
    certificate = x509.load_der_x509_certificate(identity.certificate_der)
    key = load_pem_private_key(identity.key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert certificate.public_key() == key.public_key()
    assert certificate.version is x509.Version.v3
    assert certificate.not_valid_before_utc == now - timedelta(hours=1)
    assert certificate.not_valid_after_utc == now + timedelta(days=365)
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert usage.key_cert_sign
    assert not usage.key_encipherment
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    certificate.verify_directly_issued_by(certificate)


def test_every_process_has_its_own_certificate() -> None:
    assert make_identity().certificate_der != make_identity().certificate_der


def test_certificate_as_an_authority_is_loadable() -> None:
    certificate = x509.load_der_x509_certificate(make_identity().certificate_der)
    assert PolicyBuilder().store(Store([certificate])).build_server_verifier(x509.DNSName("localhost"))


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        (der.integer(0), "020100"),
        (der.integer(127), "02017f"),
        (der.integer(128), "02020080"),
        (der.oid("1.2.840.10045.4.3.2"), "06082a8648ce3d040302"),
        (der.tlv(0x04, b"x" * 200)[:3], "0481c8"),
        (der.tlv(0x04, b"x" * 300)[:4], "0482012c"),
        (der.time(datetime(2049, 12, 31, tzinfo=UTC)), "170d3439313233313030303030305a"),
        (der.time(datetime(2050, 1, 1, tzinfo=UTC)), "180f32303530303130313030303030305a"),
    ],
)
def test_der_vectors(encoded: bytes, expected: str) -> None:
    assert encoded.hex() == expected


def test_socket_directory_is_private(tmp_path: Path) -> None:
    path = listening.make_socket_path([str(tmp_path / "missing"), str(tmp_path)]) if len(str(tmp_path)) < 60 else None
    if path is None:
        path = listening.make_socket_path()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.touch()
    listening.remove(path)
    assert not path.parent.exists()
    listening.remove(path)


def test_socket_path_too_long(tmp_path: Path) -> None:
    place = tmp_path / ("x" * 100)
    place.mkdir()
    with pytest.raises(OSError, match="too long"):
        listening.make_socket_path([str(place)])
    assert list(place.iterdir()) == []


def test_log_line() -> None:
    record = logging.LogRecord("a.b", logging.WARNING, "f", 1, "hello %s", ("x",), None)
    record.created = 0.5
    assert json.loads(hclog.Formatter().format(record)) == {
        "@level": "warn",
        "@message": "hello x",
        "@module": "provider.a.b",
        "@timestamp": "1970-01-01T00:00:00.500000Z",
    }
