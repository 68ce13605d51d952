"""`clusterlink mirror`: make and delete mirror topics, pause and resume them, and look at them."""

import argparse
import sys
from typing import Any

import grpc

from clusterlink_engine.cli.asking import (
    CALL_SECONDS,
    add_properties,
    add_question,
    is_confirmed,
    mirrors,
    properties,
    verb,
)
from clusterlink_engine.cli.printing import is_for_scripts, name_of, number, show, table
from clusterlink_proto import v1

EXIT_FAILURE = 1

# In these a mirror topic that is deleted takes its topic along, which nobody may see yet.
_UNFINISHED = (v1.MIRROR_TOPIC_STATE_CREATING, v1.MIRROR_TOPIC_STATE_SEEDING)


def add(mirror: Any) -> None:
    """Adds the commands."""
    _add_link(verb(mirror, "list", "all mirror topics", _list))
    for name, text, run in (
        ("describe", "one mirror topic, with its partitions", _describe),
        ("pause", "stop a mirror topic", _pause),
        ("resume", "let a paused mirror topic go on", _resume),
    ):
        add_name(verb(mirror, name, text, run))
    create = verb(mirror, "create", "mirror a topic of a link's remote cluster", _create)
    create.add_argument("name", metavar="TOPIC", help="the source topic; the mirror topic if --source-topic is given")
    create.add_argument("--link", required=True, metavar="LINK", help="the link to mirror on")
    create.add_argument("--source-topic", metavar="TOPIC", help="where it has another name, by the link's prefix")
    create.add_argument("--replication-factor", type=int, default=0, metavar="N", help="default: the cluster's")
    add_properties(create, "settings that the link does not sync")
    create.add_argument("--dry-run", action="store_true", help="only check")
    rebuild = verb(mirror, "rebuild", "mirror a topic that has FAILED anew; asks before its data is deleted", _rebuild)
    add_name(rebuild)
    add_question(rebuild)
    delete = verb(mirror, "delete", "forget a mirror topic: the topic and its data stay, if it is finished", _delete)
    add_name(delete)
    delete.add_argument("--delete-topic", action="store_true", help="delete the topic and its data too; asks before")
    add_question(delete)


