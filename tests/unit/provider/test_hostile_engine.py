"""An engine that answers wrongly, slowly, by half or not at all: the plugin says so, and no state suffers.

Each call of Terraform that reaches the engine meets each fault. The calls of the engine's API are all faulty at once, so that
the looking again after an error meets it too.
"""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from clusterlink_proto import v1
from clusterlink_proto.generated import tfplugin6_pb2 as pb
from clusterlink_provider import engine_client
from clusterlink_provider.framework import cty
from clusterlink_provider.resources import mirror_topic, mirror_topic_plan
from clusterlink_provider.resources.provider import ClusterlinkProvider
from tests.support.fake_engine import FakeEngine, Fault, RawAnswer
from tests.support.provider_calls import ProviderCalls
from tests.support.terraform_core import Object, Stored, TerraformCore

_PROVIDER = ProviderCalls(ClusterlinkProvider({}))
LINK = TerraformCore(_PROVIDER, "clusterlink_link", "")
MIRROR = TerraformCore(_PROVIDER, "clusterlink_mirror_topic", "")

_REMOTE = {"bootstrap_servers": cty.SetValue(["127.0.0.1:29092"]), "cluster_id": None, "security_protocol": None}
_SYNC = {"interval_ms": 7000, "include": None}


def _config(core: TerraformCore, **given: Any) -> Object:
    return dict.fromkeys(core.attributes) | given


LINKS = _config(LINK, name="a", remote_cluster=_REMOTE | {"sasl": None, "tls": None}, timeouts=None)
MIRRORS = _config(MIRROR, link="a", source_topic="orders")
CHANGED = {
    LINK: LINKS | {"paused": True, "topic_config_sync": _SYNC},
    MIRROR: MIRRORS | {"status": "PAUSED", "config": {"segment.bytes": "1048576"}},
}


def _each(message: Any, change: Callable[[Any], None]) -> Any:
    """Changes an answer, or each element of a list."""
    lists = [item for name in ("links", "mirror_topics") for item in getattr(message, name, ())]
    for item in lists or [message]:
        change(item)
    return message


def _set(**values: Any) -> Callable[[Any], Any]:
    def change(item: Any) -> None:
        for name, value in values.items():
            if name in item.DESCRIPTOR.fields_by_name:
                setattr(item, name, value)

    return lambda message: _each(message, change)


def _clear(*names: str) -> Callable[[Any], Any]:
    def change(item: Any) -> None:
        for name in names or list(item.DESCRIPTOR.fields_by_name):
            if name in item.DESCRIPTOR.fields_by_name:
                item.ClearField(name)

    return lambda message: _each(message, change)


def _huge(message: Any) -> Any:
    for name in ("error_message", "version", "state_detail"):
        if name in message.DESCRIPTOR.fields_by_name:
            setattr(message, name, "x" * 5_000_000)
    if isinstance(message, v1.ListLinksResponse):
        message.links.extend(v1.Link(name=f"other-{number}", mode=v1.LINK_MODE_DESTINATION) for number in range(10_000))
    if isinstance(message, v1.ListMirrorTopicsResponse):
        message.mirror_topics.extend(v1.MirrorTopic(name=f"other-{number}", link="a") for number in range(10_000))
    return message


