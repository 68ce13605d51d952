"""The command `clusterlink verify`."""

import argparse
import asyncio
import secrets
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clusterlink_engine import settings
from clusterlink_engine.cli.printing import FORMS, complain, for_scripts, is_for_scripts
from clusterlink_engine.errors import ClusterlinkError
from clusterlink_engine.librdkafka import librdkafka_settings
from clusterlink_engine.model.resources import Direction, Link, MirrorTopic, Phase
from clusterlink_engine.printable import printable
from clusterlink_engine.store.state_topic import StateTopic
from clusterlink_engine.verify.comparing import Options, PartitionReport, compare
from clusterlink_engine.verify.reading import Topic, UnreadableError

EXIT_DIFFERENCE = 1
EXIT_BAD_SETTINGS = 2
EXIT_NOT_COMPARED = 3

_STATE_SECONDS = 30.0
_PROGRESS_SECONDS = 0.5


def add(commands: Any) -> None:
    """Adds the command to the parser's."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "verify",
        help="compare mirror topics with their sources",
        description=(
            "Compares the mirror topics of a link with their sources, offset by offset, with consumers of its own. Works "
            "whether an engine runs or not. Exit code 0: equal, 1: a difference, 2: wrong settings or arguments, 3: could "
            "not be compared."
        ),
    )
    parser.add_argument("link", metavar="LINK", help="name of the link")
    parser.add_argument(
        "topic", metavar="TOPIC", nargs="?", help="name of one mirror topic; all of the link if left out"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML, those of `clusterlink serve`")
    parser.add_argument(
        "--partition", type=int, action="append", metavar="N", help="only this partition; may be repeated"
    )
    parser.add_argument("--from", dest="first", type=int, default=0, metavar="OFFSET", help="offset to begin at")
    parser.add_argument("--to", dest="end", type=int, metavar="OFFSET", help="offset to stop before")
    parser.add_argument(
        "--sample", type=float, default=100.0, metavar="PERCENT", help="compare random ranges, so much of all in sum"
    )
    parser.add_argument("--seed", type=int, help="of the sample; printed, so that it can be repeated")
    parser.add_argument("--strict", action="store_true", help="compare compacted topics like all others")
    parser.add_argument(
        "--at-rest", action="store_true", help="a lag, or a log start that is behind, is a difference, too"
    )
    parser.add_argument(
        "--key-passes",
        type=int,
        default=1,
        metavar="N",
        help="read compacted topics N times for the last records of their keys, with about 200 bytes a key divided by N",
    )
    parser.add_argument("-o", "--output", choices=FORMS, default="table", help="form of the report")


def run(options: argparse.Namespace) -> int:
    """Runs the command; answers its exit code."""
    if not 0 < options.sample <= 100 or options.key_passes < 1 or options.key_passes > 256:
        complain("--sample is a percentage above 0, --key-passes is 1 to 256")
        return EXIT_BAD_SETTINGS
    try:
        loaded = settings.load(options.config)
    except settings.SettingsError as error:
        complain(str(error))
        return EXIT_BAD_SETTINGS
    seed = options.seed if options.seed is not None else secrets.randbelow(2**32)
    began = time.monotonic()
    try:
        link, mirrors = asyncio.run(_stored(loaded, options.link, options.topic))
        chosen = Options(
            first=options.first,
            end=options.end,
            sample=options.sample,
            seed=seed,
            strict=options.strict,
            at_rest=options.at_rest,
            key_passes=options.key_passes,
        )
        reports = {
            mirror.name: _compare_topic(loaded, link, mirror, chosen, set(options.partition or ()))
            for mirror in mirrors
        }
    except settings.SettingsError as error:  # the key of the state
        complain(str(error))
        return EXIT_BAD_SETTINGS
    except (ClusterlinkError, UnreadableError) as error:
        complain(str(error))
        return EXIT_NOT_COMPARED
    equal = not any(report.count for partitions in reports.values() for report in partitions)
    if is_for_scripts(options):
        for_scripts(options, _as_json(link, mirrors, reports, seed, equal, time.monotonic() - began))
    else:
        _print_table(mirrors, reports, seed if options.sample < 100 else None)
    return 0 if equal else EXIT_DIFFERENCE


async def _stored(loaded: settings.Settings, name: str, topic: str | None) -> tuple[Link, list[MirrorTopic]]:
    """Reads a link and its mirror topics from the state topic.

    Raises:
        SettingsError: The state's key is not the one that is needed, or none.
        StateError: The state cannot be read.
        UnreadableError: There is no such link or mirror topic, or it is still being seeded.
    """
    store = StateTopic(loaded.local_cluster, loaded.state, lambda _: None)
    try:
        records = await store.read(_STATE_SECONDS)
    finally:
        await store.close()
    link = records.get(f"link/{name}")
    if not isinstance(link, Link):
        raise UnreadableError(f'The state topic "{loaded.state.topic}" knows no link "{name}".')
    mirrors = [
        value
        for _, value in sorted(records.items())
        if isinstance(value, MirrorTopic) and value.link == name and topic in (None, value.name)
    ]
    if not mirrors:
        raise UnreadableError(
            f'The link "{name}" has no mirror topic "{topic}".' if topic else f'The link "{name}" has no mirror topics.'
        )
    for mirror in mirrors:
        if mirror.phase is Phase.STOPPED:
            raise UnreadableError(f'The topic "{mirror.name}" is no mirror any more: others may have written to it.')
        if mirror.phase not in (Phase.ACTIVE, Phase.PROMOTING):
            raise UnreadableError(
                f'The mirror topic "{mirror.name}" is {mirror.phase}: it may hold what is not the source\'s, and cannot be '
                "compared yet."
            )
    return link, mirrors


def _compare_topic(
    loaded: settings.Settings, link: Link, mirror: MirrorTopic, options: Options, wanted: set[int]
) -> list[PartitionReport]:
    local = loaded.local_cluster
    here = librdkafka_settings(local.bootstrap_servers, local)
    there = librdkafka_settings(link.remote.bootstrap_servers, link.remote.security)
    if mirror.direction is Direction.LOCAL_TO_REMOTE:
        here, there = there, here
    source, copy = Topic("source", mirror.source_topic, there), Topic("mirror", mirror.name, here)
    partitions = copy.partitions()
    missing = (wanted or set(partitions)) - set(source.partitions())
    if missing or wanted - set(partitions):
        raise UnreadableError(f'"{mirror.source_topic}" has no partition {min(missing or wanted - set(partitions))}.')
    compacted = copy.is_compacted()
    progress = _Progress(mirror.name)
    reports = [
        compare(
            source,
            copy,
            partition,
            mirror.first_offsets.get(partition, 0),
            own_until=mirror.own_until.get(partition, 0),
            compacted=compacted,
            options=options,
            progress=progress,
        )
        for partition in partitions
        if not wanted or partition in wanted
    ]
    progress.end()
    return reports


class _Progress:
    """A line on standard error, if that is a terminal."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._began = time.monotonic()
        self._told = 0.0
        self._records = 0

    def __call__(self, partition: int, records: int) -> None:
        self._records += records
        now = time.monotonic()
        if sys.stderr.isatty() and now - self._told > _PROGRESS_SECONDS:
            self._told = now
            rate = self._records / max(now - self._began, 0.001)
            print(
                f"\r{self._topic}-{partition}: {self._records:,} records, {rate:,.0f} a second ",
                end="",
                file=sys.stderr,
                flush=True,
            )

    def end(self) -> None:
        if self._told:
            print(file=sys.stderr)


