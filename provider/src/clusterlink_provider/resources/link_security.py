"""The rules for how a link connects and authenticates, over several attributes; parts of a configuration may be unknown."""

from typing import Final

from clusterlink_provider.framework.cty import Unknown, Value
from clusterlink_provider.framework.diagnostics import Diagnostics
from clusterlink_provider.framework.planning import Object, is_known
from clusterlink_provider.framework.provider import PlanContext
from clusterlink_provider.resources.link_schema import AWS_MSK_IAM, OAUTHBEARER, PASSWORD_MECHANISMS
from clusterlink_provider.resources.session import Session

_PROTOCOL: Final = ("remote_cluster", "security_protocol")
_SASL: Final = ("remote_cluster", "sasl")
_OAUTH: Final = (*_SASL, "oauth")
_TLS: Final = ("remote_cluster", "tls")

# What each mechanism has, beside a secret in `password` (or in `oauth`).
_FIELDS: Final = {
    **dict.fromkeys(PASSWORD_MECHANISMS, ("username",)),
    OAUTHBEARER: ("oauth",),
    AWS_MSK_IAM: ("username", "aws_region"),
}
_SECRET: Final = ("password", "password_wo", "password_wo_version")


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
                f"The security protocol {protocol} needs `sasl` in `remote_cluster`: a mechanism, and what goes with it.",
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
    mechanism = sasl.get("mechanism")
    if isinstance(mechanism, str) and mechanism in _FIELDS:
        _check_fields(mechanism, sasl, diagnostics)
    if mechanism != OAUTHBEARER and is_known(mechanism):
        _check_is_given(sasl, "password", _SASL, diagnostics)
    oauth = sasl.get("oauth")
    if isinstance(oauth, dict):
        _check_is_given(oauth, "client_secret", _OAUTH, diagnostics)
        _check_secret(oauth, "client_secret", _OAUTH, diagnostics)
    _check_secret(sasl, "password", _SASL, diagnostics)


def _check_fields(mechanism: str, sasl: Object, diagnostics: Diagnostics) -> None:
    """Checks that what a mechanism needs is there, and nothing that belongs to another one."""
    wanted = _FIELDS[mechanism]
    for name in ("username", "oauth", "aws_region"):
        if name in wanted and sasl.get(name) is None:
            diagnostics.error(
                f"Missing {name}", f"The mechanism {mechanism} needs `{name}` in `remote_cluster.sasl`.", _SASL
            )
        elif name not in wanted and is_known(sasl.get(name)):
            _say_no_place(mechanism, name, diagnostics)
    if mechanism == OAUTHBEARER:
        for name in _SECRET:
            if is_known(sasl.get(name)):
                _say_no_place(mechanism, name, diagnostics)


def _say_no_place(mechanism: str, name: str, diagnostics: Diagnostics) -> None:
    text = f"The mechanism {mechanism} has no `{name}`. Leave it out of `remote_cluster.sasl`, or choose another mechanism."
    diagnostics.error(f"No place for {name}", text, (*_SASL, name))


def _check_is_given(group: Object, name: str, at: tuple[str, ...], diagnostics: Diagnostics) -> None:
    if group.get(name) is None and group.get(f"{name}_wo") is None:
        text = f"`{'.'.join(at)}` needs `{name}_wo` (kept in no state) with `{name}_wo_version`, or `{name}`."
        diagnostics.error(f"Missing {name}", text, at)


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
    """Warns of a password or token that anybody on the way can read, when that is new."""
    if _sends_secret(planned) and not _sends_secret(context.prior):
        mechanism = planned["remote_cluster"]["sasl"]["mechanism"]
        what = "password" if mechanism == "PLAIN" else "token"
        context.diagnostics.warning(
            f"{what.capitalize()} readable on the way",
            f"{mechanism} over SASL_PLAINTEXT sends the {what} as it is, and nothing is encrypted. Use SASL_SSL; or "
            "SCRAM-SHA-512, with which the password stays secret, but the records are still readable.",
            (*_SASL, "mechanism"),
        )


def _sends_secret(state: Object | None) -> bool:
    remote = (state or {}).get("remote_cluster")
    if not isinstance(remote, dict) or not isinstance(remote.get("sasl"), dict):
        return False
    sends = remote["sasl"].get("mechanism") in ("PLAIN", OAUTHBEARER, AWS_MSK_IAM)
    return sends and remote.get("security_protocol") == "SASL_PLAINTEXT"
