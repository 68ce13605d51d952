"""For any configuration that a schema allows: what a plan says is what apply does, and then there is nothing left to do.

The real provider answers Terraform's calls, an engine in memory answers the provider, and Terraform's own checks are those of
`tests.support.terraform_core`. What is not known at plan is known at apply, as with values of other resources.
"""

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clusterlink_proto import v1
from clusterlink_proto.generated import tfplugin6_pb2 as pb
from clusterlink_provider.framework.cty import UNKNOWN
from clusterlink_provider.resources import stops
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
    monkeypatch.setattr(stops, "_LOOK_SECONDS", 0)


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

    @settings(max_examples=examples, derandomize=examples < 100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(sequences(_LINK, mend_link), st.booleans())
    def run(configs: list[tuple[Object, Object]], has_mirror_topic: bool) -> None:
        engine.links.clear()
        engine.topics.clear()
        engine.tokens.clear()
        resource = _Run(_LINK, engine, counts)
        for config, seen in configs:
            resource.change_to(config, seen)
        value = resource.stored.value
        if has_mirror_topic and value is not None:
            active = v1.MIRROR_TOPIC_STATE_ACTIVE
            engine.topics["left"] = v1.MirrorTopic(name="left", link=value["name"], source_topic="left", state=active)
            resource.change_to(None, None)
            is_failed_over = value["on_destroy"] == "FAILOVER"
            assert (resource.stored.value is None) == is_failed_over
            if is_failed_over:
                counts["failed over"] += 1
                assert engine.topics["left"].state == v1.MIRROR_TOPIC_STATE_STOPPED
                assert engine.topics["left"].stop == v1.MIRROR_TOPIC_STOP_FAILOVER
            else:
                assert engine.topics.pop("left").state == active
        resource.change_to(None, None)
        assert resource.stored.value is None
        assert engine.links == {}

    run()
    _check_counts(counts, least=10)
    assert counts["failed over"] >= 1, counts


@_EXAMPLES
def test_mirror_topics(engine: FakeEngine, examples: int) -> None:
    counts: Counter[str] = Counter()

    @settings(max_examples=examples, derandomize=examples < 100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(sequences(_MIRROR_TOPIC, mend_mirror_topic), st.integers(1, 3), st.booleans())
    def run(configs: list[tuple[Object, Object]], fails_before: int, is_rebuilt: bool) -> None:
        engine.topics.clear()
        engine.tokens.clear()
        engine.links.clear()
        engine.source_topics.update(orders=3, payments=1)
        for name, prefix in (("plain", ""), ("prefixed", "p.")):
            engine.links[name] = v1.Link(name=name, topic_prefix=prefix, mode=v1.LINK_MODE_DESTINATION)
        engine.calls.clear()
        resource = _Run(_MIRROR_TOPIC, engine, counts)
        for number, (config, seen) in enumerate(configs):
            live = [topic for topic in engine.topics.values() if topic.state != v1.MIRROR_TOPIC_STATE_STOPPED]
            if number == fails_before and live:
                counts["failed"] += 1
                engine.fail_mirror_topic(live[0].name)
                if is_rebuilt:
                    wish = {"on_failed": "REBUILD", "status": None}
                    config, seen = config | wish, seen | wish
            resource.change_to(config, seen)
        counts["rebuilt"] += engine.calls.count("RebuildMirrorTopic")
        value = resource.stored.value
        if (
            value is not None
            and value["status"] in {"PROMOTED", "FAILED_OVER"}
            and value["on_destroy"] == "DELETE_TOPIC"
        ):
            resource.change_to(None, None)
            assert resource.stored.value is not None  # nobody deletes what is the user's
            return
        resource.change_to(None, None)
        assert resource.stored.value is None
        assert engine.topics == {}

    run()
    _check_counts(counts, least=5)
    assert counts["failed"] > counts["rebuilt"] >= 1, counts


@pytest.mark.parametrize("unknown", [("status",), ("on_failed",), ("status", "on_failed")])
def test_whether_a_failed_mirror_topic_is_rebuilt_may_be_known_at_apply_only(
    engine: FakeEngine, unknown: tuple[str, ...]
) -> None:
    """Then its partitions are not known at plan either."""
    for left in (engine.topics, engine.links, engine.calls):
        left.clear()
    engine.source_topics.update(orders=3)
    engine.links["plain"] = v1.Link(name="plain", mode=v1.LINK_MODE_DESTINATION)
    resource = _Run(_MIRROR_TOPIC, engine, Counter())
    config: Object = dict.fromkeys(_MIRROR_TOPIC.attributes)
    config |= {"link": "plain", "source_topic": "orders"}
    resource.change_to(config, config)
    engine.fail_mirror_topic("orders")
    wish = config | {"status": "ACTIVE", "on_failed": "REBUILD"}
    resource.change_to(wish, wish | dict.fromkeys(unknown, UNKNOWN))
    assert resource.counts["update"] == 1
    assert "RebuildMirrorTopic" in engine.calls
    assert resource.stored.value is not None
    assert resource.stored.value["status"] == "ACTIVE"
