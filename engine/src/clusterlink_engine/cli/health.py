"""`clusterlink health`: whether the engine answers, for whoever watches it."""

import argparse
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clusterlink_engine.cli.asking import verb

_SECONDS = 5.0


def add(commands: Any) -> None:
    """Adds the command; it needs no token."""
    verb(commands, "health", "whether the engine answers: exit code 0 if it does, else 1", _run)


def _run(channel: grpc.Channel, options: argparse.Namespace) -> int:  # noqa: ARG001 - as all commands
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=_SECONDS)
    serving = answer.status == health_pb2.HealthCheckResponse.SERVING
    print("SERVING" if serving else "NOT_SERVING")
    return 0 if serving else 1
