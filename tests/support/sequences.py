"""Configurations of one resource, one after the other, as somebody may write them who changes his mind."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests.support.configurations import configurations, with_unknown
from tests.support.terraform_core import Object, TerraformCore

_FILTERS = {"acl_sync": "filters", "consumer_offset_sync": "group_filters", "auto_create_mirror_topics": "filters"}
_OAUTH = (
    *("token_endpoint_url", "client_id", "client_secret", "client_secret_wo", "client_secret_wo_version"),
    *("scope", "parameters", "extensions", "ca_pem"),
)
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
    if remote["sasl"] is not None:
        remote["sasl"] = _with_fitting_mechanism(remote["sasl"])
    if remote["tls"] is not None:
        remote["tls"] = _with_one_secret(remote["tls"], "key_pem")
    if remote["tls"] is not None and remote["tls"]["certificate_pem"] is None:
        remote["tls"] |= {"key_pem": None, "key_pem_wo": None, "key_pem_wo_version": None}
    return remote


def _with_fitting_mechanism(sasl: Object) -> Object:
    if sasl["mechanism"] == "OAUTHBEARER":
        endpoint = {
            "token_endpoint_url": "https://tokens.example.com",
            "client_id": "mirror",
            "client_secret": "secret",
        }
        oauth = sasl["oauth"] or dict.fromkeys(_OAUTH) | endpoint
        # An empty map is refused, as an empty set is.
        maps = {name: oauth[name] or None for name in ("parameters", "extensions")}
        without = dict.fromkeys(("username", "password", "password_wo", "password_wo_version", "aws_region"))
        return {**sasl, **without, "oauth": {**_with_one_secret(oauth, "client_secret"), **maps}}
    region = (sasl["aws_region"] or "eu-central-1") if sasl["mechanism"] == "AWS_MSK_IAM" else None
    named = {"username": sasl["username"] or "mirror", "aws_region": region, "oauth": None}
    return {**_with_one_secret(sasl, "password"), **named}


def _with_one_secret(group: Object, name: str) -> Object:
    only, number = f"{name}_wo", f"{name}_wo_version"
    if group[name] is not None:
        return {**group, only: None, number: None}
    return {**group, only: group[only] or "secret", number: group[number] or 1}


def mend_mirror_topic(config: Object) -> Object:
    """Mends the names and settings of a mirror topic: the engine has only one for each source topic."""
    prefix = "p." if config["link"] == "prefixed" else ""
    name = config["name"] and prefix + config["source_topic"]
    disposals = (None, "KEEP_TOPIC", "DELETE_TOPIC")
    # The description has other names in it, too.
    on_destroy = config["on_destroy"] if config["on_destroy"] in disposals else "DELETE_TOPIC_WITH_DATA"
    settings = config["config"] and {"segment.bytes": "1048576"}
    return {**config, "name": name, "config": settings, "on_destroy": on_destroy}
