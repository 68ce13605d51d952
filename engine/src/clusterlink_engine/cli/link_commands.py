"""`clusterlink link`: make, change and delete links, and look at them."""

import argparse
import getpass
import os
import sys
from pathlib import Path
from typing import Any

import grpc

from clusterlink_engine import pem
from clusterlink_engine.cli import link_properties
from clusterlink_engine.cli.asking import (
    CALL_SECONDS,
    UsageError,
    add_properties,
    links,
    properties,
    read_file,
    verb,
    verbs_of,
)
from clusterlink_engine.cli.printing import is_for_scripts, name_of, show, show_list
from clusterlink_engine.sasl import AWS_MSK_IAM, OAUTHBEARER
from clusterlink_proto import v1

PASSWORD_VARIABLE = "CLUSTERLINK_REMOTE_PASSWORD"  # noqa: S105 - the name of the variable

_SASL, _TLS = "remote_cluster.sasl", "remote_cluster.tls"
# What files of PEM hold, by the beginning of their options' names.
_PEM_FILES = {"ca": pem.CERTIFICATE, "certificate": pem.CERTIFICATE, "key": pem.PRIVATE_KEY}

_WRITE_GUARD = {
    v1.WRITE_GUARD_UNSPECIFIED: "",
    v1.WRITE_GUARD_ACL: "refused, but for super users (ACL)",
    v1.WRITE_GUARD_DETECTION_ONLY: "noticed, not prevented (DETECTION_ONLY)",
}


def add(link: Any) -> None:
    """Adds the commands."""
    verb(link, "list", "all links", _list)
    for name, text, run in (
        ("describe", "one link", _describe),
        ("create", "make a link to a remote cluster", _create),
        ("update", "change a link", _update),
        ("delete", "delete a link that has no mirror topics any more", _delete),
        ("pause", "stop all mirror topics of a link", _pause),
        ("resume", "let a paused link go on", _resume),
        ("check", "look at everything that a link needs, whether it is created or not; changes nothing", _check),
    ):
        parser = verb(link, name, text, run)
        parser.add_argument("name", metavar="LINK")
        if name in ("create", "update", "check"):
            _add_connection(parser)
            _add_configuration(parser)
        if name in ("create", "update"):
            parser.add_argument("--dry-run", action="store_true", help="only check")
        if name == "check":
            parser.add_argument(
                *("--topic", "-t"), action="append", default=[], metavar="TOPIC", help="a source topic; may be repeated"
            )
            parser.add_argument("--seconds", type=int, default=10, help="until when there is an answer; default 10")
        if name in ("create", "check"):
            parser.add_argument("--mode", choices=["DESTINATION", "BIDIRECTIONAL"], help="default DESTINATION")
            parser.add_argument(
                *("--remote-cluster", "--source-cluster"), metavar="ID", help="refuse a cluster with another id"
            )
    task = verbs_of(link, "task", "look at what a link keeps in step beside the records", dest="task_verb")
    verb(task, "list", "the tasks of a link, with their errors", _list_tasks).add_argument("name", metavar="LINK")
    configuration = verbs_of(link, "configuration", "the properties of a link by name", dest="configuration_verb")
    shown = verb(configuration, "list", "all properties of a link", _list_configuration)
    changed = verb(configuration, "update", "change properties of a link", _update)
    for parser in (shown, changed):
        parser.add_argument("name", metavar="LINK")
    changed.set_defaults(bootstrap=None, username=None, password_file=None)
    changed.set_defaults(**{f"tls_{part}_file": None for part in _PEM_FILES})
    _add_configuration(changed)
    changed.add_argument("--dry-run", action="store_true", help="only check")


def _add_connection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        *("--remote-bootstrap-server", "--source-bootstrap-server"),
        dest="bootstrap",
        metavar="HOST:PORT[,...]",
        help="brokers of the remote cluster",
    )
    parser.add_argument(
        "--username",
        help="for PLAIN and SCRAM; the password, or with OAUTHBEARER the client's secret, comes from --password-file, "
        f"${PASSWORD_VARIABLE}, or is asked for",
    )
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="a file with the password alone")
    for part, text in (
        ("ca", "the authorities to trust (PEM); left out: those that the engine's machine trusts"),
        ("certificate", "the engine's certificate (PEM), for brokers that ask for one"),
        ("key", "its private key (PEM)"),
    ):
        parser.add_argument(f"--tls-{part}-file", type=Path, metavar="FILE", help=text)


def _add_configuration(parser: argparse.ArgumentParser) -> None:
    add_properties(parser, "properties by their Cluster Linking names; no value: the default")
    parser.add_argument("--config-file", type=Path, metavar="FILE", help="properties, one NAME=VALUE on a line")
    for option, name in (
        ("--consumer-group-filters-json-file", link_properties.GROUP_FILTERS),
        ("--topic-filters-json-file", link_properties.TOPIC_FILTERS),
        ("--acl-filters-json-file", link_properties.ACL_FILTERS),
    ):
        parser.add_argument(option, dest=name, type=Path, metavar="FILE", help=f"the value of {name}")


