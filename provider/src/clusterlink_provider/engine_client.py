"""The only place that talks to the engine: deadlines, retries, and errors that name the attribute to blame."""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import grpc

from clusterlink_proto import rpc, v1
from clusterlink_proto.channel import Tls, is_distrust, open_channel, why_refused
from clusterlink_provider.framework import paths
from clusterlink_provider.framework.diagnostics import DiagnosticError, Diagnostics, sentence
from clusterlink_provider.framework.paths import Path

T = TypeVar("T")
_log = logging.getLogger(__name__)

# For calls that only read the engine's own memory.
READ_SECONDS: Final = 15.0
_FIRST_DELAY_SECONDS = 0.2
_LONGEST_DELAY_SECONDS = 3.0
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # An engine that restarts is found again soon; the defaults wait up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
)
# No answer of the engine at all, or one that its own state cannot be written just now.
_PASSING_REASONS: Final = frozenset({"", "STATE_UNAVAILABLE"})
_TOO_MANY_CALLS: Final = "TOO_MANY_CALLS"
# A message longer than this is no sentence for people.
_MESSAGE_LIMIT: Final = 2000
# After these the engine has certainly not done what it was asked for.
_DEFINITE: Final = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
    }
)


class EngineError(DiagnosticError):
    """A call to the engine failed.

    Attributes:
        code: The gRPC status code.
        reason: The engine's stable name for what went wrong; empty if the engine itself did not answer.
        message: The engine's sentence.
    """

    def __init__(self, code: grpc.StatusCode, reason: str, message: str, diagnostics: Diagnostics) -> None:
        super().__init__(diagnostics)
        self.code = code
        self.reason = reason
        self.message = message

    @property
    def is_definite(self) -> bool:
        """Whether the call has certainly changed nothing."""
        return self.code in _DEFINITE

    @property
    def is_unreachable(self) -> bool:
        """Whether somebody (the engine, or a cluster behind it) could not be reached in time."""
        return self.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


