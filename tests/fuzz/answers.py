"""Damaged answers to everything that the engine asks: what comes of them is a value or an error of ours."""

import itertools
import random

from clusterlink_engine.errors import KafkaError
from clusterlink_engine.wire import logs, transactions
from clusterlink_engine.wire.batch import TornBatchError
from tests.fuzz.campaign import Case
from tests.fuzz.replay import Answer, ReplayedCluster, load
from tests.fuzz.scenarios import SCENARIOS, TOPIC
from tests.support.mutation import mutated


def case() -> Case:
    """Answers the case: one scenario, with one of its answers damaged, and now and then all of its kind that come after."""
    recordings = load()
    # What a broker may put off for a while is not waited for.
    logs._PRODUCER_ID_SECONDS = transactions._PATIENCE_SECONDS = -1.0

    async def run(randomness: random.Random) -> str:
        recording = randomness.choice(recordings)
        kind = randomness.choice(sorted({answer[:2] for answer in recording.answers}))
        first = randomness.randrange(sum(answer[:2] == kind for answer in recording.answers))
        goes_on = randomness.random() < 0.2
        numbers = itertools.count()

        def hurt(answer: Answer) -> bytes:
            number = next(numbers) if answer[:2] == kind else -1
            return mutated(randomness, answer.body) if number == first or (first < number and goes_on) else answer.body

        cluster = ReplayedCluster(recording, hurt)
        try:
            await cluster.metadata([TOPIC])
            await SCENARIOS[recording.scenario](cluster)
        except KafkaError as error:
            return f"{kind[0]} {_checked(error)}"
        except TornBatchError:
            assert recording.scenario == "records"  # it is the caller's there
            return f"{kind[0]} TornBatchError"
        finally:
            cluster.close()
        return f"{kind[0]} a value"

    return run


def _checked(error: KafkaError) -> str:
    assert str(error).isprintable(), error
    return type(error).__name__