def _list(channel: grpc.Channel, options: argparse.Namespace) -> int:
    answer: v1.ListLinksResponse = links(channel).ListLinks(v1.ListLinksRequest(), timeout=CALL_SECONDS)
    rows = [
        (
            link.name,
            name_of(v1.LinkState, link.state),
            name_of(v1.LinkMode, link.mode),
            link.remote_cluster.cluster_id,
            str(link.mirror_topic_count),
        )
        for link in answer.links
    ]
    return show(options, answer, ("NAME", "STATE", "MODE", "REMOTE CLUSTER", "MIRROR TOPICS"), rows)


def _describe(channel: grpc.Channel, options: argparse.Namespace) -> int:
    return _show(options, _get(channel, options))


def _create(channel: grpc.Channel, options: argparse.Namespace) -> int:
    request = v1.CreateLinkRequest(link=_new(options), validate_only=options.dry_run)
    return _show(options, links(channel).CreateLink(request, timeout=CALL_SECONDS))


def _check(channel: grpc.Channel, options: argparse.Namespace) -> int:
    """Checks the link of that name; with brokers given, one that is not created."""
    known = {"source_topics": options.topic, "timeout_ms": options.seconds * 1000}
    timeout = options.seconds + CALL_SECONDS
    answer: v1.CheckLinkResponse
    link = _new(options) if _says_more(options) else None
    if link is not None:
        if not link.remote_cluster.bootstrap_servers:
            raise UsageError("a link that is not created needs --remote-bootstrap-server; one that is, its name alone")
        answer = links(channel).CheckNewLink(v1.CheckNewLinkRequest(link=link, **known), timeout=timeout)
    else:
        answer = links(channel).CheckLink(v1.CheckLinkRequest(name=options.name, **known), timeout=timeout)
    rows = [
        (
            row.check,
            name_of(v1.LinkSide, row.side).lower(),
            row.needed_by,
            name_of(v1.CheckStatus, row.status),
            row.detail,
        )
        for row in answer.checks
    ]
    show(options, answer, ("CHECK", "CLUSTER", "NEEDED BY", "STATUS", "DETAIL"), rows)
    commands = list(dict.fromkeys(row.command for row in answer.checks if row.command))
    if commands and not is_for_scripts(options):
        print("", "What is missing can be given by:", *commands, sep="\n")
    return 1 if any(row.status == v1.CHECK_STATUS_MISSING for row in answer.checks) else 0


def _says_more(options: argparse.Namespace) -> bool:
    """Tells whether the arguments describe a link, instead of naming one."""
    given = (options.bootstrap, options.username, options.config_file, options.mode, options.remote_cluster)
    return bool(options.config) or any(value is not None for value in given)


def _new(options: argparse.Namespace) -> v1.Link:
    """Makes the link that the arguments describe."""
    link = v1.Link(name=options.name, mode=v1.LINK_MODE_DESTINATION)
    link.remote_cluster.cluster_id = options.remote_cluster or ""
    wanted = _properties(options)
    if options.mode:
        wanted["link.mode"] = options.mode
    _put(link, wanted, options)
    return link


def _update(channel: grpc.Channel, options: argparse.Namespace) -> int:
    link = _get(channel, options)
    fields = _put(link, _properties(options), options)
    if not fields:
        raise UsageError("there is nothing to change; give --config, for example")
    request = v1.UpdateLinkRequest(link=link, validate_only=options.dry_run)
    request.update_mask.paths.extend(fields)
    return _show(options, links(channel).UpdateLink(request, timeout=CALL_SECONDS))


def _delete(channel: grpc.Channel, options: argparse.Namespace) -> int:
    answer: v1.DeleteLinkResponse = links(channel).DeleteLink(
        v1.DeleteLinkRequest(name=options.name), timeout=CALL_SECONDS
    )
    return show(options, answer, None, [(f"The link {options.name} is deleted.",)])


def _pause(channel: grpc.Channel, options: argparse.Namespace) -> int:
    return _show(options, links(channel).PauseLink(v1.PauseLinkRequest(name=options.name), timeout=CALL_SECONDS))


def _resume(channel: grpc.Channel, options: argparse.Namespace) -> int:
    return _show(options, links(channel).ResumeLink(v1.ResumeLinkRequest(name=options.name), timeout=CALL_SECONDS))


def _list_tasks(channel: grpc.Channel, options: argparse.Namespace) -> int:
    link = _get(channel, options)
    rows = [
        (task.name, name_of(v1.TaskState, task.state), error.code, error.message)
        for task in link.tasks
        for error in task.errors or [v1.TaskError()]
    ]
    return show(options, v1.Link(tasks=link.tasks), ("TASK", "STATE", "ERROR", "WHY"), rows)