_ERRORS = {
    f"code {code.name}": Fault(code, reason="SOMETHING_NEW")
    for code in grpc.StatusCode
    if code is not grpc.StatusCode.OK
}
FAULTS = {
    **_ERRORS,
    "details that are none": Fault(grpc.StatusCode.INTERNAL, details=b"\xff\xff\xff"),
    "details about nothing": Fault(grpc.StatusCode.INVALID_ARGUMENT, details=b"\x1a\x04\x0a\x02zz"),
    "no message": Fault(grpc.StatusCode.FAILED_PRECONDITION, message=""),
    "a huge message": Fault(grpc.StatusCode.FAILED_PRECONDITION, message="x" * 100_000),
    "not protobuf": Fault(change=lambda _: RawAnswer(b"\xff" * 20)),
    "wrong types": Fault(change=lambda _: RawAnswer(b"\x08\x01\x12\x02\x08\x01\x18\xff\x01")),
    "cut off": Fault(change=lambda message: RawAnswer(message.SerializeToString()[:-1])),
    "text that is none": Fault(change=lambda _: RawAnswer(b"\x0a\x02\xff\xfe")),
    "nothing at all": Fault(change=_clear()),
    "no name": Fault(change=_clear("name")),
    "another name": Fault(change=_set(name="z", link="z")),
    "no parts": Fault(
        change=_clear("remote_cluster", "topic_config_sync", "consumer_offset_sync", "acl_sync", "limits", "config")
    ),
    "unknown states": Fault(change=_set(state=99)),
    "an unknown mode": Fault(change=_set(mode=99)),
    "an unknown direction": Fault(change=_set(direction=99)),
    "an unknown way to stop": Fault(change=_set(stop=99)),
    "numbers out of range": Fault(change=_set(partition_count=-1, replication_factor=-(2**31), mirror_topic_count=-5)),
    "huge answers": Fault(change=_huge),
    "slow": Fault(delay=0.7),
}
# One error stands for all where nothing is done.
_SOME_FAULTS = {
    name: fault for name, fault in FAULTS.items() if name not in _ERRORS or name == "code PERMISSION_DENIED"
}
_METHODS = (
    *("CreateLink", "GetLink", "ListLinks", "UpdateLink", "DeleteLink", "PauseLink", "ResumeLink"),
    *("CreateMirrorTopic", "GetMirrorTopic", "ListMirrorTopics", "UpdateMirrorTopic", "DeleteMirrorTopic"),
    *("PauseMirrorTopic", "ResumeMirrorTopic", "PromoteMirrorTopic", "FailoverMirrorTopic"),
)
_KINDS = [*_METHODS, *(f"{name}(validate_only)" for name in _METHODS)]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    """An engine with a link and a mirror topic, and a provider that is less patient than usual."""
    for module in (engine_client, mirror_topic_plan):
        for name in ("READ_SECONDS", "_CHECK_SECONDS"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, 0.4)
    monkeypatch.setattr("clusterlink_provider.resources.link_plan.READ_SECONDS", 0.4)
    monkeypatch.setattr(mirror_topic, "_LOOK_SECONDS", 0.05)
    engine = FakeEngine().start()
    engine.create_source_topic("orders", 2)
    LINK._endpoint = MIRROR._endpoint = engine.endpoint
    yield engine
    engine.stop()


def _stored(engine: FakeEngine) -> dict[TerraformCore, Stored]:
    """Makes a link and a mirror topic, as long as all is well."""
    found = {}
    for core, config in ((LINK, LINKS), (MIRROR, MIRRORS)):
        found[core], diagnostics = core.apply(core.plan(Stored(), config), config)
        assert not diagnostics
    return found


def _judge(diagnostics: list[pb.Diagnostic]) -> bool:
    """Looks at messages as a user does; tells whether there are errors."""
    for item in diagnostics:
        text = f"{item.summary}: {item.detail}"
        assert item.summary
        assert len(item.detail) > 20, text
        assert len(item.detail) < 6000, text[:200]
        for word in ("Traceback", "bug in the provider", "Unexpected error", "object at 0x", "NoneType"):
            assert word not in text, text[:2000]
    return any(item.severity == pb.Diagnostic.ERROR for item in diagnostics)


def _break(engine: FakeEngine, fault: Fault) -> None:
    # But for the version, which is asked for first.
    engine.always.update(dict.fromkeys(_KINDS, fault))


def _quickly(config: Object) -> Object:
    return config | {"timeouts": {"create": "400ms", "update": "400ms", "delete": "400ms"}}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_every_call_of_terraform(engine: FakeEngine, fault: Fault) -> None:
    stored = _stored(engine)
    for core, config in ((LINK, LINKS), (MIRROR, MIRRORS)):
        before, changed = stored[core], _quickly(CHANGED[core])
        plans = {
            "create": core.plan(Stored(), _quickly(config | {"name": "b"} if core is LINK else config)),
            "update": core.plan(before, changed),
            "delete": core.plan(before, None),
        }
        _break(engine, fault)
        core.begin_walk()
        # Refresh: an error, or a state of the same object; forgotten only if the engine says by name that it is gone.
        read, diagnostics = core.refresh(before)
        if _judge(diagnostics):
            assert read == before
        elif fault.code is grpc.StatusCode.NOT_FOUND:
            assert read.value is None
        else:
            assert read.value is not None
            assert read.value["id"] == before.value["id"]  # type: ignore[index]
        for given, prior in ((config, Stored()), (changed, before), (None, before)):
            _judge(core.plan_change(prior, given).diagnostics)
        for what, given in (
            ("create", config | {"name": "b"} if core is LINK else config),
            ("update", changed),
            ("delete", None),
        ):
            _apply(engine, core, what, plans[what], given)
        engine.always.clear()


def _apply(engine: FakeEngine, core: TerraformCore, what: str, plan: Any, config: Object | None) -> None:
    if plan.action == "error":
        return
    prior = plan.prior
    after, diagnostics = core._change(prior, plan.planned, config, plan.private)
    if _judge(diagnostics):
        if what == "create":
            # Either nothing, or the object under its name: Terraform marks it, and looks at the next refresh.
            assert after.value is None or after.value["id"] is not None
        elif after.value is not None:
            assert after.value["id"] == prior.value["id"]
        else:
            # Gone, and the engine has said so by name.
            assert what == "update"
            assert engine.always["GetLink"].code is grpc.StatusCode.NOT_FOUND
    elif what == "delete":
        assert after.value is None
    else:
        assert cty.is_wholly_known(after.value)


