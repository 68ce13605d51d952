"""A link as Terraform's state, and as the engine's message."""

from collections.abc import Iterable

from clusterlink_proto import v1
from clusterlink_provider.framework.cty import SetValue, Unknown, Value
from clusterlink_provider.framework.planning import Object, is_known
from clusterlink_provider.resources.enums import name_of
from clusterlink_provider.resources.link_schema import ACL_FILTER

_STATE_PREFIX = "LINK_STATE_"
_MODE_PREFIX = "LINK_MODE_"
_SYNCS = ("topic_config_sync", "consumer_offset_sync", "acl_sync", "auto_create_mirror_topics")
_REMOTE = ("bootstrap_servers", "security_protocol", "sasl", "tls")


def to_message(state: Object, config: Object, *, own_include: bool = True) -> v1.Link:
    """Makes the engine's message; what is null or unknown is left to the engine.

    Args:
        state: What is planned.
        config: The configuration; write-only values are nowhere else.
        own_include: The list of synced settings is the user's. The engine's list is not sent back to it, or it would be
            fixed as it is today.
    """
    remote, sync = state["remote_cluster"], state.get("topic_config_sync") or {}
    return v1.Link(
        name=state["name"],
        mode=v1.LinkMode.Value(_MODE_PREFIX + state["mode"]),
        remote_cluster=v1.RemoteCluster(
            bootstrap_servers=_sorted(remote["bootstrap_servers"]),
            cluster_id=_known(remote.get("cluster_id")) or "",
            security_protocol=remote["security_protocol"],
            sasl=_sasl_to_message(remote, config),
            tls=_tls_to_message(remote, config),
        ),
        topic_prefix=state.get("topic_prefix") or "",
        mirror_start_offset=state["mirror_start_offset"],
        paused=state["paused"],
        topic_config_sync=v1.TopicConfigSync(
            interval_ms=_known(sync.get("interval_ms")) or 0,
            include=_sorted(_known(sync.get("include")) or ()) if own_include else (),
        ),
        consumer_offset_sync=_offset_sync_to_message(state.get("consumer_offset_sync") or {}),
        acl_sync=_acl_sync_to_message(state.get("acl_sync") or {}),
        auto_create_mirror_topics=_auto_create_to_message(state.get("auto_create_mirror_topics") or {}),
        config=state.get("config") or {},
    )


def from_message(link: v1.Link, base: Object) -> Object:
    """Makes the state of a link; what only Terraform knows is taken from `base`."""
    remote, sync = link.remote_cluster, link.topic_config_sync
    config = dict(link.config)
    return {
        **base,
        "id": link.name,
        "name": link.name,
        "mode": name_of(v1.LinkMode, link.mode, _MODE_PREFIX),
        "remote_cluster": {
            "bootstrap_servers": SetValue(remote.bootstrap_servers),
            "cluster_id": remote.cluster_id or None,
            "security_protocol": remote.security_protocol or "PLAINTEXT",
            "sasl": _sasl_from_message(remote, base) if remote.HasField("sasl") else None,
            "tls": _tls_from_message(remote, base) if remote.HasField("tls") else None,
        },
        "topic_prefix": link.topic_prefix or None,
        "mirror_start_offset": link.mirror_start_offset or "earliest",
        "paused": link.paused,
        "topic_config_sync": {
            "interval_ms": sync.interval_ms,
            "include": SetValue(sync.include) if sync.include else None,
        },
        "consumer_offset_sync": _offset_sync_from_message(link.consumer_offset_sync),
        "acl_sync": {
            "enable": link.acl_sync.enable,
            "interval_ms": link.acl_sync.interval_ms,
            "filters": SetValue({name: getattr(entry, name) for name in ACL_FILTER} for entry in link.acl_sync.filters)
            if link.acl_sync.filters
            else None,
        },
        "auto_create_mirror_topics": {
            "enable": link.auto_create_mirror_topics.enable,
            "filters": _filters_from_message(link.auto_create_mirror_topics.filters),
        },
        # An empty map and none at all are the same for the engine; the user's spelling stays.
        "config": config or ({} if base.get("config") == {} else None),
        "link_id": link.link_id or None,
        "state": name_of(v1.LinkState, link.state, _STATE_PREFIX),
        "error": error_text(link.error, link.error_message),
    }


def _offset_sync_to_message(sync: Object) -> v1.ConsumerOffsetSync:
    return v1.ConsumerOffsetSync(
        enable=_known(sync.get("enable")) or False,
        interval_ms=_known(sync.get("interval_ms")) or 0,
        group_prefix=_known(sync.get("group_prefix")) or False,
        group_filters=_filters_to_message(sync.get("group_filters")),
    )


def _acl_sync_to_message(sync: Object) -> v1.AclSync:
    return v1.AclSync(
        enable=_known(sync.get("enable")) or False,
        interval_ms=_known(sync.get("interval_ms")) or 0,
        filters=[
            v1.AclFilter(**{name: entry[name] or "" for name in ACL_FILTER})
            for entry in _known(sync.get("filters")) or ()
        ],
    )


def _auto_create_to_message(auto: Object) -> v1.AutoCreateMirrorTopics:
    return v1.AutoCreateMirrorTopics(
        enable=_known(auto.get("enable")) or False, filters=_filters_to_message(auto.get("filters"))
    )


