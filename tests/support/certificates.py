"""Certificates for the tests: authorities, and what they sign."""

import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Certificate:
    """A certificate, with the intermediate ones after it, and its key, as PEM texts."""

    certificate: str
    key: str = field(repr=False)


class Authority:
    """An authority that signs certificates; its own is signed by another one, or by itself.

    Attributes:
        pem: Its certificate.
    """

    def __init__(self, name: str, parent: "Authority | None" = None) -> None:
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._parent = parent
        signer, key = (parent._name, parent._key) if parent is not None else (self._name, self._key)
        builder = _builder(self._name, signer, self._key, datetime.now(UTC) + _DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, name: str, *servers: str, expired: bool = False) -> Certificate:
        """Signs a certificate, for a day, or until yesterday.

        Args:
            name: Common name; a client that shows the certificate is Kafka's user `CN=name`.
            servers: Host names and addresses that it is for.
            expired: Whether it is not valid any more.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, self._name, key, datetime.now(UTC) + (-_DAY if expired else _DAY))
        if servers:
            builder = builder.add_extension(x509.SubjectAlternativeName(map(_general_name, servers)), critical=False)
        signed = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Certificate(signed + (self.pem if self._parent is not None else ""), private.decode())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(until - 2 * _DAY)
        .not_valid_after(until)
    )


def _general_name(server: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(server))
    except ValueError:
        return x509.DNSName(server)
