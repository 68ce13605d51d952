"""Metrics in Prometheus' text format, of what this process does: scrape every process, and add up."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import TimeoutError as OverdueError

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from clusterlink_engine.control.plane import Plane
from clusterlink_engine.control.runtime import LinkRuntime
from clusterlink_engine.control.view import View
from clusterlink_engine.errors import InvalidArgumentError
from clusterlink_engine.settings import parse_address

_ANSWER_SECONDS = 5.0
_PARTITION = ("link", "topic", "partition")


class Metrics:
    """The listener; requests are answered by threads of their own, from a snapshot that the event loop makes."""

    def __init__(self, listen: str, plane: Plane) -> None:
        """Prepares.

        Args:
            listen: `host:port`.
            plane: What is described.
        """
        self.address = ""
        self._listen = listen
        self._registry = CollectorRegistry()
        self._registry.register(_OnLoop(asyncio.get_running_loop(), lambda: list(describe(plane))))
        self._close: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begins to answer at /metrics.

        Raises:
            InvalidArgumentError: The address cannot be listened on.
        """
        host, port = parse_address(self._listen)
        try:
            server, thread = start_http_server(port, host, self._registry)
        except OSError as error:
            raise InvalidArgumentError(f"http.listen: {self._listen} cannot be listened on; is it in use?") from error

        def close() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        self._close = close
        self.address = f"{host}:{server.server_port}"

    async def stop(self) -> None:
        """Stops answering."""
        await asyncio.get_running_loop().run_in_executor(None, self._close)


class _OnLoop(Collector):
    """Collects on the event loop, whose objects no other thread may look at."""

    def __init__(self, loop: asyncio.AbstractEventLoop, collect: Callable[[], Iterable[Metric]]) -> None:
        self._loop = loop
        self._collect = collect

    def describe(self) -> Iterable[Metric]:
        """Answers nothing: what there is is found out by asking."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Answers the metrics now.

        Raises:
            TimeoutError: The event loop does not come to it.
        """

        async def ask() -> Iterable[Metric]:
            return self._collect()

        try:
            return asyncio.run_coroutine_threadsafe(ask(), self._loop).result(_ANSWER_SECONDS)
        except OverdueError as error:
            raise TimeoutError(f"the engine has not answered for {_ANSWER_SECONDS:g} s") from error


def describe(plane: Plane) -> Iterator[Metric]:
    """Answers all metrics of a process."""
    view = plane.view
    leads = GaugeMetricFamily("clusterlink_leads", "1 in the one process that leads the others.")
    leads.add_metric([], int(plane.leads))
    yield leads
    up = GaugeMetricFamily("clusterlink_link_up", "Whether the remote cluster of a link can be used.", labels=["link"])
    for link in view.links:
        runtime = plane.find(link)
        up.add_metric([link], int(runtime is not None and runtime.error is None))
    yield up
    if plane.leads:
        yield from _tasks([runtime for link in view.links if (runtime := plane.find(link)) is not None])
    yield from _partitions(plane, view)


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
    for (topic, index), status in plane.statuses().items():
        mirror = view.mirrors.get(topic)
        if mirror is None:
            continue
        labels = [mirror.link, topic, str(index)]
        if status.log_end >= 0 and status.source_high_watermark >= 0:
            lag.add_metric(labels, max(status.source_high_watermark - status.log_end, 0))
        end.add_metric(labels, status.log_end)
        held.add_metric(labels, int(status.is_held))
        failed.add_metric(labels, int(status.has_failed))
        filled.add_metric(labels, status.offsets_filled)
        lost.add_metric(labels, view.progress(topic, mirror.topic_id, index).lost_offsets)
    yield from (lag, end, held, failed, filled, lost)
