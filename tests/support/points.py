"""The points at which an engine is made to die: all of them in `make test-all`, some in the default run."""

from collections.abc import Sequence

import pytest
from _pytest.mark.structures import ParameterSet


def in_part(points: Sequence[str], *default: str) -> list[ParameterSet]:
    """Answers all points as parameters; those that are not named as the default ones are slow."""
    assert set(default) <= set(points), f"no such points: {set(default) - set(points)}"
    return [pytest.param(point, marks=[] if point in default else [pytest.mark.slow]) for point in points]


def around(*steps: str) -> list[str]:
    """Answers the points before and after the first time of each step; a step may be written with another number."""
    numbered = [step if ":" in step else f"{step}:1" for step in steps]
    return [f"{step}:{when}" for step in numbered for when in ("before", "after")]
