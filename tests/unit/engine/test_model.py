"""The rules of names, properties and topic settings; and when a topic is not the one it was."""

from collections.abc import Callable
from typing import Any

import pytest

from clusterlink_engine.errors import InvalidArgumentError
from clusterlink_engine.mirror.batches import Refusal
from clusterlink_engine.mirror.topics import MOST_PARTITIONS, Grow, Sighting, judge_mirror, judge_source
from clusterlink_engine.model import names, properties, topic_settings
from clusterlink_engine.model.specs import LinkSpec, MirrorTopicSpec, check_start_offset
from clusterlink_engine.model.states import MirrorError
from clusterlink_engine.sasl import Sasl
from clusterlink_engine.security import Tls
from clusterlink_engine.settings import Limits

# Names.


@pytest.mark.parametrize("check", [names.check_link_name, names.check_topic_name])
@pytest.mark.parametrize("name", ["a", "A.b_c-9", "...", "x" * 249])
def test_legal_names_pass(check: Callable[[str, str], None], name: str) -> None:
    check(name, "there")


@pytest.mark.parametrize("check", [names.check_link_name, names.check_topic_name])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "is empty"),
        ("x" * 250, "has 250 characters; 249 are allowed"),
        (".", "is not allowed"),
        ("..", "is not allowed"),
        ("a b", "is not allowed"),
        ("a/b", "is not allowed"),
        ("ä", "is not allowed"),
        ("a\n", "is not allowed"),
    ],
)
def test_other_names_are_refused_at_their_field(check: Callable[[str, str], None], name: str, said: str) -> None:
    with pytest.raises(InvalidArgumentError, match=said) as caught:
        check(name, "there")
    assert caught.value.field == "there"


def test_a_prefix_has_twelve_characters_at_most() -> None:
    names.check_prefix("x" * 12, "there")
    with pytest.raises(InvalidArgumentError, match="has 13 characters; 12 are allowed"):
        names.check_prefix("x" * 13, "there")


def test_a_mirror_topics_name_is_prefix_and_source_topic_and_not_too_long() -> None:
    assert names.mirror_topic_name("eu.", "orders", "there") == "eu.orders"
    assert len(names.mirror_topic_name("x" * 12, "y" * 237, "there")) == 249
    with pytest.raises(InvalidArgumentError, match="a name of 250 characters") as caught:
        names.mirror_topic_name("x" * 12, "y" * 238, "there")
    assert caught.value.field == "there"


# Properties.


@pytest.mark.parametrize("entry", properties.PROPERTIES.values(), ids=lambda entry: entry.name)
def test_each_property_takes_its_range_and_nothing_beyond(entry: properties.Property) -> None:
    assert entry.least <= entry.default <= entry.most
    assert properties.value_of({}, entry.name) == entry.default
    for value in (entry.least, entry.most):
        properties.check_config({entry.name: str(value)}, "config")
        assert properties.value_of({entry.name: str(value)}, entry.name) == value
    for value in (entry.least - 1, entry.most + 1):
        with pytest.raises(InvalidArgumentError, match=f"allowed are {entry.least} to {entry.most}") as caught:
            properties.check_config({entry.name: str(value)}, "config")
        assert caught.value.field == f'config["{entry.name}"]'


@pytest.mark.parametrize("text", ["", "x", "1.5", "1e3", " 1", "1 ", "+1", "--1", "0x10", "١", "9" * 5000])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"replica\.fetch\.min\.bytes"):
        properties.check_config({"replica.fetch.min.bytes": text}, "config")


def test_an_unknown_property_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(InvalidArgumentError, match=r"known are replica\.fetch\.max\.bytes, .*metadata\.max\.age\.ms"):
        properties.check_config({"fetch.max.bytes": "1"}, "config")


def test_a_property_that_is_an_attribute_is_refused_with_the_attribute() -> None:
    for name, attribute in (
        ("cluster.link.prefix", "topic_prefix"),
        ("mirror.start.offset.spec", "mirror_start_offset"),
    ):
        with pytest.raises(InvalidArgumentError, match=f"it is the attribute {attribute}"):
            properties.check_config({name: "x"}, "config")