def _list_configuration(channel: grpc.Channel, options: argparse.Namespace) -> int:
    rows = [
        (entry.name, entry.value, "yes" if entry.is_read_only else "no")
        for entry in link_properties.read(_get(channel, options))
    ]
    return show_list(options, ("NAME", "VALUE", "READ ONLY"), rows)


def _get(channel: grpc.Channel, options: argparse.Namespace) -> v1.Link:
    answer: v1.Link = links(channel).GetLink(v1.GetLinkRequest(name=options.name), timeout=CALL_SECONDS)
    return answer


def _properties(options: argparse.Namespace) -> dict[str, str]:
    """Reads all properties that the arguments give; the more special argument wins."""
    found: dict[str, str] = {}
    if options.config_file is not None:
        found |= link_properties.from_lines(read_file(options.config_file))
    found |= properties(options.config)
    for name in (link_properties.GROUP_FILTERS, link_properties.TOPIC_FILTERS, link_properties.ACL_FILTERS):
        path = getattr(options, name)
        if path is not None:
            found[name] = read_file(path)
    if options.bootstrap is not None:
        found["bootstrap.servers"] = options.bootstrap
    return found


def _put(link: v1.Link, wanted: dict[str, str], options: argparse.Namespace) -> list[str]:
    """Sets properties, user, password and certificates in a link; answers the fields to name in an update."""
    fields = link_properties.put(link, wanted)
    if options.username is not None or options.password_file is not None:
        fields.append(_SASL)
    sasl = link.remote_cluster.sasl
    if _SASL in fields and not sasl.mechanism and options.username is None:
        link.remote_cluster.ClearField("sasl")
    elif _SASL in fields:
        _put_secret(sasl, options)
    if _put_tls(link.remote_cluster, options) or _TLS in fields:
        _check_key(link.remote_cluster)
        fields.append(_TLS)
    return sorted(set(fields))


def _put_secret(sasl: v1.Sasl, options: argparse.Namespace) -> None:
    """Sets user and password, or the client's secret; what belongs to another mechanism is taken out."""
    if sasl.mechanism == OAUTHBEARER:
        if options.username is not None:
            raise UsageError(
                "with OAUTHBEARER there is no --username; give sasl.oauthbearer.client.credentials.client.id"
            )
        for name in ("username", "password", "aws_region"):
            sasl.ClearField(name)
        sasl.oauth.client_secret = _password(options, sasl.oauth.client_id)
        return
    sasl.ClearField("oauth")
    if sasl.mechanism != AWS_MSK_IAM:
        sasl.ClearField("aws_region")
    sasl.username = sasl.username if options.username is None else options.username
    sasl.password = _password(options, sasl.username)


def _put_tls(remote: v1.RemoteCluster, options: argparse.Namespace) -> bool:
    """Sets what files of PEM give; a protocol without TLS takes all of it out. Answers whether anything was changed."""
    paths = {part: getattr(options, f"tls_{part}_file") for part in _PEM_FILES}
    given = {part: path for part, path in paths.items() if path is not None}
    for part, path in given.items():
        try:
            setattr(remote.tls, f"{part}_pem", pem.blocks(path.read_bytes(), _PEM_FILES[part]))
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: cannot be used: {error}") from error
    if remote.HasField("tls") and not given and not remote.security_protocol.endswith("SSL"):
        remote.ClearField("tls")
        return True
    return bool(given)


def _check_key(remote: v1.RemoteCluster) -> None:
    if remote.tls.certificate_pem and not remote.tls.key_pem:
        raise UsageError("the private key is missing; give --tls-key-file: the engine tells it to nobody")


def _password(options: argparse.Namespace, username: str) -> str:
    """Answers the password, which must not stand on a command line: others can see that."""
    if options.password_file is not None:
        return read_file(options.password_file).rstrip("\r\n")
    password = os.environ.get(PASSWORD_VARIABLE)
    if password is None:
        if not sys.stdin.isatty():
            raise UsageError(f"the password is missing; give --password-file or ${PASSWORD_VARIABLE}")
        password = getpass.getpass(f"Password of {username}: ")
    return password


def _show(options: argparse.Namespace, link: v1.Link) -> int:
    rows = [
        ("name", link.name),
        ("mode", name_of(v1.LinkMode, link.mode)),
        # One that was only checked has none.
        ("state", name_of(v1.LinkState, link.state) if link.state else ""),
        ("error", f"{link.error}: {link.error_message}" if link.error else ""),
        ("remote cluster", f"{link.remote_cluster.cluster_id} at {', '.join(link.remote_cluster.bootstrap_servers)}"),
        ("topic prefix", link.topic_prefix),
        ("mirror topics", str(link.mirror_topic_count)),
        ("foreign writes", _WRITE_GUARD[link.write_guard]),
        *((task.name, name_of(v1.TaskState, task.state)) for task in link.tasks),
    ]
    return show(options, link, None, [row for row in rows if row[1]])
