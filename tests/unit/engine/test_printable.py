"""Text from outside, wherever it is shown: one line, without anything that a terminal or a page would obey."""

import io
import logging

import pytest

from clusterlink_engine.cli import printing
from clusterlink_engine.errors import ClusterUnavailableError, InvalidArgumentError, Side
from clusterlink_engine.model.resources import Link, RemoteCluster
from clusterlink_engine.observability.logging import _Formatter
from clusterlink_engine.printable import LONGEST, printable
from clusterlink_engine.sync.task import SyncTask, TaskError
from clusterlink_engine.wire.codes import refused

HOSTILE = "a\x1b[2J\r\nERROR fake\x00\x9b1m\u202egnp\u2028\ud800\x7f"


@pytest.mark.parametrize("text", ["", "plain", "Größe 漢字 ✓", 'quo"te \\ back'])
def test_what_is_printable_stays(text: str) -> None:
    assert printable(text) == text


def test_everything_else_is_escaped() -> None:
    found = printable(HOSTILE)
    assert found == r"a\x1b[2J\r\nERROR fake\x00\x9b1m\u202egnp\u2028\ud800\x7f"
    assert found.isprintable()


@pytest.mark.parametrize("text", ["x" * 100_000, "\x00" * 100_000, "\x00" * 999])
def test_the_length_is_bounded(text: str) -> None:
    found = printable(text)
    assert len(found) == LONGEST
    assert found.endswith("…")


def test_errors_logs_tables_and_tasks_say_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    shown = [
        str(refused(36, f"Creating {HOSTILE}", Side.REMOTE, HOSTILE)),
        str(ClusterUnavailableError(HOSTILE, side=Side.REMOTE)),
        str(InvalidArgumentError(HOSTILE)),
    ]
    record = logging.LogRecord("x", logging.INFO, "", 0, "of %s", (HOSTILE,), None)
    shown.append(_Formatter("%(message)s").format(record))
    table = io.StringIO()
    printing.table([("HEAD", "HEAD"), (HOSTILE, HOSTILE)], table)
    shown += table.getvalue().splitlines()
    printing.complain(HOSTILE)
    shown += capsys.readouterr().err.splitlines()
    assert len(shown) == 7
    assert all(line.isprintable() for line in shown)


async def test_the_errors_of_tasks_are_printable() -> None:
    class Failing(SyncTask):
        name = "Failing"
        is_enabled, interval_ms = True, 1

        async def work(self) -> list[TaskError]:
            return [TaskError("CODE", HOSTILE)]

    link = Link(
        name="link", link_id="1", producer_id=1, remote=RemoteCluster(bootstrap_servers=("h:1",), cluster_id="c")
    )
    task = Failing(lambda: link)
    task._take(await task.work())
    assert [error.message.isprintable() for error in task.errors] == [True]
