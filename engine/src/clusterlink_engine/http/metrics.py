"""The metrics of what this process does."""

import time
from collections.abc import Iterable, Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from clusterlink_engine.control.plane import Plane
from clusterlink_engine.control.runtime import LinkRuntime, Local
from clusterlink_engine.control.states import StateWatch
from clusterlink_engine.control.view import View
from clusterlink_engine.model.states import MirrorTopicState
from clusterlink_engine.wire.cutting import cut_compiled

_PARTITION = ("link", "topic", "partition")


def describe(plane: Plane, local: Local, states: StateWatch | None) -> Iterator[Metric]:
    """Answers all metrics of a process.

    Args:
        plane: Of the process.
        local: The local cluster, as all links share it.
        states: Of all mirror topics, if this process leads.
    """
    view = plane.view
    leads = GaugeMetricFamily("clusterlink_leads", "1 in the one process that leads the others.")
    leads.add_metric([], int(plane.leads))
    yield leads
    code = GaugeMetricFamily(
        "clusterlink_record_code_compiled", "1 if compiled code cuts what is fetched, 0 if Python does."
    )
    code.add_metric([], int(local.cutter is cut_compiled))
    yield code
    up = GaugeMetricFamily("clusterlink_link_up", "Whether the remote cluster of a link can be used.", labels=["link"])
    for link in view.links:
        runtime = plane.find(link)
        up.add_metric([link], int(runtime is not None and runtime.error is None))
    yield up
    yield from _rates(
        [runtime for link in view.links if (runtime := plane.find(link)) is not None], local.destination.paused_seconds
    )
    if states is not None:
        yield _topics(view, states)
    if plane.leads:
        yield from _tasks([runtime for link in view.links if (runtime := plane.find(link)) is not None])
    yield from _partitions(plane, view)


def _rates(runtimes: Iterable[LinkRuntime], local_paused: float) -> Iterator[Metric]:
    labels = ["link"]
    fetched = CounterMetricFamily(
        "clusterlink_link_fetched_bytes", "Bytes of records that this process has read for a link.", labels=labels
    )
    limit = GaugeMetricFamily(
        "clusterlink_link_limit_bytes_per_second",
        "This process's part of a link's limit, by its partitions; 0 for none.",
        labels=labels,
    )
    limited = CounterMetricFamily(
        "clusterlink_link_limited_seconds",
        "For how long reading was held up by the limits of the link and the engine, each source broker counted.",
        labels=labels,
    )
    paused = CounterMetricFamily(
        "clusterlink_link_throttled_seconds",
        "For how long brokers of the cluster that is read wanted to be left alone by their quotas.",
        labels=labels,
    )
    written = CounterMetricFamily(
        "clusterlink_write_throttled_seconds",
        "For how long brokers of the cluster that is written to wanted to be left alone, each connection counted.",
        labels=["cluster"],
    )
    written.add_metric(["local"], local_paused)
    written.add_metric(["remote"], sum(runtime.written_paused_seconds for runtime in runtimes))
    for runtime in runtimes:
        throttle = runtime.throttle
        fetched.add_metric([runtime.name], throttle.fetched_bytes)
        limit.add_metric([runtime.name], throttle.limit.rate)
        limited.add_metric([runtime.name], throttle.waited_seconds)
        paused.add_metric([runtime.name], throttle.paused_seconds)
    yield from (fetched, limit, limited, paused, written)


def _topics(view: View, states: StateWatch) -> Metric:
    """Tells of every state, so that one that nothing is in is 0 and not absent."""
    topics = GaugeMetricFamily("clusterlink_mirror_topics", "Mirror topics by state.", labels=["link", "state"])
    counts = states.counts()
    for link in view.links:
        for state in MirrorTopicState:
            topics.add_metric([link, state], counts[link, state])
    return topics


def _tasks(runtimes: Iterable[LinkRuntime]) -> Iterator[Metric]:
    labels = ("link", "task")
    errors = GaugeMetricFamily(
        "clusterlink_task_errors", "What the last round of a link's task could not do.", labels=labels
    )
    rounds = CounterMetricFamily("clusterlink_task_rounds", "Rounds of a link's task, since it began.", labels=labels)
    seconds = GaugeMetricFamily(
        "clusterlink_task_round_seconds", "How long the last round of a link's task took.", labels=labels
    )
    mended = CounterMetricFamily(
        "clusterlink_mirror_settings_mended",
        "Settings that somebody had changed on mirror topics, and that were set again.",
        labels=["link"],
    )
    for runtime in runtimes:
        for name, tasks in runtime.syncs.items():
            errors.add_metric([runtime.name, name], sum(len(task.errors) for task in tasks))
            rounds.add_metric([runtime.name, name], sum(task.rounds for task in tasks))
            seconds.add_metric([runtime.name, name], max(task.seconds for task in tasks))
        mended.add_metric([runtime.name], sum(way.config_sync.mended for way in runtime.ways))
    yield from (errors, rounds, seconds, mended)


def _partitions(plane: Plane, view: View) -> Iterator[Metric]:
    lag = GaugeMetricFamily(
        "clusterlink_mirror_lag_offsets", "Offsets that the source has and the mirror has not.", labels=_PARTITION
    )
    behind = GaugeMetricFamily(
        "clusterlink_mirror_lag_seconds",
        "For how long the source has had what the mirror has not, as far as this process has seen.",
        labels=_PARTITION,
    )
    end = GaugeMetricFamily(
        "clusterlink_mirror_log_end_offset", "One past the mirror's last offset.", labels=_PARTITION
    )
    held = GaugeMetricFamily(
        "clusterlink_mirror_held_by_open_transaction",
        "1 while an open transaction at the source is all that the mirror waits for.",
        labels=_PARTITION,
    )
    failed = GaugeMetricFamily(
        "clusterlink_mirror_failed", "1 for a partition that stopped for good.", labels=_PARTITION
    )
    filled = CounterMetricFamily(
        "clusterlink_mirror_offsets_filled",
        "Offsets filled because nobody may see anything there, since this process copies the partition.",
        labels=_PARTITION,
    )
    lost = CounterMetricFamily(
        "clusterlink_mirror_offsets_lost",
        "Offsets that the source deleted before they were mirrored.",
        labels=_PARTITION,
    )
    statuses = plane.statuses()
    for topic, index in plane.failed():  # from the state: whoever has the partition now may never have looked at it
        if (topic, index) not in statuses:
            failed.add_metric([view.mirrors[topic].link, topic, str(index)], 1)
    for (topic, index), status in statuses.items():
        mirror = view.mirrors.get(topic)
        if mirror is None:
            continue
        labels = [mirror.link, topic, str(index)]
        if status.log_end >= 0 and status.source_high_watermark >= 0:
            lag.add_metric(labels, max(status.source_high_watermark - status.log_end, 0))
            behind.add_metric(
                labels, max(time.time() - status.behind_since / 1000, 0.0) if status.behind_since else 0.0
            )
        end.add_metric(labels, status.log_end)
        held.add_metric(labels, int(status.is_held))
        failed.add_metric(labels, int(status.has_failed))
        filled.add_metric(labels, status.offsets_filled)
        lost.add_metric(labels, view.progress(topic, mirror.topic_id, index).lost_offsets)
    yield from (lag, behind, end, held, failed, filled, lost)
