"""The rules for mirror topics at plan time. The engine enforces them too; here they are found early."""

from typing import Final

import grpc

from clusterlink_proto import v1
from clusterlink_provider.engine_client import EngineError
from clusterlink_provider.framework import cty, planning
from clusterlink_provider.framework.cty import UNKNOWN, Unknown
from clusterlink_provider.framework.diagnostics import DiagnosticError, sentence
from clusterlink_provider.framework.planning import Object, is_known
from clusterlink_provider.framework.provider import PlanContext
from clusterlink_provider.resources import mirror_topic_convert
from clusterlink_provider.resources import mirror_topic_return as returns
from clusterlink_provider.resources import mirror_topic_wishes as wishes
from clusterlink_provider.resources.checks import TOPIC_NAME_LIMIT
from clusterlink_provider.resources.mirror_topic_convert import FINAL, REVERSED
from clusterlink_provider.resources.mirror_topic_schema import SCHEMA
from clusterlink_provider.resources.session import Session

# On the worst night, with the source gone, a plan must not take longer than this per new mirror topic.
_CHECK_SECONDS: Final = 3.0
_PENDING: Final = "PENDING_STOPPED"

# In these a mirror topic that is deleted takes its topic along, which nobody may see yet.
_UNFINISHED: Final = frozenset({v1.MIRROR_TOPIC_STATE_CREATING, v1.MIRROR_TOPIC_STATE_SEEDING})

WAY_BACK: Final = (
    "Terraform never makes it a mirror topic again; on a BIDIRECTIONAL link `clusterlink mirror truncate-and-restore` makes "
    "the other topic its mirror."
)

MIRROR_ANEW: Final = 'To delete it with its data and mirror again from the start, set on_failed = "REBUILD".'


def plan(context: PlanContext[Session]) -> None:
    """Checks a planned create, update or destroy."""
    planned, session = context.planned, context.session
    if context.prior is not None and (planned is None or context.replace):
        _check_destroy(context, context.prior)
    if planned is None:
        return
    if session is not None:
        _plan_name(context, session, planned)
    prior = context.prior
    _plan_status(context, planned)
    if session is None or context.replace or context.diagnostics.has_errors:
        return
    if prior is None:
        _ask_about_create(context, session, planned)
    else:
        _ask_about_update(context, session, planned, prior)


def _check_destroy(context: PlanContext[Session], prior: Object) -> None:
    """Says whose data a destroy deletes, and what the engine will not delete."""
    disposal = prior.get("on_destroy")
    if disposal == "KEEP_TOPIC":
        _check_unfinished(context, prior)
        return
    is_reversed, is_final = prior.get("direction") == REVERSED, prior.get("status") in FINAL
    topic = f"the topic {prior['source_topic']} on the remote cluster" if is_reversed else f"the topic {prior['name']}"
    if is_final and disposal == "DELETE_TOPIC":
        context.diagnostics.error(
            "Not a mirror any more",
            f'{prior["id"]} is {prior["status"]}: others may have written to {topic}, so on_destroy = "DELETE_TOPIC" does not '
            "delete it. Set on_destroy and apply before: KEEP_TOPIC forgets the mirror, DELETE_TOPIC_WITH_DATA deletes the "
            "topic with everything in it.",
        )
    elif is_final:
        context.diagnostics.warning(
            "A topic is deleted with its data",
            f"{prior['id']} is {prior['status']}, a topic like any other: {topic} is deleted with everything in it, whoever "
            'has written it (on_destroy = "DELETE_TOPIC_WITH_DATA").',
        )
    elif is_reversed:
        context.diagnostics.warning(
            "A topic of the remote cluster is deleted",
            f"{prior['id']} was reversed: its mirror is {topic} of the link {prior['link']}, which is deleted with its data "
            f'(on_destroy = "{disposal}"). The topic {prior["name"]} on the local cluster stays.',
        )


