"""Life of a plugin process: handshake, serving, and an end that nobody has to wait for."""

import base64
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from clusterlink_proto import rpc
from clusterlink_proto.generated import go_plugin_pb2
from clusterlink_provider.plugin import hclog, listening

_log = logging.getLogger(__name__)

_HANDSHAKE_VERSION = 1
_PROTOCOL = 6
# Terraform makes 10 calls at once, more with -parallelism; a slow create must not block StopProvider.
_WORKERS = 64
_PARENT_CHECK_SECONDS = 2.0
# Terraform kills two seconds after Shutdown was answered.
_GRACE_SECONDS = 0.5


def serve(service: "grpc.GenericRpcHandler[Any, Any]") -> None:
    """Serves until Terraform says that it is done, then ends the process. Does not return."""
    handshake = _take_stdout()
    hclog.set_up()
    parent = os.getppid()
    done = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    versions = os.environ.get("PLUGIN_PROTOCOL_VERSIONS", str(_PROTOCOL)).split(",")
    if str(_PROTOCOL) not in versions:
        os.write(handshake, b"clusterlink speaks protocol 6, which needs Terraform 1.0 or newer, or OpenTofu\n")
        os._exit(1)
    path = listening.make_socket_path()
    server, certificate = _start(service, path, done)
    line = f"{_HANDSHAKE_VERSION}|{_PROTOCOL}|unix|{path}|grpc|{certificate}\n"
    os.write(handshake, line.encode())
    os.close(handshake)
    while not done.wait(_PARENT_CHECK_SECONDS):
        if os.getppid() != parent:
            _log.warning("Terraform is gone; ending")
            break
    server.stop(_GRACE_SECONDS).wait()
    listening.remove(path)
    logging.shutdown()
    # The ordinary end of an interpreter with gRPC threads costs 35 ms, and the user waits for it.
    os._exit(0)


def _take_stdout() -> int:
    """Keeps standard output for the handshake alone; whatever else prints goes to standard error."""
    handshake = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return handshake


def _start(service: "grpc.GenericRpcHandler[Any, Any]", path: Path, done: threading.Event) -> tuple[grpc.Server, str]:
    server = grpc.server(
        ThreadPoolExecutor(_WORKERS, thread_name_prefix="rpc"),
        handlers=[service, _stdio(), _controller(done)],
        options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
    )
    address = f"unix:{path}"
    certificate = ""
    if os.environ.get("PLUGIN_CLIENT_CERT"):
        from clusterlink_provider.plugin.tls import make_identity

        identity = make_identity()
        credentials = grpc.ssl_server_credentials([(identity.key_pem, identity.certificate_pem)])
        server.add_secure_port(address, credentials)
        certificate = base64.b64encode(identity.certificate_der).decode().rstrip("=")
    else:
        server.add_insecure_port(address)
    server.start()
    return server, certificate


def _stdio() -> "grpc.GenericRpcHandler[Any, Any]":
    def stream(_request: Any, _context: Any) -> Iterator[go_plugin_pb2.StdioData]:
        return iter(())

    return rpc.handlers(go_plugin_pb2.DESCRIPTOR.services_by_name["GRPCStdio"], {"StreamStdio": stream})


def _controller(done: threading.Event) -> "grpc.GenericRpcHandler[Any, Any]":
    def shutdown(_request: Any, _context: Any) -> go_plugin_pb2.Empty:
        done.set()
        return go_plugin_pb2.Empty()

    return rpc.handlers(go_plugin_pb2.DESCRIPTOR.services_by_name["GRPCController"], {"Shutdown": shutdown})
