"""For any configuration that a schema allows: what a plan says is what apply does, and then there is nothing left to do.

The real provider answers Terraform's calls, an engine in memory answers the provider, and Terraform's own checks are those of
`tests.support.terraform_core`. What is not known at plan is known at apply, as with values of other resources.
"""

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from clusterlink_proto import v1
from clusterlink_proto.generated import tfplugin6_pb2 as pb
from clusterlink_provider.resources import mirror_topic
from clusterlink_provider.resources.provider import ClusterlinkProvider
from tests.support.fake_engine import FakeEngine
from tests.support.provider_calls import ProviderCalls
from tests.support.sequences import mend_link, mend_mirror_topic, sequences
from tests.support.terraform_core import Object, Stored, TerraformCore

_PROVIDER = ProviderCalls(ClusterlinkProvider({}))
_LINK = TerraformCore(_PROVIDER, "clusterlink_link", "")
_MIRROR_TOPIC = TerraformCore(_PROVIDER, "clusterlink_mirror_topic", "")

_EXAMPLES = pytest.mark.parametrize("examples", [75, pytest.param(1000, marks=pytest.mark.slow)])


@pytest.fixture(scope="module")
def engine() -> Iterator[FakeEngine]:
    engine = FakeEngine().start()
    yield engine
    engine.stop()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_topic, "_LOOK_SECONDS", 0)


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


def _check_counts(counts: Counter[str], *, least: int) -> None:
    """A generator whose configurations are refused would show nothing."""
    for action in ("create", "update", "replace", "delete"):
        assert counts[action] >= least, counts


@_EXAMPLES
def test_links(engine: FakeEngine, examples: int) -> None:
    counts: Counter[str] = Counter()

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(sequences(_LINK, mend_link))
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
    @given(sequences(_MIRROR_TOPIC, mend_mirror_topic))
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