def _filters_to_message(filters: Value) -> list[v1.Filter]:
    return [
        v1.Filter(name=entry["name"], pattern_type=entry["pattern_type"], filter_type=entry["filter_type"])
        for entry in _known(filters) or ()
    ]


def _filters_from_message(filters: Iterable[v1.Filter]) -> SetValue | None:
    found = SetValue(
        {"name": entry.name, "pattern_type": entry.pattern_type, "filter_type": entry.filter_type} for entry in filters
    )
    return found if len(found) else None


def _offset_sync_from_message(sync: v1.ConsumerOffsetSync) -> Object:
    return {
        "enable": sync.enable,
        "interval_ms": sync.interval_ms,
        "group_prefix": sync.group_prefix,
        "group_filters": _filters_from_message(sync.group_filters),
    }


def _sasl_to_message(remote: Object, config: Object) -> v1.Sasl | None:
    sasl = remote.get("sasl")
    if sasl is None:
        return None
    oauth = sasl.get("oauth")
    return v1.Sasl(
        mechanism=sasl["mechanism"],
        username=sasl.get("username") or "",
        password=sasl.get("password") or _written(config, "sasl", "password_wo"),
        oauth=None if oauth is None else _oauth_to_message(oauth, config),
        aws_region=sasl.get("aws_region") or "",
    )


def _oauth_to_message(oauth: Object, config: Object) -> v1.OAuth:
    return v1.OAuth(
        token_endpoint_url=oauth["token_endpoint_url"],
        client_id=oauth["client_id"],
        client_secret=oauth.get("client_secret") or _written(config, "sasl", "oauth", "client_secret_wo"),
        scope=oauth.get("scope") or "",
        parameters=oauth.get("parameters") or {},
        extensions=oauth.get("extensions") or {},
        ca_pem=oauth.get("ca_pem") or "",
    )


def _tls_to_message(remote: Object, config: Object) -> v1.Tls | None:
    tls = remote.get("tls")
    if tls is None:
        return None
    return v1.Tls(
        ca_pem=tls.get("ca_pem") or "",
        certificate_pem=tls.get("certificate_pem") or "",
        key_pem=tls.get("key_pem") or _written(config, "tls", "key_pem_wo"),
        accept_any_server_name=_known(tls.get("accept_any_server_name")) or False,
    )


def _written(config: Object, *path: str) -> str:
    """Answers a write-only value of the configuration, by its path in the remote cluster."""
    *groups, name = ("remote_cluster", *path)
    for group in groups:
        config = config.get(group) or {}
    return config.get(name) or ""


def _sasl_from_message(remote: v1.RemoteCluster, base: Object) -> Object:
    """Makes the state of `sasl`; the engine tells no password, so that a changed one cannot be seen."""
    known = _before(base, "sasl")
    return {
        "mechanism": remote.sasl.mechanism,
        "username": remote.sasl.username or None,
        **_kept(known, "password"),
        "oauth": _oauth_from_message(remote.sasl.oauth, known) if remote.sasl.HasField("oauth") else None,
        "aws_region": remote.sasl.aws_region or None,
    }


def _oauth_from_message(oauth: v1.OAuth, sasl: Object) -> Object:
    known = sasl.get("oauth")
    return {
        "token_endpoint_url": oauth.token_endpoint_url,
        "client_id": oauth.client_id,
        **_kept(known if isinstance(known, dict) else {}, "client_secret"),
        "scope": oauth.scope or None,
        "parameters": dict(oauth.parameters) or None,
        "extensions": dict(oauth.extensions) or None,
        "ca_pem": oauth.ca_pem or None,
    }


def _kept(known: Object, name: str) -> Object:
    """Makes the state of a secret from what only Terraform knows."""
    number = f"{name}_wo_version"
    return {name: known.get(name), f"{name}_wo": None, number: known.get(number)}


def _tls_from_message(remote: v1.RemoteCluster, base: Object) -> Object:
    """Makes the state of `tls`; the engine tells no key, so that a changed one cannot be seen."""
    known = _before(base, "tls")
    return {
        "ca_pem": remote.tls.ca_pem or None,
        "certificate_pem": remote.tls.certificate_pem or None,
        **_kept(known, "key_pem"),
        "accept_any_server_name": remote.tls.accept_any_server_name,
    }


def _before(base: Object, group: str) -> Object:
    found = (base.get("remote_cluster") or {}).get(group)
    return found if isinstance(found, dict) else {}


def changed_fields(before: Object, after: Object) -> list[str]:
    """Names the fields of the engine's message that an update has to change (pausing has a call of its own)."""
    mask: list[str] = []
    # Not known yet, in a plan: all of it may change.
    old, new = before.get("remote_cluster") or {}, _known(after.get("remote_cluster")) or {}
    mask.extend(f"remote_cluster.{name}" for name in _REMOTE if old.get(name) != new.get(name))
    mask.extend(name for name in _SYNCS if before.get(name) != after.get(name))
    if (before.get("config") or {}) != (after.get("config") or {}):
        mask.append("config")
    return mask


def error_text(name: str, message: str) -> str | None:
    """Makes one text of an error's name and its sentence; None if there is no error."""
    return ": ".join(part for part in (name, message) if part) or None


def _known(value: Value) -> Value:
    return value if is_known(value) else None


def _sorted(values: Iterable[Value]) -> list[str]:
    return sorted(value for value in values if not isinstance(value, Unknown))