def _check_unfinished(context: PlanContext[Session], prior: Object) -> None:
    """Warns where a topic goes although it is to be kept. The state does not tell: not to be finished comes and goes."""
    if context.session is None:
        return
    try:
        found = context.session.client.get_mirror_topic(prior["name"], prior["link"])
    except EngineError:
        return  # apply says what it is
    if found is not None and found.state in _UNFINISHED:
        state = mirror_topic_convert.state_of(found)
        context.diagnostics.warning(
            "A topic that is not finished is deleted",
            f"{prior['id']} is {state}: its topic is not yet what its source is, so it is deleted with it (on_destroy = "
            '"KEEP_TOPIC" keeps finished ones).',
        )


def _plan_status(context: PlanContext[Session], planned: Object) -> None:
    """Says what is final, and what cannot be had: an error if the configuration asks for it now, else the world has changed."""
    wanted, prior = planned["status"], context.prior
    if prior is not None and not context.replace and wishes.may_be_rebuilt(prior, planned):
        # Of a source topic that was made anew these are others.
        planned |= {"partitions": UNKNOWN, "source_topic_id": UNKNOWN}
    if isinstance(wanted, Unknown):
        return
    if prior is None or context.replace:
        if wanted in FINAL:
            context.diagnostics.error(
                "Nothing to stop yet",
                f'A mirror topic begins as ACTIVE or PAUSED. Make it first, and set status = "{wanted}" when it is there.',
                ("status",),
            )
        return
    found = prior["status"]
    if found in FINAL:
        may_fail_over = (found, wanted) == ("PROMOTED", "FAILED_OVER") and prior.get("observed_status") == _PENDING
        if wanted != found and not may_fail_over:
            _cannot(
                context,
                wanted,
                "Mirror topic is stopped for good",
                f'{prior["id"]} is {found}: a topic like any other, which cannot become {wanted}. Set status = "{found}", or '
                f"remove the resource (the topic stays). {WAY_BACK}",
            )
    elif wanted in FINAL:
        _plan_stop(context, prior, wanted)
    elif found == "FAILED":
        _plan_failed(context, prior, planned)
    elif returns.has_returned(context.private, found):
        # Without a change there is no apply, and then the next failover of the configuration would count as the last one.
        context.planned = planning.open_computed(SCHEMA, prior, planned, context.config)
        context.diagnostics.warning(
            returns.TITLE,
            f"{returns.explanation(context.private, prior)} Apply takes note of that, so that it can be promoted or failed "
            "over anew.",
            ("status",),
        )


def _cannot(context: PlanContext[Session], wanted: str, title: str, why: str) -> None:
    """Refuses what the configuration asks for now; of what it has asked for since before, says that apply will refuse it."""
    if wishes.is_new(context.private, wanted):
        context.diagnostics.error(title, why, ("status",))
    else:
        context.diagnostics.warning(title, f"{why} Apply will refuse.", ("status",))


def _plan_failed(context: PlanContext[Session], prior: Object, planned: Object) -> None:
    if not wishes.is_rebuilt(prior, planned):
        context.diagnostics.warning(
            "Mirror topic has failed",
            f"{prior['id']} cannot go on by itself: {sentence(str(prior.get('error')))} Apply will refuse to change it. "
            f"{MIRROR_ANEW}",
            ("status",),
        )
        return
    where = f"{prior['source_topic']} on the remote cluster" if prior.get("direction") == REVERSED else prior["name"]
    context.diagnostics.warning(
        "Mirror topic is deleted and mirrored anew",
        f"{prior['id']} has failed: {sentence(str(prior.get('error')))} Apply deletes the topic {where} with its data, and "
        'mirrors again from the start (on_failed = "REBUILD").',
        ("status",),
    )


def _plan_stop(context: PlanContext[Session], prior: Object, wanted: str) -> None:
    if returns.asks_for_nothing_new(context.private, prior["status"], wanted):
        context.diagnostics.warning(returns.TITLE, returns.refusal(context.private, prior), ("status",))
        return
    if prior["status"] == "FAILED" and wanted == "PROMOTED":
        _cannot(
            context,
            wanted,
            "A failed mirror topic cannot be promoted",
            f"{prior['id']} will never have everything that its source has: {sentence(str(prior.get('error')))} "
            'Set status = "FAILED_OVER" '
            f"to make it a topic like any other with what it has. {MIRROR_ANEW}",
        )
        return
    meaning = {
        "PROMOTED": "as soon as it has everything that its source has; stop the producers there first",
        "FAILED_OVER": "at once, with what it has; what is missing stays at the source",
    }
    mirror = prior["id"]
    if prior.get("direction") == REVERSED:
        mirror = f"{mirror} was reversed: the topic {prior['source_topic']} on the remote cluster"
    context.diagnostics.warning(
        "This is final",
        f"{mirror} becomes a topic like any other, {meaning[wanted]}. {WAY_BACK}",
        ("status",),
    )


