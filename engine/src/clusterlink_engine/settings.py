"""The settings of the engine: one model per section of the file, a docstring per field.

They come from the TOML file, then from `CLUSTERLINK_*` environment variables with `__` between the levels, then from flags;
the last one wins. Unknown keys are refused by name.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from clusterlink_engine.errors import ClusterlinkError
from clusterlink_engine.sasl import LocalSasl
from clusterlink_engine.section import Section
from clusterlink_engine.security import Security, TlsFiles

ENVIRONMENT_PREFIX = "CLUSTERLINK_"

# Read by other programs of the project, so not settings of the engine.
_FOREIGN_VARIABLES = (
    *("CLUSTERLINK_ENDPOINT", "CLUSTERLINK_TOKEN", "CLUSTERLINK_REMOTE_PASSWORD"),
    *("CLUSTERLINK_TERRAFORM_", "CLUSTERLINK_TEST_"),
)


class SettingsError(ClusterlinkError):
    """A setting is wrong; the message is one line that names the key."""

    reason = "INVALID_SETTINGS"


def parse_address(value: str) -> tuple[str, int]:
    """Splits `host:port`, `[v6]:port` included.

    Raises:
        ValueError: There is no host, or the port is not one of 1 to 65535 (0 is allowed: any free port).
    """
    host, colon, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f'"{value}" is not of the form host:port')
    return host, int(port)


class LocalCluster(Security):
    """The cluster that this engine belongs to; mirror topics live there."""

    bootstrap_servers: tuple[str, ...] = Field(min_length=1)
    """Addresses `host:port` of some brokers of the local cluster. Required."""

    sasl: LocalSasl | None = None
    """Given exactly if the protocol is SASL_PLAINTEXT or SASL_SSL."""

    tls: TlsFiles | None = None
    """Certificates, for SSL and SASL_SSL only. Default: the authorities that this machine trusts, and no certificate of its
    own."""

    @field_validator("bootstrap_servers")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            _, port = parse_address(address)
            if port == 0:
                raise ValueError(f'"{address}" has no port')
        return value


def _is_loopback(address: str) -> bool:
    host, _ = parse_address(address)
    return host in ("127.0.0.1", "localhost", "::1")


class Role(StrEnum):
    """What a caller of the API may do; each role includes those before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, other: "Role") -> bool:
        """Tells whether this role may do all that the other one may."""
        roles = list(Role)
        return roles.index(self) >= roles.index(other)


class Token(Section):
    """A caller of the API that shows a token."""

    model_config = ConfigDict(hide_input_in_errors=True)

    name: str = Field(pattern=r"^[\w.@-]{1,100}$")
    """Who the token is for; the engine's log and its refusals have this name, never the token."""

    role: Role
    """viewer reads; operator also pauses, resumes, promotes, fails over, reverses and restores; admin does everything."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    """SHA-256 of the token, in hexadecimal digits. `clusterlink token new` prints a token once, and this line."""


class Certificate(Section):
    """A caller of the API that shows a certificate."""

    name: str = Field(min_length=1)
    """Common name of the certificate's subject, or one of its alternative names; `api.tls.client_ca_file` has to have
    signed it."""

    role: Role
    """As that of a token. A certificate with several of the names has the greatest of their roles."""


class ApiTls(Section):
    """How the API proves who it is. Files are PEM, and are read again when they change."""

    certificate_file: Path
    """The API's certificate, with those between it and the CA."""

    key_file: Path
    """Its private key, not encrypted."""

    client_ca_file: Path | None = None
    """If given, nobody connects without a certificate that one of these CAs has signed, whether there is a token or not."""


