"""The commands that ask a running engine: `clusterlink link` and `clusterlink mirror`."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import grpc
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from clusterlink_proto import v1
from clusterlink_proto.rpc import Stub

EXIT_FAILURE = 1

_DEFAULT_ENDPOINT = "127.0.0.1:7171"
_CALL_SECONDS = 60.0
_LOOK_SECONDS = 0.5


def add(commands: Any) -> None:
    """Adds the commands to the parser's."""
    link = commands.add_parser("link", help="look at links, pause and resume them").add_subparsers(
        dest="verb", required=True, metavar="VERB"
    )
    _verb(link, "list", "all links", _list_links)
    for verb, text, run in (
        ("describe", "one link", _describe_link),
        ("pause", "stop all mirror topics of a link", _pause_link),
        ("resume", "let a paused link go on", _resume_link),
    ):
        _verb(link, verb, text, run).add_argument("name", metavar="LINK")
    task = link.add_parser("task", help="look at what a link keeps in step beside the records").add_subparsers(
        dest="task_verb", required=True, metavar="VERB"
    )
    _verb(task, "list", "the tasks of a link, with their errors", _list_tasks).add_argument("name", metavar="LINK")

    mirror = commands.add_parser(
        "mirror", help="look at mirror topics; pause, resume, promote, fail over"
    ).add_subparsers(dest="verb", required=True, metavar="VERB")
    _of_link(_verb(mirror, "list", "all mirror topics", _list_mirrors))
    for verb, text, run in (
        ("describe", "one mirror topic, with its partitions", _describe_mirror),
        ("pause", "stop a mirror topic", _pause_mirror),
        ("resume", "let a paused mirror topic go on", _resume_mirror),
    ):
        _named(_verb(mirror, verb, text, run))
    promote = _verb(mirror, "promote", "make it a topic like any other once it has everything its source has", _promote)
    failover = _verb(mirror, "failover", "make it a topic like any other with what it has", _failover)
    for parser in (promote, failover):
        _named(parser)
        parser.add_argument("--dry-run", action="store_true", help="only check, and show the lag")
        parser.add_argument("--no-wait", action="store_true", help="return when it is begun")
    promote.add_argument(
        "--cancel", action="store_true", help="let a mirror topic that waits for its promote be one as before"
    )


