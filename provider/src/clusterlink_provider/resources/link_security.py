"""The rules for how a link connects and authenticates, over several attributes; parts of a configuration may be unknown."""

from typing import Final

from clusterlink_provider.framework.cty import Unknown, Value
from clusterlink_provider.framework.diagnostics import Diagnostics
from clusterlink_provider.framework.planning import Object, is_known
from clusterlink_provider.framework.provider import PlanContext
from clusterlink_provider.resources.session import Session

_PROTOCOL: Final = ("remote_cluster", "security_protocol")
_SASL: Final = ("remote_cluster", "sasl")
_TLS: Final = ("remote_cluster", "tls")


def validate(config: Object, diagnostics: Diagnostics) -> None:
    """Checks that `sasl` and `tls` are there with protocols that have them only, and that secrets are given once."""
    remote = config.get("remote_cluster")
    if not isinstance(remote, dict):
        return
    protocol = remote.get("security_protocol") or "PLAINTEXT"
    _check_sasl(protocol, remote.get("sasl"), diagnostics)
    _check_tls(protocol, remote.get("tls"), diagnostics)


def _check_sasl(protocol: Value, sasl: Value, diagnostics: Diagnostics) -> None:
    if isinstance(sasl, Unknown):
        return
    if sasl is None:
        if isinstance(protocol, str) and protocol.startswith("SASL_"):
            diagnostics.error(
                "Missing sasl",
                f"The security protocol {protocol} needs `sasl` in `remote_cluster`: mechanism, username and password.",
                _PROTOCOL,
            )
        return
    if isinstance(protocol, str) and not protocol.startswith("SASL_"):
        diagnostics.error(
            "No place for sasl",
            f"With the security protocol {protocol} no user is authenticated. Set `security_protocol` in `remote_cluster` to "
            '"SASL_SSL" or "SASL_PLAINTEXT", or leave `sasl` out.',
            _SASL,
        )
    if sasl.get("password") is None and sasl.get("password_wo") is None:
        diagnostics.error(
            "Missing password",
            "`remote_cluster.sasl` needs `password_wo` (kept in no state) with `password_wo_version`, or `password`.",
            _SASL,
        )
    _check_secret(sasl, "password", _SASL, diagnostics)


def _check_tls(protocol: Value, tls: Value, diagnostics: Diagnostics) -> None:
    if tls is None or isinstance(tls, Unknown):
        return
    if isinstance(protocol, str) and not protocol.endswith("SSL"):
        diagnostics.error(
            "No place for tls",
            f"With the security protocol {protocol} nothing is encrypted. Set `security_protocol` in `remote_cluster` to "
            '"SSL" or "SASL_SSL", or leave `tls` out.',
            _TLS,
        )
    has_key = tls.get("key_pem") is not None or tls.get("key_pem_wo") is not None
    if tls.get("certificate_pem") is not None and not has_key:
        diagnostics.error(
            "Missing private key",
            "`certificate_pem` in `remote_cluster.tls` needs its key: `key_pem_wo` (kept in no state) with "
            "`key_pem_wo_version`, or `key_pem`.",
            _TLS,
        )
    if has_key and tls.get("certificate_pem") is None:
        diagnostics.error(
            "Private key without its certificate",
            "A private key in `remote_cluster.tls` belongs to a certificate; give `certificate_pem` too.",
            _TLS,
        )
    _check_secret(tls, "key_pem", _TLS, diagnostics)


def _check_secret(group: Object, name: str, at: tuple[str, ...], diagnostics: Diagnostics) -> None:
    """Checks that a secret is given in one of its two ways, and has a version exactly in the write-only one."""
    where, only, number = ".".join(at), f"{name}_wo", f"{name}_wo_version"
    value, written, version = (group.get(key) for key in (name, only, number))
    if is_known(value) and is_known(written):
        diagnostics.error(f"Two values of {name}", f"Give `{name}` or `{only}` in `{where}`, not both.", (*at, only))
    elif is_known(written) and version is None:
        diagnostics.error(
            f"Missing version of {name}",
            f"`{only}` in `{where}` needs `{number}`, for example 1: Terraform cannot see that the value changes, only that "
            "its version does.",
            (*at, only),
        )
    elif is_known(value) and is_known(version):
        diagnostics.error(
            f"Version without {only}",
            f"`{number}` in `{where}` belongs to `{only}`. Leave it out, or give `{only}` instead of `{name}`.",
            (*at, number),
        )


def warn_of_plain(context: PlanContext[Session], planned: Object) -> None:
    """Warns of a password that anybody on the way can read, when that is new."""
    if _sends_password(planned) and not _sends_password(context.prior):
        context.diagnostics.warning(
            "Password readable on the way",
            "PLAIN over SASL_PLAINTEXT sends the password as it is, and nothing is encrypted. Use SASL_SSL; or SCRAM-SHA-512, "
            "with which the password stays secret, but the records are still readable.",
            (*_SASL, "mechanism"),
        )


def _sends_password(state: Object | None) -> bool:
    remote = (state or {}).get("remote_cluster")
    if not isinstance(remote, dict) or not isinstance(remote.get("sasl"), dict):
        return False
    return (remote["sasl"].get("mechanism"), remote.get("security_protocol")) == ("PLAIN", "SASL_PLAINTEXT")
