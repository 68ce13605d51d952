"""The certificate of one plugin process: fresh, self-signed, in memory only.

Terraform accepts exactly the certificate of the handshake line. The client's certificate is not asked for: its P-521
key is one that gRPC's TLS cannot verify. What keeps others out is the socket's private directory.
"""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from clusterlink_provider.plugin import der

_ECDSA_SHA256 = "1.2.840.10045.4.3.2"
_COMMON_NAME = "2.5.4.3"
_ORGANIZATION = "2.5.4.10"
_SUBJECT_ALT_NAME = "2.5.29.17"
_KEY_USAGE = "2.5.29.15"
_BASIC_CONSTRAINTS = "2.5.29.19"
_EXTENDED_KEY_USAGE = "2.5.29.37"
_SERVER_AUTH = "1.3.6.1.5.5.7.3.1"
# go-plugin asks for this name, whatever the address.
_HOST = "localhost"


@dataclass(frozen=True, slots=True)
class Identity:
    """A private key (PEM) and its certificate (DER)."""

    key_pem: bytes
    certificate_der: bytes

    @property
    def certificate_pem(self) -> bytes:
        """The certificate in the form that gRPC takes."""
        import ssl

        return ssl.DER_cert_to_PEM_cert(self.certificate_der).encode()


def make_identity(now: datetime | None = None) -> Identity:
    """Makes a key and a certificate for localhost, valid for a year around `now`."""
    moment = now or datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    algorithm = der.sequence(der.oid(_ECDSA_SHA256))
    name = der.sequence(
        der.set_of(der.sequence(der.oid(_ORGANIZATION), der.utf8("clusterlink"))),
        der.set_of(der.sequence(der.oid(_COMMON_NAME), der.utf8(_HOST))),
    )
    to_sign = der.sequence(
        der.explicit(0, der.integer(2)),
        der.integer(secrets.randbits(120) | 1 << 120),
        algorithm,
        name,
        # A clock that is a little off must not matter.
        der.sequence(der.time(moment - timedelta(hours=1)), der.time(moment + timedelta(days=365))),
        name,
        public,
        der.explicit(3, der.sequence(*_extensions())),
    )
    signature = key.sign(to_sign, ec.ECDSA(hashes.SHA256()))
    certificate = der.sequence(to_sign, algorithm, der.bit_string(signature))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Identity(pem, certificate)


def _extensions() -> list[bytes]:
    critical = der.boolean(True)
    return [
        der.sequence(der.oid(_BASIC_CONSTRAINTS), critical, der.octet_string(der.sequence(der.boolean(True)))),
        # Bits 0 (digital signature) and 5 (signs certificates: it is its own authority).
        der.sequence(der.oid(_KEY_USAGE), critical, der.octet_string(der.bit_string(b"\x84", unused=2))),
        der.sequence(der.oid(_EXTENDED_KEY_USAGE), der.octet_string(der.sequence(der.oid(_SERVER_AUTH)))),
        der.sequence(der.oid(_SUBJECT_ALT_NAME), der.octet_string(der.sequence(der.tlv(0x82, _HOST.encode())))),
    ]