# Topic settings.

_SOURCE = {
    "cleanup.policy": "compact",
    "max.message.bytes": "2000000",
    "message.timestamp.type": "LogAppendTime",
    "compression.type": "zstd",
    "retention.ms": "60000",
    "retention.bytes": "1",
    "segment.ms": "1000",
    "min.insync.replicas": "2",
    "unclean.leader.election.enable": "true",
    "leader.replication.throttled.replicas": "*",
}
_KNOWN = {*_SOURCE, *topic_settings.FORCED}


def mirrored(replication_factor: int = 3, **changes: object) -> dict[str, str]:
    arguments: dict[str, object] = {"known": _KNOWN, "include": (), "overrides": {}, **changes}
    source = arguments.pop("source", _SOURCE)
    return topic_settings.mirror_settings(source, replication_factor=replication_factor, **arguments)  # type: ignore[arg-type]


def test_a_mirror_has_the_sources_settings_and_what_mirroring_needs() -> None:
    assert mirrored() == {
        "cleanup.policy": "compact",
        "compression.type": "producer",
        "max.message.bytes": "2147483647",
        "message.timestamp.after.max.ms": "9223372036854775807",
        "message.timestamp.before.max.ms": "9223372036854775807",
        "message.timestamp.difference.max.ms": "9223372036854775807",
        "message.timestamp.type": "CreateTime",
        "min.insync.replicas": "2",
        "retention.bytes": "-1",
        "retention.ms": "-1",
        "segment.ms": "1000",
        "unclean.leader.election.enable": "false",
    }


def test_what_the_local_cluster_does_not_know_is_left_out() -> None:
    assert set(mirrored(known={"segment.ms", "retention.ms"})) == {"segment.ms", "retention.ms"}


def test_an_include_list_replaces_the_configurable_ones_but_not_the_others() -> None:
    wanted = mirrored(include=("segment.bytes",))
    assert "segment.ms" not in wanted
    assert wanted["cleanup.policy"] == "compact"
    assert wanted["retention.ms"] == "-1"


def test_own_settings_win_over_the_sources_and_lose_against_what_mirroring_needs() -> None:
    wanted = mirrored(include=("segment.bytes",), overrides={"segment.ms": "7", "retention.ms": "9"})
    assert wanted["segment.ms"] == "7"
    assert wanted["retention.ms"] == "-1"


@pytest.mark.parametrize(
    ("source", "replication_factor", "wanted"),
    [("1", 1, "1"), ("2", 1, "1"), ("1", 2, "1"), ("2", 2, "2"), ("1", 3, "2"), ("3", 3, "3"), ("5", 3, "3")],
)
def test_in_sync_replicas_can_be_met_and_survive_a_broker_where_there_are_three(
    source: str, replication_factor: int, wanted: str
) -> None:
    settings = mirrored(replication_factor, source={**_SOURCE, "min.insync.replicas": source})
    assert settings["min.insync.replicas"] == wanted


def test_rubbish_for_in_sync_replicas_does_not_break_the_sync() -> None:
    overrides = {"min.insync.replicas": "many"}
    assert mirrored(1, include=("segment.ms",), overrides=overrides)["min.insync.replicas"] == "1"


def test_synced_names_are_the_fixed_ones_and_the_included_ones() -> None:
    assert topic_settings.synced_names(()) == topic_settings.ALWAYS | topic_settings.CONFIGURABLE
    assert topic_settings.synced_names(("segment.ms",)) == topic_settings.ALWAYS | {"segment.ms"}
    assert not topic_settings.ALWAYS & topic_settings.CONFIGURABLE


@pytest.mark.parametrize("name", ["leader.replication.throttled.replicas", "remote.storage.enable", "x"])
def test_what_cannot_be_synced_cannot_be_included(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="cannot be synced") as caught:
        topic_settings.check_include(("segment.ms", name), "include")
    assert caught.value.field == "include"


