"""The rules for mirror topics at plan time. The engine enforces them too; here they are found early."""

from typing import Final

import grpc

from clusterlink_provider.engine_client import EngineError
from clusterlink_provider.framework import cty, planning
from clusterlink_provider.framework.cty import Unknown
from clusterlink_provider.framework.diagnostics import DiagnosticError, sentence
from clusterlink_provider.framework.planning import Object, is_known
from clusterlink_provider.framework.provider import PlanContext
from clusterlink_provider.resources import mirror_topic_convert
from clusterlink_provider.resources import mirror_topic_return as returns
from clusterlink_provider.resources.checks import TOPIC_NAME_LIMIT
from clusterlink_provider.resources.mirror_topic_convert import FINAL, REVERSED
from clusterlink_provider.resources.mirror_topic_schema import SCHEMA
from clusterlink_provider.resources.session import Session

# On the worst night, with the source gone, a plan must not take longer than this per new mirror topic.
_CHECK_SECONDS: Final = 3.0

WAY_BACK: Final = (
    "Terraform never makes it a mirror topic again; on a BIDIRECTIONAL link `clusterlink mirror truncate-and-restore` makes "
    "the other topic its mirror."
)

MIRROR_ANEW: Final = (
    'To delete it and mirror again from the start: set on_destroy = "DELETE_TOPIC" and apply (that is taken over although the '
    "apply fails), then `terraform apply -replace=ADDRESS`. Or remove the resource."
)


def plan(context: PlanContext[Session]) -> None:
    """Checks a planned create, update or destroy."""
    planned, session = context.planned, context.session
    if context.prior is not None and (planned is None or context.replace):
        _warn_of_deletion(context, context.prior)
    if planned is None:
        return
    if session is not None:
        _plan_name(context, session, planned)
    prior = context.prior
    _plan_status(context, planned)
    if prior is not None and prior.get("status") == "FAILED" and planned["status"] != "FAILED_OVER":
        context.diagnostics.warning(
            "Mirror topic has failed",
            f"{prior['id']} cannot go on by itself: {sentence(str(prior.get('error')))} Apply will refuse to change it. "
            f"{MIRROR_ANEW}",
            ("status",),
        )
    if session is None or context.replace or context.diagnostics.has_errors:
        return
    if prior is None:
        _ask_about_create(context, session, planned)
    else:
        _ask_about_update(context, session, planned, prior)


def _warn_of_deletion(context: PlanContext[Session], prior: Object) -> None:
    is_mirror = prior.get("direction") == REVERSED and prior.get("status") not in FINAL
    if is_mirror and prior.get("on_destroy") == "DELETE_TOPIC":
        context.diagnostics.warning(
            "A topic of the remote cluster is deleted",
            f"{prior['id']} was reversed: its mirror is the topic {prior['source_topic']} on the remote cluster of the link "
            f'{prior["link"]}, which is deleted with its data (on_destroy = "DELETE_TOPIC"). The topic {prior["name"]} on the '
            "local cluster stays.",
        )


def _plan_status(context: PlanContext[Session], planned: Object) -> None:
    """Says what is final, and what cannot be had."""
    wanted, prior = planned["status"], context.prior
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
        if wanted != found and not (found == "PROMOTED" and wanted == "FAILED_OVER"):
            context.diagnostics.warning(
                "Mirror topic is stopped for good",
                f"{prior['id']} is {found}: a topic like any other. Apply will refuse to make it {wanted}; set "
                f'status = "{found}", or remove the resource (the topic stays). {WAY_BACK}',
                ("status",),
            )
    elif wanted in FINAL:
        _plan_stop(context, prior, wanted)
    elif returns.has_returned(context.private, found):
        # Without a change there is no apply, and then the next failover of the configuration would count as the last one.
        context.planned = planning.open_computed(SCHEMA, prior, planned, context.config)
        context.diagnostics.warning(
            returns.TITLE,
            f"{returns.explanation(context.private, prior)} Apply takes note of that, so that it can be promoted or failed "
            "over anew.",
            ("status",),
        )


def _plan_stop(context: PlanContext[Session], prior: Object, wanted: str) -> None:
    if returns.asks_for_nothing_new(context.private, prior["status"], wanted):
        context.diagnostics.warning(returns.TITLE, returns.refusal(context.private, prior), ("status",))
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