def run(options: argparse.Namespace) -> int:
    """Runs a command; answers the exit code. What the engine refuses is one line on standard error."""
    endpoint = options.engine or os.environ.get("CLUSTERLINK_ENDPOINT", _DEFAULT_ENDPOINT)
    with grpc.insecure_channel(endpoint, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            code: int = options.run(channel, options)
        except grpc.RpcError as error:
            status: Any = error
            if status.code() is grpc.StatusCode.UNAVAILABLE:
                print(f"clusterlink: the engine at {endpoint}: {status.details()}", file=sys.stderr)
            else:
                print(f"clusterlink: {status.details()}", file=sys.stderr)
            return EXIT_FAILURE
        except KeyboardInterrupt:
            print("clusterlink: not waited for; the engine goes on with it.", file=sys.stderr)
            return EXIT_FAILURE
        return code


Command = Callable[[grpc.Channel, argparse.Namespace], int]


def _verb(verbs: Any, name: str, text: str, function: Command) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument(
        "--engine", metavar="HOST:PORT", help=f"the engine ($CLUSTERLINK_ENDPOINT, {_DEFAULT_ENDPOINT})"
    )
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table", help="how to print")
    parser.set_defaults(run=function)
    return parser


def _of_link(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--link", default="", metavar="LINK", help="only of this link")


def _named(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="MIRROR_TOPIC")
    _of_link(parser)


def _links(channel: grpc.Channel) -> Any:
    return Stub(channel, v1.DESCRIPTOR, "LinkService")


def _mirrors(channel: grpc.Channel) -> Any:
    return Stub(channel, v1.DESCRIPTOR, "MirrorTopicService")


# Links.


def _list_links(channel: grpc.Channel, options: argparse.Namespace) -> int:
    answer: v1.ListLinksResponse = _links(channel).ListLinks(v1.ListLinksRequest(), timeout=_CALL_SECONDS)
    rows = [
        (link.name, _state(v1.LinkState, link.state), link.remote_cluster.cluster_id, str(link.mirror_topic_count))
        for link in answer.links
    ]
    return _print(options, answer, ("NAME", "STATE", "REMOTE CLUSTER", "MIRROR TOPICS"), rows)


def _describe_link(channel: grpc.Channel, options: argparse.Namespace) -> int:
    return _show_link(options, _links(channel).GetLink(v1.GetLinkRequest(name=options.name), timeout=_CALL_SECONDS))


def _pause_link(channel: grpc.Channel, options: argparse.Namespace) -> int:
    return _show_link(options, _links(channel).PauseLink(v1.PauseLinkRequest(name=options.name), timeout=_CALL_SECONDS))


def _resume_link(channel: grpc.Channel, options: argparse.Namespace) -> int:
    request = v1.ResumeLinkRequest(name=options.name)
    return _show_link(options, _links(channel).ResumeLink(request, timeout=_CALL_SECONDS))


def _list_tasks(channel: grpc.Channel, options: argparse.Namespace) -> int:
    link: v1.Link = _links(channel).GetLink(v1.GetLinkRequest(name=options.name), timeout=_CALL_SECONDS)
    rows = [
        (task.name, _state(v1.TaskState, task.state), error.code, error.message)
        for task in link.tasks
        for error in task.errors or [v1.TaskError()]
    ]
    return _print(options, v1.Link(tasks=link.tasks), ("TASK", "STATE", "ERROR", "WHY"), rows)


def _show_link(options: argparse.Namespace, link: v1.Link) -> int:
    rows = [
        ("name", link.name),
        ("state", _state(v1.LinkState, link.state)),
        ("error", f"{link.error}: {link.error_message}" if link.error else ""),
        ("remote cluster", f"{link.remote_cluster.cluster_id} at {', '.join(link.remote_cluster.bootstrap_servers)}"),
        ("topic prefix", link.topic_prefix),
        ("mirror topics", str(link.mirror_topic_count)),
        *((task.name, _state(v1.TaskState, task.state)) for task in link.tasks),
    ]
    return _print(options, link, None, [row for row in rows if row[1]])


# Mirror topics.


def _list_mirrors(channel: grpc.Channel, options: argparse.Namespace) -> int:
    request = v1.ListMirrorTopicsRequest(link=options.link)
    answer: v1.ListMirrorTopicsResponse = _mirrors(channel).ListMirrorTopics(request, timeout=_CALL_SECONDS)
    rows = [
        (mirror.name, mirror.link, mirror.source_topic, _state(v1.MirrorTopicState, mirror.state), _why(mirror))
        for mirror in answer.mirror_topics
    ]
    return _print(options, answer, ("NAME", "LINK", "SOURCE TOPIC", "STATE", "WHY"), rows)


def _describe_mirror(channel: grpc.Channel, options: argparse.Namespace) -> int:
    return _show_mirror(options, _get(channel, options))


def _get(channel: grpc.Channel, options: argparse.Namespace) -> v1.MirrorTopic:
    request = v1.GetMirrorTopicRequest(name=options.name, link=options.link)
    answer: v1.MirrorTopic = _mirrors(channel).GetMirrorTopic(request, timeout=_CALL_SECONDS)
    return answer


def _pause_mirror(channel: grpc.Channel, options: argparse.Namespace) -> int:
    request = v1.PauseMirrorTopicRequest(name=options.name, link=options.link)
    return _show_mirror(options, _mirrors(channel).PauseMirrorTopic(request, timeout=_CALL_SECONDS))


def _resume_mirror(channel: grpc.Channel, options: argparse.Namespace) -> int:
    request = v1.ResumeMirrorTopicRequest(name=options.name, link=options.link)
    return _show_mirror(options, _mirrors(channel).ResumeMirrorTopic(request, timeout=_CALL_SECONDS))


def _promote(channel: grpc.Channel, options: argparse.Namespace) -> int:
    if options.cancel:
        cancel = v1.CancelPromoteMirrorTopicRequest(name=options.name, link=options.link)
        return _show_mirror(options, _mirrors(channel).CancelPromoteMirrorTopic(cancel, timeout=_CALL_SECONDS))
    request = v1.PromoteMirrorTopicRequest(name=options.name, link=options.link, validate_only=options.dry_run)
    return _stop(channel, options, _mirrors(channel).PromoteMirrorTopic(request, timeout=_CALL_SECONDS))


def _failover(channel: grpc.Channel, options: argparse.Namespace) -> int:
    request = v1.FailoverMirrorTopicRequest(name=options.name, link=options.link, validate_only=options.dry_run)
    return _stop(channel, options, _mirrors(channel).FailoverMirrorTopic(request, timeout=_CALL_SECONDS))


def _stop(channel: grpc.Channel, options: argparse.Namespace, begun: v1.MirrorTopic) -> int:
    """Waits until the mirror topic is STOPPED, saying what it waits for; or does not wait."""
    if options.dry_run or options.no_wait:
        return _show_mirror(options, begun)
    said = ""
    while True:
        mirror = _get(channel, options)
        if mirror.state == v1.MIRROR_TOPIC_STATE_STOPPED:
            return _show_mirror(options, mirror)
        if not mirror.stop:
            print(f"clusterlink: {options.name} is not being stopped any more: somebody cancelled it.", file=sys.stderr)
            return EXIT_FAILURE
        if mirror.state_detail not in ("", said):
            said = mirror.state_detail
            print(f"waiting: {said}", file=sys.stderr)
        time.sleep(_LOOK_SECONDS)


def _show_mirror(options: argparse.Namespace, mirror: v1.MirrorTopic) -> int:
    rows = [
        ("name", mirror.name),
        ("link", mirror.link),
        ("source topic", mirror.source_topic),
        ("state", _state(v1.MirrorTopicState, mirror.state)),
        ("why", _why(mirror)),
    ]
    _print(options, mirror, None, [row for row in rows if row[1]])
    if mirror.partitions and options.output == "table":
        print()
        header = ("PARTITION", "STATE", "LOG START", "LOG END", "SOURCE", "LAG", "WHY")
        numbers = [
            (
                str(partition.partition),
                partition.state,
                _number(partition.log_start_offset),
                _number(partition.log_end_offset),
                _number(partition.source_high_watermark),
                _number(partition.lag),
                partition.error_message,
            )
            for partition in mirror.partitions
        ]
        _table([header, *numbers])
    return 0


def _why(mirror: v1.MirrorTopic) -> str:
    return f"{mirror.error}: {mirror.error_message}" if mirror.error else mirror.state_detail


def _state(enum: Any, value: int) -> str:
    name: str = enum.Name(value)
    return name.partition("STATE_")[2]


def _number(value: int) -> str:
    return "" if value < 0 else str(value)


# Printing.


def _print(
    options: argparse.Namespace, message: Message, header: Sequence[str] | None, rows: Iterable[Sequence[str]]
) -> int:
    if options.output == "json":
        print(MessageToJson(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True))
    else:
        _table([*([header] if header else []), *rows])
    return 0


def _table(rows: Sequence[Sequence[str]]) -> None:
    if not rows:
        return
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
