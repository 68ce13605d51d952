"""States follow from facts, in one order of precedence; and each is stamped with the time of its entry."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations_with_replacement
from typing import Any

import pytest

from clusterlink_engine.model.states import (
    Entered,
    LinkFacts,
    LinkState,
    MirrorTopicFacts,
    MirrorTopicState,
    follow,
    link_state,
    mirror_topic_state,
)

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        (LinkFacts(), LinkState.ACTIVE),
        (LinkFacts(is_reachable=False), LinkState.UNAVAILABLE),
        (LinkFacts(paused=True), LinkState.PAUSED),
        (LinkFacts(paused=True, is_reachable=False), LinkState.PAUSED),
        (LinkFacts(is_another_cluster=True, is_reachable=False), LinkState.FAILED),
        (LinkFacts(is_another_cluster=True, paused=True), LinkState.FAILED),
    ],
)
def test_the_state_of_a_link(facts: LinkFacts, state: LinkState) -> None:
    assert link_state(facts) is state


# What puts a mirror topic into each state, from the weakest to the strongest; a later one wins over all before it.
PRECEDENCE: list[tuple[MirrorTopicState, dict[str, Any]]] = [
    (MirrorTopicState.ACTIVE, {}),
    (MirrorTopicState.SEEDING, {"is_seeding": True}),
    (MirrorTopicState.PENDING_RESTORE, {"is_restoring": True}),
    (MirrorTopicState.SOURCE_UNAVAILABLE, {"is_source_readable": False}),
    (MirrorTopicState.SOURCE_UNAVAILABLE, {"link": LinkState.UNAVAILABLE}),
    (MirrorTopicState.LINK_PAUSED, {"link": LinkState.PAUSED}),
    (MirrorTopicState.PAUSED, {"paused": True}),
    (MirrorTopicState.LINK_FAILED, {"link": LinkState.FAILED}),
    (MirrorTopicState.FAILED, {"has_failed": True}),
    (MirrorTopicState.PENDING_MIRROR, {"is_turning": True}),
    (MirrorTopicState.PENDING_SYNCHRONIZE, {"is_synchronizing": True}),
    (MirrorTopicState.PENDING_STOPPED, {"is_stopping": True}),
    (MirrorTopicState.STOPPED, {"is_stopped": True}),
    (MirrorTopicState.CREATING, {"exists": False}),
    (MirrorTopicState.PENDING_SETUP_FOR_RESTORE, {"is_clearing": True}),
]


def test_every_state_of_a_mirror_topic_can_be_reached() -> None:
    assert {state for state, _ in PRECEDENCE} == set(MirrorTopicState)


@pytest.mark.parametrize(("weaker", "stronger"), list(combinations_with_replacement(range(len(PRECEDENCE)), 2)))
def test_the_stronger_of_two_reasons_is_the_state_of_a_mirror_topic(weaker: int, stronger: int) -> None:
    state, facts = PRECEDENCE[stronger]
    assert mirror_topic_state(replace(MirrorTopicFacts(**PRECEDENCE[weaker][1]), **facts)) is state


def test_what_ends_by_itself_is_what_no_user_brought_about_or_has_to_mend() -> None:
    assert {state for state in LinkState if state.ends_by_itself} == {LinkState.UNAVAILABLE}
    assert {state for state in MirrorTopicState if state.ends_by_itself} == {
        MirrorTopicState.CREATING,
        MirrorTopicState.SEEDING,
        MirrorTopicState.SOURCE_UNAVAILABLE,
        MirrorTopicState.PENDING_STOPPED,
        MirrorTopicState.PENDING_SYNCHRONIZE,
        MirrorTopicState.PENDING_MIRROR,
        MirrorTopicState.PENDING_SETUP_FOR_RESTORE,
        MirrorTopicState.PENDING_RESTORE,
    }


def test_an_entry_is_stamped_once() -> None:
    seen: list[Entered[LinkState]] = []
    for second, state in enumerate(
        [LinkState.ACTIVE, LinkState.ACTIVE, LinkState.UNAVAILABLE, LinkState.UNAVAILABLE, LinkState.ACTIVE]
    ):
        seen.append(follow(seen[-1] if seen else None, state, NOON + timedelta(seconds=second)))
    assert [(entry.since - NOON).seconds for entry in seen] == [0, 0, 2, 2, 4]