class Api(Section):
    """The gRPC API."""

    tls: ApiTls | None = None
    """If given, the API speaks TLS only. Needed if others than this machine can reach it."""

    tokens: tuple[Token, ...] = ()
    """Who may call with a token. With tokens or certificates, nobody else may; without, everybody who reaches the API."""

    certificates: tuple[Certificate, ...] = ()
    """Who may call with nothing but a certificate."""

    listen: str = "127.0.0.1:7171"
    """Address `host:port`; port 0 takes a free one. Or `unix:///path/of/a/socket`, for this user alone (mode 0600). Anything
    but loopback or a socket needs `tls`, and `tokens` or `certificates`."""

    peer_directory: str = ""
    """Where processes of one engine find each other: in `clusterlink-<user id>` below it, which only this user may enter.
    Default: the system's directory for temporary files. Processes that share the work need the same one."""

    max_message_bytes: int = Field(default=4 * 1024 * 1024, ge=64 * 1024, le=256 * 1024 * 1024)
    """Longest request. Default 4 MiB."""

    max_concurrent_calls: int = Field(default=100, ge=1)
    """Calls at the same time, of all callers together; and as many health checks."""

    max_calls_per_second: int = Field(default=500, ge=1)
    """Calls of one token, certificate or, where nobody is asked, address; a second's worth may come at once."""

    @property
    def socket(self) -> Path | None:
        """The socket to listen on; None if it is an address."""
        return Path(self.listen.removeprefix("unix:").removeprefix("//")) if self.listen.startswith("unix:") else None

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.socket is not None or _is_loopback(self.listen)

    @field_validator("tokens")
    @classmethod
    def _distinct(cls, value: tuple[Token, ...]) -> tuple[Token, ...]:
        for what in ("name", "sha256"):
            if len({getattr(token, what) for token in value}) < len(value):
                raise ValueError(f"two tokens have the same {what}")
        return value

    @field_validator("certificates")
    @classmethod
    def _signed(cls, value: tuple[Certificate, ...], info: ValidationInfo) -> tuple[Certificate, ...]:
        tls = info.data.get("tls")
        if value and (tls is None or tls.client_ca_file is None):
            raise ValueError("nothing says who signs them: api.tls.client_ca_file is missing")
        return value

    @field_validator("listen")
    @classmethod
    def _protected(cls, value: str, info: ValidationInfo) -> str:
        if value.startswith("unix:"):
            if not value.removeprefix("unix:").removeprefix("//").startswith("/"):
                raise ValueError(f'"{value}" is not of the form unix:///path')
        elif not _is_loopback(value):
            given = info.data
            if given.get("tls") is None:
                raise ValueError(f"{value} is not a loopback address, and needs TLS: api.tls is missing")
            if not given.get("tokens") and not given.get("certificates"):
                raise ValueError(f"{value} is not a loopback address, and needs callers: api.tokens is missing")
        return value


class PeerTls(Section):
    """How processes on several machines know each other. Files are PEM, and are read again when they change."""

    certificate_file: Path
    """What this process shows, whether it is called or calls: a certificate for its name in `peers.advertised`."""

    key_file: Path
    """Its private key, not encrypted."""

    ca_file: Path
    """Whoever has a certificate of these authorities is taken for a process of this engine, and is told the secrets of links:
    use authorities that sign nothing else."""


class Peers(Section):
    """How processes on other machines reach this one. Those of this machine need nothing of it."""

    listen: str = ""
    """Address `host:port`, which others can reach and nobody but the engine's processes may use; needs `peers.tls`. The first
    free one of 64 ports from this one on is taken, for several processes of a machine; port 0 takes any. Default: none, and
    processes of other machines stand by."""

    advertised: str = ""
    """Name or address that the others reach it by, without a port. Default: the host of `peers.listen`."""

    tls: PeerTls | None = None
    """Needed with `peers.listen`."""

    @field_validator("listen")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if value:
            parse_address(value)
        return value

    @model_validator(mode="after")
    def _is_protected(self) -> Self:
        if self.listen and self.tls is None:
            raise ValueError("tls is missing: what listens here is told the secrets of links")
        if self.listen and not self.advertised and parse_address(self.listen)[0] in ("0.0.0.0", "::"):  # noqa: S104
            raise ValueError(f"advertised is missing: {self.listen} is no address that others can connect to")
        return self


class Http(Section):
    """What is read over HTTP: /metrics in Prometheus' text format, /healthz, and /readyz (200 while there are shards)."""

    listen: str = "127.0.0.1:7172"
    """Address `host:port`. Loopback only. Port 0 takes a free one; empty: nothing is offered."""

    @field_validator("listen")
    @classmethod
    def _loopback(cls, value: str) -> str:
        if value and not _is_loopback(value):
            raise ValueError(f"{value} is not a loopback address, and there is neither TLS nor authentication")
        return value


class Limits(Section):
    """What users may ask for."""

    max_links: int = Field(default=10, ge=0)
    """Links of this destination cluster. Default 10, as Cluster Linking has it."""

    min_sync_interval_ms: int = Field(default=1000, ge=1)
    """Shortest interval of a sync in milliseconds. Default 1000: shorter ones load the source's brokers for nothing."""


class State(Section):
    """Where links, mirror topics and their history are kept."""

    topic: str = Field(default="_clusterlink", pattern=r"^[a-zA-Z0-9._-]{1,249}$")
    """Compacted topic on the local cluster. Two engines with different topics know nothing of each other."""

    replication_factor: int = Field(default=-1, ge=-1, le=32767)
    """Of the state topic when it is created. Default -1: three, or as many as there are brokers."""

    key_file: Path | None = None
    """File with the key that encrypts the secrets of links there: 32 bytes in base64, as `clusterlink state-key new` prints it.
    Of several lines the first one encrypts, and all decrypt. Without a key no secret is stored."""

    key: str | None = Field(default=None, repr=False)
    """The same as text instead of a file, for the environment: CLUSTERLINK_STATE__KEY. Never printed."""

    @model_validator(mode="after")
    def _one_source_of_keys(self) -> Self:
        if self.key_file is not None and self.key is not None:
            raise ValueError("key and key_file are both given")
        return self