def _plan_name(context: PlanContext[Session], session: Session, planned: Object) -> None:
    """Plans the name that follows from the link's prefix, which this walk may be about to change."""
    link, source = planned["link"], planned["source_topic"]
    if isinstance(link, Unknown) or isinstance(source, Unknown):
        return
    prefix = session.links.prefix_of(link)
    if prefix is None or isinstance(prefix, Unknown):
        return
    expected = prefix + source
    given = context.config.get("name")
    if is_known(given) and given != expected:
        context.diagnostics.error(
            "Name does not fit",
            f'The mirror topic of "{source}" on the link {link} is called "{expected}" (topic_prefix + '
            f"source_topic), not "
            f'"{given}". Leave `name` out, or give that name.',
            ("name",),
        )
        return
    if len(expected) > TOPIC_NAME_LIMIT:
        context.diagnostics.error(
            "Name too long",
            f"With the link's prefix the name has {len(expected)} characters; Kafka allows {TOPIC_NAME_LIMIT}.",
            ("source_topic",),
        )
        return
    if given is None:
        planned["name"] = expected
    if context.prior is None:
        planned["id"] = f"{link}/{expected}"
    elif context.prior["name"] != expected:
        context.replace.add(("name",))


def _ask_about_create(context: PlanContext[Session], session: Session, planned: Object) -> None:
    link = planned["link"]
    if isinstance(link, Unknown) or not _is_known_enough(context):
        return
    if not session.links.is_settled(link):
        # The link comes or changes with the same apply; what the engine would say now may not hold then.
        return
    try:
        session.client.create_mirror_topic(
            mirror_topic_convert.to_message(planned),
            token="",
            seconds=_CHECK_SECONDS,
            validate_only=True,
        )
    except EngineError as error:
        _judge(context, session, planned, error)


def _judge(context: PlanContext[Session], session: Session, planned: Object, error: EngineError) -> None:
    name = planned["name"]
    if error.is_unreachable:
        context.diagnostics.warning(
            "Source not checked",
            f"Whether {planned['source_topic']} can be mirrored could not be found out within {_CHECK_SECONDS:g} s: "
            f"{sentence(error.message or error.code.name)} Apply will try again.",
            ("source_topic",),
        )
        return
    if error.code is grpc.StatusCode.ALREADY_EXISTS and is_known(name):
        if session.mirror_names.has_seen(name):
            # It is in the state: this create is the second half of a replacement.
            return
        found = session.client.get_mirror_topic(name)
        if found is not None:
            identifier = f"{found.link}/{found.name}"
            context.diagnostics.error(
                "Mirror topic exists already",
                f"The engine has a mirror topic {identifier} that is not in Terraform's state. To manage it here, "
                f"import it "
                f"(`terraform import ADDRESS {identifier}`, or an import block with this id).",
                ("source_topic",),
            )
            return
    raise DiagnosticError(error.diagnostics) from error


def _ask_about_update(context: PlanContext[Session], session: Session, planned: Object, prior: Object) -> None:
    if not _is_known_enough(context) or (planned.get("config") or {}) == (prior.get("config") or {}):
        return
    if prior["status"] in FINAL or not session.links.is_settled(prior["link"]):
        return
    message = mirror_topic_convert.to_message(planned)
    session.client.update_mirror_topic(message, ["config"], seconds=_CHECK_SECONDS, validate_only=True)


def _is_known_enough(context: PlanContext[Session]) -> bool:
    return cty.is_wholly_known({key: value for key, value in context.config.items() if key != "timeouts"})
