"""Each benchmark case does what it says, with sizes that measure nothing."""

from pathlib import Path

import pytest

from benchmarks.__main__ import CASES
from benchmarks.copiers import mirror_maker
from benchmarks.pair import Pair, wait
from benchmarks.results import (
    CLIENT_LOOP,
    DIRECT,
    ENGINE,
    ENGINE_IN_PYTHON,
    FETCH_ONLY,
    MM2_DEFAULT,
    MM2_TUNED,
    PRODUCE_ONLY,
)
from benchmarks.running import Options
from clusterlink_engine.devkit.kafka import KafkaCluster

_TINY = Options(
    runs=1,
    gigabytes=0.004,
    records=2_000,
    seconds=3,
    rates=(10,),
    partitions=(20,),
    groups=5,
    topics=5,
    plans=(1,),
    mirror_maker=False,
)

_ALL = [ENGINE, CLIENT_LOOP, MM2_TUNED, MM2_DEFAULT]
_NO_LOOP = [ENGINE, MM2_TUNED, MM2_DEFAULT]

_ROWS = {
    "w1": [FETCH_ONLY, PRODUCE_ONLY, *_ALL],
    "w2": [FETCH_ONLY, PRODUCE_ONLY, *_ALL],
    "w3": [FETCH_ONLY, PRODUCE_ONLY, *_ALL, ENGINE_IN_PYTHON],
    "w4": [f"10 commits/s: {row}" for row in (DIRECT, *_NO_LOOP)],
    "w5": [DIRECT, *_ALL],
    "w6": [f"20 {when}: {row}" for row in _NO_LOOP for when in ("idle", "at work")],
    "w7": _ALL,
}


@pytest.mark.kafka
def test_a_backlog_is_measured_beside_the_limits() -> None:
    result = CASES["w1"](_TINY)
    assert list(result.runs) == [FETCH_ONLY, PRODUCE_ONLY, ENGINE, CLIENT_LOOP]
    assert not result.failures
    for row, columns in result.runs.items():
        # So little may take less processor time than the system counts.
        assert columns["mb_s"][0] > 0, row
        assert columns["copier_cpu_gb"][0] >= 0, row


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.parametrize("case", _ROWS)
def test_a_case_measures_all_copiers(case: str) -> None:
    result = CASES[case](Options(**{**_TINY.__dict__, "mirror_maker": True}))
    assert list(result.runs) == _ROWS[case]
    assert not result.failures


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.parametrize("case", ["w8", "gaps", "syncs", "provider"])
def test_a_case_of_the_engine_runs(case: str) -> None:
    result = CASES[case](_TINY)
    assert result.runs
    assert not result.failures
    assert all(columns for columns in result.runs.values())


@pytest.mark.slow
def test_the_tuning_reaches_the_consumer_and_the_producer(
    source_cluster: KafkaCluster, destination_cluster: KafkaCluster, topic_name: str, tmp_path: Path
) -> None:
    clusters = Pair(source_cluster, destination_cluster, tmp_path)
    clusters.create(source_cluster, {topic_name: 1})
    directory = clusters.new_directory()
    with mirror_maker.mirror_maker(mirror_maker.TUNED)(clusters.places, {topic_name: 1}, directory):
        log = directory / mirror_maker.LOG
        wait(lambda: clusters.ends(destination_cluster, {topic_name: 1}) is not None, "the topic is mirrored", 120)
        for prefixed, value in mirror_maker.TUNED.items():
            setting = prefixed.partition(".")[2]
            line = f"\t{setting} = {str(value).lower()}\n"
            if not prefixed.startswith("tasks"):
                wait(lambda line=line: line in log.read_text(), f"MirrorMaker has{line}", 60)  # type: ignore[misc]
