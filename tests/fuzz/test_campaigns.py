"""Damaged answers and damaged batches by the thousand: no crash, no memory without bound, nothing written that was not said."""

import importlib
import pkgutil

import pytest

from clusterlink_engine import wire
from clusterlink_engine.errors import AuthenticationFailedError
from tests.fuzz import campaign
from tests.fuzz.replay import SCRAM, Recording, ReplayedCluster, load
from tests.fuzz.scenarios import SCENARIOS, TOPIC

_RECORDINGS = load()
_FETCH, _PRODUCE, _LIST_OFFSETS = 1, 0, 2


def _decoded() -> set[int]:
    """The keys of all APIs of which an answer is decoded anywhere in `wire`."""
    modules = [
        importlib.import_module(f"{wire.__name__}.{found.name}") for found in pkgutil.iter_modules(wire.__path__)
    ]
    messages = [value for module in modules for name, value in vars(module).items() if name.endswith("Response")]
    return {_FETCH, _PRODUCE, _LIST_OFFSETS, *(message.API_KEY for message in messages)}


def test_every_answer_that_is_decoded_is_recorded() -> None:
    assert {answer.api_key for recording in _RECORDINGS for answer in recording.answers} == _decoded()
    assert {(recording.scenario, recording.oldest) for recording in _RECORDINGS} == {
        (name, oldest) for name in SCENARIOS for oldest in (False, True)
    }


@pytest.mark.parametrize("recording", _RECORDINGS, ids=lambda recording: f"{recording.scenario}-{recording.oldest}")
async def test_a_recording_that_is_not_damaged_is_understood(recording: Recording) -> None:
    cluster = ReplayedCluster(recording, lambda answer: answer.body)
    if recording.scenario == SCRAM:  # the answer is to a number that was drawn then
        with pytest.raises(AuthenticationFailedError):
            await cluster.metadata([TOPIC])
        return
    await cluster.metadata([TOPIC])
    await SCENARIOS[recording.scenario](cluster)


def _check(outcome: campaign.Outcome, cases: int) -> None:
    print(outcome._replace(failures=[]))
    assert not outcome.failures, "\n".join(outcome.failures)
    assert outcome.cases == cases
    assert outcome.resident < campaign.MOST_RESIDENT


def _check_answers(seed: int, cases: int) -> None:
    outcome = campaign.run("answers", seed, cases)
    _check(outcome, cases)
    kinds = {int(what.split()[0]) for what in outcome.outcomes}
    assert kinds == _decoded(), "not every answer was damaged"
    refused = sum(count for what, count in outcome.outcomes.items() if what.endswith("ProtocolViolationError"))
    assert refused > cases / 4


def _check_batches(seed: int, cases: int) -> None:
    outcome = campaign.run("batches", seed, cases)
    _check(outcome, cases)
    assert min(outcome.outcomes[what] for what in ("refused", "written", "nothing")) > cases / 20


def test_damaged_answers() -> None:
    _check_answers(0, 3000)


def test_damaged_batches() -> None:
    _check_batches(0, 3000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_many_damaged_answers(seed: int) -> None:
    _check_answers(seed, 100_000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_many_damaged_batches(seed: int) -> None:
    _check_batches(seed, 100_000)