class EngineClient:
    """The engine at one address. Safe to use from many threads."""

    def __init__(self, endpoint: str, *, token: str = "", tls: Tls | None = None) -> None:
        """Prepares; nothing is contacted. Arguments and errors as `open_channel`."""
        self.endpoint = endpoint
        self._has_token = bool(token)
        self._tls = tls
        self._stopping = threading.Event()
        self._channel = open_channel(endpoint, token=token, tls=tls, options=_OPTIONS)
        self._engine = rpc.Stub(self._channel, v1.DESCRIPTOR, "EngineService")
        self._links = rpc.Stub(self._channel, v1.DESCRIPTOR, "LinkService")
        self._topics = rpc.Stub(self._channel, v1.DESCRIPTOR, "MirrorTopicService")

    def stop(self) -> None:
        """Ends retries; calls under way go on to their end."""
        self._stopping.set()

    def get_engine(self, seconds: float) -> v1.Engine:
        """Asks what the engine is."""
        engine: v1.Engine = self._call(self._engine.GetEngine, v1.GetEngineRequest(), seconds, "read its version")
        return engine

    def list_links(self) -> Sequence[v1.Link]:
        """Lists all links."""
        answer: v1.ListLinksResponse = self._call(
            self._links.ListLinks, v1.ListLinksRequest(), READ_SECONDS, "list the links"
        )
        return answer.links

    def get_link(self, name: str) -> v1.Link | None:
        """Gets a link; None if there is none of that name."""
        what = f"read the link {name}"
        link = self._found(self._links.GetLink, v1.GetLinkRequest(name=name), READ_SECONDS, what)
        return None if link is None else self.checked_link(link, name, what)

    def create_link(self, link: v1.Link, *, token: str, seconds: float, validate_only: bool = False) -> v1.Link:
        """Creates a link; the token makes a repeated attempt safe."""
        request = v1.CreateLinkRequest(link=link, client_token=token, validate_only=validate_only)
        return self._link(self._links.CreateLink, request, link.name, seconds, f"create the link {link.name}")

    def update_link(
        self, link: v1.Link, mask: Sequence[str], *, seconds: float, validate_only: bool = False
    ) -> v1.Link:
        """Changes the fields of the mask."""
        request = v1.UpdateLinkRequest(link=link, validate_only=validate_only)
        request.update_mask.paths.extend(mask)
        return self._link(self._links.UpdateLink, request, link.name, seconds, f"update the link {link.name}")

    def check_new_link(self, link: v1.Link, *, seconds: int, answer_seconds: float) -> Sequence[v1.LinkCheck]:
        """Looks at what a link needs that is not created, for so many whole seconds; the answer may take some more."""
        request = v1.CheckNewLinkRequest(link=link, timeout_ms=seconds * 1000)
        what = f"check the link {link.name}"
        answer: v1.CheckLinkResponse = self._call(
            self._links.CheckNewLink, request, seconds + answer_seconds, what, retry=False
        )
        return answer.checks

    def set_link_paused(self, name: str, paused: bool, *, seconds: float) -> v1.Link:
        """Pauses or resumes a link."""
        if paused:
            pause = v1.PauseLinkRequest(name=name)
            return self._link(self._links.PauseLink, pause, name, seconds, f"pause the link {name}")
        resume = v1.ResumeLinkRequest(name=name)
        return self._link(self._links.ResumeLink, resume, name, seconds, f"resume the link {name}")

    def delete_link(self, name: str, *, seconds: float) -> None:
        """Deletes a link; one that is gone already is fine."""
        self._found(self._links.DeleteLink, v1.DeleteLinkRequest(name=name), seconds, f"delete the link {name}")

    def get_mirror_topic(self, name: str, link: str = "") -> v1.MirrorTopic | None:
        """Gets a mirror topic (of a link, if given); None if there is none."""
        request = v1.GetMirrorTopicRequest(name=name, link=link)
        what = f"read the mirror topic {name}"
        topic = self._found(self._topics.GetMirrorTopic, request, READ_SECONDS, what)
        return None if topic is None else self.checked_mirror_topic(topic, name, link, what)

    def list_mirror_topics(self, link: str = "") -> Sequence[v1.MirrorTopic]:
        """Lists the mirror topics of a link, or all."""
        request = v1.ListMirrorTopicsRequest(link=link)
        what = f"list the mirror topics of the link {link}" if link else "list the mirror topics"
        answer: v1.ListMirrorTopicsResponse = self._call(self._topics.ListMirrorTopics, request, READ_SECONDS, what)
        return answer.mirror_topics

    def create_mirror_topic(
        self, topic: v1.MirrorTopic, *, token: str, seconds: float, validate_only: bool = False
    ) -> v1.MirrorTopic:
        """Creates a mirror topic; the token makes a repeated attempt safe."""
        request = v1.CreateMirrorTopicRequest(mirror_topic=topic, client_token=token, validate_only=validate_only)
        what = f"create the mirror topic of {topic.source_topic} on the link {topic.link}"
        # A check at plan time has no time for further attempts.
        return self._topic(self._topics.CreateMirrorTopic, request, seconds, what, retry=not validate_only)

    def update_mirror_topic(
        self, topic: v1.MirrorTopic, mask: Sequence[str], *, seconds: float, validate_only: bool = False
    ) -> v1.MirrorTopic:
        """Changes the fields of the mask."""
        request = v1.UpdateMirrorTopicRequest(mirror_topic=topic, validate_only=validate_only)
        request.update_mask.paths.extend(mask)
        return self._topic(self._topics.UpdateMirrorTopic, request, seconds, f"update the mirror topic {topic.name}")

    def set_mirror_topic_paused(self, name: str, link: str, paused: bool, *, seconds: float) -> v1.MirrorTopic:
        """Pauses or resumes a mirror topic."""
        if paused:
            pause = v1.PauseMirrorTopicRequest(name=name, link=link)
            return self._topic(self._topics.PauseMirrorTopic, pause, seconds, f"pause the mirror topic {name}")
        resume = v1.ResumeMirrorTopicRequest(name=name, link=link)
        return self._topic(self._topics.ResumeMirrorTopic, resume, seconds, f"resume the mirror topic {name}")

    def stop_mirror_topic(
        self, name: str, link: str, stop: v1.MirrorTopicStop.ValueType, *, seconds: float
    ) -> v1.MirrorTopic:
        """Begins to promote a mirror topic, or to fail it over; asked for already is fine."""
        if stop == v1.MIRROR_TOPIC_STOP_PROMOTE:
            promote = v1.PromoteMirrorTopicRequest(name=name, link=link)
            return self._topic(self._topics.PromoteMirrorTopic, promote, seconds, f"promote the mirror topic {name}")
        failover = v1.FailoverMirrorTopicRequest(name=name, link=link)
        return self._topic(self._topics.FailoverMirrorTopic, failover, seconds, f"fail over the mirror topic {name}")

    def delete_mirror_topic(
        self, name: str, link: str, disposal: v1.TopicDisposal.ValueType, *, seconds: float
    ) -> None:
        """Deletes a mirror topic and does with its topic what `disposal` says; one that is gone already is fine."""
        request = v1.DeleteMirrorTopicRequest(name=name, link=link, topic_disposal=disposal)
        self._found(self._topics.DeleteMirrorTopic, request, seconds, f"delete the mirror topic {name}")

    def checked_link(self, link: v1.Link, name: str, what: str) -> v1.Link:
        """Makes sure that an answer is about a link, and that this provider knows what kind of link it is.

        Raises:
            EngineError: It is not, or it does not: the state must stay as it was.
        """
        if link.name != name:
            raise self._unexpected(what, f'a link named "{link.name:.100}"')
        if link.mode not in (v1.LINK_MODE_DESTINATION, v1.LINK_MODE_BIDIRECTIONAL):
            raise self._unexpected(what, f"a link of mode {link.mode}")
        return link

    def checked_mirror_topic(self, topic: v1.MirrorTopic, name: str, link: str, what: str) -> v1.MirrorTopic:
        """Makes sure of the same for a mirror topic; what is empty is not compared.

        Raises:
            EngineError: As for links.
        """
        if not topic.name or not topic.link or (name or topic.name, link or topic.link) != (topic.name, topic.link):
            raise self._unexpected(what, f'a mirror topic named "{topic.link:.100}/{topic.name:.100}"')
        if topic.direction not in v1.MirrorDirection.values():
            raise self._unexpected(what, f"a mirror topic of direction {topic.direction}")
        return topic

    def _unexpected(self, what: str, answer: str) -> EngineError:
        diagnostics = Diagnostics()
        diagnostics.error(
            "Answer of the engine not understood",
            f"The engine at {self.endpoint} was asked to {what} and answered with {answer}. It may be newer than this "
            "provider: then upgrade the provider. If it is not, please report it.",
        )
        return EngineError(grpc.StatusCode.UNKNOWN, "UNEXPECTED_ANSWER", answer, diagnostics)

    def _link(self, method: Callable[..., Any], request: Any, name: str, seconds: float, what: str) -> v1.Link:
        return self.checked_link(self._call(method, request, seconds, what), name, what)

    def _topic(
        self, method: Callable[..., Any], request: Any, seconds: float, what: str, *, retry: bool = True
    ) -> v1.MirrorTopic:
        topic: v1.MirrorTopic = self._call(method, request, seconds, what, retry=retry)
        # Requests are about a mirror topic, or have one.
        wanted = getattr(request, "mirror_topic", request)
        return self.checked_mirror_topic(topic, wanted.name, wanted.link, what)

    def _found(self, method: Callable[..., Any], request: Any, seconds: float, what: str) -> Any | None:
        try:
            return self._call(method, request, seconds, what)
        except EngineError as error:
            if error.code is grpc.StatusCode.NOT_FOUND:
                return None
            raise

    def _call(self, method: Callable[..., Any], request: Any, seconds: float, what: str, *, retry: bool = True) -> Any:
        end = time.monotonic() + seconds
        delay = _FIRST_DELAY_SECONDS
        while True:
            try:
                return method(request, timeout=max(end - time.monotonic(), 0.05))
            except grpc.RpcError as failure:
                error = self._error(failure, what, seconds)
                # With a reason, the engine has answered: what it cannot reach will not be there in a second.
                is_passing = error.code is grpc.StatusCode.UNAVAILABLE and error.reason in _PASSING_REASONS
                transient = (is_passing and not is_distrust(error.message)) or error.reason == _TOO_MANY_CALLS
                pause = delay * random.uniform(0.8, 1.2)
                if not (retry and transient) or time.monotonic() + pause >= end or self._stopping.wait(pause):
                    raise error from failure
                _log.info("trying again to %s: %s", what, error.message)
                delay = min(delay * 2, _LONGEST_DELAY_SECONDS)

    def _error(self, failure: grpc.RpcError, what: str, seconds: float) -> EngineError:
        # Every error of a call on a channel is also a Call; the type says less.
        call: Any = failure
        code, message = call.code(), call.details() or ""
        reason, fields = _details(call.trailing_metadata())
        diagnostics = Diagnostics()
        if code is grpc.StatusCode.UNAVAILABLE and not reason:
            message = message.rsplit("last error: ", 1)[-1]
            refused = why_refused(message, self._tls)
            if refused:
                diagnostics.error(
                    "No secure connection to the engine",
                    f"The engine at {self.endpoint} could not be reached to {what}: {refused}. See the provider's `tls`.",
                )
            else:
                diagnostics.error("Engine not reachable", self._unreachable(what, message))
        elif code is grpc.StatusCode.DEADLINE_EXCEEDED and not reason:
            diagnostics.error(
                "Timeout",
                f"The engine at {self.endpoint} had {seconds:g} s to {what} and has not finished. It may still do so; "
                "the next plan shows what is there. If it needs longer, raise the value in `timeouts`.",
            )
        elif code is grpc.StatusCode.UNAUTHENTICATED:
            diagnostics.error("Not known to the engine", self._unknown(what, message))
        else:
            title = f"Cannot {what}"
            for path, description in fields or [((), message)]:
                diagnostics.error(title, _detail(message, description, code, reason), path)
        return EngineError(code, reason, message, diagnostics)

    def _unreachable(self, what: str, message: str) -> str:
        return (
            f"The clusterlink engine at {self.endpoint} could not be reached to {what}: {sentence(message)} Check that it runs "
            "(`clusterlink serve`) and that the provider's `endpoint`, or CLUSTERLINK_ENDPOINT, is its address."
        )

    def _unknown(self, what: str, message: str) -> str:
        mend = (
            "Check the provider's `token`, or CLUSTERLINK_TOKEN."
            if self._has_token
            else "The provider has no token: set `token`, or CLUSTERLINK_TOKEN."
        )
        return f"The engine at {self.endpoint} refused the attempt to {what}: {sentence(message)} {mend}"


