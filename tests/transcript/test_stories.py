"""The core of a partition, by stories; `pytest tests/transcript --rewrite-transcripts` writes their outcomes anew."""

from pathlib import Path

import pytest

from tests.transcript.story import play

STORIES = sorted((Path(__file__).parent / "stories").glob("*.txt"))


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_the_story_goes_as_it_is_written(path: Path, rewrite: bool) -> None:
    written = path.read_text(encoding="utf-8")
    told = play(written)
    if rewrite:
        path.write_text(told, encoding="utf-8")
    else:
        assert told.splitlines() == written.splitlines()


def test_there_are_stories() -> None:
    assert len(STORIES) >= 20


@pytest.mark.parametrize(
    ("told", "instead"),
    [("next 100", "next 101"), ("with sequence 100", "with sequence 101"), ("    copy", "    gap")],
)
def test_a_changed_outcome_is_a_difference(told: str, instead: str) -> None:
    written = (Path(__file__).parent / "stories" / "start_on_an_empty_log.txt").read_text(encoding="utf-8")
    changed = written.replace(told, instead, 1)
    assert changed != written
    assert play(changed) == play(written) == written
