"""Certificates and keys as PEM texts: what else is given is refused with the command that converts it."""

import os
import re
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

CERTIFICATE = "CERTIFICATE"
PRIVATE_KEY = "PRIVATE KEY"

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_ENCRYPTED = re.compile(rb"BEGIN ENCRYPTED PRIVATE KEY|Proc-Type: 4,ENCRYPTED")

# How stores begin, as they are and in Base64.
_JKS = (b"\xfe\xed\xfe\xed", b"/u3+7Q")
_DER = (b"\x30\x82", b"\x30\x80", b"MII", b"MIA")

FROM_PKCS12 = "openssl pkcs12 -in store.p12 -nodes -out store.pem"
FROM_JKS = (
    f"keytool -importkeystore -srckeystore store.jks -destkeystore store.p12 -deststoretype PKCS12 && {FROM_PKCS12}"
)
_DECRYPT = "openssl pkey -in key.pem -out decrypted.pem"


@dataclass(frozen=True, slots=True)
class Pems:
    """What a client needs for TLS, each a PEM text or empty: trusted authorities, its own certificate, and that one's key."""

    ca: str = ""
    certificate: str = ""
    key: str = field(default="", repr=False)


def blocks(data: bytes, label: str) -> str:
    """Answers the PEM blocks of a kind, without what else is there: a file may hold certificate and key together.

    Args:
        data: What was given.
        label: CERTIFICATE or PRIVATE_KEY.

    Raises:
        ValueError: There is none; the text says how to get one.
    """
    found = [match for match in _BLOCK.finditer(data) if match[1].decode().endswith(label)]
    if label == PRIVATE_KEY and _ENCRYPTED.search(data):
        raise ValueError(f"the private key is encrypted; decrypt it, for example by: {_DECRYPT}")
    if found:
        return "".join(match[0].decode("ascii", "replace") + "\n" for match in found)
    if data.startswith(_JKS):
        raise ValueError(f"this is a JKS store, and PEM is needed; convert it by: {FROM_JKS}")
    if data.startswith(_DER):
        raise ValueError(f"this is a PKCS#12 store or DER, and PEM is needed; convert a store by: {FROM_PKCS12}")
    raise ValueError(f"there is no PEM block that ends with {label}-----")


def client_context(pems: Pems, *, accept_any_server_name: bool) -> ssl.SSLContext:
    """Makes the TLS context of a client: TLS 1.2 or newer, the server's certificate always verified.

    Raises:
        ValueError: A text holds what is no certificate or key, or the key belongs to another certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = not accept_any_server_name
    try:
        if pems.ca:
            context.load_verify_locations(cadata=pems.ca)
        else:
            context.load_default_certs()
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"the certificates of the authorities cannot be read: {_reason(error)}") from error
    if pems.certificate:
        try:
            with _as_file(pems.certificate + pems.key) as path:
                context.load_cert_chain(path)
        except (ssl.SSLError, ValueError) as error:
            raise ValueError(f"certificate and key cannot be used together: {_reason(error)}") from error
    return context


def _reason(error: ssl.SSLError | ValueError) -> str:
    known = getattr(error, "reason", None)
    if known == "KEY_VALUES_MISMATCH":
        return "the key belongs to another certificate"
    return known.lower().replace("_", " ") if known else "there is no such thing in the text"


@contextmanager
def _as_file(text: str) -> Iterator[str]:
    """Lends a text as a file, since OpenSSL reads keys from files only: one in memory, where there is such a thing."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("pem"), "w") as file:
            file.write(text)
            file.flush()
            yield f"/dev/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile("w") as named:
            named.write(text)
            named.flush()
            yield named.name
