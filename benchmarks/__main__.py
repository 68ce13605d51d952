"""The command: runs the cases that are named, prints their tables, and keeps them if asked to."""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import fields

from benchmarks import page
from benchmarks.cases.gaps import gaps
from benchmarks.cases.live import commits, latency, many
from benchmarks.cases.provider import provider
from benchmarks.cases.round_trip import far
from benchmarks.cases.syncs import syncs
from benchmarks.cases.throughput import compressed, large, tiny
from benchmarks.cases.tls import tls
from benchmarks.results import Result
from benchmarks.running import Options

CASES: dict[str, Callable[[Options], Result]] = {
    "w1": large,
    "w2": compressed,
    "w3": tiny,
    "w4": commits,
    "w5": latency,
    "w6": many,
    "w7": far,
    "w8": tls,
    "gaps": gaps,
    "syncs": syncs,
    "provider": provider,
}


def main() -> None:
    """Runs the command; ends with 1 if something was given up."""
    given_up = False
    options = _parse(sys.argv[1:])
    chosen = Options(**{field.name: getattr(options, field.name) for field in fields(Options)})
    for case in options.cases or [name for name in CASES if name.startswith("w")]:
        began = time.monotonic()
        print(f"{case}: {CASES[case].__doc__}", file=sys.stderr, flush=True)
        result = CASES[case](chosen)
        print("\n".join(["", f"## {result.title}", "", result.setup, "", *result.tables(), ""]), flush=True)
        print(f"{case} took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        if options.save:
            page.store(result)
        given_up |= bool(result.failures)
    sys.exit(int(given_up))


def _parse(arguments: list[str]) -> argparse.Namespace:
    described = [f"  {name:8}{(case.__doc__ or '').strip()}" for name, case in CASES.items()]
    parser = argparse.ArgumentParser(
        prog="make bench CASE=... ARGS=...",
        description="Measures the engine beside MirrorMaker 2, a loop of two clients, and the limits of the machine.\n\n"
        + "\n".join(described),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = Options()
    parser.add_argument("cases", nargs="*", metavar="CASE", help="which cases; all that begin with w if none is named")
    parser.add_argument("--kafka", default=default.kafka, help=f"version of Kafka ({default.kafka})")
    parser.add_argument("--runs", type=int, default=default.runs, help=f"of each ({default.runs})")
    parser.add_argument(
        "--gigabytes", type=float, default=default.gigabytes, help=f"of a backlog's values ({default.gigabytes})"
    )
    parser.add_argument("--records", type=int, default=default.records, help=f"of w3 ({default.records})")
    parser.add_argument(
        "--seconds", type=float, default=default.seconds, help=f"of writing, of w4, w5 and w6 ({default.seconds:.0f})"
    )
    parser.add_argument("--rates", type=_numbers, default=default.rates, help="commits per second of w4 (10,100,1000)")
    parser.add_argument("--partitions", type=_numbers, default=default.partitions, help="of w6 (1000,10000)")
    parser.add_argument("--groups", type=int, default=default.groups, help=f"of syncs ({default.groups})")
    parser.add_argument("--topics", type=int, default=default.topics, help=f"of syncs ({default.topics})")
    parser.add_argument("--plans", type=_numbers, default=default.plans, help="resources of provider (1,300,1000)")
    parser.add_argument("--no-mirror-maker", action="store_false", dest="mirror_maker", help="leave MirrorMaker 2 out")
    parser.add_argument("--save", action="store_true", help="put the results into docs/benchmarks.md")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.cases) - set(CASES))
    if unknown:
        parser.error(f"there is no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    return options


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    main()
