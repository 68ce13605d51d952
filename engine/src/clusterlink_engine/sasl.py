"""How to authenticate to one cluster: as links have it, and by files as the settings of an engine may have it."""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator, model_validator

from clusterlink_engine import pem
from clusterlink_engine.section import Section

OAUTHBEARER, AWS_MSK_IAM = "OAUTHBEARER", "AWS_MSK_IAM"
# Of a name and a password.
PASSWORD_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
SASL_MECHANISMS = (*PASSWORD_MECHANISMS, OAUTHBEARER, AWS_MSK_IAM)

# What a token server may be sent: no control characters. A secret is one line.
_PRINTABLE = re.compile(r"[\x20-\x7e\x80-\U0010ffff]*")
# RFC 7628 section 3.1; "auth" is the token itself.
_EXTENSION_NAME = re.compile(r"(?!auth$)[A-Za-z]+")
_EXTENSION_VALUE = re.compile(r"[\x20-\x7e]*")
_OWN_PARAMETERS = frozenset({"grant_type", "scope", "client_id", "client_secret"})


class OAuth(Section):
    """Where tokens come from: the client credentials grant (RFC 6749 section 4.4, KIP-768) at a token endpoint."""

    token_endpoint_url: str = ""
    """The token endpoint, https; or http to this machine (127.0.0.1, ::1, localhost). Redirects are not followed."""

    client_id: str = ""
    """Name of the client that the tokens are for."""

    client_secret: str = Field(default="", repr=False)
    """Its secret. Never printed."""

    scope: str = ""
    """Scopes to ask for, with spaces between them. Default: none, and the endpoint decides."""

    parameters: Mapping[str, str] = {}
    """What else the endpoint wants to be sent, such as `audience` or `resource`. Not for secrets: it can be read. Default:
    none."""

    extensions: Mapping[str, str] = {}
    """What brokers are sent beside the token (RFC 7628), such as `logicalCluster`. Default: none."""

    ca_pem: str = ""
    """Certificates (PEM) of the authorities that may have signed that of the endpoint. Default: those that this machine
    trusts."""

    @field_validator("token_endpoint_url")
    @classmethod
    def _is_endpoint(cls, value: str) -> str:
        if not value:
            return value
        try:
            parts = urlsplit(value)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise ValueError(f"it is no URL: {error}") from error
        if parts.scheme not in ("https", "http") or not host or not value.isascii() or not value.isprintable():
            raise ValueError("expected https://HOST[:PORT]/PATH")
        if parts.username is not None or parts.fragment or " " in value:
            raise ValueError("there must be no user, fragment or space in it")
        if parts.scheme == "http" and not _is_here(host):
            raise ValueError("http would show the secret to everybody on the way; use https, except on this machine")
        return value

    @field_validator("client_id", "client_secret", "scope")
    @classmethod
    def _is_one_line(cls, value: str) -> str:
        if not _PRINTABLE.fullmatch(value):
            raise ValueError("there is a control character in it")
        return value

    @field_validator("parameters")
    @classmethod
    def _are_others(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        if own := _OWN_PARAMETERS & value.keys():
            raise ValueError(f"{min(own)} has another place")
        return dict(sorted(value.items()))

    @field_validator("extensions")
    @classmethod
    def _are_extensions(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for name, text in value.items():
            if not _EXTENSION_NAME.fullmatch(name):
                raise ValueError(f'"{name[:40]}" is no name of an extension: letters only, and not "auth"')
            if not _EXTENSION_VALUE.fullmatch(text):
                raise ValueError(f"the value of {name} has characters that cannot be sent")
        return dict(sorted(value.items()))

    @field_validator("ca_pem")
    @classmethod
    def _is_pem(cls, value: str) -> str:
        if value:
            pem.blocks(value.encode(), pem.CERTIFICATE)
        return value

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        self._check()
        return self

    def _check(self) -> None:
        for name in ("token_endpoint_url", "client_id", "client_secret"):
            if not getattr(self, name):
                raise ValueError(f"oauth needs a {name}")

    def secret(self) -> str:
        """Answers the client's secret; a file is read now.

        Raises:
            ValueError: It cannot be read.
        """
        return self.client_secret

    def authorities(self) -> pem.Pems:
        """Answers whom to trust; a file is read now.

        Raises:
            ValueError: It cannot be read, or is no PEM text.
        """
        return pem.Pems(ca=self.ca_pem)


class OAuthFiles(OAuth):
    """The same, or by files, which are read again when tokens are needed."""

    client_secret_file: Path | None = None
    """A file, instead of client_secret."""

    ca_file: Path | None = None
    """A file, instead of ca_pem."""

    token_file: Path | None = None
    """A file with a token that somebody else renews, instead of an endpoint."""

    def _check(self) -> None:
        if self.token_file is not None:
            others = ("token_endpoint_url", "client_id", "client_secret", "client_secret_file", "scope", "parameters")
            if given := [name for name in (*others, "ca_pem", "ca_file") if getattr(self, name)]:
                raise ValueError(f"give token_file or {given[0]}, not both")
            return
        if self.client_secret_file is None:
            if not self.token_endpoint_url and not self.client_id:
                raise ValueError("oauth needs token_file, or token_endpoint_url, client_id and client_secret")
            super()._check()
        elif self.client_secret:
            raise ValueError("give client_secret or client_secret_file, not both")
        elif not self.token_endpoint_url or not self.client_id:
            raise ValueError("oauth needs token_endpoint_url and client_id")
        if self.ca_file is not None and self.ca_pem:
            raise ValueError("give ca_pem or ca_file, not both")
        self.secret()
        self.authorities()

    def secret(self) -> str:
        """See OAuth."""
        return (
            super().secret()
            if self.client_secret_file is None
            else secret_in("client_secret_file", self.client_secret_file)
        )

    def authorities(self) -> pem.Pems:
        """See OAuth."""
        if self.ca_file is None:
            return super().authorities()
        try:
            return pem.Pems(ca=pem.blocks(self.ca_file.read_bytes(), pem.CERTIFICATE))
        except OSError as error:
            raise ValueError(f"ca_file: {self.ca_file} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise ValueError(f"ca_file: {self.ca_file}: {error}") from error


class Sasl(Section):
    """How to authenticate."""

    mechanism: str
    """PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or AWS_MSK_IAM. PLAIN sends the password, and OAUTHBEARER the token,
    as it is: without TLS anybody on the way can read it."""

    username: str = Field(default="", validate_default=True)
    """Name of the user, for PLAIN and SCRAM. For AWS_MSK_IAM the id of an access key."""

    password: str = Field(default="", repr=False, validate_default=True)
    """Password of the user. For AWS_MSK_IAM the secret of the access key. Never printed."""

    oauth: OAuth | None = Field(default=None, validate_default=True)
    """Where the tokens come from, for OAUTHBEARER."""

    aws_region: str = Field(default="", validate_default=True, pattern=r"^([a-z0-9-]{1,40})?$")
    """Region of the cluster, for AWS_MSK_IAM, such as eu-central-1."""

    @field_validator("mechanism")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value not in SASL_MECHANISMS:
            raise ValueError(f'the SASL mechanism "{value[:40]}" is not known; use one of {", ".join(SASL_MECHANISMS)}')
        return value

    @field_validator("username", "password", "oauth", "aws_region")
    @classmethod
    def _is_needed(cls, value: object, info: ValidationInfo) -> object:
        name, mechanism = str(info.field_name), info.data.get("mechanism", "")
        if mechanism:
            cls._check(name, mechanism, bool(value))
        return value

    @classmethod
    def _check(cls, name: str, mechanism: str, is_given: bool) -> None:
        """Raises ValueError unless a field is there exactly if the mechanism has it."""
        needed = name in cls._needs(mechanism)
        if needed and not is_given:
            raise ValueError(f"{mechanism} needs {name}")
        if is_given and not needed and name not in cls._takes(mechanism):
            raise ValueError(f"{mechanism} has no {name}")

    @classmethod
    def _needs(cls, mechanism: str) -> frozenset[str]:
        if mechanism == OAUTHBEARER:
            return frozenset({"oauth"})
        user = frozenset({"username", "password"})
        return user if mechanism in PASSWORD_MECHANISMS else user | {"aws_region"}

    @classmethod
    def _takes(cls, mechanism: str) -> frozenset[str]:  # noqa: ARG003 - for those that take more
        return frozenset()

    @property
    def uses_tokens(self) -> bool:
        """Whether it is a token that authenticates."""
        return self.mechanism not in PASSWORD_MECHANISMS

    @property
    def principal(self) -> str:
        """Who authenticates, for people; empty if only the token says so."""
        if self.mechanism == OAUTHBEARER and self.oauth is not None:
            return self.oauth.client_id
        return self.username

    def secret(self) -> str:
        """Answers the password; a file is read now.

        Raises:
            ValueError: It cannot be read.
        """
        return self.password


class LocalSasl(Sasl):
    """How the engine authenticates to its own cluster."""

    password_file: Path | None = None
    """A file with the password alone, instead of password. It is read again for each new connection, and when one
    authenticates again."""

    oauth: OAuthFiles | None = Field(default=None, validate_default=True)
    """Where the tokens come from, for OAUTHBEARER."""

    @classmethod
    def _needs(cls, mechanism: str) -> frozenset[str]:
        needed = super()._needs(mechanism) - {"password"}
        # The machine's own identity is the operator's to give away, so links have no such thing.
        return needed - {"username"} if mechanism == AWS_MSK_IAM else needed

    @classmethod
    def _takes(cls, mechanism: str) -> frozenset[str]:
        return frozenset({"username", "password"}) if mechanism != OAUTHBEARER else frozenset()

    @model_validator(mode="after")
    def _has_one_password(self) -> Self:
        if self.password_file is not None and self.password:
            raise ValueError("give password or password_file, not both")
        if self.password_file is not None and self.mechanism == OAUTHBEARER:
            raise ValueError("OAUTHBEARER has no password_file")
        has_password = bool(self.password) or self.password_file is not None
        if has_password != bool(self.username):
            raise ValueError(f"{self.mechanism} needs {'username' if has_password else 'password, or password_file'}")
        self.secret()
        return self

    def secret(self) -> str:
        """See Sasl."""
        return super().secret() if self.password_file is None else secret_in("password_file", self.password_file)


def secret_in(name: str, path: Path) -> str:
    """Answers the one line of a file, without its end.

    Raises:
        ValueError: It cannot be read, or there is none, or more than one.
    """
    try:
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"{name}: {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: {path} is no text") from error
    if not text or not _PRINTABLE.fullmatch(text):
        raise ValueError(f"{name}: {path} does not hold one line of text")
    return text


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
