"""What is read over HTTP: /metrics for Prometheus, /healthz and /readyz for whoever watches the process."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import TimeoutError as OverdueError
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, TypeVar

from clusterlink_engine.errors import InvalidArgumentError
from clusterlink_engine.http.exposition import CONTENT_TYPE
from clusterlink_engine.settings import parse_address

log = logging.getLogger(__name__)

_ANSWER_SECONDS = 5.0
_FREE_SECONDS = 2.0
_PLAIN = "text/plain; charset=utf-8"

Answer = TypeVar("Answer")
_Page = tuple[HTTPStatus, str, str]


async def listen_when_free(listen: Callable[[], Awaitable[None]]) -> None:
    """Listens as soon as the address is free: another process on this machine may have it."""
    waited = False
    while True:
        try:
            return await listen()
        except InvalidArgumentError as error:
            if not waited:
                log.warning("%s Trying again until it is free.", error)
            waited = True
        await asyncio.sleep(_FREE_SECONDS)


class Listener:
    """The listener; threads of its own take requests, the event loop answers them.

    Attributes:
        address: `host:port`, once it listens.
    """

    def __init__(
        self, listen: str, metrics: Callable[[], Awaitable[str]], is_ready: Callable[[], Awaitable[bool]]
    ) -> None:
        """Prepares.

        Args:
            listen: `host:port`.
            metrics: Answers the metrics, on the event loop.
            is_ready: Answers, on the event loop, whether there is work, and it is being done.
        """
        self.address = ""
        self._listen = listen
        self._metrics = metrics
        self._is_ready = is_ready
        self._close: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Begins to answer.

        Raises:
            InvalidArgumentError: The address cannot be listened on.
        """
        host, port = parse_address(self._listen)
        try:
            server = ThreadingHTTPServer((host, port), _handler(asyncio.get_running_loop(), self._page))
        except OSError as error:
            raise InvalidArgumentError(f"http.listen: {self._listen} cannot be listened on; is it in use?") from error
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, name="http", daemon=True)
        thread.start()

        def close() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        self._close = close
        self.address = f"{host}:{server.server_port}"
        log.info("metrics are at http://%s/metrics", self.address)

    async def stop(self) -> None:
        """Stops answering."""
        await asyncio.get_running_loop().run_in_executor(None, self._close)

    async def _page(self, path: str) -> _Page:
        if path == "/metrics":
            return HTTPStatus.OK, CONTENT_TYPE, await self._metrics()
        if path == "/healthz":
            return HTTPStatus.OK, _PLAIN, "ok\n"
        if path == "/readyz":
            if await self._is_ready():
                return HTTPStatus.OK, _PLAIN, "ok\n"
            return HTTPStatus.SERVICE_UNAVAILABLE, _PLAIN, "has no shards\n"
        return HTTPStatus.NOT_FOUND, _PLAIN, "there are /metrics, /healthz and /readyz\n"


def _handler(
    loop: asyncio.AbstractEventLoop, page: Callable[[str], Coroutine[Any, Any, _Page]]
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10.0  # of a client that says nothing

        def do_GET(self) -> None:
            asked = asyncio.run_coroutine_threadsafe(page(self.path.partition("?")[0]), loop)
            try:
                status, kind, text = asked.result(_ANSWER_SECONDS)
            except OverdueError:
                asked.cancel()
                text = f"the engine has not answered for {_ANSWER_SECONDS:g} s\n"
                status, kind = HTTPStatus.SERVICE_UNAVAILABLE, _PLAIN
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the library's name
            """Says nothing: requests are no news."""

    return Handler