def attempt(read: Callable[[], T | None], otherwise: T | None = None) -> T | None:
    """Reads while another error is being handled: `otherwise` if that fails too, so that the first error is the one shown."""
    try:
        return read()
    except EngineError as error:
        _log.warning("could not look at the result: %s", error)
        return otherwise


def _detail(message: str, description: str, code: grpc.StatusCode, reason: str) -> str:
    text = message[:_MESSAGE_LIMIT] or description[:_MESSAGE_LIMIT] or "The engine gave no message."
    if description and description[:_MESSAGE_LIMIT] not in text:
        text = f"{text} ({description[:_MESSAGE_LIMIT]})"
    return f"{text}\n\nThe engine's reason: {reason or code.name}."


def _details(metadata: Any) -> tuple[str, list[tuple[Path, str]]]:
    """Reads the reason and the fields to blame from the trailing metadata of an answer; what cannot be read is not there."""
    data = next((value for key, value in metadata or () if key == "grpc-status-details-bin"), None)
    if data is None:
        return "", []
    # Only after an error: these classes cost a start of the plugin several milliseconds.
    from google.protobuf.message import DecodeError
    from google.rpc import error_details_pb2, status_pb2

    reason = ""
    fields: list[tuple[Path, str]] = []
    try:
        for detail in status_pb2.Status.FromString(data).details:
            info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            if detail.Unpack(info):
                reason = info.reason
            elif detail.Unpack(bad_request):
                # The first step is the message in the request (`link`, `mirror_topic`), which is the resource itself.
                fields = [(paths.parse(item.field)[1:], item.description) for item in bad_request.field_violations]
    except DecodeError:
        _log.warning("the details of the engine's error cannot be read")
    return reason, fields
