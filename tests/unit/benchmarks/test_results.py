"""Tables, ratios, the page and the plot."""

from pathlib import Path
from xml.etree import ElementTree as Xml

from benchmarks import page, plot, results
from benchmarks.pair import Unfinished
from benchmarks.results import CLIENT_LOOP, ENGINE, FETCH_ONLY, MM2_DEFAULT, MM2_TUNED, PRODUCE_ONLY, Result
from benchmarks.running import rounds

_DOCS = Path(__file__).parents[3] / "docs"


def _result() -> Result:
    result = Result("w1", "W1", "today")
    for rate in (100, 300, 200):
        result.add(ENGINE, {"mb_s": rate, "copier_cpu_gb": 1.5})
    result.add(FETCH_ONLY, {"mb_s": 800, "copier_cpu_gb": 0.5})
    result.add(PRODUCE_ONLY, {"mb_s": 400, "copier_cpu_gb": 0.7})
    result.add(MM2_TUNED, {"mb_s": 80, "copier_cpu_gb": 15})
    result.add(MM2_DEFAULT, {"mb_s": 40, "copier_cpu_gb": 30})
    return result


def test_a_table_has_medians_and_ranges_and_ratios_to_each_base() -> None:
    lines = _result().tables()
    assert "| engine | 200 [100-300] | 1.50 [1.50-1.50] |" in lines
    assert "| engine, MB/s | 5.00 | 2.50 | 0.50 |" in lines  # the limit of the throughput is the slower one
    assert "| engine, copier CPU-s/GB | 0.05 | 0.10 | 1.25 |" in lines  # that of the processor time is the sum
    assert "| MirrorMaker 2, tuned, MB/s | 2.00 |  | 0.20 |" in lines


def test_rows_are_compared_within_their_group() -> None:
    result = Result("w4", "W4", "today")
    for group, base in (("10 commits/s", 10.0), ("1,000 commits/s", 100.0)):
        result.add(f"{group}: {MM2_DEFAULT}", {"p50_ms": base})
        result.add(f"{group}: {ENGINE}", {"p50_ms": 5})
    assert "| 10 commits/s: engine, p50 ms | 0.50 |  |  |" in result.tables()
    assert "| 1,000 commits/s: engine, p50 ms | 0.05 |  |  |" in result.tables()


def test_a_base_that_was_not_measured_leaves_its_ratios_out() -> None:
    result = Result("w3", "W3", "today")
    result.add(ENGINE, {"records_s": 5.0})
    assert len(result.tables()) == 3


def test_what_does_not_finish_is_noted_and_not_run_again() -> None:
    calls: list[str] = []

    def works() -> dict[str, dict[str, float]]:
        calls.append("works")
        return {"works": {"mb_s": 1.0}}

    def hangs() -> dict[str, dict[str, float]]:
        calls.append("hangs")
        raise Unfinished("7 of 9 records after 300 s")

    result = Result("w1", "W1", "today")
    rounds(result, 3, {"hangs": hangs, "works": works}, warm_up=("works",))
    assert calls == ["works", "hangs", "works", "works", "works"]
    assert result.runs == {"works": {"mb_s": [1.0, 1.0, 1.0]}}
    assert len(result.failures) == 1
    assert "7 of 9 records" in "\n".join(result.tables())


def test_the_order_of_the_jobs_alternates() -> None:
    calls: list[str] = []

    def job(name: str) -> dict[str, dict[str, float]]:
        calls.append(name)
        return {}

    rounds(Result("w1", "W1", "today"), 2, {"a": lambda: job("a"), "b": lambda: job("b")})
    assert calls == ["a", "b", "b", "a"]


def test_results_are_kept_as_they_are(tmp_path: Path) -> None:
    results.save({"w1": _result()}, tmp_path / "results.json")
    assert results.load(tmp_path / "results.json") == {"w1": _result()}


def test_a_stored_result_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "benchmarks.md").write_text("before\n<!-- results of w1 -->\nold\n<!-- end -->\nafter\n")
    page.store(Result("w1", "W1", "yesterday"), tmp_path)
    page.store(_result(), tmp_path)
    text = (tmp_path / "benchmarks.md").read_text()
    assert text.startswith("before\n<!-- results of w1 -->\ntoday\n")
    assert text.endswith("\n<!-- end -->\nafter\n")
    assert "yesterday" not in text
    assert "old" not in text


def test_page_and_plot_are_made_of_the_results() -> None:
    known = results.load(_DOCS / "benchmarks.json")
    text = (_DOCS / "benchmarks.md").read_text()
    assert page.fill(text, known) == text
    assert (_DOCS / "benchmarks.svg").read_text() == plot.draw(known)


def test_the_plot_has_a_bar_for_each_copier() -> None:
    drawn = Xml.fromstring(plot.draw({"w1": _result()}))  # noqa: S314 - our own
    texts = [element.text for element in drawn.iter() if element.text and element.text.strip()]
    for expected in (ENGINE, MM2_TUNED, MM2_DEFAULT, "200", "80", "40"):
        assert expected in texts
    assert CLIENT_LOOP not in texts
