"""How connections to one cluster are secured: one definition for the raw path and for the libraries."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from clusterlink_engine import pem
from clusterlink_engine.sasl import Sasl
from clusterlink_engine.section import Section

SECURITY_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")

# The parts of a TLS identity, by the beginning of their fields' names.
_PARTS = {"ca": pem.CERTIFICATE, "certificate": pem.CERTIFICATE, "key": pem.PRIVATE_KEY}


class Tls(Section):
    """Whom to trust, and who the engine is itself, as PEM texts. TLS 1.2 or newer is used."""

    ca_pem: str = ""
    """Certificates of the authorities that may have signed those of the brokers. Default: those that this machine trusts."""

    certificate_pem: str = ""
    """The engine's own certificate, for brokers that ask for one (mTLS), with the intermediate ones after it. Default: none."""

    key_pem: str = Field(default="", repr=False)
    """Private key of this certificate, not encrypted. Never printed."""

    accept_any_server_name: bool = False
    """Whether a broker's certificate may be for another name than the one that is connected to. Default false: who has any
    certificate of a trusted authority could else pretend to be a broker."""

    @field_validator("ca_pem", "certificate_pem", "key_pem")
    @classmethod
    def _is_pem(cls, value: str, info: ValidationInfo) -> str:
        label = _PARTS[str(info.field_name).removesuffix("_pem")]
        if value:
            pem.blocks(value.encode(), label)
        if label == pem.CERTIFICATE and f"{pem.PRIVATE_KEY}-----" in value:  # which is shown to whoever reads the link
            raise ValueError("there is a private key in it; give it as key_pem only")
        return value

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self._is_given("certificate") != self._is_given("key"):
            raise ValueError("a certificate and its key are given together, or not at all")
        return self

    def pems(self) -> pem.Pems:
        """Answers the texts.

        Raises:
            ValueError: One is no PEM text.
        """
        return pem.Pems(**{part: self._text(part) for part in _PARTS})

    @property
    def has_certificate(self) -> bool:
        """Whether the engine has a certificate of its own to show."""
        return self._is_given("certificate")

    def _is_given(self, part: str) -> bool:
        return bool(getattr(self, f"{part}_pem"))

    def _text(self, part: str) -> str:
        text: str = getattr(self, f"{part}_pem")
        return pem.blocks(text.encode(), _PARTS[part]) if text else ""


class TlsFiles(Tls):
    """The same, or by files, which are read again for new connections when they changed."""

    ca_file: Path | None = None
    """A file, instead of ca_pem."""

    certificate_file: Path | None = None
    """A file, instead of certificate_pem."""

    key_file: Path | None = None
    """A file, instead of key_pem."""

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        for part in _PARTS:
            if self._file(part) is not None and getattr(self, f"{part}_pem"):
                raise ValueError(f"give {part}_pem or {part}_file, not both")
        pem.client_context(self.pems(), accept_any_server_name=self.accept_any_server_name)
        return self

    def _is_given(self, part: str) -> bool:
        return self._file(part) is not None or super()._is_given(part)

    def _file(self, part: str) -> Path | None:
        path: Path | None = getattr(self, f"{part}_file")
        return path

    def _text(self, part: str) -> str:
        path = self._file(part)
        if path is None:
            return super()._text(part)
        try:
            return pem.blocks(path.read_bytes(), _PARTS[part])
        except OSError as error:
            raise ValueError(f"{part}_file: {path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise ValueError(f"{part}_file: {path}: {error}") from error


class Security(Section):
    """How to secure and authenticate connections to one cluster."""

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """PLAINTEXT; SSL: encrypted, and authenticated by a certificate if there is one; SASL_PLAINTEXT: authenticated, but
    neither encrypted nor protected against change; or SASL_SSL: both."""

    sasl: Sasl | None = None
    """Given exactly if the protocol is SASL_PLAINTEXT or SASL_SSL."""

    tls: Tls | None = None
    """Certificates, for SSL and SASL_SSL only. Default: the authorities that this machine trusts, and no certificate of its
    own."""

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.security_protocol.endswith("SSL")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.sasl is not None) != self.security_protocol.startswith("SASL_"):
            raise ValueError(
                f"sasl is given, but security_protocol is {self.security_protocol}, not SASL_SSL or SASL_PLAINTEXT"
                if self.sasl is not None
                else f"{self.security_protocol} needs sasl"
            )
        if self.tls is not None and not self.uses_tls:
            raise ValueError(f"tls is given, but security_protocol is {self.security_protocol}, not SSL or SASL_SSL")
        return self