def add_name(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that name a mirror topic."""
    parser.add_argument("name", metavar="MIRROR_TOPIC")
    _add_link(parser)


def _add_link(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--link", default="", metavar="LINK", help="only of this link")


def get(channel: grpc.Channel, options: argparse.Namespace) -> v1.MirrorTopic:
    """Reads the mirror topic that the arguments name, with its partitions."""
    request = v1.GetMirrorTopicRequest(name=options.name, link=options.link)
    answer: v1.MirrorTopic = mirrors(channel).GetMirrorTopic(request, timeout=CALL_SECONDS)
    return answer


def show_mirror(options: argparse.Namespace, mirror: v1.MirrorTopic) -> int:
    """Prints a mirror topic, with its partitions if it has them; answers the exit code 0."""
    rows = [
        ("name", mirror.name),
        ("link", mirror.link),
        ("source topic", mirror.source_topic),
        ("direction", direction(mirror)),
        # One that was only checked has none.
        ("state", name_of(v1.MirrorTopicState, mirror.state) if mirror.state else ""),
        ("why", _why(mirror)),
    ]
    show(options, mirror, None, [row for row in rows if row[1]])
    if mirror.partitions and not is_for_scripts(options):
        print()
        header = ("PARTITION", "STATE", "LOG START", "LOG END", "SOURCE", "LAG", "WHY")
        numbers = [
            (
                str(partition.partition),
                partition.state,
                number(partition.log_start_offset),
                number(partition.log_end_offset),
                number(partition.source_high_watermark),
                number(partition.lag),
                partition.error_message,
            )
            for partition in mirror.partitions
        ]
        table([header, *numbers])
    return 0


def direction(mirror: v1.MirrorTopic) -> str:
    """Answers which topic is the mirror."""
    return name_of(v1.MirrorDirection, mirror.direction or v1.MIRROR_DIRECTION_REMOTE_TO_LOCAL)


def _list(channel: grpc.Channel, options: argparse.Namespace) -> int:
    request = v1.ListMirrorTopicsRequest(link=options.link)
    answer: v1.ListMirrorTopicsResponse = mirrors(channel).ListMirrorTopics(request, timeout=CALL_SECONDS)
    rows = [
        (
            mirror.name,
            mirror.link,
            mirror.source_topic,
            direction(mirror),
            name_of(v1.MirrorTopicState, mirror.state),
            _why(mirror),
        )
        for mirror in answer.mirror_topics
    ]
    return show(options, answer, ("NAME", "LINK", "SOURCE TOPIC", "DIRECTION", "STATE", "WHY"), rows)


def _describe(channel: grpc.Channel, options: argparse.Namespace) -> int:
    return show_mirror(options, get(channel, options))


def _create(channel: grpc.Channel, options: argparse.Namespace) -> int:
    mirror = v1.MirrorTopic(
        link=options.link,
        source_topic=options.source_topic or options.name,
        name=options.name if options.source_topic else "",
        replication_factor=options.replication_factor,
        config=properties(options.config),
    )
    request = v1.CreateMirrorTopicRequest(mirror_topic=mirror, validate_only=options.dry_run)
    return show_mirror(options, mirrors(channel).CreateMirrorTopic(request, timeout=CALL_SECONDS))


def _delete(channel: grpc.Channel, options: argparse.Namespace) -> int:
    disposal = v1.TOPIC_DISPOSAL_DELETE_TOPIC if options.delete_topic else v1.TOPIC_DISPOSAL_KEEP_TOPIC
    mirror = get(channel, options)
    is_unfinished = mirror.state in _UNFINISHED
    if options.delete_topic or is_unfinished:
        state = name_of(v1.MirrorTopicState, mirror.state)
        why = f": it is {state} and not what its source is" if is_unfinished else ""
        if not is_confirmed(options, f"{_topic_of(mirror)} is deleted with its data{why}."):
            return EXIT_FAILURE
    request = v1.DeleteMirrorTopicRequest(name=options.name, link=options.link, topic_disposal=disposal)
    answer: v1.DeleteMirrorTopicResponse = mirrors(channel).DeleteMirrorTopic(request, timeout=CALL_SECONDS)
    return show(options, answer, None, [(f"The mirror topic {options.name} is forgotten.",)])


def _rebuild(channel: grpc.Channel, options: argparse.Namespace) -> int:
    mirror = get(channel, options)
    if mirror.state == v1.MIRROR_TOPIC_STATE_FAILED:
        if not is_confirmed(
            options, f"{_topic_of(mirror)} is deleted with its data, and mirrored anew from the start."
        ):
            return EXIT_FAILURE
    else:
        print(f"{mirror.name} has not failed: nothing is changed.", file=sys.stderr)
    request = v1.RebuildMirrorTopicRequest(name=options.name, link=options.link)
    return show_mirror(options, mirrors(channel).RebuildMirrorTopic(request, timeout=CALL_SECONDS))


def _topic_of(mirror: v1.MirrorTopic) -> str:
    where = "remote" if mirror.direction == v1.MIRROR_DIRECTION_LOCAL_TO_REMOTE else "local"
    return f"The topic of {mirror.name} on the {where} cluster"


def _pause(channel: grpc.Channel, options: argparse.Namespace) -> int:
    request = v1.PauseMirrorTopicRequest(name=options.name, link=options.link)
    return show_mirror(options, mirrors(channel).PauseMirrorTopic(request, timeout=CALL_SECONDS))


def _resume(channel: grpc.Channel, options: argparse.Namespace) -> int:
    request = v1.ResumeMirrorTopicRequest(name=options.name, link=options.link)
    return show_mirror(options, mirrors(channel).ResumeMirrorTopic(request, timeout=CALL_SECONDS))


def _why(mirror: v1.MirrorTopic) -> str:
    return f"{mirror.error}: {mirror.error_message}" if mirror.error else mirror.state_detail
