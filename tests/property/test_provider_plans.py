"""For any configuration that a schema allows: what a plan says is what apply does, and then there is nothing left to do.

The real provider answers Terraform's calls, an engine in memory answers the provider, and Terraform's own checks are those of
`tests.support.terraform_core`. What is not known at plan is known at apply, as with values of other resources.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clusterlink_proto import v1
from clusterlink_proto.generated import tfplugin6_pb2 as pb
from clusterlink_provider.resources import mirror_topic
from clusterlink_provider.resources.provider import ClusterlinkProvider
from tests.support.configurations import configurations, with_unknown
from tests.support.fake_engine import FakeEngine
from tests.support.provider_calls import ProviderCalls
from tests.support.terraform_core import Object, Stored, TerraformCore

_PROVIDER = ProviderCalls(ClusterlinkProvider({}))
_LINK = TerraformCore(_PROVIDER, "clusterlink_link", "")
_MIRROR_TOPIC = TerraformCore(_PROVIDER, "clusterlink_mirror_topic", "")
_FILTERS = {"acl_sync": "filters", "consumer_offset_sync": "group_filters", "auto_create_mirror_topics": "filters"}
_REPLACING = ("name", "mode", "topic_prefix", "mirror_start_offset", "link", "source_topic", "replication_factor")

_EXAMPLES = pytest.mark.parametrize("examples", [75, pytest.param(1000, marks=pytest.mark.slow)])


@pytest.fixture(scope="module")
def engine() -> Iterator[FakeEngine]:
    engine = FakeEngine().start()
    yield engine
    engine.stop()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_topic, "_LOOK_SECONDS", 0)


def _make_sensible(config: Object) -> Object:
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


def _name_as_the_engine(config: Object) -> Object:
    """Mends the names and settings of a mirror topic: the engine has only one for each source topic."""
    prefix = "p." if config["link"] == "prefixed" else ""
    name = config["name"] and prefix + config["source_topic"]
    return {**config, "name": name, "config": config["config"] and {"segment.bytes": "1048576"}}


class _Run:
    """One resource under Terraform, whose configuration changes; counts what happened."""

    def __init__(self, core: TerraformCore, engine: FakeEngine, counts: Counter[str]) -> None:
        self.core, self.counts, self.stored = core, counts, Stored()
        core._endpoint = engine.endpoint

    def change_to(self, config: Object | None, seen_at_plan: Object | None) -> None:
        """Plans with what is known, applies with everything, and plans again."""
        if config is not None and self._refused(self.core.validate(config)):
            self.counts["not valid"] += 1
            return
        plan = self.core.plan(self.stored, seen_at_plan)
        self.counts[plan.action] += 1
        if plan.action == "error":
            self._refused(plan.diagnostics)
            return
        self.stored, diagnostics = self.core.apply(plan, config)
        if self._refused(diagnostics):
            self.counts["refused by apply"] += 1
            return
        again = self.core.plan(self.stored, config)
        assert again.action == "no-op", (again.action, again.prior.value, again.planned, config)

    @staticmethod
    def _refused(diagnostics: list[pb.Diagnostic]) -> bool:
        errors = [item for item in diagnostics if item.severity == pb.Diagnostic.ERROR]
        text = " ".join(f"{item.summary}: {item.detail}" for item in errors)
        assert "bug" not in text, text
        assert "Traceback" not in text, text
        return bool(errors)


@st.composite
def _sequences(draw: Any, core: TerraformCore, mend: Callable[[Object], Object]) -> list[tuple[Object, Object]]:
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


def _check_counts(counts: Counter[str], *, least: int) -> None:
    """A generator whose configurations are refused would show nothing."""
    for action in ("create", "update", "replace", "delete"):
        assert counts[action] >= least, counts


@_EXAMPLES
def test_links(engine: FakeEngine, examples: int) -> None:
    counts: Counter[str] = Counter()

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(_sequences(_LINK, _make_sensible))
    def run(configs: list[tuple[Object, Object]]) -> None:
        engine.links.clear()
        engine.tokens.clear()
        resource = _Run(_LINK, engine, counts)
        for config, seen in configs:
            resource.change_to(config, seen)
        resource.change_to(None, None)
        assert resource.stored.value is None
        assert engine.links == {}

    run()
    _check_counts(counts, least=20)


@_EXAMPLES
def test_mirror_topics(engine: FakeEngine, examples: int) -> None:
    counts: Counter[str] = Counter()

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(_sequences(_MIRROR_TOPIC, _name_as_the_engine))
    def run(configs: list[tuple[Object, Object]]) -> None:
        engine.topics.clear()
        engine.tokens.clear()
        engine.links.clear()
        engine.source_topics.update(orders=3, payments=1)
        for name, prefix in (("plain", ""), ("prefixed", "p.")):
            engine.links[name] = v1.Link(name=name, topic_prefix=prefix, mode=v1.LINK_MODE_DESTINATION)
        resource = _Run(_MIRROR_TOPIC, engine, counts)
        for config, seen in configs:
            resource.change_to(config, seen)
        value = resource.stored.value
        if (
            value is not None
            and value["status"] in {"PROMOTED", "FAILED_OVER"}
            and value["on_destroy"] == "DELETE_TOPIC"
        ):
            return  # the engine refuses to delete what is the user's
        resource.change_to(None, None)
        assert resource.stored.value is None
        assert engine.topics == {}

    run()
    _check_counts(counts, least=10)
