"""`clusterlink mirror`: promote, fail over and go back. Each begins something in the engine and waits until it is done."""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import grpc

from clusterlink_engine.cli.asking import CALL_SECONDS, add_question, is_confirmed, mirrors, verb
from clusterlink_engine.cli.mirror_commands import EXIT_FAILURE, add_name, get, show_mirror
from clusterlink_engine.cli.printing import complain, show, table
from clusterlink_engine.printable import printable
from clusterlink_proto import v1

_LOOK_SECONDS = 0.5
_REVERSING = (v1.MIRROR_TOPIC_STATE_PENDING_SYNCHRONIZE, v1.MIRROR_TOPIC_STATE_PENDING_MIRROR)
# A restore may have others in between: a cluster that is away for a moment.
_RESTORED = (
    *(v1.MIRROR_TOPIC_STATE_ACTIVE, v1.MIRROR_TOPIC_STATE_PAUSED),
    *(v1.MIRROR_TOPIC_STATE_FAILED, v1.MIRROR_TOPIC_STATE_LINK_FAILED),
)
_TRUNCATION = ("PARTITION", "TRUNCATED TO", "DISCARDED")

Step = Callable[[v1.MirrorTopic], bool]


def add(mirror: Any) -> None:
    """Adds the commands."""
    promote = verb(mirror, "promote", "make it a topic like any other once it has everything its source has", _promote)
    failover = verb(mirror, "failover", "make it a topic like any other with what it has", _failover)
    turn = "make the source topic a mirror of what was its mirror, once both are equal"
    reverse = verb(mirror, "reverse-and-start", turn, _reverse)
    reverse_and_pause = verb(mirror, "reverse-and-pause", f"{turn}, and begin paused", _reverse)
    restore = verb(
        mirror,
        "truncate-and-restore",
        "make the topic that was the source of a stopped mirror topic a mirror of it: what it has alone is discarded",
        _truncate_and_restore,
    )
    for parser in (promote, failover, reverse, reverse_and_pause, restore):
        add_name(parser)
        parser.add_argument("--dry-run", action="store_true", help="only check, and show what is missing or discarded")
        parser.add_argument("--no-wait", action="store_true", help="return when it is begun")
    for parser in (promote, reverse, reverse_and_pause):
        parser.add_argument("--cancel", action="store_true", help="while it waits: let it be a mirror topic as before")
    reverse.set_defaults(paused=False)
    reverse_and_pause.set_defaults(paused=True)
    restore.add_argument(
        "--start-offset",
        default="earliest",
        metavar="OFFSET",
        help="where the topic made anew begins: earliest (default), latest, or an RFC 3339 time",
    )
    add_question(restore)


def _promote(channel: grpc.Channel, options: argparse.Namespace) -> int:
    if options.cancel:
        return _cancel(channel, options)
    request = v1.PromoteMirrorTopicRequest(name=options.name, link=options.link, validate_only=options.dry_run)
    return _stop(channel, options, mirrors(channel).PromoteMirrorTopic(request, timeout=CALL_SECONDS))


def _failover(channel: grpc.Channel, options: argparse.Namespace) -> int:
    request = v1.FailoverMirrorTopicRequest(name=options.name, link=options.link, validate_only=options.dry_run)
    return _stop(channel, options, mirrors(channel).FailoverMirrorTopic(request, timeout=CALL_SECONDS))


def _stop(channel: grpc.Channel, options: argparse.Namespace, begun: v1.MirrorTopic) -> int:
    if options.dry_run or options.no_wait:
        return show_mirror(options, begun)
    mirror = _wait(channel, options, lambda found: found.state != v1.MIRROR_TOPIC_STATE_STOPPED and bool(found.stop))
    if mirror.state != v1.MIRROR_TOPIC_STATE_STOPPED:
        return _cancelled(options)
    return show_mirror(options, mirror)


def _reverse(channel: grpc.Channel, options: argparse.Namespace) -> int:
    if options.cancel:
        return _cancel(channel, options)
    before = get(channel, options).direction
    request = v1.ReverseMirrorTopicRequest(
        name=options.name, link=options.link, paused=options.paused, validate_only=options.dry_run
    )
    begun: v1.MirrorTopic = mirrors(channel).ReverseMirrorTopic(request, timeout=CALL_SECONDS)
    if options.dry_run or options.no_wait:
        return show_mirror(options, begun)
    mirror = _wait(channel, options, lambda found: found.state in _REVERSING)
    if mirror.direction == before and mirror.state != v1.MIRROR_TOPIC_STATE_FAILED:
        return _cancelled(options)
    return _end(options, mirror)


def _truncate_and_restore(channel: grpc.Channel, options: argparse.Namespace) -> int:
    def ask(*, validate_only: bool) -> v1.TruncateAndRestoreMirrorTopicResponse:
        request = v1.TruncateAndRestoreMirrorTopicRequest(
            name=options.name, link=options.link, start_offset=options.start_offset, validate_only=validate_only
        )
        answer: v1.TruncateAndRestoreMirrorTopicResponse = mirrors(channel).TruncateAndRestoreMirrorTopic(
            request, timeout=CALL_SECONDS
        )
        return answer

    found = ask(validate_only=True)
    if options.dry_run:
        return show(options, found, _TRUNCATION, _truncations(found))
    is_reversed = found.mirror_topic.direction == v1.MIRROR_DIRECTION_LOCAL_TO_REMOTE
    table([_TRUNCATION, *_truncations(found)], sys.stderr)
    lost = (
        f"The topic of {options.name} on the {'local' if is_reversed else 'remote'} cluster is deleted and made anew as a "
        f"mirror. {found.messages_truncated} offsets that it has alone are discarded."
    )
    if not is_confirmed(options, lost):
        return EXIT_FAILURE
    begun = ask(validate_only=False)
    if options.no_wait:
        return show(options, begun, _TRUNCATION, _truncations(begun))
    return _end(options, _wait(channel, options, lambda mirror: mirror.state not in _RESTORED))


def _truncations(answer: v1.TruncateAndRestoreMirrorTopicResponse) -> list[tuple[str, str, str]]:
    return [
        (str(entry.partition), str(entry.offset_truncated_to), str(entry.messages_truncated))
        for entry in answer.partitions
    ]


def _cancel(channel: grpc.Channel, options: argparse.Namespace) -> int:
    request = v1.CancelPromoteMirrorTopicRequest(name=options.name, link=options.link)
    return show_mirror(options, mirrors(channel).CancelPromoteMirrorTopic(request, timeout=CALL_SECONDS))


def _wait(channel: grpc.Channel, options: argparse.Namespace, is_under_way: Step) -> v1.MirrorTopic:
    """Reads the mirror topic until it is not under way any more, saying what it waits for."""
    said = ""
    while is_under_way(mirror := get(channel, options)):
        if mirror.state_detail not in ("", said):
            said = mirror.state_detail
            print(f"waiting: {printable(said)}", file=sys.stderr)
        time.sleep(_LOOK_SECONDS)
    return mirror


def _cancelled(options: argparse.Namespace) -> int:
    complain(f"{options.name} is a mirror topic as before: somebody cancelled it.")
    return EXIT_FAILURE


def _end(options: argparse.Namespace, mirror: v1.MirrorTopic) -> int:
    show_mirror(options, mirror)
    return EXIT_FAILURE if mirror.error else 0
