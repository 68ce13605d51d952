"""What the engine in memory does with a link: checks, defaults, and how it is shown."""

import re

import grpc

from clusterlink_proto import v1

_NAME = re.compile(r"^[A-Za-z0-9._-]{1,249}$")
_PROPERTIES = {"replica.fetch.max.bytes", "request.timeout.ms"}
_DEFAULT_INCLUDE = ["cleanup.policy", "retention.ms"]


class RefusedError(Exception):
    """An answer that is an error."""

    def __init__(self, code: grpc.StatusCode, reason: str, message: str, where: str = "") -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.where = code, reason, message, where


def check_link(link: v1.Link, minimum: int) -> None:
    """Refuses a link that is wrong by itself."""
    if not _NAME.match(link.name):
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_NAME", f"{link.name!r} is no name.", "link.name")
    _check_security(link.remote_cluster)
    if link.mode == v1.LINK_MODE_BIDIRECTIONAL and link.topic_prefix:
        raise RefusedError(
            grpc.StatusCode.INVALID_ARGUMENT, "INVALID", "Two directions, no prefix.", "link.topic_prefix"
        )
    for key in link.config:
        if key not in _PROPERTIES:
            raise RefusedError(
                grpc.StatusCode.INVALID_ARGUMENT,
                "UNKNOWN_PROPERTY",
                f"There is no property {key}.",
                f'link.config["{key}"]',
            )
    if 0 < link.topic_config_sync.interval_ms < minimum:
        raise RefusedError(
            grpc.StatusCode.INVALID_ARGUMENT,
            "INTERVAL_TOO_SHORT",
            f"At least {minimum} ms.",
            "link.topic_config_sync.interval_ms",
        )


def _check_security(remote: v1.RemoteCluster) -> None:
    is_sasl = remote.security_protocol.startswith("SASL_")
    if remote.HasField("tls") and not remote.security_protocol.endswith("SSL"):
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "INVALID", "tls does not fit.", "link.remote_cluster.tls")
    if bool(remote.tls.certificate_pem) != bool(remote.tls.key_pem):
        where = "link.remote_cluster.tls"
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "INVALID", "Certificate and key.", where)
    if is_sasl != remote.HasField("sasl"):
        raise RefusedError(
            grpc.StatusCode.INVALID_ARGUMENT, "INVALID", "sasl does not fit.", "link.remote_cluster.sasl"
        )
    if remote.sasl.mechanism == "OAUTHBEARER":
        return
    for name in ("mechanism", "username", "password") if is_sasl else ():
        if not getattr(remote.sasl, name):
            where = f"link.remote_cluster.sasl.{name}"
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "INVALID", f"sasl needs a {name}.", where)


def shown(link: v1.Link) -> v1.Link:
    """Answers a link as the API shows it: without its secrets, and with what is another thing at every reading."""
    shown = v1.Link()
    shown.CopyFrom(link)
    if shown.remote_cluster.HasField("sasl"):
        shown.remote_cluster.sasl.ClearField("password")
        if shown.remote_cluster.sasl.HasField("oauth"):
            shown.remote_cluster.sasl.oauth.ClearField("client_secret")
    if shown.remote_cluster.HasField("tls"):
        shown.remote_cluster.tls.ClearField("key_pem")
    shown.gap_filling = v1.GAP_FILLING_MARKERS
    shown.write_guard = v1.WRITE_GUARD_ACL
    shown.state_since.GetCurrentTime()
    return shown


def fill_link(link: v1.Link) -> None:
    """Puts defaults in the place of what was left out."""
    link.mode = link.mode or v1.LINK_MODE_DESTINATION
    link.state = v1.LINK_STATE_PAUSED if link.paused else v1.LINK_STATE_ACTIVE
    link.remote_cluster.security_protocol = link.remote_cluster.security_protocol or "PLAINTEXT"
    link.mirror_start_offset = link.mirror_start_offset or "earliest"
    link.topic_config_sync.interval_ms = link.topic_config_sync.interval_ms or 5000
    link.acl_sync.interval_ms = link.acl_sync.interval_ms or 5000
    link.consumer_offset_sync.interval_ms = link.consumer_offset_sync.interval_ms or 30_000
    if not link.topic_config_sync.include:
        link.topic_config_sync.include.extend(_DEFAULT_INCLUDE)