class Replication(Section):
    """The data path of this process."""

    buffer_bytes: int = Field(default=256 * 1024 * 1024, ge=1024 * 1024)
    """Fetched and not yet acknowledged bytes that this process may hold, for all links together. Default 256 MiB, of which
    what waits for one local broker takes half at most. One response more can be on its way for each
    source broker."""

    produce_connections: int = Field(default=2, ge=1, le=16)
    """Connections for writing to each local broker, and as many for filling gaps. Default 2: a broker handles one request of a
    connection at a time."""

    max_bytes_per_second: int = Field(default=0, ge=0)
    """Bytes of records that are read per second, for all links and processes of this engine together; each process has the part
    that it has of the partitions. Default 0: no limit. The link's own is its property cluster.link.io.max.bytes.per.second."""

    watch_interval_ms: int = Field(default=2000, ge=100)
    """How often the log end of an idle mirror partition is read, to notice foreign writes. Default 2000; but where a broker
    leads more mirror partitions than this has milliseconds, a millisecond for each."""

    grace_ms: int = Field(default=2000, ge=0)
    """How long to wait, after the leader has answered again, before a log end in doubt is read for good. Default 2000."""

    request_timeout_ms: int = Field(default=30000, ge=1000)
    """Longest wait for an answer of a local broker. Default 30000."""

    gap_filling: Literal["auto", "markers", "transactions"] = "auto"
    """How offsets are filled at which nobody may see anything: "markers" (needs ALTER on the local cluster), "transactions"
    (slower, and not safe if a broker dies in the middle), or "auto", the default: markers where the cluster allows them."""

    merge_batches: Literal["auto", "off"] = "auto"
    """Whether tiny batches are merged: "auto", the default: uncompressed ones of up to 16 records that are fetched together,
    up to 64 KiB; records, offsets and timestamps stay as they are. "off": never, so that batches keep their bytes, too."""

    record_code: Literal["auto", "python"] = "auto"
    """What cuts fetched bytes into batches and merges tiny ones: "auto", the default: compiled code, if there was a C compiler
    when the engine was installed (its log and clusterlink_record_code_compiled tell); "python": never compiled code."""

    write_guard: Literal["auto", "off"] = "auto"
    """Whether an ACL denies everybody to write to mirror topics: "auto", the default, where the engine is a super user of the
    local cluster and so is not stopped by it; "off": never. Foreign writes are noticed in either case."""

    session_ms: int = Field(default=6000, ge=2000, le=60000)
    """How long the engine may be silent before another engine on the same state takes its place. Default 6000, which is the
    least that brokers allow unless group.min.session.timeout.ms says otherwise."""


class Settings(Section):
    """Everything that `clusterlink serve` can be told."""

    local_cluster: LocalCluster
    api: Api = Api()
    peers: Peers = Peers()
    http: Http = Http()
    limits: Limits = Limits()
    state: State = State()
    replication: Replication = Replication()
    workers: int = Field(default=1, ge=1, le=64)
    """Processes that share the work on this machine, each with the memory that `replication.buffer_bytes` allows. Default 1;
    more than there are processor cores are of no use."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe log lines that are printed. Default info."""


def load(
    path: Path | None, environment: Mapping[str, str] = os.environ, flags: Mapping[str, Any] | None = None
) -> Settings:
    """Reads the settings from the file, the environment and the flags (nested by section).

    Raises:
        SettingsError: The file cannot be read, a key is unknown or a value is wrong; the text names the key.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path}: is not TOML: {error}") from error
    _merge(values, _from_environment(environment))
    _merge(values, dict(flags or {}))
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_first_line(error)) from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, text in sorted(environment.items()):
        if not name.startswith(ENVIRONMENT_PREFIX) or name.startswith(_FOREIGN_VARIABLES):
            continue
        *levels, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        section = values
        for level in levels:
            section = section.setdefault(level, {})
            if not isinstance(section, dict):
                raise SettingsError(f"{name}: {level} is a section, and another variable gives it a value")
        section[key] = _from_text(text)
    return values


def _from_text(text: str) -> Any:
    """A list may be written as JSON, everything else as it is: pydantic reads numbers from text."""
    if text.startswith("["):
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            return text
    return text


def _merge(values: dict[str, Any], others: Mapping[str, Any]) -> None:
    for key, other in others.items():
        if isinstance(other, Mapping) and isinstance(values.get(key), dict):
            _merge(values[key], other)
        else:
            values[key] = dict(other) if isinstance(other, Mapping) else other


def _first_line(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{key}: unknown setting"
    if first["type"] == "missing":
        return f"{key}: is required"
    return f"{key}: {first['msg'].removeprefix('Value error, ')}"