def test_a_synced_setting_is_not_a_mirror_topics_own() -> None:
    topic_settings.check_overrides({"segment.ms": "1"}, ("retention.ms",), "config")
    topic_settings.check_overrides({"remote.storage.enable": "false"}, (), "config")
    with pytest.raises(InvalidArgumentError, match="it always does") as caught:
        topic_settings.check_overrides({"cleanup.policy": "delete"}, ("retention.ms",), "config")
    assert caught.value.field == 'config["cleanup.policy"]'
    with pytest.raises(InvalidArgumentError, match="give the link an include list without it"):
        topic_settings.check_overrides({"segment.ms": "1"}, (), "config")


# Specs.

NO_PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
SASL: dict[str, Any] = {"sasl": Sasl(mechanism="PLAIN", username="u", password="hidden")}  # noqa: S106 - nobody's


def sasl_link(**changes: Any) -> LinkSpec:
    return LinkSpec("l", ("a:1",), **{"security_protocol": "SASL_PLAINTEXT", **SASL, **changes})


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (LinkSpec("", ("a:1",)), "link.name"),
        (LinkSpec("l", ()), "link.remote_cluster.bootstrap_servers"),
        (LinkSpec("l", ("a",)), "link.remote_cluster.bootstrap_servers"),
        (LinkSpec("l", ("a:0",)), "link.remote_cluster.bootstrap_servers"),
        (LinkSpec("l", ("a:1",), security_protocol="TLS"), "link.remote_cluster.security_protocol"),
        (LinkSpec("l", ("a:1",), security_protocol="SSL", **SASL), "link.remote_cluster.sasl"),
        (LinkSpec("l", ("a:1",), security_protocol="SASL_SSL"), "link.remote_cluster.sasl"),
        (LinkSpec("l", ("a:1",), tls=Tls()), "link.remote_cluster.tls"),
        (LinkSpec("l", ("a:1",), security_protocol="SSL", tls=Tls(ca_pem=NO_PEM)), "link.remote_cluster.tls"),
        (LinkSpec("l", ("a:1",), security_protocol="SASL_PLAINTEXT"), "link.remote_cluster.sasl"),
        (LinkSpec("l", ("a:1",), **SASL), "link.remote_cluster.sasl"),
        (LinkSpec("l", ("a:1",), mirror_start_offset="yesterday"), "link.mirror_start_offset"),
        (LinkSpec("l", ("a:1",), topic_prefix="x" * 13), "link.topic_prefix"),
        (LinkSpec("l", ("a:1",), topic_config_sync_ms=999), "link.topic_config_sync.interval_ms"),
        (LinkSpec("l", ("a:1",), topic_config_include=("x",)), "link.topic_config_sync.include"),
        (LinkSpec("l", ("a:1",), config={"x": "1"}), 'link.config["x"]'),
    ],
)
def test_a_wrong_link_is_refused_at_its_field(spec: LinkSpec, field: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        spec.check(Limits())
    assert caught.value.field == field
    assert "hidden" not in str(caught.value)


def test_a_spec_does_not_show_its_password() -> None:
    assert "hidden" not in repr(sasl_link())


@pytest.mark.parametrize(
    "start",
    [
        "earliest",
        "latest",
        "1970-01-01T00:00:00Z",
        "2026-01-31T23:59:59.5+02:00",
        "2026-01-31T00:00:00.123456789Z",
        "2024-02-29T00:00:00-12:30",
    ],
)
def test_a_mirror_can_begin_at_an_end_or_at_a_time(start: str) -> None:
    check_start_offset(start, "there")


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("", "no place to begin"),
        ("EARLIEST", "no place to begin"),
        ("2026-01-31", "no place to begin"),
        ("2026-01-31T00:00:00", "no place to begin"),
        ("2026-01-31T00:00Z", "no place to begin"),
        ("2026-01-31 00:00:00Z", "no place to begin"),
        ("2026-02-30T00:00:00Z", "no place to begin"),
        ("2026-W05-1T00:00:00Z", "no place to begin"),
        ("20260131T000000Z", "no place to begin"),
        ("1969-12-31T23:59:59Z", "before 1970"),
        ("1970-01-01T00:00:00+00:01", "before 1970"),
    ],
)
def test_other_beginnings_are_refused(start: str, said: str) -> None:
    with pytest.raises(InvalidArgumentError, match=said) as caught:
        check_start_offset(start, "there")
    assert caught.value.field == "there"