def _as_json(
    link: Link,
    mirrors: list[MirrorTopic],
    reports: Mapping[str, list[PartitionReport]],
    seed: int,
    equal: bool,
    seconds: float,
) -> dict[str, object]:
    return {
        "equal": equal,
        "link": link.name,
        "seed": seed,
        "seconds": round(seconds, 3),
        "topics": [
            {
                "mirror_topic": mirror.name,
                "source_topic": mirror.source_topic,
                "partitions": [report.as_json() for report in reports[mirror.name]],
            }
            for mirror in mirrors
        ],
    }


def _print_table(mirrors: list[MirrorTopic], reports: Mapping[str, list[PartitionReport]], seed: int | None) -> None:
    widths = (40, 9, 21, 21, 10, 8, 11)
    heads = ("MIRROR TOPIC", "PARTITION", "SOURCE LOG", "MIRROR LOG", "COMPARED", "LAG", "DIFFERENCES")
    print("  ".join(head.ljust(width) for head, width in zip(heads, widths, strict=True)).rstrip())
    for mirror in mirrors:
        for report in reports[mirror.name]:
            source, copy = f"{report.source.start}..{report.source.end}", f"{report.mirror.start}..{report.mirror.end}"
            cells = (mirror.name, report.partition, source, copy, report.records, report.lag, report.count)
            print("  ".join(str(cell).ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
            for one in report.differences:
                where = f"offset {one.offset}" + (f", {one.isolation}" if one.isolation else "")
                print(f"    {where}: {one.kind}: source {printable(one.source)}; mirror {printable(one.mirror)}")
            if report.count > len(report.differences):
                print(f"    ... and {report.count - len(report.differences)} more")
    if seed is not None:
        print(f"A sample, with --seed {seed}.")
