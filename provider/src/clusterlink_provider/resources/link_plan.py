"""The rules for links at plan time. The engine enforces them too; here they are found early."""

import grpc

from clusterlink_proto import v1
from clusterlink_provider.engine_client import READ_SECONDS, EngineError
from clusterlink_provider.framework import cty, planning
from clusterlink_provider.framework.cty import UNKNOWN, Unknown, Value
from clusterlink_provider.framework.diagnostics import DiagnosticError
from clusterlink_provider.framework.planning import Object, is_known
from clusterlink_provider.framework.provider import ApplyContext, PlanContext
from clusterlink_provider.resources import link_check, link_convert, link_security
from clusterlink_provider.resources.link_schema import SCHEMA
from clusterlink_provider.resources.session import Session

# Kept beside the state: whether the configuration named the synced settings at the last apply; not there after an import.
# Only so can a plan tell "taken out of the configuration" from "never set": the state has a list in both cases.
INCLUDE_SET = "include_set"


def to_message(context: PlanContext[Session] | ApplyContext[Session], planned: Object) -> v1.Link:
    """Makes the engine's message of what is planned."""
    return link_convert.to_message(planned, context.config, own_include=context.private.get(INCLUDE_SET, True))


def plan(context: PlanContext[Session]) -> None:
    """Checks a planned create, update or destroy."""
    planned, session = context.planned, context.session
    if planned is None:
        if session is not None and context.prior is not None:
            _warn_of_destroy(context, session, context.prior)
        return
    _plan_include(context, planned)
    _plan_cluster_id(context, planned)
    link_security.warn_of_plain(context, planned)
    if session is None or isinstance(planned["name"], Unknown):
        return
    if context.prior is not None and context.replace:
        # Terraform asks again, for a create without a prior state; that is when the rules apply.
        session.links.leave(context.prior["name"])
        _warn_of_replacement(context, session, context.prior["name"])
        return
    _check_intervals(context, session, planned)
    if context.prior is None:
        _check_create(context, session, planned)
    if not context.diagnostics.has_errors:
        _ask_engine(context, session, planned)


def _plan_include(context: PlanContext[Session], planned: Object) -> None:
    config = context.config.get("topic_config_sync")
    given = config.get("include") if isinstance(config, dict) else config
    was_set = context.private.get(INCLUDE_SET, False)
    prior = context.prior
    if prior is None or given is not None or was_set:
        context.private[INCLUDE_SET] = given is not None
    if prior is None or given is not None or not was_set:
        return
    sync = planned["topic_config_sync"]
    if isinstance(sync, dict) and is_known(sync.get("include")):
        changed = {**planned, "topic_config_sync": {**sync, "include": UNKNOWN}}
        # The plan was made without this change, so what it opens is still closed.
        opened = planning.open_computed(SCHEMA, prior, changed, context.config)
        opened["topic_config_sync"] = changed["topic_config_sync"]
        context.planned = opened


def _plan_cluster_id(context: PlanContext[Session], planned: Object) -> None:
    """Replaces the link for another cluster, and for one whose id is not known yet: at apply it would be too late to say so."""
    path = ("remote_cluster", "cluster_id")
    before, after = (_at(state, *path) for state in (context.prior, planned))
    if isinstance(before, str) and after != before and after is not None:
        context.replace.add(path)


def _at(state: Object | None, group: str, name: str) -> Value:
    inner = (state or {}).get(group)
    return inner.get(name) if isinstance(inner, dict) else None


def _warn_of_destroy(context: PlanContext[Session], session: Session, prior: Object) -> None:
    link = session.links.get(prior["name"])
    if link is not None and link.mirror_topic_count > 0:
        context.diagnostics.warning(
            "Link has live mirror topics",
            f"The link {link.name} has {link.mirror_topic_count} mirror topics. If they are not destroyed in the "
            f"same run, "
            'the engine refuses to delete the link (on_destroy = "REFUSE").',
        )


def _warn_of_replacement(context: PlanContext[Session], session: Session, name: str) -> None:
    link = session.links.get(name)
    if link is not None and link.mirror_topic_count > 0:
        context.diagnostics.warning(
            "Replaced link has live mirror topics",
            f"The link {link.name} has {link.mirror_topic_count} mirror topics. Those of this configuration that "
            f"refer to "
            "the link are replaced along with it when its name or prefix changes; for others use "
            "`replace_triggered_by` in "
            "their lifecycle block, or remove them first: the engine refuses to delete a link with live mirror topics.",
            min(context.replace, key=str, default=()),
        )


def _check_intervals(context: PlanContext[Session], session: Session, planned: Object) -> None:
    minimum = session.engine.limits.min_sync_interval_ms
    for sync in ("topic_config_sync", "consumer_offset_sync", "acl_sync"):
        interval = _at(planned, sync, "interval_ms")
        if _at(planned, sync, "enable") is False and _at(context.config, sync, "interval_ms") is None:
            continue  # the default of what is not enabled
        if isinstance(interval, int) and interval < minimum:
            context.diagnostics.error(
                "Sync interval too short",
                f"This engine allows intervals of at least {minimum} ms (min_sync_interval_ms), the plan has {interval} ms.",
                (sync, "interval_ms"),
            )


def _check_create(context: PlanContext[Session], session: Session, planned: Object) -> None:
    name, prefix = planned["name"], planned.get("topic_prefix")
    if name in session.links.existing() and not session.link_names.has_seen(name):
        context.diagnostics.error(
            "Link exists already",
            f"The engine has a link {name} that is not in Terraform's state. To manage it here, import it "
            f"(`terraform import ADDRESS {name}`, or an import block with this id); else choose another name.",
            ("name",),
        )
        return
    names, others = session.links.plan(name, "" if prefix is None else prefix)
    limit = session.engine.limits.max_links
    if 0 < limit < len(names):
        context.diagnostics.error(
            "Too many cluster links",
            f"This plan needs {len(names)} links; the engine allows {limit} per destination cluster. Links that are "
            "destroyed in the same plan free no place. Remove links first, or raise limits.max_links of the engine.",
            ("name",),
        )
    if isinstance(prefix, str) and others:
        context.diagnostics.error(
            "Prefix in use",
            f'The prefix "{prefix}" belongs to the link {others[0]}. Each link needs a prefix of its own.',
            ("topic_prefix",),
        )


def _ask_engine(context: PlanContext[Session], session: Session, planned: Object) -> None:
    """Lets the engine check what only it knows, such as the names of properties."""
    prior = context.prior
    mask = link_convert.changed_fields(prior, planned) if prior is not None else []
    if mask:
        session.links.change(planned["name"])
    if not cty.is_wholly_known({key: value for key, value in context.config.items() if key != "timeouts"}):
        return
    message = to_message(context, planned)
    try:
        if prior is None:
            session.client.create_link(message, token="", seconds=READ_SECONDS, validate_only=True)
            link_check.plan(context, session, message)
        elif mask:
            session.client.update_link(message, mask, seconds=READ_SECONDS, validate_only=True)
    except EngineError as error:
        # A link that is replaced is still there, with its name, its prefix and its place among the links.
        replaced = prior is None and session.link_names.has_seen(message.name)
        if replaced and error.code is not grpc.StatusCode.INVALID_ARGUMENT and not error.is_unreachable:
            return
        # A renamed link needs no place of its own; the engine cannot know, and the limit was checked above.
        if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return
        raise DiagnosticError(error.diagnostics) from error
