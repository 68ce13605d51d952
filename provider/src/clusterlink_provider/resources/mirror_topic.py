"""The resource `clusterlink_mirror_topic`."""

import time
import uuid
from collections.abc import Callable

from clusterlink_proto import v1
from clusterlink_provider.engine_client import EngineError, attempt
from clusterlink_provider.framework import cty, planning
from clusterlink_provider.framework.diagnostics import DiagnosticError, Diagnostics, sentence
from clusterlink_provider.framework.planning import Object
from clusterlink_provider.framework.provider import ApplyContext, PlanContext, StateContext
from clusterlink_provider.resources import mirror_topic_convert, mirror_topic_plan
from clusterlink_provider.resources import mirror_topic_return as returns
from clusterlink_provider.resources.durations import timeout
from clusterlink_provider.resources.mirror_topic_convert import FINAL
from clusterlink_provider.resources.mirror_topic_plan import MIRROR_ANEW, WAY_BACK
from clusterlink_provider.resources.mirror_topic_schema import SCHEMA
from clusterlink_provider.resources.session import Session, require

_DISPOSALS = {
    "KEEP_TOPIC": v1.TOPIC_DISPOSAL_KEEP_TOPIC,
    "DELETE_TOPIC": v1.TOPIC_DISPOSAL_DELETE_TOPIC,
}
_STOPS = {status: stop for stop, status in mirror_topic_convert.STOPS.items()}

_PENDING = v1.MIRROR_TOPIC_STATE_PENDING_STOPPED
_LOOK_SECONDS = 0.5