_VERSIONS = ("", "abc", "0.0.9", "0", "-1.-1", "٠.١")


@pytest.mark.parametrize("version", _VERSIONS)
def test_versions_that_are_too_old_or_none(engine: FakeEngine, version: str) -> None:
    engine.version = version
    (error,) = LINK.begin_walk()
    assert error.summary == "Engine older than the provider"
    assert engine.endpoint in error.detail


@pytest.mark.parametrize("version", ["0.1.0", "0.1.99-rc1+build", "1.0.0", "99999999999.1"])
def test_versions_that_will_do(engine: FakeEngine, version: str) -> None:
    engine.version = version
    assert not _judge(LINK.begin_walk())


@pytest.mark.parametrize("fault", _SOME_FAULTS.values(), ids=_SOME_FAULTS.keys())
def test_configure(engine: FakeEngine, fault: Fault) -> None:
    engine.always["GetEngine"] = fault
    monkey = pytest.MonkeyPatch()
    monkey.setattr("clusterlink_provider.resources.provider._CONNECT_SECONDS", 0.4)
    try:
        _judge(LINK.begin_walk())
    finally:
        monkey.undo()


@pytest.mark.parametrize("fault", _SOME_FAULTS.values(), ids=_SOME_FAULTS.keys())
@pytest.mark.parametrize("name", ["engine", "link", "links", "mirror_topic", "mirror_topics"])
def test_data_sources(engine: FakeEngine, fault: Fault, name: str) -> None:
    _stored(engine)
    _break(engine, fault)
    LINK.begin_walk()
    type_name = f"clusterlink_{name}"
    source = ClusterlinkProvider({}).data_sources[type_name]
    given = {"engine": {}, "link": {"name": "a"}, "links": {}, "mirror_topic": {"link": "a", "name": "orders"}}
    config = dict.fromkeys(source.schema.attributes) | given.get(name, {"link": None})
    value = pb.DynamicValue(msgpack=cty.encode(source.schema.type, config))
    answer = _PROVIDER.call("ReadDataSource", type_name=type_name, config=value)
    if not _judge(list(answer.diagnostics)):
        assert cty.is_wholly_known(cty.decode(source.schema.type, answer.state.msgpack))


def test_half_a_list_forgets_nothing(engine: FakeEngine) -> None:
    """A list without some of its elements: what is missing is asked for by name, and kept."""
    stored = _stored(engine)
    for name in ("ListLinks", "ListMirrorTopics"):
        engine.always[name] = Fault(change=_clear())
    LINK.begin_walk()
    for core, before in stored.items():
        read, diagnostics = core.refresh(before)
        assert not diagnostics
        assert read.value == before.value


def test_connection_that_breaks(engine: FakeEngine) -> None:
    """The engine goes away in the middle of a create; Terraform keeps the object until it can be asked for."""
    config = LINKS | {"name": "b", "timeouts": {"create": "2s", "update": None, "delete": None}}
    plan = LINK.plan(Stored(), config)
    LINK.begin_walk()

    seen = threading.Event()

    def leave(answer: Any) -> Any:
        assert engine.server is not None
        engine.server.stop(0)
        seen.wait(30)  # the answer stays here
        return answer

    engine.always["CreateLink"] = Fault(change=leave)
    after, diagnostics = LINK._change(Stored(), plan.planned, config, b"")
    seen.set()
    assert _judge(diagnostics)
    assert after.value is not None
    assert after.value["name"] == "b"
    engine.always.clear()
    engine.start()
    LINK.begin_walk()
    read, diagnostics = LINK.refresh(after)
    assert not diagnostics
    assert read.value is not None
    assert read.value["link_id"] == engine.links["b"].link_id


def test_states_of_a_newer_engine_are_shown_by_number(engine: FakeEngine) -> None:
    stored = _stored(engine)
    _break(engine, FAULTS["unknown states"])
    for core, attribute in ((LINK, "state"), (MIRROR, "observed_status")):
        core.begin_walk()
        read, diagnostics = core.refresh(stored[core])
        assert not diagnostics
        assert read.value is not None
        assert read.value[attribute] == "UNKNOWN_99"
        # It is no reason for a change.
        assert core.plan_change(read, LINKS if core is LINK else MIRRORS).action == "no-op"


@pytest.mark.parametrize("name", ["an unknown mode", "another name", "no name"])
def test_what_a_plan_depends_on_has_to_be_understood(engine: FakeEngine, name: str) -> None:
    stored = _stored(engine)
    _break(engine, FAULTS[name])
    plan = LINK.plan(stored[LINK], LINKS)
    assert plan.action == "error"
    assert plan.diagnostics[0].summary == "Answer of the engine not understood"
    assert "upgrade the provider" in plan.diagnostics[0].detail
