"""A campaign: many cases in a process of its own, in which memory has a limit; each case can be run again alone.

.venv/bin/python -m tests.fuzz.campaign answers --seed 1 --cases 1000
.venv/bin/python -m tests.fuzz.campaign batches --seed 1 --case 17
"""

import argparse
import asyncio
import json
import random
import resource
import subprocess
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import NamedTuple

warnings.filterwarnings("ignore", category=DeprecationWarning)  # kafka-python, on Python 3.11 and 3.12

# Of the process, Python and the libraries included.
_MOST_ADDRESS_SPACE = 2 << 30
MOST_RESIDENT = 600 << 20
# Of one case.
_MOST_SECONDS = 10.0
_MOST_FAILURES = 20

# Does a case and answers what came of it; raises what must not come of any.
Case = Callable[[random.Random], Awaitable[str]]


class Outcome(NamedTuple):
    """What came of a campaign."""

    cases: int
    seconds: float
    resident: int
    slowest: float
    outcomes: dict[str, int]
    failures: list[str]


def run(kind: str, seed: int, cases: int, *, timeout: float = 3600.0) -> Outcome:
    """Runs a campaign in a process of its own."""
    command = [sys.executable, "-m", "tests.fuzz.campaign", kind, "--seed", str(seed), "--cases", str(cases)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr[-4000:]}"
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


async def _run(kind: str, seed: int, cases: range) -> Outcome:
    case = _case_of(kind)
    outcomes: Counter[str] = Counter()
    failures: list[str] = []
    began, slowest = time.monotonic(), 0.0
    for number in cases:
        at = time.monotonic()
        try:
            outcomes[await asyncio.wait_for(case(random.Random(f"{seed}-{number}")), _MOST_SECONDS)] += 1
        except Exception:
            again = f"python -m tests.fuzz.campaign {kind} --seed {seed} --case {number}"
            failures.append(f"seed {seed}, case {number}; again by: {again}\n{traceback.format_exc()}")
            if len(failures) >= _MOST_FAILURES:
                break
        slowest = max(slowest, time.monotonic() - at)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Outcome(len(cases), time.monotonic() - began, resident, slowest, dict(outcomes), failures)


def _case_of(kind: str) -> Case:
    if kind == "answers":
        from tests.fuzz import answers

        return answers.case()
    from tests.fuzz import batches

    return batches.case()


def main() -> None:
    """Runs a campaign, or one case of it, and prints what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["answers", "batches"])
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--case", type=int)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_ADDRESS_SPACE, _MOST_ADDRESS_SPACE))
    cases = range(options.cases) if options.case is None else range(options.case, options.case + 1)
    outcome = asyncio.run(_run(options.kind, options.seed, cases))
    print("\n".join(outcome.failures), file=sys.stderr)
    print(json.dumps(outcome._asdict()))


if __name__ == "__main__":
    main()
