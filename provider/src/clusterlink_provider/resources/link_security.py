"""The rules for how a link connects and authenticates, over several attributes; parts of a configuration may be unknown."""

from typing import Final

from clusterlink_provider.framework.cty import Unknown
from clusterlink_provider.framework.diagnostics import Diagnostics
from clusterlink_provider.framework.planning import Object, is_known
from clusterlink_provider.framework.provider import PlanContext
from clusterlink_provider.resources.session import Session

_PROTOCOL: Final = ("remote_cluster", "security_protocol")
_SASL: Final = ("remote_cluster", "sasl")


def validate(config: Object, diagnostics: Diagnostics) -> None:
    """Checks that `sasl` is there exactly with a protocol that has it, and that it has one password."""
    remote = config.get("remote_cluster")
    if not isinstance(remote, dict) or isinstance(remote.get("sasl"), Unknown):
        return
    protocol, sasl = remote.get("security_protocol"), remote.get("sasl")
    if sasl is None:
        if protocol == "SASL_PLAINTEXT":
            diagnostics.error(
                "Missing sasl",
                "The security protocol SASL_PLAINTEXT needs `sasl` in `remote_cluster`: mechanism, username and password.",
                _PROTOCOL,
            )
        return
    if protocol in {None, "PLAINTEXT"}:
        diagnostics.error(
            "No place for sasl",
            "With the security protocol PLAINTEXT, the default, nobody is authenticated. Set `security_protocol` in "
            '`remote_cluster` to "SASL_PLAINTEXT", or leave `sasl` out.',
            _SASL,
        )
    _check_password(sasl, diagnostics)


def _check_password(sasl: Object, diagnostics: Diagnostics) -> None:
    password, written, version = (sasl.get(name) for name in ("password", "password_wo", "password_wo_version"))
    if is_known(password) and is_known(written):
        diagnostics.error(
            "Two passwords",
            "Give `password` or `password_wo` in `remote_cluster.sasl`, not both.",
            (*_SASL, "password_wo"),
        )
    elif password is None and written is None:
        diagnostics.error(
            "Missing password",
            "`remote_cluster.sasl` needs `password_wo` (kept in no state) with `password_wo_version`, or `password`.",
            _SASL,
        )
    elif is_known(written) and version is None:
        diagnostics.error(
            "Missing version of the password",
            "`password_wo` in `remote_cluster.sasl` needs `password_wo_version`, for example 1: Terraform cannot see that the "
            "password changes, only that its version does.",
            (*_SASL, "password_wo"),
        )
    elif is_known(password) and is_known(version):
        diagnostics.error(
            "Version without its password",
            "`password_wo_version` in `remote_cluster.sasl` belongs to `password_wo`. Leave it out, or give `password_wo` "
            "instead of `password`.",
            (*_SASL, "password_wo_version"),
        )


def warn_of_plain(context: PlanContext[Session], planned: Object) -> None:
    """Warns of a password that anybody on the way can read, when that is new."""
    if _sends_password(planned) and not _sends_password(context.prior):
        context.diagnostics.warning(
            "Password readable on the way",
            "PLAIN over SASL_PLAINTEXT sends the password as it is, and nothing is encrypted. Use SCRAM-SHA-512 unless the "
            "network is trusted; then the password stays secret, but the records are still readable.",
            (*_SASL, "mechanism"),
        )


def _sends_password(state: Object | None) -> bool:
    remote = (state or {}).get("remote_cluster")
    if not isinstance(remote, dict) or not isinstance(remote.get("sasl"), dict):
        return False
    return (remote["sasl"].get("mechanism"), remote.get("security_protocol")) == ("PLAIN", "SASL_PLAINTEXT")
