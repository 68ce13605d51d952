"""Configurations of one resource, one after the other, as somebody may write them who changes his mind."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests.support.configurations import configurations, with_unknown
from tests.support.terraform_core import Object, TerraformCore

_FILTERS = {"acl_sync": "filters", "consumer_offset_sync": "group_filters", "auto_create_mirror_topics": "filters"}
_REPLACING = ("name", "mode", "topic_prefix", "mirror_start_offset", "link", "source_topic", "replication_factor")


@st.composite
def sequences(draw: Any, core: TerraformCore, mend: Callable[[Object], Object]) -> list[tuple[Object, Object]]:
    """Makes configurations, each with what is known of it at plan; most keep what would replace the resource."""
    configs = configurations(core.attributes)
    sequence: list[tuple[Object, Object]] = []
    for _ in range(draw(st.integers(1, 4))):
        config = draw(configs)
        if sequence and draw(st.integers(0, 3)):
            config |= {name: sequence[-1][0][name] for name in _REPLACING if name in config}
        config = mend(config)
        unknown = with_unknown(core.attributes, config)
        sequence.append((config, draw(st.just(config) | unknown)))
    return sequence


def mend_link(config: Object) -> Object:
    """Mends what would be refused only because parts do not fit together, so that most configurations are applied."""
    config = {**config, "remote_cluster": _with_fitting_security(config["remote_cluster"])}
    if config["mode"] == "SOURCE":
        config["mode"] = None
    if config["mode"] == "BIDIRECTIONAL":
        config["topic_prefix"] = None
    for sync, filters in _FILTERS.items():
        if config[sync] is not None and config[sync][filters] is None:
            config[sync] = {**config[sync], "enable": None}
    has_prefix = config["topic_prefix"] is not None
    sync, name = ("acl_sync", "enable") if has_prefix else ("consumer_offset_sync", "group_prefix")
    if config[sync] is not None:
        config[sync] = {**config[sync], name: None}
    return config


def _with_fitting_security(remote: Object) -> Object:
    protocol = remote["security_protocol"] or "PLAINTEXT"
    if protocol.startswith("SASL_") and remote["sasl"] is None:
        protocol = "PLAINTEXT"
    remote = {**remote, "security_protocol": None if protocol == "PLAINTEXT" else protocol}
    if not protocol.startswith("SASL_"):
        remote["sasl"] = None
    if not protocol.endswith("SSL"):
        remote["tls"] = None
    for group, name in (("sasl", "password"), ("tls", "key_pem")):
        if remote[group] is not None:
            remote[group] = _with_one_secret(remote[group], name)
    if remote["tls"] is not None and remote["tls"]["certificate_pem"] is None:
        remote["tls"] |= {"key_pem": None, "key_pem_wo": None, "key_pem_wo_version": None}
    return remote


def _with_one_secret(group: Object, name: str) -> Object:
    only, number = f"{name}_wo", f"{name}_wo_version"
    if group[name] is not None:
        return {**group, only: None, number: None}
    return {**group, only: group[only] or "secret", number: group[number] or 1}


def mend_mirror_topic(config: Object) -> Object:
    """Mends the names and settings of a mirror topic: the engine has only one for each source topic."""
    prefix = "p." if config["link"] == "prefixed" else ""
    name = config["name"] and prefix + config["source_topic"]
    return {**config, "name": name, "config": config["config"] and {"segment.bytes": "1048576"}}
