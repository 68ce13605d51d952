"""One flag: `--rewrite-transcripts` writes the outcomes into the stories instead of comparing them."""

import os

import pytest

_VARIABLE = "CLUSTERLINK_TEST_REWRITE_TRANSCRIPTS"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-transcripts",
        action="store_true",
        help=f"write what the core does now into tests/transcript/stories (also: {_VARIABLE}=1)",
    )


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    """Whether stories are written instead of compared; the option is known only if pytest was given this folder."""
    return bool(request.config.getoption("--rewrite-transcripts", default=False) or os.environ.get(_VARIABLE))