def test_a_right_link_passes() -> None:
    LinkSpec("l", ("a:1",), security_protocol="SSL").check(Limits())
    sasl_link(security_protocol="SASL_SSL", tls=Tls()).check(Limits())
    sasl_link(mirror_start_offset="2026-01-31T00:00:00Z").check(Limits())
    LinkSpec(
        "l", ("a:1", "[::1]:2"), topic_prefix="x.", topic_config_sync_ms=1000, config={"replica.fetch.min.bytes": "5"}
    ).check(Limits())


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (MirrorTopicSpec("l", ""), "mirror_topic.source_topic"),
        (MirrorTopicSpec("l", "a/b"), "mirror_topic.source_topic"),
        (MirrorTopicSpec("l", "__consumer_offsets"), "mirror_topic.source_topic"),
        (MirrorTopicSpec("l", "y" * 248), "mirror_topic.source_topic"),
        (MirrorTopicSpec("l", "orders", name="orders"), "mirror_topic.name"),
    ],
)
def test_a_wrong_mirror_topic_name_is_refused_at_its_field(spec: MirrorTopicSpec, field: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        spec.mirror_name("x.")
    assert caught.value.field == field


def test_a_right_mirror_topic_name_passes() -> None:
    assert MirrorTopicSpec("l", "orders").mirror_name("x.") == "x.orders"
    assert MirrorTopicSpec("l", "orders", name="x.orders").mirror_name("x.") == "x.orders"


@pytest.mark.parametrize("factor", [-1, 32768])
def test_an_impossible_replication_factor_is_refused(factor: int) -> None:
    MirrorTopicSpec("l", "orders", replication_factor=0).check(())
    with pytest.raises(InvalidArgumentError, match=f"factor of {factor} is not possible"):
        MirrorTopicSpec("l", "orders", replication_factor=factor).check(())


# Topics that are not what they were.


def seen(topic_id: str = "id", partitions: int = 3) -> Sighting:
    return Sighting(True, topic_id, partitions, 0.0)


def missing(seconds: float) -> Sighting:
    return Sighting(False, "", 0, seconds)


@pytest.mark.parametrize(
    ("sighting", "judgement"),
    [
        (seen(), None),
        (missing(0.0), None),
        (missing(9.9), None),
        (missing(10.0), MirrorError.SOURCE_TOPIC_MAY_BE_DELETED),
        (seen(topic_id="other"), MirrorError.SOURCE_TOPIC_ID_CHANGED),
        (seen(topic_id="other", partitions=5), MirrorError.SOURCE_TOPIC_ID_CHANGED),
        (seen(partitions=2), MirrorError.SOURCE_PARTITIONS_DECREASED),
        (seen(partitions=4), Grow(4)),
    ],
)
def test_a_source_topic_is_judged(sighting: Sighting, judgement: MirrorError | Grow | None) -> None:
    found = judge_source("orders", "id", 3, sighting, patience=10.0)
    if isinstance(found, Refusal):
        assert found.error is judgement
        assert '"orders"' in found.message
    else:
        assert found == judgement


@pytest.mark.parametrize(
    ("sighting", "said"),
    [
        (seen(), None),
        (seen(partitions=9), None),
        (missing(9.9), None),
        (missing(10.0), "was deleted by somebody else"),
        (seen(topic_id="other"), "created anew by somebody else: its id is other, it was id"),
    ],
)
def test_a_mirror_topic_is_judged(sighting: Sighting, said: str | None) -> None:
    found = judge_mirror("orders", "id", sighting, patience=10.0)
    if said is None:
        assert found is None
    else:
        assert found is not None
        assert found.error is MirrorError.MIRROR_TOPIC_CHANGED
        assert said in found.message


def test_a_source_does_not_decide_alone_how_many_partitions_are_made() -> None:
    many = Sighting(True, "id", 1_000_000, 0.0)
    assert judge_source("orders", "id", 3, many, patience=10.0) == Grow(MOST_PARTITIONS)
    assert judge_source("orders", "id", MOST_PARTITIONS, many, patience=10.0) is None
