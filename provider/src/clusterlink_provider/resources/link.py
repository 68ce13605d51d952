"""The resource `clusterlink_link`."""

import uuid

from clusterlink_provider.engine_client import EngineError, attempt
from clusterlink_provider.framework import cty, planning
from clusterlink_provider.framework.diagnostics import DiagnosticError, Diagnostics
from clusterlink_provider.framework.planning import Object
from clusterlink_provider.framework.provider import ApplyContext, PlanContext, StateContext
from clusterlink_provider.resources import link_convert, link_plan, link_security, link_syncs
from clusterlink_provider.resources.durations import timeout
from clusterlink_provider.resources.link_schema import SCHEMA
from clusterlink_provider.resources.session import Session, require


class LinkResource:
    """Life of a link under Terraform."""

    type_name = "clusterlink_link"
    schema = SCHEMA

    def validate(self, config: Object, diagnostics: Diagnostics) -> None:
        """Checks that security protocol and `sasl`, and the parts of each sync, fit together."""
        link_security.validate(config, diagnostics)
        link_syncs.validate(config, diagnostics)

    def seen(self, session: Session, state: Object) -> None:
        """Remembers the name as one that is in the state."""
        session.link_names.saw(state.get("name"))

    def read(self, context: StateContext[Session]) -> None:
        """Asks the engine for the link."""
        session, state = require(context), context.state
        if state is None:
            return
        link = session.read_link(state["name"])
        if link is None:
            context.state = None
        else:
            context.state = link_convert.from_message(link, planning.fill_defaults(SCHEMA, state))

    def plan(self, context: PlanContext[Session]) -> None:
        """Applies the rules for links."""
        link_plan.plan(context)

    def create(self, context: ApplyContext[Session]) -> None:
        """Makes the link; one that may be there after a lost answer goes into the state, with the error."""
        session, planned = require(context), context.planned
        seconds = timeout(planned, "create")
        message = link_plan.to_message(context, planned)
        try:
            link = session.client.create_link(message, token=str(uuid.uuid4()), seconds=seconds)
        except EngineError as error:
            if not error.is_definite:
                # If the engine cannot be asked, Terraform remembers it: the next refresh sees whether it is there.
                found = attempt(lambda: session.client.get_link(message.name), message)
                context.state = found and cty.without_unknown(link_convert.from_message(found, planned))
            raise
        context.state = link_convert.from_message(link, planned)
        if link.paused != planned["paused"]:
            link = session.client.set_link_paused(link.name, planned["paused"], seconds=seconds)
            context.state = link_convert.from_message(link, planned)

    def update(self, context: ApplyContext[Session]) -> None:
        """Changes what differs; after an error the state is what the engine then says."""
        session, planned, prior = require(context), context.planned, context.prior or {}
        seconds = timeout(planned, "update")
        message = link_plan.to_message(context, planned)
        try:
            if mask := link_convert.changed_fields(prior, planned):
                session.client.update_link(message, mask, seconds=seconds)
            if prior.get("paused") != planned["paused"]:
                session.client.set_link_paused(message.name, planned["paused"], seconds=seconds)
        except EngineError:
            link = attempt(lambda: session.client.get_link(message.name))
            if link is not None:
                context.state = link_convert.from_message(link, prior)
            raise
        link = session.client.get_link(message.name)
        if link is None:
            context.state = None
            raise DiagnosticError.of(
                "Link is gone", f"The link {message.name} was deleted by somebody else. Plan again to make it anew."
            )
        context.state = link_convert.from_message(link, planned)

    def delete(self, context: ApplyContext[Session]) -> None:
        """Deletes the link; the engine refuses while mirror topics are live."""
        session, prior = require(context), context.prior or {}
        session.client.delete_link(prior["name"], seconds=timeout(prior, "delete"))
        session.links.leave(prior["name"])
        context.state = None

    def import_state(self, identifier: str, diagnostics: Diagnostics) -> Object:
        """Takes the name of the link as its identifier."""
        if not identifier or "/" in identifier:
            diagnostics.error("Invalid import id", f'Expected the name of a link, got "{identifier}".')
        return {"id": identifier, "name": identifier}
