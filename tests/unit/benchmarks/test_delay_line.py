"""The line that takes its time."""

import os
import socket
import threading
import time

from benchmarks import delay_line
from clusterlink_engine.devkit import ports


def test_bytes_come_out_unchanged_and_not_before_their_time() -> None:
    sent = os.urandom(3_000_000)
    with socket.create_server(("127.0.0.1", ports.free_port())) as server:
        echo = threading.Thread(target=_echo, args=(server,))
        echo.start()
        port = ports.free_port()
        with (
            delay_line.running(port, server.getsockname()[1], 0.2),
            socket.create_connection(("127.0.0.1", port)) as near,
        ):
            began = time.monotonic()
            near.sendall(sent[:1])
            assert near.recv(1) == sent[:1]
            assert time.monotonic() - began >= 0.2
            writing = threading.Thread(target=near.sendall, args=(sent[1:],))
            writing.start()
            received = bytearray()
            while len(received) < len(sent) - 1:
                received += near.recv(1 << 16)
            writing.join()
            assert bytes(received) == sent[1:]
            near.shutdown(socket.SHUT_WR)
            assert near.recv(1) == b""  # an end goes through, too
        echo.join()


def _echo(server: socket.socket) -> None:
    far = None
    while far is None or not (first := far.recv(1)):
        far, _ = server.accept()  # the first connections only look whether somebody listens
    with far:
        far.sendall(first)
        while data := far.recv(1 << 16):
            far.sendall(data)
