"""What is answered over HTTP, and the metrics of several workers as one text."""

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncIterator

import pytest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from clusterlink_engine.errors import InvalidArgumentError
from clusterlink_engine.http.exposition import merge, render
from clusterlink_engine.http.listener import Listener


def _text(worker: int, lag: float) -> str:
    gauge = GaugeMetricFamily("lag", 'Behind # HELP "x"\nby so much.', labels=["topic"])
    gauge.add_metric(["a # HELP b"], lag)
    counter = CounterMetricFamily("done", "Done.")
    counter.add_metric([], 7)
    return render([gauge, counter], worker)


def test_workers_are_told_apart_by_a_label_and_each_metric_has_one_header() -> None:
    together = merge([_text(1, 5), _text(2, 6)])
    assert together.count("# TYPE ") == 2
    found = [
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(together)
        for sample in family.samples
    ]
    assert found == [
        ("lag", {"topic": "a # HELP b", "worker": "1"}, 5),
        ("lag", {"topic": "a # HELP b", "worker": "2"}, 6),
        ("done_total", {"worker": "1"}, 7),
        ("done_total", {"worker": "2"}, 7),
    ]


def test_one_process_alone_has_no_number() -> None:
    assert 'lag{topic="a # HELP b"} 5.0' in _text(0, 5)
    assert merge([_text(0, 5)]) == _text(0, 5)
    assert merge([]) == ""


class _Site:
    def __init__(self) -> None:
        self.ready = False
        self.listener = Listener("127.0.0.1:0", self._metrics, self._is_ready)

    async def _metrics(self) -> str:
        return "# nothing\n"

    async def _is_ready(self) -> bool:
        return self.ready

    async def get(self, path: str) -> tuple[int, str, str]:
        """Status, type and text."""

        def ask() -> tuple[int, str, str]:
            try:
                with urllib.request.urlopen(f"http://{self.listener.address}{path}", timeout=10) as answer:
                    return answer.status, answer.headers["Content-Type"], answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.headers["Content-Type"], error.read().decode()

        return await asyncio.to_thread(ask)


@pytest.fixture
async def site() -> AsyncIterator[_Site]:
    made = _Site()
    await made.listener.start()
    yield made
    await made.listener.stop()


async def test_what_is_there_is_answered(site: _Site) -> None:
    status, kind, text = await site.get("/metrics?name=x")
    assert (status, text) == (200, "# nothing\n")
    assert kind.startswith("text/plain; version=")
    assert await site.get("/healthz") == (200, "text/plain; charset=utf-8", "ok\n")
    assert (await site.get("/readyz"))[0] == 503
    site.ready = True
    assert (await site.get("/readyz"))[0] == 200
    assert (await site.get("/other"))[0] == 404


async def test_an_address_in_use_is_named(site: _Site) -> None:
    with pytest.raises(InvalidArgumentError, match=r"http\.listen: .* is it in use\?"):
        await Listener(site.listener.address, site._metrics, site._is_ready).start()