class MirrorTopicResource:
    """Life of a mirror topic under Terraform."""

    type_name = "clusterlink_mirror_topic"
    schema = SCHEMA

    def validate(self, config: Object, diagnostics: Diagnostics) -> None:
        """Has no rules over several attributes yet."""

    def seen(self, session: Session, state: Object) -> None:
        """Remembers the name as one that is in the state."""
        session.mirror_names.saw(state.get("name"))

    def read(self, context: StateContext[Session]) -> None:
        """Asks the engine for the mirror topic."""
        session, state = require(context), context.state
        if state is None:
            return
        topic = session.read_mirror_topic(state["name"], state["link"])
        if topic is None:
            context.state = None
        else:
            returns.remember(context.private, topic)
            context.state = mirror_topic_convert.from_message(topic, planning.fill_defaults(SCHEMA, state))

    def plan(self, context: PlanContext[Session]) -> None:
        """Applies the rules for mirror topics."""
        mirror_topic_plan.plan(context)

    def create(self, context: ApplyContext[Session]) -> None:
        """Makes the mirror topic; one that may be there after a lost answer goes into the state, with the error."""
        session, planned = require(context), context.planned
        seconds = timeout(planned, "create")
        message = mirror_topic_convert.to_message(planned)
        # What is kept beside the state of a replaced mirror topic comes along, and is not about this one.
        returns.forget(context.private)
        try:
            topic = session.client.create_mirror_topic(message, token=str(uuid.uuid4()), seconds=seconds)
        except EngineError as error:
            if not error.is_definite:
                # If the engine cannot be asked, Terraform remembers it: the next refresh sees whether it is there.
                found = attempt(lambda: _find(session, message), message if message.name else None)
                context.state = found and cty.without_unknown(mirror_topic_convert.from_message(found, planned))
            raise
        context.state = mirror_topic_convert.from_message(topic, planned)
        if topic.paused != message.paused:
            topic = session.client.set_mirror_topic_paused(topic.name, topic.link, message.paused, seconds=seconds)
            context.state = mirror_topic_convert.from_message(topic, planned)
        _refuse_failed(topic)

    def update(self, context: ApplyContext[Session]) -> None:
        """Changes what differs; a mirror topic that has failed is left alone, with the reason."""
        session, planned, prior = require(context), context.planned, context.prior or {}
        seconds = timeout(planned, "update")
        name, link = prior["name"], prior["link"]
        topic = session.client.get_mirror_topic(name, link)
        if topic is None:
            context.state = None
            raise DiagnosticError.of(
                "Mirror topic is gone", f"{prior['id']} was deleted by somebody else. Plan again to make it anew."
            )
        # What was planned speaks of the direction at that time: its status, and the ids of the two topics.
        if prior.get("direction") not in (None, mirror_topic_convert.direction(topic)):
            context.state = mirror_topic_convert.from_message(topic, prior)
            raise DiagnosticError.of(
                returns.TITLE, f"The direction of {prior['id']} was turned after the plan was made. Plan again."
            )
        # What only Terraform knows is taken over in any case: a failed mirror topic needs another `on_destroy` to be replaced.
        context.state = mirror_topic_convert.from_message(topic, planned)
        is_stopped = context.state["status"] in FINAL
        if not (is_stopped or planned["status"] in FINAL):
            returns.forget(context.private)
            _refuse_failed(topic)
        message = mirror_topic_convert.to_message(planned)
        if not is_stopped and (planned.get("config") or {}) != dict(topic.config):
            topic = self._change(
                context, lambda: session.client.update_mirror_topic(message, ["config"], seconds=seconds)
            )
        if is_stopped or planned["status"] in FINAL:
            self._stop(context, session, topic)
            return
        if topic.paused != message.paused:
            topic = self._change(
                context, lambda: session.client.set_mirror_topic_paused(name, link, message.paused, seconds=seconds)
            )
        context.state = mirror_topic_convert.from_message(topic, planned)
        _refuse_failed(topic)

    @staticmethod
    def _change(context: ApplyContext[Session], change: Callable[[], v1.MirrorTopic]) -> v1.MirrorTopic:
        """Makes one change; after an error the state is what the engine then says."""
        session, prior = require(context), context.prior or {}
        try:
            topic = change()
        except EngineError:
            found = attempt(lambda: session.client.get_mirror_topic(prior["name"], prior["link"]))
            if found is not None:
                context.state = mirror_topic_convert.from_message(found, prior)
            raise
        context.state = mirror_topic_convert.from_message(topic, prior)
        return topic

    def _stop(
        self,
        context: ApplyContext[Session],
        session: Session,
        topic: v1.MirrorTopic,
    ) -> None:
        """Promotes a mirror topic or fails it over, and waits until that is done."""
        planned, prior = context.planned, context.prior or {}
        wanted, found = planned["status"], mirror_topic_convert.status(topic)
        may_fail_over = found == "PROMOTED" and wanted == "FAILED_OVER" and topic.state == _PENDING
        if found in FINAL and wanted != found and not may_fail_over:
            raise DiagnosticError.of(
                "Mirror topic is stopped for good",
                f'{prior["id"]} is {found}: it is a topic like any other. Set status = "{found}", or remove the resource '
                f"(the topic stays). {WAY_BACK}",
                ("status",),
            )
        if returns.asks_for_nothing_new(context.private, found, wanted):
            state = mirror_topic_convert.from_message(topic, prior)
            raise DiagnosticError.of(returns.TITLE, returns.refusal(context.private, state), ("status",))
        seconds = timeout(planned, "update")
        deadline = time.monotonic() + seconds
        stop = _STOPS[wanted]
        if topic.stop != stop:
            topic = session.client.stop_mirror_topic(topic.name, topic.link, stop, seconds=seconds)
        while topic.state != v1.MIRROR_TOPIC_STATE_STOPPED:
            if time.monotonic() > deadline:
                context.state = {**mirror_topic_convert.from_message(topic, planned), "status": prior.get("status")}
                raise DiagnosticError.of(
                    "Mirror topic is not stopped yet",
                    f"{prior['id']} was not {wanted} after {seconds:g} s (timeouts.update). It waits: "
                    f"{sentence(topic.state_detail or 'for what, the engine does not say')} The engine goes on with it; apply "
                    "again to wait on.",
                    ("status",),
                )
            time.sleep(_LOOK_SECONDS)
            topic = session.client.get_mirror_topic(topic.name, topic.link) or topic
        returns.remember(context.private, topic)
        context.state = mirror_topic_convert.from_message(topic, planned)

    def delete(self, context: ApplyContext[Session]) -> None:
        """Detaches the mirror topic or deletes its topic, as `on_destroy` says."""
        session, prior = require(context), context.prior or {}
        disposal = _DISPOSALS[prior.get("on_destroy") or "KEEP_TOPIC"]
        session.client.delete_mirror_topic(prior["name"], prior["link"], disposal, seconds=timeout(prior, "delete"))
        context.state = None

    def import_state(self, identifier: str, diagnostics: Diagnostics) -> Object:
        """Takes `<link>/<mirror topic>` as the identifier."""
        link, slash, name = identifier.partition("/")
        if not (link and slash and name) or "/" in name:
            diagnostics.error(
                "Invalid import id",
                f'Expected "<link>/<mirror topic>", for example "from-primary/orders", got "{identifier}".',
            )
        return {"id": identifier, "link": link, "name": name}


def _find(session: Session, wanted: v1.MirrorTopic) -> v1.MirrorTopic | None:
    """Looks for a mirror topic whose create may have got through; its name may not have been known before."""
    if wanted.name:
        return session.client.get_mirror_topic(wanted.name, wanted.link)
    topics = session.client.list_mirror_topics(wanted.link)
    return next((topic for topic in topics if topic.source_topic == wanted.source_topic), None)


def _refuse_failed(topic: v1.MirrorTopic) -> None:
    if mirror_topic_convert.status(topic) != "FAILED":
        return
    raise DiagnosticError.of(
        "Mirror topic has failed",
        f"{topic.link}/{topic.name} has stopped with {topic.error}: {topic.error_message}\n\nNothing was changed "
        f'(on_failed = "REFUSE"), and what was mirrored stays. {MIRROR_ANEW}',
        ("status",),
    )
